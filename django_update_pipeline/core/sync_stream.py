"""A sync connection as its writer sees it: a session whose frames spend credit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from .credit import ASK_EVERY_S, Asked, Credit
from .sync_frames import ACK, PART_CHARS, SyncFrame
from .sync_live import Positions, SyncLive, SyncRenderer
from .sync_session import SyncSession
from .view import View

#: So many repairs that one connection reports are counted: it may say what it likes.
MAX_REPAIRS: Final = 1000


class SyncStream(SyncSession):
    """Law C5: unacknowledged bytes stay within the window; without credit a connection is skipped at no cost.

    Law E4 (weight): of one connection's acknowledgements at most one in `ASK_EVERY_S` is a sample of ages, and of its
    repairs `MAX_REPAIRS` count.
    Law E5 (news): no sample counts a change that this connection was told before.

    Args:
        credit: the socket's window.
        monotonic: seconds that never go back.
    """

    __slots__ = ("_monotonic", "_repairs_left", "_sampled_at", "credit")

    def __init__(self, renderer: SyncRenderer, credit: Credit, monotonic: Callable[[], float]) -> None:
        super().__init__(renderer)
        self.credit = credit
        self._monotonic = monotonic
        self._sampled_at = -ASK_EVERY_S
        self._repairs_left = MAX_REPAIRS

    protocol: str = "sync"

    def begin(self, channel: str) -> None:
        """Puts the connection on a channel, all of it, from nothing."""
        self.subscribe({View(channel): None})

    @property
    def place(self) -> tuple[int, Positions]:
        """What connections must have in common to share frames."""
        return self.position, self.positions

    @property
    def key(self) -> tuple[View, ...]:
        """What connections that wait for the same news have in common."""
        return self.views

    def has_room(self) -> bool:
        """Whether the client may be sent more: how much the next frame is, is known once it is made, so a part's size
        is left for it.
        """
        return self.credit.has_room(min(PART_CHARS, self.credit.window_bytes // 4))

    def at_once(self, live: SyncLive) -> bool | None:
        """Whether all of these frames may be written in one piece: None if not, else whether the last one asks."""
        size = live.size
        if not live.frames or not self.credit.has_room(size):
            return None
        now = self._monotonic()
        asks = self.credit.must_ask(size, now)
        self.credit.sent(size, self._asked(live.frames[-1], now, self._is_news(live)) if asks else None)
        return asks

    def texts(self, live: SyncLive) -> Iterator[str]:
        """The frames one by one, each to be written at once, while there is room."""
        for frame in live.frames:
            if not self.credit.has_room(len(frame.text)):
                return
            yield self._spend(frame, live)

    def next_text(self) -> str | None:
        """The next frame of the pass; None ends it."""
        frame = self.next_frame()
        return None if frame is None else self._spend(frame)

    def repaired(self, said: int) -> int:
        """How many of the repairs that its client reports count."""
        counted = min(said, self._repairs_left)
        self._repairs_left -= counted
        return counted

    def _spend(self, frame: SyncFrame, live: SyncLive | None = None) -> str:
        now, size = self._monotonic(), len(frame.text)
        asks = self.credit.must_ask(size, now, is_empty=frame.is_empty)
        asked = self._asked(frame, now, live is None or self._is_news(live)) if asks else None
        self.credit.sent(size + len(ACK) * asks, asked)
        return frame.asking if asks else frame.text

    def _is_news(self, live: SyncLive) -> bool:
        """Whether none of the shared frames' changes were told to this connection before."""
        return live.base == self.positions and self.position >= self.told_until

    def _asked(self, frame: SyncFrame, now: float, is_news: bool) -> Asked:
        queued = frame.queued
        if not is_news or now - self._sampled_at < ASK_EVERY_S:
            queued = ()
        if queued:
            self._sampled_at = now
        return Asked(frame.view.channel, frame.to, now, frame.oldest, queued)
