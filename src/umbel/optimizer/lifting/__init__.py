"""Lifting: from Python functions to equal expressions, by tracing them with symbolic values.

A function is first looked over (`purity`): only code that cannot have effects or read what may
change is called. It is then called with symbols (`symbols`) in place of data, once per path
through its branches (`trace`). Where a symbol meets anything without an exactly equal expression,
tracing stops and the function stays what it was.
"""

from umbel.optimizer.lifting.symbols import NotLiftable
from umbel.optimizer.lifting.trace import Traced, trace

__all__ = ["NotLiftable", "Traced", "trace"]
