"""Models that are kept: versions of each, where they come from, and which of them is in use.

A version is a folder of three files: the design as a plan, the numbers as safetensors, and what is
known about it as JSON. It is made beside and put in its place by one renaming, so a kill leaves all
of a version or nothing. Nothing that is read is executed: designs come through the strict reader of
plans, and what does not fit is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from umbel.catalog.writers import sync_folder
from umbel.dataclass import dataclass
from umbel.learning.designs import design_of, design_text
from umbel.learning.files import replace_file, write_file
from umbel.learning.lineage import Lineage
from umbel.learning.model import Model
from umbel.learning.rounds import HISTORY
from umbel.learning.state import StateError, from_bytes, to_bytes
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError, RunError, UnknownNameError

if TYPE_CHECKING:
    from umbel.api.session import Session

STAGES = ("staging", "production")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FORMAT = 1


class RegistryError(RunError):
    """A kept model that cannot be read: it is broken, or was changed."""


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        name: the model's.
        number: counts from 1; a number that was deleted does not come again while later ones live.
        created: when, in UTC.
        umbel: the version of umbel that wrote it.
        words: the model in a line.
        rows: it was trained on.
        metrics: its measures, by name.
        lineage: where it comes from; None if that is not known.
        notes: of whoever saved it.
        stages: what it is used for now.
    """

    name: str
    number: int
    created: str
    umbel: str
    words: str
    rows: int
    metrics: Mapping[str, float]
    lineage: Lineage | None
    notes: str = ""
    stages: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        stages = f" ({', '.join(self.stages)})" if self.stages else ""
        return f"{self.name} {self.number}{stages}: {self.words}"


