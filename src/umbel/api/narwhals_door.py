"""DataFrames as Narwhals frames: `narwhals.from_native(df)` works, and so does code written for it.

Narwhals recognises a frame by `__narwhals_lazyframe__`, and calls the methods below. Everything
is lazy; `collect` runs the plan. This module is imported by that call only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import narwhals as nw
from narwhals.utils import Implementation, Version

from umbel.api import functions as F  # noqa: N812  (as PySpark names it)
from umbel.api.dataframe import DataFrame
from umbel.api.expressions import Expr, col, lit, when
from umbel.api.narwhals_expressions import CompliantExpr, arrow_type, unsupported
from umbel.plan.errors import PlanError


def compliant_frame(frame: DataFrame) -> CompliantFrame:
    """Wrap a DataFrame for Narwhals."""
    return CompliantFrame(frame, Version.MAIN)


class CompliantFrame:
    """What Narwhals calls a lazy frame."""

    def __init__(self, frame: DataFrame, version: Any) -> None:
        self._native_frame = frame
        self._version = version
        self._implementation = Implementation.UNKNOWN

    def __narwhals_lazyframe__(self) -> CompliantFrame:
        return self

    def __narwhals_namespace__(self) -> CompliantNamespace:
        return CompliantNamespace(self._version)

    def __native_namespace__(self) -> ModuleType:
        import umbel

        return umbel

    @property
    def native(self) -> DataFrame:
        """The DataFrame."""
        return self._native_frame

    def _with_version(self, version: Any) -> CompliantFrame:
        return CompliantFrame(self.native, version)

    def _with_native(self, frame: DataFrame) -> CompliantFrame:
        return CompliantFrame(frame, self._version)

    def to_narwhals(self) -> Any:
        """The frame that users of Narwhals hold."""
        return self._version.lazyframe(self, level="lazy")

    def _evaluate(self, expressions: Iterable[CompliantExpr]) -> list[Expr]:
        """Give the named expressions over this frame."""
        return [
            expression.alias(name)
            for compliant in expressions
            for expression, name in zip(compliant(self), compliant.output_names(self), strict=True)
        ]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise unsupported(f"LazyFrame.{name}")

    # --- what it is ---------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return self.native.columns

    @property
    def schema(self) -> Mapping[str, Any]:
        """The columns' Narwhals types."""
        return nw.from_native(self.native.schema.empty_table(), eager_only=True).schema

    def collect_schema(self) -> Mapping[str, Any]:
        """As `schema`."""
        return self.schema

    # --- rows and columns ---------------------------------------------------------------------

    def simple_select(self, *column_names: str) -> CompliantFrame:
        """Select columns by name."""
        return self._with_native(self.native.select(*column_names))

    def select(self, *exprs: CompliantExpr) -> CompliantFrame:
        """Compute columns."""
        return self._with_native(self.native.select(*self._evaluate(exprs)))

    def aggregate(self, *exprs: CompliantExpr) -> CompliantFrame:
        """Compute one row of aggregates."""
        return self.select(*exprs)

    def with_columns(self, *exprs: CompliantExpr) -> CompliantFrame:
        """Add or replace columns."""
        return self._with_native(self.native.with_columns(*self._evaluate(exprs)))

    def filter(self, predicate: CompliantExpr) -> CompliantFrame:
        """Keep the rows for which a predicate is true."""
        return self._with_native(self.native.filter(*predicate(self)))

    def drop(self, columns: Sequence[str], *, strict: bool) -> CompliantFrame:
        """Leave columns out."""
        return self._with_native(self.native.drop(*columns, strict=strict))

    def rename(self, mapping: Mapping[str, str]) -> CompliantFrame:
        """Rename columns."""
        return self._with_native(self.native.rename(mapping, strict=False))

    def cast(self, dtypes: Mapping[str, Any]) -> CompliantFrame:
        """Convert columns to other types."""
        types = {name: arrow_type(dtype) for name, dtype in dtypes.items()}
        return self._with_native(self.native.cast(types))

    def head(self, n: int) -> CompliantFrame:
        """At most the first `n` rows."""
        return self._with_native(self.native.limit(n))

    def sort(self, *by: str, descending: bool | Sequence[bool], nulls_last: bool) -> CompliantFrame:
        """Order the rows."""
        return self._with_native(
            self.native.sort(*by, descending=descending, nulls_last=nulls_last)
        )

    def top_k(self, k: int, *, by: Iterable[str], reverse: bool | Sequence[bool]) -> CompliantFrame:
        """The greatest rows in an order."""
        keys = list(by)
        flags = [reverse] * len(keys) if isinstance(reverse, bool) else list(reverse)
        ordered = self.native.sort(keys, descending=[not flag for flag in flags])
        return self._with_native(ordered.limit(k))

    def drop_nulls(self, subset: Sequence[str] | None) -> CompliantFrame:
        """Drop rows with nulls."""
        return self._with_native(self.native.drop_nulls(subset))

    def unique(
        self, subset: Sequence[str] | None, *, keep: Any, order_by: Sequence[str] | None
    ) -> CompliantFrame:
        """One row for each distinct value of some columns."""
        order = list(order_by) if order_by else None
        if keep in ("first", "last") and order is None:
            raise PlanError(f"unique with keep={keep!r} needs order_by on a lazy frame")
        return self._with_native(self.native.unique(subset, keep=keep, order_by=order))

    def with_row_index(self, name: str, order_by: Sequence[str] | None) -> CompliantFrame:
        """Number the rows in an order."""
        order = list(order_by) if order_by else None
        return self._with_native(self.native.with_row_index(name, order_by=order))

    def explode(
        self, columns: Sequence[str], *, empty_as_null: bool = True, keep_nulls: bool = True
    ) -> CompliantFrame:
        """One row for each item of a list."""
        if len(columns) != 1 or empty_as_null != keep_nulls:
            raise unsupported("explode of several columns, or of empty and null lists differently")
        return self._with_native(self.native.explode(columns[0], outer=keep_nulls))

    def unpivot(
        self,
        on: Sequence[str] | None,
        index: Sequence[str] | None,
        variable_name: str,
        value_name: str,
    ) -> CompliantFrame:
        """One row for each of some columns, with its name and its value."""
        kept = list(index or ())
        turned = [c for c in self.columns if c not in kept] if on is None else list(on)
        parts = [
            self.native.select(*kept, lit(name).alias(variable_name), col(name).alias(value_name))
            for name in turned
        ]
        return self._with_native(parts[0].union(*parts[1:]))

    # --- groups and joins ---------------------------------------------------------------------

    def group_by(
        self, keys: Sequence[str] | Sequence[CompliantExpr], *, drop_null_keys: bool
    ) -> CompliantGroupBy:
        """Group the rows."""
        return CompliantGroupBy(self, keys, drop_null_keys=drop_null_keys)

    def join(
        self,
        other: CompliantFrame,
        *,
        how: Any,
        left_on: Sequence[str] | None,
        right_on: Sequence[str] | None,
        suffix: str,
    ) -> CompliantFrame:
        """Match rows; a full join keeps the keys of both sides, as Narwhals says."""
        joined = self.native.join(
            other.native,
            how=how,
            left_on=left_on,
            right_on=right_on,
            suffix=suffix,
            coalesce=False if how == "full" else None,
        )
        return self._with_native(joined)

    # --- running ------------------------------------------------------------------------------

    def collect(self, backend: Any, **kwargs: Any) -> Any:
        """Run; give an eager frame."""
        if kwargs:
            raise unsupported(f"collect({', '.join(kwargs)}=...)")
        frame: Any
        if backend is None or backend is Implementation.PYARROW:
            frame = self.native.to_arrow()
        elif backend is Implementation.POLARS:
            frame = self.native.to_polars()
        elif backend is Implementation.PANDAS:
            frame = self.native.to_pandas()
        else:
            raise unsupported(f"collect to {backend}")
        return nw.from_native(frame, eager_only=True)._compliant_frame._with_version(self._version)

    def sink_parquet(self, file: Any) -> None:
        """Run, and write a Parquet file."""
        self.native.write_parquet(file)


