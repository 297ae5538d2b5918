"""Shuts the calling process off: from then on it computes, reads and writes what is open, and ends.

A filter of system calls (seccomp, which every Linux has and which needs no rights) allows a closed
list: memory, time, reading and writing of descriptors that are open already. No file can be opened,
no socket made, no process or thread begun, no signal sent. So it needs no list of what is bad.
Limits bound memory and processor time. Where it may, the process also gets a network and other
resources of its own, in which there is nothing.

Source: seccomp(2), prctl(2), unshare(2) and bpf_jit in the Linux manual pages; the numbers are those
of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from pathlib import Path

from umbel.federation.errors import FederationError

_NO_NEW_PRIVILEGES, _DIES_WITH_PARENT, _DUMPABLE = 38, 1, 4
_SIGKILL = 9
_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_FILTER, _ALL_THREADS = 1, 1
#: Results of the filter: allow; or fail with an error number.
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
#: Instructions: load a word of the call's data; jump if equal; return.
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
#: Offsets in the call's data: its number, and the processor's kind.
_NUMBER, _KIND = 0, 4

#: By machine: the kind in the call's data, the number of seccomp(2), and of the allowed calls.
_MACHINES: dict[str, tuple[int, int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        317,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
            "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
            "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "mincore": 27,
            "madvise": 28, "nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96,
            "getrusage": 98, "times": 100, "sigaltstack": 131, "gettid": 186, "futex": 202,
            "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228,
            "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318,
            "membarrier": 324,
        },
    ),
    "aarch64": (
        0xC00000B7,
        277,
        {
            "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
            "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
            "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
            "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
            "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
            "times": 153, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178,
            "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
            "mincore": 232, "madvise": 233, "getrandom": 278, "membarrier": 283,
        },
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    """`struct sock_fprog`: a filter."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def missing() -> str:
    """Say why code cannot be shut off on this machine; empty if it can."""
    if sys.platform != "linux":
        return f"code is run on Linux only, not on {sys.platform}"
    if platform.machine() not in _MACHINES:
        return f"code is run on {' and '.join(_MACHINES)} only, not on {platform.machine()}"
    return ""


def part_from_others() -> bool:
    """Give this process a network of its own, without any interface, if it may have one.

    To be called while there is one thread. It is a second wall: `shut_off` does not need it.
    """
    libc = _libc()
    libc.prctl(_DIES_WITH_PARENT, _SIGKILL, 0, 0, 0)
    own = _NEW_NETWORK | _NEW_IPC
    return bool(libc.unshare(own) == 0 or libc.unshare(_NEW_USER | own) == 0)


def limit(memory: int, seconds: float) -> None:
    """Bound what this process may take from now on.

    Args:
        memory: bytes beyond what it has now.
        seconds: of processor time, from its start.
    """
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    now = int(pages) * resource.getpagesize()
    whole = int(seconds) + 1
    for what, most in (
        (resource.RLIMIT_AS, now + memory),
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))


def shut_off() -> None:
    """Forbid every system call but those of the list, to all threads, for ever.

    Raises:
        FederationError: the machine cannot; nothing may run then that is not trusted.
    """
    why = missing()
    if why:
        raise FederationError(why)
    libc = _libc()
    kind, number, allowed = _MACHINES[platform.machine()]
    content = _filter(kind, sorted(allowed.values()))
    buffer = ctypes.create_string_buffer(content, len(content))
    program = _Program(len(content) // 8, ctypes.addressof(buffer))
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    done = libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    if not done or libc.syscall(number, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)) != 0:
        raise FederationError(
            f"code cannot be shut off here: {os.strerror(ctypes.get_errno())}",
            hint="the kernel has no seccomp filters, or a container forbids them",
        )
    _prove()


def _filter(kind: int, allowed: list[int]) -> bytes:
    """The filter as a program of the Berkeley packet filter."""
    refuse = _FAIL | errno.EPERM
    program = [
        (_LOAD, 0, 0, _KIND),
        (_EQUAL, 1, 0, kind),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for place, number in enumerate(allowed):
        program.append((_EQUAL, len(allowed) - place, 0, number))
    program += [(_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _prove() -> None:
    """Raise if a file can still be opened: a filter that does nothing must not be believed."""
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        return
    except OSError:
        pass
    raise FederationError("the filter of system calls does not hold")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


__all__ = ["limit", "missing", "part_from_others", "shut_off"]
