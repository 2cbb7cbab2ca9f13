"""Server-sent events: the sync protocol's frames over one HTTP response, for who can't or may not use a WebSocket.

    GET .../stream/?channels=villa,agent_notifications
    id: agent_notifications=k3f9:1043,villa=k3f9:1044
    data: {"type":"sync","channel":"villa",...}

`Last-Event-ID` (or `since` in the query, in the same form) resumes. There are no acknowledgements: one write is in
flight, which bounds nothing on a server whose `send()` never waits. Source: WHATWG HTML, section 9.2.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ..core import frames
from ..core.codes import RATE_LIMITED, SESSION_ENDED, CloseCode
from ..core.credit import Credit
from ..core.names import valid_channel_name
from ..core.sync_frames import SyncFrame, View
from ..core.sync_live import SyncLive, SyncRenderer
from ..core.sync_stream import SyncStream
from .feed import Session
from .socket import Receive, SendMessage, Socket, SocketClient
from .unsent import bound_unsent, cut

#: A comment is sent after so many seconds of silence, so that no proxy on the way takes the line for dead.
HEARTBEAT_S = 15.0
HEARTBEAT = ":\n\n"

#: How long a browser waits before it comes back, milliseconds.
RETRY_MS = 2000

#: A query has at most so many fields.
MAX_FIELDS = 20

_POSITION = re.compile(r"([A-Za-z0-9._-]{1,90})=([A-Za-z0-9]{1,64}):([0-9]{1,18})")

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Asked(NamedTuple):
    """What a query asks for: channels, each once, and positions; either may be empty."""

    channels: tuple[str, ...]
    since: str


def asked_of(query: bytes) -> Asked:
    """Reads a query.

    Raises:
        ValueError: it has too many fields.
    """
    fields = parse_qs(query.decode("latin-1"), max_num_fields=MAX_FIELDS)
    names = [name for text in fields.get("channels", ()) for name in text.split(",") if name]
    return Asked(tuple(dict.fromkeys(names)), ",".join(fields.get("since", ())))


def positions_of(text: str) -> dict[str, tuple[str, int]]:
    """The positions in a `Last-Event-ID`; what is none is passed over, and leads to a snapshot."""
    found: dict[str, tuple[str, int]] = {}
    for part in text.split(",")[:1000]:
        match = _POSITION.fullmatch(part.strip())
        if match is not None:
            found[match[1]] = (match[2], int(match[3]))
    return found


class NumberedStream(SyncStream):
    """A session whose frames are events of a stream, each with the positions that lead on from it."""

    __slots__ = ("_told",)

    def __init__(self, renderer: SyncRenderer, monotonic: Callable[[], float]) -> None:
        super().__init__(renderer, Credit(1 << 62, 1 << 62), monotonic)
        self._told: dict[str, int] = {}

    def at_once(self, live: SyncLive) -> bool | None:
        """Never: the texts are this connection's own."""
        return None

    def texts(self, live: SyncLive) -> Iterator[str]:
        """The frames one by one, as events."""
        for frame in live.frames:
            yield self._event(frame)

    def next_text(self) -> str | None:
        """The next frame of the pass, as an event; None ends it."""
        frame = self.next_frame()
        return None if frame is None else self._event(frame)

    def _event(self, frame: SyncFrame) -> str:
        self._told[frame.view.channel] = frame.to
        epoch = self.store.epoch
        # Of a channel that was told nothing yet: the position it came back with.
        ids = ",".join(
            f"{view.channel}={epoch}:{self._told.get(view.channel, at)}"
            for view, at in zip(self.views, self.positions, strict=True)
        )
        return f"id: {ids}\ndata: {frame.text}\n\n"


