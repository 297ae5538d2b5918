"""Plans to JSON and back: versioned, by closed lists of names, within limits.

A document names operators, expressions, sources and sinks from the closed lists of
`umbel.plan.shapes`. Reading one imports nothing, evaluates nothing and unpickles nothing; what is
not on a list, of the wrong type, too deep or too large is refused with its path in the document.
The code of Python functions and the data of memory sources travel beside the plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from umbel.plan.decoder import Reader
from umbel.plan.encoder import Writer
from umbel.plan.function_ref import PythonFunction
from umbel.plan.limits import Limits, refusal
from umbel.plan.operators import Operator

#: The version of the format that this module writes and reads.
VERSION = 1

_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def plan_to_json(root: Operator, *, indent: int | None = None, limits: Limits | None = None) -> str:
    """Write a plan as JSON.

    Operators that feed several others are written once. Of files that hold the user's code only
    the name is written, not the folder.

    Args:
        root: the plan's last operator.
        indent: spaces per level; None writes one line.
        limits: what is refused as too large, as the reader would.

    Raises:
        PlanFormatError: the plan is too large or too deep, or holds a value without JSON form.

    >>> from umbel.plan.operators import Limit, Values
    >>> plan = Limit(input=Values(table=pa.table({"a": [1, 2]})), count=1)
    >>> plan_from_json(plan_to_json(plan)) == plan
    True
    """
    writer = Writer(limits or Limits())
    document = {"umbel": VERSION, **writer.plan(root, 0, "$")}
    text = json.dumps(document, indent=indent, allow_nan=False)
    if len(text) > writer.limits.text:
        raise refusal("$", f"the document has more than {writer.limits.text} characters")
    return text


def plan_from_json(
    text: str | bytes,
    *,
    functions: Iterable[Callable[..., Any] | PythonFunction] = (),
    data: Mapping[str, pa.Table | list[Any]] | None = None,
    limits: Limits | None = None,
) -> Operator:
    """Read a plan that `plan_to_json` wrote; it is equal to the plan written.

    Args:
        text: the document.
        functions: the Python functions that the plan may name; matched by digest.
        data: tables and lists of memory sources, by token.
        limits: what is refused as too large.

    Raises:
        PlanFormatError: anything that is not a plan of this version, with its path.

    >>> plan_from_json('{"umbel": 99}')
    Traceback (most recent call last):
    umbel.plan.errors.PlanFormatError: $.umbel: the plan has version 99, not 1
      write it again with this version of umbel, or read it with the one that wrote it
    """
    limits = limits or Limits()
    document = parse_json(text, limits)
    if not isinstance(document, dict) or "umbel" not in document:
        raise refusal("$", "not a plan: an object with the key 'umbel' is needed")
    version = document.pop("umbel")
    if type(version) is not int or version != VERSION:
        raise refusal(
            "$.umbel",
            f"the plan has version {str(version)[:20]}, not {VERSION}",
            "write it again with this version of umbel, or read it with the one that wrote it",
        )
    known = [f if isinstance(f, PythonFunction) else PythonFunction.of(f) for f in functions]
    reader = Reader(limits, {f.digest: f for f in known}, data or {})
    try:
        return reader.plan(document, 0, "$")
    except RecursionError as error:
        raise refusal("$", "the plan is nested too deeply for the stack left here") from error


def parse_json(text: str | bytes, limits: Limits) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN, nesting checked before it is parsed.

    Raises:
        PlanFormatError: it is not JSON, or larger than the limits allow.

    >>> parse_json('{"a": 1, "a": 2}', Limits())
    Traceback (most recent call last):
    umbel.plan.errors.PlanFormatError: $: the key 'a' stands twice in one object
    """
    if len(text) > limits.text:
        raise refusal("$", f"the document has more than {limits.text} characters")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise refusal("$", f"not UTF-8: {error}") from None
    depth = 0
    for match in _BRACKETS.finditer(text):
        bracket = match[0]
        if bracket in ("{", "["):
            depth += 1
            if depth > limits.nesting:
                raise refusal("$", f"nested more than {limits.nesting} deep")
        elif bracket in ("}", "]"):
            depth -= 1

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice = next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i]))
            raise refusal("$", f"the key {twice[:80]!r} stands twice in one object")
        return made

    def constant(name: str) -> Any:
        raise refusal("$", f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=object_of, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise refusal("$", f"not JSON: {error}") from None


__all__ = ["VERSION", "Limits", "parse_json", "plan_from_json", "plan_to_json"]
