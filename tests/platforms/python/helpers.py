"""Running single operators on the python platform."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.plan.errors import CancelledError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import OBJECT_SCHEMA, Element, Operator, Placeholder, Scan, Values
from umbel.plan.sources import MemorySource
from umbel.platforms.base import ARROW, PYTHON, Stage
from umbel.platforms.python import engine

NAN = float("nan")


class Context:
    """The run's services, with everything that was measured kept."""

    def __init__(self, memory_limit: int = 1 << 30, cancel_after: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.folder)
        self.files = 0
        self.memory_limit = memory_limit
        self.profile = False
        self.run_id, self.commit = "", None
        self.rows: dict[str, int] = {}
        self.measured: list[tuple[str, int]] = []
        self.seconds: dict[str, float] = {}
        self.checks = 0
        self._cancel_after = cancel_after

    @property
    def scratch(self) -> Path:
        """Asked for once per file that is spilled."""
        self.files += 1
        return self.folder

    def progress(self, operator: Operator, rows: int) -> None:
        """Nobody looks at it."""

    def check_cancelled(self) -> None:
        self.checks += 1
        if self._cancel_after is not None and self.checks > self._cancel_after:
            raise CancelledError("the run was cancelled")

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        raise AssertionError("the python platform is cancelled between pieces")

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        self.rows[operator.name] = self.rows.get(operator.name, 0) + rows
        self.measured.append((operator.name, rows))
        if seconds is not None:
            self.seconds[operator.name] = seconds


def objects(*items: Any) -> Scan:
    """A collection of Python objects."""
    return collection(list(items))


def collection(items: list[Any]) -> Scan:
    source = MemorySource(schema=OBJECT_SCHEMA, token="objects", form="object", data=items)
    return Scan(source=source)


def relation(schema: Mapping[str, pa.DataType], *rows: tuple[Any, ...]) -> Values:
    """A small table."""
    fields = pa.schema([pa.field(name, dtype) for name, dtype in schema.items()])
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, fields, strict=True)]
    return Values(table=pa.Table.from_arrays(arrays, schema=fields))


def of(code: Callable[..., Any], *broadcast: str) -> PythonFunction:
    return PythonFunction.of(code, broadcast)


def run(
    root: Operator,
    *,
    output: str = PYTHON,
    limit: int = 1 << 30,
    context: Context | None = None,
    **inputs: Any,
) -> Any:
    """Run a stage and give its output."""
    platform = engine()
    assert platform.refuse(root) is None
    channels = {k: ARROW if isinstance(v, pa.Table) else PYTHON for k, v in inputs.items()}
    stage = platform.compile(Stage(root, channels, output))
    return stage.run(inputs, context or Context(limit))


def rows(root: Operator, limit: int = 1 << 30) -> list[Any]:
    """Run a relational operator; its rows must survive the way through Arrow unchanged."""
    plain = list(run(root, limit=limit))
    table = run(root, output=ARROW, limit=limit)
    assert table.schema.equals(root.schema)
    columns = [column.to_pylist() for column in table.columns]
    through = list(zip(*columns, strict=True)) if columns else [()] * table.num_rows
    if root.element in (Element.ROW, Element.TUPLE):
        assert repr(sorted(map(repr, through))) == repr(sorted(map(repr, plain)))
    return plain


def placeholder(label: str, schema: pa.Schema, form: Element = Element.ROW) -> Placeholder:
    return Placeholder(label=label, columns=schema, form=form)
