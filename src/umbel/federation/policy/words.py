"""What a policy says, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.federation.policy.clauses import Approval, Clause, Form
from umbel.federation.policy.disclosing import undone


def listed(names: Sequence[str], none: str, every: str = "all columns") -> str:
    """Names as a list for people.

    >>> listed(["a", "b"], "none"), listed(["*"], "none"), listed([], "none")
    ('a, b', 'all columns', 'none')
    """
    if "*" in names:
        return every
    return ", ".join(names) if names else none


def allowed_by(clause: Clause) -> str:
    """The questions that a clause allows.

    >>> allowed_by(Clause("codes", Form.ROWS, columns=("code",)))
    'rows of code'
    """
    picked = f"picking rows by {listed(clause.conditions, 'nothing', 'any column')}"
    if clause.form is Form.ROWS:
        more = f", {picked}" if clause.conditions else ""
        return f"rows of {listed(clause.columns, 'no column')}{more}"
    if clause.form is Form.UPDATES:
        return f"updates of models trained on {listed(clause.columns, 'no column')}"
    if clause.form is Form.NOTHING:
        return "nothing"
    if clause.privacy is not None:
        sums = listed(tuple(clause.privacy.bounds), "no column")
        groups = listed(tuple(clause.privacy.domains), "nothing")
        if clause.privacy.delta:
            groups = listed(clause.dimensions, "nothing", "any column")
        return f"with noise, counts, and sums and means of {sums}, in groups by {groups}, {picked}"
    functions = listed(clause.functions, "nothing", "count, sum, mean, var, std and n_unique")
    joins = f", joining by {listed(clause.joins, 'nothing', 'any column')}" if clause.joins else ""
    return (
        f"{functions} of {listed(clause.columns, 'no column')}, in groups by "
        f"{listed(clause.dimensions, 'nothing', 'any column')} of at least "
        f"{clause.min_individuals} individuals, {picked}{joins}"
    )


def duties_of(clause: Clause) -> list[str]:
    """What is done beside, one sentence for each thing."""
    duties, found = clause.duties, []
    if clause.pseudonyms:
        found.append(
            f"In {listed(clause.pseudonyms, '')} stand pseudonyms: the same for the same value in "
            "all that is asked for one purpose, others for another purpose; their key stays at "
            "the site."
        )
    if duties.dominance is not None:
        rule = duties.dominance
        found.append(
            f"A sum of which the {rule.largest} largest individuals make up more than "
            f"{rule.percent:g} percent is left out."
        )
    if duties.p_percent:
        found.append(
            f"A sum is left out from which the second largest individual could reckon the largest "
            f"closer than {duties.p_percent:g} percent."
        )
    if duties.rounding:
        found.append(f"Counts are rounded to multiples of {duties.rounding}.")
    if duties.complementary:
        found.append("More is left out where what was left out would follow from the rest.")
    if duties.noise:
        found.append(f"Counts are off by up to {duties.noise}, always the same for the same rows.")
    if duties.overlap:
        found.append(
            f"A question is refused whose individuals differ from an earlier one's by fewer than "
            f"{duties.overlap}."
        )
    for number, what in (
        (duties.answers_per_day, "answers"),
        (duties.rows_per_day, "rows"),
        (duties.bytes_per_day, "bytes"),
    ):
        if number is not None:
            found.append(f"A user gets at most {number:,} {what} a day.")
    if clause.updates is not None and "*" not in clause.updates.algorithms:
        kinds = listed(clause.updates.algorithms, "none", "any")
        found.append(f"Only models of these kinds are trained: {kinds}.")
    if clause.updates is not None and clause.updates.clip is not None:
        found.append(
            f"An update is made no longer than {clause.updates.clip:g} at the site; only updates "
            "of training by steps leave."
        )
    if clause.updates is not None and clause.updates.noise:
        off = clause.updates.noise * (clause.updates.clip or 0.0)
        found.append(
            f"Each of its numbers gets noise of standard deviation {off:g}, and its loss is not "
            "told."
        )
    if clause.updates is not None and clause.updates.rounds is not None:
        found.append(
            f"A user gets at most {clause.updates.rounds:,} rounds of all models in a day."
        )
    if clause.updates is not None and clause.updates.secure:
        found.append(
            "Nobody sees the site's own updates, only their sum with those of other sites."
        )
    missing = undone(clause)
    if missing:
        found.append(f"Nothing leaves under this clause yet: it asks for {missing}.")
    if duties.approval is Approval.PLAN and clause.form is Form.UPDATES:
        found.append("A person at the site agrees to every training before its first round.")
    elif duties.approval is Approval.PLAN:
        found.append("A person at the site agrees to every question before it runs.")
    if duties.approval is Approval.RELEASE:
        found.append("A person at the site looks at every result before it leaves.")
    if clause.privacy is not None:
        privacy = clause.privacy
        days = f"in {privacy.days} days" if privacy.days else "ever"
        found.append(
            f"Every answer of a site gets noise of epsilon {privacy.epsilon:g}; a user may spend "
            f"{privacy.per_user:g}, all users together {privacy.per_table:g}, {days}."
        )
        rows = "1 row" if privacy.rows == 1 else f"{privacy.rows:,} rows"
        groups = "1 group" if privacy.groups == 1 else f"{privacy.groups:,} groups"
        found.append(f"An individual counts in {groups} of an answer, with {rows} in each.")
        if privacy.bounds:
            bounds = ", ".join(f"{n} {a:g} to {b:g}" for n, (a, b) in privacy.bounds.items())
            found.append(f"Values count as if they lay within: {bounds}.")
        known = ", ".join(privacy.domains) or "no column"
        found.append(
            f"All groups by {known} are shown, also those of nobody"
            + (
                f"; of others those with enough individuals, with delta {privacy.delta:g} in all."
                if privacy.delta
                else ", and no others."
            )
        )
    return found


__all__ = ["allowed_by", "duties_of", "listed"]
