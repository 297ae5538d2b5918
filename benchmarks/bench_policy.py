"""What policies cost: deciding on a plan of 50 operators over 10 sites, and the gate of a transfer.

    python benchmarks/bench_policy.py

CPU time, best of several. The plan is fresh each time: nothing of it was decided before. The gate
copies and validates each batch that leaves; it is compared with what a transfer does beside it:
writing the rows as IPC, hashing and encrypting them, and the same back again at the other end.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from umbel.federation.execution.clean import cleaned
from umbel.federation.policy.clauses import Clause, Form, Recipients
from umbel.federation.policy.decisions import Decisions
from umbel.federation.policy.verdict import Release
from umbel.federation.rules import Rule
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Column, Literal
from umbel.plan.sources import RelationSource

SITES = 10
SCHEMA = pa.schema(
    [("id", pa.int64()), ("sex", pa.string()), ("ward", pa.int64()), ("cost", pa.float64())]
)


def plan(number: int) -> ops.Operator:
    """Aggregates of ten sites, four operators at each, and ten more above their union."""
    parts = []
    for site in range(SITES):
        source = RelationSource(SCHEMA, f"site{site}", ("visits",))
        rows: ops.Operator = ops.Scan(source=source)
        sick = Call("greater", (Column("ward"), Literal(number, pa.int64())))
        rows = ops.Filter(input=rows, predicate=sick)
        columns = tuple((name, Column(name)) for name in ("id", "sex", "cost"))
        rows = ops.Project(input=rows, columns=columns)
        total = (("total", AggregateCall("sum", (Column("cost"),))), ("n", AggregateCall("len")))
        parts.append(ops.Aggregate(input=rows, keys=(("sex", Column("sex")),), aggregates=total))
    above: ops.Operator = ops.Union(members=tuple(parts))
    for step in range(9):
        columns = tuple((name, Column(name)) for name in above.schema.names)
        above = ops.Project(input=above, columns=(*columns, (f"x{step}", Column("total"))))
    return above


def decide(number: int) -> float:
    """Seconds of CPU to decide on all operators of one plan at all sites."""
    clause = Clause(
        "statistics", Form.AGGREGATES, 10, ("cost",), ("sex",), ("ward",), (), ("count", "sum"),
        recipients=Recipients(users=("ann",)),
    )  # fmt: skip
    rule = Rule(Form.AGGREGATES, 10, "id", clause=clause)
    root = plan(number)
    order = ops.topological(root)
    assert len(order) == 50
    for operator in order:
        _ = (operator.digest, operator.schema, operator.places)
    verdicts = []
    start = time.process_time()
    for site in range(SITES):
        decisions = Decisions(f"site{site}", {"visits": (rule,)})
        verdicts += [decisions.release(op) for op in order if f"site{site}" in op.places]
    seconds = time.process_time() - start
    assert isinstance(verdicts[-1], Release)
    return seconds


def best(work: Callable[[], object], times: int = 7) -> float:
    """The least CPU seconds of some work."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def gate() -> tuple[float, float]:
    """CPU seconds of the gate, and of the rest of a transfer, for the same rows."""
    count = 2**16
    numbers = pa.array(range(count))
    table = pa.table({f"c{i}": numbers for i in range(6)} | {"t": numbers.cast(pa.string())})
    key = AESGCM(AESGCM.generate_key(256))

    def transfer() -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue().to_pybytes()
        nonce = os.urandom(12)
        hashlib.sha256(content).digest()
        sealed = key.encrypt(nonce, content, None)
        hashlib.sha256(sealed).digest()
        opened = key.decrypt(nonce, sealed, None)
        hashlib.sha256(opened).digest()
        pa.ipc.open_stream(opened).read_all().validate(full=True)

    return best(lambda: cleaned(table, table.schema)), best(transfer)


def main() -> None:
    """Measure, and show."""
    decide(0)
    seconds = min(decide(number) for number in range(1, 12))
    print(f"deciding on 50 operators over {SITES} sites: {seconds * 1e3:.1f} ms of CPU")
    copying, moving = gate()
    print(
        f"the gate: {copying * 1e3:.1f} ms, the rest of a transfer {moving * 1e3:.1f} ms: "
        f"{copying / (copying + moving):.0%}"
    )


if __name__ == "__main__":
    main()
