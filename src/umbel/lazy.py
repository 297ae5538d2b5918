"""What is not made before it is used: modules, and the values of mappings.

An engine's tables of functions are asked what the engine can run long before it is chosen; to
import it for that would cost more than many a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

Value = TypeVar("Value")


class LazyModule:
    """Stands for a module, and imports it at the first use of an attribute.

    >>> LazyModule("colorsys").rgb_to_hsv(0.0, 0.0, 0.0)
    (0.0, 0.0, 0.0)
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)  # the next use costs no more than of a real module
        return value


class LazyMapping(Mapping[str, Value]):
    """A mapping whose values are worked out when they are first asked for, and then kept.

    >>> sizes = LazyMapping(["a", "bb"], len)
    >>> sizes["bb"], list(sizes)
    (2, ['a', 'bb'])
    """

    def __init__(self, names: Iterable[str], work_out: Callable[[str], Value]) -> None:
        self._names = dict.fromkeys(names)
        self._work_out = work_out
        self._known: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._known:
            if name not in self._names:
                raise KeyError(name)
            self._known[name] = self._work_out(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names
