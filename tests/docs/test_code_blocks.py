"""Run the code blocks of README.md and docs/, so that the manual cannot be wrong.

The blocks of one file run in order, in one namespace, in a new directory that holds a copy of
`fixtures/` (with every CSV file also as Parquet).

- `python`: is executed; where it starts with `>>>`, its output is compared as in a doctest. Where
  its first line is `# folder/file.py`, it is written to that file instead.
- `console`, `bash`: every line `$ umbel ...` is run; output shown below it is compared, where
  `...` stands for anything. Other commands are not run.
- `python no-run` is allowed in docs/decisions/ only.
"""

from __future__ import annotations

import difflib
import doctest
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest
from sybil import Document, Example, Region
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tests import forked

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
PAGES = [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/**/*.md"))]

COMPARE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FILE_NAME = re.compile(r"# (\S+\.py)\n")
fences = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
doctests = DocTestStringParser(DocTestEvaluator(COMPARE))


def runnable_blocks(document: Document) -> Iterator[Region]:
    """Find the blocks that run; a parser for sybil."""
    for region in fences(document):
        language, *options = region.lexemes["info"].split() or [""]
        region.parsed = region.lexemes["source"]
        if language.startswith("{"):
            region.evaluator = lambda _: "name the language plainly: ```python"
            yield region
        elif "no-run" in options:
            if ROOT / "docs" / "decisions" not in Path(document.path).parents:
                region.evaluator = lambda _: "no-run is allowed in docs/decisions/ only"
                yield region
        elif language in {"python", "py"} and FILE_NAME.match(region.parsed):
            region.evaluator = write_file
            yield region
        elif language in {"python", "py", "pycon"} and region.parsed.lstrip().startswith(">>>"):
            for prompt in doctests(region.parsed, document.path):
                prompt.adjust(region, region.parsed)
                yield prompt
        elif language in {"python", "py", "pycon"}:
            region.evaluator = PythonEvaluator()
            yield region
        elif language in {"console", "bash"} and "$ umbel " in region.parsed:
            region.evaluator = run_commands
            yield region


def write_file(example: Example) -> None:
    """Write a block to the file that its first line names."""
    match = FILE_NAME.match(example.parsed)
    assert match is not None
    path = Path(match[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(example.parsed, encoding="utf-8")


def run_commands(example: Example) -> str | None:
    """Run a block's `$ umbel` lines; say what went wrong, if anything."""
    text = example.parsed.replace("\\\n", " ")
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        if not command.startswith("umbel "):
            continue
        done = subprocess.run(
            ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=600
        )
        if done.returncode != 0:
            return f"$ {command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        shown = expected.strip()
        if shown and not doctest.OutputChecker().check_output(
            shown + "\n", done.stdout.strip() + "\n", COMPARE
        ):
            rows = difflib.ndiff(shown.splitlines(), done.stdout.strip().splitlines())
            return f"$ {command}\n" + "\n".join(rows)
    return None


DOCUMENTS = [Document.parse(str(page), runnable_blocks) for page in PAGES]


@pytest.fixture
def workplace(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A directory with the fixture files, as the current and as the home directory."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    for csv in tmp_path.glob("*.csv"):
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(csv), csv.with_suffix(".parquet"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    programs = tmp_path_factory.mktemp("programs")
    forked.command(programs)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


#: What the page about PostgreSQL finds in its database.
WAREHOUSE = """CREATE TABLE orders AS SELECT i AS id, i % 7 AS customer,
    (i * 1.25)::numeric(10,2) AS total, date '2024-01-01' + i % 90 AS day
    FROM generate_series(1, 1000) i; ANALYZE orders"""


@pytest.fixture
def warehouse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database, for the page that reads one."""
    if "WAREHOUSE_URL" not in Path(request.getfixturevalue("document").path).read_text("utf-8"):
        yield
        return
    from tests.postgres_server import available, server

    if not available():
        pytest.skip("PostgreSQL is not installed: umbel[dev,postgres]")
    with server().fresh() as url:
        name = url.partition("@/")[2].partition("?")[0]
        server().execute(*WAREHOUSE.split("; "), database=name)
        monkeypatch.setenv("WAREHOUSE_URL", url)
        yield


@pytest.mark.usefixtures("workplace", "warehouse")
@pytest.mark.parametrize(
    "document",
    [pytest.param(d, id=str(Path(d.path).relative_to(ROOT))) for d in DOCUMENTS if d.regions],
)
def test_code_blocks_run(document: Document):
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        document.namespace.clear()  # what a page attached is not there on the next
