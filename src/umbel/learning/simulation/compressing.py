"""What compression does to the updates of simulated sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from umbel.learning.compression.base import Compressor, ErrorFeedback
from umbel.learning.state import Vector
from umbel.learning.strategies.base import Updates
from umbel.learning.trainers.base import generator, key_of


def compressed(
    updates: Updates,
    compressor: Compressor,
    rests: Vector,
    places: Mapping[str, int],
    seed: int,
    number: int,
) -> tuple[Updates, Vector, int]:
    """Send updates through a compressor, each site with what it still had to send.

    Args:
        updates: of this round.
        compressor: how they are sent.
        rests: what each site has not sent yet.
        places: by site, its row in `rests`.
        seed: of the training.
        number: of the round.

    Returns:
        The updates as they arrive, the new rests, and how many bytes were sent.
    """
    deltas, rests, sent = np.empty_like(updates.deltas), rests.copy(), 0
    for row, delta, site in zip(deltas, updates.deltas, updates.sites, strict=True):
        draw = generator(key_of(seed, number, f"compression of {site}"))
        if compressor.unbiased:
            data = compressor.compress(delta, draw)
        else:
            feedback = ErrorFeedback(compressor, rests[places[site]])
            data = feedback.compress(delta, draw)
            rests[places[site]] = feedback.rest
        row[:] = compressor.expand(data, len(delta))
        sent += len(data)
    return replace(updates, deltas=deltas), rests, sent
