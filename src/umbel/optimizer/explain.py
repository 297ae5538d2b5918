"""Says how a plan would run and why: placement, estimates, and what lost against it.

One `Explanation` has several forms: text for terminals, JSON for programs, Mermaid for Markdown,
and SVG for notebooks and pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from umbel.dataclass import dataclass
from umbel.optimizer.borders import crossings
from umbel.optimizer.cost import Budget
from umbel.optimizer.diagram import Box, draw
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.optimizer.facts import Facts
from umbel.optimizer.planner import optimize, started
from umbel.optimizer.problem import site_of
from umbel.optimizer.rewrite import rewrite
from umbel.plan.errors import PlacementError, UmbelError
from umbel.plan.operators import Functional, Loop, Operator, Scan, Write, topological
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource
from umbel.platforms.base import Elsewhere
from umbel.platforms.registry import Registry


@dataclass(frozen=True)
class Alternative:
    """Another choice of platforms, and what it would have cost; None if it is impossible.

    Attributes:
        platforms: the names that it is limited to; all of them if empty.
        seconds: estimated; None if some operator cannot run there.
        reason: why it lost.
        lifted: whether Python functions are replaced by expressions, where that is the difference.
        dollars: estimated; None if it is impossible.
        moved: bytes handed from platform to platform and to the caller; None if impossible.
    """

    platforms: tuple[str, ...]
    seconds: float | None
    reason: str
    lifted: bool | None = None
    dollars: float | None = None
    moved: float | None = None

    @property
    def what(self) -> str:
        """Names the difference, for people."""
        if self.lifted is None:
            return f"only {' + '.join(self.platforms)}"
        return "functions as expressions" if self.lifted else "functions as written"


@dataclass(frozen=True)
class Explanation:
    """How a plan would run, and why so.

    Attributes:
        plan: the chosen execution plan.
        alternatives: what else was considered, the best first.
        rules: the rewrite rules that changed the plan.
    """

    plan: ExecutionPlan
    alternatives: tuple[Alternative, ...]
    rules: tuple[str, ...]

    def text(self) -> str:
        """Give the explanation as text."""
        plan = self.plan
        lines = [
            (
                f"runs on {', '.join(n for n in plan.platforms if n != DRIVER) or 'umbel itself'}; "
                f"estimated {_seconds(plan.cost.seconds)}, ${plan.cost.dollars:.4g}, "
                f"{_bytes(plan.all_moved)} moved"
            )
        ]
        if self.rules:
            lines.append(f"rewritten by {', '.join(self.rules)}")
        if plan.early:
            lines.append(f"before data moves: {'; '.join(plan.early)}")
        for stage in plan.stages:
            lines.extend(_stage_lines(plan, stage, 0))
        crossing = crossings(plan)
        if crossing:
            lines += ["", "over borders between sites:"]
            lines += [
                f"  {c.source} → {c.target}: {c.form}, {c.secrecy}, about {_bytes(c.size)} of "
                f"stage {c.stage}"
                for c in crossing
            ]
        lines.append("")
        lines.append("considered instead:" if self.alternatives else "nothing else was possible")
        lines.extend(
            f"  {other.what:<24} {_cost(other):>10}  {other.reason}" for other in self.alternatives
        )
        if plan.pruned:
            lines.append("the search was cut short; a better placement may exist")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Give the explanation as plain data."""
        return {
            "seconds": self.plan.cost.seconds,
            "dollars": self.plan.cost.dollars,
            "moved_bytes": self.plan.all_moved,
            "platforms": self.plan.platforms,
            "rules": list(self.rules),
            "early": list(self.plan.early),
            "stages": [_stage_data(self.plan, stage) for stage in self.plan.stages],
            "borders": [
                {
                    "stage": c.stage,
                    "from": c.source,
                    "to": c.target,
                    "form": c.form,
                    "bytes": c.size,
                    "sealed": list(c.sealed),
                }
                for c in crossings(self.plan)
            ],
            "alternatives": [
                {
                    "what": a.what,
                    "platforms": list(a.platforms),
                    "seconds": a.seconds,
                    "dollars": a.dollars,
                    "moved_bytes": a.moved,
                    "reason": a.reason,
                }
                for a in self.alternatives
            ],
            "refusals": [
                {"operator": r.operator.name, "platform": r.platform, "reason": r.reason}
                for r in self.plan.refusals
            ],
        }

    def to_json(self) -> str:
        """Give the explanation as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_mermaid(self) -> str:
        """Give the stages as a Mermaid flowchart, for Markdown."""
        lines = ["flowchart TD"]
        for stage in self.plan.stages:
            body = "<br/>".join(_escape(line) for line in _box_lines(stage))
            lines.append(f'  s{stage.index}["{body}"]')
        for source, target, channel in _edges(self.plan):
            lines.append(f"  s{source} -- {channel} --> s{target}")
        return "\n".join(lines)

    def to_svg(self) -> str:
        """Give the stages as a drawing."""
        boxes = [
            Box(str(stage.index), tuple(_box_lines(stage)), stage.platform.name)
            for stage in self.plan.stages
        ]
        return draw(boxes, [(str(a), str(b), channel) for a, b, channel in _edges(self.plan)])

    def _repr_html_(self) -> str:
        return self.to_svg()

    def _repr_svg_(self) -> str:
        return self.to_svg()


def explain(
    root: Operator,
    platforms: Registry,
    *,
    budget: Budget | None = None,
    measured: Mapping[str, float] | None = None,
) -> Explanation:
    """Plan without running, and say what else was considered.

    Args:
        root: the plan.
        platforms: what may run it.
        budget: bounds on the estimated cost.
        measured: rows that earlier runs counted, by operator digest.

    Raises:
        PlacementError: no platform can run some operator, or no plan fits the budget.
    """
    rules: list[str] = []
    last = root

    def observe(rule: str, plan: Operator) -> None:
        nonlocal last
        if plan != last and rule not in rules:
            rules.append(rule)
        last = plan

    up = started(platforms)
    chosen = optimize(root, platforms, budget=budget, up=up, measured=measured)
    facts = Facts.of(platforms, measured)
    rewrite(root, lifting=chosen.lifted, observer=observe, facts=facts)
    starts = {p.name: platforms.costs(p).start for p in platforms if p.name not in up}
    start = _Start(up, measured or {}, starts)
    return Explanation(chosen, tuple(_alternatives(root, chosen, platforms, start)), tuple(rules))


@dataclass(frozen=True)
class _Start:
    """What all plans that are compared start from.

    Attributes:
        up: the engines that are up.
        measured: counted rows.
        starts: seconds that the others take to start.
    """

    up: frozenset[str]
    measured: Mapping[str, float]
    starts: Mapping[str, float]


def _alternatives(
    root: Operator, chosen: ExecutionPlan, platforms: Registry, start: _Start
) -> list[Alternative]:
    """Plan again on each single platform, and without each platform that was chosen.

    Platforms in which the plan's tables lie take part in all of them.
    """
    names = [p.name for p in platforms if not isinstance(p, Elsewhere)]
    used = [name for name in chosen.platforms if name != DRIVER]
    holding = {name for name in _holding(root) if name in platforms}
    tries: set[tuple[str, ...]] = {tuple(sorted({name} | holding)) for name in names}
    tries |= {tuple(n for n in names if n != without) for without in used if without not in holding}
    found = []
    for names_tried in sorted(tries):
        if not names_tried or (set(used) <= set(names_tried) and len(names_tried) > 1):
            continue
        if set(names_tried) == set(used):
            continue
        found.append(_alternative(root, chosen, platforms.only(*names_tried), start))
    other = _other_form(root, chosen, platforms, start)
    if other is not None:
        found.append(_compared(other, chosen, (), start, lifted=other.lifted))
    return sorted(found, key=lambda a: (a.seconds is None, a.seconds or 0.0, a.platforms))


def _holding(root: Operator) -> Iterator[str]:
    """The platforms that hold what a plan reads or writes, in the bodies of loops too."""
    for operator in topological(root):
        match operator:
            case (
                Scan(source=AttachedSource(platform=name)) | Write(sink=RelationSink(platform=name))
            ):
                yield name
            case Loop():
                yield from _holding(operator.body)


def _alternative(
    root: Operator, chosen: ExecutionPlan, platforms: Registry, start: _Start
) -> Alternative:
    names = tuple(platform.name for platform in platforms)
    try:
        plan = optimize(root, platforms, up=start.up, measured=start.measured)
    except PlacementError as error:
        return Alternative(names, None, _shorten(f"{error.message}; {error.hint}"))
    except UmbelError as error:
        return Alternative(names, None, _shorten(error.message))
    return _compared(plan, chosen, names, start)


def _compared(
    plan: ExecutionPlan,
    chosen: ExecutionPlan,
    names: tuple[str, ...],
    start: _Start,
    *,
    lifted: bool | None = None,
) -> Alternative:
    ratio = plan.cost.seconds / max(chosen.cost.seconds, 1e-9)
    reason = f"{ratio:.2f}× the estimate; {_parts(plan, start)}"
    return Alternative(names, plan.cost.seconds, reason, lifted, plan.cost.dollars, plan.all_moved)


def _other_form(
    root: Operator, chosen: ExecutionPlan, platforms: Registry, start: _Start
) -> ExecutionPlan | None:
    """The plan with functions as expressions where they were left, or the other way round."""
    if not any(isinstance(operator, Functional) for operator in topological(root)):
        return None
    try:
        other = optimize(
            root, platforms, lifting=not chosen.lifted, up=start.up, measured=start.measured
        )
    except PlacementError:  # a pinned engine runs only one of the two
        return None
    return other if other.lifted is not chosen.lifted else None


def _parts(plan: ExecutionPlan, start: _Start) -> str:
    """The dearest part of a plan that lost."""
    starts = sum(start.starts.get(name, 0.0) for name in plan.platforms)
    dearest = max((o for s in plan.stages for o in s.operators), key=lambda o: o.cost.seconds)
    starting = f"starting engines {_seconds(starts)}, " if starts else ""
    return f"{starting}{dearest.operator.name} {_seconds(dearest.cost.seconds)}"


def _shorten(text: str, length: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _seconds(seconds: float) -> str:
    """Show a time in the unit that fits it.

    >>> _seconds(0.0042)
    '4.2 ms'
    """
    if seconds < 1:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.3g} s"


def _bytes(size: float) -> str:
    """Show a size in the unit that fits it.

    >>> _bytes(2_500_000)
    '2.5 MB'
    """
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.3g} GB"


def _cost(other: Alternative) -> str:
    if other.seconds is None:
        return "impossible"
    dollars = f", ${other.dollars:.4g}" if other.dollars else ""
    moved = "" if other.moved is None else f", {_bytes(other.moved)} moved"
    return f"{_seconds(other.seconds)}{dollars}{moved}"


def _stage_lines(plan: ExecutionPlan, stage: PlannedStage, depth: int) -> Iterator[str]:
    pad = "  " * depth
    where = "umbel itself" if stage.platform.name == DRIVER else stage.platform.name
    reads = ", ".join(f"stage {index} as {channel}" for index, channel in stage.sources.values())
    yield ""
    yield (
        f"{pad}stage {stage.index} {'at site' if _is_site(stage) else 'on'} {where}, {_seconds(stage.cost.seconds)}, "
        f"${stage.cost.dollars:.4g}, {stage.root.estimate.expected:,.0f} rows, "
        f"{_bytes(plan.moved(stage))} moved"
        f"{f', reads {reads}' if reads else ''}"
    )
    for planned in stage.operators:
        operator = planned.operator
        rows = planned.estimate.rows
        between = (
            f"{rows.low:,.0f}" if rows.low == rows.high else f"{rows.low:,.0f}…{rows.high:,.0f}"
        )
        by = planned.estimate.by
        counted = ", measured" if planned.estimate.measured else f", says {by}" if by else ""
        detail = _shorten(operator.describe(), 70)
        line = f"  ({operator.origin.line})" if operator.origin is not None else ""
        yield f"{pad}  {operator.name:<13} {detail:<72} {between:>20} rows{counted}{line}"
    for conversion in stage.conversions:
        yield f"{pad}  then {conversion.source} → {conversion.target}"
    for label, body in zip(("body", "condition"), stage.bodies, strict=False):
        yield f"{pad}  {label} of the loop:"
        for inner in body.stages:
            yield from _stage_lines(body, inner, depth + 2)


def _is_site(stage: PlannedStage) -> bool:
    return isinstance(stage.platform, Elsewhere)


def _stage_data(plan: ExecutionPlan, stage: PlannedStage) -> dict[str, Any]:
    return {
        "index": stage.index,
        "platform": stage.platform.name,
        "site": site_of(stage.platform),
        "seconds": stage.cost.seconds,
        "dollars": stage.cost.dollars,
        "rows": stage.root.estimate.expected,
        "moved_bytes": plan.moved(stage),
        "reads": [{"stage": i, "channel": channel} for i, channel in stage.sources.values()],
        "conversions": [f"{c.source} -> {c.target}" for c in stage.conversions],
        "operators": [
            {
                "name": planned.operator.name,
                "detail": planned.operator.describe(),
                "line": planned.operator.origin.line if planned.operator.origin else None,
                "rows": [planned.estimate.rows.low, planned.estimate.rows.high],
                "confidence": planned.estimate.rows.confidence,
                "measured": planned.estimate.measured,
                "seconds": planned.cost.seconds,
            }
            for planned in stage.operators
        ],
        "bodies": [[_stage_data(body, inner) for inner in body.stages] for body in stage.bodies],
    }


def _box_lines(stage: PlannedStage) -> list[str]:
    where = "umbel" if stage.platform.name == DRIVER else stage.platform.name
    lines = [f"stage {stage.index} · {where} · {_seconds(stage.cost.seconds)}"]
    for planned in stage.operators:
        detail = _shorten(planned.operator.describe(), 44)
        lines.append(f"{planned.operator.name} {detail}".rstrip())
    lines.append(f"≈ {stage.root.estimate.expected:,.0f} rows")
    return lines


def _edges(plan: ExecutionPlan) -> list[tuple[int, int, str]]:
    return [
        (source, stage.index, channel)
        for stage in plan.stages
        for source, channel in stage.sources.values()
    ]


def _escape(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    )
