"""Flight's side of a door for sites: actions and exchanges, with clients of our certificates alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import flight

from umbel.federation.wire.messages import Buffer


class ActionServer(flight.FlightServerBase):  # type: ignore[misc]
    """A Flight server that answers actions, given who TLS says that asks."""

    def __init__(
        self,
        location: str,
        answer: Callable[[bytes, str, memoryview], Iterator[Buffer]],
        attend: Callable[[bytes, memoryview, Any, Any], None] | None = None,
        **tls: Any,
    ) -> None:
        super().__init__(location, verify_client=True, **tls)
        self._umbel_answer = answer
        self._umbel_attend = attend

    def do_action(self, context: Any, action: Any) -> Iterator[flight.Result]:
        """Answer an action."""
        body = memoryview(action.body)
        for part in self._umbel_answer(context.peer_identity(), action.type, body):
            yield flight.Result(pa.py_buffer(part))

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Attend to an open exchange, where there are such."""
        if self._umbel_attend is None:
            raise flight.FlightUnavailableError("there are no exchanges here")
        self._umbel_attend(
            context.peer_identity(), memoryview(descriptor.command or b""), reader, writer
        )


__all__ = ["ActionServer"]
