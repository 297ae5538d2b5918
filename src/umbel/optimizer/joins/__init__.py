"""The order of inner joins: their graph, what an order costs, and the search for the best one."""

from umbel.optimizer.joins.graph import Condition, Equality, JoinGraph, Relation
from umbel.optimizer.joins.search import Order, best_order, cost_of

__all__ = [
    "Condition",
    "Equality",
    "JoinGraph",
    "Order",
    "Relation",
    "best_order",
    "cost_of",
]
