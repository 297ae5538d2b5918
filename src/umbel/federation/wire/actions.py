"""Flight's side of a door for sites: nothing but actions, from clients with certificates of ours."""

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
        **tls: Any,
    ) -> None:
        super().__init__(location, verify_client=True, **tls)
        self._umbel_answer = answer

    def do_action(self, context: Any, action: Any) -> Iterator[flight.Result]:
        """Answer an action."""
        body = memoryview(action.body)
        for part in self._umbel_answer(context.peer_identity(), action.type, body):
            yield flight.Result(pa.py_buffer(part))


__all__ = ["ActionServer"]
