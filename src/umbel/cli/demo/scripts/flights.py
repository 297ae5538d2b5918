"""Whose flights from New York are late in strong wind, and in which direction?"""

from math import atan2, pi
from pathlib import Path
from typing import Any

import umbel as ub
from umbel import col

HERE = Path(__file__).parent
COMPASS = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"]


def direction(airport: Any) -> tuple[str, str]:
    """Where an airport lies as seen from New York. This needs Python: no engine has it."""
    north, east = airport.lat - 40.7, airport.lon + 74.0
    return airport.faa, COMPASS[round(atan2(east, north) / pi * 4) % 8]


def windy_delays(session: ub.Session) -> ub.DataFrame:
    """Join four files of four formats, and the directions that a Python function gives."""
    flights = session.read_parquet(HERE / "flights.parquet")
    weather = session.read_csv(HERE / "weather.csv", null_values=["", "NA"])
    airlines = session.read_json(HERE / "airlines.jsonl")
    airports = session.read_ipc(HERE / "airports.arrow")
    directions = airports.rows().map(direction).to_frame({"dest": str, "direction": str})
    return (
        flights.join(weather, on=["origin", "year", "month", "day", "hour"])
        .filter(col("wind_speed") > 25, col("arr_delay").is_not_null())
        .join(directions, on="dest")
        .join(airlines, on="carrier")
        .group_by("direction", airline="name")
        .agg(flights=ub.len(), mean_delay=col("arr_delay").mean().round(1))
        .filter(col("flights") >= 50)
        .sort("mean_delay", "direction", "airline", descending=[True, False, False])
        .limit(10)
    )


if __name__ == "__main__":
    windy_delays(ub.connect()).show()
