"""Disks that are really full: a small file system of its own for the coordinator and for a site."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from tests.federation.harness import Federation, numbers, settles, task
from umbel.federation.errors import DiskFullError, SiteError
from umbel.federation.wire import board, segments
from umbel.federation.wire.spool import Spool

MIB = 1 << 20


@contextmanager
def disk(path: Path, size: int) -> Iterator[Path]:
    """Lend a file system of some bytes."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system, and not in every container")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(at: Path, but: int = 0) -> Path:
    """Take all the space that is left but some bytes; who removes the file gives it back."""
    ballast = at / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(64 << 10)) == 64 << 10:
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - but))
    return ballast


def test_work_goes_on_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither side loses or invents a row for want of space, and each says that it has none."""
    monkeypatch.setattr(board, "BACKOFF", (0.01,))
    with disk(tmp_path / "c", 16 * MIB) as here, disk(tmp_path / "s", 4 * MIB) as there:
        (here / "site-a").symlink_to(there)
        wire = Federation(here).open()
        try:
            wire.join("a")
            wire.agent("a")
            first = task("r-disks", 0, 1_000)
            assert wire.run(first).equals(numbers(first))

            # The site: not even a folder can be made, or no segment is kept.
            for room in (0, 64 << 10):
                ballast = fill(there, room)
                with pytest.raises(SiteError, match="site 'a': the site's disk is full"):
                    wire.run(task("r-disks", 1 + room, 300_000))
                ballast.unlink()
            settles(lambda: not list((there / "spool").iterdir()), 30)
            after = task("r-disks", 2, 50_000)
            assert wire.run(after).equals(numbers(after))

            # The coordinator: of a large result it has no room for the segments; the site keeps
            # them, and goes on when there is some.
            store = wire.store.database
            large = task("r-disks", 3, 150_000)
            ballast = fill(here, MIB)
            running = wire.begin(large)
            settles(lambda: "task.waits: the coordinator's disk is full" in caplog.text, 30)
            assert wire.store.tasks.segments(large.id) == []
            ballast.unlink()
            assert running.result().equals(numbers(large))

            # And of what people ask it to remember it says so.
            ballast = fill(here)
            with (
                pytest.raises(DiskFullError, match="the coordinator's disk is full"),
                store.write() as connection,
            ):
                connection.exec_driver_sql("create table t as select zeroblob(5000000) as b")
            ballast.unlink()
            last = task("r-disks", 4, 10)
            assert wire.run(last).equals(numbers(last))
        finally:
            wire.close()


def test_the_files_of_a_task_that_found_no_room_are_removed(tmp_path: Path) -> None:
    """What a site had begun to keep does not stay, nor count against its quota."""
    with disk(tmp_path / "s", MIB) as there:
        spool = Spool(there / "spool", 1 << 30)
        draft = spool.begin()
        rows = pa.table({"x": pa.array(range(300_000), pa.int64())})
        parts = list(segments.seal(rows, size=MIB // 4))
        with pytest.raises(OSError, match="No space left"):
            list(map(draft.add, parts))
        draft.remove()
        assert not list((there / "spool").iterdir())
        assert spool._used == 0
