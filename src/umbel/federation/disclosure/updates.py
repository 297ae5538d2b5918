"""Does what a clause asks of updates of models: clipping, noise, and so many rounds.

Noise is drawn by a key of the site from what was asked: who asks for the same round again gets the
same, so that it cannot be averaged away, and a round counts once however often it is tried. It is
noise, and no promise of differential privacy: that is `umbel.learn.Private`, whose accountant knows
all rounds and sites.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Updates
from umbel.federation.policy.verdict import Grant
from umbel.models.layout import Array
from umbel.plan import operators as ops

#: Numbers behind an update of training by steps that are none of its own: loss and steps.
_BEHIND = 2


def count_round(ledger: Ledger, owner: str, grant: Grant, operator: ops.Summing) -> None:
    """Count a round of training or of evaluation, and refuse one too many in a day.

    Args:
        ledger: of the site.
        owner: on whose account it is.
        grant: under which it leaves.
        operator: what is asked for.

    Raises:
        PolicyError: there were as many today as there may be.
    """
    most = (grant.clause.updates or Updates()).rounds
    if most is None:
        return
    had = ledger.round_taken(owner, grant.table, _round(operator), most)
    if had is not None:
        raise PolicyError(
            f"of table {grant.table!r} {owner!r} may have {most:,} rounds of models in a day, and "
            f"has had {had:,}",
            hint="train in fewer rounds, or go on tomorrow: checkpoint=…",
        )


def conditioned(table: pa.Table, operator: ops.Summing, grant: Grant, secret: str) -> pa.Table:
    """An update as a clause lets it leave: no longer than its clip, with its noise.

    Args:
        table: the row of `Summing`.
        operator: what was asked for.
        grant: under which it leaves.
        secret: of the site.

    Raises:
        PolicyError: it is no update of training by steps, which alone can be clipped.
    """
    asked = grant.clause.updates or Updates()
    if asked.clip is None:
        return table
    if not isinstance(operator, ops.Contribute) or operator.training is None:
        raise PolicyError(
            f"clause {grant.clause.name!r} of table {grant.table!r} lets out updates that are "
            f"clipped to {asked.clip:g}, which sums of {operator.name} are not",
            hint='train by steps: strategy="fedavg"',
        )
    flat: Array = np.frombuffer(table.column("sums")[0].as_py(), "<f8").astype(np.float64)
    update = flat[:-_BEHIND]
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(update))
    if not np.isfinite(norm):
        raise PolicyError(
            "the training at the site did not lead to numbers", hint="take smaller steps"
        )
    if norm > asked.clip:
        update = update * (asked.clip / norm)
    if asked.noise:
        key = hmac.digest(secret.encode(), f"update\n{_round(operator)}".encode(), "sha256")
        update = update + asked.noise * asked.clip * normal(key, len(update))
        # Of the loss nothing is told: it is of the rows as they are, and has no bound. Masked it
        # adds nothing to the sum.
        flat[-_BEHIND] = 0.0 if operator.masking is not None else np.nan
    changed = np.concatenate([update, flat[-_BEHIND:]]).astype("<f8").tobytes()
    position = table.schema.get_field_index("sums")
    return table.set_column(position, table.schema.field("sums"), pa.array([changed], pa.binary()))


def _round(operator: ops.Summing) -> str:
    """What is asked for, by whatever masks: each attempt at a masked round has others."""
    return replace(operator, masking=None, message=None).digest


def normal(key: bytes, count: int) -> Array:
    """Draw standard normal numbers that only the key's owner can draw again.

    AES-256 in counter mode gives the bits; source of the rest: Box and Muller, "A note on the
    generation of random normal deviates", Annals of Mathematical Statistics 29, 1958.

    >>> normal(bytes(32), 3).tolist() == normal(bytes(32), 3).tolist()
    True
    """
    pairs = -(-count // 2)
    stream = Cipher(AES(hashlib.sha256(key).digest()), CTR(bytes(16))).encryptor()
    bits = np.frombuffer(stream.update(bytes(16 * pairs)), "<u8") >> np.uint64(11)
    uniform = (bits.astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


__all__ = ["conditioned", "count_round", "normal"]
