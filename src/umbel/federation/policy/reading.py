"""Reads a policy: a TOML file of the site's owner, checked to the last key.

    version = 3
    site = "hospital-a"

    [projects.sepsis]
    users = ["ann"]
    purposes = ["sepsis"]
    until = 2027-06-30

    [regions]
    eu = ["hospital-b", "hospital-c"]

    [tables.visits]
    individual = "patient_id"
    where = "consent"                       # SQL; other rows are not there
    mask = { zip = "left(zip, 3)" }         # SQL; what is there instead
    pseudonym = ["patient_id"]              # keyed names stand there instead

    [tables.visits.allow.statistics]
    form = "aggregates"                     # or rows, private, updates
    individuals = 10
    functions = ["count", "sum", "mean"]
    columns = ["cost"]
    dimensions = ["sex", "zip"]
    conditions = ["sex"]
    roles = ["analyst"]
    purposes = ["sepsis"]

What no clause lets out does not leave: not a column, not a table, not to anybody.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import field
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from umbel.api.toml import TomlFile
from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.policy.clauses import (
    ALL,
    Approval,
    Clause,
    Dominance,
    Duties,
    Form,
    Privacy,
    Project,
    Recipients,
    Updates,
)
from umbel.federation.policy.people import Person
from umbel.federation.policy.plain import FUNCTIONS
from umbel.federation.rules import Rule
from umbel.federation.sandbox.rules import CodeRules
from umbel.federation.sandbox.signing import check_signer
from umbel.plan.errors import PlanError, UmbelError

#: Functions that give the value of a single individual; an owner who names one is told so.
_OF_ONE = frozenset(
    [
        "any_value",
        "first",
        "first_non_null",
        "last",
        "last_non_null",
        "list",
        "max",
        "max_by",
        "median",
        "min",
        "min_by",
        "mode",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "string_agg",
        "array_agg",
    ]
)


@dataclass(frozen=True)
class TablePolicy:
    """What a policy says of one table.

    Attributes:
        name: the table, as the site publishes it.
        individual: the column that says whom a row is about; empty if each is about another.
        resident: no other site has rows about an individual of this table.
        where: SQL over its columns; rows for which it is not true are not there.
        mask: by column the SQL of what is there instead.
        clauses: in order.
        pseudonym: columns in which pseudonyms stand in place of what is there.
    """

    name: str
    individual: str = ""
    resident: bool = False
    where: str = ""
    mask: Mapping[str, str] = field(default_factory=dict)
    clauses: tuple[Clause, ...] = ()
    pseudonym: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule for each clause; one that lets nothing out if there is none."""
        found = tuple(
            Rule(
                clause.form,
                clause.min_individuals,
                self.individual,
                clause.recipients.users,
                self.resident,
                clause.recipients.sites,
                clause.min_individuals if clause.form is Form.UPDATES else 0,
                clause,
            )
            for clause in self.clauses
        )
        return found or (Rule(Form.NOTHING, individual=self.individual, resident=self.resident),)


@dataclass(frozen=True)
class Policy:
    """A policy of a site.

    Attributes:
        site: whose.
        version: a number that only grows.
        tables: by name; of others nothing leaves.
        digest: SHA-256 of the file.
        file: as it was read.
        code: whose code runs, and what it may take.
        people: those who may ask, by name, and their keys; empty where the coordinator's word is
            taken for who asks.
    """

    site: str
    version: int
    tables: Mapping[str, TablePolicy]
    digest: str
    file: TomlFile = field(repr=False)
    code: CodeRules = field(default_factory=CodeRules)
    people: Mapping[str, Person] = field(default_factory=dict)

    @property
    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """The rules of its tables."""
        return {name: table.rules for name, table in self.tables.items()}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ProjectSection(_Strict):
    """People who work together on something."""

    users: list[str] = []
    roles: list[str] = []
    purposes: list[str] = Field(examples=['["sepsis"]'])
    until: date | None = None
    together: bool = False


