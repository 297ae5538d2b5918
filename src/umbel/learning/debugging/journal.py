"""What a training by steps leaves for debugging: each round's state, and what each part gave.

A folder with `training.json` (the model, how it was trained) and one safetensors file a round, put
in place at once. It holds updates of single sites, which can tell of their rows what a checkpoint
of the model does not: keep it as the sites would have it kept. Examples are not in it. Of a round
under secure aggregation there is only the sum, so of its sites nothing can be found out later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.designs import design_of, design_text
from umbel.learning.files import replace_file
from umbel.learning.rounds import Share
from umbel.learning.state import Layout, State, StateError, TensorSpec, from_bytes, to_bytes
from umbel.learning.strategies.base import Memory, Settings, Strategy, Update, Updates
from umbel.learning.strategies.options import combining_of, settings_of, strategy_of, training_of
from umbel.models.layout import Array
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError, RunError
from umbel.plan.models import Design, Training
from umbel.plan.recipes import Combining

_ABOUT = "training.json"
_FORMAT = 1


class JournalError(RunError):
    """A journal that cannot be read, or is of another training."""


@dataclass(frozen=True, eq=False)
class Part:
    """What is known of one part in one round.

    Attributes:
        name: the part's.
        rows: it trained on.
        left_out: rows in which a feature or the label is missing.
        delta: how far it went; None if nothing came that is an update.
        loss: of its rows together, before the round; None if it is not known.
        steps: it took.
        seconds: from the question to its answer; None if it was not measured.
        excluded: why what it gave was not used; empty if it was.
    """

    name: str
    rows: int
    left_out: int
    delta: Array | None
    loss: float | None
    steps: int
    seconds: float | None
    excluded: str = ""


@dataclass(frozen=True, eq=False)
class Entry:
    """One round.

    Attributes:
        number: counts from 1.
        before: the state that it began with.
        memory: what the strategy remembered then.
        after: the state that it led to.
        parts: what each part gave; none under secure aggregation, where only a sum is seen.
        seconds: how long it took.
        masked: only the sum of all parts was seen.
    """

    number: int
    before: State
    memory: Memory
    after: State
    parts: tuple[Part, ...]
    seconds: float
    masked: bool = False

    @property
    def used(self) -> tuple[Part, ...]:
        """The parts whose updates made the next state."""
        return tuple(part for part in self.parts if part.delta is not None and not part.excluded)

    def updates(self, names: Sequence[str] | None = None) -> Updates:
        """The updates that were used, of some parts or of all, in the order of their names."""
        chosen = [
            Update(part.name, part.delta, float(part.rows), part.steps)
            for part in sorted(self.used, key=lambda part: part.name)
            if part.delta is not None and (names is None or part.name in names)
        ]
        return Updates.of(chosen, self.before.layout)


@dataclass(frozen=True)
class About:
    """What stays the same in a training.

    Attributes:
        design: the model.
        strategy: how updates were put together; None if it has no name in a plan.
        words: the strategy in words.
        training: how parts trained.
        seed: of whatever was drawn.
        parts: where the rows lie.
    """

    design: Design
    strategy: Combining | None
    words: str
    training: Training
    seed: int
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Journal:
    """A folder in which each round of a training is kept; `fit(…, journal=…)` writes it.

    Attributes:
        folder: where it lies.
    """

    folder: Path = field()

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "folder", Path(folder))

    # --- writing ----------------------------------------------------------------------------------

    def begin(
        self,
        design: Design,
        strategy: Strategy,
        settings: Settings,
        seed: int,
        parts: Sequence[str],
    ) -> None:
        """Say what training is kept here.

        Raises:
            JournalError: another one is.
        """
        try:
            named: Combining | None = combining_of(strategy)
        except PlanError:
            named = None  # it can be shown, and its rounds cannot be made anew
        about = {
            "format": _FORMAT,
            "design": json.loads(design_text(design)),
            "strategy": None if named is None else [named.name, list(map(list, named.options))],
            "words": repr(strategy),
            "training": _plain(training_of(settings)),
            "seed": seed,
            "parts": sorted(parts),
        }
        text = json.dumps(about, indent=1, sort_keys=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / _ABOUT
        if file.exists():
            if file.read_text() != text:
                raise JournalError(
                    f"the journal {str(self.folder)!r} is of another training: its model, sites, "
                    "strategy, settings or seed are not these",
                    hint="give another folder",
                )
            return
        replace_file(file, text.encode())

    def write(
        self,
        number: int,
        before: State,
        memory: Memory,
        after: State,
        shares: Sequence[Share],
        seconds: float,
        *,
        masked: bool = False,
    ) -> None:
        """Keep a round.

        Args:
            number: of the round.
            before: the state that it began with.
            memory: what the strategy remembered then.
            after: the state that it led to.
            shares: what the parts gave.
            seconds: how long it took.
            masked: only the sum of all parts was seen.
        """
        size = before.layout.size
        whole = [len(share.sums) == size + 2 for share in shares]
        tensors: dict[str, npt.NDArray[Any]] = {
            "before": before.vector,
            "after": after.vector,
            "updates": np.array(
                [s.sums for s, ok in zip(shares, whole, strict=True) if ok], np.float64
            ).reshape(-1, size + 2),
        }
        tensors |= {f"memory/{name}": tensor for name, tensor in memory.items()}
        parts = [
            [s.part, s.rows, s.left_out, s.seconds, s.excluded, ok]
            for s, ok in zip(shares, whole, strict=True)
        ]
        notes = {"seconds": seconds, "masked": masked, "parts": parts}
        data = to_bytes(tensors, {"round": json.dumps(notes)})
        replace_file(self._file(number), data)

    # --- reading ----------------------------------------------------------------------------------

    @property
    def about(self) -> About:
        """What training is kept.

        Raises:
            JournalError: it cannot be read.
        """
        file = self.folder / _ABOUT
        try:
            found = json.loads(file.read_bytes())
            if found["format"] != _FORMAT:
                raise JournalError(
                    f"the journal {str(self.folder)!r} has format {found['format']}, not {_FORMAT}",
                    hint="read it with the umbel that wrote it",
                )
            named = found["strategy"]
            return About(
                design_of(json.dumps(found["design"]).encode()),
                named and Combining(named[0], tuple((key, value) for key, value in named[1])),
                found["words"],
                Training(**{**found["training"], "betas": tuple(found["training"]["betas"])}),
                found["seed"],
                tuple(found["parts"]),
            )
        except FileNotFoundError:
            raise JournalError(
                f"there is no journal in {str(self.folder)!r}",
                hint="train with fit(…, journal=FOLDER)",
            ) from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise JournalError(f"{str(file)!r} cannot be read: {error}") from error

    @property
    def strategy(self) -> Strategy:
        """The strategy that made states of updates.

        Raises:
            JournalError: it has no name in a plan, so it is not known here.
        """
        named = self.about.strategy
        if named is None:
            raise JournalError(f"the strategy {self.about.words} is not kept, only its words are")
        return strategy_of(named)

    @property
    def settings(self) -> Settings:
        """How parts trained."""
        return settings_of(self.about.training)

    def numbers(self) -> list[int]:
        """The rounds that are kept."""
        return sorted(int(f.stem.removeprefix("round-")) for f in self.folder.glob("round-*.*"))

    def entries(self) -> list[Entry]:
        """All rounds, the first one first.

        Raises:
            JournalError: there is none.
        """
        layout, numbers = self._layout(), self.numbers()
        if not numbers:
            raise JournalError(f"the journal {str(self.folder)!r} has no round yet")
        return [self._read(number, layout) for number in numbers]

    def entry(self, number: int) -> Entry:
        """One round.

        Raises:
            JournalError: it is not there, or cannot be read.
        """
        numbers = self.numbers()
        if number not in numbers:
            there = f"rounds {numbers[0]} to {numbers[-1]}" if numbers else "no round"
            raise JournalError(
                f"the journal {str(self.folder)!r} has no round {number}", hint=f"it has {there}"
            )
        return self._read(number, self._layout())

    def _layout(self) -> Layout:
        design = self.about.design
        parts = mathematics_of(design).state(design).parts
        return Layout(tuple(TensorSpec(name, shape) for name, shape in parts))

    def _file(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.safetensors"

    def _read(self, number: int, layout: Layout) -> Entry:
        file = self._file(number)
        try:
            tensors, notes = from_bytes(file.read_bytes())
            about: Mapping[str, Any] = json.loads(notes["round"])
            rows = iter(tensors["updates"])
            parts = tuple(
                _part(name, count, left_out, seconds, excluded, next(rows) if whole else None)
                for name, count, left_out, seconds, excluded, whole in about["parts"]
            )
            return Entry(
                number,
                State(layout, tensors["before"]),
                {
                    name.removeprefix("memory/"): tensor
                    for name, tensor in tensors.items()
                    if name.startswith("memory/")
                },
                State(layout, tensors["after"]),
                () if about["masked"] else parts,
                about["seconds"],
                about["masked"],
            )
        except (OSError, StateError, KeyError, TypeError, ValueError, StopIteration) as error:
            raise JournalError(f"{str(file)!r} cannot be read: {error}") from error


def _part(
    name: str,
    rows: int,
    left_out: int,
    seconds: float | None,
    excluded: str,
    flat: Array | None,
) -> Part:
    if flat is None:
        return Part(name, rows, left_out, None, None, 0, seconds, excluded)
    steps = int(flat[-1]) if np.isfinite(flat[-1]) else 0
    return Part(name, rows, left_out, flat[:-2], float(flat[-2]), steps, seconds, excluded)


def _plain(training: Training) -> dict[str, Any]:
    return {item.name: getattr(training, item.name) for item in fields(training)}


__all__ = ["About", "Entry", "Journal", "JournalError", "Part"]
