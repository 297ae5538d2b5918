"""Modules that are imported when something of them is first used.

An engine's tables of functions are asked what the engine can run long before it is chosen; to
import it for that would cost more than many a query.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


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
