"""How much a client may send: frames and bytes, each by a token bucket. Independent of what the frames say.

Belongs to one event loop and takes no locks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .codes import RATE_LIMITED, CloseCode
from .config import ConnectionConfig
from .rate_limit import TokenBucket


@dataclass(frozen=True, slots=True)
class Ignored:
    """This frame is not looked at; the client is told why, with the code `rate_limited`."""

    reason: str


class Inbound:
    """Judges each frame of one socket before it is parsed.

    Law I1: what is let in obeys both buckets: in t seconds at most ``burst + messages_per_s * t`` frames, and at
        most ``burst_bytes + bytes_per_s * t`` bytes (a frame larger than the burst counts as the burst).
    Law I2: after `max_rate_limited` ignored frames the next one that is too much closes the socket.
    """

    __slots__ = ("_bytes", "_config", "_messages", "ignored")

    def __init__(self, config: ConnectionConfig, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._messages = (
            TokenBucket(config.messages_per_s, config.burst, monotonic) if config.messages_per_s else None
        )
        self._bytes = (
            TokenBucket(config.bytes_per_s, config.burst_bytes, monotonic) if config.bytes_per_s else None
        )
        self.ignored = 0

    def judge(self, size: int) -> Ignored | CloseCode | None:
        """What becomes of a frame of so many bytes: None lets it in."""
        config = self._config
        if self._messages is not None and not self._messages.try_acquire():
            reason = f"more than {config.messages_per_s:g} frames a second: this one was ignored"
        elif self._bytes is not None and not self._bytes.try_acquire(min(max(size, 1), config.burst_bytes)):
            reason = f"more than {config.bytes_per_s:g} bytes a second: this frame was ignored"
        else:
            return None
        self.ignored += 1
        return RATE_LIMITED if self.ignored > config.max_rate_limited else Ignored(reason)


_BYTES_OF_A_CHARACTER: Final = 4


def frame_size(frame: str | bytes, max_bytes: int) -> int:
    """A frame's size in UTF-8 bytes; of a text above `max_bytes` characters a bound, since it is refused anyway."""
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    if len(frame) > max_bytes:
        return len(frame) * _BYTES_OF_A_CHARACTER
    return len(frame.encode("utf-8", "surrogatepass"))
