"""TPC-H's tables as Parquet files, made by tpchgen-cli, and its queries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TABLES = (
    "customer",
    "lineitem",
    "nation",
    "orders",
    "part",
    "partsupp",
    "region",
    "supplier",
)
QUERIES = tuple(range(1, 23))
_FOLDER = Path(__file__).parent / "queries"


def query_text(number: int) -> str:
    """The text of a query, with the parameters that TPC-H validates with."""
    return (_FOLDER / f"q{number:02}.sql").read_text()


def generate(folder: Path, scale: float = 0.01) -> dict[str, Path]:
    """Write the tables, and say where they are."""
    program = Path(sys.executable).with_name("tpchgen-cli")
    command = [str(program), "parquet", "-s", str(scale), f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return {name: folder / f"{name}.parquet" for name in TABLES}
