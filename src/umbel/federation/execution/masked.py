"""A site's share of secure aggregation: what its rules let out leaves under masks alone.

The update is computed and checked as one that leaves as it is: over how many individuals, of which
columns. Then it is clipped, gets noise and is masked, as was agreed on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from umbel.federation.errors import FederationError
from umbel.federation.tasks import Task
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.masks import Numbers
from umbel.learning.secure.messages import Identity
from umbel.learning.secure.site import MaskedRounds
from umbel.learning.secure.vectors import Vectors, learned, question_of
from umbel.models.layout import Array
from umbel.plan import operators as ops
from umbel.plan.models import Masking


class Masked:
    """Answers the steps of secure aggregation at a site."""

    def __init__(self, identity: Callable[[], Identity]) -> None:
        """Prepare; `identity` gives the site's lasting key when it is needed."""
        self._rounds = MaskedRounds(identity)

    def answer(self, task: Task, plan: ops.Summing, plain: Callable[[], pa.Table]) -> pa.Table:
        """Do a step.

        Args:
            task: of which it is asked.
            plan: the operator whose sums are masked.
            plain: gives them as they are, checked; is asked in the step "mask" alone.

        Raises:
            FederationError: the step cannot be done, or somebody lies.
        """
        masking = plan.masking
        if masking is None:
            raise FederationError(f"{plan.name} is not to be masked")
        message = b"" if plan.message is None else plan.message.column(0)[0].as_py()
        vectors = Vectors(masking, learned(plan))

        def vector() -> Numbers:
            if question_of(plan) != masking.question:
                raise SecureAggregationError("Sites were asked for different things.")
            _check_clip(plan, masking)
            (row,) = plain().to_pylist()
            return _vector(vectors, plan, row)

        try:
            answer = self._rounds.answer(task.requester.name, vectors, message, vector)
        except (SecureAggregationError, ValueError) as error:
            # Both are said without a value of the data.
            raise FederationError(f"secure aggregation: {error}") from None
        row = {"part": [plan.part], "rows": [0], "left_out": [0], "sums": [answer]}
        return pa.table(row, schema=plan.schema)


def _check_clip(plan: ops.Summing, masking: Masking) -> None:
    """Raise unless what is clipped row by row is what the noise is measured against."""
    training = plan.training if isinstance(plan, ops.Contribute) else None
    clipped = 0.0 if training is None else training.clip * training.rate
    wanted = masking.clip if masking.of_rows else 0.0
    if abs(clipped - wanted) > 1e-12 * wanted:
        raise SecureAggregationError("The noise is measured against another clip.")


def _vector(vectors: Vectors, plan: ops.Summing, row: dict[str, object]) -> Numbers:
    flat: Array = np.frombuffer(row["sums"], "<f8").astype(np.float64)  # type: ignore[call-overload]
    rows, left_out = int(row["rows"]), int(row["left_out"])  # type: ignore[call-overload]
    if isinstance(plan, ops.Contribute) and plan.training is not None:
        return vectors.of_update(flat[:-2], rows, left_out, float(flat[-2]))
    if vectors.masking.clip:
        raise ValueError("Sums of an exact solver are not clipped.")
    return vectors.of_sums(flat, rows, left_out)


__all__ = ["Masked"]
