"""Which function of this process handles Ctrl-C, below Python: engines put their own there.

While a plan runs, the executor keeps Python's handler in its place. What it displaced is
remembered here, so that the engine's own folder can still find its handler.
"""

from __future__ import annotations

import ctypes
import os
import signal

#: More than the size of a `struct sigaction` anywhere. It is kept as the system gave it; only the
#: address of the handler is looked at, with which it begins.
_SIZE = 512
ADDRESS = ctypes.sizeof(ctypes.c_void_p)

#: Addresses of handlers that gave way to Python's.
displaced: set[int] = set()


class _Found(ctypes.Structure):
    """`Dl_info`: the library that an address lies in."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def current_action() -> bytes:
    """The handler of SIGINT, as the system describes it."""
    action = ctypes.create_string_buffer(_SIZE)
    ctypes.CDLL(None).sigaction(signal.SIGINT, None, action)
    return action.raw


def restore_action(action: bytes) -> None:
    """Make a handler that `current_action` gave the handler of SIGINT again."""
    ctypes.CDLL(None).sigaction(signal.SIGINT, action, None)


def address_of(action: bytes) -> int:
    """The address of the function of a handler."""
    return int.from_bytes(action[:ADDRESS], "little")


def handler_of(library: str) -> int | None:
    """The address of the handler of SIGINT that lies in a library whose path holds `library`.

    None if there is none: the library set none, or somebody replaced it before the first run.

    >>> handler_of("no such library") is None
    True
    """
    if os.name != "posix":
        return None
    libc = ctypes.CDLL(None)
    for address in (address_of(current_action()), *displaced):
        found = _Found()
        if address > 1 and libc.dladdr(ctypes.c_void_p(address), ctypes.byref(found)):
            file: bytes = found.file or b""
            if library in os.fsdecode(file):
                return address
    return None


__all__ = ["address_of", "current_action", "displaced", "handler_of", "restore_action"]
