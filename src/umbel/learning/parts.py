"""The parts that a DataFrame's rows lie in: what a model sums over, each where it is.

A table with parts at several sites is a union; what is done to single rows of the union can as well
be done to each part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from umbel.api.memory import memory_source
from umbel.dataclass import dataclass
from umbel.plan.errors import UnknownNameError
from umbel.plan.expressions import Column, WindowCall, walk
from umbel.plan.models import Design
from umbel.plan.operators import (
    Filter,
    Operator,
    Predict,
    Project,
    Rows,
    Scan,
    Union,
)
from umbel.plan.operators.base import same_schema

if TYPE_CHECKING:
    from umbel.api.session import Session

#: What rows of this machine are called.
HERE = "here"


@dataclass(frozen=True)
class Part:
    """Rows that are summed over together.

    Attributes:
        name: the site that they lie at; "here" for this machine.
        plan: what gives them.
        local: they lie here.
    """

    name: str
    plan: Operator
    local: bool


def parts_of(plan: Operator, session: Session, *, without: Iterable[str] = ()) -> tuple[Part, ...]:
    """Divide the rows of a plan.

    Args:
        plan: a relation.
        session: knows where tables lie.
        without: names of parts to leave out.

    Raises:
        UnknownNameError: there is no part of a name that is to be left out.
    """
    found: dict[str, list[Operator]] = {}
    for piece in _pieces(session.divided(plan)):
        found.setdefault("+".join(sorted(session.sites_of(piece))) or HERE, []).append(piece)
    left_out = tuple(without)
    for name in left_out:
        if name not in found:
            raise UnknownNameError("part", name, found, where="the data")
    return tuple(
        Part(name, _joined(pieces), local=name == HERE)
        for name, pieces in found.items()
        if name not in left_out
    )


def over_parts(
    plan: Operator, session: Session, change: Callable[[Operator], Operator]
) -> Operator:
    """Apply an operator on single rows to each piece of a plan, so that it runs where that lies."""
    return _joined([change(piece) for piece in _pieces(session.divided(plan))])


def _pieces(plan: Operator) -> list[Operator]:
    match plan:
        case Union(distinct=False, members=members) if same_schema([m.schema for m in members]):
            return [piece for member in members for piece in _pieces(member)]
        case Project(columns=columns) if any(
            isinstance(node, WindowCall) for _, e in columns for node in walk(e)
        ):
            return [plan]
        case Project() | Filter() | Rows() | Predict():
            return [plan.with_inputs((piece,)) for piece in _pieces(plan.inputs[0])]
    return [plan]


def _joined(pieces: list[Operator]) -> Operator:
    return pieces[0] if len(pieces) == 1 else Union(members=tuple(pieces))


def kept_here(session: Session, part: Part, design: Design) -> Part:
    """Read rows of this machine once, and not in every round: only the columns that count.

    Args:
        session: runs it.
        part: of rows that lie here, or elsewhere: these stay where they are.
        design: says which columns count.
    """
    if not part.local:
        return part
    names = [n for n in part.plan.schema.names if n in {*design.columns, *design.targets}]
    plan: Operator = Project(input=part.plan, columns=tuple((n, Column(n)) for n in names))
    table = session.run(plan).data
    return Part(part.name, Scan(source=memory_source(table)), local=True)


__all__ = ["HERE", "Part", "kept_here", "over_parts", "parts_of"]
