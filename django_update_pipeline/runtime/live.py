"""What operators see without asking: samples for the last minutes, reports at intervals, events at once.

One timer for the process, whoever watches. A report is made and encoded once for all who are due. Nothing is queued
for a socket: a watcher holds the newest report of each kind that it was not sent yet and the number of the last
event it was told, and its connection's writer takes from there what it can write. A stalled one costs that much.

    timer ─▶ metrics, health, connections ─▶ each watcher: "there is something" ─▶ its writer: next_frame()

Everything belongs to the pipeline's loop, but for `happened` and `letters_added`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..core import frames
from ..core.codes import SESSION_ENDED
from ..core.commands import LIVE_REPORTS
from ..core.history import SAMPLE_INTERVAL_S, History
from ..core.repeats import Repeats
from .complaints import complain
from .connection import KINDS, Connection

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)

#: A watcher's permission is asked for again so often, and is good for so long after the last yes.
CHECK_EVERY_S: Final = 10.0
GOOD_FOR_S: Final = 30.0

#: Health asks plugins' checks: at most so often, however short an interval is.
HEALTH_EVERY_S: Final = 1.0

#: Dead letters are told at most so often.
LETTERS_EVERY_S: Final = 1.0

#: Who is due within so short a time is served along, so that reports are made once for all.
TOGETHER_S: Final = 0.05


class Watcher:
    """One admin socket that has reports sent by themselves."""

    def __init__(
        self, live: Live, connection: Connection, interval_s: float, may_watch: Callable[[], Awaitable[bool]]
    ) -> None:
        now = live.clock.monotonic()
        self.connection = connection
        self.interval_s = interval_s
        self.due_at = now
        self.position = live.history.last_number
        self.good_until = now + GOOD_FOR_S
        self.check_at = now + CHECK_EVERY_S
        self.may_watch = may_watch
        self.check: asyncio.Task[None] | None = None
        self.is_paused = False
        self._live = live
        self._reports: dict[str, str] = {}

    def offer(self, reports: Mapping[str, str]) -> None:
        """New reports take the place of those that were not sent; each kind keeps its turn."""
        self._reports.update(reports)
        self.due_at = self._live.clock.monotonic() + self.interval_s
        self.connection.wake()

    def next_frame(self) -> str | None:
        """What to write next: events in their order, then reports. Asked by the connection's writer."""
        live = self._live
        if live.clock.monotonic() >= self.good_until:
            return None
        event = live.history.after(self.position)
        if event is not None:
            self.position = event.number
            return frames.live_report(event.kind, {"number": event.number, **event.data}, event.at)
        for kind in self._reports:
            return self._reports.pop(kind)
        return None


