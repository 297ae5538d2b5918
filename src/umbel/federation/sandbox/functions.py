"""Functions made of signed text: an author's own, to try and to name in plans.

`sign_code` takes a function as it was written, with what it needs: names of modules that it uses
become imports, plain values that it captures become constants. Whatever else it needs, it refuses,
so that what is signed is all there is.
"""

from __future__ import annotations

import builtins
import inspect
import json
import os
import textwrap
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from umbel.federation.errors import FederationError
from umbel.federation.sandbox.compiling import compiled
from umbel.federation.sandbox.signing import read_code, with_signature
from umbel.plan.function_ref import SignedCode


class SignedFunction:
    """A function whose text is signed: callable here, and run by sites that trust its author.

    Attributes:
        signed_code: the text and the signature.
    """

    def __init__(self, code: SignedCode) -> None:
        self.signed_code = code
        self.__name__ = self.__qualname__ = code.entry
        self._made: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it, in this process: as with a module that you import, you trust its author."""
        if self._made is None:
            self._made = compiled(self.signed_code)
        return self._made(*arguments, **named)

    def __repr__(self) -> str:
        return f"<signed function {self.signed_code.entry} {self.signed_code.digest[:12]}>"


def load_code(path: str | os.PathLike[str]) -> SignedFunction:
    """Read a signed function from a file that `umbel code sign` made."""
    return SignedFunction(read_code(Path(path)))


def sign_code(
    function: Callable[..., Any] | str | os.PathLike[str],
    key: str | os.PathLike[str],
    *,
    entry: str = "",
    constants: Mapping[str, Any] | None = None,
) -> SignedFunction:
    """Sign a function, or one of a module in a file, so that sites may run it.

    Args:
        function: a function written with `def` in a file or a notebook; or the file of a module.
        key: the file of an author's key.
        entry: the function's name, of a module.
        constants: plain values (numbers, texts, lists, mappings by text) by the name under which
            the code finds them; those that a function captures are found without.

    Raises:
        FederationError: it needs something that is no module and no plain value.
        IdentityError: the key cannot be used.
    """
    if callable(function):
        text, found = _text_of(function)
        name = function.__name__
    else:
        if not entry:
            raise FederationError("a module has several functions", hint="name one: entry=…")
        name, found = entry, {}
        try:
            text = Path(function).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise FederationError(f"{function}: cannot be read as text") from None
    code = SignedCode(text, name, _plain({**found, **(constants or {})}))
    try:
        compile(text, str(name), "exec")
    except SyntaxError as error:
        raise FederationError(
            f"line {error.lineno} of the code is no Python: {error.msg}"
        ) from None
    return SignedFunction(with_signature(code, Path(key)))


def _plain(values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        try:
            text = json.dumps(value, allow_nan=False)
            same = json.loads(text) == value
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise FederationError(
                f"the code needs {name!r}, a {type(value).__name__} that is no plain value",
                hint="numbers, texts, booleans, lists, and mappings by text can be signed; "
                "put other functions and the one that calls them into a module, and sign that",
            )
    return json.dumps(dict(values), sort_keys=True)


def _text_of(function: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """The text of a function with the imports that it needs, and the values that it captures."""
    name = getattr(function, "__name__", "")
    inner = getattr(function, "__code__", None)
    if not isinstance(inner, types.CodeType) or not name.isidentifier():
        raise FederationError(
            f"{function!r} has no text that could be signed",
            hint="write it with def, or put it into a module and sign that",
        )
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise FederationError(
            f"the text of {name!r} is not at hand", hint="put it into a module and sign that"
        ) from None
    if not text.startswith(f"def {name}("):
        raise FederationError(
            f"{name!r} is not written as a plain def: it is decorated, a method or a lambda",
            hint="put it into a module and sign that",
        )
    captured = inspect.getclosurevars(function)
    needed = {
        n: v
        for n, v in {**captured.globals, **captured.nonlocals}.items()
        if v is not function and n not in vars(builtins)
    }
    imports = [
        f"import {value.__name__} as {alias}\n"
        for alias, value in sorted(needed.items())
        if isinstance(value, types.ModuleType)
    ]
    values = {n: v for n, v in needed.items() if not isinstance(v, types.ModuleType)}
    return "".join(imports) + text, values


__all__ = ["SignedFunction", "load_code", "sign_code"]
