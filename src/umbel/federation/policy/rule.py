"""A rule: what of one table of a site may leave it, and for whom."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.policy.clauses import ALL, Clause, Form, Recipients
from umbel.federation.policy.verdict import Grant


@dataclass(frozen=True)
class Rule:
    """What of one table may leave its site.

    Attributes:
        form: in which form.
        min_individuals: how many different individuals must be behind each value of an aggregate.
        individual: the column that says which individual a row is about; empty if each row is
            about another one.
        to: the users who may have it, by name; "*" for every one that the coordinator knows.
        resident: no other site has rows about an individual of this table, so that joins by
            individuals stay inside of each site.
        sites: the other sites to which what leaves may go on, by name; "*" for every one, none for
            none: then only the coordinator and the users have it.
        updates: how many different individuals must be behind what training and evaluating models
            lets out: sums over rows; 0 lets out none.
        clause: of a policy, that says more: which columns may be used for what, to whom it goes,
            and what has to be done; None for a rule that says no more than this.

    >>> Rule(Form.AGGREGATES, 10, "patient_id").words
    'aggregates over at least 10 different patient_id'
    """

    form: Form = Form.NOTHING
    min_individuals: int = 10
    individual: str = ""
    to: tuple[str, ...] = ("*",)
    resident: bool = False
    sites: tuple[str, ...] = ("*",)
    updates: int = 0
    clause: Clause | None = None

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise FederationError(
                f"updates over at least {self.updates} individuals are no rule",
                hint="updates is the least number of individuals, or 0 for none",
            )
        if self.min_individuals < 1:
            raise FederationError(
                f"aggregates over at least {self.min_individuals} individuals are no rule",
                hint="min_individuals is 1 or more",
            )
        if self.resident and not self.individual:
            raise FederationError(
                "individuals that are resident have no column",
                hint="name it: individual",
            )

    @property
    def words(self) -> str:
        """What may leave, for people."""
        if self.form is Form.AGGREGATES:
            who = f"different {self.individual}" if self.individual else "rows"
            return f"aggregates over at least {self.min_individuals} {who}"
        if self.form is Form.PRIVATE:
            return "differentially private answers"
        return str(self.form.value)

    @property
    def update_words(self) -> str:
        """What of models may leave, for people."""
        who = f"different {self.individual}" if self.individual else "rows"
        return f"updates of models over at least {self.updates} {who}" if self.updates else "none"

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The kinds of models that may be trained; "*" for every one."""
        conditions = None if self.clause is None else self.clause.updates
        return ("*",) if conditions is None else conditions.algorithms

    @property
    def masked(self) -> bool:
        """Whether only sums over several sites may be seen of updates."""
        conditions = None if self.clause is None else self.clause.updates
        return conditions is not None and conditions.secure

    @property
    def coordinator(self) -> bool:
        """Whether the coordinator may read what leaves."""
        return self.clause is None or self.clause.recipients.coordinator

    def grant(self, table: str, *, updates: bool = False) -> Grant:
        """What the rule grants of a table, of updates or else."""
        learned = updates and self.form is not Form.ROWS
        clause = self.clause or Clause(
            "",
            Form.UPDATES if learned else self.form,
            self.updates if learned else self.min_individuals,
            *(ALL,) * 5,
            recipients=Recipients(self.to, sites=self.sites),
        )
        return Grant(table, self.individual, clause)

    def admits(self, user: str, roles: Collection[str] = (), purpose: str = "") -> bool:
        """Whether a user may have what leaves."""
        if self.clause is not None:
            today = datetime.now(UTC).date()
            return self.clause.recipients.admits(user, roles, purpose, today)
        return "*" in self.to or user in self.to

    def goes_to(self, site: str) -> bool:
        """Whether what leaves may go on to another site."""
        return "*" in self.sites or site in self.sites


__all__ = ["Rule"]
