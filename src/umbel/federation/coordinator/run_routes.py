"""Requests about runs: begun, watched, read, cancelled, resumed and forgotten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from umbel.executor.run_ids import new_id
from umbel.federation.access import Permission
from umbel.federation.coordinator.calls import Call, Prune, Submit
from umbel.federation.coordinator.hosted import HostedRun, State
from umbel.federation.coordinator.questions import Question, Ways
from umbel.federation.coordinator.uploads import check_digest
from umbel.federation.protocol import (
    ALIVE,
    BEGIN,
    ERROR,
    FRAMES,
    HEARTBEAT,
    RUN_DIGITS,
    frame,
    to_json,
)
from umbel.optimizer import Budget
from umbel.plan.errors import PlanError
from umbel.telemetry import checked_traceparent

#: Bytes of rows that are sent at once.
_PIECE = 2**20


async def find_upload(call: Call) -> Response:
    """Say whether a table that the user sent is kept still."""
    there = call.coordinator.uploads.has(call.who.user, check_digest(call.name))
    return Response(status_code=204 if there else 404)


async def upload(call: Call) -> Response:
    """Take a table: frames of rows; the header `umbel-schema` says its columns."""
    check_digest(call.name)
    try:
        schema = json.loads(call.request.headers.get("umbel-schema", ""))
    except (ValueError, RecursionError):
        raise PlanError("the header umbel-schema does not say the table's columns") from None
    body = await call.body(call.coordinator.uploads.limit)
    take = call.coordinator.uploads.take
    rows = await run_in_threadpool(take, call.who.user, call.name, schema, [body])
    return JSONResponse({"rows": rows}, 201)


async def _submitted(call: Call) -> tuple[Submit, Question]:
    asked = await call.read(Submit, 2 * call.coordinator.settings.limits.plan_bytes)
    bounds = asked.budget
    budget = None if bounds is None else Budget(bounds.seconds, bounds.dollars)
    trace = checked_traceparent(call.request.headers.get("traceparent"))
    signed = None if asked.signed is None else asked.signed.of(asked.plan)
    ways = Ways(budget, asked.purpose, asked.missing, trace, signed)
    question = await run_in_threadpool(
        call.coordinator.asked, call.who, asked.plan.encode(), asked.uploads, ways
    )
    return asked, question


async def explain(call: Call) -> Response:
    """Say how a plan would run."""
    _, question = await _submitted(call)
    return JSONResponse(await run_in_threadpool(call.coordinator.explain, question))


async def start_run(call: Call) -> Response:
    """Begin a run."""
    asked, question = await _submitted(call)
    name = asked.id or new_id(RUN_DIGITS)
    run = await run_in_threadpool(call.coordinator.runs.start, name, question)
    return JSONResponse({"id": run.id}, 201)


async def list_runs(call: Call) -> Response:
    """List one's runs; an auditor sees everybody's."""
    return JSONResponse(await run_in_threadpool(call.coordinator.runs.listed, call.who))


async def show_run(call: Call) -> Response:
    """Describe a run."""
    run = await _run(call, Permission.AUDIT)
    return JSONResponse(await run_in_threadpool(run.described))


async def events(call: Call) -> Response:
    """Tell the events of a run, from its first on, as server-sent events."""
    run = await _run(call, Permission.AUDIT)
    # Each event is named by its try and its number; those of another try are told anew.
    fence, _, told = call.request.headers.get("last-event-id", "").partition("-")
    known = int(told) if fence == str(run.fence) and told.isdigit() else 0
    return StreamingResponse(_events(run, known), media_type="text/event-stream")


async def result(call: Call) -> Response:
    """Give the rows of a run, while they come or when all are there.

    The query says from which byte of which try on, for one who has some already, and whether to
    wait for all: rows of a try that is not finished may have to be taken back.
    """
    run = await _run(call)
    if run.state is State.FINISHED and (run.spool is None or not run.spool.path.exists()):
        raise PlanError("the rows of this run were dropped", hint="run it again")
    query = call.request.query_params
    start, of = query.get("from", "0"), query.get("of", "")
    if not start.isdigit() or len(start) > 18:
        raise PlanError("from= is a number of bytes")
    rows = _rows(run, int(start), of, whole=query.get("whole") == "1")
    return StreamingResponse(rows, media_type=FRAMES)


async def cancel(call: Call) -> Response:
    """Stop a run."""
    runs = call.coordinator.runs
    await run_in_threadpool(runs.cancel_by_name, call.name, call.who)
    return Response(status_code=204)


async def resume_run(call: Call) -> Response:
    """Go on with a run that failed or was cancelled."""
    run = await run_in_threadpool(call.coordinator.runs.resume, call.name, call.who)
    return JSONResponse({"id": run.id, "schema": run.schema, "state": run.state.value})


async def prune_runs(call: Call) -> Response:
    """Forget runs that are over."""
    asked = await call.read(Prune)
    gone = await run_in_threadpool(
        call.coordinator.runs.prune,
        call.who,
        seconds=asked.seconds,
        everything=asked.everything,
        dry=asked.dry,
    )
    return JSONResponse([{"id": run.id, "state": run.state, "title": run.title} for run in gone])


async def drop_result(call: Call) -> Response:
    """Let go of the rows of a run, which its user has."""
    run = await _run(call)
    if run.state.over and run.spool is not None:
        await run_in_threadpool(run.spool.drop)
    return Response(status_code=204)


async def _run(call: Call, *others: Permission) -> HostedRun:
    found = call.coordinator.runs.find
    return await run_in_threadpool(found, call.name, call.who, *others)


async def _events(run: HostedRun, told: int) -> AsyncIterator[bytes]:
    fence = run.fence
    with run.telling.listen() as listening:
        while True:
            over = run.state.over
            if run.fence != fence:
                fence, told = run.fence, 0
            while told < len(run.events):
                event = run.events[told]
                told += 1
                yield f"id: {fence}-{told}\nevent: {event['event']}\n".encode()
                yield b"data: " + to_json(event) + b"\n\n"
            if over:
                last = {"event": "over", "state": run.state.value, "error": run.error}
                yield b"event: over\ndata: " + to_json(last) + b"\n\n"
            if over or run.hung_up or run.state is State.INTERRUPTED:
                return
            if not await listening.wait(HEARTBEAT):
                yield b": alive\n\n"


async def _rows(run: HostedRun, start: int, of: str, *, whole: bool) -> AsyncIterator[bytes]:
    sent: int | None = None
    fence = 0
    with run.signal.listen() as listening:
        while True:
            state, spool = run.state, run.spool
            if sent is not None and run.fence != fence:
                return  # what was sent is taken back: the client asks again
            begun = spool is not None and (state is State.FINISHED or not (whole or state.over))
            if begun and spool is not None and state is not State.QUEUED:
                if sent is None:
                    fence = run.fence
                    sent = start if of == str(run.fence) and start <= spool.size else 0
                    yield frame(BEGIN, to_json({"of": str(run.fence), "from": sent}))
                while sent < spool.size:
                    piece = await run_in_threadpool(spool.read, sent, _PIECE)
                    sent += len(piece)
                    yield piece
            if state is State.FINISHED:
                return  # the end is in the spool
            if state is State.INTERRUPTED or run.hung_up:
                return  # we are being stopped, and the client asks again
            if state.over:
                yield frame(ERROR, to_json(run.error))
                return
            if not await listening.wait(HEARTBEAT):
                yield frame(ALIVE)


__all__ = [
    "cancel",
    "drop_result",
    "events",
    "explain",
    "find_upload",
    "list_runs",
    "prune_runs",
    "result",
    "resume_run",
    "show_run",
    "start_run",
    "upload",
]
