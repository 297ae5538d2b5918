"""Requests to a coordinator: their bodies, who sends them, and how much of them is read."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from umbel.federation.access import Permission, Principal
from umbel.federation.coordinator.coordinator import Coordinator
from umbel.federation.errors import CoordinatorError, FederationError, IdentityError
from umbel.federation.signed.statements import LARGEST_STATEMENT, Signed
from umbel.plan.errors import PlanError

#: Bytes of a request that carries neither plan nor rows.
_SMALL = 64 * 1024
#: Seconds in which a body must have come.
_PATIENCE = 600.0

Body = TypeVar("Body", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Enrol(_Body):
    """A site asks to join."""

    invitation: str = Field(max_length=64)
    signing_request: str = Field(max_length=4096)
    proof: str = Field(max_length=128)


class Invite(_Body):
    """A site is to be invited."""

    site: str = Field(max_length=64)
    minutes: float = Field(default=15, gt=0, le=7 * 24 * 60)


class MakeToken(_Body):
    """A user is to get a token."""

    user: str = Field(max_length=128)
    roles: list[str] = Field(min_length=1, max_length=8)
    days: float = Field(default=90, gt=0, le=366)


class Bounds(_Body):
    """What a run may cost."""

    seconds: float | None = None
    dollars: float | None = None


class Signature(_Body):
    """What somebody has signed of their question, for sites that know them by their key."""

    statement: str = Field(max_length=LARGEST_STATEMENT)
    key: str = Field(max_length=100)
    signature: str = Field(max_length=200)

    def of(self, plan: str) -> Signed:
        """The whole, with the plan that was sent beside it."""
        return Signed(self.statement, self.key, self.signature, plan)


class Submit(_Body):
    """A plan, and the tables that it brings by the tokens of its sources.

    Who sends it may name the run, and so can cancel it also if no answer comes back; the same
    plan that is sent again by the same name is not run again.
    """

    id: Annotated[str, Field(max_length=64)] = ""
    plan: str
    uploads: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}
    budget: Bounds | None = None
    purpose: Annotated[str, Field(max_length=200)] = ""
    missing: Literal["wait", "fail", "skip"] = "fail"
    signed: Signature | None = None


class AskSites(_Body):
    """Plans that lie wholly at one site each, to be asked there without being planned.

    Where there is a quorum, the answer may come without those that are later than the deadline.
    """

    plans: dict[Annotated[str, Field(max_length=64)], str] = Field(min_length=1, max_length=1_000)
    purpose: Annotated[str, Field(max_length=200)] = ""
    missing: Literal["wait", "fail"] = "fail"
    quorum: int | None = Field(default=None, ge=1)
    deadline: float | None = Field(default=None, gt=0, le=10**6)
    signed: Signature | None = None


class Stand(_Body):
    """Plans that lie wholly at one site each, to be asked there in rounds with other numbers."""

    plans: dict[Annotated[str, Field(max_length=64)], str] = Field(min_length=1, max_length=1_000)
    purpose: Annotated[str, Field(max_length=200)] = ""
    missing: Literal["wait", "fail"] = "fail"


class Prune(_Body):
    """Runs are to be forgotten."""

    seconds: float = Field(ge=0, le=10**10)
    everything: bool = False
    dry: bool = False


class Call:
    """One request: what it says, and who says it.

    Attributes:
        coordinator: whom it is for.
        request: as it came.
    """

    def __init__(self, coordinator: Coordinator, request: Request) -> None:
        self.coordinator = coordinator
        self.request = request
        self._who: Principal | None = None

    @property
    def who(self) -> Principal:
        """Whose token came with it."""
        if self._who is None:
            raise IdentityError("a token is needed here")
        return self._who

    @property
    def user(self) -> str | None:
        """The name of who sent it; None if nobody knows."""
        return None if self._who is None else self._who.user

    async def admit(self, permission: Permission) -> None:
        """Find out who asks, and whether they may.

        Raises:
            IdentityError: no token, or none that is good.
            AccessError: the user may not.
        """
        scheme, _, word = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not word:
            raise IdentityError(
                "a token is needed here", hint="ub.connect(url, token='env:UMBEL_TOKEN')"
            )
        self._who = await run_in_threadpool(self.coordinator.admit, word)
        self._who.check(permission)

    async def body(self, limit: int) -> bytes:
        """Read the body, up to a limit of bytes.

        Raises:
            FederationError: it is larger.
            CoordinatorError: it did not come in time.
        """
        parts, size = [], 0
        try:
            async with asyncio.timeout(_PATIENCE):
                async for part in self.request.stream():
                    size += len(part)
                    if size > limit:
                        raise FederationError(f"the request has more than {limit:,} bytes")
                    parts.append(part)
        except TimeoutError:
            raise CoordinatorError("the request did not come to its end in time") from None
        return b"".join(parts)

    async def read(self, model: type[Body], limit: int = _SMALL) -> Body:
        """Read a JSON body.

        Raises:
            PlanError: it is not what it should be; says where.
        """
        text = await self.body(limit)
        try:
            return model.model_validate_json(text)
        except ValidationError as errors:
            first = errors.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise PlanError(f"{where}: {first['msg']}") from None

    @property
    def name(self) -> str:
        """What the path names."""
        return str(self.request.path_params["name"])


__all__ = ["AskSites", "Bounds", "Call", "Enrol", "Invite", "MakeToken", "Prune", "Stand", "Submit"]
