"""What a policy says of one table: which individuals its rows are about, and the clauses on it.

A clause lets the table's content out in one form, for some subjects and purposes, to some places,
with duties. What no clause lets out stays. `umbel.federation.policy.reading` makes these of a file,
`umbel.federation.policy.verdict` hands them to whoever has to do something before a release.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from datetime import date

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError

#: Every one: of users, sites, columns and the like.
ALL = ("*",)


class Form(enum.Enum):
    """In which form the content of a table may leave its site."""

    ROWS = "rows"
    AGGREGATES = "aggregates"
    PRIVATE = "private"
    UPDATES = "updates"
    NOTHING = "nothing"


class Approval(enum.Enum):
    """Whether a person at the site has to agree, and to what."""

    NONE = "none"
    PLAN = "plan"
    RELEASE = "release"


@dataclass(frozen=True)
class Dominance:
    """No sum of which a few individuals make up the most: the (n, p) rule of official statistics.

    Attributes:
        largest: how many individuals, those with the largest shares.
        percent: of the sum of absolute values, what they may have together at most.

    Source: Hundepool et al., Statistical Disclosure Control, 2012, section 4.2.2.
    """

    largest: int = 1
    percent: float = 50.0

    def __post_init__(self) -> None:
        if self.largest < 1 or not 0 < self.percent <= 100:
            raise FederationError(
                f"{self.largest} individuals with {self.percent} percent are no dominance rule",
                hint="largest is 1 or more, percent above 0 and at most 100",
            )


@dataclass(frozen=True)
class Privacy:
    """Differential privacy: what an answer costs, and what there is to spend.

    Attributes:
        epsilon: of one answer.
        delta: of all answers within a budget together; half of it is for finding groups by.
        per_user: the epsilon that one user may spend in `days`.
        per_table: the epsilon that all users may spend on the table in `days`.
        days: after which what was spent is forgotten; 0 for never.
        rows: of one individual that count in one group at most.
        bounds: for each column of numbers the least and the greatest value that counts.
        groups: of one answer in which one individual counts at most.
        domains: for columns that groups are made by the values that there may be: public, and so
            not looked up in the table.
    """

    epsilon: float
    delta: float = 0.0
    per_user: float = 1.0
    per_table: float = 10.0
    days: int = 0
    rows: int = 1
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: int = 1
    domains: Mapping[str, tuple[str | int | bool, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= min(self.per_user, self.per_table):
            raise FederationError(
                f"an answer of epsilon {self.epsilon} is not within its budgets",
                hint="0 < epsilon <= per_user, and <= per_table",
            )
        if not 0 <= self.delta < 1 or self.days < 0 or min(self.rows, self.groups) < 1:
            raise FederationError(
                "delta is from 0 to below 1, days 0 or more, rows and groups 1 or more"
            )
        for name, values in self.domains.items():
            if not values or len(set(values)) != len(values):
                raise FederationError(f"the domain of column {name!r} is empty, or repeats a value")
        for name, (low, high) in self.bounds.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise FederationError(f"the bounds of column {name!r} are not in order")

    def __hash__(self) -> int:
        return hash((self.epsilon, self.delta, *sorted(self.bounds), *sorted(self.domains)))


@dataclass(frozen=True)
class Updates:
    """Conditions on updates of models.

    Attributes:
        algorithms: which may be trained, by name; "*" for every one.
        clip: the greatest norm of an update; None for any.
        noise: standard deviation of the noise on it, in units of `clip`.
        rounds: of training and evaluation that one user may have in a day, of all models; None for
            any number.
        secure: only sums over several sites may be seen.
    """

    algorithms: tuple[str, ...] = ("*",)
    clip: float | None = None
    noise: float = 0.0
    rounds: int | None = None
    secure: bool = False

    def __post_init__(self) -> None:
        if self.noise and self.clip is None:
            raise FederationError(
                "noise on updates is measured in their clip, and there is none",
                hint="write clip = …: the greatest norm that an update of yours has",
            )


@dataclass(frozen=True)
class Duties:
    """What has to hold of a result, and what is counted, beside the form.

    Attributes:
        dominance: no sums of which a few individuals make up the most.
        complementary: a cell that is left out must not follow from those that are shown.
        noise: the greatest number that cell keys add to a count or take from it; 0 for none.
        overlap: answers of one user are over the same individuals, or differ by at least as many;
            0 for no such control.
        answers_per_day: of one user.
        rows_per_day: that leave for one user.
        bytes_per_day: that leave for one user.
        approval: whether a person has to agree.
        p_percent: no sum from which the second largest individual could reckon the largest closer
            than so many percent; 0 for no such rule.
        rounding: counts are rounded to multiples of it; 0 for none.
        approval_days: for which a request waits, and for which an approval holds.
    """

    dominance: Dominance | None = None
    complementary: bool = False
    noise: int = 0
    overlap: int = 0
    answers_per_day: int | None = None
    rows_per_day: int | None = None
    bytes_per_day: int | None = None
    approval: Approval = Approval.NONE
    p_percent: float = 0.0
    rounding: int = 0
    approval_days: int = 7

    def __post_init__(self) -> None:
        if not (0 <= self.noise <= 128 and self.rounding >= 0 and self.overlap >= 0):
            raise FederationError(
                "noise, rounding and overlap are whole numbers",
                hint="noise from 0 to 128, the others 0 or more",
            )
        if not 0 <= self.p_percent <= 100:
            raise FederationError("p_percent is from 0 to 100")


@dataclass(frozen=True)
class Project:
    """People who work together on something, as the policy names them.

    Attributes:
        name: of the project.
        users: who belongs to it, by name.
        roles: who belongs to it, by what they are.
        purposes: what they may ask for; "*" for everything.
        until: the last day of it, in UTC; None for no end.
        together: what its people were shown, had and spent counts as one person's.
    """

    name: str
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ALL
    until: date | None = None
    together: bool = False

    def has(self, user: str, roles: Collection[str]) -> bool:
        """Whether somebody belongs to it."""
        return user in self.users or any(role in self.roles for role in roles)

    def admits(self, user: str, roles: Collection[str], purpose: str, today: date) -> bool:
        """Whether somebody asks as one of them."""
        if self.until is not None and today > self.until:
            return False
        if not ("*" in self.purposes or purpose in self.purposes):
            return False
        return self.has(user, roles)


@dataclass(frozen=True)
class Recipients:
    """For whom, for what and to where something may leave.

    Attributes:
        users: by name, or that have one of `roles` or belong to one of `projects`; "*" for every
            one that the coordinator knows.
        roles: see `users`.
        projects: see `users`.
        purposes: what the answer may be for; "*" for everything, also what was not said.
        sites: the other sites to which it may go on.
        regions: for people, the regions whose sites are among `sites`.
        coordinator: whether the coordinator may read it, and with it the users.
    """

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    projects: tuple[Project, ...] = ()
    purposes: tuple[str, ...] = ALL
    sites: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    coordinator: bool = True

    def admits(self, user: str, roles: Collection[str], purpose: str, today: date) -> bool:
        """Whether somebody is among them.

        Args:
            user: by name.
            roles: what the user is.
            purpose: what they say that it is for.
            today: in UTC.

        >>> Recipients(roles=("analyst",)).admits("ann", ["analyst"], "", date(2026, 1, 1))
        True
        """
        if not ("*" in self.purposes or purpose in self.purposes):
            return False
        if "*" in self.users or user in self.users or any(r in self.roles for r in roles):
            return True
        return any(p.admits(user, roles, purpose, today) for p in self.projects)


@dataclass(frozen=True)
class Clause:
    """Lets a table's content out in one form. Lists of columns: "*" for all, empty for none.

    Attributes:
        name: of the clause, among those of its table.
        form: in which form.
        min_individuals: how many different individuals must be behind each value of an aggregate.
        columns: those that leave as rows, or are arguments of aggregates, or train a model.
        dimensions: those by which aggregates may be grouped.
        conditions: those by which rows may be picked.
        joins: those by which rows may be joined with other tables, beside `conditions`.
        functions: the aggregates that may be asked for.
        where: SQL over the table's columns; rows for which it is not true are not there.
        recipients: for whom, for what and to where.
        duties: what has to hold of a result beside.
        privacy: of the form "private".
        updates: of the form "updates".
        pseudonyms: for people, the columns of the table that hold pseudonyms.
    """

    name: str
    form: Form
    min_individuals: int = 10
    columns: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    where: str = ""
    recipients: Recipients = field(default_factory=Recipients)
    duties: Duties = field(default_factory=Duties)
    privacy: Privacy | None = None
    updates: Updates | None = None
    pseudonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_individuals < 1:
            raise FederationError(
                f"aggregates over at least {self.min_individuals} individuals are no rule",
                hint="write 1 or more",
            )
        if (self.form is Form.PRIVATE) is (self.privacy is None):
            raise FederationError("only the form 'private' has a privacy budget, and it needs one")
        left = replace(self.duties, answers_per_day=None, rows_per_day=None, bytes_per_day=None)
        left = replace(left, approval=Approval.NONE, approval_days=7)
        if self.form is Form.PRIVATE and left != Duties():
            raise FederationError(
                "the form 'private' has no duties on groups: noise covers all of them",
                hint="take out dominance, p_percent, complementary, noise, rounding and overlap",
            )


__all__ = [
    "ALL",
    "Approval",
    "Clause",
    "Dominance",
    "Duties",
    "Form",
    "Privacy",
    "Project",
    "Recipients",
    "Updates",
]
