"""Signed code at a site: whose runs, what it can do there, and what leaves of what it makes.

The code here does what a hostile author would. Its process is one that a site begins; nothing in it
is replaced.
"""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.cli.main import run_command
from umbel.executor import Cancellation
from umbel.federation import Site, load_code, sign_code
from umbel.federation.audit import AuditLog
from umbel.federation.errors import FederationError, LimitError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import FederatedSession
from umbel.federation.policy.reading import read_policy
from umbel.federation.policy.signing import new_owner
from umbel.federation.sandbox import isolation
from umbel.federation.sandbox.functions import SignedFunction
from umbel.federation.sandbox.rules import CodeRules
from umbel.federation.sandbox.running import run_code
from umbel.federation.tasks import Requester, Task
from umbel.plan import operators as ops
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlacementError, PlanError
from umbel.plan.function_ref import PythonFunction, SignedCode
from umbel.plan.sources import RelationSource
from umbel.platforms.registry import Registry

pytestmark = pytest.mark.skipif(bool(isolation.missing()), reason=isolation.missing())

POLICY = """
version = 1
site = "{name}"
code = "signed"

[signers]
ann = "{key}"

[sandbox]
seconds = 60

[tables.visits]
individual = "id"

[tables.visits.allow.costs]
form = "rows"
columns = ["ward", "cost"]
users = ["*"]

[tables.people]
individual = "id"

[tables.people.allow.statistics]
form = "aggregates"
individuals = 2
columns = ["*"]
users = ["*"]
"""
INTEGERS = pa.schema([("a", pa.int64())])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("keys")
    return folder / "ann.key", new_owner(folder / "ann.key")


def a_site(name: str, start: int, key: str, folder: Path) -> Site:
    site = Site(name, ub.connect())
    numbers = [start, start + 1, start + 2]
    rows: dict[str, list[Any]] = {
        "id": numbers,
        "ward": ["a", "b", "a"],
        "cost": [10 * n for n in numbers],
    }
    site.publish("visits", site.session.from_dict(rows))
    site.publish("people", site.session.from_dict(rows))
    file = folder / f"{name}.toml"
    file.write_text(POLICY.format(name=name, key=key))
    site.under(read_policy(file))
    return site


