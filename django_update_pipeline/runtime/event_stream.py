"""Server-sent events: the sync protocol's frames over one HTTP response, for who can't or may not use a WebSocket.

    GET .../stream/?channels=villa,map&fields=map:x,y
    id: map=k3f9:1043:x%2Cy,update_pipeline.system=k3f9:12,villa=k3f9:1044
    data: {"type":"sync","channel":"villa",...}

`Last-Event-ID` (or `since` in the query, in the same form) resumes: of each channel the epoch, the offset, and the
view's name, percent-encoded, where it is not the whole channel. There are no acknowledgements: one write is in
flight, which bounds nothing on a server whose `send()` never waits. Source: WHATWG HTML, section 9.2.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

from ..core import frames
from ..core.codes import FORBIDDEN, RATE_LIMITED, SESSION_ENDED, TOO_MANY_CONNECTIONS, CloseCode
from ..core.credit import Credit
from ..core.names import valid_channel_name
from ..core.session import SYSTEM_CHANNEL
from ..core.sync_frames import SyncFrame
from ..core.sync_live import SyncLive, SyncRenderer
from ..core.sync_stream import SyncStream
from ..core.sync_wire import projection, starting_at
from ..core.view import View
from ..core.wire import FrameError, Position
from .feed import Session
from .socket import Receive, SendMessage, SocketClient
from .unsent import bound_unsent, cut
from .viewing import Viewing

#: A comment is sent after so many seconds of silence, so that no proxy on the way takes the line for dead.
HEARTBEAT_S = 15.0
HEARTBEAT = ":\n\n"

#: How long a browser waits before it comes back, milliseconds.
RETRY_MS = 2000

#: A query has at most so many fields: a projection for each channel, and some.
MAX_QUERY_FIELDS = 1000

_POSITION = re.compile(r"([A-Za-z0-9._-]{1,90})=([A-Za-z0-9]{1,64}):([0-9]{1,18})(?::([^:]+))?")

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Asked(NamedTuple):
    """What a query asks for: channels, each once, positions, and projections by channel; each may be empty."""

    channels: tuple[str, ...]
    since: str
    fields: Mapping[str, tuple[str, ...]] = {}


def asked_of(query: bytes) -> Asked:
    """Reads a query.

    Raises:
        ValueError: it has too many fields, or a projection that is none.
    """
    given = parse_qs(query.decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS)
    names = [name for text in given.get("channels", ()) for name in text.split(",") if name]
    fields: dict[str, tuple[str, ...]] = {}
    for text in given.get("fields", ()):
        channel, _, wanted = text.partition(":")
        try:
            fields[channel] = projection(channel, wanted.split(",")) or ()
        except FrameError as error:
            raise ValueError(error.message) from error
    return Asked(tuple(dict.fromkeys(names)), ",".join(given.get("since", ())), fields)


def positions_of(text: str) -> dict[str, Position]:
    """The positions in a `Last-Event-ID`; what is none is passed over, and leads to a snapshot."""
    found: dict[str, Position] = {}
    for part in text.split(",")[:1000]:
        match = _POSITION.fullmatch(part.strip())
        if match is not None:
            found[match[1]] = Position(match[2], int(match[3]), unquote(match[4] or ""))
    return found


def position_text(view: View, epoch: str, offset: int) -> str:
    """A position as it stands in an event's `id`."""
    text = f"{view.channel}={epoch}:{offset}"
    return f"{text}:{quote(view.name, safe='')}" if view.name else text


