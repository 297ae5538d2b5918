"""`umbel login` and `umbel logout`: be known to a coordinator by an OpenID provider."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umbel.cli.federation import needed
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.federation.oidc.grants import Prompt

UrlArgument = Annotated[
    str, typer.Argument(metavar="URL", envvar="UMBEL_COORDINATOR", help="The coordinator.")
]


def login(
    url: UrlArgument,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The federation's root certificate.")
    ] = None,
    authority: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT", help="Its SHA-256, as the coordinator's operator says."
        ),
    ] = None,
    browser: Annotated[
        bool | None,
        typer.Option("--browser/--device", help="Use a browser here, or a code for any machine."),
    ] = None,
) -> None:
    """Log in at the coordinator's OpenID provider."""
    needed()
    from umbel.federation.client.login import kept_at, log_in, root_of, root_that_is_shown

    root = root_of(url, ca=ca, authority=authority)
    if root is None:
        root, shown = root_that_is_shown(url)
        _confirm(url, shown)
    known = log_in(url, root, _show, browser=browser)
    roles = ", ".join(known["roles"])
    print(f"logged in to {known['federation']!r} as {known['user']} ({roles})")
    print(f"kept in {kept_at(url)}; umbel logout {url} forgets it", file=sys.stderr)


def logout(url: UrlArgument) -> None:
    """Forget a login, here and at the provider."""
    needed()
    from umbel.federation.client.connection import checked_url
    from umbel.federation.oidc.logins import Logins, log_out

    if log_out(Logins(), checked_url(url)):
        print("logged out")
    else:
        print(f"nobody is logged in to {url} here")


def _confirm(url: str, shown: str) -> None:
    """Have a person vouch for a certificate that nobody else did, as ssh does."""
    if not sys.stdin.isatty():
        raise PlanError(
            f"nothing vouches for the certificate of {url}",
            hint="give --authority FINGERPRINT or --ca FILE; its operator has both",
        )
    print(f"{url} shows the authority\n  {shown}", file=sys.stderr)
    if not typer.confirm("Is this what its operator told you?", err=True):
        raise typer.Exit(11)


def _show(prompt: Prompt) -> None:
    """Tell a person what to do."""
    if prompt.code:
        print(f"open {prompt.url}\nand type the code {prompt.code}", file=sys.stderr, flush=True)
        return
    print(f"a browser opens; if it does not, open\n{prompt.url}", file=sys.stderr, flush=True)
    webbrowser.open(prompt.url)


__all__ = ["login", "logout"]
