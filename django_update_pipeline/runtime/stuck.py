"""Connections that are stuck in a write: found by looking now and then, and closed.

A slow reader costs one integer (`connections`), but a socket that takes nothing at all keeps its task and whatever its
server has buffered for it. Progress is counted in looks, not in seconds: a loop that was blocked, or a machine that
slept, looks once when it is back, so its own stall is not taken for its clients'.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..core.codes import TOO_SLOW
from ..core.repeats import Repeats

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

#: So many looks in a row without progress are `stuck_timeout_s`.
LOOKS: Final = 4

#: Health speaks of those that were closed within this, seconds.
OF_LATE_S: Final = 60.0


class StuckWriters:
    """Looks at all connections four times in `timeout_s`, while there are any. On the loop.

    Args:
        connections: all there are, by id.
        timeout_s: how long a socket may take nothing; it is closed at most a quarter later.
    """

    def __init__(
        self, connections: Mapping[str, Connection], timeout_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._connections = connections
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # By connection: how many frames it had been handed, and for how many looks that has been so.
        self._seen: dict[Connection, tuple[int, int]] = {}
        self._closed_at: deque[float] = deque(maxlen=10_000)
        self._complaints = Repeats()
        self.closed_count = 0

    def watch(self) -> None:
        """There is a connection: from now on it looks."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self._timeout_s / LOOKS, self._look)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None and self._loop is not None and not self._loop.is_closed():
            self._timer.cancel()
        self._timer = self._loop = None
        self._seen.clear()

    def closed_of_late(self) -> int:
        """How many were closed within the last minute. Any thread."""
        since = self._monotonic() - OF_LATE_S
        return sum(1 for at in list(self._closed_at) if at >= since)

    def _look(self) -> None:
        self._timer = None
        before, self._seen = self._seen, {}
        for connection in list(self._connections.values()):
            if connection.is_idle:
                continue
            count, looks = before.get(connection, (-1, 0))
            if connection.written != count:
                looks = -1
            if looks + 1 < LOOKS:
                self._seen[connection] = connection.written, looks + 1
                continue
            self.closed_count += 1
            self._closed_at.append(self._monotonic())
            if told := self._complaints.add():
                logger.warning(
                    "connection %s took no frame for %g s (CONNECTIONS stuck_timeout_s) and is closed (%d so far)",
                    connection.connection_id,
                    self._timeout_s,
                    told,
                )
            connection.close(TOO_SLOW)
        if self._connections:
            self.watch()
