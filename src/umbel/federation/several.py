"""What sessions over several sites share: tables whose rows lie at more than one of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from umbel.api.dataframe import DataFrame
from umbel.api.session import Session
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator
from umbel.plan.sources import split_name

if TYPE_CHECKING:
    from umbel.api.catalog import TableName


class SessionOverSites(Session):
    """A session in which a name of one part stands for the rows of all sites that have it."""

    @abstractmethod
    def rows_of_sites(self, name: str) -> Operator:
        """Give the rows of all sites that publish a table, as the caller's line wrote it.

        Raises:
            UnknownNameError: no site does.
            PlanError: its parts have different columns.
        """

    def table(self, name: TableName, **options: Any) -> DataFrame:
        """A DataFrame of a table of the federation, or of what is attached to this session.

        Args:
            name: "patients" for the rows of all sites that have such a table, "north.patients"
                for those of one.
            options: what the kind of namespace offers.

        Raises:
            UnknownNameError: there is no such table; says which there are.
            PlanError: its parts at the sites have different columns; says which.
        """
        parts = split_name(name) if isinstance(name, str) else tuple(name)
        if len(parts) != 1:
            return super().table(name, **options)
        for option in options:
            raise PlanError(f"a table of several sites has no option {option!r}")
        return DataFrame(self.rows_of_sites(parts[0]), self)


__all__ = ["SessionOverSites"]
