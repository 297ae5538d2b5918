"""What a coordinator, a site and a client import is named by the extra `federation`, or by no extra.

Imports are read, not done: the tests' environment has all packages. (Once numpy was missing, and a
coordinator did not start in its container.)
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"


def required(extra: str) -> set[str]:
    """The packages that an installation with an extra has, as their own metadata say."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found: set[str] = set()
    while waiting:
        name = plain(re.split(r"[^\w.-]", waiting.pop(), maxsplit=1)[0])
        if name in found:
            continue
        found.add(name)
        try:
            below = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # one of another platform
            continue
        waiting += [one for one in below if "extra ==" not in one]
    return found


def plain(name: str) -> str:
    """A package's name as all its spellings give it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def file_of(module: str) -> Path | None:
    path = SOURCES.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is imported: none of functions, or of types only."""
    for statement in body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                yield statement
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from at_import(statement.orelse)
            case ast.If():
                yield from at_import([*statement.body, *statement.orelse])
            case ast.ClassDef() | ast.With():
                yield from at_import(statement.body)


def imported(*modules: str) -> dict[str, str]:
    """The packages of others that modules import, with all that they import of umbel; and who."""
    waiting, seen = list(modules), set(modules)
    found: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        file = file_of(module)
        assert file is not None, module
        names = [module.rpartition(".")[0]]
        for statement in at_import(ast.parse(file.read_text()).body):
            if isinstance(statement, ast.Import):
                names += [alias.name for alias in statement.names]
            else:
                assert statement.module, f"{module} imports by a relative name"
                names.append(statement.module)
                names += [f"{statement.module}.{alias.name}" for alias in statement.names]
        for name in names:
            top = name.partition(".")[0]
            if top == "umbel":
                if name not in seen and file_of(name) is not None:
                    seen.add(name)
                    waiting.append(name)
            elif top and top not in sys.stdlib_module_names:
                found.setdefault(top, module)
    return found


@pytest.mark.parametrize(
    "start",
    [
        ["umbel.federation.coordinator", "umbel.federation.coordinator.server"],
        ["umbel.federation.site", "umbel.federation.site.process"],
        ["umbel.federation.client"],
    ],
    ids=["coordinator", "site", "client"],
)
def test_the_extra_federation_is_enough(start: list[str]) -> None:
    packages = metadata.packages_distributions()
    there, wanted = required("federation"), imported(*start)
    assert "pyarrow" in wanted
    missing = {
        name: module
        for name, module in wanted.items()
        if not any(plain(package) in there for package in packages.get(name, [name]))
    }
    assert missing == {}


def test_a_package_that_is_missing_is_noticed() -> None:
    assert "numpy" in imported("umbel.federation.coordinator")
    assert "pandas" not in required("federation")
