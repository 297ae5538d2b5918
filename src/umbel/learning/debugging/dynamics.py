"""How each part went in each round: lengths and directions of updates, drift, health and time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from umbel.learning.debugging.journal import Entry, Part
from umbel.models.layout import Array

#: The columns of `dynamics`.
DYNAMICS = pa.schema(
    [
        ("round", pa.int64()),
        ("part", pa.string()),
        ("rows", pa.int64()),
        ("loss", pa.float64()),
        ("norm", pa.float64()),
        ("to_mean", pa.float64()),
        ("to_others", pa.float64()),
        ("to_last", pa.float64()),
        ("drift", pa.float64()),
        ("health", pa.string()),
        ("seconds", pa.float64()),
        ("waited", pa.float64()),
        ("excluded", pa.string()),
    ]
)

#: An update this much longer than the middle one of a round is called exploding.
EXPLODING = 1e3


def dynamics(entries: Sequence[Entry]) -> pa.Table:
    """Describe what each part gave in each round.

    Columns: `loss` per row before the round; `norm`, the length of the update; the cosine of its
    direction to the mean of all (`to_mean`), to the mean of the others (`to_others`) and to its own
    of the round before (`to_last`); `drift`, how far its trained state lies from the mean of all
    trained states; `health`: "fine", "no numbers", "zero", "exploding", "of another length" or
    "away"; `seconds` from the question to its answer, and `waited`, the seconds that it then was
    waited for others. What cannot be known is null.

    Args:
        entries: the rounds of a journal.
    """
    rows: list[dict[str, object]] = []
    last: dict[str, Array] = {}
    for entry in entries:
        rows += _round(entry, last)
        last = {part.name: part.delta for part in entry.used if part.delta is not None}
    return pa.Table.from_pylist(rows, schema=DYNAMICS)


def _round(entry: Entry, last: dict[str, Array]) -> list[dict[str, object]]:
    used = {part.name: (part.delta, part.rows) for part in entry.used}
    total = sum(rows for _, rows in used.values())
    mean = None
    if total:
        mean = np.sum([d * (rows / total) for d, rows in used.values() if d is not None], axis=0)
    norms = {part.name: _norm(part.delta) for part in entry.parts}
    known = [norm for name, norm in norms.items() if name in used and norm is not None]
    middle = float(np.median(known)) if known else 0.0
    slowest = max((p.seconds for p in entry.parts if p.seconds is not None), default=None)
    found = []
    for part in entry.parts:
        delta, own = part.delta, used.get(part.name)
        others = None
        if own is not None and mean is not None and total > part.rows and delta is not None:
            others = (mean * total - delta * part.rows) / (total - part.rows)
        fine = delta is not None and bool(np.isfinite(delta).all())
        found.append(
            {
                "round": entry.number,
                "part": part.name,
                "rows": part.rows,
                "loss": _per_row(part),
                "norm": norms[part.name],
                "to_mean": cosine(delta, mean) if fine else None,
                "to_others": cosine(delta, others) if fine else None,
                "to_last": cosine(delta, last.get(part.name)) if fine else None,
                "drift": None if mean is None or not fine else _norm(delta - mean),
                "health": _health(part, norms[part.name], middle),
                "seconds": part.seconds,
                "waited": None
                if part.seconds is None or slowest is None
                else slowest - part.seconds,
                "excluded": part.excluded or None,
            }
        )
    return found


def _per_row(part: Part) -> float | None:
    if part.loss is None or not part.rows or not np.isfinite(part.loss):
        return None
    return part.loss / part.rows


def _norm(vector: Array | None) -> float | None:
    if vector is None:
        return None
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(vector))
    return norm if np.isfinite(norm) else None


def _health(part: Part, norm: float | None, middle: float) -> str:
    """What kind of update it is, whoever else there is."""
    if part.delta is None:
        return "of another length" if "length" in part.excluded else "away"
    if norm is None:
        return "no numbers"
    if norm == 0:
        return "zero"
    if (middle and norm > EXPLODING * middle) or (part.excluded and norm > 1):
        return "exploding"
    return "fine"


def cosine(one: Array | None, other: Array | None) -> float | None:
    """The cosine of the angle between two vectors; None where one has no direction.

    >>> cosine(np.array([1.0, 0.0]), np.array([-2.0, 0.0]))
    -1.0
    """
    if one is None or other is None:
        return None
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not length or not np.isfinite(length):
        return None
    return float(one @ other) / length


__all__ = ["DYNAMICS", "EXPLODING", "cosine", "dynamics"]
