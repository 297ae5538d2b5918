"""What a site's vector under masks is made of: what is learned, and a few numbers of all rows.

Either sums of an exact solver, or an update times its weight. Beside these stand the number of
rows, of rows left out, and the loss: so that what each site has of them is not seen either. Where
updates are clipped for differential privacy nothing stands beside but whether the clip was needed,
under noise of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.privacy.noise import noisy
from umbel.learning.secure.fixed_point import FixedPoint, Wide
from umbel.learning.secure.masks import Numbers
from umbel.learning.secure.messages import Agreement
from umbel.learning.strategies.norm_bounding import norms, shorten
from umbel.models import measures
from umbel.models.layout import Array
from umbel.models.solvers import mathematics_of, solver_of
from umbel.plan.models import Masking
from umbel.plan.operators import Contribute, Evaluate, Summing, Values


@dataclass(frozen=True)
class Summed:
    """What the sum over sites says.

    Attributes:
        total: of what is learned.
        rows: of all sites; 0 where this is not told.
        left_out: of all sites.
        loss: of all rows together, before the round; None where this is not told.
        within: by how many more updates were within the clip than were not, halved.
    """

    total: Array
    rows: float = 0.0
    left_out: float = 0.0
    loss: float | None = None
    within: float = 0.0


@dataclass(frozen=True)
class Vectors:
    """How vectors of a round are made and read.

    Attributes:
        masking: says what is done to them.
        size: how many numbers are learned.
    """

    masking: Masking
    size: int

    @property
    def length(self) -> int:
        """How many places a vector has."""
        head = self.size if self.masking.bound else self._wide.places * self.size
        return head + self._wide.places * self._beside

    @property
    def agreement(self) -> Agreement:
        """What all agree on before the round."""
        one = self.masking
        # What is done to the vectors is a part of the run's name, so that all do the same.
        noise = (one.clip, one.noise, one.within, one.of_rows)
        how = (one.run, one.question, one.bound, one.rows, *noise)
        run = repr(how)
        return Agreement(run, one.round, self.length, one.fewest, one.degree, one.share)

    @property
    def _wide(self) -> Wide:
        return Wide(self.masking.sites)

    @property
    def _narrow(self) -> FixedPoint:
        most = 1.0 if self.masking.clip else self.masking.rows
        return FixedPoint(self.masking.bound * most, self.masking.sites)

    @property
    def _beside(self) -> int:
        return 1 if self.masking.clip else 3

    def of_sums(self, sums: Array, rows: int, left_out: int) -> Numbers:
        """Make the vector of an exact solver's sums.

        Raises:
            ValueError: they have no place in it.
        """
        return self._encode(sums, np.array([rows, left_out, 0.0]))

    def of_update(self, delta: Array, rows: int, left_out: int, loss: float) -> Numbers:
        """Make the vector of an update; clipped and with noise, if that is asked for.

        Raises:
            ValueError: it holds what is no number, or what the bound has no place for.
        """
        one = self.masking
        if not np.isfinite(delta).all():
            raise ValueError("The update holds NaN or infinity.")
        if not one.clip:
            if one.bound and (np.abs(delta).max(initial=0.0) > one.bound or rows > one.rows):
                raise ValueError("The update, or the number of rows, is beyond what was agreed on.")
            if not math.isfinite(loss):
                raise ValueError("The loss is no number.")
            return self._encode(delta * float(rows), np.array([rows, left_out, loss]))
        fits = norms(delta[None])[0] <= one.clip
        head = delta.astype(np.float64)
        if not one.of_rows:
            head = shorten(head[None], one.clip)[0]
        if one.noise:
            head = noisy(head, one.noise * one.clip)
        beside = np.zeros(1)
        if one.within:
            beside = noisy(np.array([0.5 if fits else -0.5]), one.within)
        return self._encode(head, beside)

    def read(self, total: Numbers) -> Summed:
        """Read what the sum says."""
        cut = self.length - self._wide.places * self._beside
        code = self._narrow if self.masking.bound else self._wide
        head, beside = code.decode(total[:cut]), self._wide.decode(total[cut:])
        if self.masking.clip:
            return Summed(head, within=float(beside[0]))
        return Summed(head, float(beside[0]), float(beside[1]), float(beside[2]))

    def _encode(self, head: Array, beside: Array) -> Numbers:
        code = self._narrow if self.masking.bound else self._wide
        try:
            written = code.encode(head)
        except ValueError:
            # Which number it is stays at the site.
            raise ValueError("The update is beyond what was agreed on.") from None
        return np.concatenate([written, self._wide.encode(beside)])


def learned(plan: Summing) -> int:
    """How many numbers are learned of each site, beside its rows and its loss."""
    if isinstance(plan, Evaluate):
        return measures.layout(plan.design).size
    if isinstance(plan, Contribute) and plan.training is not None:
        return mathematics_of(plan.design).state(plan.design).size
    return solver_of(plan.design).sums(plan.design).size


def question_of(operator: Summing) -> str:
    """Identify what a site is asked for: the same for all sites whose answers may be summed.

    The state is a part of it. Whoever could give each site another state could have all but one
    answer with what is known anyway, and so read the one from the sum.

    Source: Pasquini, Francati and Ateniese, "Eluding Secure Aggregation in Federated Learning via
    Model Inconsistency", CCS 2022.
    """
    names = {*operator.design.columns, *operator.design.targets}
    read = [field for field in operator.input.schema if field.name in names]
    changes: dict[str, Any] = {"masking": None, "message": None, "part": ""}
    if isinstance(operator, Contribute) and operator.training is not None:
        changes["training"] = replace(operator.training, seed=0)  # each site has its own order
    plain = Values(table=pa.schema(sorted(read, key=lambda field: field.name)).empty_table())
    return replace(operator, input=plain, **changes).digest


__all__ = ["Summed", "Vectors", "learned", "question_of"]
