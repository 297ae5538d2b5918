"""Runs parts of a plan that are made of signed code, each in a process that is shut off."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
import threading
from typing import IO, cast

import pyarrow as pa

from umbel.executor import Cancellation
from umbel.federation.errors import FederationError, LimitError, PolicyError
from umbel.federation.sandbox import isolation
from umbel.federation.sandbox.inside import NOT_READ, NOT_SHUT_OFF
from umbel.federation.sandbox.rules import CodeRules
from umbel.federation.wire.segments import read_foreign
from umbel.plan.codec import plan_to_json
from umbel.plan.errors import UmbelError
from umbel.plan.operators import Operator

#: Bytes that are read at once.
_CHUNK = 1 << 20
#: What an Arrow file may have beside its rows.
_BESIDE = 1 << 20


def run_code(
    plan: Operator, rows: pa.Table, rules: CodeRules, cancellation: Cancellation
) -> pa.Table:
    """Run operators of signed code, whose signatures were verified, over some rows.

    Args:
        plan: the operators, over a placeholder "rows".
        rows: what they read.
        rules: what they may take.
        cancellation: ends them.

    Raises:
        PolicyError: this machine cannot shut code off: nothing is run.
        LimitError: it takes more than it may.
        FederationError: it failed, or gave something else than the plan says.
    """
    why = isolation.missing()
    if why:
        raise PolicyError(f"no code is run: {why}")
    header = json.dumps(
        {
            "plan": plan_to_json(plan),
            "memory": rules.memory,
            "seconds": rules.seconds,
            "modules": list(rules.modules),
        }
    ).encode()
    content = _answer(header, rows, rules, cancellation)
    # Columns without values have no bytes; what Arrow allocates for rows is bounded by both.
    table = read_foreign(content, plan.schema, rules.bytes, "what the code gave")
    for item, column in zip(plan.schema, table.columns, strict=True):
        if not item.nullable and column.null_count:
            raise FederationError(f"what the code gave has nulls in column {item.name!r}")
    return pa.Table.from_arrays(table.columns, schema=plan.schema)


def _answer(header: bytes, rows: pa.Table, rules: CodeRules, cancellation: Cancellation) -> bytes:
    """What the process writes, if it ends well and in time."""
    late = threading.Event()
    with subprocess.Popen(
        # Isolated: no environment, no folder of the user's, none of the current one.
        [sys.executable, "-I", "-m", "umbel.federation.sandbox.inside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        close_fds=True,
    ) as process:

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(rules.seconds, stop)
        timer.daemon = True
        timer.start()
        cancellation.register(process.kill)
        given, taken = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        feeder = threading.Thread(target=_feed, args=(given, header, rows), daemon=True)
        try:
            feeder.start()
            content = _read(taken, rules.bytes + _BESIDE)
            if content is not None:
                process.wait()
        finally:
            timer.cancel()
            cancellation.unregister(process.kill)
            process.kill()  # nothing happens to one that has ended
            feeder.join()
    cancellation.check()
    if content is None:
        raise LimitError(f"the code gives more than {rules.bytes:,} bytes")
    if late.is_set():
        raise LimitError(
            f"the code takes more than {rules.seconds:g} s",
            hint="the site's policy says how long code may run",
        )
    if process.returncode:
        raise _failed(process.returncode)
    return content


def _failed(code: int) -> UmbelError:
    """Say of an exit code what may be told: whoever wrote the code can choose it."""
    if code == NOT_SHUT_OFF:
        return PolicyError(
            "no code is run: its process could not be shut off",
            hint="the kernel has no seccomp filters, or a container forbids them",
        )
    if code == NOT_READ:
        return FederationError(
            "the code asks for a module that is not there",
            hint="the site's policy names what there is beside the standard library: "
            "modules, under [sandbox]",
        )
    return FederationError(
        "the code failed, or took more than it may; of why nothing is told",
        hint="try it where you are, with rows of the same columns",
    )


def _feed(pipe: IO[bytes], header: bytes, rows: pa.Table) -> None:
    """Hand over what the process reads; it may end before it has read all."""
    try:
        pipe.write(struct.pack("<q", len(header)) + header)
        with pa.ipc.new_stream(pipe, rows.schema) as writer:
            writer.write_table(rows)
    except OSError:
        return
    finally:
        with contextlib.suppress(OSError):  # what is left to write has no reader
            pipe.close()


def _read(pipe: IO[bytes], most: int) -> bytes | None:
    """All that comes; None if it is more than may be."""
    parts, size = [], 0
    while part := pipe.read(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            return None
    return b"".join(parts)


__all__ = ["run_code"]
