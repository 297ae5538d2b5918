"""TOML files of settings, checked to the last key: what is wrong is said with its line and key."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from umbel.catalog.address import Secret, is_secret
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, SourceError, UmbelError

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")


@dataclass(frozen=True)
class TomlFile:
    """A file of settings as it was read.

    Attributes:
        path: where it lies.
        text: what stands in it.
        data: the same, parsed.
    """

    path: Path
    text: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, hint: str = "") -> TomlFile:
        """Read a file.

        Args:
            path: where it lies.
            hint: what to do if it is not there.

        Raises:
            SourceError: it cannot be read, or is no TOML.
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
            data = tomllib.loads(text)
        except OSError as error:
            raise SourceError(
                f"{file}: the configuration cannot be read: {error.strerror}",
                hint=hint or "name a file that is there",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"{file}: not TOML: {error}", hint="see https://toml.io") from None
        return cls(file, text, data)

    def validated(self, model: type[Model], *, hint: str = "") -> Model:
        """Check what stands in the file.

        Args:
            model: says which keys there are and what they hold; it forbids others.
            hint: what a value that is wrong should look like.

        Raises:
            PlanError: a key that does not exist, is missing or has a wrong value; names the file,
                the line and the key, and what exists.
        """
        from pydantic import ValidationError

        try:
            return model.model_validate(self.data)
        except ValidationError as errors:
            first = errors.errors(include_input=False, include_url=False)[0]
        keys = tuple(str(part) for part in first["loc"] if not _is_branch(part))
        key, place = ".".join(keys), self.place(keys)
        match first["type"]:
            case "extra_forbidden":
                known = _keys(model, keys[:-1])
                close = difflib.get_close_matches(keys[-1], known, n=1)
                meant = f"did you mean {close[0]}? " if close else ""
                raise PlanError(
                    f"{place}: unknown key {key}", hint=f"{meant}There are: {', '.join(known)}"
                )
            case "missing":
                example = _example(model, keys)
                raise PlanError(f"{place}: key {key} is missing", hint=f"write {example}")
        wrong = first["msg"].removeprefix("Value error, ")
        raise PlanError(f"{place}: key {key}: {wrong[:1].lower()}{wrong[1:]}", hint=hint)

    def place(self, keys: Sequence[str]) -> str:
        """Name the file and, if it can be told, the line in which a key stands."""
        line = _line(self.text, tuple(keys))
        return f"{self.path}, line {line}" if line else str(self.path)

    def at(self, keys: Sequence[str], error: UmbelError) -> UmbelError:
        """Put a key's place before an error's message."""
        kind = type(error) if type(error).__init__ is UmbelError.__init__ else PlanError
        return kind(f"{self.place(keys)}: {error.message}", hint=error.hint)

    def check_secrets(self, keys: Sequence[str], options: dict[str, Any]) -> None:
        """Raise `PlanError` for a secret that stands among options as it is."""
        for option, value in options.items():
            if is_secret(option):
                try:
                    Secret.of(option, value)
                except PlanError as error:
                    raise self.at((*keys, option), error) from None

    def located(self, path: str) -> Path:
        """Take a path relative to the folder of the file that says it."""
        return self.path.absolute().parent / Path(path).expanduser()


def _is_branch(part: Any) -> bool:
    """Whether a part of pydantic's place is the member of a union that it tried, and no key."""
    return part in {"str", "bool", "int", "float"}


def _keys(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """The keys that there are in a section."""
    found = _section(model, keys)
    return [] if found is None else list(_fields(found))


def _section(model: type[BaseModel], keys: Sequence[str]) -> type[BaseModel] | None:
    """The model of a section; None if it takes any keys."""
    found: type[BaseModel] | None = model
    own_name = False  # the next key is a name of the user's own, as in [catalog.NAME]
    for key in keys:
        if own_name:
            own_name = False
            continue
        items = {} if found is None else _fields(found)
        if key not in items:
            return None
        annotation = items[key].annotation
        found = _inner(annotation)
        own_name = getattr(annotation, "__origin__", None) is dict
    return None if own_name else found


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {item.alias or name: item for name, item in model.model_fields.items()}


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside of a type: of `Model`, `dict[str, Model]`, `Model | None`."""
    if hasattr(annotation, "model_fields"):
        model: type[BaseModel] = annotation
        return model
    inside = (_inner(part) for part in getattr(annotation, "__args__", ()))
    return next((part for part in inside if part is not None), None)


def _example(model: type[BaseModel], keys: Sequence[str]) -> str:
    """What to write for a key that is missing: its own example, if it has one."""
    section = _section(model, keys[:-1])
    item = None if section is None else _fields(section).get(keys[-1])
    if item is not None and item.examples:
        return f"{keys[-1]} = {item.examples[0]}"
    if item is not None and _inner(item.annotation) is not None:
        return f"[{'.'.join(keys)}]"
    return f"{keys[-1]} = …"


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Find the line of a key: under the longest header that leads to it. 0 if there is none."""
    best = 0
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$", line)
        if header:
            section = tuple(part.strip().strip("\"'") for part in header.group(1).split("."))
            if section[: len(keys)] == keys:
                return number
            if section == keys[: len(section)]:
                best = number
            continue
        rest = keys[len(section) :]
        if section != keys[: len(section)] or not rest:
            continue
        name = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line)
        if name and name.group(1) == rest[0]:
            return number
    return best


__all__ = ["TomlFile"]
