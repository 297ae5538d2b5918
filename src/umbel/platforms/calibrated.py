"""Cost profiles that were measured on this machine: their file, and when they hold.

`umbel calibrate` writes the file; every session reads it. A profile holds on the machine and for
the version of the engine that it was measured with. What does not hold, or cannot be read, is left
aside with a warning, and the figures that ship with the engines are used: costs decide how fast a
plan runs, never what it gives.
"""

from __future__ import annotations

import json
import math
import os
import platform as interpreter
import tempfile
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.dataclass import dataclass
from umbel.platforms.costs import LINEAR_SECTIONS, CostProfile, Linear

if TYPE_CHECKING:
    from umbel.platforms.base import Platform

#: The variable that names the file; empty for none.
COSTS = "UMBEL_COSTS"
#: The version of the file's form.
FORM = 1

_HEAD = """\
# What the engines cost on this machine, in seconds; written by `umbel calibrate`.
# Sessions read it. Delete it, or run the command again, when the machine changes.
"""


class CalibrationWarning(UserWarning):
    """Measured costs are not used; says why, and what to do."""


@dataclass(frozen=True)
class Machine:
    """What a calibration holds for.

    Attributes:
        system: operating system and architecture.
        cpu: the processor's name.
        cores: processors that this process may use.
    """

    system: str
    cpu: str
    cores: int

    def __str__(self) -> str:
        return f"{self.cores} × {self.cpu}, {self.system}"


@dataclass(frozen=True)
class Calibrated:
    """The profile of one platform, and what it was measured with.

    Attributes:
        engine, version: the engine.
        profile: the figures.
        error: the median relative error of what it predicts for plans that it was not fitted to,
            and the 90th percentile.
    """

    engine: str
    version: str
    profile: CostProfile
    error: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Calibration:
    """What was measured on one machine.

    Attributes:
        machine: the machine; None for no calibration.
        made: the day, as ISO 8601.
        platforms: the profiles, by platform.
    """

    machine: Machine | None = None
    made: str = ""
    platforms: Mapping[str, Calibrated] = field(default_factory=dict)

    def profile(self, platform: Platform) -> CostProfile | None:
        """The measured profile of a platform; None if there is none that holds for it.

        A platform without one takes that of the platform which is named as its engine: a DuckDB
        file runs as DuckDB does.
        """
        found = self.platforms.get(platform.name)
        if found is None or found.engine != platform.engine:
            found = self.platforms.get(platform.engine)
        if found is None or found.engine != platform.engine:
            return None
        if platform.version and found.version != platform.version:
            _warn(
                f"the costs of {found.engine} were measured with version {found.version}, but "
                f"{platform.version} is here: those that come with umbel are used"
            )
            return None
        return found.profile.over(platform.costs)


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return Machine(f"{interpreter.system()} {interpreter.machine()}", _cpu(), cores)


@cache
def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return " ".join(value.split())
    except OSError:  # not Linux
        return interpreter.processor() or "unknown"
    return interpreter.processor() or "unknown"


def calibration_path() -> Path | None:
    """Where the file is read and written: `$UMBEL_COSTS`, or below the user's configuration."""
    named = os.environ.get(COSTS)
    if named is not None:
        return Path(named) if named else None
    base = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "umbel" / "costs.toml"
    except RuntimeError:  # the user has no home
        return None


def read_calibration() -> Calibration:
    """Read what was measured on this machine; nothing, with a warning, if it does not hold."""
    path = calibration_path()
    if path is None:
        return Calibration()
    if not os.path.exists(path):  # noqa: PTH110 (quick: every session asks)
        if os.environ.get(COSTS):
            _warn(f"{COSTS} names {path}, which is not there: the shipped costs are used")
        return Calibration()
    try:
        found = load_calibration(path)
    except (OSError, ValueError) as error:
        _warn(f"{path} cannot be used, and the shipped costs are: {error}")
        return Calibration()
    if found.machine != this_machine():
        _warn(f"{path} was measured on another machine ({found.machine}): it is not used")
        return Calibration()
    return found


