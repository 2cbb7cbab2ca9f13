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

    Args:
        window_bytes: of frames in flight.
        window_frames: how many frames in flight.
    """

    __slots__ = (
        "_after_bytes",
        "_after_frames",
        "_asked_at",
        "asked",
        "bytes_in_flight",
        "frames_in_flight",
        "window_bytes",
        "window_frames",
    )

    def __init__(self, window_bytes: int, window_frames: int) -> None:
        self.window_bytes = window_bytes
        self.window_frames = window_frames
        self.asked: Asked | None = None
        self.bytes_in_flight = self.frames_in_flight = 0
        self._after_bytes = self._after_frames = 0  # sent after the frame that is asked for
        self._asked_at = -ASK_EVERY_S

    def has_room(self, size: int = 1) -> bool:
        """Whether a frame of so many bytes may be sent now."""
        if self.asked is None:  # the next frame will ask if it has to, and nobody waits for nothing
            return True
        return self.bytes_in_flight + size <= self.window_bytes and self.frames_in_flight < self.window_frames

    def must_ask(self, size: int, now: float, *, is_empty: bool = False) -> bool:
        """Whether a frame of so many bytes, sent now, has to ask for its acknowledgement.

        One that says nothing (`is_empty`) asks only for the window's sake: there is nothing to apply, and no age.
        """
        return self.asked is None and (
            2 * (self.bytes_in_flight + size) >= self.window_bytes
            or 2 * (self.frames_in_flight + 1) >= self.window_frames
            or (not is_empty and now - self._asked_at >= ASK_EVERY_S)
        )

    def sent(self, size: int, asked: Asked | None) -> None:
        """A frame of so many bytes was sent; `asked` if it asks."""
        self.bytes_in_flight += size
        self.frames_in_flight += 1
        if asked is not None:
            self.asked = asked
            self._asked_at = asked.at
            self._after_bytes = self._after_frames = 0
        elif self.asked is not None:
            self._after_bytes += size
            self._after_frames += 1

    def acknowledged(self, channel: str, offset: int) -> Asked | None:
        """The client has applied a frame; returns what was asked if it is that one, else None, and nothing changes."""
        asked = self.asked
        if asked is None or asked.channel != channel or asked.offset != offset:
            return None
        self.asked = None
        self.bytes_in_flight, self.frames_in_flight = self._after_bytes, self._after_frames
        return asked

    def is_overdue(self, now: float) -> bool:
        """Whether an acknowledgement has been awaited for too long."""
        return self.asked is not None and now - self.asked.at > SILENT_AFTER_S
