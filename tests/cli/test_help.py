"""Help, version, and what each exit code means."""

from __future__ import annotations

import inspect

import pytest

import umbel as package
from tests.cli.conftest import Run
from umbel.cli.help import EXIT_CODES
from umbel.plan import errors


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("run",),
        ("explain",),
        ("platforms",),
        ("tables",),
        ("config",),
        ("config", "check"),
        ("demo",),
    ],
)
def test_help_has_examples_that_name_the_command(umbel: Run, command: tuple[str, ...]):
    done = umbel(*command, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    _, _, examples = done.stdout.partition("Examples:\n")
    assert " ".join(["umbel", *command]) in examples


def test_without_arguments_help_is_shown(umbel: Run):
    assert umbel().stdout == umbel("--help").stdout


def test_version(started: Run):
    assert started("--version").stdout == f"umbel {package.__version__}\n"


def test_every_exit_code_of_an_error_is_documented(umbel: Run):
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.UmbelError)
    ]
    assert {kind.exit_code for kind in kinds} <= set(EXIT_CODES)
    shown = umbel("--help").stdout
    for code, meaning in EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("rnu",),
        ("run",),
        ("run", "--no-such-option", "script.py"),
        ("run", "script.txt"),
        ("run", "--limit", "3", "script.py"),
        ("run", "plan.json", "argument"),
        ("run", "plan.json", "--limit", "-1"),
        ("explain", "--name", "a", "--all", "script.py"),
    ],
)
def test_wrong_use_is_two_lines_on_standard_error(umbel: Run, arguments: tuple[str, ...]):
    done = umbel(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert "--help" in second


def test_a_misspelt_command_gets_a_suggestion(umbel: Run):
    assert "'run'" in umbel("rnu").stderr
