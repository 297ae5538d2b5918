"""WordCount on a Spark of this machine: umbel against jobs written by hand.

Compares whole processes, the start of Java included, on the same synthetic text: umbel with plain
Python functions, all pinned to Spark; the same functions on RDDs; and DataFrames without Python,
which split at single spaces and so do less than `str.split`. Wall times are to be compared: CPU
times lack the Java that the programs written by hand do not wait for. Unfair would be: a text that
is not in the page cache, or another program running at the same time.
"""

from __future__ import annotations

import argparse
import compileall
import subprocess
import sys
import tempfile
from pathlib import Path

import umbel as ub
from benchmarks.harness import interleave, report
from benchmarks.wordcount.make_text import make_text

SIZES = {"10mb": 10_000_000, "100mb": 100_000_000}
NAMES = ("rdd", "dataframe", "umbel")


def main() -> None:
    """Make the text, check that all answers are equal, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", choices=SIZES, default="100mb")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "umbel-bench")
    options = parser.parse_args()
    # As pip leaves an installed package; this one may be a checkout whose files just changed.
    compileall.compile_dir(str(Path(ub.__file__).parent), quiet=2)
    path = options.folder / f"text-{options.size}.txt"
    make_text(path, SIZES[options.size])
    commands = {
        name: [sys.executable, "-m", f"benchmarks.wordcount.with_spark_{name}", str(path)]
        for name in NAMES
    }
    answers = {
        name: subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        ).stdout
        for name, command in commands.items()
    }
    if len(set(answers.values())) != 1:
        sys.exit(f"the programs disagree: {answers}")
    print(f"WordCount on Spark, {options.size}: {answers['umbel'].strip()}")
    report(commands, interleave(commands, options.rounds, 0), options.json)


if __name__ == "__main__":
    main()
