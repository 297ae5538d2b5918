"""A verdict that lets an output leave, and the cells of a result on which its duties are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.policy.clauses import Approval, Clause, Form

if TYPE_CHECKING:
    from umbel.federation.policy.private import Asked

#: Columns of `Cells.contributions`; before a number, alone or before a name, before a name.
INDIVIDUAL, ROWS, VALUE = "umbel individual ", "umbel rows", "umbel value "


@dataclass(frozen=True)
class Grant:
    """Under which clause the content of a table leaves.

    Attributes:
        table: the table.
        individual: its column that says whom a row is about; empty if each row is about another.
        clause: the clause.
    """

    table: str
    individual: str
    clause: Clause


@dataclass(frozen=True)
class Release:
    """An output that may leave a site, and what has to be done before it does.

    Attributes:
        form: what it is.
        grants: one for each table that it is made of, by the table's name.
        site: whose policy let it out.
        user: who is to have it.
        roles: what the user is.
        purpose: what it is for, in the user's word; empty if not said.
        to: the other sites that read it; none: the coordinator does.
        policy_version: of the policy that decided.
        policy_digest: SHA-256 of its file; empty for rules that stand in no file of their own.
        task: the id of the task that it is of, which is the same when that is tried again.
        asks: the question, for people.

    >>> clause = Clause("all", Form.AGGREGATES, 5)
    >>> release = Release(Form.AGGREGATES, (Grant("people", "id", clause),))
    >>> release.words
    'aggregates over at least 5 individuals'
    """

    form: Form
    grants: tuple[Grant, ...] = ()
    site: str = ""
    user: str = ""
    roles: tuple[str, ...] = ()
    purpose: str = ""
    to: tuple[str, ...] = ()
    policy_version: int = 0
    policy_digest: str = ""
    task: str = ""
    asks: str = ""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it is made of."""
        return tuple(grant.table for grant in self.grants)

    @property
    def gated(self) -> tuple[Grant, ...]:
        """The grants of which something has to be counted."""
        uncounted = (Form.ROWS, Form.PRIVATE)
        return tuple(g for g in self.grants if g.clause.form not in uncounted)

    @property
    def least(self) -> int:
        """The most individuals that some clause asks for; 0 if none does."""
        return max((grant.clause.min_individuals for grant in self.gated), default=0)

    @property
    def approval(self) -> Approval:
        """What a person has to agree to: the most that some clause asks for."""
        order = list(Approval)
        asked = (grant.clause.duties.approval for grant in self.grants)
        return max(asked, key=order.index, default=Approval.NONE)

    @property
    def words(self) -> str:
        """In which form it leaves, for people."""
        if self.form is Form.ROWS:
            return "rows"
        costs = [g.clause.privacy.epsilon for g in self.grants if g.clause.privacy is not None]
        if self.form is Form.PRIVATE and costs:
            return f"differentially private answers of epsilon {max(costs):g}"
        what = "updates of a model" if self.form is Form.UPDATES else self.form.value
        return f"{what} over at least {self.least} individuals"

    def facts(self) -> dict[str, object]:
        """What is to be written down of it: no data."""
        return {
            "form": self.form.value,
            "rule": self.words,
            "clauses": [
                f"{grant.table}.{grant.clause.name}" if grant.clause.name else grant.table
                for grant in self.grants
            ],
            "policy_version": self.policy_version,
            "policy_digest": self.policy_digest,
        }


@dataclass(frozen=True)
class Cells:
    """The groups of one aggregate over protected rows, before any is left out.

    Attributes:
        table: keys and aggregates, as they were asked for; one row is one cell of each aggregate.
        keys: the names of the keys' columns.
        behind: by the name of an aggregate's column how many different individuals are behind each
            of its values, one array for each of `individuals`; under "" those behind the group.
        individuals: the table and the individual's column that are counted, in this order.
        functions: by the name of an aggregate's column the function.
        contributions: runs the aggregate once more, for each individual alone: a table of the keys,
            a column `INDIVIDUAL`0 and so on for each of `individuals`, `ROWS`, and for each
            aggregate's name `ROWS` with the name: the individual's rows that count in it, and of
            numbers `VALUE` with the name: the sum of the individual's values.
        population: identifies the rows that the aggregate is over, whatever their columns.
        arguments: by the name of an aggregate's column what identifies its argument: "=" and the
            column, if it is one as it is, of all rows; else a digest.
        private: what is measured, if the cells are to be private; then `table` has none yet, and
            contributions are clipped to its bounds.
        part: tells the aggregate from others of its plan.
        of: how many private aggregates the plan has.
    """

    table: pa.Table
    keys: tuple[str, ...]
    behind: Mapping[str, tuple[pa.Array, ...]]
    individuals: tuple[Grant, ...]
    functions: Mapping[str, str] = field(default_factory=dict)
    contributions: Callable[[], pa.Table] | None = field(default=None, repr=False, compare=False)
    population: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    private: Asked | None = None
    part: str = ""
    of: int = 1


__all__ = ["INDIVIDUAL", "ROWS", "VALUE", "Cells", "Grant", "Release"]