class NumberedStream(SyncStream):
    """A session whose frames are events of a stream, each with the positions that lead on from it."""

    __slots__ = ()

    protocol = "stream"

    def __init__(self, renderer: SyncRenderer, monotonic: Callable[[], float]) -> None:
        super().__init__(renderer, Credit(1 << 62, 1 << 62), monotonic)

    def at_once(self, live: SyncLive) -> bool | None:
        """Never: the texts are this connection's own."""
        return None

    def texts(self, live: SyncLive) -> Iterator[str]:
        """The frames one by one, as events."""
        for frame, after in zip(live.frames, live.after, strict=True):
            yield self._event(frame, dict(zip(live.views, after, strict=True)))

    def next_text(self) -> str | None:
        """The next frame of the pass, as an event; None ends it."""
        frame = self.next_frame()
        return None if frame is None else self._event(frame)

    def _event(self, frame: SyncFrame, told: Mapping[View, int] = {}) -> str:
        """`told` is where shared frames have led by now: the positions follow when all of them are written."""
        epoch = self.store.epoch
        # Of a view that was told nothing yet: the position it came back with, and none while its snapshot goes on: 0 is
        # where somebody stands who was told all there was, and that was nothing.
        begun = () if self.catch_up is None else self.catch_up.turns
        nowhere = {turn.view for turn in begun if turn.is_snapshot and not turn.is_done}
        ids = ",".join(
            f"{view.channel}=-" if view in nowhere else position_text(view, epoch, max(at, told.get(view, 0)))
            for view, at in zip(self.views, self.positions, strict=True)
        )
        return f"id: {ids}\ndata: {frame.text}\n\n"


class EventStream(Viewing):
    """One response. The door has judged the request, and says what was asked for."""

    def __init__(
        self,
        pipeline: Any,
        client: SocketClient,
        asked: Asked,
        last_event_id: str,
        cross_origin: bytes | None = None,
    ) -> None:
        super().__init__(pipeline, client)
        names = asked.channels or (pipeline.config.default_channel,)
        self._asked = [View(name, asked.fields.get(name)) for name in names if name != SYSTEM_CHANNEL]
        self._since = positions_of(last_event_id or asked.since)
        self._views: list[View] = []
        self._cross_origin = cross_origin
        self._refused: list[str] = []

    def greeting(self) -> str:
        return frames.connection_established(self.client.connection_id, self.pipeline.clock.time())

    @property
    def refusal(self) -> CloseCode | None:
        """What refuses a stream that is allowed nothing of what it asked for, in the words that a socket is told."""
        if not self._asked or self.channels:
            return None
        return replace(FORBIDDEN, reason=frames.refused_text(self._refused))

    async def prepare(self) -> None:
        """Before the answer: what of the channels it may have."""
        limit = self.pipeline.config.connections.max_subscriptions
        for wanted in self._asked[: limit + 1]:
            name = wanted.channel
            view = await self.may_see(wanted) if valid_channel_name(name) else None
            if view is not None and len(self._views) < limit:
                self._views.append(view)
            else:
                self._refused.append(name)
        self._refused += [wanted.channel for wanted in self._asked[limit + 1 :]]
        self.channels = tuple(view.channel for view in self._views)
        self._wanted = {wanted.channel: wanted for wanted in self._asked}

    def make_session(self) -> Session:
        session = NumberedStream(self.pipeline.websocket_manager.sync_renderer, self.pipeline.clock.monotonic)
        views = (*self._views, View(SYSTEM_CHANNEL))  # which every client is on
        session.subscribe({view: starting_at(view, self._since.get(view.channel)) for view in views})
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
        headers = [*HEADERS, *cors_headers(self._cross_origin)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
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


def cors_headers(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """What lets a page of this origin read an answer, with its cookies; None is nobody's that needs it."""
    headers = [(b"vary", b"Origin")]
    if origin is not None:
        headers += [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
        ]
    return headers


async def answer(send: SendMessage, code: CloseCode) -> None:
    """Refuses a request: the HTTP status that the close code repeats, and its reason."""
    if 4400 <= code.code <= 4499:
        status = min(code.code, TOO_MANY_CONNECTIONS.code) - 4000  # those above are kinds of it, and no HTTP
    else:
        status = 503 if code.reconnect else 403
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if code.reconnect:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{code.reason}\n".encode()})