class Registry:
    """Models that are kept in a folder.

    >>> import tempfile, umbel as ub
    >>> df = ub.connect().from_dict({"x": [0.0, 1.0, 2.0], "y": [1.0, 3.0, 5.0]})
    >>> model = ub.learn.fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
    >>> registry = Registry(tempfile.mkdtemp())
    >>> registry.save(model, "line", metrics=model.evaluate(df)).number
    1
    >>> registry.promote("line", 1, "production")
    >>> registry.load("line", df.session, "production").state.round(6).tolist()
    [1.0, 2.0]
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, session: Session | None = None
    ) -> None:
        """Open a registry.

        Args:
            folder: where models are kept; None for what the variable UMBEL_MODELS names, or else
                the user's own.
            session: what models run in when they are taken out; that of `session.models` does.
        """
        given = folder or os.environ.get("UMBEL_MODELS")
        base = os.environ.get("XDG_DATA_HOME")
        own = (Path(base) if base else Path.home() / ".local" / "share") / "umbel" / "models"
        self.folder = Path(given) if given else own
        self.session = session

    def save(
        self,
        model: Model,
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        notes: str = "",
    ) -> Version:
        """Keep a model as the next version of a name.

        Args:
            model: the model.
            name: small letters, digits, dots, hyphens and underscores.
            metrics: such as `model.evaluate(df)` gives.
            notes: of yours, for its card.
        """
        if not _NAME.fullmatch(name):
            raise PlanError(
                f"{name!r} cannot be a model's name",
                hint="take up to 64 small letters, digits, dots, hyphens and underscores",
            )
        from umbel import __version__

        state, design = _state_bytes(model), design_text(model.design).encode()
        about = {
            "format": _FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "umbel": __version__,
            "words": model.design.words,
            "rows": model.trained_on,
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "lineage": None if model.lineage is None else asdict(model.lineage),
            "notes": notes,
            "digests": {"state": _digest(state), "design": _digest(design)},
            "rounds": model.rounds.to_pylist(),
        }
        files = {"state.safetensors": state, "design.json": design}
        files["about.json"] = json.dumps(about, indent=1).encode()
        number = self._put(name, files)
        return self.version(name, number)

    def _put(self, name: str, files: Mapping[str, bytes]) -> int:
        """Make a version of files, and put it in its place."""
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=home, prefix=".new-"))
        try:
            for file, data in files.items():
                write_file(made / file, data)
            sync_folder(made)
            while True:
                number = max(self._numbers(name), default=0) + 1
                try:
                    made.rename(home / str(number))
                except OSError:
                    if not (home / str(number)).exists():
                        raise
                else:  # nobody else had the same number
                    break
            sync_folder(home)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return number

    def names(self) -> list[str]:
        """The models that are kept."""
        if not self.folder.is_dir():
            return []
        return sorted(f.name for f in self.folder.iterdir() if self._numbers(f.name))

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, the oldest first.

        Raises:
            UnknownNameError: there is no such model.
        """
        numbers = self._numbers(name)
        if not numbers:
            raise UnknownNameError("model", name, self.names(), where=f"{self.folder}")
        return [self._read(name, number)[0] for number in numbers]

    def version(self, name: str, which: int | str | None = None) -> Version:
        """One version.

        Args:
            name: the model's.
            which: its number, or what it is used for: "staging" or "production"; None for the last.

        Raises:
            UnknownNameError: there is no such model or version.
            RegistryError: it is broken.
        """
        return self._read(name, self._number(name, which))[0]

    def load(
        self, name: str, session: Session | None = None, which: int | str | None = None
    ) -> Model:
        """Take a model out.

        Args:
            name: the model's.
            session: what it will run in; None for the registry's own.
            which: the version's number, or what it is used for; None for the last.
        """
        session = session or self.session
        if session is None:
            raise PlanError(
                f"{name!r} needs a session to run in", hint="session.models.load(…), or give one"
            )
        number = self._number(name, which)
        version, about = self._read(name, number)
        home = self.folder / name / str(number)
        try:
            state, text = (
                (home / "state.safetensors").read_bytes(),
                (home / "design.json").read_bytes(),
            )
            for kind, data in (("state", state), ("design", text)):
                if _digest(data) != about["digests"][kind]:
                    raise RegistryError(
                        f"the {kind} of {name} {number} was changed since it was kept"
                    )
            tensors, _ = from_bytes(state)
            design = design_of(text)
            layout = mathematics_of(design).state(design)
            flat = layout.join({n: tensors[f"state/{n}"] for n, _ in layout.parts})
            details = {
                n.removeprefix("details/"): t
                for n, t in tensors.items()
                if n.startswith("details/")
            }
            rounds = pa.Table.from_pylist(about["rounds"], schema=HISTORY)
        except (OSError, StateError, KeyError, ValueError, pa.ArrowException) as error:
            raise RegistryError(f"{name} {number} cannot be read: {error}") from error
        return Model(design, flat, session, rounds, details, version.lineage)

    def promote(self, name: str, which: int | str, stage: str) -> None:
        """Say that a version is in use from now on; whichever was is not any more.

        Args:
            name: the model's.
            which: the version.
            stage: "staging" or "production".
        """
        if stage not in STAGES:
            raise UnknownNameError("stage", stage, STAGES, where="a registry")
        number = self._number(name, which)
        stages = self._stages(name) | {stage: number}
        self._write_stages(name, stages)

    def delete(self, name: str, which: int | str) -> None:
        """Forget a version that is not in use.

        Raises:
            PlanError: it is in use.
        """
        number = self._number(name, which)
        used = [stage for stage, at in self._stages(name).items() if at == number]
        if used:
            raise PlanError(
                f"{name} {number} is in {' and '.join(used)}",
                hint=f"promote another version first: umbel models promote {name} NUMBER {used[0]}",
            )
        home = self.folder / name
        gone = home / f".gone-{number}-{os.getpid()}"
        (home / str(number)).rename(gone)
        sync_folder(home)
        shutil.rmtree(gone)

    def compare(self, name: str) -> pa.Table:
        """The versions of a model, with the measures that were kept with each."""
        found = self.versions(name)
        metrics = list(dict.fromkeys(metric for version in found for metric in version.metrics))
        return pa.Table.from_pylist(
            [
                {
                    "version": version.number,
                    "stages": ", ".join(version.stages),
                    "created": version.created,
                    "model": version.words,
                    "rows": version.rows,
                    **{metric: version.metrics.get(metric) for metric in metrics},
                }
                for version in found
            ]
        )

    def export(
        self, name: str, path: str | os.PathLike[str], which: int | str | None = None
    ) -> Path:
        """Write a version as one safetensors file, with its design and what is known about it.

        A file whose name ends in `.onnx` becomes ONNX, which other programs run; regressions and
        networks have that form.
        """
        number = self._number(name, which)
        self._read(name, number)
        if Path(path).suffix == ".onnx":
            from umbel.api.session import connect
            from umbel.learning.exporting.onnx import to_onnx

            replace_file(Path(path), to_onnx(self.load(name, connect(), number)))
            return Path(path)
        home = self.folder / name / str(number)
        tensors, _ = from_bytes((home / "state.safetensors").read_bytes())
        notes = {file: (home / f"{file}.json").read_text() for file in ("design", "about")}
        target = Path(path)
        replace_file(target, to_bytes(tensors, notes))
        return target

    def _number(self, name: str, which: int | str | None) -> int:
        numbers = self._numbers(name)
        if not numbers:
            raise UnknownNameError("model", name, self.names(), where=f"{self.folder}")
        if which is None:
            return numbers[-1]
        if isinstance(which, str) and not which.isdigit():
            stages = self._stages(name)
            if which not in stages:
                raise UnknownNameError("version", which, [*map(str, numbers), *stages], where=name)
            return stages[which]
        if int(which) not in numbers:
            raise UnknownNameError("version", str(which), list(map(str, numbers)), where=name)
        return int(which)

    def _numbers(self, name: str) -> list[int]:
        home = self.folder / name
        if not _NAME.fullmatch(name) or not home.is_dir():
            return []
        return sorted(int(f.name) for f in home.iterdir() if f.name.isdigit())

    def _read(self, name: str, number: int) -> tuple[Version, dict[str, Any]]:
        file = self.folder / name / str(number) / "about.json"
        try:
            about = json.loads(file.read_bytes())
            if about["format"] != _FORMAT:
                raise RegistryError(
                    f"{name} {number} has format {about['format']}, not {_FORMAT}",
                    hint="read it with the umbel that wrote it",
                )
            known = about["lineage"]
            lineage = None
            if known is not None:
                texts = {key: tuple(known[key]) for key in ("sources", "parts")}
                texts["versions"] = tuple(known.get("versions", ()))
                lineage = Lineage(**{**known, **texts})
            stages = tuple(s for s, at in self._stages(name).items() if at == number)
            keys = ("created", "umbel", "words", "rows", "metrics")
            chosen = {key: about[key] for key in keys}
            found = Version(
                name, number, **chosen, lineage=lineage, notes=about["notes"], stages=stages
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"{str(file)!r} cannot be read: {error}") from error
        return found, about

    def _stages(self, name: str) -> dict[str, int]:
        file = self.folder / name / "stages.json"
        try:
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RegistryError(f"{str(file)!r} cannot be read: {error}") from error
        numbers = set(self._numbers(name))
        return {stage: found[stage] for stage in STAGES if found.get(stage) in numbers}

    def _write_stages(self, name: str, stages: Mapping[str, int]) -> None:
        replace_file(self.folder / name / "stages.json", json.dumps(dict(stages)).encode())


def _state_bytes(model: Model) -> bytes:
    tensors = {f"state/{name}": tensor for name, tensor in model.tensors.items()}
    return to_bytes(tensors | {f"details/{n}": np.asarray(t) for n, t in model.details.items()})


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


__all__ = ["STAGES", "Registry", "RegistryError", "Version"]
