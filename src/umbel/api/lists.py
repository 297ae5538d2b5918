"""The namespace `.list`: functions of lists, named as in Polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.api.located import located_methods
from umbel.api.namespace import Namespace
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.api.expressions import Expr


@located_methods
class ListMethods(Namespace):
    """Functions of lists; `DataFrame.explode` makes rows of their items."""

    def len(self) -> Expr:
        """The number of items, nulls among them."""
        return self._call("list_length")

    def get(self, index: Any) -> Expr:
        """The item at a position from 0, or from the end if negative; null if there is none."""
        return self._call("list_get", index)

    def first(self) -> Expr:
        """The first item."""
        return self.get(0)

    def last(self) -> Expr:
        """The last item."""
        return self.get(-1)

    def slice(self, offset: int, length: int | None = None) -> Expr:
        """At most `length` items from `offset` on, which counts from the end if negative."""
        if length is not None and length < 0:
            raise PlanError(f"a length cannot be negative, but is {length}")
        stop = None if length is None else offset + length
        return self._call("list_slice", offset, None if offset < 0 and (stop or 0) >= 0 else stop)

    def head(self, n: int = 5) -> Expr:
        """The first `n` items."""
        return self.slice(0, n)

    def tail(self, n: int = 5) -> Expr:
        """The last `n` items."""
        return self.slice(-n) if n else self.slice(0, 0)

    def contains(self, item: Any) -> Expr:
        """Whether an item equals a value."""
        return self._call("list_contains", item)

    def sum(self) -> Expr:
        """The sum of the items; null if there is none."""
        return self._call("list_sum")

    def min(self) -> Expr:
        """The least item; null if there is none."""
        return self._call("list_min")

    def max(self) -> Expr:
        """The greatest item; null if there is none."""
        return self._call("list_max")

    def sort(self, *, descending: bool = False) -> Expr:
        """The items in order, nulls last."""
        return self._call("list_sort", descending)

    def reverse(self) -> Expr:
        """The items in reverse order."""
        return self._call("list_reverse")

    def unique(self) -> Expr:
        """Each item once, where it first stands."""
        return self._call("list_distinct")

    def n_unique(self) -> Expr:
        """The number of distinct items."""
        return self.unique().list.len()

    def concat(self, *others: Any) -> Expr:
        """The items of several lists one after another; text names a column."""
        return self._call("list_concat", *(self._column(other) for other in others))

    def join(self, separator: str) -> Expr:
        """The texts of the list as one, with a separator between them; nulls are left out."""
        return self._call("list_join", separator)
