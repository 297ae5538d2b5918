"""DataFrame: a relation with a known schema. Lazy; its methods follow Polars."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar
from typing import Literal as OneOf

import pyarrow as pa

from umbel.api.binding import (
    Named,
    bind,
    bind_one,
    extract_aggregates,
    extract_windows,
    flatten,
    fresh_names,
    has,
    is_constant,
    is_reduced,
    project,
    windows_for_aggregates,
)
from umbel.api.display import FrameDisplay
from umbel.api.expression_aggregates import conjunction
from umbel.api.expression_base import ExprBase, sort_keys
from umbel.api.expressions import Expr, col, into_expr
from umbel.api.grouping import GroupBy
from umbel.api.handle import Handle, check_handle
from umbel.api.joins import How, build_join
from umbel.api.located import here, located_methods
from umbel.api.values import TypeLike
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Expression,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Except,
    Explode,
    Filter,
    Intersect,
    Limit,
    Operator,
    Project,
    Rows,
    Sample,
    Sort,
    Union,
    Values,
)
from umbel.plan.sinks import CsvSink, DeltaSink, IpcSink, JsonLinesSink, ParquetSink, TextSink
from umbel.plan.sources import split_name

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from umbel.api.catalog import TableName
    from umbel.api.dataset import Dataset
    from umbel.executor import Result
    from umbel.optimizer import Budget

P = ParamSpec("P")
R = TypeVar("R")
Path = str | os.PathLike[str]

#: Methods of a Dataset that people look for here.
_OF_ROWS = frozenset(
    ("map", "flat_map", "map_partitions", "key_by", "reduce", "reduce_by", "reduce_by_key")
)


@located_methods
class DataFrame(FrameDisplay, Handle):
    """A relation: named, typed columns and a bag of rows. Nothing runs until it is collected.

    >>> import umbel as ub
    >>> df = ub.connect().from_dict({"a": [1, 2], "b": ["x", None]})
    >>> df.select("b", double=ub.col("a") * 2).columns
    ['b', 'double']
    """

    # --- what it is ---------------------------------------------------------------------------

    @property
    def schema(self) -> pa.Schema:
        """The columns' names and types."""
        return self.plan.schema

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self.plan.schema.names)

    @property
    def dtypes(self) -> list[pa.DataType]:
        """The columns' types."""
        return list(self.plan.schema.types)

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.plan.schema)

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        def __getattr__(self, name: str) -> NoReturn:
            plan = vars(self).get("plan")
            what = ""
            if plan is not None and name in plan.schema.names:
                what = f": umbel.col({name!r}) is the column"
            elif name in _OF_ROWS:
                what = f": .rows().{name}(...) calls Python functions with its rows"
            raise AttributeError(
                f"a DataFrame has no attribute {name!r}{what}", name=name, obj=self
            )

        def __getitem__(self, key: Any) -> NoReturn:
            if isinstance(key, str):
                hint = f"umbel.col({key!r}) is the column, and .select({key!r}) keeps it"
            else:
                hint = "rows are asked for by .filter(...), .slice(...) or .to_dicts()"
            raise PlanError(f"a DataFrame has no item {key!r}", hint=hint)

    # --- columns ------------------------------------------------------------------------------

    def select(self, *exprs: Any, **named_exprs: Any) -> DataFrame:
        """Compute columns; only these are in the result.

        Aggregates give one row; beside other columns they give their value to every row.

        Args:
            *exprs: names of columns, or expressions.
            **named_exprs: expressions by the name of the result.
        """
        pairs = bind(exprs, named_exprs, self.schema)
        if not pairs:
            raise PlanError("select needs at least one column")
        if all(is_reduced(node) for _, node in pairs):
            return self._then(self._reduced(pairs))
        return self._then(self._projected(pairs))

    def _reduced(self, pairs: list[Named]) -> Operator:
        """One row of aggregates and constants."""
        origin = here()
        if all(is_constant(node) for _, node in pairs):
            one_row = Values(table=pa.table({"_row": pa.array([0])}), origin=origin)
            return Project(input=one_row, columns=tuple(pairs), origin=origin)
        rebuilt, below = extract_aggregates((), pairs, self.plan, origin)
        return project(rebuilt, below, origin)

    def _projected(self, pairs: list[Named]) -> Operator:
        """One row for each row."""
        origin = here()
        rebuilt, below = extract_windows(windows_for_aggregates(pairs), self.plan, origin)
        return project(rebuilt, below, origin)

    def with_columns(self, *exprs: Any, **named_exprs: Any) -> DataFrame:
        """Add columns, or replace those of the same names."""
        pairs = bind(exprs, named_exprs, self.schema)
        new: dict[str, Expression] = {}
        for name, node in pairs:
            if name in new:
                raise PlanError(
                    f"column {name!r} is defined twice", hint="give one of them another .alias(...)"
                )
            new[name] = node
        kept = [(name, new.pop(name, Column(name))) for name in self.columns]
        return self._then(self._projected([*kept, *new.items()]))

    def drop(self, *columns: Any, strict: bool = True) -> DataFrame:
        """Leave columns out.

        Args:
            *columns: their names.
            strict: a column that does not exist is an error.
        """
        names = self._names(columns, what="drop") if strict else set(_texts(columns, "drop"))
        kept = [(name, Column(name)) for name in self.columns if name not in names]
        if not kept:
            raise PlanError("drop leaves no column")
        return self._then(project(kept, self.plan, here()))

    def rename(self, mapping: Mapping[str, str], *, strict: bool = True) -> DataFrame:
        """Rename columns.

        Args:
            mapping: old to new names.
            strict: a column that does not exist is an error.
        """
        if strict:
            self._names(mapping, what="rename")
        pairs = [(mapping.get(name, name), Column(name)) for name in self.columns]
        return self._then(project(pairs, self.plan, here()))

    def cast(self, dtypes: TypeLike | Mapping[str, TypeLike], *, strict: bool = True) -> DataFrame:
        """Convert columns to other types: all to one, or each as a mapping says."""
        if not isinstance(dtypes, Mapping):
            dtypes = dict.fromkeys(self.columns, dtypes)
        self._names(dtypes, what="cast")
        return self.with_columns(*(col(n).cast(t, strict=strict) for n, t in dtypes.items()))

    def with_row_index(
        self, name: str = "index", offset: int = 0, *, order_by: Any = None
    ) -> DataFrame:
        """Add a first column that numbers the rows in an order.

        Args:
            name: the new column.
            offset: the first number.
            order_by: the order, as rows have none of their own.
        """
        from umbel.api.functions import row_number

        if order_by is None:
            raise PlanError(
                "with_row_index needs an order, and the rows of a frame have none",
                hint="say which: with_row_index(order_by=...)",
            )
        number = row_number().over(order_by=order_by) + (offset - 1)
        return self.select(number.alias(name), *self.columns)

    def _names(self, names: Any, *, what: str) -> set[str]:
        """Columns by name, all of which exist."""
        found = set(_texts(names, what))
        for name in found:
            if name not in self.columns:
                raise UnknownNameError("column", name, self.columns, where=what)
        return found

    # --- rows ---------------------------------------------------------------------------------

    def filter(self, *predicates: Any, **constraints: Any) -> DataFrame:
        """Keep the rows for which all predicates are true; false and null drop a row.

        Args:
            *predicates: boolean expressions.
            **constraints: columns and the values that they must equal.
        """
        nodes = [node for _, node in bind(predicates, {}, self.schema)]
        for name, value in constraints.items():
            nodes.append(bind_one(col(name) == value, self.schema, what="filter")[1])
        condition, origin = conjunction(nodes), here()
        if not has(condition, (AggregateCall, WindowCall)):
            return self._then(Filter(input=self.plan, predicate=condition, origin=origin))
        pairs = windows_for_aggregates([(_free("_keep_", self.columns), condition)])
        [(_, predicate)], below = extract_windows(pairs, self.plan, origin)
        filtered = Filter(input=below, predicate=predicate, origin=origin)
        return self._then(project([(n, Column(n)) for n in self.columns], filtered, origin))

    def sort(
        self,
        by: Any,
        *more_by: Any,
        descending: bool | Sequence[bool] = False,
        nulls_last: bool | Sequence[bool] = True,
    ) -> DataFrame:
        """Order the rows; for the result, `limit`, `filter` and `select` right behind it.

        Args:
            by: columns or expressions.
            *more_by: further ones.
            descending: the direction of all, or one for each.
            nulls_last: where nulls go, for all or for each. NaN is greater than any number.
        """
        values = [into_expr(v) for v in flatten([by, *more_by])]
        expanded = [Expr(node) for _, node in bind(values, {}, self.schema)]
        keys = sort_keys(expanded, descending, nulls_last)
        origin = here()
        if not any(has(key.expression, (AggregateCall, WindowCall)) for key in keys):
            return self._then(Sort(input=self.plan, keys=keys, origin=origin))
        names = fresh_names(self.columns, "_key_")
        pairs = windows_for_aggregates([(next(names), key.expression) for key in keys])
        rebuilt, below = extract_windows(pairs, self.plan, origin)
        keys = tuple(
            SortKey(node, key.descending, key.nulls_first)
            for (_, node), key in zip(rebuilt, keys, strict=True)
        )
        ordered = Sort(input=below, keys=keys, origin=origin)
        return self._then(project([(n, Column(n)) for n in self.columns], ordered, origin))

    def limit(self, n: int = 5) -> DataFrame:
        """At most the first `n` rows; behind `sort` in its order, else any."""
        return self._then(Limit(input=self.plan, count=n, origin=here()))

    def head(self, n: int = 5) -> DataFrame:
        """As `limit`."""
        return self.limit(n)

    def slice(self, offset: int, length: int | None = None) -> DataFrame:
        """At most `length` rows after skipping `offset`."""
        return self._then(Limit(input=self.plan, count=length, offset=offset, origin=here()))

    def distinct(self) -> DataFrame:
        """Each distinct row once; null equals null."""
        return self._then(Distinct(input=self.plan, origin=here()))

    def unique(
        self,
        subset: str | Sequence[str] | None = None,
        *,
        keep: OneOf["any", "first", "last", "none"] = "any",
        order_by: Any = None,
    ) -> DataFrame:
        """One row for each distinct value of some columns.

        Args:
            subset: the columns; all if None.
            keep: which row to keep: "first" or "last" in an order, "none" of those that are not
                alone, or "any", which is the first by the values of the other columns, so that
                every engine keeps the same.
            order_by: the order for "first" and "last".
        """
        from umbel.api.functions import count_rows, row_number

        if keep not in ("any", "first", "last", "none"):
            raise PlanError(f"keep is any, first, last or none, not {keep!r}")
        if subset is None and keep == "any":
            return self.distinct()
        names = _texts([subset], "unique") if subset is not None else self.columns
        self._names(names, what="unique")
        if keep == "none":
            return self.filter(count_rows().over(*names) == 1)
        if keep == "any":
            rest = [f.name for f in self.schema if f.name not in names and _has_order(f.type)]
            order_by = rest or names
        elif order_by is None:
            raise PlanError(
                f"keep={keep!r} needs an order, and the rows of a frame have none",
                hint=f"say which: unique(..., keep={keep!r}, order_by=...)",
            )
        place = row_number().over(*names, order_by=order_by, descending=keep == "last")
        return self.filter(place == 1)

    def drop_nulls(self, subset: str | Sequence[str] | None = None) -> DataFrame:
        """Drop the rows with a null in one of some columns, or in any."""
        names = self.columns if subset is None else _texts([subset], "drop_nulls")
        return self.filter(*(col(name).is_not_null() for name in names))

    def fill_null(self, value: Any) -> DataFrame:
        """Replace nulls in all columns by a value; each column must take it."""
        return self.with_columns(*(col(name).fill_null(value) for name in self.columns))

    def explode(self, column: str, *, outer: bool = False) -> DataFrame:
        """One row for each item of a column of lists.

        Args:
            column: the column, which then has the items.
            outer: keep rows with a null or empty list, with a null item.
        """
        return self._then(
            Explode(input=self.plan, column=_text(column), outer=outer, origin=here())
        )

    def sample(
        self, n: int | None = None, *, fraction: float | None = None, seed: int = 0
    ) -> DataFrame:
        """Rows at distinct positions, drawn at random.

        Args:
            n: how many.
            fraction: or which part of all, from 0 to 1; rounded down to whole rows.
            seed: the same seed draws the same positions.
        """
        return self._then(
            Sample(input=self.plan, count=n, fraction=fraction, seed=seed, origin=here())
        )

    # --- with other frames --------------------------------------------------------------------

    def join(
        self,
        other: DataFrame,
        on: Any = None,
        how: How = "inner",
        *,
        left_on: Any = None,
        right_on: Any = None,
        suffix: str = "_right",
        coalesce: bool | None = None,
        where: Any = None,
    ) -> DataFrame:
        """Match rows of two frames by equal keys. A null key matches nothing.

        The right keys are left out, as they equal the left ones (in a right or full join the
        keys are those of the side that has the row). Other columns that exist on both sides get
        a suffix on the right.

        Args:
            other: the right frame.
            on: keys of the same name on both sides.
            how: inner, left, right, full, semi (left rows that match), anti (left rows that do
                not), or cross (every pair; without keys).
            left_on: keys of the left frame, columns or expressions.
            right_on: as many keys of the right frame.
            suffix: for columns of the right frame whose name the left one has.
            coalesce: False keeps the keys of both sides.
            where: a further condition on a pair, over the columns of both sides, those of the
                right with their suffix.
        """
        check_handle(other, DataFrame, what="join")
        plan = build_join(
            self.plan,
            other.plan,
            how=how,
            on=on,
            left_on=left_on,
            right_on=right_on,
            suffix=suffix,
            coalesce=coalesce,
            where=where,
            origin=here(),
        )
        return self._then(plan, other)

    def union(self, *others: DataFrame, distinct: bool = False) -> DataFrame:
        """The rows of all frames; with `distinct`, each distinct row once."""
        for other in others:
            check_handle(other, DataFrame, what="union")
        members = (self.plan, *(other.plan for other in others))
        return self._then(Union(members=members, distinct=distinct, origin=here()), *others)

    def intersect(self, other: DataFrame) -> DataFrame:
        """The distinct rows that are in both frames."""
        check_handle(other, DataFrame, what="intersect")
        return self._then(Intersect(left=self.plan, right=other.plan, origin=here()), other)

    def except_(self, other: DataFrame) -> DataFrame:
        """The distinct rows that are not in the other frame."""
        check_handle(other, DataFrame, what="except_")
        return self._then(Except(left=self.plan, right=other.plan, origin=here()), other)

    # --- groups -------------------------------------------------------------------------------

    def group_by(self, *by: Any, **named_by: Any) -> GroupBy:
        """Group the rows by columns or expressions; nulls form a group, and so do NaNs.

        >>> import umbel as ub
        >>> df = ub.connect().from_dict({"g": ["x", "y"], "a": [1, 2]})
        >>> df.group_by("g").agg(ub.len(), total=ub.col("a").sum()).columns
        ['g', 'len', 'total']
        """
        keys = bind(by, named_by, self.schema)
        if not keys:
            raise PlanError("group_by needs at least one key", hint="without keys use select")
        return GroupBy(self, keys)

    def describe(self) -> DataFrame:
        """Statistics of every column, one row for each: count, nulls, mean, extremes, quartiles."""
        from umbel.api.describe import describe

        return self._then(describe(self.plan, here()))

    def policy(self) -> str:
        """Say what of the tables that the rows are made of may leave their sites, in plain words.

        >>> import umbel as ub
        >>> ub.connect().from_dict({"a": [1]}).policy()
        'no table of it lies at a site of others'
        """
        return self.session.policy_of(self.plan)

    # --- elsewhere ----------------------------------------------------------------------------

    def rows(self) -> Dataset:
        """The rows as a Dataset of named tuples."""
        from umbel.api.dataset import Dataset

        plan = Rows(input=self.plan, origin=here())
        return Dataset(plan, self.session, (self.plan,))

    def pipe(
        self, function: Callable[Concatenate[DataFrame, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function on this frame: `df.pipe(f, 1)` is `f(df, 1)`."""
        return function(self, *args, **kwargs)

    # --- running ------------------------------------------------------------------------------

    def collect(self, *, budget: Budget | None = None) -> pa.Table:
        """Run, and give the rows as a pyarrow Table.

        Args:
            budget: bounds on what this run is estimated to cost; None for those of the session.
        """
        return self.execute(budget=budget).table

    def to_sql(self, dialect: str = "duckdb") -> str:
        """Write the frame's plan as one SQL statement, which `session.sql` reads back.

        Tables go by the names that SQL has for them in this session. Functions that SQL has no
        word for stand by their names in the catalogue, with `umbel_` before them; so do those
        that mean something else in SQL.

        Args:
            dialect: one of sqlglot's.

        Raises:
            PlanError: something in the plan has no SQL.

        >>> import umbel as ub
        >>> session = ub.connect()
        >>> session.register("t", session.from_dict({"a": [1, 2]}))
        >>> text = session.registered["t"].filter(ub.col("a") > 1).to_sql()
        >>> print(text.splitlines()[0], "...", session.sql(text).collect().to_pydict())
        SELECT ... {'a': [2]}
        """
        from umbel.api.sql import SessionNames
        from umbel.sql.writing import write_sql

        return write_sql(self.plan, SessionNames(self.session), dialect=dialect)

    def to_arrow(self) -> pa.Table:
        """As `collect`."""
        return self.collect()

    def to_polars(self) -> pl.DataFrame:
        """Run, and give the rows as a Polars DataFrame."""
        import polars as pl

        frame = pl.from_arrow(self.collect())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Run, and give the rows as a pandas DataFrame."""
        return self.collect().to_pandas()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Run, and give each row as a dictionary."""
        return list(self.collect().to_pylist())

    def count(self) -> int:
        """Run, and give the number of rows."""
        call = AggregateCall("len")
        plan = Aggregate(input=self.plan, aggregates=(("len", call),), origin=here())
        return int(self._run(plan).table["len"][0].as_py())

    def first(self) -> Any:
        """Run, and give the first row as a named tuple; an error if there is none."""
        return self.rows().first()

    def take(self, n: int) -> list[Any]:
        """Run, and give at most `n` rows as named tuples."""
        return self.rows().take(n)

    def write_parquet(
        self,
        path: Path,
        *,
        compression: OneOf["zstd", "snappy", "none"] = "zstd",
        exists: OneOf["replace", "fail"] = "replace",
    ) -> Result:
        """Run, and write the rows to a Parquet file, which appears whole or not at all.

        Args:
            path: the file.
            compression: zstd, snappy or none.
            exists: replace a file that is there, or fail before anything runs.

        Returns:
            The path and the number of rows in `.table`, and the record of the run in `.run`.
        """
        return self._write(ParquetSink(os.fspath(path), exists, compression=compression))

    def write_csv(self, path: Path, *, exists: OneOf["replace", "fail"] = "replace") -> Result:
        """Run, and write the rows to a CSV file; see `write_parquet`."""
        return self._write(CsvSink(os.fspath(path), exists))

    def write_json(self, path: Path, *, exists: OneOf["replace", "fail"] = "replace") -> Result:
        """Run, and write the rows to a file of one JSON object a line; see `write_parquet`."""
        return self._write(JsonLinesSink(os.fspath(path), exists))

    def write_ipc(self, path: Path, *, exists: OneOf["replace", "fail"] = "replace") -> Result:
        """Run, and write the rows to an Arrow IPC file; see `write_parquet`."""
        return self._write(IpcSink(os.fspath(path), exists))

    def write_text(self, path: Path, *, exists: OneOf["replace", "fail"] = "replace") -> Result:
        """Run, and write each row as a line of text; see `write_parquet`."""
        return self._write(TextSink(os.fspath(path), exists))

    def write_delta(
        self,
        path: Path,
        *,
        mode: OneOf["error", "replace", "append"] = "error",
        partition_by: str | Sequence[str] = (),
    ) -> Result:
        """Run, and write the rows as the next version of a Delta table, all of them or none.

        Args:
            path: its folder, of this machine or an object store.
            mode: what to do if it exists: fail before anything runs, replace it, or append rows.
            partition_by: columns whose values say in which folders the files of a new table go.

        Returns:
            The folder and the number of rows in `.table`, and the record of the run in `.run`.
        """
        columns = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
        return self._write(DeltaSink(path=os.fspath(path), mode=mode, partition_by=columns))

    def write_iceberg(
        self,
        table: TableName,
        *,
        catalog: str,
        mode: OneOf["error", "replace", "append"] = "error",
        partition_by: str | Sequence[str] = (),
    ) -> Result:
        """Run, and write the rows as the next snapshot of an Iceberg table, all of them or none.

        Args:
            table: its name in the catalogue, "db.table".
            catalog: what the catalogue is attached as.
            mode: what to do if it exists: fail before anything runs, replace its rows, or append.
            partition_by: columns whose values a new table's files are split by.

        Returns:
            The table and the number of rows in `.table`, and the record of the run in `.run`.
        """
        parts = split_name(table) if isinstance(table, str) else tuple(table)
        return self.write_table((catalog, *parts), mode=mode, partition_by=partition_by)

    def write_table(
        self,
        name: TableName,
        *,
        mode: OneOf["error", "replace", "append"] = "error",
        **options: Any,
    ) -> Result:
        """Run, and write the rows to a table of what is attached to the session, whole or not.

        Args:
            name: such as "warehouse.late_orders".
            mode: what to do if it exists: fail before anything runs, replace it, or append rows.
            options: what the kind of namespace offers.

        Returns:
            The table and the number of rows in `.table`, and the record of the run in `.run`.
        """
        return self._write(self.session.catalog.sink(name, mode, **options))

    def __narwhals_lazyframe__(self) -> Any:
        """The frame as Narwhals sees it; `narwhals.from_native` calls this."""
        from umbel.api.narwhals_door import compliant_frame

        return compliant_frame(self)


def _text(value: Any) -> str:
    if isinstance(value, ExprBase) and isinstance(value.node, Column) and value.selection is None:
        return value.node.name
    if not isinstance(value, str):
        raise PlanError(f"a column's name is text, not {value!r}")
    return value


def _texts(values: Iterable[Any], what: str) -> list[str]:
    names: list[str] = []
    for value in flatten(values):
        if isinstance(value, ExprBase) and value.selection is not None and value.selection.names:
            names.extend(value.selection.names)
        else:
            names.append(_text(value))
    if not names:
        raise PlanError(f"{what} needs at least one column")
    return names


def _free(stem: str, taken: Iterable[str]) -> str:
    return next(fresh_names(taken, stem))


def _has_order(dtype: pa.DataType) -> bool:
    return not pa.types.is_nested(dtype)
