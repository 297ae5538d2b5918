"""One plan over sites whose data stays home: coordinator, site agents, identity, transport."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.federation.local import local
    from umbel.federation.manifest import Link
    from umbel.federation.publishing import Mapped, Site
    from umbel.federation.rules import Form, Rule
    from umbel.federation.sandbox.functions import load_code, sign_code
    from umbel.federation.site_config import read_site

#: Where each name lies; imported when it is first asked for.
_LAZY = {
    "Form": "umbel.federation.rules",
    "Link": "umbel.federation.manifest",
    "Mapped": "umbel.federation.publishing",
    "Rule": "umbel.federation.rules",
    "Site": "umbel.federation.publishing",
    "load_code": "umbel.federation.sandbox.functions",
    "local": "umbel.federation.local",
    "read_site": "umbel.federation.site_config",
    "sign_code": "umbel.federation.sandbox.functions",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "Form",
    "Link",
    "Mapped",
    "Rule",
    "Site",
    "load_code",
    "local",
    "read_site",
    "sign_code",
]
