"""A plan as a durable run keeps it: the same in every process that resumes the run.

Data of this process gets a name made of its content, and is kept beside the plan; paths no longer
depend on the working folder; and Python functions are such as another process can find again.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.writers import arrow_batches
from umbel.dataclass import dataclass
from umbel.executor.runs.errors import StoreError
from umbel.executor.runs.seals import Seal, is_whole, read_seal, seal_table, seal_values
from umbel.executor.runs.values import NoFormError
from umbel.optimizer.rewrite.lift import lift
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlanError
from umbel.plan.function_ref import PythonFunction, tied_to_process
from umbel.plan.operators import (
    DoWhile,
    Element,
    Functional,
    Loop,
    Operator,
    Scan,
    Write,
    rebuild,
    topological,
)
from umbel.plan.sinks import DeltaSink, FileSink, Sink
from umbel.plan.sources import FileSource, MemorySource, Source

#: Bytes of data of a process that are kept with a run at most.
INPUT_LIMIT = 256 << 20


@dataclass(frozen=True)
class Prepared:
    """A plan that can be run again elsewhere.

    Attributes:
        root: the plan, as this process runs it.
        kept: the plan, as another process runs it: functions that cannot be found again are
            replaced by expressions.
        inputs: the files of its data in memory, by token.
        functions: where its Python functions are found: module and name, by digest.
    """

    root: Operator
    kept: Operator
    inputs: Mapping[str, Seal] = field(default_factory=dict)
    functions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def lifted(self) -> bool:
        """Whether functions were replaced by expressions."""
        return self.kept is not self.root

    def to_json(self) -> dict[str, Any]:
        """Give what stands beside the plan, as JSON values."""
        return {
            "inputs": {token: asdict(seal) for token, seal in self.inputs.items()},
            "functions": {digest: list(place) for digest, place in self.functions.items()},
            "lifted": self.lifted,
        }

    @property
    def text(self) -> str:
        """The plan that is kept, as JSON."""
        return plan_to_json(self.kept)


def prepare(root: Operator, folder: Path, *, again: bool, limit: int = INPUT_LIMIT) -> Prepared:
    """Make a plan one that can be run again elsewhere, and keep its data.

    Args:
        root: the plan.
        folder: for data of this process.
        again: the script that makes the plan will be run again, so that its functions need not be
            found.
        limit: bytes of data that are kept at most.

    Raises:
        PlanError: a function cannot be found again, or data cannot be kept; says which, and why.
        StoreError: the data cannot be written.
    """
    keeper = _Inputs(folder / "inputs", limit)
    root = over(root, keeper.change)
    found: dict[str, tuple[str, str]] = {}
    reasons: dict[str, str] = {}
    for function in functions_of(root):
        reason = tied_to_process(function.callable()) if again else _why_lost(function)
        if reason:
            reasons[function.digest] = reason
        elif not again:
            found[function.digest] = _place(function.callable())
    if not reasons or again:
        _check_functions(root, reasons)
        return Prepared(root, root, keeper.seals, found)
    lifted = lift(root)
    _check_functions(lifted, reasons)
    left = {function.digest for function in functions_of(lifted)}
    kept = {digest: place for digest, place in found.items() if digest in left}
    return Prepared(root, lifted, keeper.seals, kept)


def restore(
    text: str, beside: Mapping[str, Any], folder: Path, sink: Callable[[Sink], Sink]
) -> Operator:
    """Read a prepared plan with its data and functions.

    Args:
        text: the plan as JSON.
        beside: what `Prepared.to_json` gave.
        folder: where its data is.
        sink: gives a sink what no plan holds, such as the catalogue of an Iceberg table.

    Raises:
        StoreError: data of the plan is no longer there, or damaged.
        PlanError: a function is no longer there, or is another one now.
    """
    data = {}
    for token, fields in beside["inputs"].items():
        seal = Seal(**fields)
        if not is_whole(folder / "inputs", seal):
            raise StoreError(
                f"{folder / 'inputs' / seal.file}: the data that the run was given is no longer "
                "there, or damaged",
                hint="run it anew, with the data",
            )
        data[token] = read_seal(folder / "inputs", seal)
    functions = [
        _imported(module, name, digest) for digest, (module, name) in beside["functions"].items()
    ]
    root = plan_from_json(text, functions=functions, data=data)

    def rebound(operator: Operator) -> Operator:
        return (
            replace(operator, sink=sink(operator.sink)) if isinstance(operator, Write) else operator
        )

    return rebuild(root, rebound)


def over(root: Operator, change: Callable[[Operator], Operator]) -> Operator:
    """Rebuild a plan and the bodies of its loops; see `umbel.plan.operators.rebuild`."""

    def inside(operator: Operator) -> Operator:
        if isinstance(operator, DoWhile):
            body, condition = over(operator.body, change), over(operator.condition, change)
            return replace(operator, body=body, condition=condition)
        if isinstance(operator, Loop):
            return replace(operator, body=over(operator.body, change))
        return change(operator)

    return rebuild(root, inside)


def everywhere(root: Operator) -> Iterable[Operator]:
    """Yield the operators of a plan, and of the bodies of its loops."""
    for operator in topological(root):
        yield operator
        if isinstance(operator, Loop):
            yield from everywhere(operator.body)
            if isinstance(operator, DoWhile):
                yield from everywhere(operator.condition)


def functions_of(root: Operator) -> list[PythonFunction]:
    """The Python functions that a plan runs in this process.

    Not those that only sites run, of signed text: that travels in the plan.
    """
    found = (op.functions for op in everywhere(root) if isinstance(op, Functional))
    return [f for functions in found for f in functions if f.code is not None or f.signed is None]


def sources_of(root: Operator) -> list[Source]:
    """What a plan reads."""
    return [op.source for op in everywhere(root) if isinstance(op, Scan)]


# --- data and paths -----------------------------------------------------------------------------


class _Inputs:
    """Keeps data of this process, and gives each scan of it the data's lasting name."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.seals: dict[str, Seal] = {}
        self._folder = folder
        self._left = self._limit = limit
        self._known: dict[int, MemorySource] = {}

    def change(self, operator: Operator) -> Operator:
        """Change what depends on this process or its working folder."""
        if isinstance(operator, Write):
            return replace(operator, sink=_located_sink(operator.sink))
        if not isinstance(operator, Scan):
            return operator
        match operator.source:
            case MemorySource() as source:
                return replace(operator, source=self._kept(source))
            case FileSource() as source:
                paths = tuple(map(_absolute, source.paths))
                if paths != source.paths:
                    return replace(operator, source=replace(source, paths=paths))
        return operator

    def _kept(self, source: MemorySource) -> MemorySource:
        if id(source.data) not in self._known:
            if source.data is None:
                raise PlanError(
                    f"the data of memory source {source.token!r} is not at hand",
                    hint="pass it beside the plan: plan_from_json(text, data={...})",
                )
            self._known[id(source.data)] = self._seal(source)
        known = self._known[id(source.data)]
        return replace(source, token=known.token)

    def _seal(self, source: MemorySource) -> MemorySource:
        try:
            if isinstance(source.data, pa.Table):
                self._check_size(source.data.nbytes)
                # Batches that are the same for the same rows, so that their digest is.
                batches = arrow_batches(
                    source.data, source.schema, Element.ROW, lambda: None, canonical=True
                )
                table = pa.Table.from_batches(batches, source.schema)
                seal = seal_table(self._folder, "", table)
            else:
                seal = seal_values(self._folder, "", source.data)
                self._check_size(seal.size)
        except NoFormError as error:
            raise PlanError(
                f"a durable run keeps the data that it is given, and values of type {error} "
                "cannot be kept",
                hint="give it numbers, texts, dates, and tuples, lists and dicts of them; "
                "or read a file",
            ) from None
        token = f"sha256-{seal.sha256[:40]}"
        self.seals[token] = seal
        return replace(source, token=token)

    def _check_size(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise PlanError(
                "a durable run keeps the data that it is given, and this is more than "
                f"{self._limit:,} bytes",
                hint="write it to a Parquet file first, and read that",
            )


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(Path(path).expanduser())  # noqa: PTH100 (keeps patterns)


def _located_sink(sink: Sink) -> Sink:
    if isinstance(sink, FileSink | DeltaSink) and "://" not in sink.path:
        return replace(sink, path=os.path.abspath(sink.path))  # noqa: PTH100 (keeps links)
    return sink


# --- functions ----------------------------------------------------------------------------------


def _check_functions(root: Operator, reasons: Mapping[str, str]) -> None:
    for function in functions_of(root):
        if function.digest in reasons:
            place = f" ({function.file}, line {function.line})" if function.line else ""
            raise PlanError(
                f"the Python function {function}{place} would be lost to a durable run: "
                f"{reasons[function.digest]}",
                hint="put it at the top of a module that can be imported, or run the script "
                "by `umbel run --durable`",
            )


def _why_lost(function: PythonFunction) -> str:
    """Say why another process could not import a function; empty if it could."""
    code = function.callable()
    module, name = _place(code)
    if not module or module == "__main__":
        return "it is part of the program that is run, which cannot be imported"
    if "<" in name:
        return "it is made inside of another function, or is a lambda"
    try:
        same = _find(module, name)
    except (ImportError, AttributeError):
        return f"{module} has nothing of the name {name}"
    if PythonFunction.of(same).digest != function.digest:
        return f"{module}.{name} is another function"
    return tied_to_process(code)


def _place(code: Callable[..., Any]) -> tuple[str, str]:
    owner = getattr(code, "__objclass__", None)
    module = getattr(code, "__module__", None) or getattr(owner, "__module__", None) or ""
    return module, getattr(code, "__qualname__", type(code).__qualname__)


def _find(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _imported(module: str, name: str, digest: str) -> PythonFunction:
    try:
        found = PythonFunction.of(_find(module, name))
    except (ImportError, AttributeError) as error:
        raise PlanError(
            f"the run needs the function {name} of module {module}, which is not there: {error}",
            hint="resume it where the module can be imported: PYTHONPATH names its folder",
        ) from None
    if found.digest != digest:
        raise PlanError(
            f"the function {module}.{name} is not the one that the run began with",
            hint="bring it back, or run the plan anew",
        )
    return found


def short_digest(text: str) -> str:
    """Give a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


__all__ = [
    "INPUT_LIMIT",
    "Prepared",
    "everywhere",
    "functions_of",
    "over",
    "prepare",
    "restore",
    "short_digest",
    "sources_of",
]