class Live:
    """The history, its timer, and who watches."""

    def __init__(self, pipeline: UpdatePipeline) -> None:
        self._pipeline = pipeline
        self.clock = pipeline.clock
        self.history = History()
        self._complaints = Repeats()
        self._watchers: dict[Connection, Watcher] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sample_at = 0.0
        self._health = (float("-inf"), "")
        self._inbox: deque[tuple[str, Mapping[str, Any], float]] = deque(maxlen=1000)
        self._is_called = False
        self._letters_told = 0
        self._letters_told_at = float("-inf")
        self._are_letters_called = False

    def start(self) -> None:
        """Begins to take samples, on the running loop if it is the pipeline's. Idempotent and cheap."""
        loop = asyncio.get_running_loop()
        if self._loop is loop or self._pipeline._life.loop is not loop:
            return
        self.stop()
        self._loop = loop
        self._sample_at = self.clock.monotonic()
        self._gather()
        self._set_timer()

    def stop(self) -> None:
        """Ends the timer and everybody's watch, also of a loop that is gone."""
        loop, self._loop = self._loop, None
        timer, self._timer = self._timer, None
        watchers = list(self._watchers)
        self._is_called = self._are_letters_called = False
        if loop is None or loop.is_closed():
            self._watchers.clear()
            return
        if timer is not None:
            timer.cancel()
        for connection in watchers:
            self.unwatch(connection)

    # who watches

    def watch(
        self, connection: Connection, interval_s: float, may_watch: Callable[[], Awaitable[bool]]
    ) -> None:
        """Has reports sent to a connection, the first at once. Again: another interval."""
        self.start()
        watcher = self._watchers.get(connection)
        if watcher is None:
            watcher = self._watchers[connection] = Watcher(self, connection, interval_s, may_watch)
            connection.live = watcher.next_frame
        else:
            watcher.interval_s, watcher.due_at = interval_s, self.clock.monotonic()
        self._set_timer()

    def unwatch(self, connection: Connection) -> None:
        """Ends it. Idempotent."""
        watcher = self._watchers.pop(connection, None)
        if watcher is None:
            return
        connection.live = None
        if watcher.check is not None:
            watcher.check.cancel()

    @property
    def watcher_count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    # the timer

    def _set_timer(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        due_at = min([self._sample_at, *(watcher.due_at for watcher in self._watchers.values())])
        self._timer = loop.call_later(max(0.0, due_at - self.clock.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.clock.monotonic()
        try:
            self._serve(now)
        except Exception as error:  # the timer's boundary: a report that fails must not be the last one
            complain(logger, error, "a report to the admin sockets failed", repeats=self._complaints)
            for watcher in self._watchers.values():
                watcher.due_at = max(watcher.due_at, now + watcher.interval_s)
        if self._sample_at <= now:
            self._sample_at = now + SAMPLE_INTERVAL_S
        self._set_timer()

    def _serve(self, now: float) -> None:
        for watcher in [one for one in self._watchers.values() if not one.connection.is_registered]:
            self.unwatch(watcher.connection)
        for watcher in self._watchers.values():
            if watcher.check_at <= now and watcher.check is None:
                watcher.check = asyncio.get_running_loop().create_task(
                    self._check(watcher), name="update-pipeline-permission"
                )
        due = [one for one in self._watchers.values() if one.due_at <= now + TOGETHER_S]
        if not due and self._sample_at > now + TOGETHER_S:
            return
        metrics = self._pipeline.get_performance_metrics()
        at = self.clock.time()
        if self._sample_at <= now + TOGETHER_S:
            self._sample_at = now + SAMPLE_INTERVAL_S
            self.history.sample(metrics, metrics["connections_behind"], at)
        if not due:
            return
        health, of_metrics, of_connections = LIVE_REPORTS
        reports = {
            health: self._health_text(now, at),
            of_metrics: frames.live_report(of_metrics, metrics, at),
            of_connections: frames.live_report(of_connections, connection_summary(self._pipeline), at),
        }
        for watcher in due:
            watcher.offer(reports)

    def _health_text(self, now: float, at: float) -> str:
        made_at, text = self._health
        if now - made_at >= HEALTH_EVERY_S - TOGETHER_S:
            text = frames.live_report("health_status", self._pipeline.get_health_status(), at)
            self._health = now, text
        return text

    async def _check(self, watcher: Watcher) -> None:
        """Asks whether one may still watch. A no ends the socket; no answer only pauses it."""
        now = self.clock.monotonic
        try:
            try:
                async with asyncio.timeout(self._pipeline.config.connections.hook_timeout_s):
                    is_allowed = await watcher.may_watch()
            except Exception as error:  # the boundary to who knows: a data base that is down, say
                watcher.check_at = now() + CHECK_EVERY_S / 2
                if now() >= watcher.good_until - CHECK_EVERY_S and not watcher.is_paused:
                    watcher.is_paused = True
                    logger.warning(
                        "an operator's permission can't be asked for, so that socket is sent no reports: %s",
                        type(error).__name__,
                    )
                    watcher.connection.reply(
                        frames.error_frame(
                            "whether this connection may watch can't be found out: reports pause until it can",
                            "timeout",
                        )
                    )
                return
            if is_allowed:
                watcher.good_until, watcher.check_at = now() + GOOD_FOR_S, now() + CHECK_EVERY_S
                watcher.is_paused = False
                watcher.connection.wake()
            else:
                self._watchers.pop(watcher.connection, None)
                watcher.connection.live = None
                watcher.connection.close(SESSION_ENDED)
        finally:
            watcher.check = None

    # what happens

    def happened(self, kind: str, data: Mapping[str, Any]) -> None:
        """Something of LIVE_EVENTS happened: it is kept, and whoever watches is told. Any thread."""
        self._inbox.append((kind, data, self.clock.time()))
        if not self._is_called:
            self._is_called = True
            self._call(self._gather)

    def letters_added(self) -> None:
        """Updates died. Any thread, for each of them: a flood is told once a second."""
        if not self._are_letters_called:
            self._are_letters_called = True
            self._call(self._letters_due)

    def _call(self, what: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            self._is_called = self._are_letters_called = False  # `start` looks
            return
        with suppress(RuntimeError):  # closed meanwhile
            loop.call_soon_threadsafe(what)

    def _gather(self) -> None:
        self._is_called = False
        while self._inbox:
            self.history.happened(*self._inbox.popleft())
        for connection in self._watchers:
            connection.wake()

    def _letters_due(self) -> None:
        if self._loop is None:
            return
        wait_s = self._letters_told_at + LETTERS_EVERY_S - self.clock.monotonic()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._letters_due)
            return
        self._are_letters_called = False
        letters = self._pipeline.dead_letters
        total = letters.total
        count, self._letters_told = total - self._letters_told, total
        self._letters_told_at = self.clock.monotonic()
        newest = letters.newest()
        if count and newest is not None:
            self.happened(
                "dead_letters_added",
                {
                    "count": count,
                    "total": total,
                    "kept": len(letters),
                    "newest": {
                        "number": newest.number,
                        "agent_id": newest.agent_id,
                        "update_type": newest.update_type,
                        "reason": newest.reason,
                    },
                },
            )


def connection_summary(pipeline: UpdatePipeline) -> dict[str, Any]:
    """How many connections there are: what `get_connections` and the live `connection_info` begin with."""
    manager = pipeline.websocket_manager
    by_kind = Counter(connection.kind for connection in list(manager.connections.values()))
    return {
        "count": by_kind.total(),
        "by_kind": {kind: by_kind[kind] for kind in KINDS},
        "behind": manager.behind_count(),
        "opened": manager.opened_count,
        "closed": manager.closed_count,
        "watching": pipeline.live.watcher_count,
    }
