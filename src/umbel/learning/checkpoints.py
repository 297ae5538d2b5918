"""Rounds that outlive the process: after each one, all that the next one needs is on the disk.

A checkpoint is one safetensors file: the state, what the strategy remembers, and of each round what
people are shown. It is written beside the last one and put in its place at once, so a kill leaves
either the one or the other. What is drawn in a round follows from the seed and its number, so a
training that goes on gives the same bits as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umbel.catalog.writers import sync_folder
from umbel.dataclass import dataclass
from umbel.learning.rounds import Round, Share
from umbel.learning.state import Layout, State, StateError, from_bytes, to_bytes
from umbel.learning.strategies.base import Memory
from umbel.plan.errors import RunError


class CheckpointError(RunError):
    """A checkpoint that can't be gone on from: it is broken, or of another training."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a training stands after a round.

    Attributes:
        state: the state.
        memory: what the strategy remembers.
        rounds: those that are done.
    """

    state: State
    memory: Memory
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class CheckpointFile:
    """The checkpoint of one training.

    Attributes:
        path: of the file.
        question: what training it is; a file of another one is refused.
    """

    path: Path
    question: str

    @classmethod
    def of(cls, path: str | os.PathLike[str], *asked: object) -> CheckpointFile:
        """The file of a training that is known by what was asked for."""
        return cls(Path(path), hashlib.sha256(repr(asked).encode()).hexdigest())

    def save(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in the place of the last one; it is on the disk when this returns."""
        tensors = {f"state/{name}": tensor for name, tensor in checkpoint.state.items()}
        tensors |= {f"memory/{name}": tensor for name, tensor in checkpoint.memory.items()}
        rounds = json.dumps([_round_to_json(one) for one in checkpoint.rounds])
        data = to_bytes(tensors, {"question": self.question, "rounds": rounds})
        folder = self.path.absolute().parent
        with tempfile.NamedTemporaryFile(
            dir=folder, prefix=f".{self.path.name}.", delete=False
        ) as written:
            try:
                written.write(data)
                written.flush()
                os.fsync(written.fileno())
                Path(written.name).replace(self.path)
            except BaseException:
                Path(written.name).unlink(missing_ok=True)
                raise
        sync_folder(folder)

    def load(self, layout: Layout) -> Checkpoint | None:
        """Read the checkpoint; None if there is none yet.

        Args:
            layout: the tensors that the model has.

        Raises:
            CheckpointError: it is broken, or of another training.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            tensors, notes = from_bytes(data)
            if notes.get("question") != self.question:
                raise CheckpointError(
                    f"the checkpoint {str(self.path)!r} is of another training: its model, data, "
                    "strategy, settings or seed are not these",
                    hint="give another path, or delete the file to begin anew",
                )
            state = State(
                layout, np.concatenate([tensors[f"state/{n}"].ravel() for n in layout.spans])
            )
            memory = {
                name.removeprefix("memory/"): tensor
                for name, tensor in tensors.items()
                if name.startswith("memory/")
            }
            rounds = tuple(_round_from_json(one) for one in json.loads(notes["rounds"]))
        except (StateError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint {str(self.path)!r} cannot be read: {error}",
                hint="delete the file to begin anew",
            ) from error
        return Checkpoint(state, memory, rounds)


def _round_to_json(one: Round) -> dict[str, Any]:
    shares = [
        [share.part, share.rows, share.left_out, share.loss, share.norm, share.excluded]
        for share in one.shares
    ]
    return {"number": one.number, "loss": one.loss, "seconds": one.seconds, "shares": shares}


def _round_from_json(one: dict[str, Any]) -> Round:
    shares: Sequence[list[Any]] = one["shares"]
    return Round(
        one["number"],
        one["loss"],
        tuple(
            Share(part, rows, left_out, np.zeros(0), loss, norm, excluded)
            for part, rows, left_out, loss, norm, excluded in shares
        ),
        one["seconds"],
    )


__all__ = ["Checkpoint", "CheckpointError", "CheckpointFile"]
