"""A site that sends whatever messages a test wants."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tests.federation.harness import Federation
from umbel.federation.tasks import Outcome
from umbel.federation.wire import messages, segments
from umbel.federation.wire.connection import Connection, SiteIdentity
from umbel.federation.wire.messages import Held, Lease, Polled


class Raw:
    """A site without an agent."""

    def __init__(self, wire: Federation, site: str) -> None:
        self.wire, self.site, self.number = wire, site, 0
        self.connection = Connection(SiteIdentity.read(wire.join(site)), wire.address)

    def ask(self, form: Any, payload: bytes = b"", **fields: Any) -> Any:
        answers: Any = {"poll": Polled, "commit": messages.Committed, "put": messages.Stored,
                   "have": messages.Arrived}  # fmt: skip
        answer, _ = self.connection.ask(
            lambda session: form(session=session, **fields),
            answers.get(form.name, messages.Done),
            payload,
        )
        return answer

    def poll(self, *holding: Held, slots: int = 1, wait: float = 2.0) -> Polled:
        self.number += 1
        polled = self.ask(
            messages.Poll, number=self.number, slots=slots, holding=list(holding), wait=wait
        )
        assert isinstance(polled, Polled)
        return polled

    def lease(self, *holding: Held) -> Lease:
        """Wait for work."""
        for _ in range(3):
            polled = self.poll(*holding)
            if polled.leases:
                (lease,) = polled.leases
                return lease
        raise AssertionError("there is no work")

    def commit(
        self, lease: Lease, table: pa.Table, rows: int | None = None, inline: bool = True
    ) -> Any:
        sealed = list(segments.seal(table))
        entries = [one.entry() for one in sealed]
        if rows is not None:
            entries = [one.model_copy(update={"rows": rows}) for one in entries]
        return self.ask(
            messages.Commit,
            sealed[0].content.to_pybytes() if inline and sealed else b"",
            task=lease.task,
            token=lease.token,
            segments=entries,
            outcome=Outcome(table.num_rows, table.nbytes, 0.1).to_json(),
        )