def _warn(text: str) -> None:
    warnings.warn(f"{text}; `umbel calibrate` measures anew", CalibrationWarning, stacklevel=3)


def load_calibration(path: Path) -> Calibration:
    """Read a file of measured costs, and check it to the last figure.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; says where it is wrong.
    """
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    if data.get("form") != FORM:
        raise ValueError(f"its form is {data.get('form')!r}, and this umbel knows form {FORM}")
    machine, platforms = _table(data, "machine"), _table(data, "platforms")
    return Calibration(
        Machine(
            system=str(machine.get("system")),
            cpu=str(machine.get("cpu")),
            cores=machine.get("cores", 0),
        ),
        str(data.get("made", "")),
        {name: _calibrated(f"platforms.{name}", _table(platforms, name)) for name in platforms},
    )


def _calibrated(where: str, data: Mapping[str, Any]) -> Calibrated:
    for key in ("engine", "version"):
        if not isinstance(data.get(key), str):
            raise ValueError(f"{where}.{key} is missing, or no text")
    costs = _table(data, "costs")
    for section, value in costs.items():
        place = f"{where}.costs.{section}"
        if section in ("start", "stage", "expression"):
            _check(place, value)
        elif section == "functions":
            for function, seconds in _table(costs, section).items():
                _check(f"{place}.{function}", seconds)
        elif section in LINEAR_SECTIONS:
            for entry in _table(costs, section):
                for term, seconds in _table(_table(costs, section), entry).items():
                    if term not in ("fixed", "per_row", "per_byte"):
                        raise ValueError(f"{place}.{entry} has no term {term!r}")
                    _check(f"{place}.{entry}.{term}", seconds)
        else:
            raise ValueError(f"{place} is no section of costs")
    profile = CostProfile.of({"start": 0.0, "stage": 0.0, "expression": 0.0, **costs})
    errors = [float(data.get(key, 0.0)) for key in ("error_median", "error_p90")]
    return Calibrated(data["engine"], data["version"], profile, (errors[0], errors[1]))


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"table {key!r} is missing")
    return value


def _check(place: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"{place} is {value!r}, but costs are seconds, and not below 0")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the file, whole or not at all."""
    text = "\n".join(_lines(calibration)) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(calibration: Calibration) -> list[str]:
    machine = calibration.machine or this_machine()
    lines = [
        f'{_HEAD}form = {FORM}\nmade = "{calibration.made}"\n\n[machine]',
        f"system = {json.dumps(machine.system)}",
        f"cpu = {json.dumps(machine.cpu)}",
        f"cores = {machine.cores}",
    ]
    for name, measured in calibration.platforms.items():
        head = f"platforms.{json.dumps(name)}"
        lines += [
            f"\n[{head}]",
            f"engine = {json.dumps(measured.engine)}",
            f"version = {json.dumps(measured.version)}",
            f"error_median = {measured.error[0]:.3g}",
            f"error_p90 = {measured.error[1]:.3g}",
        ]
        profile = measured.profile
        lines.append(f"\n[{head}.costs]")
        lines += [f"{n} = {getattr(profile, n):.4g}" for n in ("start", "stage", "expression")]
        for section in (*LINEAR_SECTIONS, "functions"):
            entries = getattr(profile, section)
            if entries:
                lines.append(f"\n[{head}.costs.{section}]")
            for entry, value in sorted(entries.items()):
                lines.append(f"{json.dumps(entry)} = {_toml(value)}")
    return lines


def _toml(value: Linear | float) -> str:
    if not isinstance(value, Linear):
        return f"{value:.4g}"
    terms = ((term, getattr(value, term)) for term in ("fixed", "per_row", "per_byte"))
    shown = ", ".join(f"{term} = {seconds:.4g}" for term, seconds in terms if seconds)
    return f"{{ {shown} }}" if shown else "{}"


__all__ = [
    "COSTS",
    "Calibrated",
    "Calibration",
    "CalibrationWarning",
    "Machine",
    "calibration_path",
    "load_calibration",
    "read_calibration",
    "this_machine",
    "write_calibration",
]
