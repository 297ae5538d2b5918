"""The execution plan: stages, the conversions between them, and what they are reckoned to cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from umbel.dataclass import dataclass
from umbel.optimizer.cost import Cost
from umbel.optimizer.estimates import Estimate
from umbel.plan.operators import Operator
from umbel.platforms.base import Conversion, Platform, Stage

#: Where data lies: the output of a stage in some channel.
Location = tuple[int, str]


#: Ends the label of a placeholder whose data its reader knows by a keyword, as a side input.
COLLECTED = "_collected"


@dataclass(frozen=True)
class PlannedOperator:
    """One operator of a stage, with what is reckoned of it."""

    operator: Operator
    estimate: Estimate
    cost: Cost


@dataclass(frozen=True)
class PlannedStage:
    """One stage with its placement.

    Attributes:
        index: its number; inputs have smaller ones.
        platform: what runs it.
        stage: what is compiled, over placeholders for the outputs of other stages.
        sources: for each placeholder's label where its data lies.
        conversions: how the stage's output is handed on, each after what it starts from.
        operators: the operators in it, inputs first.
        body: the plan of a loop's body, and for a `DoWhile` of its condition.
    """

    index: int
    platform: Platform
    stage: Stage
    sources: Mapping[str, Location]
    conversions: tuple[Conversion, ...]
    operators: tuple[PlannedOperator, ...]
    bodies: tuple[ExecutionPlan, ...] = ()

    @property
    def root(self) -> PlannedOperator:
        """The operator whose output the stage gives."""
        return self.operators[-1]

    @property
    def cost(self) -> Cost:
        """The cost of the stage's operators."""
        total = Cost()
        for planned in self.operators:
            total += planned.cost
        return total


@dataclass(frozen=True)
class Refusal:
    """Why a platform cannot run an operator."""

    operator: Operator
    platform: str
    reason: str


@dataclass(frozen=True)
class ExecutionPlan:
    """A plan with a placement for every operator.

    Attributes:
        logical: the plan as it was written.
        rewritten: the plan as the rules left it.
        stages: in an order in which they can run.
        result: where the result lies.
        cost: of the whole, with starting engines and converting.
        refusals: which platforms could not be chosen where, and why.
        lifted: some Python function was replaced by expressions.
        pruned: the search was cut short, so that a better placement may exist.
        early: what is done before data moves so that less of it does, for people.
    """

    logical: Operator
    rewritten: Operator
    stages: tuple[PlannedStage, ...]
    result: Location
    cost: Cost
    refusals: tuple[Refusal, ...] = ()
    lifted: bool = False
    pruned: bool = False
    early: tuple[str, ...] = ()
    estimates: Mapping[int, Estimate] = field(default_factory=dict, repr=False)

    def moved(self, stage: PlannedStage) -> float:
        """Bytes that a stage hands to other platforms, and to the caller if it gives the result."""
        readers = [
            other
            for other in self.stages
            if other.platform.name != stage.platform.name
            and any(index == stage.index for index, _ in other.sources.values())
        ]
        return stage.root.estimate.size * (len(readers) + (self.result[0] == stage.index))

    @property
    def all_moved(self) -> float:
        """Bytes that all stages hand on."""
        return sum(self.moved(stage) for stage in self.stages)

    @property
    def platforms(self) -> list[str]:
        """The names of the platforms that take part."""
        return sorted({stage.platform.name for stage in self.stages})
