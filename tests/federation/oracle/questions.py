"""Random questions: plans of all operators and functions over the tables of a small world."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tests.federation.oracle.worlds import GIVEN, TABLES
from umbel.plan import operators as ops
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.row import Kind
from umbel.plan.sources import RelationSource
from umbel.plan.typing import infer_type

SCALARS = [f.name for f in CATALOGUE.of_kind(Kind.SCALAR)]
AGGREGATES = [f.name for f in CATALOGUE.of_kind(Kind.AGGREGATE)]
WINDOWS = [f.name for f in CATALOGUE.of_kind(Kind.WINDOW)]
#: Those that most honest questions are made of.
_USUAL = ["count", "len", "sum", "mean", "sum", "mean", "len", "n_unique", "std_sample"]
_ARITHMETIC = ["add", "subtract", "multiply", "divide", "negate"]
_COMPARING = ["equal", "less", "greater", "not_equal", "is_null", "is_not_null", "between"]
_SMALL: list[tuple[Any, pa.DataType]] = [
    (0, pa.int64()), (1, pa.int64()), (2, pa.int64()), (7, pa.int64()), (-1, pa.int64()),
    (0.5, pa.float64()), (100.0, pa.float64()), ("", pa.string()), ("f", pa.string()),
    ("a", pa.string()), ("w", pa.string()), (" ", pa.string()), ("C.*[0-9a-f]+", pa.string()),
    ("%A%", pa.string()), (True, pa.bool_()), (None, pa.int64()),
]  # fmt: skip
_GREAT: list[tuple[Any, pa.DataType]] = [
    (2**31, pa.int64()), (2**53, pa.int64()), (1e300, pa.float64()), (1e-300, pa.float64()),
    (float("inf"), pa.float64()), (float("nan"), pa.float64()), (2.0**52, pa.float64()),
    (2.0**40, pa.float64()), (1e-9, pa.float64()), (1e5, pa.float64()), (80.0, pa.float64()),
]  # fmt: skip
#: What building a plan without meaning raises.
_NO_PLAN = (PlanError, TypeError, ValueError, IndexError, ArithmeticError)
_TYPES = [pa.int64(), pa.float64(), pa.float32(), pa.string(), pa.int8(), pa.decimal128(20, 4),
          pa.decimal128(38, 36), pa.bool_(), pa.date32()]  # fmt: skip


class Questions:
    """Makes questions by chance."""

    def __init__(
        self, rng: random.Random, allows: Callable[[ops.Operator], bool] | None = None
    ) -> None:
        """Prepare.

        Args:
            rng: decides.
            allows: whether something may leave; with it, steps are drawn again that let nothing
                leave any more, so that more is answered and less refused.
        """
        self._rng = rng
        self._allows = allows
        self._names = 0

    def question(self) -> ops.Operator:
        """A whole plan."""
        rng = self._rng
        plan = self.relation(rng.choice([0, 1, 1, 2, 2, 3]), protected=True)
        if rng.random() < 0.88 or self._allows is not None:
            plan = self._last(plan)
            for _ in range(rng.choice([0, 0, 0, 1, 2])):
                plan = self.step(plan)
        return plan

    def _last(self, below: ops.Operator) -> ops.Operator:
        made = below
        for _ in range(1 if self._allows is None else 12):
            made = self._try(lambda: self._aggregate(below, self._rng.random() < 0.15), below)
            if self._allows is None or self._allows(made):
                break
        return made

    def relation(self, steps: int, *, protected: bool = False) -> ops.Operator:
        """A table after some steps."""
        made = self._source(protected)
        for _ in range(steps):
            made = self.step(made)
            for _ in range(8):
                if not protected or self._can_leave(made):
                    break
                made = self.step(made.inputs[0] if made.inputs else made)
        return made

    def _can_leave(self, plan: ops.Operator) -> bool:
        """Whether there is anything that may still be asked of it."""
        count = ops.Aggregate(input=plan, aggregates=(("n", AggregateCall("len")),))
        return self._allows is None or self._allows(count)

    def step(self, below: ops.Operator) -> ops.Operator:
        """One more operator, or none if what was drawn means nothing."""
        makers = [
            self._filter, self._filter, self._project, self._project, self._join, self._join,
            self._alone, self._union, self._distinct, self._sort, self._limit, self._explode,
            self._window, self._set, self._rename,
        ]  # fmt: skip
        return self._try(lambda: self._rng.choice(makers)(below), below)

    def _try(self, make: Any, otherwise: ops.Operator) -> ops.Operator:
        for _ in range(6):
            try:
                made: ops.Operator = make()
                _ = made.schema
            except _NO_PLAN:
                continue
            return made
        return otherwise

    def _source(self, protected: bool = False) -> ops.Operator:
        name = "visits" if protected else self._rng.choice(["visits", "visits", "codes", "given"])
        if name == "given":
            return ops.Placeholder(label="given", columns=GIVEN.schema)
        scan = ops.Scan(source=RelationSource(TABLES[name], "north", (name,)))
        if self._rng.random() < 0.1:
            return self._try(
                lambda: ops.Scan(source=scan.source, predicate=self._predicate(scan.schema)), scan
            )
        return scan

    # --- operators --------------------------------------------------------------------------------

    def _filter(self, below: ops.Operator) -> ops.Operator:
        return ops.Filter(input=below, predicate=self._predicate(below.schema))

    def _project(self, below: ops.Operator) -> ops.Operator:
        columns = [(n, Column(n)) for n in below.schema.names if self._rng.random() < 0.9]
        new = [(self._name(), self._expression(below.schema, 2)) for _ in range(2)]
        return ops.Project(input=below, columns=(*columns, *new))

    def _rename(self, below: ops.Operator) -> ops.Operator:
        names = list(below.schema.names)
        kept = self._rng.sample(names, self._rng.randint(1, len(names)))
        return ops.Project(
            input=below,
            columns=tuple(
                (self._name() if self._rng.random() < 0.3 else n, Column(n)) for n in kept
            ),
        )

    def _join(self, below: ops.Operator) -> ops.Operator:
        rng = self._rng
        other = self.relation(rng.choice([0, 0, 1, 2]))
        moved = {name: self._name() for name in other.schema.names}
        other = ops.Project(
            input=other, columns=tuple((new, Column(n)) for n, new in moved.items())
        )
        how = rng.choice(["inner", "inner", "left", "right", "full", "semi", "anti", "cross"])
        on: tuple[tuple[str, str], ...] = ()
        if how != "cross":
            left = list(below.schema.names)
            pairs = [
                (mine, new)
                for mine in left
                for old, new in moved.items()
                if below.schema.field(mine).type == other.schema.field(new).type
            ]
            alike = [(m, n) for m, n in pairs if moved.get(m) == n]
            on = (rng.choice(alike if alike and rng.random() < 0.8 else pairs),)
        residual = None
        if rng.random() < 0.1 and how == "inner":
            residual = self._predicate(pa.schema([*below.schema, *other.schema]))
        return ops.Join(left=below, right=other, on=on, how=how, residual=residual)  # type: ignore[arg-type]

    def _alone(self, below: ops.Operator) -> ops.Operator:
        """An aggregate of each individual's rows, mostly."""
        return self._aggregate(below, True)

    def _aggregate(self, below: ops.Operator, alone: bool) -> ops.Operator:
        rng, schema = self._rng, below.schema
        keys: list[tuple[str, Expression]] = []
        if alone and "id" in schema.names:
            keys.append(("id", Column("id")))
        for _ in range(rng.choice([0, 1, 1, 2])):
            if rng.random() < 0.8:
                name = rng.choice(schema.names)
                if name not in [n for n, _ in keys]:
                    keys.append((name, Column(name)))
            else:
                keys.append((self._name(), self._expression(schema, 1)))
        calls = [(self._name(), self._call(schema)) for _ in range(rng.choice([1, 1, 2]))]
        return ops.Aggregate(input=below, keys=tuple(keys), aggregates=tuple(calls))

    def _union(self, below: ops.Operator) -> ops.Operator:
        other = below
        for _ in range(self._rng.choice([0, 1])):
            other = self._filter(other)
        return ops.Union(members=(below, other), distinct=self._rng.random() < 0.2)

    def _set(self, below: ops.Operator) -> ops.Operator:
        kind = self._rng.choice([ops.Intersect, ops.Except])
        return kind(left=below, right=self._filter(below))

    def _distinct(self, below: ops.Operator) -> ops.Operator:
        return ops.Distinct(input=below)

    def _sort(self, below: ops.Operator) -> ops.Operator:
        key = SortKey(self._expression(below.schema, 1), self._rng.random() < 0.5)
        return ops.Sort(input=below, keys=(key,))

    def _limit(self, below: ops.Operator) -> ops.Operator:
        return ops.Limit(input=below, count=self._rng.choice([1, 3]))

    def _explode(self, below: ops.Operator) -> ops.Operator:
        name = self._name()
        text = self._expression(below.schema, 1)
        if infer_type(text, below.schema) != pa.string():
            text = Cast(text, pa.string(), strict=False)
        words = Call("split", (text, Literal(" ", pa.string())))
        columns = tuple((n, Column(n)) for n in below.schema.names)
        made = ops.Project(input=below, columns=(*columns, (name, words)))
        return ops.Explode(input=made, column=name)

    def _window(self, below: ops.Operator) -> ops.Operator:
        rng, schema = self._rng, below.schema
        function = rng.choice(WINDOWS + AGGREGATES)
        call = WindowCall(
            function,
            self._arguments(function, schema, 0),
            (Column(rng.choice(schema.names)),) if rng.random() < 0.5 else (),
            (SortKey(Column(rng.choice(schema.names))),),
        )
        return ops.Window(input=below, columns=((self._name(), call),))

    # --- expressions ------------------------------------------------------------------------------

    def _call(self, schema: pa.Schema) -> AggregateCall:
        rng = self._rng
        name = rng.choice(_USUAL) if rng.random() < 0.85 else rng.choice(AGGREGATES)
        where = self._predicate(schema) if rng.random() < 0.12 else None
        depth = 0 if rng.random() < 0.6 else 2
        call = AggregateCall(name, self._arguments(name, schema, depth), rng.random() < 0.05, where)
        infer_type(call, schema)
        return call

    def _arguments(self, name: str, schema: pa.Schema, depth: int) -> tuple[Expression, ...]:
        least, most = CATALOGUE[name].arity
        count = self._rng.randint(least, min(most if most is not None else 3, max(least, 2)))
        return tuple(
            self._expression(schema, depth) if n not in CATALOGUE[name].constant
            else self._literal(_SMALL)
            for n in range(count)
        )  # fmt: skip

    def _predicate(self, schema: pa.Schema) -> Expression:
        for _ in range(20):
            made = (
                self._function(self._rng.choice(_COMPARING), schema, 1)
                if self._rng.random() < 0.7
                else self._expression(schema, 2)
            )
            try:
                if infer_type(made, schema) == pa.bool_():
                    return made
            except _NO_PLAN:
                continue
        return Call("is_not_null", (Column(self._rng.choice(schema.names)),))

    def _expression(self, schema: pa.Schema, depth: int) -> Expression:
        rng = self._rng
        if depth <= 0 or rng.random() < 0.2:
            return Column(rng.choice(schema.names))
        kind = rng.random()
        made: Expression
        if kind < 0.4:
            made = self._function(rng.choice(_ARITHMETIC), schema, depth)
        elif kind < 0.75:
            made = self._function(rng.choice(SCALARS), schema, depth)
        elif kind < 0.88:
            made = Cast(self._expression(schema, depth - 1), rng.choice(_TYPES), rng.random() < 0.5)
        else:
            branches = ((self._predicate(schema), self._expression(schema, depth - 1)),)
            made = Case(branches, rng.choice([None, self._literal(_SMALL)]))
        infer_type(made, schema)
        return made

    def _function(self, name: str, schema: pa.Schema, depth: int) -> Expression:
        rng = self._rng
        literals = _SMALL + _GREAT if name in (*_ARITHMETIC, *_COMPARING) else _SMALL
        least, most = CATALOGUE[name].arity
        constant = CATALOGUE[name].constant
        for _ in range(12):
            count = rng.randint(least, min(most if most is not None else 3, max(least, 2)))
            given: list[Expression] = []
            for position in range(count):
                if position in constant or rng.random() < 0.4:
                    given.append(self._literal(literals))
                else:
                    given.append(self._expression(schema, depth - 1))
            call = Call(name, tuple(given))
            try:
                infer_type(call, schema)
            except _NO_PLAN:
                continue
            return call
        raise ValueError(name)

    def _literal(self, among: list[tuple[Any, pa.DataType]]) -> Literal:
        return Literal(*self._rng.choice(among))

    def _name(self) -> str:
        self._names += 1
        return f"n{self._names}"
