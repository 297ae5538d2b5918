"""A dataclass of ours is to everybody what one of the standard library is."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import FrozenInstanceError, field
from functools import cached_property
from typing import Any, ClassVar

import pytest

from umbel.dataclass import dataclass

OPTIONS = [
    {},
    {"frozen": True},
    {"eq": False},
    {"frozen": True, "eq": False},
    {"repr": False},
    {"slots": True},
    {"frozen": True, "slots": True},
    {"kw_only": True, "frozen": True},
]


def point(decorator: Any, options: dict[str, Any]) -> Any:
    """Make one class by one of the two decorators."""

    class Point:
        """A class with every kind of field."""

        origin: ClassVar[int] = 0
        x: int
        y: int = 0
        hidden: int = field(default=1, repr=False, compare=False)
        many: list[int] = field(default_factory=list, hash=False)
        by_name: str = field(default="n", kw_only=True)
        later: int = field(init=False, default=5)
        made: list[int] = field(init=False, default_factory=lambda: [7], hash=False)

    Point.__qualname__ = "Point"
    return decorator(**options)(Point)


def outcome(action: Any) -> Any:
    """Give what an action gives, or its error."""
    try:
        return action()
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("decorator", [dataclass, dataclasses.dataclass])
def test_what_a_class_writes_itself_stays(decorator: Any) -> None:
    @decorator(frozen=True)
    class Folder:
        path: str

        def __init__(self, *names: str) -> None:
            object.__setattr__(self, "path", "/".join(names))

    assert Folder("a", "b").path == "a/b"
    assert Folder("a", "b") == Folder("a/b")
    assert str(inspect.signature(Folder)) == "(*names: 'str') -> 'None'"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_as_the_standard_library(options: dict[str, Any]):
    x, y, hidden = 1, 0, 2
    told = []
    for decorator in (dataclasses.dataclass, dataclass):
        cls = point(decorator, options)
        one, same = cls(x=x, y=y, hidden=hidden), cls(x=x, y=y)
        other = cls(x=x + 1, y=y, by_name="m")
        told.append(
            [
                str(inspect.signature(cls)),
                cls.__match_args__,
                [(item.name, item.default, item.init) for item in dataclasses.fields(cls)],
                outcome(lambda one=one: repr(one).split(" at 0x")[0].split(".")[-1]),
                one == same,
                one == other,
                one != other,
                outcome(lambda one=one, same=same: hash(one) == hash(same)),
                dataclasses.asdict(one),
                dataclasses.astuple(dataclasses.replace(one, y=3)),
                outcome(lambda cls=cls: cls(1, 2, 3, [4]).many),
                outcome(cls),
                outcome(lambda cls=cls: cls(1, nothing=2)),
                outcome(lambda cls=cls: cls(*range(9))),
                outcome(lambda one=one: setattr(one, "x", 9)),
                # Python 3.11 answers for both options with an error of its own.
                len(options) > 1 or outcome(lambda one=one: setattr(one, "new", 9)),
                outcome(lambda same=same: delattr(same, "y")),
                outcome(lambda other=other: copy.copy(other).by_name),
                outcome(lambda other=other: copy.deepcopy(other).made),
                cls.__doc__,
            ]
        )
    assert told[0] == told[1]


def test_what_is_mutable_is_refused_as_a_default():
    for decorator in (dataclasses.dataclass, dataclass):
        with pytest.raises(ValueError, match="mutable default"):

            @decorator
            class _Wrong:
                values: list[int] = []  # noqa: RUF012


@dataclass(frozen=True, slots=True)
class Sent:
    """A class that can be found by its name, as pickle needs."""

    name: str
    size: int = 0


def test_goes_through_pickle():
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(Sent("a", 2), protocol)) == Sent("a", 2)


@dataclass(frozen=True)
class Base(ABC):
    """One that others extend, which computes something when it is made."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is {self.size}: give 0 or more")

    @abstractmethod
    def name(self) -> str:
        """Tell it."""

    @cached_property
    def double(self) -> int:
        return 2 * self.size


@dataclass(frozen=True)
class Extended(Base):
    """It."""

    unit: str = "m"

    def name(self) -> str:
        return f"{self.size} {self.unit}"

    def __repr__(self) -> str:
        return self.name()


class Undecorated(Extended):
    """Adds nothing."""


def test_classes_extend_one_another():
    assert Extended(2).double == 4
    assert repr(Extended(2, "km")) == "2 km"
    assert Extended(2) != Undecorated(2)
    assert Undecorated(3) == Undecorated(3)
    assert {Extended(2): 1}[Extended(2, "m")] == 1
    with pytest.raises(ValueError, match="size is -1"):
        Undecorated(-1)
    with pytest.raises(FrozenInstanceError, match="'size'"):
        Extended(2).size = 3
    with pytest.raises(TypeError, match="abstract"):
        Base(1)


def test_the_first_instance_may_be_of_a_class_that_extends_it():
    @dataclass
    class First:
        a: int

    class Second(First):
        def __init__(self) -> None:
            super().__init__(4)

    assert Second().a == 4
    assert str(inspect.signature(Second)) == "() -> 'None'"
    assert str(inspect.signature(First)) == "(a: 'int') -> None"


def test_nan_equals_itself_as_in_a_tuple():
    @dataclass(frozen=True)
    class Held:
        value: float

    nan = float("nan")
    assert Held(nan) == Held(nan)
    assert Held(nan) != Held(float("nan"))


def test_a_record_that_holds_itself_can_be_shown():
    @dataclass
    class Node:
        next: Any = None

    node = Node()
    node.next = node
    assert repr(node).endswith("Node(next=...)")


def test_methods_are_not_compiled_when_a_module_is_imported():
    """Counts what is compiled while the session's modules are imported: a tenth of all classes."""
    code = """
import builtins, dataclasses, sys
compiled = []
standard = builtins.exec
def counted(*given):
    if sys._getframe(1).f_globals.get("__name__") in ("dataclasses", "umbel.dataclass"):
        compiled.append(1)
    return standard(*given)
builtins.exec = counted
import umbel as ub
ub.connect
ours = [m for name, m in sys.modules.items() if name.startswith("umbel.")]
classes = {c for m in ours for c in vars(m).values() if dataclasses.is_dataclass(c)}
print(len(compiled), len(classes))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    compiled, classes = map(int, done.stdout.split())
    assert classes > 100
    assert compiled < classes / 5