@pytest.fixture(scope="module")
def sites(keys: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    folder = tmp_path_factory.mktemp("sites")
    return [a_site("north", 1, keys[1], folder), a_site("south", 4, keys[1], folder)]


@pytest.fixture(scope="module")
def session(sites: list[Site]) -> FederatedSession:
    return ub.federation.local(sites, user="ann")


FACTOR = 3


def tripled(row: Any) -> tuple[str, int]:
    """Not to be written as an expression: it counts letters one by one."""
    total = 0
    for letter in row.ward:
        total += ord(letter)
    return row.ward, row.cost * FACTOR + total


def from_text(text: str, keys: tuple[Path, str], folder: Path, **more: Any) -> SignedFunction:
    file = folder / "code.py"
    file.write_text(text)
    return sign_code(file, keys[0], entry="f", **more)


def alone(function: SignedFunction, out: pa.Schema = INTEGERS) -> ops.Operator:
    """A plan of one function over rows that come in."""
    rows = ops.Rows(input=ops.Placeholder(label="rows", columns=INTEGERS))
    made = ops.Map(input=rows, function=PythonFunction.of(function))
    return ops.ToFrame(input=made, columns=out)


# --- what it is for -------------------------------------------------------------------------------


def test_functions_run_where_the_data_lies(
    session: FederatedSession, keys: tuple[Path, str]
) -> None:
    function = sign_code(tripled, keys[0])
    frame = (
        session.table("visits")
        .select("ward", "cost")
        .filter(col("cost") > 10)
        .rows()
        .filter(sign_code(keeps, keys[0]))
        .map(function)
        .to_frame({"ward": str, "points": "int64"})
    )
    explained = str(frame.explain())
    for site in ("north", "south"):
        stage = explained.split(f"at site {site}")[1].split("stage", maxsplit=1)[0]
        assert {"Map", "ToFrame"} <= set(stage.split())
    total = frame.group_by("ward").agg(col("points").sum()).sort("ward").collect()
    # Wards a, b: costs 30, 40, 60 and 20, 50, those above 10 that are no 50; each 3 times, and ord.
    assert total.to_pylist() == [
        {"ward": "a", "points": 3 * (30 + 40 + 60) + 3 * 97},
        {"ward": "b", "points": 3 * 20 + 98},
    ]


def keeps(row: Any) -> bool:
    while row.cost == 50:  # a loop: no expression
        return False
    return True


def test_what_a_function_needs_is_signed_with_it(keys: tuple[Path, str], tmp_path: Path) -> None:
    function = sign_code(tripled, keys[0])
    assert json.loads(function.signed_code.constants) == {"FACTOR": 3}
    row = ub.connect().from_dict({"ward": ["a"], "cost": [2]}).rows().first()
    assert function(row) == ("a", 2 * 3 + 97)

    def needs_more(row: Any) -> Any:
        return tripled(row)

    with pytest.raises(FederationError, match="needs 'tripled', a function that is no plain value"):
        sign_code(needs_more, keys[0])
    with pytest.raises(FederationError, match="has no text that could be signed"):
        sign_code(lambda row: row, keys[0])
    with pytest.raises(FederationError, match="line 1 of the code is no Python"):
        from_text("def f(:", keys, tmp_path)


def test_code_keeps_its_digest_on_the_way(keys: tuple[Path, str]) -> None:
    plan = alone(sign_code(tripled, keys[0]))
    again = plan_from_json(plan_to_json(plan))
    assert again == plan
    text = plan_to_json(plan).replace("total = 0", "total = 9")
    with pytest.raises(PlanError, match="is not that of its digest"):
        plan_from_json(text)


# --- whose runs -----------------------------------------------------------------------------------


def asked(
    site: Site, function: PythonFunction, table: str = "visits", audit: AuditLog | None = None
) -> pa.Table:
    """Give a site a task as a coordinator would that does not care for rules."""
    schema = site.tables[table].schema
    scan = ops.Scan(source=RelationSource(schema, site.name, (table,)), columns=("cost",))
    plan = ops.ToFrame(
        input=ops.Map(input=ops.Rows(input=scan), function=function), columns=INTEGERS
    )
    task = Task("r", 0, site.name, plan, (), Requester("ann"))
    parts: list[pa.Table] = []
    SiteExecution(site, audit)(Task.from_json(task.to_json()), {}, Cancellation(), parts.append)
    return pa.concat_tables(parts)


def with_code(code: SignedCode) -> PythonFunction:
    return PythonFunction(code.entry, code.digest, signed=code)


def test_only_code_that_a_trusted_key_has_signed_runs(
    sites: list[Site], keys: tuple[Path, str], tmp_path: Path
) -> None:
    site = sites[0]
    code = from_text("def f(row): return (row.cost + 1,)", keys, tmp_path).signed_code
    assert asked(site, with_code(code)).column("a").to_pylist() == [11, 21, 31]
    audit = AuditLog(tmp_path / "audit", site.name)
    asked(site, with_code(code), audit=audit)
    audit.close()
    written = "".join(p.read_text() for p in (tmp_path / "audit").rglob("*") if p.is_file())
    assert f'"code":["{code.digest}"]' in written.replace(" ", "").replace("\\", "")
    stranger = tmp_path / "eve.key"
    new_owner(stranger)
    by_another = from_text("def f(row): return (1,)", (stranger, ""), tmp_path).signed_code
    refused = {
        "signed by nobody": replace(code, key="", signature=""),
        "whom the site's policy does not trust": by_another,
        # The text, the name, the constants and the key, each changed after it was signed.
        "not as it was signed": replace(code, text=code.text.replace("+ 1", "+ 2")),
        "it is not as it was": replace(code, entry="g"),
        "it is not as": replace(code, constants='{"row": 1}'),
        "is not as it was signed": replace(by_another, key=code.key),
        "not as it was": replace(code, signature="no base64"),
    }
    for why, wrong in refused.items():
        with pytest.raises(PolicyError, match=why):
            asked(site, with_code(wrong))
    # A reference without any text is what it was before: not run at all.
    with pytest.raises(PolicyError, match="does not run Map of others"):
        asked(site, PythonFunction("f", code.digest))


def test_a_site_runs_no_code_unless_its_policy_says_so(
    keys: tuple[Path, str], tmp_path: Path
) -> None:
    closed = a_site("north", 1, keys[1], tmp_path)
    file = tmp_path / "none.toml"
    text = POLICY.format(name="north", key=keys[1]).replace('code = "signed"', 'code = "none"')
    file.write_text(text)
    with pytest.raises(PlanError, match="signers means nothing while no code runs"):
        read_policy(file)
    file.write_text(text.replace("[signers]", "").replace(f'ann = "{keys[1]}"', ""))
    with pytest.raises(PlanError, match="sandbox means nothing while no code runs"):
        read_policy(file)
    file.write_text(POLICY.format(name="north", key="ed25519:AAAA"))
    with pytest.raises(PlanError, match="is no public key"):
        read_policy(file)
    closed.code = CodeRules()
    function = from_text("def f(row): return (row.cost + 1,)", keys, tmp_path)
    with pytest.raises(PolicyError, match="does not run the code of 'f'"):
        asked(closed, with_code(function.signed_code))
    session = ub.federation.local([closed], user="ann", platforms=Registry())
    frame = session.table("visits").select("cost").rows().map(function).to_frame({"a": "int64"})
    with pytest.raises(PlacementError, match="the policy of 'north' lets no code run"):
        frame.collect()


def test_code_sees_only_columns_that_leave_as_rows(
    session: FederatedSession, sites: list[Site], keys: tuple[Path, str], tmp_path: Path
) -> None:
    """What code makes of a column is as good as the column: lineage ends in it."""
    function = from_text("def f(row): return (row.id,)", keys, tmp_path)
    for select in (["id"], ["id", "cost"]):
        made = session.table("visits").select(*select).rows().map(function)
        with pytest.raises(PolicyError, match="runs code over 'id'"):
            made.to_frame({"a": "int64"}).collect()
    # Of people only aggregates leave: no code sees their rows, whatever stands above it.
    people = session.table("people").select("cost").rows().map(function).to_frame({"a": "int64"})
    for frame in (people, people.select(col("a").sum())):
        with pytest.raises(PolicyError, match="works on single rows of it"):
            frame.collect()
    with pytest.raises(PolicyError, match="people"):
        asked(sites[0], PythonFunction.of(function), "people")


# --- what it can do -------------------------------------------------------------------------------

#: What code tries, each with the error that it gets.
ESCAPES = {
    "open('/etc/passwd')": "PermissionError",
    "open('/proc/self/environ')": "PermissionError",
    "open('/tmp/umbel-escaped', 'w')": "PermissionError",
    "os.listdir('/')": "PermissionError",
    "os.fork()": "PermissionError",
    "os.execv('/bin/true', ['true'])": "PermissionError",
    "os.kill(os.getppid(), 9)": "PermissionError",
    "os.kill(os.getpid(), 9)": "PermissionError",
    "os.pipe()": "PermissionError",
    "os.setuid(0)": "PermissionError",
    "os.memfd_create('x')": "PermissionError",
    "threading.Thread(target=print).start()": "RuntimeError",
    "socket.socket()": "PermissionError",
    "socket.getaddrinfo('example.org', 80)": "gaierror",
    "ctypes.CDLL(None).ptrace(0, 0, 0, 0)": "-1",
    "__import__('sqlite3')": "ModuleNotFoundError",
    "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))": "ValueError",
}


def test_code_can_do_nothing_but_compute(keys: tuple[Path, str], tmp_path: Path) -> None:
    text = (
        "import ctypes, os, resource, socket, threading\n"
        "def f(row):\n"
        "    try:\n"
        "        made = str(eval(row.t))\n"
        "    except BaseException as error:\n"
        "        made = type(error).__name__\n"
        "    return row.t, made\n"
    )
    schema = pa.schema([("t", pa.string()), ("made", pa.string())])
    rows = ops.Rows(input=ops.Placeholder(label="rows", columns=schema.remove(1)))
    function = PythonFunction.of(from_text(text, keys, tmp_path))
    plan = ops.ToFrame(input=ops.Map(input=rows, function=function), columns=schema)
    rules = CodeRules(modules=("ctypes", "resource", "socket", "threading"))
    given = run_code(plan, pa.table({"t": list(ESCAPES)}), rules, Cancellation())
    assert {row["t"]: row["made"] for row in given.to_pylist()} == ESCAPES
    assert not Path("/tmp/umbel-escaped").exists()


#: What ends the process, or what it gives.
ENDINGS = {
    "eats memory": "def f(row):\n    kept = []\n    while True: kept.append(bytearray(10**7))",
    "ends at once": "import os\ndef f(row): os._exit(0)",
}


@pytest.mark.parametrize("what", ENDINGS)
def test_code_that_ends_its_process_gives_nothing(
    what: str, keys: tuple[Path, str], tmp_path: Path
) -> None:
    plan = alone(from_text(ENDINGS[what], keys, tmp_path))
    with pytest.raises(FederationError, match=r"the code failed|not a whole Arrow file"):
        run_code(plan, pa.table({"a": [1]}), CodeRules(memory=200 << 20), Cancellation())


def test_code_has_neither_secrets_nor_descriptors(
    keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """It gets no environment and no open files, and what it prints is nowhere."""
    monkeypatch.setenv("WARD_PASSWORD", "CANARY-77")
    text = (
        "import os, sys\n"
        "def f(row):\n"
        "    print('CANARY-88', file=sys.stderr)\n"
        "    os.write(2, b'CANARY-99')\n"
        "    found = 0\n"
        "    for number in range(5, 64):\n"  # 3 and 4 are its own input and output
        "        try:\n"
        "            os.write(number, b'x')\n"
        "            found += 1\n"
        "        except OSError:\n"
        "            pass\n"
        "    return (len(set(os.environ) - {'LC_CTYPE'}), found)"
    )
    schema = pa.schema([("variables", pa.int64()), ("files", pa.int64())])
    with (tmp_path / "kept").open("wb"):
        plan = alone(from_text(text, keys, tmp_path), schema)
        given = run_code(plan, pa.table({"a": [1]}), CodeRules(), Cancellation())
    assert given.to_pylist() == [{"variables": 0, "files": 0}]
    assert (tmp_path / "kept").read_bytes() == b""
    said = capfd.readouterr()
    assert "CANARY" not in said.out + said.err


def test_code_that_never_ends_is_ended(keys: tuple[Path, str], tmp_path: Path) -> None:
    plan = alone(from_text("def f(row):\n    while True: pass", keys, tmp_path))
    with pytest.raises(LimitError, match=r"takes more than 0.2 s"):
        run_code(plan, pa.table({"a": [1]}), CodeRules(seconds=0.2), Cancellation())
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Exception, match="cancelled"):
        run_code(plan, pa.table({"a": [1]}), CodeRules(), cancellation)


#: What the code's process writes in place of what its plan gives, and why it is refused. Its output
#: is descriptor 4.
FORGED: dict[str, tuple[str, str]] = {
    "another type": ("pa.table({'a': ['text']})", "not the task's"),
    "more columns": ("pa.table({'a': [1], 'b': [1]})", "2 columns came"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_the_process_writes_is_believed_by_nobody(
    what: str, keys: tuple[Path, str], tmp_path: Path
) -> None:
    made, why = FORGED[what]
    text = (
        "import os\n"
        "import pyarrow as pa\n"
        "def f(row):\n"
        f"    table, sink = {made}, pa.BufferOutputStream()\n"
        "    with pa.ipc.new_file(sink, table.schema) as writer:\n"
        "        writer.write_table(table)\n"
        "    os.write(4, sink.getvalue().to_pybytes())\n"
        "    os._exit(0)\n"
    )
    with pytest.raises(FederationError, match=why):
        run_code(
            alone(from_text(text, keys, tmp_path)),
            pa.table({"a": [1]}),
            CodeRules(),
            Cancellation(),
        )


def test_an_output_is_bounded(keys: tuple[Path, str], tmp_path: Path) -> None:
    text = "def f(row): return ('x' * 5_000_000,)"
    plan = alone(from_text(text, keys, tmp_path), pa.schema([("t", pa.string())]))
    with pytest.raises(LimitError, match="gives more than 100,000 bytes"):
        run_code(plan, pa.table({"a": [1]}), CodeRules(bytes=100_000), Cancellation())


def test_nothing_runs_where_code_cannot_be_shut_off(
    keys: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without these system calls: said by what the machine calls itself."""
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    plan = alone(from_text("def f(row): return (1,)", keys, tmp_path))
    with pytest.raises(PolicyError, match="no code is run: code is run on x86_64 and aarch64 only"):
        run_code(plan, pa.table({"a": [1]}), CodeRules(), Cancellation())


def test_a_site_tells_nothing_of_why_code_failed(
    sites: list[Site], keys: tuple[Path, str], tmp_path: Path
) -> None:
    function = from_text("def f(row): raise ValueError(f'CANARY {row}')", keys, tmp_path)
    with pytest.raises(FederationError) as caught:
        asked(sites[0], with_code(function.signed_code))
    assert "CANARY" not in str(caught.value)
    assert "of why nothing is told" in caught.value.message


# --- the command ----------------------------------------------------------------------------------


def test_commands_sign_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> int:
        return run_command(arguments)

    key, file = tmp_path / "ann.key", tmp_path / "score.py"
    file.write_text("def score(x):\n    return x * times\n")
    (tmp_path / "constants.json").write_text('{"times": 2}')
    assert run("code", "keys", "--key", str(key), "--name", "ann") == 0
    assert 'ann = "ed25519:' in capsys.readouterr().out
    assert run(
        "code", "sign", str(file), "--entry", "score", "--key", str(key),
        "--constants", str(tmp_path / "constants.json"),
    ) == 0  # fmt: skip
    made = tmp_path / "score.signed.json"
    assert load_code(made)(21) == 42
    assert run("code", "show", str(made)) == 0
    assert "return x * times" in capsys.readouterr().out
    made.write_text(made.read_text().replace("x * times", "x + times"))
    assert run("code", "show", str(made)) == 12
    assert "not as it was signed" in capsys.readouterr().err