class PersonSection(_Strict):
    """Somebody whom the site knows by their keys."""

    keys: list[Annotated[str, AfterValidator(check_signer)]] = Field(
        min_length=1, examples=['["ed25519:…"]']
    )
    roles: list[str] = []


class DominanceSection(_Strict):
    """The (n, p) rule."""

    largest: int = Field(default=1, ge=1, le=1000)
    percent: float | int = Field(default=50.0, gt=0, le=100)


class PrivacySection(_Strict):
    """A budget for differential privacy."""

    epsilon: float | int = Field(gt=0, le=100, examples=["0.5"])
    delta: float | int = Field(default=0.0, ge=0, lt=1)
    per_user: float | int = Field(gt=0, examples=["2.0"])
    per_table: float | int = Field(gt=0, examples=["10.0"])
    days: int = Field(default=0, ge=0, le=36_500)
    rows: int = Field(default=1, ge=1, le=10**6)
    groups: int = Field(default=1, ge=1, le=10**6)
    bounds: dict[str, list[float | int]] = {}
    domains: dict[str, list[str | int | bool]] = {}


class UpdatesSection(_Strict):
    """Conditions on updates of models."""

    algorithms: list[str] = ["*"]
    clip: float | int | None = Field(default=None, gt=0)
    noise: float | int = Field(default=0.0, ge=0)
    rounds: int | None = Field(default=None, ge=1)
    secure: bool = False


class ClauseSection(_Strict):
    """Lets a table's content out in one form."""

    form: Literal["rows", "aggregates", "private", "updates"] = Field(examples=['"aggregates"'])
    individuals: int = Field(default=10, ge=1, le=10**9)
    columns: list[str] = []
    dimensions: list[str] = []
    conditions: list[str] = []
    joins: list[str] = []
    functions: list[str] = ["count", "sum", "mean"]
    where: str = ""
    users: list[str] = []
    roles: list[str] = []
    projects: list[str] = []
    purposes: list[str] = ["*"]
    sites: list[str] = []
    regions: list[str] = []
    coordinator: bool = True
    dominance: DominanceSection | None = None
    complementary: bool = False
    noise: int = Field(default=0, ge=0, le=128)
    p_percent: float | int = Field(default=0, ge=0, le=100)
    rounding: int = Field(default=0, ge=0, le=10**6)
    overlap: int = Field(default=0, ge=0, le=10**9)
    answers_per_day: int | None = Field(default=None, ge=0)
    rows_per_day: int | None = Field(default=None, ge=0)
    bytes_per_day: int | None = Field(default=None, ge=0)
    approval: Literal["none", "plan", "release"] = "none"
    approval_days: int = Field(default=7, ge=1, le=3650)
    privacy: PrivacySection | None = None
    updates: UpdatesSection | None = None


class TableSection(_Strict):
    """A table."""

    individual: str = ""
    resident: bool = False
    where: str = ""
    mask: dict[str, str] = {}
    pseudonym: list[str] = []
    allow: dict[str, ClauseSection] = {}


class SandboxSection(_Strict):
    """What code may take that others have signed."""

    seconds: float | int = Field(default=60.0, gt=0, le=86_400)
    memory: int = Field(default=2**30, ge=2**24, le=2**45)
    bytes: int = Field(default=2**30, ge=1, le=2**40)
    modules: list[str] = Field(default=[], examples=['["numpy"]'])


class PolicyFile(_Strict):
    """The whole file."""

    version: int = Field(ge=1, lt=2**31, examples=["1"])
    site: str = Field(min_length=1, max_length=63, examples=['"hospital-a"'])
    code: Literal["none", "signed"] = "none"
    signers: dict[str, Annotated[str, AfterValidator(check_signer)]] = {}
    sandbox: SandboxSection = SandboxSection()
    people: dict[str, PersonSection] = {}
    projects: dict[str, ProjectSection] = {}
    regions: dict[str, list[str]] = {}
    tables: dict[str, TableSection] = {}


