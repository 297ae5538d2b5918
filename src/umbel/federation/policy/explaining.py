"""A policy in plain words, for its owner and whoever has to agree to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from umbel.federation.policy.clauses import Clause, Form, Recipients
from umbel.federation.policy.people import Person
from umbel.federation.policy.reading import Policy, TablePolicy
from umbel.federation.policy.words import duties_of, listed
from umbel.federation.sandbox.rules import CodeRules


def explained(policy: Policy) -> str:
    """Say what a policy lets out, to whom, and what stays."""
    lines = [
        f"Policy of site {policy.site}, version {policy.version}.",
        "What is not said here does not leave the site.",
        _of_people(policy.people),
        _of_code(policy.code),
    ]
    for table in policy.tables.values():
        lines += ["", *_of_table(table)]
    return "\n".join(lines)


def _of_people(people: Mapping[str, Person]) -> str:
    if not people:
        return "Who asks, and what for, the coordinator says."
    return (
        "Only questions are answered that one of these has signed, whatever the coordinator says: "
        + "; ".join(
            f"{one.name} ({listed(one.roles, 'no role')}; keys {', '.join(one.keys)})"
            for one in people.values()
        )
        + "."
    )


def _of_code(code: CodeRules) -> str:
    if not code.signers:
        return "No code of others runs."
    more = f", with {listed(code.modules, 'nothing')}" if code.modules else ""
    return (
        f"Code runs that is signed by: {listed(list(code.signers), 'nobody')}; in a process of its "
        f"own, without files and network, for at most {code.seconds:g} s{more}."
    )


def clause_words(clause: Clause, individual: str = "") -> list[str]:
    """One clause, one sentence for each thing."""
    return [
        f"{_whom(clause.recipients)} may have {_what(clause, individual)}.",
        *_uses(clause),
        *([f"Only rows for which: {clause.where}"] if clause.where else []),
        *duties_of(clause),
        _where(clause.recipients),
    ]


def _of_table(table: TablePolicy) -> list[str]:
    lines = [f"Table {table.name}"]
    if table.individual:
        home = "; no other site has rows about the same" if table.resident else ""
        lines.append(f"  A row is about the individual in {table.individual}{home}.")
    else:
        lines.append("  Each row counts as one individual.")
    if table.where:
        lines.append(f"  Rows for which this is not true are not there: {table.where}")
    lines += [f"  Of {name} nothing is there but: {mask}" for name, mask in table.mask.items()]
    if not table.clauses:
        lines.append("  Nothing leaves.")
    for clause in table.clauses:
        lines.append(f"  {clause.name}:")
        lines += [f"    {line}" for line in clause_words(clause, table.individual)]
    return lines


def _what(clause: Clause, individual: str) -> str:
    who = f"different {individual}" if individual else "rows"
    columns = listed(clause.columns, "no column")
    functions = listed(clause.functions, "nothing", "count, sum, mean, var, std and n_unique")
    match clause.form:
        case Form.ROWS:
            return f"rows of {columns}, as they are"
        case Form.AGGREGATES:
            return f"{functions} of {columns}, each over at least {clause.min_individuals} {who}"
        case Form.PRIVATE:
            return f"differentially private answers: {functions} of {columns}"
        case Form.UPDATES:
            return (
                f"updates of models trained on {columns}, each over at least "
                f"{clause.min_individuals} {who}"
            )
    return "nothing"


def _uses(clause: Clause) -> list[str]:
    if clause.form in (Form.UPDATES, Form.NOTHING):
        return []
    picks = listed(clause.conditions, "nothing", "any column")
    found = [f"Rows may be picked by: {picks}."]
    if clause.form is not Form.ROWS:
        groups = listed(clause.dimensions, "nothing", "any column")
        found.insert(0, f"Groups may be made by: {groups}.")
    if clause.joins:
        joins = listed(clause.joins, "nothing", "any column")
        found.append(f"Rows may be joined with all rows of other tables here by: {joins}.")
    return found


def _whom(recipients: Recipients) -> str:
    who: list[str] = []
    if "*" in recipients.users:
        who.append("Every user")
    else:
        who += _kinds("user", recipients.users) + _kinds("everyone of role", recipients.roles)
        for project in recipients.projects:
            until = f" until {project.until}" if project.until else ""
            members = _kinds("user", project.users) + _kinds("everyone of role", project.roles)
            goal = listed(project.purposes, "nothing", "any purpose")
            one = "; counted as one person" if project.together else ""
            who.append(f"project {project.name} ({', '.join(members)}; for {goal}{until}{one})")
    what = listed(recipients.purposes, "nothing", "any purpose")
    text = f"{' and '.join(who)}, for {what},"
    return text[:1].upper() + text[1:]


def _kinds(word: str, names: Sequence[str]) -> list[str]:
    return [f"{word} {name}" for name in names]


def _where(recipients: Recipients) -> str:
    sites = listed(recipients.sites, "", "every site")
    if recipients.coordinator:
        return (
            f"It goes to the coordinator, and on to: {sites}."
            if sites
            else ("It goes to the coordinator, and to no other site.")
        )
    return f"The coordinator may not read it; it goes sealed to: {sites or 'nobody'}."


__all__ = ["clause_words", "explained"]
