"""Dataset: a collection of Python values, in the manner of Spark's RDD. Lazy."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from typing import Literal as OneOf

import pyarrow as pa

from umbel.api import loops
from umbel.api.display import DatasetDisplay
from umbel.api.handle import Handle, check_handle
from umbel.api.located import here, located_methods
from umbel.api.values import TypeLike, schema_of
from umbel.plan.errors import PlanError, RunError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    Broadcast,
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    Element,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    JoinByKey,
    Limit,
    Map,
    MapPartitions,
    Operator,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Sample,
    SortBy,
    ToFrame,
    Union,
    ZipWithId,
)
from umbel.plan.sinks import TextSink
from umbel.plan.types import is_object

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame
    from umbel.executor import Result
    from umbel.optimizer import Budget

Function = Callable[..., Any]
Broadcasts = Mapping[str, "Dataset"] | None
T = TypeVar("T")


def _itself(element: T) -> T:
    """Give an element as it is: what turns typed elements into plain Python objects."""
    return element


@located_methods
class Dataset(DatasetDisplay, Handle):
    """A bag of Python values. Nothing runs until it is collected.

    Functions are given one element at a time; where umbel can prove that an expression gives the
    same, an engine runs that instead. Any method that takes functions also takes
    `broadcast={"name": dataset}`, and hands the collected list to them as that keyword.

    >>> import umbel as ub
    >>> words = ub.connect().from_items(["a b", "b"]).flat_map(str.split)
    >>> counts = words.map(lambda w: (w, 1)).reduce_by_key(lambda a, b: a + b)
    >>> sorted(counts.collect())
    [('a', 1), ('b', 2)]
    """

    # --- element by element -------------------------------------------------------------------

    def map(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """`function(x)` for every element x."""
        sides = _sides(broadcast)
        return self._functional(
            Map(input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here())
        )

    def flat_map(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """Every item of the iterable `function(x)`, for every element x."""
        sides = _sides(broadcast)
        return self._functional(
            FlatMap(input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here())
        )

    def filter(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """The elements x for which `function(x)` is true."""
        sides = _sides(broadcast)
        return self._functional(
            FilterRows(
                input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here()
            )
        )

    def map_partitions(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """Every item of `function(iterator)`, called once for each part of the elements.

        How elements are divided into parts is not defined; each is in exactly one.
        """
        sides = _sides(broadcast)
        return self._functional(
            MapPartitions(
                input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here()
            )
        )

    def key_by(self, key: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """(key(x), x) for every element x."""
        sides = _sides(broadcast)
        named = _of(key, sides)

        def pair(element: Any, **side_inputs: Any) -> tuple[Any, Any]:
            return key(element, **side_inputs), element

        wrapped = PythonFunction.of(pair if sides else (lambda x: (key(x), x)), named.broadcast)
        function = replace(wrapped, name=named.name, file=named.file, line=named.line)
        return self._functional(
            Map(input=self.plan, function=function, broadcasts=sides, origin=here())
        )

    # --- by key -------------------------------------------------------------------------------

    def reduce_by_key(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """(key, its values combined two by two) for every key of (key, value) pairs.

        Args:
            function: combines two values; associative and commutative, as values come in any
                order.
            broadcast: further inputs of the function.
        """
        sides = _sides(broadcast)
        return self._functional(
            ReduceByKey(
                input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here()
            )
        )

    def reduce_by(
        self, key: Function, function: Function, *, broadcast: Broadcasts = None
    ) -> Dataset:
        """One element for every value of `key(x)`: its elements, combined two by two."""
        sides = _sides(broadcast)
        return self._functional(
            ReduceBy(
                input=self.plan,
                key=_of(key, sides),
                function=_of(function, sides),
                broadcasts=sides,
                origin=here(),
            )
        )

    def group_by_key(self) -> Dataset:
        """(key, list of its values) for every key of (key, value) pairs."""
        return self._functional(GroupByKey(input=self.plan, origin=here()))

    def group_by(self, key: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """(key, list of its elements) for every value of `key(x)`."""
        sides = _sides(broadcast)
        return self._functional(
            GroupBy(input=self.plan, key=_of(key, sides), broadcasts=sides, origin=here())
        )

    def reduce(self, function: Function, *, broadcast: Broadcasts = None) -> Dataset:
        """All elements combined two by two into one; a Dataset of one element, or of none."""
        sides = _sides(broadcast)
        return self._functional(
            Reduce(input=self.plan, function=_of(function, sides), broadcasts=sides, origin=here())
        )

    # --- with other datasets ------------------------------------------------------------------

    def join(self, other: Dataset) -> Dataset:
        """(key, (left value, right value)) for every two pairs with equal keys."""
        check_handle(other, Dataset, what="join")
        return self._then(JoinByKey(left=self.plan, right=other.plan, origin=here()), other)

    def co_group(self, other: Dataset) -> Dataset:
        """(key, (left values, right values)) for every key of either collection of pairs."""
        check_handle(other, Dataset, what="co_group")
        return self._then(CoGroup(left=self.plan, right=other.plan, origin=here()), other)

    def cartesian(self, other: Dataset) -> Dataset:
        """(left element, right element) for every two elements."""
        check_handle(other, Dataset, what="cartesian")
        return self._then(Cartesian(left=self.plan, right=other.plan, origin=here()), other)

    def union(self, *others: Dataset) -> Dataset:
        """The elements of all datasets; duplicates stay."""
        for other in others:
            check_handle(other, Dataset, what="union")
        members = self._alike(*others)
        return self._then(Union(members=members, origin=here()), *others)

    def intersect(self, other: Dataset) -> Dataset:
        """The distinct elements that are in both datasets."""
        check_handle(other, Dataset, what="intersect")
        left, right = self._alike(other)
        return self._then(Intersect(left=left, right=right, origin=here()), other)

    # --- order, identity, samples -------------------------------------------------------------

    def distinct(self) -> Dataset:
        """Each distinct element once."""
        return self._then(Distinct(input=self.plan, origin=here()))

    def sort_by(
        self,
        key: Function | None = None,
        descending: bool = False,
        *,
        broadcast: Broadcasts = None,
    ) -> Dataset:
        """The elements in order of `key(x)`, or of themselves."""
        sides = _sides(broadcast)
        function = None if key is None else _of(key, sides)
        return self._functional(
            SortBy(
                input=self.plan,
                key=function,
                descending=descending,
                broadcasts=sides,
                origin=here(),
            )
        )

    def zip_with_id(self) -> Dataset:
        """(id, element) for every element, with unique integers as ids."""
        return self._then(ZipWithId(input=self.plan, origin=here()))

    def sample(
        self, n: int | None = None, *, fraction: float | None = None, seed: int = 0
    ) -> Dataset:
        """The elements at distinct positions, drawn at random.

        Args:
            n: how many.
            fraction: or which part of all, from 0 to 1; rounded down to whole elements.
            seed: the same seed draws the same positions.
        """
        return self._then(
            Sample(input=self.plan, count=n, fraction=fraction, seed=seed, origin=here())
        )

    def limit(self, n: int) -> Dataset:
        """At most `n` elements; behind `sort_by` the first, else any."""
        return self._then(Limit(input=self.plan, count=n, origin=here()))

    # --- loops --------------------------------------------------------------------------------

    def repeat(self, n: int, body: Callable[[Dataset], Dataset]) -> Dataset:
        """Apply a body `n` times, each time to what it gave.

        Args:
            n: the number of rounds.
            body: gives a dataset from a dataset. It is called when the plan is built, on a
                dataset without data. Datasets from outside that it uses are computed once.
        """
        return loops.repeat(self, n, body)

    def do_while(
        self,
        condition: Callable[[Dataset], Dataset],
        body: Callable[[Dataset], Dataset],
        expected: int = 10,
        *,
        limit: int = 10_000,
    ) -> Dataset:
        """Apply a body until a condition on what it gave is false; at least once.

        Args:
            condition: gives a dataset of one boolean from a round's result.
            body: gives a dataset from a dataset; see `repeat`.
            expected: rounds to reckon with when planning.
            limit: rounds after which the run fails.
        """
        return loops.do_while(self, condition, body, expected, limit)

    # --- elsewhere ----------------------------------------------------------------------------

    def to_frame(
        self, schema: pa.Schema | Mapping[str, TypeLike] | Iterable[Any] | None = None
    ) -> DataFrame:
        """A DataFrame with the elements as rows.

        Args:
            schema: names and types of the columns: a pyarrow schema, or a mapping. Names alone do
                where the types are known, as behind `read_text`, `from_items` of one type, and
                `DataFrame.rows`; None keeps the names there too. Elements are tuples with an item
                for each column, mappings or named tuples by name, or single values.

        >>> import umbel as ub
        >>> ub.connect().from_items([("a", 1)]).to_frame(["word", "n"]).schema
        word: string not null
        n: int64 not null
        """
        from umbel.api.dataframe import DataFrame

        plan = ToFrame(input=self.plan, columns=self._frame_schema(schema), origin=here())
        return DataFrame(plan, self.session, (self.plan,))

    def _frame_schema(self, schema: Any) -> pa.Schema:
        known = self.plan.schema
        if schema is not None and not isinstance(schema, pa.Schema | Iterable):
            raise PlanError(f"to_frame takes names, or names and types, not {schema!r}")
        names = None if isinstance(schema, pa.Schema | Mapping) or schema is None else list(schema)
        if schema is None:
            names = list(known.names)
        if names is None or not all(isinstance(name, str) for name in names):
            return schema_of(schema if names is None else names)
        if any(is_object(field.type) for field in known):
            raise PlanError(
                "the types of these Python objects are not known when the plan is built",
                hint="say them: to_frame({'name': str, 'n': int})",
            )
        if len(names) != len(known):
            raise PlanError(
                f"the elements have {len(known)} items, but {len(names)} names are given"
            )
        if self.plan.element is Element.RECORD and names != list(known.names):
            raise PlanError(
                f"these named tuples have the fields {', '.join(known.names)}",
                hint="keep their names, and rename the frame's columns",
            )
        fields = zip(names, known, strict=True)
        return pa.schema([pa.field(name, f.type, f.nullable) for name, f in fields])

    # --- running ------------------------------------------------------------------------------

    def collect(self, *, budget: Budget | None = None) -> list[Any]:
        """Run, and give the elements as a list.

        Args:
            budget: bounds on what this run is estimated to cost; None for those of the session.
        """
        return self.execute(budget=budget).elements

    def count(self) -> int:
        """Run, and give the number of elements."""
        return int(self._run(Count(input=self.plan, origin=here())).elements[0])

    def sum(self) -> Any:
        """Run, and give the sum of the elements; 0 if there are none."""
        plan = Reduce(input=self.plan, function=PythonFunction.of(operator.add), origin=here())
        found = self._run(plan).elements
        return found[0] if found else 0

    def first(self) -> Any:
        """Run, and give an element: behind `sort_by` the first, else any.

        Raises:
            RunError: there is none.
        """
        found = self.take(1)
        if not found:
            raise RunError("there is no first element", hint="take(1) gives an empty list then")
        return found[0]

    def take(self, n: int) -> list[Any]:
        """Run, and give at most `n` elements."""
        return self._run(Limit(input=self.plan, count=n, origin=here())).elements

    def write_text(
        self, path: str | os.PathLike[str], *, exists: OneOf["replace", "fail"] = "replace"
    ) -> Result:
        """Run, and write a line of text for each element; the file appears whole or not at all.

        Args:
            path: the file; .gz, .zst and .bz2 are compressed.
            exists: replace a file that is there, or fail before anything runs.

        Returns:
            The path and the number of lines in `.table`, and the record of the run in `.run`.
        """
        return self._write(TextSink(os.fspath(path), exists))

    # --- within -------------------------------------------------------------------------------

    def _functional(self, plan: Operator) -> Dataset:
        return type(self)(plan, self.session, plan.inputs)

    def _as_objects(self) -> Dataset:
        """The same elements, as Python objects of no known type."""
        if self.plan.element is Element.OBJECT:
            return self
        function = PythonFunction.of(_itself)
        return self._functional(Map(input=self.plan, function=function, origin=here()))

    def _alike(self, *others: Dataset) -> tuple[Operator, ...]:
        """Plans of several datasets with elements of one form; no element changes its type."""
        datasets = (self, *others)
        if all(loops.same_elements(self.plan, other.plan) for other in others):
            return tuple(dataset.plan for dataset in datasets)
        return tuple(dataset._as_objects().plan for dataset in datasets)


def _sides(broadcast: Broadcasts) -> tuple[Operator, ...]:
    """The side inputs of an operator."""
    sides = []
    for keyword, dataset in (broadcast or {}).items():
        if not isinstance(keyword, str) or not keyword.isidentifier():
            raise PlanError(f"a broadcast is named by a keyword argument, not {keyword!r}")
        check_handle(dataset, Dataset, what=f"broadcast {keyword!r}")
        sides.append(Broadcast(input=dataset.plan, keyword=keyword, origin=here()))
    return tuple(sides)


def _of(function: Function, sides: tuple[Operator, ...]) -> PythonFunction:
    """Describe a function with the side inputs that it is given."""
    return PythonFunction.of(function, tuple(s.keyword for s in sides if isinstance(s, Broadcast)))
