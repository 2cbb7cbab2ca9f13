"""Notices updates that are queued in a process where no pipeline runs, and says so once.

The commonest trap of a newcomer: a Celery task, the shell or a WSGI server queues, everything seems well, and nobody
is told. Queueing before the start is right where a server starts soon, so only what goes on is told of, or what is
left when the process ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)

#: So long a process may queue before its pipeline starts, in seconds.
PATIENCE_S = 10.0


class Unheard:
    """Watches one process's pipeline until it runs for the first time.

    Args:
        pipeline: returns it, or None while there is none.
        monotonic: seconds that never go back.
    """

    def __init__(self, pipeline: Callable[[], UpdatePipeline | None], monotonic: Callable[[], float]) -> None:
        self.is_watching = True
        self._pipeline = pipeline
        self._monotonic = monotonic
        self._since: float | None = None

    def queued(self) -> None:
        """An update is being queued. Any thread; called while `is_watching` only."""
        pipeline = self._watched()
        if pipeline is None:
            return
        if self._since is None:
            self._since = self._monotonic()
        elif self._monotonic() - self._since > PATIENCE_S:
            self._say(f"for {PATIENCE_S:g} s and more")

    def process_ends(self) -> None:
        """What waits now is gone with the process."""
        pipeline = self._watched()
        if pipeline is not None and (waiting := pipeline.get_performance_metrics()["pending"]):
            self._say(f"to the end of the process: {waiting} of them are gone")

    def _watched(self) -> UpdatePipeline | None:
        pipeline = self._pipeline() if self.is_watching else None
        if pipeline is not None and (pipeline.is_running or pipeline.transport.name != "memory"):
            self.is_watching = False
            return None
        return pipeline

    def _say(self, how_long: str) -> None:
        self.is_watching = False
        logger.warning(
            "updates were queued in process %d, in which no pipeline runs, %s: they reach nobody. Ask the running "
            "server through its control socket, use a Channels layer, or queue in the server's own process: see "
            '"Queue from anywhere" in the documents',
            os.getpid(),
            how_long,
        )
