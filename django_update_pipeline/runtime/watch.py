"""Looks again at who is behind the sockets, for as long as they are open: a log-in may end before its socket does.

    a signal (any thread) ──▶ look_again(key) ─┐
    a clock, at random moments ────────────────┼──▶ one look for all that are due ──▶ ended, narrowed, or as before
    a subscription that raced with either ─────┘

Independent of what is spoken over a socket, and of where users come from: `Look` finds out, in one go for many; the
socket says how it ends and how it loses channels. The door puts sockets in and takes them out.

A look that fails changes nothing at first, and is tried again. Who could not be confirmed for `recheck_s` loses the
socket (it may come back), and channels that no hook confirmed for so long are taken off: no answer is a no, but one
lost query is not the end of ten thousand sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import random
import threading
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Protocol

from ..core.codes import INTERNAL_ERROR, SESSION_ENDED, CloseCode
from ..core.repeats import Repeats
from .complaints import complain

logger = logging.getLogger(__name__)

#: So many sockets are looked at in one go.
BATCH: Final = 200
#: What is told within this time is one look.
GATHER_S: Final = 0.05
#: Keys that ended are remembered, for handshakes that were under way: so many.
MAX_ENDED: Final = 10_000


class Identity(Protocol):
    """How somebody was found, so that they can be looked up again."""

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """What signals name them by."""


class Watched(Protocol):
    """A socket as the watch sees it. All its methods belong to the loop."""

    @property
    def client(self) -> Any:
        """Has `identity` (an `Identity` or None), and a `user` that is replaced by each look."""

    def end(self, code: CloseCode) -> None:
        """Sends nothing more and closes."""

    async def narrow(self, *, is_overdue: bool) -> bool:
        """Asks again what it may be on, and takes off what not. False: some question got no answer.

        With `is_overdue` no answer is a no.
        """


@dataclass(frozen=True, slots=True)
class Standing:
    """What a look found: `user` as they are now, None if they are no longer there or no longer may.

    `valid_s` is how long the log-in lasts if nothing happens, None if that is not known.
    """

    user: Any
    valid_s: float | None = None


#: Looks at many at once; for each what was found, or None where that could not be told.
Look = Callable[[Sequence[Any]], Awaitable[Sequence[Standing | None]]]


class _Entry:
    """One socket's place here. The queue may hold it long after the socket left, so it lets go of it then."""

    __slots__ = ("confirmed_at", "due_at", "socket")

    def __init__(self, socket: Watched, now: float) -> None:
        self.socket: Watched | None = socket
        self.confirmed_at = now
        self.due_at = math.inf


