"""Bytes that would run code if anybody unpickled them: refused wherever they come in, and not run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from umbel.federation.errors import FederationError
from umbel.federation.manifest import Manifest
from umbel.federation.stream import read_rows
from umbel.federation.tasks import Task
from umbel.federation.wire import segments
from umbel.federation.wire.messages import SegmentEntry
from umbel.plan.codec import plan_from_json
from umbel.plan.errors import UmbelError

SCHEMA = pa.schema([("id", pa.int64())])


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def entry(content: bytes) -> SegmentEntry:
    return SegmentEntry(digest=segments.digest(content), bytes=len(content), rows=1)


def as_segment(content: bytes) -> Any:
    return segments.unseal(pa.py_buffer(content), entry(content), SCHEMA, known=False)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there if the payload was run."""
    path = tmp_path / "run"
    pickle.loads(pickle.dumps(Payload(path)))
    assert path.is_dir()
    path.rmdir()
    return path


@pytest.mark.parametrize(
    "read",
    [
        lambda content: plan_from_json(content),
        lambda content: Task.from_json(content),
        lambda content: Manifest.from_json(content),
        as_segment,
        lambda content: read_rows([content], SCHEMA, lambda rows: None),
    ],
    ids=["plan", "task", "manifest", "segment", "rows"],
)
def test_a_pickle_is_no_message(mark: Path, read: Callable[[bytes], Any]) -> None:
    with pytest.raises(UmbelError):
        read(pickle.dumps(Payload(mark)))
    assert not mark.exists()


def test_an_arrow_type_that_holds_a_pickle_is_refused(mark: Path) -> None:
    """Arrow before 14.0.1 unpickled such a type when it read a file (CVE-2023-47248)."""
    holds = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Payload(mark)),
    }
    field = pa.field("id", pa.int64(), metadata=holds)
    sink = pa.BufferOutputStream()
    table = pa.table([pa.array([1])], schema=pa.schema([field]))
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    try:
        found = as_segment(content)
    except (FederationError, UserWarning, RuntimeWarning):
        found = None
    assert not mark.exists()
    assert found is None or found.schema.types == SCHEMA.types
