"""VillaSource: runs the villa on the pipeline's loop and hands on what comes of it.

Changes of state go to the manager (whose own source carries them on), happenings and announcements
straight to the pipeline. It runs only where `enable_simulation` was called, which `asgi.py` does: a
management command that uses the pipeline must not start a second villa.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.effects import Announcement, Effect, Happening, StateChange
from dating_show.villa.simulation import Villa
from django_update_pipeline import UpdatePriority

logger = logging.getLogger(__name__)

TICK_S = 0.5
"""How often the villa moves on. The page draws what lies between."""

_enabled = threading.Event()
_running: VillaSource | None = None


def enable_simulation() -> None:
    """Lets the villa run in this process, from the next start of the pipeline on.

    With `DATING_SHOW_SIMULATION=off` in the environment it stays empty.
    """
    if os.environ.get("DATING_SHOW_SIMULATION", "on").lower() not in ("off", "0", "false", "no"):
        _enabled.set()


def disable_simulation() -> None:
    """Takes `enable_simulation` back; a villa that runs goes on until its pipeline stops."""
    _enabled.clear()


def running_villa() -> VillaSource | None:
    """The villa that runs in this process, or None."""
    return _running


class VillaSource:
    """A source of the pipeline: the simulation of the villa.

    Args:
        manager: holds the agents.
        clock: steady seconds.
        rng: where chance comes from; a seeded one repeats an evening.
    """

    name = "villa"

    def __init__(
        self,
        manager: UnifiedAgentManager,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        tick_s: float = TICK_S,
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._rng = rng if rng is not None else random.Random()
        self._tick_s = tick_s
        self._orders: deque[Callable[[Villa], object]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self.villa: Villa | None = None

    async def start(self, pipeline: Any) -> None:
        """Brings everybody into the villa and begins to tick; on the pipeline's loop."""
        global _running
        if not _enabled.is_set() or self._task is not None:
            return
        if self.villa is None:
            self.villa = Villa(self._rng, self._clock())
        for one in self.villa.islanders.values():
            self._manager.register_agent(one.agent_id, one.persona.name, one.persona.traits)
            self._manager.update_agent_state(one.agent_id, one.whole_state(), batch_mode=False)
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._task = self._loop.create_task(self._run(pipeline, self.villa, self._wake), name="villa")
        _running = self

    async def stop(self) -> None:
        """Stops ticking; the villa stays as it is, and goes on from there when it is started again."""
        global _running
        if _running is self:
            _running = None
        task, self._task, self._loop = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def order(self, order: Callable[[Villa], object]) -> None:
        """Has `order(villa)` called before the next step, which comes at once. From any thread."""
        self._orders.append(order)
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            # A closed loop raises: the order then waits for the next start.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

    def knows(self, agent_id: str) -> bool:
        """Whether an agent is one of the villa's own. From any thread."""
        return self.villa is not None and agent_id in self.villa.islanders

    async def _run(self, pipeline: Any, villa: Villa, wake: asyncio.Event) -> None:
        while True:
            failed = False
            for work in (*self._take_orders(villa), lambda: self._step(pipeline, villa)):
                try:
                    work()
                except Exception:  # The show must go on: a bad order or a full pipeline ends nothing.
                    failed = True
                    if not self._failing:
                        logger.exception("villa step failed; more failures in a row are not logged")
            self._failing = failed
            try:
                async with asyncio.timeout(self._tick_s):
                    await wake.wait()
                wake.clear()
            except TimeoutError:
                pass

    def _take_orders(self, villa: Villa) -> list[Callable[[], object]]:
        taken: list[Callable[[], object]] = []
        while self._orders:
            taken.append(partial(self._orders.popleft(), villa))
        return taken

    def _step(self, pipeline: Any, villa: Villa) -> None:
        failure: Exception | None = None
        for effect in villa.step(self._clock()):
            try:
                self._hand_on(pipeline, effect)
            except Exception as error:  # The other effects of this step are still true.
                failure = error
        if failure is not None:
            raise failure

    def _hand_on(self, pipeline: Any, effect: Effect) -> None:
        match effect:
            case StateChange(agent_id, updates, priority):
                self._manager.update_agent_state(agent_id, updates, batch_mode=priority > UpdatePriority.HIGH)
            case Happening(agent_id, update_type, data, priority):
                pipeline.queue_agent_update(
                    agent_id=agent_id, update_type=update_type, data=data, priority=priority
                )
            case Announcement(message, level):
                pipeline.queue_system_notification(message, level=level)
