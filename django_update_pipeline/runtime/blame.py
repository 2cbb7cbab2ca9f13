"""Who is to blame: which plugin's part has which thread at this moment, and which held one for long.

A synchronous part that blocks can't be interrupted, only named: while it is going on by whoever looks from another
thread, afterwards by the loop. Written by each `Boundary` around its calls; read by health, the loop's watchdog and
commands. Nothing here decides anything.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

#: So many calls that were long are remembered.
KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class PluginCall:
    """One call into a plugin's part. Times are monotonic seconds; `ended` is None while it is going on."""

    plugin: str
    part: str
    thread: int
    began: float
    ended: float | None = None

    def lasted_s(self, now: float) -> float:
        """How long it has had its thread, in seconds."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)

    def __str__(self) -> str:
        return f"{self.part} of plugin {self.plugin}"


class Blame:
    """The calls into plugins that are going on, by thread, and those that were long.

    Args:
        monotonic: monotonic clock, seconds.
        long_s: a call of at least this is remembered after it ended.

    One entry is one dictionary item, so any thread may enter and look without a lock.
    """

    __slots__ = ("_long", "calls", "long_s", "monotonic")

    def __init__(self, monotonic: Callable[[], float], long_s: float = 0.1) -> None:
        self.monotonic = monotonic
        self.long_s = long_s
        #: By thread: the part that is being called in it (anything with `plugin` and `part`), and since when. Who
        #: calls puts the entry there, and afterwards what was there before; see `Boundary.ask`.
        self.calls: dict[int, tuple[Any, float]] = {}
        self._long: deque[PluginCall] = deque(maxlen=KEPT)

    def was_long(self, who: Any, began: float, took: float) -> None:
        """A call in this thread is over that took at least `long_s`."""
        self._long.append(PluginCall(who.plugin, who.part, threading.get_ident(), began, began + took))

    def is_inside(self, who: Any) -> bool:
        """Whether this thread is in a call of this very part: then it calls itself."""
        found = self.calls.get(threading.get_ident())
        return found is not None and found[0] is who

    # for whoever looks

    def current(self, thread: int | None = None) -> PluginCall | None:
        """The innermost call that a thread is in (`threading.get_ident()` of it); the longest of all without one."""
        if thread is not None:
            found = self.calls.get(thread)
            return None if found is None else PluginCall(found[0].plugin, found[0].part, thread, found[1])
        return min(self.all_current(), key=lambda call: call.began, default=None)

    def all_current(self) -> list[PluginCall]:
        """The innermost call of each thread that is in one."""
        return [
            PluginCall(who.plugin, who.part, thread, began)
            for thread, (who, began) in list(self.calls.items())
        ]

    def worst_since(self, since: float, thread: int | None = None) -> PluginCall | None:
        """The longest call that had a thread at any time after `since` (monotonic seconds), going on or ended."""
        now = self.monotonic()
        calls = [*list(self._long), *self.all_current()]
        found = [
            call
            for call in calls
            if (call.ended is None or call.ended > since) and (thread is None or call.thread == thread)
        ]
        return max(found, key=lambda call: call.lasted_s(now), default=None)
