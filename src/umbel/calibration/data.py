"""The data of calibration: tables of any size with the same shape, and files of them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from umbel.dataclass import dataclass

#: Rows that are made one by one; larger tables repeat them with other keys.
_DRAWN = 20_000
_WORDS = ("umbel", "fennel", "carrot", "dill", "lovage", "angelica", "cumin", "Anise", "parsley")


@dataclass(frozen=True)
class Data:
    """Tables of one size.

    Attributes:
        rows: of the large tables.
        tables: `facts` with as many rows, `others` like it, `half` with every second key,
            `groups` with one row for each of 100 groups.
        lines: text.
    """

    rows: int
    tables: Mapping[str, pa.Table]
    lines: list[str]

    @classmethod
    def of(cls, rows: int) -> Data:
        """Make tables of a size; equal sizes give equal tables."""
        facts, others = _facts(rows, seed=1), _facts(rows, seed=2)
        half = pa.table(
            {
                "id": pa.array(range(0, rows, 2), pa.int64()),
                "rate": pa.array([i / 7 for i in range(0, rows, 2)], pa.float64()),
            }
        )
        groups = pa.table(
            {
                "g": pa.array(range(100), pa.int64()),
                "name": [f"{_WORDS[i % len(_WORDS)]} {i}" for i in range(100)],
            }
        )
        drawn = random.Random(3)  # noqa: S311 - for data
        lines = [" ".join(drawn.choices(_WORDS, k=8)) for _ in range(min(rows, _DRAWN))]
        tables = {"facts": facts, "others": others, "half": half, "groups": groups}
        return cls(rows, tables, (lines * (rows // max(1, len(lines)) + 1))[:rows])

    def write(self, folder: Path) -> dict[str, Path]:
        """Write the facts and the lines in every format that sources have."""
        facts = self.tables["facts"]
        base = folder / str(self.rows)
        base.mkdir()
        paths = {kind: base / f"facts.{kind}" for kind in ("parquet", "csv", "jsonl", "arrow")}
        paths["txt"] = base / "lines.txt"
        # As large files are: several row groups, so that all cores have some.
        pyarrow.parquet.write_table(facts, paths["parquet"], row_group_size=max(1, self.rows // 4))
        pyarrow.feather.write_feather(facts, str(paths["arrow"]), compression="uncompressed")
        pyarrow.csv.write_csv(facts.drop_columns(["price"]), paths["csv"])
        records = [
            f'"x": {x!r}, "name": "{name}"}}\n'
            for x, name in zip(*(facts[c].to_pylist() for c in ("x", "name")), strict=True)
        ]
        with paths["jsonl"].open("w", encoding="utf-8") as file:
            file.writelines(f'{{"id": {i}, {record}' for i, record in enumerate(records))
        paths["txt"].write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return paths


def _facts(rows: int, seed: int) -> pa.Table:
    drawn = random.Random(seed)  # noqa: S311 - for data
    count = min(rows, _DRAWN)
    x = [drawn.random() for _ in range(count)]
    columns = {
        "g": pa.array([drawn.randrange(100) for _ in range(count)], pa.int64()),
        "x": pa.array(x, pa.float64()),
        "price": pa.array([Decimal(f"{1000 * v:.2f}") for v in x], pa.decimal128(12, 2)),
        "name": [f" {drawn.choice(_WORDS)} {drawn.randrange(1000)}" for _ in range(count)],
        "day": pa.array(
            [date.fromordinal(730_000 + drawn.randrange(2500)) for _ in range(count)], pa.date32()
        ),
    }
    table = pa.table(columns)
    whole = pa.concat_tables([table] * (rows // max(1, count) + 1)).slice(0, rows)
    # A step that has no divisor in common with the number of rows visits each key once.
    step = next(n for n in range(rows * 5 // 8 + 1, 2 * rows + 3) if _coprime(n, max(1, rows)))
    ids = [(i * step) % rows for i in range(rows)] if rows else []
    many = max(1, rows // 10)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "h": pa.array([i % many for i in ids], pa.int64()),
            **{name: whole[name].combine_chunks() for name in columns},
        }
    )


def _coprime(a: int, b: int) -> bool:
    while b:
        a, b = b, a % b
    return a == 1


__all__ = ["Data"]