class CompliantGroupBy:
    """Groups of rows."""

    def __init__(
        self,
        frame: CompliantFrame,
        keys: Sequence[str] | Sequence[CompliantExpr],
        *,
        drop_null_keys: bool,
    ) -> None:
        native = frame.native
        names = [key for key in keys if isinstance(key, str)]
        expressions = frame._evaluate(key for key in keys if isinstance(key, CompliantExpr))
        self._keys: list[Any] = [*names, *expressions]
        self._key_names = {*names, *(e.naming.of("") for e in expressions)}
        if drop_null_keys:
            native = native.filter(*(_column(key).is_not_null() for key in self._keys))
        self._frame = frame._with_native(native)

    def agg(self, *exprs: CompliantExpr) -> CompliantFrame:
        """Compute one row for each group."""
        aggregates: list[Expr] = []
        for expression in exprs:
            found = self._frame._evaluate([expression])
            if expression._metadata.expansion_kind.is_multi_unnamed():
                sources = expression._evaluate_output_names(self._frame)
                found = [
                    e for e, name in zip(found, sources, strict=True) if name not in self._key_names
                ]
            aggregates.extend(found)
        return self._frame._with_native(self._frame.native.group_by(self._keys).agg(aggregates))


def _column(key: Any) -> Expr:
    return col(key) if isinstance(key, str) else key


