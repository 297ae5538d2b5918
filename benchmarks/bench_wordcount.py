"""WordCount: umbel with plain Python functions against the best programs written by hand.

Compares whole processes, imports included, on the same synthetic text. The programs written by
hand split at single spaces, which is right for this text only; umbel's `str.split` splits at all
white space, as Python does, and pays for looking. Unfair would be: a text that is not in the page
cache, or another program running at the same time.
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

SIZES = {"10mb": 10_000_000, "100mb": 100_000_000, "1gb": 1_000_000_000}


def main() -> None:
    """Make the text, check that all answers are equal, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "umbel-bench")
    options = parser.parse_args()
    # As pip leaves an installed package; this one may be a checkout whose files just changed.
    compileall.compile_dir(str(Path(ub.__file__).parent), quiet=2)
    for size in options.size or ["10mb", "100mb"]:
        path = options.folder / f"text-{size}.txt"
        make_text(path, SIZES[size])
        names = ["polars", "duckdb", "umbel", *([] if size == "1gb" else ["python"])]
        commands = {
            name: [sys.executable, "-m", f"benchmarks.wordcount.with_{name}", str(path)]
            for name in names
        }
        answers = {
            name: subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for name, command in commands.items()
        }
        if len(set(answers.values())) != 1:
            sys.exit(f"the programs disagree: {answers}")
        print(f"WordCount, {size}: {answers['umbel'].strip()}")
        target = options.json
        if target is not None:
            target = target.with_name(f"{target.stem}-{size}{target.suffix}")
        report(commands, interleave(commands, options.rounds, 0), target)


if __name__ == "__main__":
    main()
