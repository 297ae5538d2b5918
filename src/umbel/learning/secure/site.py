"""Secure aggregation at a site: the rounds it takes part in, each asked for step by step.

A step that is asked for again, because an answer got lost on its way, gets the same answer; asked
for with another message it is refused. So nobody gets two answers out of one state of the protocol.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import field, replace

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.secure.client import SecureClient
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.graph import usual_degree
from umbel.learning.secure.masks import Numbers
from umbel.learning.secure.messages import Identity
from umbel.learning.secure.packing import keys_from_bytes, keys_to_bytes, pack, unpack
from umbel.learning.secure.vectors import Vectors
from umbel.plan.models import MASKING_STEPS

#: Rounds that a site remembers; older ones are over, or were given up.
_MOST_ROUNDS = 64


@dataclass(eq=False)
class _Round:
    """A round that this site takes part in."""

    vectors: Vectors
    client: SecureClient
    lock: threading.Lock = field(default_factory=threading.Lock)
    given: dict[str, tuple[bytes, bytes | SecureAggregationError]] = field(default_factory=dict)


class MaskedRounds:
    """All rounds of one site. Several may run at the same time."""

    def __init__(self, identity: Callable[[], Identity]) -> None:
        """Prepare; `identity` gives the site's lasting key when it is needed."""
        self._identity = identity
        self._rounds: OrderedDict[tuple[str, str, int], _Round] = OrderedDict()
        self._lock = threading.Lock()

    def answer(
        self, asker: str, vectors: Vectors, message: bytes, vector: Callable[[], Numbers]
    ) -> bytes:
        """Do one step.

        Args:
            asker: on whose behalf.
            vectors: what is summed, and which step of which round it is.
            message: what the step goes by.
            vector: gives the site's own, in the step "mask" alone.

        Raises:
            SecureAggregationError: the step does not come next, or somebody lies.
        """
        step = vectors.masking.step
        # Nothing of a step is another round's.
        same = replace(vectors, masking=replace(vectors.masking, step=MASKING_STEPS[0]))
        one = self._round(asker, same, begin=step == MASKING_STEPS[0])
        asked = hashlib.sha256(message).digest()
        with one.lock:
            if step in one.given:
                before, answer = one.given[step]
                if before != asked:
                    raise SecureAggregationError(
                        f"Asked to {step} a second time, with another message."
                    )
                if isinstance(answer, SecureAggregationError):
                    raise answer
                return answer
            try:
                answer = self._do(one.client, vectors, message, vector)
            except SecureAggregationError as error:
                one.given[step] = (asked, error)  # the protocol does not go back
                raise
            if step == "confirm":
                one.given.pop("mask", None)  # it has arrived, and is the largest
            one.given[step] = (asked, answer)
            return answer

    def _round(self, asker: str, vectors: Vectors, *, begin: bool) -> _Round:
        name = (asker, vectors.masking.run, vectors.masking.round)
        with self._lock:
            one = self._rounds.get(name)
            if one is None:
                if not begin:
                    raise SecureAggregationError(
                        "This site takes no part in this round: it was started anew, or was never "
                        "asked for its keys."
                    )
                client = SecureClient(vectors.agreement, self._identity())
                one = self._rounds[name] = _Round(vectors, client)
                while len(self._rounds) > _MOST_ROUNDS:
                    self._rounds.popitem(last=False)
            if one.vectors != vectors:
                raise SecureAggregationError("The round was agreed on with other settings.")
            return one

    def _do(
        self,
        client: SecureClient,
        vectors: Vectors,
        message: bytes,
        vector: Callable[[], Numbers],
    ) -> bytes:
        match vectors.masking.step:
            case "keys":
                return keys_to_bytes(client.keys())
            case "share":
                roster = {site: keys_from_bytes(one) for site, one in unpack(message).items()}
                if vectors.masking.degree < usual_degree(len(roster)):
                    raise SecureAggregationError(
                        f"Each of {len(roster)} sites is to mask with {vectors.masking.degree} "
                        f"others; it takes {usual_degree(len(roster))}."
                    )
                return pack(client.share(roster).sealed)
            case "mask":
                return client.mask(unpack(message), vector()).vector.astype("<u4").tobytes()
            case "confirm":
                return client.confirm(unpack(message)).signature
        opened = client.open(unpack(message))
        return pack({"own": pack(opened.own), "pairs": pack(opened.pairs)})


def numbers_of(data: bytes, length: int) -> Numbers:
    """Read a masked vector.

    Raises:
        SecureAggregationError: it has another length.
    """
    if len(data) != 4 * length:
        raise SecureAggregationError(
            f"A vector of {len(data)} bytes came; agreed are {length} numbers."
        )
    return np.frombuffer(data, "<u4").astype(np.uint32)


__all__ = ["MaskedRounds", "numbers_of"]
