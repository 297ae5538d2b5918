"""What the manual lists is what the code has."""

from __future__ import annotations

import re

import pytest

from tests.docs.reference import ENGINES, PAGES, REFERENCE, THEMES
from umbel.cli.help import EXIT_CODES
from umbel.optimizer.rewrite import RULES
from umbel.plan import errors
from umbel.plan.functions import CATALOGUE
from umbel.plan.operators import OPERATORS
from umbel.platforms.registry import Registry

DOCS = REFERENCE.parent


@pytest.mark.parametrize("page", PAGES)
def test_a_page_made_from_the_code_is_current(page: str):
    written = (REFERENCE / page).read_text(encoding="utf-8")
    assert written == PAGES[page](), "write it anew: python -m tests.docs.reference"


def test_every_function_and_operator_is_listed():
    functions = (REFERENCE / "functions.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", functions, flags=re.MULTILINE)
    assert sorted(listed) == CATALOGUE.names()
    operators = (REFERENCE / "operators.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", operators, flags=re.MULTILINE)
    assert sorted(listed) == sorted(OPERATORS)


def test_every_engine_has_a_column():
    found = Registry.discover()
    with_tables = {platform.name for platform in found} | {"postgres", "spark"}
    assert with_tables == {*ENGINES, "python"}
    assert len(THEMES) == len(set(THEMES))


def test_every_rule_is_explained():
    text = (DOCS / "explanation" / "optimizer.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert listed == list(dict.fromkeys(rule.__name__ for rule in RULES))


def test_every_error_and_exit_code_is_listed():
    page = (DOCS / "explanation" / "errors-and-exit-codes.md").read_text(encoding="utf-8")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.UmbelError) and name != "UmbelError":
            row = re.search(rf"^\| `{name}` \| .* \| (\d+) \|$", page, flags=re.MULTILINE)
            assert row is not None, f"{name} is not listed"
            assert int(row[1]) == kind.exit_code
    for code in EXIT_CODES:
        assert re.search(rf"\b{code}\b", page), f"exit code {code} is not listed"
