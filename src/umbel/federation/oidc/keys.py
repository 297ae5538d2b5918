"""The public keys of a provider: fetched when needed, kept for a while, asked for anew in measure.

A token that names a key that is not known makes us ask once more, for providers change keys; but
not more often than every few seconds, so that tokens with made-up names do not make us a nuisance.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt

from umbel.federation.errors import IdentityError, ProviderError
from umbel.federation.oidc.provider import Provider
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

#: Kind of key (and curve) by algorithm: signatures with a public key, and no others. With these
#: names alone there is no "none", and no HMAC whose secret would be a key that everybody has.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    **{f"{kind}S{size}": ("RSA", None) for kind in "RP" for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
#: Seconds after which keys are asked for anew; until when old ones will do if nobody answers; and
#: between two tries.
FRESH, STALE, PAUSE = 900.0, 86_400.0, 10.0
_MOST_KEYS = 100


class Keys:
    """The keys by which a provider signs."""

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = PAUSE,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            provider: whose.
            clock: gives seconds, and only goes on.
            pause: seconds between two tries to get them.
        """
        self._provider = provider
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._keys: tuple[dict[str, Any], ...] = ()
        self._made: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")

    def find(self, name: str | None, algorithm: str) -> jwt.PyJWK:
        """Give the key that a token names.

        Args:
            name: of the key; None if the token names none: then there must be one alone.
            algorithm: by which it signs.

        Raises:
            IdentityError: there is none.
            ProviderError: the provider does not say, and never did, or too long ago.
        """
        now = self._clock()
        found = self._known(name, algorithm)
        if found is not None and now - self._fetched < FRESH:
            return found
        self._refresh(before=self._fetched)
        found = self._known(name, algorithm)
        if found is None or self._clock() - self._fetched > STALE:
            raise IdentityError(
                "this token is signed by a key that its issuer does not have",
                hint="log in anew: umbel login URL",
            )
        return found

    def _known(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        made = self._made.get((name, algorithm))
        if made is not None:
            return made
        fitting = [key for key in self._keys if _fits(key, algorithm)]
        if name is not None:
            fitting = [key for key in fitting if key.get("kid") == name]
        if len(fitting) != 1:
            return None  # none, or it cannot be told which
        try:
            made = jwt.PyJWK(fitting[0], algorithm)
        except jwt.PyJWTError:
            return None  # a key that is broken is none
        self._made[name, algorithm] = made
        return made

    def _refresh(self, before: float) -> None:
        """Ask the provider, unless somebody did since, or just tried."""
        with self._lock:
            now = self._clock()
            if self._fetched != before or now - self._tried < self._pause:
                return
            self._tried = now
            try:
                answer = self._provider.get(self._provider.discover().jwks)
                keys = answer.get("keys")
                if not isinstance(keys, list) or not keys or len(keys) > _MOST_KEYS:
                    raise ProviderError(f"the provider {self._provider.issuer} gives no keys")
            except (ProviderError, IdentityError) as error:
                if not self._keys:
                    raise
                say(log, logging.WARNING, "oidc.keys", "they cannot be had now", cause=error)
                return
            self._keys = tuple(key for key in keys if isinstance(key, dict))
            self._made = {}
            self._fetched = now


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    """Whether a key may have signed by an algorithm."""
    kind, curve = ALGORITHMS[algorithm]
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
        # A key whose private half everybody can read proves nothing.
        and "d" not in key
    )


__all__ = ["ALGORITHMS", "Keys"]
