"""`umbel policy`: checks, explains, tries and signs the policy of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umbel.cli import policy_help as texts
from umbel.plan.errors import PlanError

PolicyArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, in TOML.")]
SiteOption = Annotated[
    Path | None,
    typer.Option("--site", metavar="FILE", help="The site's configuration, or its folder."),
]


def policy_commands() -> typer.Typer:
    """Build `umbel policy`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("check", help=texts.CHECK, short_help="Find what is wrong with a policy.")(check)
    app.command("explain", help=texts.EXPLAIN, short_help="Say it in plain words.")(explain)
    app.command("test", help=texts.TEST, short_help="Say whether a question is allowed.")(try_out)
    app.command("keys", help=texts.KEYS, short_help="Make an owner's key.")(keys)
    app.command("sign", help=texts.SIGN, short_help="Sign a policy.")(sign)
    return app


def check(file: PolicyArgument, site: SiteOption = None) -> None:
    """Check a policy, and with a site's tables at hand its columns too."""
    from umbel.federation.policy.reading import read_policy

    policy = read_policy(file)
    clauses = sum(len(table.clauses) for table in policy.tables.values())
    against = ""
    if site is not None:
        from umbel.federation.policy.trying import published

        published(policy, site)
        against = ", and fits the tables of the site"
    print(
        f"{file}: fine, version {policy.version} of site {policy.site}: {clauses} clauses on "
        f"{len(policy.tables)} tables{against}"
    )


def explain(file: PolicyArgument) -> None:
    """Say in plain words what may leave, to whom, and what may not."""
    from umbel.federation.policy.explaining import explained
    from umbel.federation.policy.reading import read_policy

    print(explained(read_policy(file)))


def try_out(
    file: PolicyArgument,
    against: Annotated[
        str,
        typer.Option(
            "--against", metavar="QUERY|PLAN", help="SQL, or a file: .sql, or a plan in .json."
        ),
    ],
    site: Annotated[
        Path,
        typer.Option("--site", metavar="FILE", help="The site's configuration, or its folder."),
    ] = Path(),
    user: Annotated[str, typer.Option(metavar="NAME", help="Who asks.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="What they are; several times.")
    ] = None,
    purpose: Annotated[str, typer.Option(metavar="WORD", help="What they say it is for.")] = "",
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE", help="Sites to which it goes; none: the coordinator."),
    ] = None,
) -> None:
    """Say whether a question is allowed, by which clause, and what would be."""
    from umbel.federation.disclosure.ledger import LEDGER, Ledger
    from umbel.federation.policy.reading import read_policy
    from umbel.federation.policy.trying import published, question, tried

    there = published(read_policy(file), site)
    plan = question(there, _text(against))
    path = (site if site.is_dir() else site.parent) / LEDGER
    ledger = Ledger(path) if path.exists() else None
    verdict = tried(there, plan, user, tuple(role or ()), purpose, tuple(to or ()), ledger)
    if ledger is not None:
        ledger.close()
    print(verdict.text)
    if not verdict.allowed:
        raise typer.Exit(12)


def keys(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Where it will lie.")],
    person: Annotated[
        str, typer.Option(metavar="NAME", help="Of somebody who asks; else it is the owner's.")
    ] = "",
) -> None:
    """Make an owner's key, or that of somebody who asks; show where its public part has to stand."""
    from umbel.federation.policy.signing import new_owner

    owner = new_owner(key)
    if person:
        print(f"{key}: the key of {person}; keep it, and sign what you ask with it:")
        print(f'ub.connect(…, key="{key}"), or UMBEL_KEY={key}')
        print("for the owners of sites, who write it into their policies:")
        print(f"[people.{person}]")
        print(f'keys = ["{owner}"]')
        return
    print(f"{key}: the owner's key; keep it, not at the site")
    print("in the site's site.toml, under [site]:")
    print('policy = "policy.toml"')
    print(f'owner = "{owner}"')


def sign(
    file: PolicyArgument,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The owner's key.")],
) -> None:
    """Sign a policy; the signature lies beside it."""
    from umbel.federation.policy.signing import sign as sign_file

    print(f"{sign_file(file, key)}: the signature; a site takes it up when it starts")


def _text(against: str) -> str:
    path = Path(against)
    if path.suffix not in (".sql", ".json"):
        return against
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(
            f"{path}: cannot be read: {error.strerror}", hint="name a file that is there"
        ) from None


__all__ = ["policy_commands"]
