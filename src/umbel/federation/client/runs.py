"""The runs that a coordinator keeps, as their users see and steer them."""

from __future__ import annotations

from typing import Any

from umbel.executor.run_ids import check_id
from umbel.federation.client.connection import Connection


class RemoteRuns:
    """What a coordinator knows of runs: one's own; with the role, those of others.

    Args:
        connection: to the coordinator.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[dict[str, Any]]:
        """List the runs, the newest first."""
        found: list[dict[str, Any]] = self._connection.get("/v1/runs")
        return found

    def show(self, run_id: str) -> dict[str, Any]:
        """Say what is known of a run: its state, and when each stage was at work, and where.

        Raises:
            UnknownNameError: there is none of that id that you may see.
        """
        found: dict[str, Any] = self._connection.get(f"/v1/runs/{check_id(run_id)}")
        return found

    def cancel(self, run_id: str) -> None:
        """Stop a run, at the coordinator and at its sites.

        Raises:
            AccessError: it is another's, and you are no operator.
        """
        self._connection.post(f"/v1/runs/{check_id(run_id)}/cancel")

    def resume(self, run_id: str) -> dict[str, Any]:
        """Let a run that failed or was cancelled go on; give its columns and its state.

        Raises:
            UnknownNameError: there is none of that id that is yours.
        """
        found: dict[str, Any] = self._connection.post(f"/v1/runs/{check_id(run_id)}/resume")
        return found

    def prune(
        self, *, seconds: float, everything: bool = False, dry: bool = False
    ) -> list[dict[str, Any]]:
        """Forget runs that are over, and give them; an operator those of all users.

        Args:
            seconds: for which nothing has happened to them.
            everything: those too that could be resumed.
            dry: only say which.
        """
        body = {"seconds": float(seconds), "everything": everything, "dry": dry}
        found: list[dict[str, Any]] = self._connection.post("/v1/runs/prune", body)
        return found


__all__ = ["RemoteRuns"]
