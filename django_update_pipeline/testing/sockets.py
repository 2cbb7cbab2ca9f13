"""A client for `pipeline.register_websocket`: it reads, or does not, as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any


class RecordingSocket:
    """Remembers what it was sent, and shows it as a founding client would.

        socket = RecordingSocket()
        await pipeline.register_websocket("one", socket)
        await socket.until(lambda: "agent_001" in socket.states)
        socket.block(); ...; socket.unblock()     # takes no more frames, then takes them again
        socket.fail(ConnectionResetError())       # the next send raises

    `texts` are the frames as they came, `frames` decoded; `states` the newest state of each agent (a removed one is
    not in it), `events` the `agent_update` frames of other types, `notifications` the system's.

    Args:
        delay_s: each send takes so long.
        state_types: the update types that are full states.
    """

    def __init__(self, *, delay_s: float = 0.0, state_types: tuple[str, ...] = ("state_change",)) -> None:
        self.delay_s = delay_s
        self.state_types = frozenset(state_types) | {"state_patch", "state_removed"}
        self.texts: list[str] = []
        self.frames: list[dict[str, Any]] = []
        self.states: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.notifications: list[dict[str, Any]] = []
        self.is_closed = False
        self.blocked = asyncio.Event()  # set while a send waits
        self._error: BaseException | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._close_hangs = False
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def block(self) -> None:
        """Sends wait from now on."""
        self._open.clear()

    def unblock(self) -> None:
        """Sends go on."""
        self._open.set()

    def fail(self, error: BaseException) -> None:
        """Sends raise from now on."""
        self._error = error
        self._open.set()

    def hang_on_close(self) -> None:
        """`close()` never returns."""
        self._close_hangs = True

    async def send(self, text: str) -> None:
        """What the pipeline calls."""
        if not self._open.is_set():
            self.blocked.set()
            try:
                await self._open.wait()
            finally:
                self.blocked.clear()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self._error is not None:
            raise self._error
        self._take(text)

    async def close(self) -> None:
        """What the pipeline calls at the end."""
        if self._close_hangs:
            await asyncio.Event().wait()
        self.is_closed = True
        self._look()

    def _take(self, text: str) -> None:
        frame = json.loads(text)
        self.texts.append(text)
        self.frames.append(frame)
        if frame["type"] == "system_notification":
            self.notifications.append(frame)
        elif frame["type"] == "agent_update":
            if frame["update_type"] == "state_removed":
                self.states.pop(frame["agent_id"], None)
            elif frame["update_type"] in self.state_types:
                self.states[frame["agent_id"]] = frame["data"]
            else:
                self.events.append(frame)
        self._look()

    def _look(self) -> None:
        for waiter in list(self._waiters):
            condition, future = waiter
            if not future.done() and condition():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Waits until the condition holds; it is asked after each frame.

        Raises:
            TimeoutError: it does not hold in time.
        """
        if condition():
            return
        waiter = (condition, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1]
        finally:
            self._waiters.remove(waiter)
