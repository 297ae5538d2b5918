"""How messages of secure aggregation travel: named parts, one after the other, read back strictly."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.messages import Keys

#: Parts of one message: one for each site.
_MOST = 10_000
_LENGTHS = struct.Struct(">HI")
_KEYS = ("channel", "mask", "promise", "signature", "credential")


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Write named parts.

    >>> unpack(pack({"a": b"1", "b": b""}))
    {'a': b'1', 'b': b''}
    """
    written = []
    for name, content in parts.items():
        word = name.encode()
        written += [_LENGTHS.pack(len(word), len(content)), word, content]
    return b"".join(written)


def unpack(data: bytes) -> dict[str, bytes]:
    """Read what `pack` wrote.

    Raises:
        SecureAggregationError: it is no such message.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTHS.size or len(found) >= _MOST:
            raise SecureAggregationError("A message is cut off, or too long.")
        word, content = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        if len(data) - at < word + content:
            raise SecureAggregationError("A message is cut off.")
        try:
            name = data[at : at + word].decode()
        except UnicodeDecodeError:
            raise SecureAggregationError("A message names a part in no text.") from None
        if name in found:
            raise SecureAggregationError(f"A message has two parts {name[:80]!r}.")
        found[name] = data[at + word : at + word + content]
        at += word + content
    return found


def keys_to_bytes(keys: Keys) -> bytes:
    """Write the keys of a site."""
    return pack({"site": keys.site.encode(), **{name: getattr(keys, name) for name in _KEYS}})


def keys_from_bytes(data: bytes) -> Keys:
    """Read the keys of a site; whether they are the site's is checked by whoever uses them."""
    parts = unpack(data)
    if set(parts) != {"site", *_KEYS}:
        raise SecureAggregationError("A site's keys are not all there.")
    return Keys(parts.pop("site").decode("utf-8", "replace"), **parts)


def names_to_bytes(names: Iterable[str]) -> bytes:
    """Write names, in order."""
    return pack(dict.fromkeys(sorted(names), b""))


__all__ = ["keys_from_bytes", "keys_to_bytes", "names_to_bytes", "pack", "unpack"]
