"""The coordinator on the network: HTTPS for people, tools and sites that join.

Each route names the permission that it takes; `umbel.federation.access` says which roles have it.
Nothing of a request is believed, and no more of it is read than its limit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route

import umbel
from umbel.api.located import written_at
from umbel.federation.access import Permission, Role
from umbel.federation.coordinator import asks, run_routes, standing
from umbel.federation.coordinator.calls import Call, Enrol, Invite, MakeToken
from umbel.federation.coordinator.coordinator import Coordinator
from umbel.federation.coordinator.runs import unexpected
from umbel.federation.errors import (
    AccessError,
    CoordinatorError,
    IdentityError,
    ProviderError,
)
from umbel.federation.identity import EnrolmentRequest
from umbel.federation.protocol import (
    PROTOCOL,
    PROTOCOL_HEADER,
    error_to_json,
)
from umbel.plan.errors import (
    CancelledError,
    PlacementError,
    PlanError,
    SourceError,
    UmbelError,
    UnknownNameError,
)
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

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
    ("GET", "/v1/uploads/{name}", Permission.ASK, run_routes.find_upload),
    ("PUT", "/v1/uploads/{name}", Permission.ASK, run_routes.upload),
    ("POST", "/v1/explain", Permission.ASK, run_routes.explain),
    ("POST", "/v1/asks", Permission.ASK, asks.ask_sites),
    ("POST", "/v1/questions", Permission.ASK, standing.open_question),
    ("POST", "/v1/questions/{name}", Permission.ASK, standing.ask_round),
    ("DELETE", "/v1/questions/{name}", Permission.ASK, standing.drop_question),
    ("POST", "/v1/runs", Permission.ASK, run_routes.start_run),
    ("GET", "/v1/runs", Permission.LOOK, run_routes.list_runs),
    ("GET", "/v1/runs/{name}", Permission.LOOK, run_routes.show_run),
    ("GET", "/v1/runs/{name}/events", Permission.LOOK, run_routes.events),
    ("GET", "/v1/runs/{name}/result", Permission.ASK, run_routes.result),
    ("DELETE", "/v1/runs/{name}/result", Permission.ASK, run_routes.drop_result),
    ("POST", "/v1/runs/{name}/cancel", Permission.LOOK, run_routes.cancel),
    ("POST", "/v1/runs/{name}/resume", Permission.ASK, run_routes.resume_run),
    ("POST", "/v1/runs/prune", Permission.LOOK, run_routes.prune_runs),
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
            Route(
                path,
                _endpoint(coordinator, permission, answer, f"{method} {path}"),
                methods=[method],
            )
        )
    app.add_exception_handler(HTTPException, _no_route)
    return app


def _endpoint(
    coordinator: Coordinator, permission: Permission | None, answer: Answer, route: str
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
        _log(call, route, response.status_code)
        response.headers[PROTOCOL_HEADER] = str(PROTOCOL)
        response.headers["cache-control"] = "no-store"
        return response

    return endpoint


def _log(call: Call, route: str, status: int) -> None:
    """Log a request: its route, never its path, query, headers or body."""
    level = logging.DEBUG if route.startswith("GET ") else logging.INFO
    if status >= 400:
        level = logging.WARNING if status in (401, 403) or status >= 500 else logging.INFO
    say(log, level, "request", route=route, status=status, user=call.user)


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
            ("unknown run", "unknown token", "unknown site", "unknown question")
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
