"""From the text of a module to the function in it."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any

from umbel.plan.errors import PlanError
from umbel.plan.function_ref import SignedCode


def compiled(code: SignedCode) -> Callable[..., Any]:
    """Run a module in this process, and give the function in it.

    Raises:
        PlanError: it has no such function.

    >>> compiled(SignedCode("def f(x): return x * times", "f", '{"times": 2}'))(21)
    42
    """
    constants = json.loads(code.constants)
    module = types.ModuleType("signed")
    module.__dict__.update(constants)
    exec(compile(code.text, f"<signed {code.digest[:12]}>", "exec"), module.__dict__)  # noqa: S102
    found = module.__dict__.get(code.entry)
    if not callable(found):
        raise PlanError(
            f"the signed code has no function {code.entry!r}", hint="name one: --entry NAME"
        )
    return found


__all__ = ["compiled"]
