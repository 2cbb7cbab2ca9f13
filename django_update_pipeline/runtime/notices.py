"""What the pipeline tells of itself: to the plugins' observers, to operators who watch, and to the log.

Nobody is told while the queue's door is held, and a notice that an observer causes from inside itself is told by the
round that is under way, so that two of them cannot send each other round for ever.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..core.messages import UpdateMessage
from ..core.names import one_line
from .boundary import Boundary
from .live import Live
from .observers import Observers

logger = logging.getLogger(__name__)

#: Observers that move the breaker in answer to its moves are told of so many rounds at once; the rest later.
MAX_BREAKER_ROUNDS = 16

#: So many dead updates may wait to be told of; with more, the oldest are told of by the live view's count alone.
MAX_OBITUARIES = 1000


class Notices:
    """Tells one pipeline's news. Each part of it says what happened; who wants to know is decided here.

    `obituaries` are the updates that died and were not told of yet: `(update, reason, cause)`. The delivery adds to
    them behind the door; `tell_of_the_dead` takes them, outside it.
    """

    def __init__(self, observers: Observers, live: Live) -> None:
        self.obituaries: deque[tuple[UpdateMessage, str, str]] = deque(maxlen=MAX_OBITUARIES)
        self._observers = observers
        self._live = live
        self._is_telling_of_the_dead = False
        self._is_telling_of_the_breaker = False

    def batch_delivered(self, size: int, duration_s: float) -> None:
        """`size` updates went to the connections that were ready. On the loop."""
        observers = self._observers
        if observers.batch_delivered:
            observers.tell(observers.batch_delivered, size=size, duration_s=duration_s)

    def tell_of_the_dead(self) -> None:
        """Outside the door, and once round: an observer may queue updates, by which others die. Any thread."""
        self._live.letters_added()
        if self._is_telling_of_the_dead:
            return
        self._is_telling_of_the_dead = True
        try:
            observers = self._observers
            for _ in range(len(self.obituaries)):
                try:
                    update, reason, cause = self.obituaries.popleft()
                except IndexError:  # another thread tells too
                    return
                if observers.dead_lettered:
                    observers.tell(observers.dead_lettered, update=update, reason=reason, cause=cause)
        finally:
            self._is_telling_of_the_dead = False

    def connection_opened(self, connection: Any) -> None:
        """A connection is registered. On the loop."""
        self._tell_of_connection(self._observers.connection_opened, connection)

    def connection_closed(self, connection: Any) -> None:
        """A connection is gone. On the loop."""
        self._tell_of_connection(self._observers.connection_closed, connection)

    def _tell_of_connection(self, told: Sequence[Any], connection: Any) -> None:
        if told:
            self._observers.tell(told, connection_id=connection.connection_id)

    def part_switched(self, boundary: Boundary) -> None:
        """A plugin's part was switched off or on. Any thread."""
        news = {
            "plugin": boundary.plugin,
            "part": boundary.part,
            "is_on": not boundary.is_off,
            "cause": boundary.off_because,
        }
        self._live.happened("part_switched", news)
        observers = self._observers
        if observers.part_switched:
            observers.tell(observers.part_switched, **news)

    def breaker_changed(self, take_events: Callable[[], Sequence[Any]]) -> None:
        """The breaker changed, perhaps by assignment in another thread. `take_events` takes what is not told yet."""
        if self._is_telling_of_the_breaker:  # an observer moved it: told of in the loop that runs
            return
        self._is_telling_of_the_breaker = True
        try:
            for _ in range(MAX_BREAKER_ROUNDS):
                events = take_events()
                if not events:
                    return
                for event in events:
                    self._tell_of_the_breaker(event)
        finally:
            self._is_telling_of_the_breaker = False

    def _tell_of_the_breaker(self, event: Any) -> None:
        before, after = event.before.value, event.after.value
        self._live.happened(
            "circuit_breaker_changed", {"before": before, "after": after, "cause": event.cause}
        )
        logger.warning("circuit breaker: %s -> %s (%s)", before, after, one_line(event.cause))
        observers = self._observers
        if observers.breaker_changed:
            observers.tell(observers.breaker_changed, change=event)
