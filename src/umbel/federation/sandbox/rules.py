"""What a site's policy says of code: whose it runs, and what that may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from umbel.dataclass import dataclass


@dataclass(frozen=True)
class CodeRules:
    """Whose code a site runs, and what it may take.

    Attributes:
        signers: public keys of authors, by the names that the site's owner gave them; none: no
            code runs.
        seconds: of the clock, and of processor time, for each part of a plan.
        memory: bytes that the code may take.
        bytes: of its output.
        modules: that it finds, beside the plain ones of the standard library.
    """

    signers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 60.0
    memory: int = 1 << 30
    bytes: int = 1 << 30
    modules: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The keys that are trusted."""
        return frozenset(self.signers.values())


__all__ = ["CodeRules"]
