"""The optimizer: rewrite rules, cardinalities, cost, movement, placement, and explaining it all."""

from umbel.optimizer.cost import Budget, Cost
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedOperator, PlannedStage, Refusal
from umbel.optimizer.explain import Explanation, explain
from umbel.optimizer.planner import optimize
from umbel.optimizer.rewrite import RULES, rewrite

__all__ = [
    "RULES",
    "Budget",
    "Cost",
    "ExecutionPlan",
    "Explanation",
    "PlannedOperator",
    "PlannedStage",
    "Refusal",
    "explain",
    "optimize",
    "rewrite",
]
