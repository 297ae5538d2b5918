"""Immutable records that share their methods, where `@dataclass(frozen=True)` compiles its own.

A dataclass costs about 1 ms of start-up for the methods it generates. A plan's vocabulary has
seventy classes, of which a small query uses five, so their bases write these methods once. To
everything else they are dataclasses: `fields` and `replace` work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError, field, fields
from typing import Any, ClassVar, Self, dataclass_transform

from umbel.dataclass import dataclass


class _Shared:
    _defaults: ClassVar[dict[str, Any]] = {}
    _shown: ClassVar[tuple[str, ...]] = ()
    _compared: ClassVar[tuple[str, ...]] = ()
    _kw_only: ClassVar[bool] = False

    def __init_subclass__(cls, *, kw_only: bool | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if kw_only is not None:
            cls._kw_only = kw_only
        dataclass(init=False, repr=False, eq=False, kw_only=cls._kw_only)(cls)
        items = fields(cls)  # type: ignore[arg-type]
        cls._defaults = {item.name: item.default for item in items}
        cls._shown = tuple(item.name for item in items if item.repr)
        cls._compared = tuple(item.name for item in items if item.compare)

    def __init__(self, *values: Any, **named: Any) -> None:
        allowed = 0 if self._kw_only else len(self._defaults)
        if len(values) > allowed:
            raise TypeError(f"{type(self).__name__} takes at most {allowed} positional arguments")
        for name, value in zip(self._defaults, values, strict=False):
            if name in named:
                raise TypeError(f"{type(self).__name__} got two values for {name!r}")
            named[name] = value
        state = self.__dict__
        for name, default in self._defaults.items():
            value = named.pop(name, default)
            if value is MISSING:
                raise TypeError(f"{type(self).__name__} needs a value for {name!r}")
            state[name] = value
        if named:
            raise TypeError(
                f"{type(self).__name__} has no field {next(iter(named))!r}; "
                f"it has {', '.join(self._defaults)}"
            )
        self.__post_init__()

    def _copied(self, changes: Mapping[str, Any], known: Mapping[str, Any]) -> Self:
        """Copy with other values for some fields, unchecked: for changes that keep checks true.

        Args:
            changes: values of fields.
            known: cached properties that hold for the copy too.
        """
        copy = object.__new__(type(self))
        state = copy.__dict__
        for name in self._defaults:
            state[name] = changes[name] if name in changes else self.__dict__[name]
        state.update(known)
        return copy

    def __post_init__(self) -> None:
        """Check the fields; called when all are set."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self._compared)))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record(_Shared):
    """A frozen dataclass whose subclasses need no decorator; equal when class and fields are.

    >>> class Point(Record):
    ...     x: int
    ...     y: int = 0
    >>> Point(1) == Point(x=1, y=0), Point(1)
    (True, Point(x=1, y=0))
    """


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class KeywordRecord(_Shared, kw_only=True):
    """A record whose fields are given by name, so that subclasses may add some without default.

    >>> class Named(KeywordRecord):
    ...     name: str = ""
    >>> class Weighed(Named):
    ...     weight: int
    >>> Weighed(weight=2)
    Weighed(name='', weight=2)
    """
