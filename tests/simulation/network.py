"""A simulated connection: two pipes that delay, fill up, and are cut; in each what was sent first arrives first.

What a TCP connection can't do is not done here: nothing is reordered, doubled or lost in the middle. A cut loses the
end of both pipes; the server may notice at once, late, or only by its own patience. Between connections anything goes.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from django_update_pipeline.core.sync_frames import ACK

from .loop import SimulatedLoop


@dataclass(frozen=True)
class Line:
    """What a client's line is like.

    `waits`: the server's `send` waits while more than `buffer_chars` are under way, as uvicorn's does; daphne's never
    waits, and says nothing of a client that is gone. `is_direct`: frames may be written in one piece.
    """

    latency_s: float
    jitter_s: float
    chars_per_s: float
    waits: bool
    is_direct: bool
    buffer_chars: int

    @classmethod
    def drawn(cls, random: Random) -> Line:
        """Any line."""
        return cls(
            random.choice((0.0, 0.001, 0.03, 0.3)),
            random.choice((0.0, 0.002, 0.2)),
            random.choice((1e9, 1e6, 2e4, 3e3)),
            random.random() < 0.7,
            random.random() < 0.3,
            random.choice((1, 500, 64_000)),
        )


class Link:
    """One socket. `receive` and `send` are what the server sees, `next_text`, `say`, `hang_up` and `cut` the client's.

    Law K1 is watched here, from outside: what is under way and not acknowledged is at most the window and one write.
    """

    def __init__(self, loop: SimulatedLoop, random: Random, line: Line) -> None:
        self.loop = loop
        self.random = random
        self.line = line
        self.is_cut = False  # the client gets nothing more
        self.is_noticed = False  # the server knows
        self.close_code: int | None = None
        self.unsent = 0
        self._down: deque[tuple[float, str | None]] = deque()
        self._up: deque[tuple[float, str]] = deque()
        self._down_at = self._up_at = 0.0
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self.window = (1 << 60, 1 << 60)
        self.in_flight = [0, 0]  # characters and frames
        self._asked: tuple[str, int] | None = None
        self._after = [0, 0]
        self.largest_flight = self._oversize = 0

    # waiting

    async def _wait(self, who: str, until: float | None = None) -> None:
        future = self._waiters[who] = self.loop.create_future()
        timer = None if until is None else self.loop.call_at(until, self._wake, who)
        try:
            await future
        finally:
            if self._waiters.get(who) is future:
                del self._waiters[who]
            if timer is not None:
                timer.cancel()

    def _wake(self, who: str) -> None:
        future = self._waiters.get(who)
        if future is not None and not future.done():
            future.set_result(None)

    def _arrival(self, before: float) -> float:
        delay = self.line.latency_s + self.line.jitter_s * self.random.random()
        return max(before, self.loop.time() + delay)

    # the server's side

    async def receive(self) -> dict[str, Any]:
        """The client's next message."""
        while True:
            now = self.loop.time()
            if self._up and self._up[0][0] <= now:
                text = self._up.popleft()[1]
                self._acknowledged(text)
                return {"type": "websocket.receive", "text": text}
            if self.is_noticed:
                return {"type": "websocket.disconnect"}
            await self._wait("receive", self._up[0][0] if self._up else None)

    async def send(self, message: dict[str, Any]) -> None:
        """Writes one frame."""
        if message["type"] == "websocket.accept":
            return
        if message["type"] == "websocket.close":
            self.close_code = message.get("code")
            self._put(None)
            self.notice_later(0.0)
            return
        self._may_write()
        self._wrote([message["text"]])
        if self.line.waits:
            while self.unsent > self.line.buffer_chars and not self.is_noticed:
                await self._wait("send")
            self._may_write()
        elif self.random.random() < 0.3:
            await asyncio.sleep(0)

    def _may_write(self) -> None:
        if self.is_noticed and self.line.waits:
            raise ConnectionResetError("the client is gone")

    # what `direct_writer` finds: frames in one piece

    def is_open(self) -> bool:
        """Whether a piece may be written now."""
        return not self.is_noticed and self.unsent <= self.line.buffer_chars

    def write(self, piece: bytes) -> bool:
        """Writes WebSocket frames, one after the other."""
        texts = []
        while piece:
            size, at = piece[1], 2
            if size == 126:
                (size,), at = struct.unpack_from("!H", piece, 2), 4
            elif size == 127:
                (size,), at = struct.unpack_from("!Q", piece, 2), 10
            texts.append(piece[at : at + size].decode())
            piece = piece[at + size :]
        self._wrote(texts)
        return True

    def _wrote(self, texts: list[str]) -> None:
        chars = sum(map(len, texts))
        for index, text in enumerate(texts, 1):
            if text.startswith('{"type":"sync"'):
                self._flies(text, index == len(texts))  # frames in one piece count as one
            self._put(text)
        if any(text.startswith('{"type":"sync"') for text in texts):
            # A part is made when there is room for one; one agent may be larger than that.
            self._oversize = max(self._oversize, chars) if chars > self.window[0] // 4 else self._oversize
            most = self.window[0] + chars + self._oversize, self.window[1] + 1
            told = f"law K1: {self.in_flight} under way, the window is {self.window}"
            if self.in_flight[0] > most[0] or self.in_flight[1] > most[1]:
                self.loop.problems.append(told)  # raised here, it would be a socket that fails

    def _flies(self, text: str, is_last: bool) -> None:
        sizes = len(text), int(is_last)
        self.in_flight = [a + b for a, b in zip(self.in_flight, sizes, strict=True)]
        self.largest_flight = max(self.largest_flight, self.in_flight[0])
        if text.endswith(ACK):
            if self._asked is not None:
                self.loop.problems.append("law K2: one acknowledgement is awaited at a time")
            frame = json.loads(text)
            self._asked = frame["channel"], frame["to"]
            self._after = [0, 0]
        elif self._asked is not None:
            self._after = [a + b for a, b in zip(self._after, sizes, strict=True)]

    def _acknowledged(self, text: str) -> None:
        if self._asked is not None and text.startswith('{"type": "ack"'):
            frame = json.loads(text)
            if (frame["channel"], frame["offset"]) == self._asked:
                self._asked = None
                self.in_flight = self._after

    def _put(self, text: str | None) -> None:
        self._down_at = self._arrival(self._down_at)
        if not self.is_cut:
            self._down.append((self._down_at, text))
            self._wake("next")
        self.unsent += len(text or "")

    # the client's side

    async def next_text(self) -> str | None:
        """The next frame; None: the connection is over."""
        while not self.is_cut:
            if self._down and self._down[0][0] <= self.loop.time():
                text = self._down.popleft()[1]
                if text is None:
                    break
                if self.line.chars_per_s < 1e9:
                    await asyncio.sleep(len(text) / self.line.chars_per_s)
                    if self.is_cut:
                        break
                self.unsent -= len(text)
                self._wake("send")
                return text
            await self._wait("next", self._down[0][0] if self._down else None)
        self.cut(0.0)
        return None

    def say(self, frame: dict[str, Any]) -> None:
        """Sends a frame up."""
        if not self.is_cut:
            self._up_at = self._arrival(self._up_at)
            self._up.append((self._up_at, json.dumps(frame)))
            self._wake("receive")

    def cut(self, notice_s: float, *, keeps: int = 1 << 30) -> None:
        """Cuts the line; of what is on its way up the first `keeps` frames arrive. The server notices later."""
        if self.is_cut:
            return
        self.is_cut = True
        self._down.clear()
        while len(self._up) > keeps:
            self._up.pop()
        self._wake("next")
        self.notice_later(notice_s)

    def notice_later(self, seconds: float) -> None:
        """The server learns of it then."""
        self.loop.call_later(seconds, self._noticed)

    def _noticed(self) -> None:
        self.is_noticed = True
        self._wake("receive")
        self._wake("send")
