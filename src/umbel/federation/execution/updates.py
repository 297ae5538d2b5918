"""Whether enough individuals are behind an update of a model, in the real rows.

A sum over rows tells of single ones where it is over few, where few differ from all others in some
value, where weights make all but few count for nothing, or where it has about as many numbers as
there are rows. The first three are DataSHIELD's checks as well (`nfilter.glm`, `nfilter.tab`); the
weights depend on the coefficients, which whoever asks may choose.
"""

from __future__ import annotations

from collections.abc import Mapping

from umbel.federation.errors import PolicyError
from umbel.federation.rules import Who

#: Rows that there must be for each column of numbers that a model goes by.
ROWS_PER_COLUMN = 3


def check_update(who: Who, counts: Mapping[str, int], distinct: int | None, width: int) -> None:
    """Raise `PolicyError` unless an update may leave; says what is too few, but not how few.

    Args:
        who: the individuals, and the rule of their table.
        counts: what the update is made of; see `umbel.plan.operators.Summing`.
        distinct: how many different individuals there are; None if each row is one.
        width: how many numbers each row has.
    """
    rule, rows = who.rule, counts["umbel rows"]
    found = rows if distinct is None else distinct
    if found < rule.updates:
        raise _refused(who, f"there are fewer than {rule.updates}")
    if counts["umbel cell"] < ROWS_PER_COLUMN * width:
        told = "" if rows < ROWS_PER_COLUMN * width else " where its sums tell rows apart"
        raise _refused(
            who,
            f"the model has {width} columns, and{told} fewer than {ROWS_PER_COLUMN} rows for each "
            "of them",
        )
    least = rule.min_individuals
    if counts["umbel cell"] < least:
        raise _refused(who, f"its sums tell of fewer than {least} apart")
    if counts["umbel smallest"] < least:
        raise _refused(
            who, f"a value of a feature, or a class, is shared by fewer than {least} rows"
        )
    if counts["umbel effective"] < least:
        raise _refused(who, f"with this state of the model fewer than {least} rows count in it")


def _refused(who: Who, why: str) -> PolicyError:
    return PolicyError(
        f"of table {who.table!r} {who.rule.update_words} may leave: {why}",
        hint="leave this site out (without=[…]), or use fewer or coarser features",
    )


__all__ = ["ROWS_PER_COLUMN", "check_update"]
