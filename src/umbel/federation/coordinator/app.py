"""The coordinator on the network: HTTPS for people, tools and sites that join.

Each route names the permission that it takes; `umbel.federation.access` says which roles have it.
Nothing of a request is believed, and no more of it is read than its limit.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route

import umbel
from umbel.api.located import written_at
from umbel.federation.access import Permission, Role
from umbel.federation.coordinator.calls import Call, Enrol, Invite, MakeToken, Submit
from umbel.federation.coordinator.coordinator import Coordinator, Question, Ways
from umbel.federation.coordinator.runs import HostedRun, State, unexpected
from umbel.federation.coordinator.uploads import check_digest
from umbel.federation.errors import (
    AccessError,
    CoordinatorError,
    IdentityError,
    ProviderError,
)
from umbel.federation.identity import EnrolmentRequest
from umbel.federation.protocol import (
    ALIVE,
    END,
    ERROR,
    FRAMES,
    HEARTBEAT,
    PROTOCOL,
    PROTOCOL_HEADER,
    error_to_json,
    frame,
    to_json,
)
from umbel.optimizer import Budget
from umbel.plan.errors import (
    CancelledError,
    PlacementError,
    PlanError,
    SourceError,
    UmbelError,
    UnknownNameError,
)
from umbel.telemetry import checked_traceparent

#: Bytes of rows that are sent at once.
_PIECE = 2**20
Answer = Callable[[Call], Awaitable[Response]]


# --- who is who -----------------------------------------------------------------------------------


async def hello(call: Call) -> Response:
    """Say what this is."""
    found = {
        "federation": call.coordinator.authority.federation,
        "umbel": umbel.__version__,
        "protocol": PROTOCOL,
    }
    return JSONResponse(found)


async def authority(call: Call) -> Response:
    """Give the root certificate; a client knows its fingerprint, and believes no other."""
    return Response(call.coordinator.authority.root_pem(), media_type="application/x-pem-file")


async def enrol(call: Call) -> Response:
    """Let an invited site join."""
    asked = await call.read(Enrol)
    request = EnrolmentRequest(asked.invitation, asked.signing_request.encode(), asked.proof)
    certificate = await run_in_threadpool(call.coordinator.enrol, request)
    return JSONResponse(
        {
            "federation": call.coordinator.authority.federation,
            "site": certificate.party.name,
            "certificate": certificate.pem().decode(),
            "root": call.coordinator.authority.root_pem().decode(),
            "address": call.coordinator.sites_address,
        }
    )


async def login(call: Call) -> Response:
    """Say where people log in whose name this coordinator takes from an OpenID provider."""
    section = call.coordinator.settings.oidc
    return JSONResponse({"oidc": None if section is None else section.told()})


async def whoami(call: Call) -> Response:
    """Say whose token this is, and what there is to name."""
    coordinator, who = call.coordinator, call.who

    def known() -> dict[str, Any]:
        tables = coordinator.tables(who)
        return {
            "user": who.user,
            "roles": [role.value for role in who.roles],
            "federation": coordinator.authority.federation,
            "namespaces": tables.namespaces(),
            "tables": tables.horizontal(),
            "platforms": [platform["name"] for platform in coordinator.platforms(who)],
        }

    return JSONResponse(await run_in_threadpool(known))


async def tokens(call: Call) -> Response:
    """List tokens; their secrets nobody knows."""
    records = await run_in_threadpool(call.coordinator.store.tokens.all)
    return JSONResponse(
        [
            {
                "id": record.id,
                "user": record.user,
                "roles": [role.value for role in record.roles],
                "expires": record.expires.isoformat(),
                "revoked": record.revoked,
            }
            for record in records
        ]
    )


async def make_token(call: Call) -> Response:
    """Make a token."""
    asked = await call.read(MakeToken)
    roles = [Role.of(name) for name in asked.roles]
    life = timedelta(days=asked.days)
    record, token = await run_in_threadpool(call.coordinator.new_token, asked.user, roles, life)
    return JSONResponse(
        {"id": record.id, "token": token.encode(), "expires": record.expires.isoformat()}, 201
    )


async def revoke_token(call: Call) -> Response:
    """Take a token back."""
    await run_in_threadpool(call.coordinator.revoke_token, call.name)
    return Response(status_code=204)


async def invite(call: Call) -> Response:
    """Invite a site."""
    asked = await call.read(Invite)
    life = timedelta(minutes=asked.minutes)
    invitation, word = await run_in_threadpool(call.coordinator.invite, asked.site, life)
    return JSONResponse(
        {"site": invitation.site, "token": word, "expires": invitation.expires.isoformat()}, 201
    )


async def sites(call: Call) -> Response:
    """List the sites."""
    return JSONResponse(await run_in_threadpool(call.coordinator.sites.to_json))


async def status(call: Call) -> Response:
    """Say how the coordinator itself is: what it runs, and until when its certificates hold."""
    coordinator = call.coordinator
    found = {
        "federation": coordinator.authority.federation,
        "umbel": umbel.__version__,
        "certificates": await run_in_threadpool(coordinator.certificates),
    }
    return JSONResponse(found)


async def revoke_site(call: Call) -> Response:
    """Let a site speak no more."""
    await run_in_threadpool(call.coordinator.revoke_site, call.name)
    return Response(status_code=204)


# --- tables and platforms -------------------------------------------------------------------------


async def tables(call: Call) -> Response:
    """List the tables, of one namespace if the query names one."""
    namespace = call.request.query_params.get("namespace")
    known = await run_in_threadpool(call.coordinator.tables, call.who)
    found, missing = await run_in_threadpool(known.listed, namespace)
    return JSONResponse({"tables": [table.to_json() for table in found], "missing": missing})


async def table(call: Call) -> Response:
    """Describe a table: its columns, and what is revealed of what they hold."""
    parts = call.request.query_params.getlist("part")
    if not parts or len(parts) > 8:
        raise PlanError("name the table by its parts: ?part=…&part=…")
    known = await run_in_threadpool(call.coordinator.tables, call.who)
    return JSONResponse(await run_in_threadpool(known.described, tuple(parts)))


async def platforms(call: Call) -> Response:
    """List what can run something."""
    return JSONResponse(await run_in_threadpool(call.coordinator.platforms, call.who))


# --- runs -----------------------------------------------------------------------------------------


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
    ways = Ways(budget, asked.purpose, asked.missing, trace)
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
    run = call.coordinator.run(call.who, question, name=asked.id or secrets.token_hex(16))
    return JSONResponse({"id": run.id}, 201)


async def runs(call: Call) -> Response:
    """List one's runs; an auditor sees everybody's."""
    return JSONResponse([run.to_json() for run in call.coordinator.runs.seen_by(call.who)])


async def show_run(call: Call) -> Response:
    """Describe a run."""
    return JSONResponse(_run(call, Permission.AUDIT).to_json())


async def events(call: Call) -> Response:
    """Tell the events of a run, from its first on, as server-sent events."""
    run = _run(call, Permission.AUDIT)
    return StreamingResponse(_events(run), media_type="text/event-stream")


async def result(call: Call) -> Response:
    """Give the rows of a run while they come, and say at the end how many they are."""
    run = _run(call)
    if run.state is State.FINISHED and not run.spool.path.exists():
        raise PlanError("the rows of this run were dropped", hint="run it again")
    return StreamingResponse(_rows(run), media_type=FRAMES)


async def cancel(call: Call) -> Response:
    """Stop a run."""
    runs = call.coordinator.runs
    await run_in_threadpool(runs.cancel_by_name, call.name, call.who)
    return Response(status_code=204)


async def drop_result(call: Call) -> Response:
    """Let go of the rows of a run, which its user has."""
    run = _run(call)
    if run.state.over:
        await run_in_threadpool(run.spool.drop)
    return Response(status_code=204)


def _run(call: Call, *others: Permission) -> HostedRun:
    return call.coordinator.runs.find(call.name, call.who, *others)


async def _events(run: HostedRun) -> AsyncIterator[bytes]:
    told = 0
    with run.signal.listen() as listening:
        while True:
            over = run.state.over
            while told < len(run.events):
                event = run.events[told]
                told += 1
                yield f"id: {told}\nevent: {event['event']}\n".encode()
                yield b"data: " + to_json(event) + b"\n\n"
            if over:
                last = {"event": "over", "state": run.state.value, "error": run.error}
                yield b"event: over\ndata: " + to_json(last) + b"\n\n"
                return
            if not await listening.wait(HEARTBEAT):
                yield b": alive\n\n"


async def _rows(run: HostedRun) -> AsyncIterator[bytes]:
    sent = 0
    with run.signal.listen() as listening:
        while True:
            over = run.state.over
            while sent < run.spool.size:
                piece = await run_in_threadpool(run.spool.read, sent, _PIECE)
                sent += len(piece)
                yield piece
            if over and run.state is State.FINISHED:
                counted = run.spool.counter.to_json()
                last = {**counted, "record": run.record, "missing": list(run.missing)}
                yield frame(END, to_json(last))
                return
            if over:
                yield frame(ERROR, to_json(run.error))
                return
            if not await listening.wait(HEARTBEAT):
                yield frame(ALIVE)


# --- all of it ------------------------------------------------------------------------------------

#: Method, path, permission (None: anybody) and what answers.
ROUTES: tuple[tuple[str, str, Permission | None, Answer], ...] = (
    ("GET", "/v1/hello", None, hello),
    ("GET", "/v1/authority", None, authority),
    ("POST", "/v1/enrol", None, enrol),
    ("GET", "/v1/login", None, login),
    ("GET", "/v1/whoami", Permission.LOOK, whoami),
    ("GET", "/v1/tokens", Permission.AUDIT, tokens),
    ("POST", "/v1/tokens", Permission.OPERATE, make_token),
    ("DELETE", "/v1/tokens/{name}", Permission.OPERATE, revoke_token),
    ("POST", "/v1/invitations", Permission.INVITE, invite),
    ("GET", "/v1/sites", Permission.LOOK, sites),
    ("GET", "/v1/status", Permission.LOOK, status),
    ("DELETE", "/v1/sites/{name}", Permission.OPERATE, revoke_site),
    ("GET", "/v1/tables", Permission.LOOK, tables),
    ("GET", "/v1/table", Permission.LOOK, table),
    ("GET", "/v1/platforms", Permission.LOOK, platforms),
    ("GET", "/v1/uploads/{name}", Permission.ASK, find_upload),
    ("PUT", "/v1/uploads/{name}", Permission.ASK, upload),
    ("POST", "/v1/explain", Permission.ASK, explain),
    ("POST", "/v1/runs", Permission.ASK, start_run),
    ("GET", "/v1/runs", Permission.LOOK, runs),
    ("GET", "/v1/runs/{name}", Permission.LOOK, show_run),
    ("GET", "/v1/runs/{name}/events", Permission.LOOK, events),
    ("GET", "/v1/runs/{name}/result", Permission.ASK, result),
    ("DELETE", "/v1/runs/{name}/result", Permission.ASK, drop_result),
    ("POST", "/v1/runs/{name}/cancel", Permission.LOOK, cancel),
)


def build(coordinator: Coordinator) -> FastAPI:
    """Make the application of a coordinator."""
    # No pages that describe it: what is there is in the manual, and asks for a token.
    app = FastAPI(
        title="umbel coordinator",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Its spans and logs would tell paths, queries and texts of errors; we have our own.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for method, path, permission, answer in ROUTES:
        app.router.routes.append(
            Route(path, _endpoint(coordinator, permission, answer), methods=[method])
        )
    app.add_exception_handler(HTTPException, _no_route)
    return app


def _endpoint(
    coordinator: Coordinator, permission: Permission | None, answer: Answer
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        call = Call(coordinator, request)
        try:
            _check_protocol(request)
            if permission is not None:
                await call.admit(permission)
            with written_at(None):  # no script here wrote what is asked
                response = await answer(call)
        except UmbelError as error:
            response = _told(error)
        except Exception as error:  # noqa: BLE001 - the caller gets a number, the log the rest
            response = _told(unexpected(error), 500)
        response.headers[PROTOCOL_HEADER] = str(PROTOCOL)
        response.headers["cache-control"] = "no-store"
        return response

    return endpoint


def _check_protocol(request: Request) -> None:
    said = request.headers.get(PROTOCOL_HEADER)
    if said is not None and said != str(PROTOCOL):
        raise CoordinatorError(
            f"this coordinator speaks version {PROTOCOL} of the protocol, "
            f"the client version {said[:20]!r}",
            hint=f"install umbel {umbel.__version__} at the client",
        )


def _told(error: UmbelError, status: int | None = None) -> Response:
    return JSONResponse({"error": error_to_json(error)}, status or _status(error))


def _status(error: UmbelError) -> int:
    match error:
        case IdentityError():
            return 401
        case AccessError():
            return 403
        case CoordinatorError():
            return 426
        case ProviderError():
            return 502
        case UnknownNameError(message=message) if message.startswith(
            ("unknown run", "unknown token", "unknown site")
        ):
            return 404
        case PlanError() | PlacementError() | SourceError():
            return 422
        case CancelledError():
            return 409
    return 400


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    wrong = UnknownNameError("route", f"{request.method} {request.url.path}"[:200], _paths())
    return _told(wrong, status)


def _paths() -> Iterator[str]:
    return (f"{method} {path}" for method, path, _, _ in ROUTES)


__all__ = ["ROUTES", "build"]
