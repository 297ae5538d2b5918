"""Asks sites through a coordinator that plans nothing: one request, and all answers in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.executor import Cancellation
from umbel.executor.run_ids import new_id
from umbel.federation.client.patience import Patience as Waiting
from umbel.federation.errors import CoordinatorError
from umbel.federation.protocol import FAIL, RUN_DIGITS, WAIT, error_from_json
from umbel.federation.signed.statements import signature_of
from umbel.learning.gathering import Answers, Patience
from umbel.plan.codec import plan_to_json
from umbel.plan.errors import UmbelError
from umbel.plan.operators import Operator, Scan, topological
from umbel.plan.sources import MemorySource

if TYPE_CHECKING:
    from umbel.federation.client.session import RemoteSession


def ask_sites(
    session: RemoteSession, plans: Mapping[str, Operator], patience: Patience
) -> Answers | None:
    """Ask; None if the coordinator has to plan something of it.

    Raises:
        UmbelError: what the coordinator or a site says against it.
    """
    if not all(lies_there(session, plan) for plan in plans.values()):
        return None
    body: dict[str, Any] = {
        "plans": {name: plan_to_json(plan) for name, plan in plans.items()},
        "purpose": session.purpose,
        "missing": WAIT if session.on_missing_site == WAIT else FAIL,
        "quorum": patience.quorum,
        "deadline": patience.deadline,
    }
    if session.signer is not None:
        texts = list(body["plans"].values())
        nonce = new_id(RUN_DIGITS)
        signed = session.signer.sign(session.user, session.purpose, nonce, texts)
        body["signed"] = signature_of(signed)
    # Sites give the same answer to the same question, so asking twice does no harm.
    waiting = Waiting(session.patience, Cancellation(), "")
    found = waiting.ask(lambda: session.connection.post("/v1/asks", body))
    if found.get("planned"):
        return None
    if "error" in found:
        raise error_from_json(found["error"])
    schemas = {name: plan.schema for name, plan in plans.items()}
    tables = {
        name: _read(written, schemas[name])
        for name, written in found["tables"].items()
        if name in schemas
    }
    errors: dict[str, UmbelError] = {
        name: error_from_json(said) for name, said in found["errors"].items() if name in schemas
    }
    return Answers(tables, errors)


def lies_there(session: RemoteSession, plan: Operator) -> bool:
    """Whether a plan reads one site's tables, and nothing of this process."""
    own = (o for o in topological(plan) if isinstance(o, Scan))
    here = any(isinstance(scan.source, MemorySource) for scan in own)
    return len(plan.places) == 1 and session.asks(plan) and not here


def _read(written: Any, schema: pa.Schema) -> pa.Table:
    try:
        table = pa.ipc.open_stream(base64.b64decode(written, validate=True)).read_all()
        table.validate(full=True)
    except (ValueError, TypeError, pa.ArrowException):
        raise CoordinatorError("the coordinator gave rows that cannot be read") from None
    if not table.schema.equals(schema):
        raise CoordinatorError("the coordinator gave other columns than were asked for")
    return table


__all__ = ["ask_sites", "lies_there"]
