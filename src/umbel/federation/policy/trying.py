"""Tries a policy: whether a question would be allowed, by which clause, and what would be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from umbel.api.dataframe import DataFrame
from umbel.api.session import Session, connect
from umbel.dataclass import dataclass
from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.policy.decisions import Decisions, applicable
from umbel.federation.policy.explaining import clause_words
from umbel.federation.policy.reading import Policy
from umbel.federation.policy.verdict import Grant, Release
from umbel.federation.publishing import Site
from umbel.federation.site_config import read_site
from umbel.plan import operators as ops
from umbel.plan.codec import plan_from_json
from umbel.plan.sources import RelationSource


@dataclass(frozen=True)
class Tried:
    """What came of trying.

    Attributes:
        allowed: whether the question may be asked.
        text: by which clause, or why not, for people.
    """

    allowed: bool
    text: str


def published(policy: Policy, config: Path) -> Site:
    """The tables of a site under a policy that need not be the one in force, nor signed.

    Args:
        policy: the policy.
        config: the site's configuration, or its folder.

    Raises:
        SourceError: a source cannot be read.
        PlanError: the policy names what the site does not publish.
    """
    path = config / "site.toml" if config.is_dir() else config
    site = read_site(path, session=Session(progress=False), governed=False)
    site.under(policy)
    return site


def question(site: Site, text: str) -> ops.Operator:
    """The plan of a question: SQL over the site's published tables, or a plan in JSON.

    Raises:
        PlanError: it is neither.
    """
    if text.lstrip().startswith("{"):
        return plan_from_json(text)
    session = connect()
    for table in site.manifest().tables:
        source = RelationSource(table.schema, site.name, (table.name,))
        session.registered[table.name] = DataFrame(ops.Scan(source=source), session)
    return session.sql(text).plan


def tried(
    site: Site,
    plan: ops.Operator,
    user: str = "",
    roles: tuple[str, ...] = (),
    purpose: str = "",
    to: tuple[str, ...] = (),
    ledger: Ledger | None = None,
) -> Tried:
    """Decide as the site would, and say why; nothing runs.

    Args:
        site: whose policy it is.
        plan: the question.
        user: who asks.
        roles: what they are.
        purpose: what for.
        to: the sites to which the answer goes.
        ledger: the site's, to say what is left of budgets; None says nothing of them.
    """
    mine = applicable(site.rules, user, roles, purpose)
    verdict, _ = Decisions(site.name, mine).decide(plan, to or ("",))
    if isinstance(verdict, Release):
        lines = [f"allowed: {verdict.words} leave"]
        for grant in verdict.grants:
            lines.append(f"by clause {grant.clause.name!r} of table {grant.table!r}:")
            lines += [f"  {line}" for line in clause_words(grant.clause, grant.individual)]
            if ledger is not None:
                who = replace(verdict, user=user, roles=roles)
                lines += [f"  {line}" for line in _had(ledger, who, grant)]
        return Tried(True, "\n".join(lines))
    error = verdict.error(site.name)
    lines = [f"not allowed: {error.message}", error.hint]
    others = [rule.clause for rule in site.rules.get(verdict.table, ()) if rule.clause is not None]
    applying = [rule.clause for rule in mine.get(verdict.table, ())]
    lines += [
        f"clause {clause.name!r} of the table is for others, or another purpose"
        for clause in others
        if clause not in applying
    ]
    return Tried(False, "\n".join(line for line in lines if line))


def _had(ledger: Ledger, release: Release, grant: Grant) -> list[str]:
    """What a user has had of a table already, where there are bounds on it."""
    from umbel.federation.disclosure.control import party
    from umbel.federation.disclosure.private_control import account

    duties, owner = grant.clause.duties, party(release, grant)
    used = ledger.usage(owner, grant.table, "")
    lines = [
        f"Today {owner!r} has had {had:,} of {most:,} {what}."
        for most, had, what in (
            (duties.answers_per_day, used.answers, "answers"),
            (duties.rows_per_day, used.rows, "rows"),
            (duties.bytes_per_day, used.bytes, "bytes"),
        )
        if most is not None
    ]
    if grant.clause.privacy is not None:
        known = account(ledger, owner, grant.table, grant.clause.privacy)
        lines.append(f"Of the privacy budget {known.words}; {known.left:.4g} is left.")
    return lines


__all__ = ["Tried", "published", "question", "tried"]