class EventStream(Socket):
    """One response. The door has judged the request, and says what was asked for."""

    def __init__(self, pipeline: Any, client: SocketClient, asked: Asked, last_event_id: str) -> None:
        super().__init__(pipeline, client)
        self._asked = asked.channels or (pipeline.config.default_channel,)
        self._since = positions_of(last_event_id or asked.since)
        self._refused: list[str] = []

    def greeting(self) -> str:
        return frames.connection_established(self.client.connection_id, self.pipeline.clock.time())

    @property
    def is_refused(self) -> bool:
        """Whether nothing of what it asked for is allowed."""
        return not self.channels

    async def prepare(self) -> None:
        """Before the answer: what of the channels it may have."""
        limit = self.pipeline.config.connections.max_subscriptions
        allowed: list[str] = []
        for name in self._asked[: limit + 1]:
            is_allowed = valid_channel_name(name) and await self.pipeline.access.may_subscribe(
                self.client, name
            )
            (allowed if is_allowed and len(allowed) < limit else self._refused).append(name)
        self._refused += self._asked[limit + 1 :]
        self.channels = tuple(allowed)

    def make_session(self) -> Session:
        session = NumberedStream(self.pipeline.websocket_manager.sync_renderer, self.pipeline.clock.monotonic)
        session.subscribe({View(name): self._since.get(name) for name in self.channels or ()})
        return session

    def tell_withdrawn(self, channels: tuple[str, ...]) -> None:
        self.connection.reply(
            frames.error_frame(
                f"{len(channels)} channel(s) withdrawn: this connection may no longer be on them",
                "channel_withdrawn",
            )
        )

    async def serve(self, receive: Receive, send: SendMessage) -> None:
        """Answers, and sends until the client is gone or a close of ours is out."""
        manager = self.pipeline.websocket_manager
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        bound_unsent(send, self.pipeline.config.connections.unsent_bytes)
        reader = asyncio.current_task()

        async def write(message: Mapping[str, Any]) -> None:
            text: str = message["text"]
            if not text.startswith(("id:", ":")):
                text = f"data: {text}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        async def close(code: CloseCode) -> None:
            told = json.dumps({"code": code.code, "reason": code.reason, "reconnect": code.reconnect})
            try:
                await send({"type": "http.response.body", "body": f"event: close\ndata: {told}\n\n".encode()})
            except BaseException:  # it does not read: it would hold its place for as long as it likes
                cut(send)
                raise
            finally:
                if reader is not None:
                    self._is_let_go = True
                    reader.cancel()

        self.connection = manager.open(
            self.client.connection_id, write, close, session=self.make_session(), greeting=self.greeting()
        )
        self.connection.client = self.client
        self.connection.replies.appendleft(f": \nretry: {RETRY_MS}\n\n")
        if self._refused:
            self.connection.reply(frames.refused_channels(self._refused))
        try:
            if self.watch is not None and not self.watch.join(self, self.mark, self.valid_s):
                self.end(SESSION_ENDED)
            await self._until_gone(receive)
        except asyncio.CancelledError:
            if not self._is_let_go or reader is None or reader.uncancel():
                raise
        finally:
            if self.watch is not None:
                self.watch.leave(self)
            await manager.drop(self.connection)

    async def _until_gone(self, receive: Receive) -> None:
        waiting: asyncio.Future[Mapping[str, Any]] = asyncio.ensure_future(receive())
        left = self.pipeline.config.connections.max_frame_bytes
        try:
            while True:
                done, _ = await asyncio.wait([waiting], timeout=HEARTBEAT_S)
                if not done:
                    self.connection.reply(HEARTBEAT)
                elif waiting.result()["type"] == "http.disconnect":
                    return
                elif left > 0:  # of the request's body, which is nobody's
                    left -= max(1, len(waiting.result().get("body", b"")))
                    waiting = asyncio.ensure_future(receive())
                else:  # a client that sends without an end: it is read no further
                    self.connection.close(RATE_LIMITED)
                    if self.connection.task is not None:
                        await asyncio.wait([self.connection.task])  # bounded by `close_timeout_s`
                    return
        finally:
            waiting.cancel()


async def answer(send: SendMessage, code: CloseCode) -> None:
    """Refuses a request: the HTTP status that the close code repeats, and its reason."""
    status = code.code - 4000 if 4400 <= code.code <= 4499 else 503 if code.reconnect else 403
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if code.reconnect:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{code.reason}\n".encode()})
