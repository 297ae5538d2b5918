"""What a site tells the coordinator about itself: its tables with their rules, engines and link."""

from __future__ import annotations

import json
import math
from dataclasses import field
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.identity.names import check_name, check_readable
from umbel.federation.messages import read_message
from umbel.federation.policy.clauses import Clause
from umbel.federation.rules import Form, Rule
from umbel.plan.decoder import schema_from_json
from umbel.plan.encoder import schema_to_json
from umbel.plan.errors import PlanError
from umbel.plan.limits import Limits

#: The version of the format.
VERSION = 1
_MOST_TABLES, _MOST_TEXT = 10_000, 16 * 2**20


@dataclass(frozen=True)
class Link:
    """What connects a site with the coordinator.

    Attributes:
        bandwidth: bytes a second.
        latency: seconds for a message to go there and its answer to come back.
        dollars_per_gb: what 10⁹ bytes cost that leave the site.
    """

    bandwidth: float = 50e6
    latency: float = 0.01
    dollars_per_gb: float = 0.0

    def __post_init__(self) -> None:
        # NaN is within nothing. What no line has would make costs of which none is the least.
        for value, least, most in (
            (self.bandwidth, 1.0, 1e15),
            (self.latency, 0.0, 1e6),
            (self.dollars_per_gb, 0.0, 1e9),
        ):
            if not least <= value <= most:
                raise FederationError(f"{self} is no link", hint="bandwidth is in bytes a second")


@dataclass(frozen=True)
class TableManifest:
    """A published table, as the coordinator knows it.

    Attributes:
        name: its name.
        schema: its columns.
        rule: what of it may leave.
        rows: about how many it has; None if the site does not tell.
        others: further rules, in order; what one of them lets out may leave.
    """

    name: str
    schema: pa.Schema
    rule: Rule = field(default_factory=Rule)
    rows: int | None = None
    others: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        check_readable(self.name, "table")
        for name in self.schema.names:
            check_readable(name, f"column of table {self.name!r}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All of them."""
        return (self.rule, *self.others)


@dataclass(frozen=True)
class Manifest:
    """A site, as the coordinator knows it.

    Attributes:
        site: its name.
        version: of umbel there.
        tables: what it publishes.
        engines: its platforms by name, each with its version.
        link: what connects it.
        routes: the sites to which it brings straight what is sealed to them.
        signers: the keys whose code it runs.

    >>> Manifest.from_json(Manifest("north", "1.0").to_json()).site
    'north'
    """

    site: str
    version: str
    tables: tuple[TableManifest, ...] = ()
    engines: tuple[tuple[str, str], ...] = ()
    link: Link = field(default_factory=Link)
    routes: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_readable(self.version, "version")
        for part in (*(text for engine in self.engines for text in engine), *self.signers):
            check_readable(part, "platform or key")

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_manifest": VERSION,
                "site": self.site,
                "version": self.version,
                "tables": [
                    {
                        "name": table.name,
                        "schema": schema_to_json(table.schema),
                        "rule": _rule_to_json(table.rule),
                        "others": [_rule_to_json(rule) for rule in table.others],
                        "rows": table.rows,
                    }
                    for table in self.tables
                ],
                "engines": [{"name": name, "version": version} for name, version in self.engines],
                "link": {
                    "bandwidth": self.link.bandwidth,
                    "latency": self.link.latency,
                    "dollars_per_gb": self.link.dollars_per_gb,
                },
                "routes": list(self.routes),
                "signers": list(self.signers),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read one that `to_json` wrote.

        Raises:
            FederationError: it is none.
        """
        read = read_message(_ManifestModel, "manifest", text, _MOST_TEXT)
        tables = tuple(_table(table, i) for i, table in enumerate(read.tables))
        names = [table.name for table in tables]
        if len(set(names)) != len(names):
            raise FederationError("a manifest names a table twice")
        return cls(
            check_name(read.site),
            read.version,
            tables,
            tuple((engine.name, engine.version) for engine in read.engines),
            Link(read.link.bandwidth, read.link.latency, read.link.dollars_per_gb),
            tuple(check_name(name) for name in read.routes),
            tuple(read.signers),
        )


def rounded(rows: float) -> int:
    """A number of rows that tells no single one: to a power of two.

    >>> rounded(1000), rounded(0)
    (1024, 1)
    """
    return int(2 ** round(math.log2(max(1.0, rows))))


def _table(read: _TableModel, position: int) -> TableManifest:
    try:
        schema = schema_from_json(read.columns, f"$.tables[{position}].schema", Limits())
    except PlanError as error:
        raise FederationError(f"not a manifest: {error.message}") from None
    rules = [_rule_of(rule) for rule in (read.rule, *read.others)]
    for rule in rules:
        if rule.individual and rule.individual not in schema.names:
            raise FederationError(
                f"the rule of table {read.name!r} names no column of it: {rule.individual!r}"
            )
    return TableManifest(read.name, schema, rules[0], read.rows, tuple(rules[1:]))


def _rule_to_json(rule: Rule) -> dict[str, Any]:
    clause = None if rule.clause is None else _CLAUSE.dump_python(rule.clause, mode="json")
    return {
        "form": rule.form.value,
        "min_individuals": rule.min_individuals,
        "individual": rule.individual,
        "to": list(rule.to),
        "resident": rule.resident,
        "sites": list(rule.sites),
        "updates": rule.updates,
        "clause": clause,
    }


def _rule_of(read: _RuleModel) -> Rule:
    clause = None
    if read.clause is not None:
        try:
            clause = _CLAUSE.validate_json(json.dumps(read.clause), strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise FederationError(f"not a manifest: a clause: {first['msg']}") from None
    return Rule(
        Form(read.form),
        read.min_individuals,
        read.individual,
        tuple(read.to),
        read.resident,
        tuple(read.sites),
        read.updates,
        clause,
    )


_CLAUSE = TypeAdapter(Clause)
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class _RuleModel(BaseModel):
    model_config = _STRICT
    form: Literal["rows", "aggregates", "private", "updates", "nothing"]
    min_individuals: int = Field(ge=1, le=10**9)
    individual: str = Field(max_length=1000)
    to: list[str] = Field(max_length=1000)
    resident: bool
    sites: list[str] = Field(default=["*"], max_length=1000)
    updates: int = Field(default=0, ge=0, le=10**9)
    clause: dict[str, Any] | None = None


class _TableModel(BaseModel):
    model_config = _STRICT
    name: str = Field(min_length=1, max_length=1000)
    columns: Any = Field(alias="schema")
    rule: _RuleModel
    others: list[_RuleModel] = Field(default=[], max_length=100)
    rows: int | None = Field(ge=0, lt=2**62)


class _EngineModel(BaseModel):
    model_config = _STRICT
    name: str = Field(max_length=200)
    version: str = Field(max_length=200)


class _LinkModel(BaseModel):
    model_config = _STRICT
    bandwidth: float
    latency: float
    dollars_per_gb: float


class _ManifestModel(BaseModel):
    model_config = _STRICT
    umbel_manifest: Literal[1]
    site: str = Field(max_length=63)
    version: str = Field(max_length=200)
    tables: list[_TableModel] = Field(max_length=_MOST_TABLES)
    engines: list[_EngineModel] = Field(max_length=1000)
    link: _LinkModel
    routes: list[str] = Field(default=[], max_length=1000)
    signers: list[str] = Field(default=[], max_length=1000)


__all__ = ["Link", "Manifest", "TableManifest", "rounded"]
