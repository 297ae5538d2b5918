"""The small plans that calibration runs: one operator, source or hand-over each, and a few whole ones.

Inputs that are no source come as placeholders, so that an engine is given them in the channel that
it reads fastest. The whole plans at the end are kept from fitting: they show what the profile says
of plans that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.api.dataset import Dataset
from umbel.api.expressions import col, lit
from umbel.api.functions import rank, sum_of
from umbel.api.session import Session
from umbel.calibration.data import Data
from umbel.dataclass import dataclass
from umbel.optimizer.rewrite import rewrite
from umbel.plan.operators import Count, Element, Operator, Placeholder
from umbel.plan.operators.base import OBJECT_SCHEMA

#: Rows of each side of a cartesian product at most.
_CARTESIAN = 300


@dataclass(frozen=True)
class Micro:
    """A plan to be measured.

    Attributes:
        name: what it is about.
        root: the plan.
        inputs: for each placeholder's label its data: an Arrow table, or a list of elements.
        held_out: kept from fitting.
    """

    name: str
    root: Operator
    inputs: Mapping[str, Any]
    held_out: bool = False


@dataclass(frozen=True)
class Given:
    """What the plans of one size are made of."""

    data: Data
    paths: Mapping[str, Path]
    session: Session

    def frame(self, name: str) -> DataFrame:
        """A frame of a table that comes as a stage's input."""
        schema = self.data.tables[name].schema
        return DataFrame(Placeholder(label=name, columns=schema), self.session)

    def elements(self, name: str) -> Dataset:
        """A dataset that comes as a stage's input."""
        return Dataset(
            Placeholder(label=name, columns=OBJECT_SCHEMA, form=Element.OBJECT), self.session
        )

    def inputs(self) -> dict[str, Any]:
        """The data of all placeholders."""
        ids = range(self.data.rows)
        many = max(1, self.data.rows // 10)
        return {
            **self.data.tables,
            "lines": self.data.lines,
            "numbers": list(ids),
            "pairs": [(i % many, i) for i in ids],
            "few": list(range(min(self.data.rows, _CARTESIAN))),
        }


def micro_plans(data: Data, paths: Mapping[str, Path], session: Session) -> list[Micro]:
    """Make the plans over data of one size.

    Args:
        data: the data.
        paths: files of it, by suffix.
        session: what frames belong to; it runs nothing.
    """
    given = Given(data, paths, session)
    inputs = given.inputs()
    found = []
    for held_out, makers in ((False, (_sources, _frames, _datasets)), (True, (_whole,))):
        for maker in makers:
            for name, handle in maker(given):
                root = rewrite(handle.plan, lifting=False)
                labels = {step.label for step in _placeholders(root)}
                used = {label: inputs[label] for label in sorted(labels)}
                found.append(Micro(name, root, used, held_out))
    return found


def _placeholders(root: Operator) -> Iterator[Placeholder]:
    if isinstance(root, Placeholder):
        yield root
    for child in root.inputs:
        yield from _placeholders(child)


Handles = Iterator[tuple[str, DataFrame | Dataset]]


def _sources(given: Given) -> Handles:
    """Reading each kind of source: little of it, and all."""
    session, paths = given.session, given.paths
    frames: dict[str, Callable[[], DataFrame]] = {
        "parquet": lambda: session.read_parquet(paths["parquet"]),
        "csv": lambda: session.read_csv(paths["csv"]),
        "json": lambda: session.read_json(paths["jsonl"]),
        "ipc": lambda: session.read_ipc(paths["arrow"]),
        "memory": lambda: session.from_arrow(given.data.tables["facts"]),
    }
    for kind, read in frames.items():
        yield f"read {kind}", read()
        yield f"read two columns of {kind}", read().select("id", "x")
        yield f"count {kind}", read().select(sum_of("id"))
    text = session.read_text(paths["txt"])
    yield "read text", text
    yield "lines to a frame", text.to_frame(["line"])


def _frames(given: Given) -> Handles:
    """Each relational operator, over inputs in the fastest channel."""
    facts, others = given.frame("facts"), given.frame("others")
    half, groups = given.frame("half"), given.frame("groups")
    yield "project columns", facts.select("id", "x")
    yield "project all", facts.with_columns(again=col("id"))
    yield "float arithmetic", facts.select(y=col("x") * (lit(1.0) - col("x")) + 0.5)
    yield "integer arithmetic", facts.select(y=col("id") + col("g"))
    yield "decimal arithmetic", facts.select(y=col("price") * col("price"))
    yield "lower case", facts.select(y=col("name").str.to_lowercase())
    yield "strip", facts.select(y=col("name").str.strip_chars())
    yield "filter half", facts.filter(col("g") < 50).select("id", "x")
    yield "filter few", facts.filter(col("g") == 7)
    yield "filter text", facts.filter(col("name").str.contains("fennel", literal=True))
    yield "join half", facts.select("id", "g").join(half, on="id")
    yield "join groups", facts.select("g", "x").join(groups, on="g")
    yield "join wide", facts.join(others, on="id")
    yield "semi join", facts.select("id", "g").join(half, on="id", how="semi")
    yield "aggregate all", facts.select(sum_of("x"), n=col("id").count())
    yield "aggregate to few", facts.group_by("g").agg(sum_of("x"), n=col("id").count())
    yield "aggregate to many", facts.group_by("h").agg(sum_of("x"), n=col("id").count())
    yield "aggregate to all", facts.group_by("id").agg(sum_of("x"))
    yield "aggregate decimals", facts.group_by("g").agg(sum_of("price"), m=col("price").mean())
    yield "aggregate by text", facts.group_by("name").agg(sum_of("x"))
    yield "distinct", facts.select("h").distinct()
    yield "sort numbers", facts.select("id", "x").sort("id")
    yield "sort text", facts.select("name", "x").sort("name")
    yield "sort wide", facts.sort("x")
    yield "greatest", facts.sort("x", descending=True).limit(10)
    yield "limit", facts.limit(10)
    yield "union", facts.union(others)
    yield "intersect", facts.select("h").intersect(others.select("h"))
    yield "except", facts.select("id").except_(others.filter(col("g") < 9).select("id"))
    yield "explode", facts.select(w=col("name").str.split()).explode("w")
    yield "rank", facts.select("id", r=rank().over("g", order_by="id"))
    yield "window sum", facts.select("id", s=col("x").sum().over("h"))
    yield "sample", facts.sample(100, seed=1)
    yield "count rows", Dataset(Count(input=facts.plan), given.session)


def _datasets(given: Given) -> Handles:
    """Each operator on Python values, with functions that do little."""
    numbers, pairs, lines = (given.elements(n) for n in ("numbers", "pairs", "lines"))
    facts, few = given.frame("facts"), given.elements("few")
    yield "map", numbers.map(_pair)
    yield "flat map", lines.flat_map(str.split)
    yield "filter elements", numbers.filter(_odd)
    yield "map partitions", numbers.map_partitions(_list)
    yield "reduce by key", pairs.reduce_by_key(_add)
    yield "reduce by", numbers.reduce_by(_last_digit, _add)
    yield "group by key", pairs.group_by_key()
    yield "group by", numbers.group_by(_last_digit)
    yield "reduce", numbers.reduce(_add)
    yield "join by key", pairs.join(pairs.map(_negated))
    yield "co-group", pairs.co_group(pairs.map(_negated))
    yield "cartesian", few.cartesian(few)
    yield "sort by", numbers.sort_by(_last_digit)
    yield "zip with id", numbers.zip_with_id()
    yield "distinct elements", pairs.map(_first).distinct()
    yield "rows", facts.select("id", "x").rows()
    yield "to frame", pairs.to_frame({"h": pa.int64(), "id": pa.int64()})


def _whole(given: Given) -> Handles:
    """Plans of several operators, as people write them."""
    session, paths = given.session, given.paths
    read = session.read_parquet(paths["parquet"])
    half, groups = given.frame("half"), given.frame("groups")
    yield (
        "report over Parquet",
        read.filter(col("g") < 60)
        .join(half, on="id")
        .group_by("g")
        .agg(sum_of("rate"), sum_of("x"))
        .sort("g"),
    )
    yield (
        "totals of CSV",
        session.read_csv(paths["csv"]).filter(col("x") > 0.2).group_by("g").agg(sum_of("x")),
    )
    yield (
        "best of two joins",
        given.frame("facts").join(half, on="id").join(groups, on="g").sort("rate").limit(20),
    )
    yield (
        "prices by name",
        read.filter(col("x") < 0.9)
        .select("g", "name", cost=col("price") * col("price"))
        .group_by("g")
        .agg(sum_of("cost"), longest=col("name").max()),
    )
    yield (
        "latest of each group",
        given.frame("facts").with_columns(r=rank().over("h", order_by="x")).filter(col("r") == 1),
    )
    words = session.read_text(paths["txt"]).flat_map(str.split).map(_one)
    yield "count words", words.reduce_by_key(_add)
    yield "odd squares", given.elements("numbers").filter(_odd).map(_pair).sort_by(_first)


def _pair(number: int) -> tuple[int, int]:
    return number % 10, number


def _one(word: str) -> tuple[str, int]:
    return word.lower(), 1


def _odd(number: int) -> bool:
    return number % 2 == 1


def _add(a: int, b: int) -> int:
    return a + b


def _last_digit(number: int) -> int:
    return number % 10


def _list(numbers: Sequence[int]) -> list[int]:
    return list(numbers)


def _negated(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[0], -pair[1]


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


__all__ = ["Micro", "micro_plans"]
