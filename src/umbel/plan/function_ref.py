"""References to Python functions: a plan names code, it does not contain it."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable
from dataclasses import field
from typing import Any

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError


@dataclass(frozen=True)
class SignedCode:
    """The text of a function, which its author has signed; a site may run it, nothing else does.

    Attributes:
        text: a Python module.
        entry: the function in it.
        constants: a JSON object of names that the module finds set before its first line.
        key: the author's public key.
        signature: of all this, by the key.
    """

    text: str = field(repr=False)
    entry: str
    constants: str = field(default="{}", repr=False)
    key: str = ""
    signature: str = field(default="", repr=False)

    @property
    def content(self) -> bytes:
        """What is signed."""
        return json.dumps([self.text, self.entry, self.constants]).encode()

    @property
    def digest(self) -> str:
        """Identifies what runs, whoever has signed it: 64 hexadecimal digits.

        >>> SignedCode("def f(x): return x", "f").digest[:8]
        'b0ed8810'
        """
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class PythonFunction:
    """A Python function as a plan knows it.

    Attributes:
        name: qualified name, for people.
        digest: of its code, defaults and captured values; equal digests mean the same function.
        file, line: where it was written, if known.
        broadcast: names of keyword arguments that receive broadcast datasets.
        deterministic: it may be run again, or skipped, without changing the result.
        code: the function itself; absent after a plan was read from JSON.
        signed: its text with a signature, if it has one; then `digest` is that of the text.
    """

    name: str
    digest: str
    file: str = field(default="", compare=False, repr=False)
    line: int = field(default=0, compare=False, repr=False)
    broadcast: tuple[str, ...] = ()
    deterministic: bool = True
    code: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    signed: SignedCode | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.signed is not None and self.digest != self.signed.digest:
            raise PlanError(f"the signed code of {self.name!r} is not that of its digest")

    @classmethod
    def of(cls, code: Callable[..., Any], broadcast: tuple[str, ...] = ()) -> PythonFunction:
        """Describe a callable.

        >>> PythonFunction.of(str.upper).name
        'str.upper'
        """
        if not callable(code):
            raise PlanError(f"expected a function, not {type(code).__name__} {code!r}")
        signed = getattr(code, "signed_code", None)
        if isinstance(signed, SignedCode):
            return cls(signed.entry, signed.digest, "", 0, broadcast, code=code, signed=signed)
        name = getattr(code, "__qualname__", type(code).__qualname__)
        module = getattr(code, "__module__", None) or getattr(
            getattr(code, "__objclass__", None), "__module__", ""
        )
        inner = getattr(code, "__code__", None)
        file, line = (inner.co_filename, inner.co_firstlineno) if inner is not None else ("", 0)
        digest = hashlib.sha256()
        _feed(digest, code, f"{module}.{name}")
        return cls(name, digest.hexdigest()[:32], file, line, broadcast, code=code)

    def callable(self) -> Callable[..., Any]:
        """Give the function itself.

        Raises:
            PlanError: the plan was read from JSON and its code was not handed over.
        """
        if self.code is None:
            raise PlanError(
                f"the code of Python function {self.name!r} ({self.digest}) is not at hand",
                hint="a plan file holds no code; pass it beside: "
                "plan_from_json(text, functions=[...])",
            )
        return self.code

    def __str__(self) -> str:
        if self.name.rpartition(".")[2] == "<lambda>" and self.line:
            return f"lambda (line {self.line})"
        return self.name


def _feed(digest: Any, value: Any, fallback: str) -> None:
    """Feed what distinguishes one function from another into a digest."""
    code = getattr(value, "__code__", None)
    if not isinstance(code, types.CodeType):
        owner = getattr(value, "__self__", None)
        identity = "" if owner is None or isinstance(owner, types.ModuleType) else repr(owner)
        digest.update(f"{fallback}|{type(value).__name__}|{identity}".encode())
        return
    digest.update(str(getattr(value, "__module__", "")).encode())
    _feed_code(digest, code)
    _feed_constant(digest, getattr(value, "__defaults__", None))
    _feed_constant(digest, getattr(value, "__kwdefaults__", None))
    for cell in getattr(value, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # a cell not filled yet, as in a recursive local function
            digest.update(b"empty")
            continue
        if isinstance(content, types.FunctionType) and content is not value:
            _feed(digest, content, content.__qualname__)
        else:
            _feed_constant(digest, content)


def _feed_constant(digest: Any, value: Any) -> None:
    """Feed a value by content where that is safe, by identity (this process only) where not."""
    if isinstance(value, frozenset):
        digest.update(repr(sorted(map(repr, value))).encode())
    elif isinstance(value, tuple):
        digest.update(f"tuple:{len(value)}".encode())
        for item in value:
            _feed_constant(digest, item)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        digest.update(f"{type(value).__name__}:{value!r}".encode())
    else:
        digest.update(f"{type(value).__qualname__}@{id(value)}".encode())


def tied_to_process(code: Any) -> str:
    """Say what of a function no other process can know; empty if its digest is the same in all.

    >>> tied_to_process(str.upper)
    ''
    >>> tied_to_process(lambda x, seen=[]: seen)
    'it holds a value of type list, which is told apart in this process only'
    """
    inner = getattr(code, "__code__", None)
    if not isinstance(inner, types.CodeType):
        owner = getattr(code, "__self__", None)
        plain = isinstance(code, type | types.BuiltinFunctionType | types.MethodDescriptorType)
        if plain and (owner is None or isinstance(owner, types.ModuleType | type)):
            return ""
        return f"it is an object of type {type(code).__name__}, whose content is not known"
    values = [code.__defaults__, getattr(code, "__kwdefaults__", None)]
    for cell in getattr(code, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if isinstance(content, types.FunctionType):
            reason = "" if content is code else tied_to_process(content)
            if reason:
                return reason
        else:
            values.append(content)
    return next(filter(None, map(_tied_value, values)), "")


def _tied_value(value: Any) -> str:
    if isinstance(value, tuple | frozenset):
        return next(filter(None, map(_tied_value, value)), "")
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return ""
    kind = type(value).__name__
    return f"it holds a value of type {kind}, which is told apart in this process only"


def _feed_code(digest: Any, code: types.CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _feed_code(digest, constant)
        else:
            _feed_constant(digest, constant)