def read_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy.

    Raises:
        SourceError: the file cannot be read, or is no TOML.
        PlanError: a key is wrong; names the file, the line and the key.
    """
    file = TomlFile.read(path)
    read = file.validated(PolicyFile)
    tables = {name: _table(file, read, name, table) for name, table in read.tables.items()}
    digest = hashlib.sha256(file.text.encode()).hexdigest()
    people = _people(file, read)
    return Policy(read.site, read.version, tables, digest, file, _code(file, read), people)


def _people(file: TomlFile, read: PolicyFile) -> dict[str, Person]:
    owners: dict[str, str] = {}
    for name, one in read.people.items():
        for key in one.keys:
            if owners.setdefault(key, name) != name:
                raise _wrong(file, ("people", name, "keys"), f"a key is also that of {owners[key]!r}",
                             "each person has keys of their own")  # fmt: skip
    return {n: Person(n, tuple(one.keys), tuple(one.roles)) for n, one in read.people.items()}


def _code(file: TomlFile, read: PolicyFile) -> CodeRules:
    if read.code == "none":
        for key in ("signers", "sandbox"):
            if key in read.model_fields_set:
                raise _wrong(file, (key,), f"{key} means nothing while no code runs",
                             'write code = "signed" above the first section, or take it out')  # fmt: skip
        return CodeRules()
    if not read.signers:
        raise _wrong(file, ("code",), "signed code runs, and nobody is trusted to sign it",
                     '[signers] names them: ann = "ed25519:…", as umbel code keys shows it')  # fmt: skip
    box = read.sandbox
    return CodeRules(read.signers, float(box.seconds), box.memory, box.bytes, tuple(box.modules))


def _table(file: TomlFile, read: PolicyFile, name: str, table: TableSection) -> TablePolicy:
    where = ("tables", name)
    if table.resident and not table.individual:
        raise _wrong(file, (*where, "resident"), "individuals that are resident have no column",
                     'write individual = "…"')  # fmt: skip
    clauses = []
    for clause_name, section in table.allow.items():
        at = (*where, "allow", clause_name)
        try:
            clauses.append(_clause(file, read, at, table, section))
        except FederationError as error:
            raise file.at(at, error) from None
    for column in table.pseudonym:
        if column in table.mask:
            raise _wrong(file, (*where, "pseudonym"), f"column {column!r} has a mask and pseudonyms",
                         "take one of them out")  # fmt: skip
    return TablePolicy(
        name,
        table.individual,
        table.resident,
        table.where,
        table.mask,
        tuple(clauses),
        tuple(table.pseudonym),
    )


def _clause(
    file: TomlFile, read: PolicyFile, at: tuple[str, ...], table: TableSection, one: ClauseSection
) -> Clause:
    aggregates = one.form in ("aggregates", "private")
    for function in one.functions:
        if function in _OF_ONE:
            raise _wrong(
                file, (*at, "functions"),
                f"{function} gives the value of a single individual and is no aggregate",
                f"there are: {', '.join(FUNCTIONS)}",
            )  # fmt: skip
        if function not in FUNCTIONS and function != "*":
            raise _wrong(file, (*at, "functions"), f"there is no aggregate {function!r}",
                         f"there are: {', '.join(FUNCTIONS)}")  # fmt: skip
    given = one.model_fields_set
    only = {
        "dominance",
        "p_percent",
        "complementary",
        "noise",
        "rounding",
        "overlap",
        "dimensions",
        "functions",
    }
    for key in sorted(given & only):
        if not aggregates:
            raise _wrong(file, (*at, key), f"{key} means nothing for the form {one.form!r}")
    for key, form in (("privacy", "private"), ("updates", "updates")):
        if (key in given) and one.form != form:
            raise _wrong(file, (*at, key), f"{key} means nothing for the form {one.form!r}")
    if one.form == "private" and not table.individual:
        raise _wrong(
            file, at, "private answers protect individuals, and the table names no column of them",
            f'write individual = "…" in [tables.{at[1]}]',
        )  # fmt: skip
    for key in ("dimensions", "conditions", "columns"):
        if aggregates and table.individual and table.individual in getattr(one, key):
            raise _wrong(
                file, (*at, key),
                f"{table.individual!r} says who a row is about: aggregates cannot use it",
                "individuals can be counted and joined by in every clause",
            )  # fmt: skip
    return Clause(
        at[-1],
        Form(one.form),
        one.individuals,
        tuple(one.columns),
        tuple(one.dimensions),
        tuple(one.conditions),
        tuple(one.joins),
        tuple(one.functions) if aggregates else (),
        one.where,
        _recipients(file, read, at, one),
        Duties(
            None
            if one.dominance is None
            else Dominance(one.dominance.largest, float(one.dominance.percent)),
            one.complementary,
            one.noise,
            one.overlap,
            one.answers_per_day,
            one.rows_per_day,
            one.bytes_per_day,
            Approval(one.approval),
            float(one.p_percent),
            one.rounding,
            one.approval_days,
        ),
        None if one.privacy is None else _privacy(file, at, one.privacy),
        None if one.updates is None else _updates(one.updates),
        tuple(table.pseudonym),
    )


def _recipients(
    file: TomlFile, read: PolicyFile, at: tuple[str, ...], one: ClauseSection
) -> Recipients:
    if not (one.users or one.roles or one.projects):
        raise _wrong(file, at, "the clause is for nobody",
                     'write users = [...], roles = [...] or projects = [...]; "*" is everybody')  # fmt: skip
    projects = []
    for name in one.projects:
        if name not in read.projects:
            raise _wrong(file, (*at, "projects"), f"there is no project {name!r}",
                         f"write [projects.{name}]; there are: {', '.join(read.projects)}")  # fmt: skip
        found = read.projects[name]
        projects.append(
            Project(
                name,
                tuple(found.users),
                tuple(found.roles),
                tuple(found.purposes),
                found.until,
                found.together,
            )
        )
    sites = list(one.sites)
    for region in one.regions:
        if region not in read.regions:
            raise _wrong(file, (*at, "regions"), f"there is no region {region!r}",
                         f"write it under [regions]; there are: {', '.join(read.regions)}")  # fmt: skip
        sites += read.regions[region]
    return Recipients(
        tuple(one.users),
        tuple(one.roles),
        tuple(projects),
        tuple(one.purposes),
        tuple(dict.fromkeys(sites)),
        tuple(one.regions),
        one.coordinator,
    )


def _privacy(file: TomlFile, at: tuple[str, ...], one: PrivacySection) -> Privacy:
    bounds = {}
    for column, pair in one.bounds.items():
        if len(pair) != 2:
            raise _wrong(file, (*at, "privacy"), f"the bounds of {column!r} are not two numbers",
                         f"write {column} = [0, 100]")  # fmt: skip
        bounds[column] = (float(pair[0]), float(pair[1]))
    return Privacy(
        float(one.epsilon),
        float(one.delta),
        float(one.per_user),
        float(one.per_table),
        one.days,
        one.rows,
        bounds,
        one.groups,
        {column: tuple(values) for column, values in one.domains.items()},
    )


def _updates(one: UpdatesSection) -> Updates:
    clip = None if one.clip is None else float(one.clip)
    return Updates(tuple(one.algorithms), clip, float(one.noise), one.rounds, one.secure)


def _wrong(file: TomlFile, keys: tuple[str, ...], message: str, hint: str = "") -> UmbelError:
    return file.at(keys, PlanError(message, hint=hint))


__all__ = ["ALL", "Policy", "PolicyFile", "TablePolicy", "read_policy"]
