"""The driver: what umbel itself runs between the engines, that is loops and files written."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.dataclass import dataclass
from umbel.plan.operators import Loop, Operator, Write
from umbel.plan.sinks import RelationSink
from umbel.platforms.base import ARROW, PYTHON, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile, Linear

#: The name under which stages of the driver appear.
DRIVER = "umbel"


@dataclass(frozen=True)
class Driver:
    """Stands for umbel itself among the platforms. The executor runs its stages."""

    name: str = DRIVER
    engine: str = DRIVER
    version: str = ""
    costs: CostProfile = CostProfile(
        operators={"Write": Linear(fixed=0.002, per_row=2e-8, per_byte=4e-9)}
    )
    reads: Sequence[str] = (ARROW, PYTHON)
    writes: Sequence[str] = (ARROW, PYTHON)
    conversions: Sequence[Conversion] = ()

    def refuse(self, operator: Operator) -> str | None:
        """Only loops and the writing of files run in the driver."""
        if isinstance(operator, Write) and isinstance(operator.sink, RelationSink):
            return f"a table of {operator.sink.platform!r} is written there"
        if isinstance(operator, Loop | Write):
            return None
        return "umbel itself runs only loops and writes files"

    def started(self) -> bool:
        """It is always up."""
        return True

    def compile(self, stage: Stage) -> CompiledStage:
        """The driver's stages are not compiled."""
        raise TypeError(f"the driver compiles no stage: {stage.root.name}")
