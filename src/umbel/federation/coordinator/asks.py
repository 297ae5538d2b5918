"""Requests that go straight to sites: rounds of training, which no plan is made for."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pyarrow as pa
from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from umbel.federation.coordinator.calls import AskSites, Call
from umbel.federation.coordinator.questions import Ways
from umbel.federation.protocol import HEARTBEAT, error_to_json
from umbel.learning.gathering import Answers, Patience
from umbel.plan.errors import UmbelError

#: Plans of one request, together, in units of what one plan may have.
_MOST = 16


async def ask_sites(call: Call) -> Response:
    """Ask sites; spaces come while they work, and then the answers."""
    asked = await call.read(AskSites, _MOST * call.coordinator.settings.limits.plan_bytes)
    patience = Patience(asked.quorum, asked.deadline)
    signed = None if asked.signed is None else asked.signed.of("")
    ways = Ways(None, asked.purpose, asked.missing, signed=signed)

    def work() -> bytes:
        try:
            answers = call.coordinator.ask_sites(call.who, asked.plans, ways, patience)
        except UmbelError as error:
            return json.dumps({"error": error_to_json(error)}).encode()
        return json.dumps(_written(answers)).encode()

    return StreamingResponse(_alive(run_in_threadpool(work)), media_type="application/json")


async def _alive(work: Any) -> AsyncIterator[bytes]:
    """Say now and then that somebody works, which JSON does not mind."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait([task], timeout=HEARTBEAT)
        if not task.done():
            yield b" "
    yield task.result()


def _written(answers: Answers | None) -> Mapping[str, Any]:
    if answers is None:
        return {"planned": True}
    return {
        "tables": {name: _stream(table) for name, table in answers.tables.items()},
        "errors": {name: error_to_json(error) for name, error in answers.errors.items()},
    }


def _stream(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode("ascii")


__all__ = ["ask_sites"]
