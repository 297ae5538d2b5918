"""Names of federations and sites, and the form in which certificates carry them."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError, IdentityError

#: Small letters, digits and hyphens: names go into URLs, file names and certificates.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCHEME = "spiffe"
#: What a party is; the path of its name begins with it.
ROLES = ("coordinator", "site")


def check_name(name: str, what: str = "site") -> str:
    """Give a name back if it is one.

    Raises:
        IdentityError: it is not.

    >>> check_name("hospital-a")
    'hospital-a'
    >>> check_name("../etc")
    Traceback (most recent call last):
        ...
    umbel.federation.errors.IdentityError: '../etc' is no name of a site
      use small letters, digits and hyphens, at most 63 of them, with no hyphen at an end
    """
    # fullmatch, and no `$`, which would let a line end pass.
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise IdentityError(
            f"{name!r} is no name of a {what}",
            hint="use small letters, digits and hyphens, at most 63 of them, with no hyphen at "
            "an end",
        )
    return name


#: Marks that turn the direction of text around, by which a name can look like another.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(text: str) -> str:
    r"""Give text of another party as it may be shown: without what a terminal would obey.

    >>> readable("the \x1b[31mred\x1b[0m one")
    'the �[31mred�[0m one'
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if _commands(one) and one not in "\n\t" else one for one in text)


def check_readable(text: str, what: str) -> str:
    """Give a name of another party back if it can be shown as it is.

    Raises:
        FederationError: it cannot.

    >>> check_readable("Größe in cm²", "column")
    'Größe in cm²'
    """
    if not text.isprintable() and any(map(_commands, text)):
        raise FederationError(
            f"{text[:80]!r} is no name of a {what}: it holds control characters",
            hint="name it otherwise where it is published",
        )
    return text


def _commands(one: str) -> bool:
    """Whether a terminal would obey a character rather than show it."""
    return unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or one in _TURNING


@dataclass(frozen=True, slots=True)
class PartyName:
    """A coordinator or site of a federation, as its certificate names it.

    Its text is a SPIFFE ID (https://spiffe.io/docs/latest/spiffe-specs/spiffe-id).

    >>> str(PartyName("north", "site", "hospital-a"))
    'spiffe://north/site/hospital-a'
    """

    federation: str
    role: str
    name: str

    def __post_init__(self) -> None:
        check_name(self.federation, "federation")
        check_name(self.name, self.role)
        if self.role not in ROLES:
            raise IdentityError(f"{self.role!r} is no role", hint=f"there are: {', '.join(ROLES)}")

    def __str__(self) -> str:
        return f"{_SCHEME}://{self.federation}/{self.role}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> PartyName:
        """Read a name.

        Raises:
            IdentityError: it is none.

        >>> PartyName.parse("spiffe://north/site/hospital-a").name
        'hospital-a'
        """
        try:
            parts = urlsplit(text)
            role, name = parts.path.removeprefix("/").split("/")
            found = cls(parts.netloc, role, name)
        except ValueError:
            raise IdentityError(f"{text!r} names no party of a federation") from None
        # Nothing may hide in what a URL can have besides.
        if str(found) != text:
            raise IdentityError(f"{text!r} names no party of a federation")
        return found
