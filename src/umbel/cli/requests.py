"""`umbel site requests`: what a site's owner is asked to agree to, and the decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.federation.disclosure.approvals import Approvals

_HELP = """See and decide what a policy asks the owner's approval for (approval = "plan" or "release").

\b
Examples:
  umbel site requests list
  umbel site requests show 3f2a91c07b55
  umbel site requests approve 3f2a91c07b55 --reason "ethics vote 12/26"
  umbel site requests deny 3f2a91c07b55 --reason "too few patients"
"""

NameArgument = Annotated[str, typer.Argument(metavar="REQUEST", help="Its name, as in `list`.")]
SiteOption = Annotated[
    Path, typer.Option("--site", metavar="FILE", help="The site's configuration, or its folder.")
]
ReasonOption = Annotated[str, typer.Option(metavar="WORDS", help="Why; the user is told.")]


def requests_commands() -> typer.Typer:
    """Build `umbel site requests`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=_HELP)
    for name, command, short in (
        ("list", listed, "List the requests."),
        ("show", show, "Show who asks for what, why, and what would leave."),
        ("approve", approve, "Let it run, or leave."),
        ("deny", deny, "Do not."),
    ):
        example = "" if name == "list" else " 3f2a91c07b55"
        text = f"{short}\n\n\b\nExamples:\n  umbel site requests {name}{example}\n"
        app.command(name, help=text, short_help=short)(command)
    return app


def listed(
    site: SiteOption = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a line each.")] = False,
) -> None:
    """List the requests, the oldest first."""
    with _approvals(site) as approvals:
        for one in approvals.all():
            if as_json:
                facts = {"request": one.name, "kind": one.kind, "state": one.state, "at": one.at}
                print(json.dumps({**facts, **one.about}))
            else:
                print(f"{one.name}  {one.state}  {one.words[0]}")


def show(name: NameArgument, site: SiteOption = Path()) -> None:
    """Show one in full, with a sample of what would leave."""
    with _approvals(site) as approvals:
        found = [one for one in approvals.all() if one.name == name]
    if not found:
        raise PlanError(f"there is no request {name!r}", hint="umbel site requests list")
    print("\n".join(found[0].words))


def approve(name: NameArgument, site: SiteOption = Path(), reason: ReasonOption = "") -> None:
    """Approve one."""
    with _approvals(site) as approvals:
        approvals.decide(name, approve=True, reason=reason)
    print(f"{name}: approved; it goes on as soon as it is asked for again")


def deny(name: NameArgument, site: SiteOption = Path(), reason: ReasonOption = "") -> None:
    """Deny one."""
    with _approvals(site) as approvals:
        approvals.decide(name, approve=False, reason=reason)
    print(f"{name}: denied")


@contextmanager
def _approvals(site: Path) -> Iterator[Approvals]:
    from umbel.federation.disclosure import LEDGER, Ledger
    from umbel.federation.disclosure.approvals import Approvals

    path = (site if site.is_dir() else site.parent) / LEDGER
    if not path.exists():
        raise PlanError(
            f"{path}: there is no ledger", hint="name the folder of a site that has run: --site"
        )
    ledger = Ledger(path)
    try:
        yield Approvals(ledger)
    finally:
        ledger.close()


__all__ = ["requests_commands"]
