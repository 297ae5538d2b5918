"""What a site publishes: tables of its own session under names, each with a rule and a mapping.

Parts of a table at several sites must have the same columns. Where a site's own table has others,
a mapping makes them of its columns, at the site: another name, another type, another unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.api.expressions import Expr, col
from umbel.api.session import Session
from umbel.api.values import TypeLike, type_of
from umbel.dataclass import dataclass
from umbel.federation.identity.names import check_name
from umbel.federation.manifest import Link, Manifest, TableManifest, rounded
from umbel.federation.policy.people import Person
from umbel.federation.rules import Form, Rule
from umbel.federation.sandbox.rules import CodeRules
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.operators import Operator
from umbel.plan.sources import dotted, split_name

if TYPE_CHECKING:
    from umbel.federation.policy.reading import Policy


@dataclass(frozen=True)
class Mapped:
    """How one published column is made of one that is there.

    Attributes:
        source: the column that it is made of; empty for the one of the same name.
        factor: what its values are multiplied with, as for another unit.
        offset: what is then added.
        type: what they are converted to; None leaves it.
    """

    source: str = ""
    factor: float | None = None
    offset: float | None = None
    type: TypeLike | None = None

    def of(self, name: str) -> Expr:
        """The expression that makes the column."""
        made: Expr = col(self.source or name)
        if self.factor is not None:
            made = made * self.factor
        if self.offset is not None:
            made = made + self.offset
        if self.type is not None:
            made = made.cast(type_of(self.type))
        return made.alias(name)


@dataclass(frozen=True)
class PublishedTable:
    """A table as the federation sees it.

    Attributes:
        name: the name, the same at all sites that have a part of it.
        plan: what gives its rows, on the site's own platforms.
        rule: what of it may leave.
        tells_size: whether the federation may know about how many rows it has.
        others: further rules, in order; what one of them lets out may leave.
        pseudonyms: columns that hold pseudonyms to whoever asks.
    """

    name: str
    plan: Operator = field(repr=False)
    rule: Rule = field(default_factory=Rule)
    tells_size: bool = False
    others: tuple[Rule, ...] = ()
    pseudonyms: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Its columns, as whoever asks sees them."""
        return pa.schema(
            [
                field.with_type(pa.string()) if field.name in self.pseudonyms else field
                for field in self.plan.schema
            ]
        )


class Site:
    """What one site has and lets others ask of it: a session, and tables that it publishes.

    >>> import umbel as ub
    >>> session = ub.connect()
    >>> site = Site("north", session)
    >>> frame = session.from_dict({"alter": [61, 72]})
    >>> rule = Rule(Form.AGGREGATES, min_individuals=2)
    >>> site.publish("patients", frame, rule, mapping={"age": Mapped("alter", type="int32")})
    >>> site.tables["patients"].schema.names
    ['age']
    """

    def __init__(
        self,
        name: str,
        session: Session,
        *,
        link: Link | None = None,
        version: str = "",
        routes: Iterable[str] = (),
    ) -> None:
        """Make a site without tables.

        Args:
            name: what the federation calls it.
            session: what runs the work there, and has its sources attached.
            link: what connects it with the coordinator, as measured or configured.
            version: of umbel there; empty takes the one that is installed.
            routes: the sites to which it brings straight what is sealed to them.
        """
        self.name = check_name(name)
        self.session = session
        self.link = link or Link()
        self.tables: dict[str, PublishedTable] = {}
        self.routes = tuple(routes)
        self.policy_version = 0
        self.policy_digest = ""
        self.code = CodeRules()
        #: Those who may ask, by their keys; empty where the coordinator's word is taken.
        self.people: Mapping[str, Person] = {}
        #: The key of pseudonyms; None draws one that is forgotten with this process.
        self.pseudonym_key: bytes | None = None
        self._version = version

    def publish(
        self,
        name: str,
        frame: DataFrame,
        rule: Rule | None = None,
        *,
        mapping: Mapping[str, Mapped] | None = None,
        columns: Sequence[str] | None = None,
        tells_size: bool = False,
    ) -> None:
        """Publish the rows of a frame of the site's session as a table.

        Args:
            name: what the federation calls it.
            frame: its rows.
            rule: what of it may leave; None lets nothing out.
            mapping: how columns are made whose name, type or unit is another here, by the
                published name.
            columns: the published columns, in order; None takes all.
            tells_size: let the federation know about how many rows there are.

        Raises:
            PlanError: a column that does not exist, or a name that is taken.
        """
        if not isinstance(name, str) or len(split_name(dotted([name]))) != 1 or name in self.tables:
            raise PlanError(f"site {self.name!r} cannot publish another table {name!r}")
        rule = rule or Rule()
        plan = _mapped(frame, mapping or {}, columns).plan
        who = rule.individual
        if who and who not in plan.schema.names:
            raise UnknownNameError(
                "column", who, plan.schema.names, where=f"the rule of table {name!r}"
            )
        if len(set(plan.schema.names)) != len(plan.schema.names):
            raise PlanError(f"table {name!r} would have a column twice")
        self.tables[name] = PublishedTable(name, plan, rule, tells_size)

    def under(self, policy: Policy) -> None:
        """Put the tables under a policy, in place of the rules that they were published with.

        Args:
            policy: the site's; what it does not name does not leave.

        Raises:
            PlanError: it is another site's, or names tables or columns that are not published.
        """
        from umbel.federation.policy.applying import applied

        self.tables = applied(policy, self.name, self.tables)
        self.policy_version, self.policy_digest = policy.version, policy.digest
        self.code, self.people = policy.code, policy.people

    @property
    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """The rules of its tables."""
        return {name: (table.rule, *table.others) for name, table in self.tables.items()}

    def manifest(self) -> Manifest:
        """What the site tells the coordinator about itself."""
        from umbel import __version__

        engines = tuple((p.name, p.version) for p in self.session.platforms())
        tables = tuple(self._told(table) for _, table in sorted(self.tables.items()))
        version = self._version or __version__
        return Manifest(
            self.name,
            version,
            tables,
            engines,
            self.link,
            self.routes,
            tuple(sorted(self.code.keys)),
        )

    def _told(self, table: PublishedTable) -> TableManifest:
        rows = None
        if table.tells_size:
            from umbel.optimizer.facts import Facts

            reckoned = Facts.of(self.session.platforms()).estimate(table.plan)
            rows = rounded(reckoned.expected)
        return TableManifest(table.name, table.schema, table.rule, rows, table.others)


def _mapped(
    frame: DataFrame, mapping: Mapping[str, Mapped], columns: Iterable[str] | None
) -> DataFrame:
    """The frame with its published columns."""
    there = frame.plan.schema.names
    for name, made in mapping.items():
        if (made.source or name) not in there:
            raise UnknownNameError("column", made.source or name, there, where=f"column {name!r}")
    used = {made.source for made in mapping.values() if made.source}
    chosen = list(columns) if columns is not None else []
    if columns is None:
        # A column that was renamed stands where it stood; those made besides come last.
        new = {made.source or name: name for name, made in reversed(list(mapping.items()))}
        chosen = [new.get(n, n) for n in there if n in new or n not in used]
        chosen += [name for name in mapping if name not in chosen]
    if not mapping and chosen == there:
        return frame
    return frame.select(*(mapping.get(name, Mapped()).of(name) for name in chosen))


__all__ = ["Form", "Link", "Mapped", "PublishedTable", "Rule", "Site"]
