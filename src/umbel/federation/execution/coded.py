"""Runs what a task has of signed code, each chain of it in a process that is shut off.

What stands below a chain runs on the site's engines and comes into the process as rows; rows come
out, are checked as what a stranger sends, and stand in the chain's place for what is above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from umbel.api.memory import memory_source
from umbel.executor import Cancellation
from umbel.federation.client.cutting import as_relation
from umbel.federation.errors import FederationError
from umbel.federation.sandbox.rules import CodeRules
from umbel.federation.sandbox.signing import verify_code
from umbel.plan import operators as ops
from umbel.plan.function_ref import SignedCode
from umbel.plan.types import is_object


def codes_of(plan: ops.Operator) -> dict[str, SignedCode]:
    """The signed code in a plan, by its digest."""
    return {
        operator.function.digest: operator.function.signed
        for operator in ops.topological(plan)
        if ops.is_signed(operator) and operator.function.signed is not None
    }


def verify(plan: ops.Operator, rules: CodeRules, site: str) -> None:
    """Raise unless all code of a plan is as somebody has signed it whom a site trusts."""
    for code in codes_of(plan).values():
        verify_code(code, rules.keys, site)


class Coded:
    """Puts what signed code gives in the place of the code."""

    def __init__(
        self,
        rules: CodeRules,
        rows_of: Callable[[ops.Operator], pa.Table],
        cancellation: Cancellation,
    ) -> None:
        """Prepare.

        Args:
            rules: what code may take; its signatures were verified.
            rows_of: runs a plan on the site's engines.
            cancellation: ends it.
        """
        self._rules = rules
        self._rows_of = rows_of
        self._cancellation = cancellation
        # The plan is kept too, so that no other one gets its identity.
        self._known: dict[int, tuple[ops.Operator, ops.Operator]] = {}

    def opened(self, plan: ops.Operator) -> ops.Operator:
        """The plan without code, over what its code gave."""
        if not codes_of(plan):
            return plan
        if id(plan) not in self._known:
            chain = _chain(plan)
            if chain:
                made = self._ran(chain)
            else:
                made = plan.with_inputs(tuple(map(self.opened, plan.inputs)))
            self._known[id(plan)] = plan, made
        return self._known[id(plan)][1]

    def _ran(self, chain: list[ops.Operator]) -> ops.Operator:
        from umbel.federation.sandbox.running import run_code

        top = chain[0]
        if any(is_object(item.type) for item in top.schema):
            raise FederationError(
                f"{top.name} gives Python objects, which do not leave their process",
                hint="give them columns: .to_frame({…})",
            )
        (below,) = chain[-1].inputs
        rows = self._rows_of(as_relation(self.opened(below)))
        made: ops.Operator = ops.Placeholder(label="rows", columns=below.schema, form=below.element)
        for link in reversed(chain):
            made = replace(link.with_inputs((made,)), pin="", origin=None)
        given = run_code(made, rows.cast(below.schema), self._rules, self._cancellation)
        source = memory_source(given)
        return ops.Scan(source=replace(source, form=top.element.value))


def _chain(top: ops.Operator) -> list[ops.Operator]:
    """The operators from one down that run in one process; none if there is no code in them."""
    chain = [top]
    while _goes_on(chain[-1]):
        chain.append(chain[-1].inputs[0])
    return chain if any(map(ops.is_signed, chain)) else []


def _goes_on(operator: ops.Operator) -> bool:
    """Whether what an operator reads runs in the same process."""
    if isinstance(operator, ops.ToFrame):
        return ops.is_signed(operator.input)
    return ops.is_signed(operator) and (
        ops.is_signed(operator.input) or isinstance(operator.input, ops.Rows)
    )


__all__ = ["Coded", "codes_of", "verify"]
