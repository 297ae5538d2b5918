"""A plan read back is the plan written; whatever else is read is refused with its path."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plan.random_plans import FUNCTIONS, PRIMITIVES, plans, same_bits, types, values_of
from umbel.plan.codec import Limits, plan_from_json, plan_to_json
from umbel.plan.constants import value_from_json, value_to_json
from umbel.plan.errors import PlanError, PlanFormatError
from umbel.plan.expressions import Call, Case, Column, Expression, Literal
from umbel.plan.function_ref import PythonFunction
from umbel.plan.json_schema import plan_json_schema, schema_text
from umbel.plan.layers import LAYERS
from umbel.plan.models import ALGORITHMS, FEATURES, Algorithm, Feature
from umbel.plan.operators import (
    OPERATORS,
    Distinct,
    Filter,
    Limit,
    Map,
    Operator,
    Placeholder,
    Repeat,
    Scan,
    Union,
    Values,
    topological,
)
from umbel.plan.origin import Origin
from umbel.plan.recipes import WANTED, Wanted
from umbel.plan.shapes import EXPRESSIONS, SINKS, SOURCES
from umbel.plan.sinks import Sink
from umbel.plan.sources import MemorySource, Source
from umbel.plan.tables import table_from_json
from umbel.plan.types import type_from_json, type_to_json

SLOW = settings(suppress_health_check=list(HealthCheck), deadline=None)
SCHEMA = plan_json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TABLE = Values(table=pa.table({"a": [1, 2], "b": [True, None]}))


def document(**changes: Any) -> dict[str, Any]:
    """A small plan as JSON: a filter over a constant table."""
    plan = Filter(input=TABLE, predicate=Call("require", (Column("b"), Literal(True, pa.bool_()))))
    return {**json.loads(plan_to_json(plan)), **changes}


def refused(data: Any, path: str, message: str = "") -> PlanFormatError:
    """Assert that reading fails, naming the path."""
    text = data if isinstance(data, str | bytes) else json.dumps(data)
    with pytest.raises(PlanFormatError) as caught:
        plan_from_json(text)
    assert caught.value.message.startswith(f"{path}: ")
    assert message in str(caught.value)
    return caught.value


# --- there and back ---------------------------------------------------------------------------


@SLOW
@given(plans)
def test_a_plan_read_back_is_the_plan_written(plan: Operator) -> None:
    text = plan_to_json(plan)
    again = plan_from_json(text, functions=FUNCTIONS)
    assert again == plan
    assert again.schema.equals(plan.schema)
    assert [n.name for n in topological(again)] == [n.name for n in topological(plan)]
    assert plan_to_json(again) == text
    VALIDATOR.validate(json.loads(text))


@SLOW
@given(st.one_of(types).flatmap(lambda t: st.tuples(st.just(t), values_of(t))))
def test_constants_of_every_type_are_exact(case: tuple[pa.DataType, Any]) -> None:
    dtype, value = case
    form = json.loads(json.dumps(value_to_json(value, dtype), allow_nan=False))
    assert same_bits(value_from_json(form, dtype), value)
    assert type_from_json(json.loads(json.dumps(type_to_json(dtype)))) == dtype


@pytest.mark.parametrize("dtype", PRIMITIVES, ids=str)
def test_a_null_of_every_type_is_kept(dtype: pa.DataType) -> None:
    plan = Filter(
        input=TABLE,
        predicate=Case(((Literal(None, pa.bool_()), Literal(None, pa.bool_())),)),
    )
    assert plan_from_json(plan_to_json(plan)) == plan
    assert value_from_json(value_to_json(None, dtype), dtype) is None


def test_every_name_on_the_closed_lists_is_every_class_there_is() -> None:
    def leaves(base: type) -> set[str]:
        """Names of the classes of umbel without subclasses; by name, as slots make two of each."""
        subclasses: list[type] = base.__subclasses__()
        below = [leaves(cls) for cls in subclasses]
        ours = {base.__name__} if base.__module__.startswith("umbel.plan.") else set()
        return set().union(*below) if below else ours

    lists: list[tuple[dict[str, Any], type]] = [
        (SOURCES, Source), (SINKS, Sink), (EXPRESSIONS, Expression), (OPERATORS, Operator),
        (ALGORITHMS, Algorithm), (FEATURES, Feature), (WANTED, Wanted),
    ]  # fmt: skip
    for listed, base in lists:
        assert {cls.__name__ for cls in listed.values()} == leaves(base)


def test_shared_operators_stay_shared() -> None:
    shared = Distinct(input=TABLE)
    plan = Union(members=(shared, Limit(input=shared, count=1)))
    again = plan_from_json(plan_to_json(plan))
    assert again.inputs[0] is again.inputs[1].inputs[0]
    assert len(topological(again)) == 4


def test_a_chain_as_deep_as_allowed_is_read_and_has_a_digest() -> None:
    plan: Operator = TABLE
    for _ in range(Limits().depth - 1):
        plan = Limit(input=plan, count=1)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_an_expression_as_deep_as_allowed_is_read() -> None:
    deep: Any = Column("b")
    for _ in range(Limits().expression_depth - 1):
        deep = Call("require", (deep, Literal(True, pa.bool_())))
    plan = Filter(input=TABLE, predicate=deep)
    assert plan_from_json(plan_to_json(plan, indent=2)) == plan


def test_code_comes_from_the_functions_handed_over() -> None:
    def double(x: int) -> int:
        return 2 * x

    plan = Map(input=TABLE, function=PythonFunction.of(double))
    text = plan_to_json(plan)
    without = plan_from_json(text)
    assert without == plan
    assert isinstance(without, Map)
    with pytest.raises(PlanError, match="double"):
        without.function.callable()
    whole = plan_from_json(text, functions=[double])
    assert isinstance(whole, Map)
    assert whole.function.callable()(4) == 8


def test_no_folder_of_the_user_is_written() -> None:
    plan = Map(
        input=TABLE,
        function=PythonFunction.of(lambda x: x),
        origin=Origin("/home/ada/secret/pipeline.py", 7),
    )
    text = plan_to_json(plan)
    assert "ada" not in text
    assert str(Path(__file__).parent) not in text
    assert plan_from_json(text).origin == Origin("pipeline.py", 7)


def test_data_of_memory_sources_travels_beside() -> None:
    table = pa.table({"a": [1]})
    plan = Scan(source=MemorySource(table.schema, "t1", data=table))
    text = plan_to_json(plan)
    without, whole = plan_from_json(text), plan_from_json(text, data={"t1": table})
    assert isinstance(without, Scan)
    assert isinstance(without.source, MemorySource)
    assert without.source.data is None
    assert isinstance(whole, Scan)
    assert isinstance(whole.source, MemorySource)
    assert whole.source.data is table
    with pytest.raises(PlanFormatError, match="other columns"):
        plan_from_json(text, data={"t1": pa.table({"b": [1]})})


# --- attacks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, [1]])
def test_another_version_is_refused(version: object) -> None:
    refused(document(umbel=version), "$.umbel", "write it again")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"x"', "{}", "nan", b"\xff{}"])
def test_what_is_not_a_plan_is_refused(text: str | bytes) -> None:
    refused(text, "$")


def test_duplicate_keys_are_refused() -> None:
    text = json.dumps(document())
    refused(text.replace('"root"', '"umbel": 1, "root"'), "$", "'umbel' stands twice")


def test_json_of_other_dialects_is_refused() -> None:
    refused('{"umbel": 1, "nodes": [NaN], "root": 0}', "$", "NaN")


@pytest.mark.parametrize("bracket", ["[", '{"a":', '{"umbel":1,"nodes":['])
def test_deep_nesting_is_refused_before_it_is_parsed(bracket: str) -> None:
    refused(bracket * 100_000, "$", "nested")


def test_unfinished_texts_are_scanned_once() -> None:
    refused('"' + '\\"' * 1_000_000, "$")
    refused('"' + '\\"' * 1_000_000 + "\\", "$")


def test_a_document_that_is_too_long_is_refused() -> None:
    with pytest.raises(PlanFormatError, match="more than 100 characters"):
        plan_from_json(json.dumps(document()), limits=Limits(text=100))
    with pytest.raises(PlanFormatError, match="more than 100 characters"):
        plan_to_json(TABLE, limits=Limits(text=100))


def test_too_many_operators_are_refused() -> None:
    plan = Limit(input=Limit(input=TABLE, count=1), count=1)
    text = plan_to_json(plan)
    with pytest.raises(PlanFormatError, match="more than 2 operators"):
        plan_from_json(text, limits=Limits(nodes=2))
    with pytest.raises(PlanFormatError, match=r"nodes\[2\]: more than 2 operators above"):
        plan_from_json(text, limits=Limits(depth=2))


def test_too_deep_expressions_are_refused_both_ways() -> None:
    deep: dict[str, Any] = {"expr": "Column", "name": "b"}
    for _ in range(Limits().expression_depth):
        deep = {"expr": "Call", "function": "require", "arguments": [deep, deep.copy()]}
        deep["arguments"][1] = {"expr": "Literal", "value": True, "dtype": "bool"}
    data = document()
    data["nodes"][1]["predicate"] = deep
    with pytest.raises(PlanFormatError, match="expression is nested more than"):
        plan_from_json(json.dumps(data))
    predicate: Any = Column("b")
    for _ in range(Limits().expression_depth):
        predicate = Call("require", (predicate, Literal(True, pa.bool_())))
    with pytest.raises(PlanError, match="nested 129 deep, and at most 128"):
        Filter(input=TABLE, predicate=predicate)


def test_too_many_expressions_are_refused() -> None:
    with pytest.raises(PlanFormatError, match="more than 2 expressions"):
        plan_from_json(json.dumps(document()), limits=Limits(expressions=2))


def test_too_long_names_are_refused() -> None:
    with pytest.raises(PlanFormatError, match="a text of more than 3 characters"):
        plan_from_json(json.dumps(document()), limits=Limits(string=3))


def test_types_that_double_at_each_step_are_refused() -> None:
    struct: Any = "int64"
    for _ in range(16):
        struct = {"struct": [["a", struct], ["b", struct]]}
    column = [{"name": "x", "type": struct}]
    data = document(nodes=[{"op": "Placeholder", "label": "p", "columns": column}], root=0)
    refused(data, "$.nodes[0].columns[0].type", "types inside types")


def test_columns_of_too_many_types_together_are_refused() -> None:
    struct = {"struct": [["a", "int64"], ["b", "int64"]]}
    columns = [{"name": name, "type": struct} for name in "xy"]
    data = document(nodes=[{"op": "Placeholder", "label": "p", "columns": columns}], root=0)
    assert plan_from_json(json.dumps(data), limits=Limits(type_size=6)).schema.names == ["x", "y"]
    with pytest.raises(PlanFormatError, match=r"nodes\[0\]: columns of more than 5 types"):
        plan_from_json(json.dumps(data), limits=Limits(type_size=5))


def test_deep_types_are_refused() -> None:
    deep: Any = "int64"
    for _ in range(120):
        deep = {"list": deep}
    column = [{"name": "x", "type": deep}]
    data = document(nodes=[{"op": "Placeholder", "label": "p", "columns": column}], root=0)
    refused(data, "$.nodes[0].columns[0].type", "nested more than")


def test_loops_inside_loops_are_limited() -> None:
    schema = TABLE.schema
    body: Operator = Placeholder(label="x", columns=schema)
    for _ in range(3):
        initial = Placeholder(label="x", columns=schema)
        body = Repeat(initial=initial, body=body, labels=("x",), times=2)
    text = plan_to_json(body)
    assert plan_from_json(text) == body
    with pytest.raises(PlanFormatError, match="more than 2 loops inside loops"):
        plan_from_json(text, limits=Limits(loop_depth=2))


@pytest.mark.parametrize("inputs", [[1], [2], [5], [-1], ["0"], [True], [0.0], 0, None, {}])
def test_cycles_forward_references_and_wrong_inputs_are_refused(inputs: Any) -> None:
    data = document()
    data["nodes"][1]["inputs"] = inputs
    refused(data, "$.nodes[1].inputs" + ("[0]" if isinstance(inputs, list) else ""))


@pytest.mark.parametrize("inputs", [[], [0, 0]])
def test_a_wrong_number_of_inputs_is_refused(inputs: list[int]) -> None:
    data = document()
    data["nodes"][1]["inputs"] = inputs
    refused(data, "$.nodes[1].inputs", "needs 1 inputs")


@pytest.mark.parametrize("root", [-1, 2, "1", None, True, 0])
def test_a_wrong_root_is_refused(root: Any) -> None:
    with pytest.raises(PlanFormatError):
        plan_from_json(json.dumps(document(root=root)))


def test_operators_that_nothing_reads_are_refused() -> None:
    data = document()
    data["nodes"].insert(0, data["nodes"][0])
    data["nodes"][2]["inputs"] = [1]
    refused({**data, "root": 2}, "$.nodes[0]", "root must be the only")


@pytest.mark.parametrize(
    "name", ["Filtr", "os.system", "Operator", "Unary", "", None, 3, ["Filter"]]
)
def test_operators_off_the_list_are_refused(name: Any) -> None:
    data = document()
    data["nodes"][1]["op"] = name
    refused(data, "$.nodes[1].op")


@pytest.mark.parametrize("name", ["Columm", "Expression", "eval", None, 1])
def test_expressions_off_the_list_are_refused(name: Any) -> None:
    data = document()
    data["nodes"][1]["predicate"]["expr"] = name
    refused(data, "$.nodes[1].predicate.expr")


def test_functions_off_the_catalogue_are_refused() -> None:
    data = document()
    data["nodes"][1]["predicate"]["function"] = "requir"
    assert "did you mean 'require'" in str(refused(data, "$.nodes[1]", "unknown function"))


def test_unknown_and_missing_keys_are_refused() -> None:
    data = document()
    data["nodes"][1]["code"] = "import os"
    refused(data, "$.nodes[1]", "unknown key 'code'")
    data = document()
    del data["nodes"][1]["predicate"]
    refused(data, "$.nodes[1]", "'predicate' is missing")
    refused(document(extra=1), "$", "unknown key 'extra'")


def test_an_operator_that_means_nothing_is_refused() -> None:
    data = document()
    data["nodes"][1]["predicate"] = {"expr": "Column", "name": "a"}
    refused(data, "$.nodes[1]", "must be a boolean")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (True, "int64"), (1, "bool"), (300, "int8"), (-1, "uint64"), ("1x", "int64"), (1.5, "int64"),
        ("NaN", "float64"), (True, "float64"), ("1.5", "float64"), (1, "string"), ("\ud800", "string"),
        ("a", "binary"), ("2024-02-30", "date"), ("20240201", "date"), ("2024-W01-1", "date"),
        ("25:00:00", "time"), ("1.005", {"decimal": [5, 2]}), ("1e9999999", {"decimal": [5, 2]}),
        ("sNaN", {"decimal": [5, 2]}), (1.5, {"decimal": [5, 2]}), ([1, "2x"], {"list": "int64"}),
        ({"b": 1}, {"struct": [["a", "int64"]]}), ("2024-01-01", {"timestamp": ["us", None]}),
        ("2024-01-01T00:00:00.000000Z", {"timestamp": ["us", None]}),
        ("2024-01-01T00:00:00.000000", {"timestamp": ["us", "UTC"]}),
        (0, {"timestamp": ["us", "Nowhere/Land"]}), (0, {"decimal": [39, 0]}), (0, "int65"), (0, "object"),
        (0, {"list": "int64", "struct": []}), ("9" * 5000, "int64"), (2**70, "int64"),
        ({}, "int64"), ([], "string"),
    ],
)  # fmt: skip
def test_wrong_constants_are_refused(value: Any, dtype: Any) -> None:
    data = document()
    literal = data["nodes"][1]["predicate"]["arguments"][1]
    literal["value"], literal["dtype"] = value, dtype
    refused(data, "$.nodes[1].predicate.arguments[1]." + "value") if _known(dtype) else refused(
        data, "$.nodes[1].predicate.arguments[1].dtype"
    )


def _known(dtype: Any) -> bool:
    unknown: list[Any] = [
        {"timestamp": ["us", "Nowhere/Land"]}, {"decimal": [39, 0]}, "int65",
        {"list": "int64", "struct": []},
    ]  # fmt: skip
    return dtype not in unknown


def values_document(stream: bytes) -> dict[str, Any]:
    text = base64.b64encode(stream).decode()
    return {"umbel": 1, "nodes": [{"op": "Values", "table": text}], "root": 0}


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_tables_that_are_not_plain_are_refused() -> None:
    table = pa.table({"a": [0] * 100_000})
    refused(values_document(stream_of(table, compression="zstd")), "$.nodes[0].table", "compressed")
    coded = pa.table({"a": pa.array(["x", "y"]).dictionary_encode()})
    refused(values_document(stream_of(coded)), "$.nodes[0].table")
    nulls = pa.table({"a": pa.nulls(2**25)})
    refused(values_document(stream_of(nulls)), "$.nodes[0].table", "rows")
    refused(values_document(b"PAR1 is not Arrow"), "$.nodes[0].table")
    refused(document(nodes=[{"op": "Values", "table": "not base64!"}], root=0), "$.nodes[0].table")


def test_tables_that_are_too_large_are_refused() -> None:
    plan = Values(table=pa.table({"a": [0] * 1000}))
    with pytest.raises(PlanFormatError, match="more than 4000 bytes"):
        plan_to_json(plan, limits=Limits(table=4000))
    with pytest.raises(PlanFormatError, match="more than 4000 bytes"):
        plan_from_json(plan_to_json(plan), limits=Limits(table=4000))


def test_invalid_arrow_data_is_refused() -> None:
    stream = stream_of(pa.table({"a": ["äö"]}))
    broken = stream.replace("äö".encode(), b"\xc3\xc3\xc3\xc3")
    assert broken != stream
    refused(values_document(broken), "$.nodes[0].table", "UTF8")


@SLOW
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_damaged_tables_are_read_or_refused(seed: int, changes: int) -> None:
    generator = random.Random(seed)
    stream = bytearray(stream_of(pa.table({"a": ["x", None, "yz"], "b": [[1], [], None]})))
    for _ in range(changes):
        stream[generator.randrange(len(stream))] = generator.randrange(256)
    with contextlib.suppress(PlanFormatError):
        table_from_json(base64.b64encode(bytes(stream)).decode()).validate(full=True)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["Filter", "Column", "int64", "csv", "op", "expr"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, item in items:
        found.extend(places(item, (*path, key)))
    return found


@SLOW
@given(plans, st.data())
def test_a_plan_with_junk_anywhere_is_read_or_refused(plan: Operator, data: Any) -> None:
    tree = json.loads(plan_to_json(plan))
    place = data.draw(st.sampled_from(places(tree)))
    junk = data.draw(JUNK)
    if not place:
        tree = junk
    else:
        target = tree
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = junk
    try:
        again = plan_from_json(json.dumps(tree))
    except PlanFormatError:
        return
    assert isinstance(again, Operator)
    VALIDATOR.validate(tree)


# --- the schema -------------------------------------------------------------------------------


def test_the_schema_in_the_documentation_is_current() -> None:
    stored = Path(__file__).parents[2] / "docs/reference/plan.schema.json"
    hint = "run: python -m umbel.plan.json_schema > docs/reference/plan.schema.json"
    assert stored.read_text(encoding="utf-8") == schema_text(), hint


def test_no_definition_of_the_schema_takes_the_place_of_another() -> None:
    definitions = SCHEMA["$defs"]
    for name in OPERATORS:
        assert definitions[name]["properties"]["op"] == {"const": name}
    members = [entry["$ref"].removeprefix("#/$defs/") for entry in definitions["Layer"]["oneOf"]]
    assert {definitions[name]["properties"]["kind"]["const"] for name in members} == set(LAYERS)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    data = document()
    VALIDATOR.validate(data)
    data["nodes"][1]["op"] = "Filtr"
    assert not VALIDATOR.is_valid(data)
    assert not VALIDATOR.is_valid(document(umbel=2))
    assert not VALIDATOR.is_valid(document(extra=1))
