"""What sites say of the noise in their answers, and what that is for all sites together.

A site adds its own noise to its own part, so that nobody else needs to be trusted with the parts;
an answer over several sites has the noise of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from umbel.dataclass import dataclass

#: How surely a true value is as near as is told.
CONFIDENCE = 0.95
#: In the metadata of an answer: the noise in it, as JSON.
METADATA = b"umbel.noise"
#: What a run says of a site whose answer is private, before the JSON of it.
NOISY = "added noise:"
#: Characters of what one task tells of its noise.
LONGEST = 5_000


@dataclass(frozen=True)
class Value:
    """The noise of one aggregate; it is the same in each group, but for means.

    Attributes:
        of: the aggregate, such as "sum(cost)".
        scale: of the discrete Laplace noise; of a mean, of its sum.
        within: how far a true value is with `CONFIDENCE`; of a mean, in the worst group.
        groups: of a mean, in each group.
    """

    of: str
    scale: float
    within: float
    groups: tuple[float, ...] = ()


@dataclass(frozen=True)
class Noise:
    """The noise of one private aggregate at one site.

    Attributes:
        table: whose individuals it protects.
        epsilon: what it cost.
        delta: what it cost.
        left: what the user may still spend after it.
        values: of its aggregates.
        site: who added it.
    """

    table: str
    epsilon: float
    delta: float
    left: float
    values: tuple[Value, ...] = ()
    site: str = ""


_NOISES = TypeAdapter(tuple[Noise, ...])


def written(noises: Iterable[Noise]) -> str:
    """Write what a task tells; the groups of means only as far as there is room."""
    found = list(noises)
    text = json.dumps([asdict(one) for one in found], allow_nan=False)
    if len(text) > LONGEST:
        short = [
            replace(one, values=tuple(replace(value, groups=()) for value in one.values))
            for one in found
        ]
        text = json.dumps([asdict(one) for one in short], allow_nan=False)
    return text if len(text) <= LONGEST else "[]"


def read(text: str, site: str = "") -> list[Noise]:
    """Read what a task told; nothing of what is none.

    >>> noise = Noise("people", 0.5, 0.0, 1.5, (Value("len()", 2.0, 6.0),))
    >>> read(written([noise])) == [noise]
    True
    """
    try:
        return [replace(one, site=site) for one in _NOISES.validate_json(text)] if text else []
    except ValidationError:
        return []


def together(scales: Iterable[float], confidence: float = CONFIDENCE) -> float:
    """How far a sum of independent Laplace noises is from 0 at most, with some confidence.

    The lesser of two bounds: each is within its own part of the rest (Boole); and the Chernoff
    bound, for which E exp(lX) <= 1 / (1 - l² scale²), also of discrete noise.

    >>> together([2.0]) < together([2.0] * 9) < 9 * together([2.0])
    True
    """
    found = [scale for scale in scales if scale > 0]
    if not found:
        return 0.0
    rest = 1 - confidence
    boole = math.fsum(scale * math.log(len(found) / rest) for scale in found)
    largest = max(found)
    chernoff = min(
        (math.log(2 / rest) - math.fsum(math.log(1 - (at * s) ** 2) for s in found)) / at
        for at in (step / 200 / largest for step in range(1, 200))
    )
    return min(boole, chernoff)


def combined(noises: Iterable[Noise]) -> dict[str, float]:
    """How far what several sites give of an aggregate is, added up, from what is true."""
    scales: dict[str, list[float]] = {}
    for noise in noises:
        for value in noise.values:
            if not value.of.startswith("mean("):
                scales.setdefault(value.of, []).append(value.scale)
    return {of: together(found) for of, found in scales.items() if len(found) > 1}


def noted(notes: Iterable[str]) -> list[Noise]:
    """The noise of which stages say something."""
    found: dict[Noise, None] = {}
    for note in notes:
        site, sign, text = note.partition(f" {NOISY} ")
        if sign:
            found |= dict.fromkeys(read(text, site))
    return list(found)


def with_noise(table: Any, notes: Iterable[str]) -> Any:
    """An answer with what is said of its noise in its metadata; as it is, if there is none."""
    noises = noted(notes)
    if not noises or not isinstance(table, pa.Table):
        return table
    told = {
        "confidence": CONFIDENCE,
        "sites": [asdict(one) for one in noises],
        "together": combined(noises),
    }
    metadata = {**(table.schema.metadata or {}), METADATA: json.dumps(told).encode()}
    return table.replace_schema_metadata(metadata)


__all__ = [
    "CONFIDENCE",
    "LONGEST",
    "METADATA",
    "NOISY",
    "Noise",
    "Value",
    "combined",
    "noted",
    "read",
    "together",
    "with_noise",
    "written",
]
