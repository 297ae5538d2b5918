"""Asks databases what they themselves reckon of operators over their tables.

A database knows more of its rows than it tells: which values are frequent, how columns go
together. So where our own estimate is weak, and many rows may move on account of it, it is asked.
That takes a round trip; embedded engines know no more of files than we do, and are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from umbel.catalog.statistics import Interval
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.homes import homes_of
from umbel.plan import operators as ops
from umbel.plan.errors import UmbelError
from umbel.platforms.base import Estimates
from umbel.platforms.registry import Registry

#: Questions in one planning; each has a time limit of the platform's own.
MOST_ASKED = 8
#: An estimate of ours with less confidence is weak, if it may be about so many bytes.
_WEAK, _LEAST_BYTES = 0.65, 100_000


class Probes:
    """Answers of databases, each asked for once in a planning."""

    def __init__(self, platforms: Registry) -> None:
        self._platforms = platforms
        self._left = MOST_ASKED
        self._answers: dict[str, Interval | None] = {}

    def at_borders(self, root: ops.Operator, reckon: Estimator) -> None:
        """Ask about all operators of a plan whose rows leave the database that they lie in."""
        order = ops.topological(root)
        homes = homes_of(order)
        if len(set(homes.values())) < 2:
            return
        self.about(
            (
                child
                for operator in order
                for child in operator.inputs
                if homes[id(operator)] != homes[id(child)]
            ),
            reckon,
            homes,
        )

    def about(
        self,
        operators: Iterable[ops.Operator],
        reckon: Estimator,
        homes: dict[int, str | None] | None = None,
    ) -> None:
        """Ask about operators over databases where `reckon` has weak estimates, and tell it.

        Args:
            operators: of a plan.
            reckon: our estimates; takes the answers.
            homes: where the operators' rows lie, by identity; None finds out.
        """
        told = {}
        for operator in operators:
            if isinstance(operator, ops.Scan) and operator.predicate is None:
                continue  # of whole tables we have the database's own statistics
            known = homes_of(ops.topological(operator)) if homes is None else homes
            home = known[id(operator)]
            if home and _is_weak(reckon(operator)):
                answer = self._ask(operator, home)
                if answer is not None:
                    told[operator.digest] = home, answer
        if told:
            reckon.tell(told)

    def _ask(self, operator: ops.Operator, home: str) -> Interval | None:
        if operator.digest in self._answers:
            return self._answers[operator.digest]
        if home not in self._platforms or not self._left:
            return None
        platform = self._platforms[home]
        if not isinstance(platform, Estimates):
            return None
        self._left -= 1
        try:
            answer = platform.estimate(operator)
        except UmbelError:
            # Down, or too slow for us. If it matters, the run will say so.
            answer, self._left = None, 0
        self._answers[operator.digest] = answer
        return answer


def _is_weak(estimate: Estimate) -> bool:
    rows = estimate.rows
    return rows.confidence < _WEAK and rows.high * estimate.width >= _LEAST_BYTES


__all__ = ["Probes"]