class CompliantNamespace:
    """The functions that make Narwhals' expressions."""

    def __init__(self, version: Any) -> None:
        self._version = version
        self._implementation = Implementation.UNKNOWN

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise unsupported(name)

    def from_native(self, data: Any) -> CompliantFrame:
        """Wrap a DataFrame."""
        return CompliantFrame(data, self._version)

    def is_native(self, obj: Any) -> bool:
        """Whether an object is a DataFrame."""
        return isinstance(obj, DataFrame)

    # --- columns ------------------------------------------------------------------------------

    def _selected(self, names: Callable[[Any], Sequence[str]]) -> CompliantExpr:
        return CompliantExpr(lambda f: [col(n) for n in names(f)], names, self._version)

    def col(self, *names: str) -> CompliantExpr:
        """Columns by name."""
        return self._selected(lambda _: list(names))

    def all(self) -> CompliantExpr:
        """All columns."""
        return self._selected(lambda frame: frame.columns)

    def exclude(self, *names: str) -> CompliantExpr:
        """All columns but some."""
        return self._selected(lambda frame: [n for n in frame.columns if n not in names])

    def nth(self, indices: Sequence[int]) -> CompliantExpr:
        """Columns by position."""
        return self._selected(lambda frame: [frame.columns[i] for i in indices])

    @property
    def selectors(self) -> CompliantSelectors:
        """Columns by type."""
        return CompliantSelectors(self)

    def _single(self, build: Callable[[Any], Expr], name: str) -> CompliantExpr:
        return CompliantExpr(lambda frame: [build(frame)], lambda _: [name], self._version)

    def lit(self, value: Any, dtype: Any) -> CompliantExpr:
        """A constant."""
        target = None if dtype is None else arrow_type(dtype)
        return self._single(lambda _: lit(value, target), "literal")

    def len(self) -> CompliantExpr:
        """The number of rows."""
        return self._single(lambda _: F.count_rows(), "len")

    # --- over several expressions -------------------------------------------------------------

    def _horizontal(
        self, build: Callable[..., Expr], *exprs: CompliantExpr, **options: Any
    ) -> CompliantExpr:
        """Combine all columns of several expressions; the first gives the name."""
        first = exprs[0]

        def alias(names: Sequence[str]) -> Sequence[str]:
            assert first._alias_output_names is not None  # noqa: S101 - used only if there is one
            return first._alias_output_names(names)[:1]

        return CompliantExpr(
            lambda frame: [build(*(e for expr in exprs for e in expr(frame)), **options)],
            lambda frame: first._evaluate_output_names(frame)[:1],
            self._version,
            None if first._alias_output_names is None else alias,
        )

    def coalesce(self, *exprs: CompliantExpr) -> CompliantExpr:
        """The first that is not null."""
        return self._horizontal(F.coalesce, *exprs)

    def when_then(
        self, predicate: CompliantExpr, then: CompliantExpr, otherwise: CompliantExpr | None = None
    ) -> CompliantExpr:
        """A case distinction."""

        def build(value: Expr, condition: Expr, *rest: Expr) -> Expr:
            case = when(condition).then(value)
            return case.otherwise(rest[0]) if rest else case

        parts = [then, predicate] if otherwise is None else [then, predicate, otherwise]
        return self._horizontal(build, *parts)

    def all_horizontal(self, *exprs: CompliantExpr, ignore_nulls: bool) -> CompliantExpr:
        """Whether all are true."""
        filled = [e._each(lambda x: x.fill_null(True)) for e in exprs] if ignore_nulls else exprs
        return self._horizontal(F.all_horizontal, *filled)

    def any_horizontal(self, *exprs: CompliantExpr, ignore_nulls: bool) -> CompliantExpr:
        """Whether any is true."""
        filled = [e._each(lambda x: x.fill_null(False)) for e in exprs] if ignore_nulls else exprs
        return self._horizontal(F.any_horizontal, *filled)

    def max_horizontal(self, *exprs: CompliantExpr) -> CompliantExpr:
        """The greatest."""
        return self._horizontal(F.greatest, *exprs)

    def min_horizontal(self, *exprs: CompliantExpr) -> CompliantExpr:
        """The least."""
        return self._horizontal(F.least, *exprs)

    def sum_horizontal(self, *exprs: CompliantExpr) -> CompliantExpr:
        """The sum, null being 0."""
        return self._horizontal(_sum, *exprs)

    def mean_horizontal(self, *exprs: CompliantExpr) -> CompliantExpr:
        """The mean of those that are not null."""

        def build(*parts: Expr) -> Expr:
            return _sum(*parts) / _sum(*(p.is_not_null().cast("int64") for p in parts))

        return self._horizontal(build, *exprs)

    def concat_str(
        self, *exprs: CompliantExpr, separator: str, ignore_nulls: bool
    ) -> CompliantExpr:
        """Several as one text."""
        return self._horizontal(
            F.concat_str, *exprs, separator=separator, ignore_nulls=ignore_nulls
        )

    def list(self, *exprs: CompliantExpr) -> CompliantExpr:
        """Several as a list."""
        return self._horizontal(F.list_of, *exprs)

    def corr(self, a: CompliantExpr, b: CompliantExpr, *, method: str) -> CompliantExpr:
        """The correlation."""
        if method != "pearson":
            raise unsupported(f"correlation {method!r}")
        return self._horizontal(F.corr, a, b)

    def cov(self, a: CompliantExpr, b: CompliantExpr, *, ddof: int) -> CompliantExpr:
        """The covariance."""
        return self._horizontal(lambda x, y: F.cov(x, y, ddof), a, b)

    def concat(self, items: Iterable[CompliantFrame], *, how: str) -> CompliantFrame:
        """The rows of several frames."""
        first, *others = items
        if how != "vertical":
            raise unsupported(f"concat with how={how!r}")
        return first._with_native(first.native.union(*(other.native for other in others)))


def _sum(*parts: Expr) -> Expr:
    total = parts[0].fill_null(0)
    for part in parts[1:]:
        total = total + part.fill_null(0)
    return total


class CompliantSelectors:
    """Narwhals' selectors: columns by type."""

    def __init__(self, namespace: CompliantNamespace) -> None:
        self._namespace = namespace

    def _where(self, test: Callable[[Any], bool]) -> CompliantExpr:
        def names(frame: Any) -> Sequence[str]:
            return [name for name, dtype in frame.schema.items() if test(dtype)]

        return self._namespace._selected(names)

    def by_dtype(self, dtypes: Iterable[Any]) -> CompliantExpr:
        """Columns of some types."""
        wanted = list(dtypes)
        return self._where(lambda dtype: dtype in wanted)

    def numeric(self) -> CompliantExpr:
        """Columns of numbers."""
        return self._where(lambda dtype: dtype.is_numeric())

    def string(self) -> CompliantExpr:
        """Columns of text."""
        return self._where(lambda dtype: dtype == nw.String)

    def boolean(self) -> CompliantExpr:
        """Columns of booleans."""
        return self._where(lambda dtype: dtype == nw.Boolean)

    def all(self) -> CompliantExpr:
        """All columns."""
        return self._namespace.all()
