"""Who catches up when: what all of them read from the store has a share of each turn of the loop, whoever asks.

A client decides when it catches up, how often, and of what. Without this a hundred of them would each have its slice
in one turn, and whoever keeps up would wait for all of them. Belongs to one loop at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

#: So much of a turn of the loop is theirs, seconds; one slice is about as long at most.
SHARE_S: Final = 0.002

#: At most so many who waited are let on in one turn: how long their slices are is known only afterwards.
MAX_GRANTS: Final = 16


class Turns:
    """Lets slices begin, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left_s = SHARE_S
        self._grants = 1
        self._is_called = False

    async def take(self) -> None:
        """Waits until a slice may begin: at once if this turn has something left and nobody waits."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # an earlier loop ended, and who waited with it
            self._loop, self._waiting = loop, deque()
            self._left_s, self._is_called = SHARE_S, False
        if self._left_s > 0 and not self._waiting:
            return
        place = loop.create_future()
        self._waiting.append(place)
        self._call(loop)
        await place

    def spent(self, seconds: float) -> None:
        """A slice took so long."""
        self._left_s -= seconds
        if self._loop is not None:
            self._call(self._loop)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_called:
            self._is_called = True
            loop.call_soon(self._next)

    def _next(self) -> None:
        """Another turn of the loop. Short slices let more begin at once, one that was long fewer."""
        self._is_called = False
        self._grants = min(2 * self._grants, MAX_GRANTS) if self._left_s > 0 else max(1, self._grants // 2)
        self._left_s = SHARE_S
        granted = 0
        while self._waiting and granted < self._grants:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                granted += 1
        if self._waiting and self._loop is not None:
            self._call(self._loop)
