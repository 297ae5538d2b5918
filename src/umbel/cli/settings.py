"""What the command's options say about every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.api.durable import Keeping
    from umbel.optimizer import Budget
    from umbel.platforms.registry import Registry


@dataclass(frozen=True)
class Settings:
    """Options that hold for each run.

    Attributes:
        on: the only platforms to use; none means all.
        budget: bounds on the estimates; None leaves it to the script.
        progress: show progress; None leaves it to the script.
        explain: say before each run how it will run.
        record: show after each run what was measured.
        keeping: how runs are kept; None leaves it to the script.
        coordinator: the URL of who is asked; None runs plans here.
        token: the reference to what the coordinator knows one by.
    """

    on: tuple[str, ...] = ()
    budget: Budget | None = None
    progress: bool | None = None
    explain: bool = False
    record: bool = False
    keeping: Keeping | None = None
    coordinator: str | None = None
    token: str | None = None

    @classmethod
    def of(
        cls,
        on: Sequence[str] | None,
        seconds: float | None,
        dollars: float | None,
        progress: bool | None = None,
        explain: bool = False,
        record: bool = False,
        coordinator: str | None = None,
        token: str | None = None,
    ) -> Settings:
        """Read the options.

        Raises:
            PlanError: a negative budget, or a token for nobody.
        """
        from umbel.optimizer import Budget

        bounded = seconds is not None or dollars is not None
        budget = Budget(seconds, dollars) if bounded else None
        if token is not None and coordinator is None:
            raise PlanError("--token is for a coordinator", hint="name it: --coordinator URL")
        return cls(tuple(on or ()), budget, progress, explain, record, None, coordinator, token)

    def platforms(self) -> Registry:
        """The platforms that may be used.

        Raises:
            UnknownNameError: `on` names none.
            PlacementError: `on` names one that is not installed.
        """
        from umbel.platforms.registry import Registry

        found = Registry.discover()
        return found.only(*self.on) if self.on else found
