"""How large a plan's JSON may be, and the checks that its writer and its reader share."""

from __future__ import annotations

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanFormatError

#: Expressions inside expressions, when they are built as when they are read.
MAX_EXPRESSION_DEPTH = 128
#: Types inside types; Arrow's own files allow no more than twice as many.
MAX_TYPE_DEPTH = 32


@dataclass(frozen=True)
class Limits:
    """How large a plan may be that is read or written.

    Attributes:
        text: characters of the document.
        nodes: operators, those of loop bodies included.
        depth: operators on the longest path from a leaf to the root.
        expression_depth: expressions on the longest path inside one operator.
        expressions: expressions, sort keys and the like in the whole document.
        loop_depth: loops inside loops.
        string: characters of one text, such as a name or a constant.
        type_size: types inside the types of one operator's columns.
        table: bytes of the constant tables, together.
    """

    text: int = 64 * 2**20
    nodes: int = 10_000
    depth: int = 400
    expression_depth: int = MAX_EXPRESSION_DEPTH
    expressions: int = 200_000
    loop_depth: int = 8
    string: int = 2**20
    type_size: int = 20_000
    table: int = 32 * 2**20

    @property
    def nesting(self) -> int:
        """Brackets inside brackets that a plan within these limits can need."""
        # A branch of a case takes three brackets; a loop's body four; a node and a type the rest.
        return 3 * self.expression_depth + 4 * self.loop_depth + 3 * MAX_TYPE_DEPTH + 16


def refusal(path: str, message: str, hint: str = "") -> PlanFormatError:
    """Make the error for something wrong at a path of the document.

    >>> print(refusal("$.root", "not the index of a node"))
    $.root: not the index of a node
    """
    return PlanFormatError(
        f"{path if len(path) < 200 else '…' + path[-200:]}: {message}", hint=hint
    )


def check_depth(depths: list[int], inputs: list[int], limits: Limits, path: str) -> None:
    """Append the depth of a node to `depths`; refuse it if it is too deep."""
    depths.append(1 + max((depths[i] for i in inputs), default=0))
    if depths[-1] > limits.depth:
        raise refusal(path, f"more than {limits.depth} operators above one another")


def check_part(count: int, depth: int, limits: Limits, path: str) -> None:
    """Refuse an expression that stands too deep, or is one too many."""
    if depth > limits.expression_depth:
        raise refusal(
            path[:200], f"an expression is nested more than {limits.expression_depth} deep"
        )
    if count > limits.expressions:
        raise refusal(path, f"the plan has more than {limits.expressions} expressions")


def check_table(size: int, limits: Limits, path: str) -> None:
    """Refuse constant tables that are too large together."""
    if size > limits.table:
        raise refusal(
            path,
            f"constant tables of more than {limits.table} bytes",
            "write the data to a file, and let the plan scan it",
        )
