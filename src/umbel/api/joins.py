"""Joins as Polars names their columns, over the plan's Join, whose inputs share no name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umbel.api.binding import Named, bind_one, flatten, fresh_names, project
from umbel.api.expressions import into_expr
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    WindowCall,
    substitute,
    walk,
)
from umbel.plan.operators import Join, JoinType, Operator
from umbel.plan.operators.relational import JOIN_TYPES
from umbel.plan.origin import Origin

How = JoinType


def build_join(
    left: Operator,
    right: Operator,
    *,
    how: JoinType,
    on: Any,
    left_on: Any,
    right_on: Any,
    suffix: str,
    coalesce: bool | None,
    where: Any,
    origin: Origin | None,
) -> Operator:
    """Build a join and the projections around it; `DataFrame.join` says what they mean."""
    if how not in JOIN_TYPES:
        raise UnknownNameError("join type", str(how), JOIN_TYPES)
    left_keys, right_keys = _keys(how, on, left_on, right_on, where)
    left_columns, right_columns = left.schema.names, right.schema.names
    left, left_names = _with_keys(left, left_keys, "left_on" if on is None else "on", origin)
    right, right_names = _with_keys(right, right_keys, "right_on" if on is None else "on", origin)
    dropped = _dropped(how, coalesce, left_names, right_names, left_columns, right_columns)

    # What the right columns are called in the result, and inside the join.
    shown = {n: n + suffix if n in left_columns else n for n in right_columns}
    _check_clashes(shown, dropped, left_columns, right_columns, how, suffix)
    inside = _names_inside(shown, dropped["right"], left.schema.names, right.schema.names)
    right = project([(inside[n], Column(n)) for n in right.schema.names], right, origin)
    condition = _condition(where, left, right, left_columns, shown, inside)
    join = Join(
        left=left,
        right=right,
        how=how,
        on=tuple((a, inside[b]) for a, b in zip(left_names, right_names, strict=True)),
        residual=condition,
        origin=origin,
    )
    if how in ("semi", "anti"):
        return project([(n, Column(n)) for n in left_columns], join, origin)
    output = _output(
        how, dropped, left_columns, right_columns, shown, inside, left_names, right_names
    )
    return project(output, join, origin)


def _keys(
    how: str, on: Any, left_on: Any, right_on: Any, where: Any
) -> tuple[list[Any], list[Any]]:
    """The keys of both sides, as they were given."""
    given = [k for k in (on, left_on, right_on) if k is not None]
    if how == "cross":
        if given or where is not None:
            raise PlanError("a cross join takes no keys and no condition", hint="use how='inner'")
        return [], []
    if on is not None:
        if left_on is not None or right_on is not None:
            raise PlanError("join takes either on, or left_on and right_on")
        keys = list(flatten([on]))
        return keys, keys
    if (left_on is None) != (right_on is None):
        raise PlanError("join needs both left_on and right_on")
    if left_on is None:
        if where is None:
            raise PlanError(
                f"a {how} join needs keys", hint="give on=..., left_on= and right_on=, or where=..."
            )
        return [], []
    left, right = list(flatten([left_on])), list(flatten([right_on]))
    if len(left) != len(right):
        raise PlanError(f"left_on has {len(left)} keys, but right_on has {len(right)}")
    return left, right


def _with_keys(
    operator: Operator, keys: Sequence[Any], where: str, origin: Origin | None
) -> tuple[Operator, list[str]]:
    """Add a column for each key that is not a column yet."""
    names: list[str] = []
    added: list[Named] = []
    fresh = fresh_names(operator.schema.names, "_key_")
    for key in keys:
        _, node = bind_one(into_expr(key), operator.schema, what=where)
        if isinstance(node, Column):
            names.append(node.name)
        else:
            names.append(next(fresh))
            added.append((names[-1], node))
    if not added:
        return operator, names
    columns = [(name, Column(name)) for name in operator.schema.names]
    return project([*columns, *added], operator, origin), names


def _dropped(
    how: str,
    coalesce: bool | None,
    left_names: list[str],
    right_names: list[str],
    left_columns: list[str],
    right_columns: list[str],
) -> dict[str, set[str]]:
    """The key columns of each side that the result leaves out."""
    if coalesce is False or how == "cross":
        return {"left": set(), "right": set()}
    # A key that is an expression is no column of the result, so its partner stays.
    pairs = [
        (a, b)
        for a, b in zip(left_names, right_names, strict=True)
        if a in left_columns and b in right_columns
    ]
    if how == "right":
        return {"left": {a for a, _ in pairs}, "right": set()}
    return {"left": set(), "right": {b for _, b in pairs}}


def _names_inside(
    shown: dict[str, str], dropped: set[str], left_names: list[str], right_names: list[str]
) -> dict[str, str]:
    """Names for the right columns inside the join: those of the result, if they are free."""
    hidden = fresh_names({*left_names, *right_names, *shown.values()}, "_right_")
    inside: dict[str, str] = {}
    for name in right_names:
        wanted = shown.get(name, name)
        free = wanted not in left_names and wanted not in inside.values()
        # A key that goes under another name would only hide a column that has the name itself.
        inside[name] = wanted if free and (wanted == name or name not in dropped) else next(hidden)
    return inside


def _check_clashes(
    shown: dict[str, str],
    dropped: dict[str, set[str]],
    left_columns: list[str],
    right_columns: list[str],
    how: str,
    suffix: str,
) -> None:
    """Raise if the result would have two columns of one name."""
    if how in ("semi", "anti"):
        return
    if how == "right":  # keys of the right side keep their names, as the left ones go
        shown.update({name: name for name in dropped["left"] & set(right_columns)})
    taken = {name: name for name in left_columns if name not in dropped["left"]}
    for name in right_columns:
        if name in dropped["right"]:
            continue
        result = shown[name]
        if result in taken:
            raise PlanError(
                f"the join's result has two columns {result!r}: {taken[result]!r} and "
                f"{name!r} of the right side with suffix {suffix!r}",
                hint="choose another suffix=..., or rename or drop one of them before the join",
            )
        taken[result] = name


def _condition(
    where: Any,
    left: Operator,
    right: Operator,
    left_columns: list[str],
    shown: dict[str, str],
    inside: dict[str, str],
) -> Expression | None:
    """The residual condition, over the columns inside the join."""
    if where is None:
        return None
    names = {shown[n]: inside[n] for n in shown if shown[n] not in left_columns}
    node = into_expr(where).expand([*left_columns, *names])[0][1]
    for inner in walk(node):
        if isinstance(inner, AggregateCall | WindowCall):
            raise PlanError(f"{inner} cannot stand in the condition of a join")
        if isinstance(inner, Column) and inner.name not in (*left_columns, *names):
            raise UnknownNameError("column", inner.name, [*left_columns, *names], where="where")
    return substitute(node, {name: Column(own) for name, own in names.items()})


def _output(
    how: str,
    dropped: dict[str, set[str]],
    left_columns: list[str],
    right_columns: list[str],
    shown: dict[str, str],
    inside: dict[str, str],
    left_names: list[str],
    right_names: list[str],
) -> list[Named]:
    """The result's columns over those of the join."""
    partner = {
        a: inside[b] for a, b in zip(left_names, right_names, strict=True) if b in dropped["right"]
    }
    output: list[Named] = []
    for name in left_columns:
        if name in dropped["left"]:
            continue
        if how == "full" and name in partner:
            output.append((name, Call("coalesce", (Column(name), Column(partner[name])))))
        else:
            output.append((name, Column(name)))
    output.extend(
        (shown[name], Column(inside[name]))
        for name in right_columns
        if name not in dropped["right"]
    )
    return output


__all__ = ["How", "build_join"]
