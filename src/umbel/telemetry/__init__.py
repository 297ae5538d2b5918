"""What others may see of umbel at work: traces and metrics (OpenTelemetry), and logs.

Imports nothing of umbel, and OpenTelemetry only where somebody has configured it: if nobody has,
`active` is a look at a dictionary. Names, counts, sizes and times are told; never data, literals of
queries, or secrets.
"""

from umbel.telemetry.instruments import Instruments, TaskTrace, active, use
from umbel.telemetry.traceparent import checked_traceparent

__all__ = ["Instruments", "TaskTrace", "active", "checked_traceparent", "use"]
