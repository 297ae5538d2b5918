"""Runs a script in this process as Python itself would: as `__main__`, with its arguments."""

from __future__ import annotations

import builtins
import linecache
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from umbel.plan.errors import SourceError


def execute(file: Path, arguments: Sequence[str], names: dict[str, Any] | None = None) -> None:
    """Run a script to its end.

    Args:
        file: the script.
        arguments: what it finds in `sys.argv` behind its own name.
        names: receives its global variables, also those of a script that raises.

    Raises:
        SourceError: the script cannot be read.
        BaseException: whatever the script raises.
    """
    try:
        source = file.read_bytes()
    except OSError as error:
        raise SourceError(
            f"cannot read the script {file}: {error.strerror}", hint="name a file that is there"
        ) from None
    path = str(file.resolve())
    code = compile(source, path, "exec")
    module = ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    before = sys.argv, sys.path[:], sys.modules.get("__main__")
    sys.argv = [str(file), *arguments]
    sys.path.insert(0, str(Path(path).parent))
    sys.modules["__main__"] = module
    linecache.checkcache(path)
    try:
        exec(code, module.__dict__)  # noqa: S102 - the user asks to run this script
    finally:
        if names is not None:
            names.update(module.__dict__)
        sys.argv, sys.path[:] = before[0], before[1]
        if before[2] is not None:
            sys.modules["__main__"] = before[2]


__all__ = ["execute"]
