"""Python processes without Python's start: forked off one that has imported what most of them need.

`run(["-m", "umbel", "tables"])` does what `subprocess.run([sys.executable, "-m", "umbel",
"tables"])` does, in a fifth of the time: the process has its own directory, environment, files,
signals and end, only its modules were imported before. What a test of start-up, of `PYTHONPATH` or
of a terminal needs is `subprocess`.

The process of the tests starts one server, which forks for every request that comes over a socket,
and ends with the process that started it. No engine is imported there: the command shows which
are, and some, as Polars, have threads from then on, which do not come along.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

_MODULES = (
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rich.console",
    "rich.table",
    "rich.traceback",
    "sqlglot.dialects.duckdb",
    "umbel.api.catalog",
    "umbel.api.config",
    "umbel.api.session",
    "umbel.api.sql",
    "umbel.catalog.infer",
    "umbel.catalog.versions",
    "umbel.cli.app",
    "umbel.cli.explain",
    "umbel.cli.main",
    "umbel.cli.platforms",
    "umbel.cli.run",
    "umbel.cli.runs",
    "umbel.cli.sql",
    "umbel.cli.tables",
    "umbel.executor",
    "umbel.executor.measurements",
    "umbel.plan.codec",
    "umbel.plan.functions",
    "umbel.platforms.datafusion",
    "umbel.platforms.duckdb",
    "umbel.platforms.polars",
    "umbel.platforms.postgres",
    "umbel.platforms.python.platform",
    "umbel.platforms.python.run",
    "umbel.platforms.spark",
    "umbel.platforms.sqlite",
    "umbel.sql.compiler",
    "umbel.sql.reading",
)


# --- what tests call --------------------------------------------------------------------------


def run(
    arguments: Sequence[object],
    *,
    cwd: Path | str,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, as `subprocess.run` with `capture_output` and `text` would."""
    from umbel.failpoints import VARIABLE

    words = list(map(str, arguments))
    environment = dict(os.environ if env is None else env)
    changed = {k for k, v in environment.items() if k.startswith("PYTHON") and v != os.getenv(k)}
    assert not changed, f"{sorted(changed)} are read when Python starts: use subprocess"
    assert VARIABLE not in environment, "it is read when umbel is imported"
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        Path(os.devnull).open() as nothing,
    ):
        files = [nothing.fileno(), out.fileno(), err.fileno()]
        code = _ask(
            str(socket_path()), words, str(Path(cwd).absolute()), environment, files, timeout
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def command(folder: Path) -> None:
    """Put a program `umbel` into a folder that does what the real one does."""
    program = folder / "umbel"
    asked = f'"{sys.executable}" -I -S "{Path(__file__)}" ask "{socket_path()}" -m umbel "$@"'
    program.write_text(f"#!/bin/sh\nexec {asked}\n", encoding="utf-8")
    program.chmod(0o755)


def socket_path() -> Path:
    """Where the server listens; it is started by whoever asks first."""
    return Path(_server()[1])


@cache
def _server() -> tuple[subprocess.Popen[bytes], str]:
    folder = tempfile.mkdtemp(prefix="umbel-forks-")
    path = f"{folder}/asked"
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", "serve", path],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"ready\n"
    return started, path


def stop() -> None:
    """End the server, if this process has one."""
    if _server.cache_info().currsize == 0:
        return
    started, path = _server()
    _server.cache_clear()
    started.communicate(timeout=60)
    Path(path).parent.rmdir()


def _ask(
    path: str,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    files: list[int],
    timeout: float | None,
) -> int:
    """Have a process forked that has these files as its own; give its exit code."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(timeout)
        asked.connect(path)
        request = json.dumps({"arguments": arguments, "cwd": cwd, "environment": environment})
        socket.send_fds(asked, [request.encode() + b"\n"], files)
        with asked.makefile() as told:
            pid = int(told.readline())
            try:
                return int(told.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise


# --- the server -------------------------------------------------------------------------------


def _serve(path: str) -> NoReturn:
    """Fork for each request, until nobody holds this process's standard input any more."""
    for module in _MODULES:
        __import__(module)
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
        while 0 not in (ready := select.select([0, listener.fileno()], [], [])[0]):
            assert ready
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _watch(connection)
    Path(path).unlink()
    os._exit(0)  # what is frozen would be told of as leaked


def _watch(connection: socket.socket) -> NoReturn:
    """Fork the process that was asked for; tell its number and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, files, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while not text.endswith(b"\n"):
        text += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _end(_become, **json.loads(text))
    for file in files:
        os.close(file)
    connection.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Be the Python that was started with arguments; what is raised ends this process."""
    import runpy
    from types import ModuleType

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    main = sys.modules["__main__"] = ModuleType("__main__")
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            sys.path[0] = cwd
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *rest]:
            sys.argv = [script, *rest]
            sys.path[0] = str(Path(script).resolve().parent)
            main.__dict__["__file__"] = str(Path(script).absolute())
            exec(compile(Path(script).read_bytes(), script, "exec"), main.__dict__)


def _end(become: Callable[..., None], **request: Any) -> NoReturn:
    """Run to the end and end as Python does, but for taking every module apart."""
    code = 0
    try:
        become(**request)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - it is shown, as Python does at its end
        code = 1
        sys.excepthook(*sys.exc_info())
    end: Any = threading
    end._shutdown()  # waits for threads, before what is left to the end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> int:
    """Be the server, or one who asks it for a process with this one's files."""
    match sys.argv[1:]:
        case ["serve", path]:
            _serve(path)
        case ["ask", path, *arguments]:
            return _ask(path, arguments, str(Path.cwd()), dict(os.environ), [0, 1, 2], None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
