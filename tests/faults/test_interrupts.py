"""An engine that takes Ctrl-C for itself does not keep it from a run, and gets it back after."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import pytest

from umbel.executor.interrupts import Interrupts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no POSIX signals")


@pytest.fixture
def python_handles():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def install(handler: Any) -> None:
    """Do what an engine does: put a C function in the place of Python's handler."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(signal.SIGINT, ctypes.cast(handler, ctypes.c_void_p))


def test_pythons_handler_comes_back_and_then_the_engines(python_handles):
    heard: list[int] = []
    engine = ctypes.CFUNCTYPE(None, ctypes.c_int)(heard.append)

    with Interrupts() as interrupts:
        install(engine)  # "imported" during the run
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]  # this is how it was lost
        interrupts.keep()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert len(heard) == 1
    signal.raise_signal(signal.SIGINT)
    assert len(heard) == 2

    with Interrupts(), pytest.raises(KeyboardInterrupt):  # "imported" before the run
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert len(heard) == 3


def test_a_handler_of_the_users_stays_what_it_is(python_handles):
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with Interrupts() as interrupts:
        interrupts.keep()
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT]
    signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT] * 2
