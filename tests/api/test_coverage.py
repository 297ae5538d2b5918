"""Every function of the catalogue can be reached from FedPy, and every name that it uses exists."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

import umbel.api
from umbel.plan.functions import CATALOGUE

#: Made by the optimizer alone.
INTERNAL = {"require"}

SOURCES = sorted(Path(umbel.api.__file__).parent.glob("*.py"))


@functools.cache
def _strings(*, called: bool) -> set[str]:
    """Texts in the API's code: all of them, or those that name a function to call."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if called and isinstance(node, ast.Call):
                target = node.func
                name = (
                    target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
                )
                makers = {"_call", "_aggregate", "Call", "AggregateCall", "WindowCall", "_window",
                          "_over_columns", "_running", "_rolling"}  # fmt: skip
                first = node.args[0] if node.args else None
                if (
                    name in makers
                    and isinstance(first, ast.Constant)
                    and isinstance(first.value, str)
                ):
                    found.add(first.value)
            elif not called and isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("name", sorted(set(CATALOGUE.names()) - INTERNAL))
def test_every_function_of_the_catalogue_is_offered(name: str):
    assert name in _strings(called=False)


def test_every_function_that_is_called_is_in_the_catalogue():
    assert {name for name in _strings(called=True) if name not in CATALOGUE} == set()