class Watch:
    """The sockets of one loop. Its task lives while there are any.

    Args:
        look: finds out who is still who they were.
        recheck_s: how long a change may go unnoticed where nothing tells of it. Looks come at random moments between
            0.4 and 0.7 of it, so that they neither come together nor miss it when one fails.
        look_timeout_s: how long a look may take.
        monotonic: monotonic clock, seconds.
    """

    def __init__(
        self, look: Look, *, recheck_s: float, look_timeout_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._look = look
        self._recheck_s = recheck_s
        self._look_timeout_s = look_timeout_s
        self._monotonic = monotonic
        self._random = random.Random()
        self._entries: dict[Watched, _Entry] = {}
        self._by_key: defaultdict[Hashable, set[Watched]] = defaultdict(set)
        self._queue: list[tuple[float, int, _Entry]] = []
        self._numbers = count()
        self._ended: deque[Hashable] = deque(maxlen=MAX_ENDED)
        self._ended_set: set[Hashable] = set()
        self._lock = threading.Lock()
        self._notices = 0
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.failures = Repeats()

    # any thread

    def mark(self) -> int:
        """A number that changes with each notice: who looked somebody up before one must look again after it."""
        return self._notices

    def look_again(self, key: Hashable | None = None, delay_s: float = 0.0) -> None:
        """Something changed about who has this key, or about anybody (None): they are looked at soon."""
        self._notice(lambda: self._suspect_all(key, delay_s))

    def end(self, key: Hashable, *, for_good: bool = False) -> None:
        """The log-in with this key has ended. `for_good`: no new one can have it, so handshakes with it end, too."""
        if for_good:
            with self._lock:
                if len(self._ended) == MAX_ENDED:
                    self._ended_set.discard(self._ended[0])
                self._ended.append(key)
                self._ended_set.add(key)
        self._notice(lambda: self._end_all(key))

    def _notice(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._notices += 1
            loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: its sockets are gone with it
                loop.call_soon_threadsafe(call)

    # the loop

    def join(self, socket: Watched, mark: int, valid_s: float | None = None) -> bool:
        """Watches a socket from now on. False: its log-in has ended meanwhile, and it must not be served.

        Args:
            mark: what `mark()` said before its user was looked up.
            valid_s: how long the log-in lasts if nothing happens, as far as known.
        """
        identity = socket.client.identity
        keys: tuple[Hashable, ...] = () if identity is None else identity.keys
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # an earlier loop ended, and its sockets with it
            self._entries.clear()
            self._by_key.clear()
            self._queue.clear()
            self._loop, self._task, self._wake = loop, None, asyncio.Event()
        with self._lock:
            if not self._ended_set.isdisjoint(keys):
                return False
        now = self._monotonic()
        entry = self._entries[socket] = _Entry(socket, now)
        for key in keys:
            self._by_key[key].add(socket)
        self._schedule(entry, now if mark != self._notices else now + self._pause())
        self._look_at_its_end(entry, valid_s)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="update-pipeline-watch")
        return True

    def leave(self, socket: Watched) -> None:
        """Watches it no more."""
        entry = self._entries.pop(socket, None)
        if entry is None:
            return
        entry.socket = None
        identity = socket.client.identity
        for key in () if identity is None else identity.keys:
            self._by_key[key].discard(socket)
            if not self._by_key[key]:
                del self._by_key[key]
        if not self._entries:
            self._queue.clear()
            if self._task is not None:
                self._task.cancel()
                self._task = None

    def suspect(self, socket: Watched, delay_s: float = 0.0) -> None:
        """Looks at this one soon."""
        entry = self._entries.get(socket)
        if entry is not None:
            self._schedule(entry, self._monotonic() + delay_s)

    async def confirm(self, socket: Watched) -> bool:
        """Looks at this one now; False if it has ended (then it is being closed), or nobody can tell.

        Asked before what needs more than the right to read.
        """
        entry = self._entries.get(socket)
        identity = socket.client.identity
        if identity is None:
            return True
        if entry is None:
            return False
        standing = (await self._find([identity]))[0]
        return standing is not None and self._judge(entry, standing)

    def _suspect_all(self, key: Hashable | None, delay_s: float) -> None:
        sockets: Iterable[Watched] = self._entries if key is None else self._by_key.get(key, ())
        for socket in list(sockets):
            self.suspect(socket, delay_s)

    def _end_all(self, key: Hashable) -> None:
        for socket in list(self._by_key.get(key, ())):
            self.leave(socket)
            socket.end(SESSION_ENDED)

    def _pause(self) -> float:
        return self._recheck_s * self._random.uniform(0.4, 0.7)

    def _schedule(self, entry: _Entry, at: float) -> None:
        if at >= entry.due_at:
            return
        entry.due_at = at
        heapq.heappush(self._queue, (at, next(self._numbers), entry))
        if self._wake is not None:
            self._wake.set()

    def _due(self, now: float) -> list[_Entry]:
        """Up to a batch of those that are due; they have no next time until they are given one."""
        due: list[_Entry] = []
        while self._queue and self._queue[0][0] <= now and len(due) < BATCH:
            at, _, entry = heapq.heappop(self._queue)
            if entry.due_at == at and entry.socket is not None:
                entry.due_at = math.inf
                due.append(entry)
        return due

    async def _run(self) -> None:
        wake = self._wake
        assert wake is not None
        complaints = Repeats()
        while True:
            due = self._due(self._monotonic())
            if due:
                try:
                    await self._look_at(due)
                except Exception as error:  # the last boundary: a bug of ours must not end the watch
                    complain(
                        logger, error, "looking again at %d socket(s) failed", len(due), repeats=complaints
                    )
                    for entry in due:
                        self._again(entry)
            wake.clear()
            wait_s = self._queue[0][0] - self._monotonic() if self._queue else math.inf
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                        await wake.wait()
            await asyncio.sleep(GATHER_S)

    async def _look_at(self, entries: list[_Entry]) -> None:
        identities = {
            entry: entry.socket.client.identity
            for entry in entries
            if entry.socket is not None and entry.socket.client.identity is not None
        }
        known = list(identities)
        standings = await self._find(list(identities.values())) if known else []
        found = dict(zip(known, standings, strict=True))
        await asyncio.gather(*(self._settle(entry, entry in found, found.get(entry)) for entry in entries))

    async def _find(self, identities: Sequence[Any]) -> Sequence[Standing | None]:
        try:
            async with asyncio.timeout(self._look_timeout_s):
                return await self._look(identities)
        except Exception as error:  # the database's boundary
            if times := self.failures.add():
                logger.warning(
                    "users of open sockets can't be looked up (%d time(s)): %s", times, type(error).__name__
                )
            return [None] * len(identities)

    def _judge(self, entry: _Entry, standing: Standing) -> bool:
        """What a look means for a socket: False ends it, or it has left meanwhile."""
        socket = entry.socket
        if socket is None:
            return False
        if standing.user is None:
            self.leave(socket)
            socket.end(SESSION_ENDED)
            return False
        socket.client.user = standing.user
        self._look_at_its_end(entry, standing.valid_s)
        return True

    def _look_at_its_end(self, entry: _Entry, valid_s: float | None) -> None:
        if valid_s is not None and valid_s < self._recheck_s:
            self._schedule(entry, self._monotonic() + max(valid_s, 0.0) + GATHER_S)

    async def _settle(self, entry: _Entry, is_known: bool, standing: Standing | None) -> None:
        socket = entry.socket
        if socket is None:  # it left while it was looked at
            return
        is_overdue = self._monotonic() - entry.confirmed_at > self._recheck_s
        if is_known and standing is None:
            if is_overdue:
                self.leave(socket)
                socket.end(INTERNAL_ERROR)
            else:
                self._again(entry)
            return
        if standing is not None and not self._judge(entry, standing):
            return
        is_narrowed = await socket.narrow(is_overdue=is_overdue)
        if entry.socket is None:
            return
        if is_narrowed:
            entry.confirmed_at = self._monotonic()
            self._schedule(entry, entry.confirmed_at + self._pause())
        else:
            self._again(entry)

    def _again(self, entry: _Entry) -> None:
        """After a failure: soon, and with a look after the last moment it may be left as it is."""
        now = self._monotonic()
        overdue_at = entry.confirmed_at + self._recheck_s
        wait_s = min(1.0, self._recheck_s / 4) * self._random.uniform(0.5, 1.0)
        self._schedule(entry, min(now + wait_s, max(now + 0.01, overdue_at)))
