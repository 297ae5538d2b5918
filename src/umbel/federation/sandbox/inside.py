"""The process in which signed code runs: gets ready, shuts itself off, and only then reads it.

It is begun by `umbel.federation.sandbox.running`, with nothing of the site's: no environment, no
open files beside three pipes. What it writes is believed by nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from importlib import import_module
from typing import IO

from umbel.federation.sandbox.isolation import limit, part_from_others, shut_off

#: Exit codes. The code itself can end with any of them; none tells more than that it failed.
FAILED, NOT_SHUT_OFF, NOT_READ = 3, 4, 5
#: The label of the rows in the plan.
ROWS = "rows"
#: Modules that code finds, beside those that a site's policy names: nothing can be loaded later.
MODULES = (
    "base64", "bisect", "calendar", "collections", "copy", "dataclasses", "datetime", "decimal",
    "difflib", "encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_16", "enum",
    "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json", "locale", "math",
    "numbers", "operator", "random", "re", "statistics", "string", "struct", "textwrap", "time",
    "typing", "unicodedata", "uuid", "zlib", "_strptime",
)  # fmt: skip


def main() -> None:
    """Run what comes in on standard input; write the rows to standard output."""
    part_from_others()
    given, taken = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what code prints goes nowhere
        os.dup2(nowhere, standard)
    os.close(nowhere)
    header = json.loads(given.read(struct.unpack("<q", given.read(8))[0]))
    try:
        _get_ready(header["modules"])
        limit(header["memory"], header["seconds"])
        shut_off()
    except BaseException:  # noqa: BLE001 - whatever it is: nothing runs then
        os._exit(NOT_SHUT_OFF)
    try:
        _work(header["plan"], given, taken)
        taken.flush()
    except ImportError:
        os._exit(NOT_READ)
    except BaseException:  # noqa: BLE001 - of what code does nothing is told
        os._exit(FAILED)
    os._exit(0)


def _get_ready(modules: list[str]) -> None:
    """Load all that will be needed: nothing can be loaded afterwards."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for name in (*MODULES, *modules):
        with contextlib.suppress(ImportError):  # code that needs it says so
            import_module(name)
    _practise()
    sys.path.clear()  # what is not loaded is not there
    sys.path_importer_cache.clear()


def _practise() -> None:
    """Do the work once with code of our own, so that whatever is loaded late is loaded."""
    import io

    import pyarrow as pa

    from umbel.plan import operators as ops
    from umbel.plan.codec import plan_to_json
    from umbel.plan.function_ref import PythonFunction, SignedCode

    def named(text: str) -> PythonFunction:
        code = SignedCode(f"f = {text}", "f")
        return PythonFunction("f", code.digest, signed=code)

    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    made: ops.Operator = ops.Rows(input=ops.Placeholder(label=ROWS, columns=schema))
    made = ops.MapPartitions(input=made, function=named("list"))
    made = ops.FilterRows(input=made, function=named("bool"))
    made = ops.FlatMap(input=made, function=named("lambda row: [row]"))
    made = ops.Map(input=made, function=named("tuple"))
    table = pa.table({"a": [1, 2], "b": ["x", None]}, schema=schema)
    rows = io.BytesIO()
    with pa.ipc.new_stream(rows, schema) as writer:
        writer.write_table(table)
    rows.seek(0)
    _work(plan_to_json(ops.ToFrame(input=made, columns=schema)), rows, io.BytesIO())


def _work(plan_text: str, given: IO[bytes], taken: IO[bytes]) -> None:
    """Run a plan over the rows that come in; write what it gives."""
    import pyarrow as pa

    from umbel.executor.context import Cancellation, Scratch, StageContext
    from umbel.federation.sandbox.compiling import compiled
    from umbel.plan.codec import plan_from_json
    from umbel.plan.function_ref import PythonFunction
    from umbel.plan.operators import Functional, topological
    from umbel.platforms.base import ARROW, Stage
    from umbel.platforms.python.compile import PythonStage

    with pa.ipc.open_stream(given) as reader:
        table = reader.read_all()
    codes = {
        function.digest: function.signed
        for operator in topological(plan_from_json(plan_text))
        if isinstance(operator, Functional)
        for function in operator.functions
        if function.signed is not None
    }
    functions = [
        PythonFunction(code.entry, digest, code=compiled(code)) for digest, code in codes.items()
    ]
    plan = plan_from_json(plan_text, functions=functions)
    stage = PythonStage(Stage(plan, {ROWS: ARROW}, ARROW))
    # More than there is: nothing can be spilled, for there are no files.
    made = stage.run({ROWS: table}, StageContext(Cancellation(), Scratch(), 1 << 50))
    with pa.ipc.new_file(taken, made.schema) as writer:
        writer.write_table(made)


if __name__ == "__main__":
    main()
