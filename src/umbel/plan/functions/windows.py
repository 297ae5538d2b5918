"""Rows of the catalogue: functions that exist only over windows.

They see the whole partition of a row in the window's order; rows with equal order keys are peers,
and without an order all rows are. Where rows are peers, the functions that tell them apart
(`row_number`, `ntile`, `lag`, `lead`) take them in any order. Aggregates over partitions and
frames are rows of `umbel.plan.functions.aggregates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError
from umbel.plan.functions.row import Function, Kind, Nulls, refuse
from umbel.plan.types import FLOAT64, INT64, common_type, is_integer

Rows = Sequence[tuple[Any, ...]]
Peers = Sequence[int]
Types = Sequence[pa.DataType]


def _row_number(rows: Rows, peers: Peers) -> list[int]:
    return list(range(1, len(rows) + 1))


def _rank(rows: Rows, peers: Peers) -> list[int]:
    ranks: list[int] = []
    for index, peer in enumerate(peers):
        ranks.append(ranks[-1] if index and peer == peers[index - 1] else index + 1)
    return ranks


def _dense_rank(rows: Rows, peers: Peers) -> list[int]:
    return [peer + 1 for peer in peers]


def _percent_rank(rows: Rows, peers: Peers) -> list[float]:
    others = max(len(rows) - 1, 1)
    return [(rank - 1) / others for rank in _rank(rows, peers)]


def _cume_dist(rows: Rows, peers: Peers) -> list[float]:
    last: dict[int, int] = {peer: index + 1 for index, peer in enumerate(peers)}
    return [last[peer] / len(rows) for peer in peers]


def _ntile(rows: Rows, peers: Peers) -> list[int]:
    if not rows:
        return []
    buckets = rows[0][0]
    if buckets is None or buckets < 1:
        raise EvaluationError(f"ntile needs at least one bucket, not {buckets}")
    size, larger = divmod(len(rows), buckets)
    split = larger * (size + 1)
    return [
        index // (size + 1) + 1 if index < split else larger + (index - split) // size + 1
        for index in range(len(rows))
    ]


def _shifted(sign: int) -> Callable[[Rows, Peers], list[Any]]:
    def reference(rows: Rows, peers: Peers) -> list[Any]:
        if not rows:
            return []
        offset = rows[0][1] if len(rows[0]) > 1 else 1
        default = rows[0][2] if len(rows[0]) > 2 else None
        if offset is None:
            raise EvaluationError("the offset of lag and lead cannot be null")
        result = []
        for index in range(len(rows)):
            source = index + sign * offset
            result.append(rows[source][0] if 0 <= source < len(rows) else default)
        return result

    return reference


def _shifted_type(name: str) -> Callable[[Types], pa.DataType]:
    def result(types: Types) -> pa.DataType:
        if len(types) > 1 and not is_integer(types[1]):
            raise refuse(name, types, "a value, a constant integer and a constant default")
        return common_type(types[0], types[2]) if len(types) > 2 else types[0]

    return result


def _ntile_type(types: Types) -> pa.DataType:
    if not is_integer(types[0]):
        raise refuse("ntile", types, "a constant integer")
    return INT64


def _window(
    name: str,
    result: Callable[[Types], pa.DataType],
    reference: Callable[[Rows, Peers], Sequence[Any]],
    semantics: str,
    *,
    arity: tuple[int, int] = (0, 0),
    constant: tuple[int, ...] = (),
    nulls: Nulls = Nulls.NEVER,
    examples: tuple[tuple[tuple[Any, ...], Any], ...] = (),
) -> Function:
    return Function(
        name=name,
        kind=Kind.WINDOW,
        arity=arity,
        result=result,
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        constant=constant,
        examples=examples,
    )


# An example shows one list per argument, as columns of a partition in order without peers, and
# the list of results.
ROWS: tuple[Function, ...] = (
    _window(
        "row_number",
        lambda types: INT64,
        _row_number,
        "The row's position in its partition, from 1.",
    ),
    _window(
        "rank",
        lambda types: INT64,
        _rank,
        "One more than the number of rows before the row's peers.",
    ),
    _window(
        "dense_rank",
        lambda types: INT64,
        _dense_rank,
        "The number of the row's peer group, from 1, without gaps.",
    ),
    _window(
        "percent_rank",
        lambda types: FLOAT64,
        _percent_rank,
        "(rank - 1) / (rows - 1); 0.0 in a partition of one row.",
    ),
    _window(
        "cume_dist",
        lambda types: FLOAT64,
        _cume_dist,
        "The fraction of the partition's rows up to and with the row's peers.",
    ),
    _window(
        "ntile",
        _ntile_type,
        _ntile,
        "The number, from 1, of the row's bucket when the partition is cut into n runs whose "
        "sizes differ by at most one, larger ones first; n is a constant of at least 1.",
        arity=(1, 1),
        constant=(0,),
    ),
    _window(
        "lag",
        _shifted_type("lag"),
        _shifted(-1),
        "The value n rows before (1 unless given), or the default (null unless given) where "
        "there is no such row; n and the default are constants. A negative n looks ahead.",
        arity=(1, 3),
        constant=(1, 2),
        nulls=Nulls.CALLED,
        examples=((([1, 2, 3],), [None, 1, 2]), (([1, 2, 3], 2, 0), [0, 0, 1])),
    ),
    _window(
        "lead",
        _shifted_type("lead"),
        _shifted(1),
        "The value n rows after (1 unless given), or the default (null unless given) where "
        "there is no such row; n and the default are constants. A negative n looks back.",
        arity=(1, 3),
        constant=(1, 2),
        nulls=Nulls.CALLED,
        examples=((([1, None, 3],), [None, 3, None]), (([1, 2, 3], 2, 0), [3, 0, 0])),
    ),
)
