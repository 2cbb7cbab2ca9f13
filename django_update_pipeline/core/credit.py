"""How much one client may have in flight: what it has been sent and has not acknowledged.

Socket buffers would hold seconds of stale frames, and some servers' `send()` never waits. So a client acknowledges
what it has *applied*, now and then, and without an acknowledgement it is sent no more than its window; what it misses
meanwhile costs nothing, and is sent newest first once there is room.

Belongs to one loop and takes no locks; time is passed in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: A client is asked again after so many seconds, however little it was sent.
ASK_EVERY_S: Final = 0.25

#: How long what is in flight may take to be applied, beyond a quick answer's time: so much older is what comes next.
PACE_S: Final = 0.3

#: Up to so long nobody can tell a slow client from a busy server, and the window grows.
QUICK_S: Final = 0.2

#: A new client's window is one in so many, until it has shown its pace.
FIRST_SHARE: Final = 16

#: A client that keeps talking but does not answer an ask for so long is closed.
SILENT_AFTER_S: Final = 30.0


class Asked(NamedTuple):
    """The frame whose acknowledgement is awaited.

    `at` is when it was sent, in monotonic seconds; `oldest` when its first change was queued, in Unix seconds (0 if
    there is none): what an age that the client measures counts from. `queued` has each priority of which there is news
    to this client, and when its first change was queued; empty where the acknowledgement is no sample of anything.
    """

    channel: str
    offset: int
    at: float
    oldest: float = 0.0
    queued: tuple[tuple[int, float], ...] = ()


class Credit:
    """One socket's window.

    Law K1: what is unacknowledged is at most the window and one frame, where each frame sent had room.
    Law K2: at most one acknowledgement is awaited at a time; what is not awaited acknowledges nothing.
    Law K3: a client that acknowledges what it is asked for is never without room for ever.
    Law K4: while acknowledgements take `PACE_S` longer than the quickest did, the window is what the client applied in
    `PACE_S` (two frames at least); while they are quick, it grows up to what it was made with, though not beyond what
    the client applies in `PACE_S` by what this one took: it doubles with each that came at once, or, on a long line and
    once it had been too much, grows by an eighth.

    `window_bytes` and `window_frames` are the window as it is now.

    Args:
        window_bytes: of frames in flight, at most.
        window_frames: how many frames in flight, at most.
        share: it begins with one in so many of these.
    """

    __slots__ = (
        "_asked_at",
        "_before_bytes",
        "_before_frames",
        "_most_bytes",
        "_most_frames",
        "_quickest_s",
        "_was_late",
        "asked",
        "bytes_in_flight",
        "frames_in_flight",
        "window_bytes",
        "window_frames",
    )

    def __init__(self, window_bytes: int, window_frames: int, share: int = 1) -> None:
        self._most_bytes, self._most_frames = window_bytes, window_frames
        self.window_bytes = max(1, window_bytes // share)
        self.window_frames = max(2, window_frames // share)
        self._before_bytes = self._before_frames = 0  # in flight up to the frame that asked, itself included
        self._quickest_s = float("inf")
        self._was_late = False
        self.asked: Asked | None = None
        self.bytes_in_flight = self.frames_in_flight = 0
        self._asked_at = -ASK_EVERY_S

    def has_room(self, size: int = 1) -> bool:
        """Whether a frame of so many bytes may be sent now."""
        if self.asked is None:  # the next frame will ask if it has to, and nobody waits for nothing
            return True
        return self.bytes_in_flight + size <= self.window_bytes and self.frames_in_flight < self.window_frames

    def must_ask(self, size: int, now: float, *, is_empty: bool = False) -> bool:
        """Whether a frame of so many bytes, sent now, has to ask for its acknowledgement.

        One that says nothing (`is_empty`) asks only for the window's sake, and not while it is narrow for a start:
        there is nothing to apply, and no age.
        """
        return self.asked is None and (
            2 * (self.bytes_in_flight + size) >= self.window_bytes
            or 2 * (self.frames_in_flight + 1) >= (self._most_frames if is_empty else self.window_frames)
            or (not is_empty and now - self._asked_at >= ASK_EVERY_S)
        )

    def sent(self, size: int, asked: Asked | None) -> None:
        """A frame of so many bytes was sent; `asked` if it asks."""
        self.bytes_in_flight += size
        self.frames_in_flight += 1
        if asked is not None:
            self.asked = asked
            self._asked_at = asked.at
            self._before_bytes, self._before_frames = self.bytes_in_flight, self.frames_in_flight

    def acknowledged(self, channel: str, offset: int, now: float) -> Asked | None:
        """The client has applied a frame; returns what was asked if it is that one, else None, and nothing changes."""
        asked = self.asked
        if asked is None or asked.channel != channel or asked.offset != offset:
            return None
        self.asked = None
        self.bytes_in_flight -= self._before_bytes
        self.frames_in_flight -= self._before_frames
        self._pace(now - asked.at)
        return asked

    def _pace(self, took_s: float) -> None:
        """Fits the window to a client that took so long to apply what was in flight (Law K4)."""
        self._quickest_s = min(self._quickest_s, took_s)
        late_s = took_s - self._quickest_s
        if late_s > PACE_S:
            share = PACE_S / late_s
            self.window_bytes = min(self.window_bytes, max(1, int(self._before_bytes * share)))
            self.window_frames = min(self.window_frames, max(2, int(self._before_frames * share)))
            self._was_late = True
        elif late_s <= QUICK_S:
            step = 8 if self._was_late or took_s > QUICK_S else 1
            # So many times as much takes `PACE_S` longer.
            paces = PACE_S / late_s if late_s > 0.0 else float("inf")
            self.window_bytes = _grown(self.window_bytes, step, self._most_bytes, self._before_bytes * paces)
            self.window_frames = _grown(
                self.window_frames, step, self._most_frames, self._before_frames * paces
            )

    def is_overdue(self, now: float) -> bool:
        """Whether an acknowledgement has been awaited for too long."""
        return self.asked is not None and now - self.asked.at > SILENT_AFTER_S


def _grown(window: int, step: int, most: int, applied: float) -> int:
    """A window that is one in `step` larger, up to `most` and to what the client applies in `PACE_S`."""
    return max(window, int(min(most, window + max(1, window // step), applied)))
