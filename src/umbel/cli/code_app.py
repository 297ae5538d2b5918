"""`umbel code`: signs functions, so that sites whose policies trust their author run them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umbel.cli import code_help as texts
from umbel.plan.errors import PlanError

KeyOption = Annotated[Path, typer.Option("--key", metavar="FILE", help="The author's key.")]


def code_commands() -> typer.Typer:
    """Build `umbel code`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("keys", help=texts.KEYS, short_help="Make an author's key.")(keys)
    app.command("sign", help=texts.SIGN, short_help="Sign a function of a module.")(sign)
    app.command("show", help=texts.SHOW, short_help="Show signed code, and whose it is.")(show)
    return app


def keys(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Where it will lie.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Whose it is.")] = "author",
) -> None:
    """Make an author's key; show what a site's policy has to say."""
    from umbel.federation.policy.signing import new_owner

    public = new_owner(key)
    print(f"{key}: the author's key; keep it")
    print("in the policy of a site that is to run what it signs:")
    print('code = "signed"')
    print("[signers]")
    print(f'{name} = "{public}"')


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python module.")],
    entry: Annotated[str, typer.Option(metavar="NAME", help="The function in it.")],
    key: KeyOption,
    constants: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON object of names that the module finds set."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes; else beside the module.")
    ] = None,
) -> None:
    """Sign a function of a module."""
    from umbel.federation.sandbox.functions import sign_code
    from umbel.federation.sandbox.signing import write_code

    made = sign_code(file, key, entry=entry, constants=_constants(constants)).signed_code
    target = out or file.with_suffix(".signed.json")
    write_code(target, made)
    print(f"{target}: {made.entry}, digest {made.digest}")
    print(f'in a script: ub.federation.load_code("{target}")')


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What umbel code sign made.")],
) -> None:
    """Show signed code, after its signature was verified."""
    from umbel.federation.sandbox.signing import read_code, verify_code

    code = read_code(file)
    verify_code(code, {code.key}, "here")
    print(f"function:  {code.entry}")
    print(f"signed by: {code.key}")
    print(f"digest:    {code.digest}")
    print(f"constants: {code.constants}")
    print()
    print(code.text)


def _constants(path: Path | None) -> dict[str, object]:
    import json

    if path is None:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise PlanError(f"{path}: no JSON object can be read from it", hint='such as {"limit": 3}')
    return found


__all__ = ["code_commands"]
