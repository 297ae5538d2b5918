"""Which cells of an aggregate do not leave: pure functions, as official statistics know them.

Dominance, the p% rule and complementary suppression are those of Hundepool et al.,
Statistical Disclosure Control, 2012, chapter 4. Thresholds are
`umbel.federation.policy.disclosing.enough`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa

from umbel.federation.policy.clauses import Dominance
from umbel.federation.policy.verdict import INDIVIDUAL, VALUE, Cells

#: Aggregates whose value is made of the individuals' sums.
_SUMS = ("sum", "mean")


def shares(cells: Cells, parts: pa.Table, position: int, name: str) -> list[list[float]]:
    """The absolute values that individuals add to a cell, the largest first.

    Args:
        cells: whose rows are asked about.
        parts: `Cells.contributions`.
        position: of the individuals among those of the cells.
        name: the aggregate's column.
    """
    found: dict[tuple[object, ...], dict[object, float]] = defaultdict(lambda: defaultdict(float))
    column = f"{VALUE}{name}"
    who = parts.column(f"{INDIVIDUAL}{position}").to_pylist()
    values = parts.column(column).cast(pa.float64(), safe=False).to_pylist()
    for key, one, value in zip(keys_of(parts, cells.keys), who, values, strict=True):
        if one is not None and value:
            found[key][one] += value
    return [
        sorted((abs(v) for v in found[key].values()), reverse=True)
        for key in keys_of(cells.table, cells.keys)
    ]


def undominated(
    cells: Cells, parts: pa.Table, position: int, dominance: Dominance | None, p_percent: float
) -> list[bool]:
    """Whether no sum is known too well from a few individuals' parts.

    The (n, k) rule: the n largest make up more than k percent. The p% rule: the second largest,
    who knows its own part, could reckon the largest closer than p percent.
    """
    good = [True] * cells.table.num_rows
    for name, function in cells.functions.items():
        if function not in _SUMS or f"{VALUE}{name}" not in parts.schema.names:
            continue
        for row, parts_of in enumerate(shares(cells, parts, position, name)):
            good[row] &= _even(parts_of, dominance, p_percent)
    return good


def _even(parts: Sequence[float], dominance: Dominance | None, p_percent: float) -> bool:
    """Whether a sum of such parts, the largest first, may be shown.

    >>> _even([60, 20, 20], Dominance(1, 50), 0), _even([40, 30, 30], Dominance(1, 50), 0)
    (False, True)
    >>> _even([100, 80, 5], None, 10), _even([100, 80, 15], None, 10)
    (False, True)
    """
    whole = sum(parts)
    if dominance is not None and sum(parts[: dominance.largest]) * 100 > dominance.percent * whole:
        return False
    return not p_percent or not parts or sum(parts[2:]) * 100 >= p_percent * parts[0]


def complement(
    keys: Sequence[tuple[object, ...]], sizes: Sequence[int], shown: Iterable[bool], least: int
) -> list[bool]:
    """Leave out more cells, so that none follows from the others and the sums along a key.

    Along each key, with the others fixed, the cells that are left out must be two or more, and
    have `least` individuals together: whoever knows the sum of that line learns no more than that
    of these. Cells are added by size, the smallest first, until all lines hold (Hundepool et al.
    2012, section 4.3, by lines: it does not look at combinations of lines).

    Args:
        keys: of the cells.
        sizes: how many individuals are behind each.
        shown: which of them may be shown so far.
        least: how many individuals must stay together.

    >>> complement([("a",), ("b",), ("c",)], [2, 9, 5], [False, True, True], 5)
    [False, True, False]
    """
    keep = list(shown)
    lines: list[list[int]] = []
    for dimension in range(len(keys[0]) if keys else 0):
        along: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number, key in enumerate(keys):
            along[(*key[:dimension], *key[dimension + 1 :])].append(number)
        lines += list(along.values())
    changed = True
    while changed:
        changed = False
        for line in lines:
            out = [number for number in line if not keep[number]]
            if not out or (len(out) > 1 and sum(sizes[n] for n in out) >= least):
                continue
            rest = [number for number in line if keep[number]]
            if rest:
                keep[min(rest, key=lambda n: (sizes[n], repr(keys[n])))] = False
                changed = True
    return keep


def keys_of(table: pa.Table, names: Sequence[str]) -> list[tuple[object, ...]]:
    """The keys of a table's rows."""
    if not names:
        return [()] * table.num_rows
    columns = [table.column(name).to_pylist() for name in names]
    return list(zip(*columns, strict=True))


__all__ = ["complement", "keys_of", "shares", "undominated"]
