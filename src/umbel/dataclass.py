"""Dataclasses whose methods are compiled when they are first needed, not when a module is imported.

`dataclasses.dataclass` writes and compiles the text of up to six methods for every class, which
costs about 1 ms. umbel has hundreds of such classes, of which a run makes instances of few, and
compares, hashes or shows fewer: a quarter of a second of every start. Here a class shares all
methods but `__init__`, and that one is compiled at the first instance. To everything else they are
dataclasses: `fields`, `replace`, `asdict`, `match` and `inspect.signature` work.

>>> @dataclass(frozen=True)
... class Point:
...     x: int
...     y: int = 0
>>> Point(1) == Point(x=1, y=0), Point(1), len({Point(1), Point(1)})
(True, Point(x=1, y=0), 1)
>>> Point(1).x = 2
Traceback (most recent call last):
    ...
dataclasses.FrozenInstanceError: cannot assign to field 'x'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from dataclasses import dataclass as _standard
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - for others to import
else:

    def dataclass(cls=None, /, *, init=True, repr=True, eq=True, frozen=False, **options):  # noqa: A002, D417
        """Make a class a dataclass, as `dataclasses.dataclass` does; see the module.

        Args:
            cls: the class; None where the decorator is given arguments. All others as there.
            options: `slots`, `kw_only` and `match_args`.
        """

        def made(cls: type) -> type:
            own = vars(cls)
            hashed = "__hash__" in own and not (own["__hash__"] is None and "__eq__" in own)
            written = {name for name in ("__init__", "__repr__", "__eq__") if name in own}
            if cls.__doc__ is None:  # else the signature is asked for, to be the text
                cls.__doc__ = f"{cls.__name__} of {cls.__module__}."
            cls = _standard(init=False, repr=False, eq=False, **options)(cls)
            items = fields(cls)
            if init and "__init__" not in written:
                _compile_later(cls, frozen)
            if repr and "__repr__" not in written:
                _show(cls, items)
            if eq and "__eq__" not in written:
                _compare(cls, items)
            if eq and not hashed:
                _hash(cls, items, frozen)
            if frozen:
                _freeze(cls, items, slots=options.get("slots", False))
            return cls

        return made if cls is None else made(cls)


class _Factory:
    """Stands in a signature for a default that a factory makes."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


class _Signature:
    """Compiles a class's `__init__` when somebody asks for its signature, and then steps aside."""

    def __init__(self, compiled: Callable[[], None]) -> None:
        self._compiled = compiled

    def __get__(self, instance: object, owner: type) -> None:
        self._compiled()


def _compile_later(cls: Any, frozen: bool) -> None:
    def compiled() -> None:
        if cls.__init__ is first:
            cls.__init__ = _compiled_init(cls, frozen)

    def first(self: Any, /, *values: Any, **named: Any) -> None:
        compiled()
        cls.__init__(self, *values, **named)

    first.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = first
    cls.__signature__ = _Signature(compiled)


def _compiled_init(cls: Any, frozen: bool) -> Any:
    """Write and compile it, as the standard library does for every class at once."""
    known: dict[str, Any] = {"_FACTORY": _FACTORY, "_set": object.__setattr__}
    positional, by_name, body = ["self"], list[str](), list[str]()
    for item in fields(cls):
        name, given = item.name, item.name
        if item.default is not MISSING:
            known[f"_{name}"] = item.default
            default = f"=_{name}"
        elif item.default_factory is not MISSING:
            known[f"_{name}"] = item.default_factory
            default = "=_FACTORY"
            given = f"_{name}() if {name} is _FACTORY else {name}" if item.init else f"_{name}()"
        else:
            default = ""
        if item.init:
            (by_name if item.kw_only else positional).append(f"{name}{default}")
        elif item.default is not MISSING and "__slots__" in vars(cls):
            given = f"_{name}"  # which are no place for an attribute of the class
        elif item.default_factory is MISSING:
            continue  # the class's attribute, or what __post_init__ sets
        body.append(f"_set(self, {name!r}, {given})" if frozen else f"self.{name} = {given}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    taken = ", ".join(positional + (["*", *by_name] if by_name else []))
    text = f"def __init__({taken}):\n " + "\n ".join(body or ["pass"])
    exec(text, known)  # noqa: S102 - names of fields, which are names of Python
    init = known["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {i.name: i.type for i in fields(cls) if i.init} | {"return": None}
    return init


def _values(names: list[str]) -> Callable[[Any], Any]:
    """Take the values of these fields as a tuple, which `attrgetter` gives of two and more."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple(getattr(one, name) for name in names)


def _show(cls: Any, items: tuple[Field[Any], ...]) -> None:
    shown = [item.name for item in items if item.repr]

    def __repr__(self: object) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({told})"

    cls.__repr__ = recursive_repr()(__repr__)


def _compare(cls: Any, items: tuple[Field[Any], ...]) -> None:
    values = _values([item.name for item in items if item.compare])

    def __eq__(self: object, other: object) -> bool:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    cls.__eq__ = __eq__


def _hash(cls: Any, items: tuple[Field[Any], ...], frozen: bool) -> None:
    values = _values([i.name for i in items if (i.compare if i.hash is None else i.hash)])

    def __hash__(self: object) -> int:
        return hash(values(self))

    cls.__hash__ = __hash__ if frozen else None


def _freeze(cls: Any, items: tuple[Field[Any], ...], *, slots: bool) -> None:
    names = frozenset(item.name for item in items)

    def __setattr__(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    def __getstate__(self: object) -> list[Any]:
        return [getattr(self, item.name) for item in items]

    def __setstate__(self: object, state: list[Any]) -> None:
        for item, value in zip(items, state, strict=True):
            object.__setattr__(self, item.name, value)

    cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__
    if slots:
        cls.__getstate__, cls.__setstate__ = __getstate__, __setstate__
