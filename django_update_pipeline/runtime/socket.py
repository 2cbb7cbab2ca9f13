"""One WebSocket from accept to disconnect, whatever door it came through; no Django here.

The door has judged the handshake and knows who is there. This reads the client's frames one after the other and
answers each; everything that is sent goes through the connection's writer. It runs in the server's task for the
socket, on the pipeline's loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core import frames
from ..core.codes import RATE_LIMITED, TOO_MANY_CONNECTIONS, CloseCode
from ..core.rate_limit import TokenBucket
from ..core.session import SYSTEM_CHANNEL
from ..core.wire import (
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Subscribe,
    Unsubscribe,
    decode_client_frame,
)
from ..exceptions import ActionRefused
from .connections import Connection

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SocketClient:
    """Who is behind a socket. `user` is what the door found: a Django user, or None."""

    connection_id: str
    user: Any = None
    is_local_operator: bool = False


class Socket:
    """What both kinds of socket share: accept, the reading loop, its limits, and the end."""

    #: Whether it gets updates.
    is_subscriber = True

    def __init__(self, pipeline: UpdatePipeline, client: SocketClient) -> None:
        self.pipeline = pipeline
        self.client = client
        limits = pipeline.config.connections
        self._limits = FrameLimits(limits.max_frame_bytes, limits.max_depth)
        self._bucket = (
            TokenBucket(limits.messages_per_s, limits.burst, pipeline.clock.monotonic)
            if limits.messages_per_s
            else None
        )
        self._refused = 0
        self._is_receiving = self._is_let_go = False
        self.connection: Connection

    def greeting(self) -> str:
        """The first frame."""
        raise AssertionError("each kind of socket has its own")

    async def handle(self, frame: Any) -> None:
        """Answers one valid frame."""
        raise AssertionError("each kind of socket has its own")

    async def serve(self, receive: Receive, send: SendMessage, subprotocol: str | None = None) -> None:
        """Accepts the socket and serves it until it is gone."""
        manager = self.pipeline.websocket_manager
        if manager.get_connection_count() >= self.pipeline.config.connections.max_connections:
            await refuse(send, TOO_MANY_CONNECTIONS)
            return
        await send({"type": "websocket.accept", "subprotocol": subprotocol})

        reader = asyncio.current_task()

        async def close(code: CloseCode) -> None:
            self._is_let_go = True
            if self._is_receiving and reader is not None:
                reader.cancel()  # granian writes no close while somebody waits in `receive`
            await send({"type": "websocket.close", "code": code.code, "reason": code.reason})

        channels = (self.pipeline.config.default_channel,) if self.is_subscriber else None
        self.connection = manager.open(
            self.client.connection_id, send, close, channels=channels, greeting=self.greeting()
        )
        try:
            await self._read(receive)
        finally:
            await manager.drop(self.connection)

    async def _receive(self, receive: Receive) -> Mapping[str, Any]:
        """The client's next message, or `websocket.disconnect` once a close of ours is out."""
        if not self._is_let_go:
            self._is_receiving = True
            try:
                return await receive()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._is_let_go or task is None or task.uncancel():
                    raise
            finally:
                self._is_receiving = False
        await self._gone(receive)
        return {"type": "websocket.disconnect"}

    async def _gone(self, receive: Receive) -> None:
        """Waits until a close is written and answered. Who does not answer is cut by the server on our return."""
        if self.connection.task is not None:
            await asyncio.wait([self.connection.task])  # bounded by `close_timeout_s`
        try:
            async with asyncio.timeout(self.pipeline.config.connections.close_timeout_s):
                while (await receive())["type"] != "websocket.disconnect":
                    pass
        except TimeoutError:
            pass

    async def _read(self, receive: Receive) -> None:
        connection = self.connection
        while True:
            message = await self._receive(receive)
            kind = message["type"]
            if kind == "websocket.disconnect":
                return
            if kind != "websocket.receive" or connection.is_closing or not connection.is_registered:
                continue  # nobody would write the answer
            if not self._admit():
                continue
            text = message.get("text")
            try:
                await self.handle(
                    decode_client_frame(message.get("bytes") or b"" if text is None else text, self._limits)
                )
            except FrameError as error:
                connection.reply(frames.error_frame(error.message, error.code, error.request_id))
            except (
                Exception
            ):  # the connection's boundary: this frame failed, neither the socket nor another one
                logger.exception("a frame of connection %s failed", connection.connection_id)
                connection.reply(frames.error_frame("the server failed on this frame", "internal_error"))
            if len(connection.replies) > 8:
                await connection.drained()

    def _admit(self) -> bool:
        """Whether the rate allows one more frame."""
        if self._bucket is None or self._bucket.try_acquire():
            return True
        self._refused += 1
        if self._refused > self.pipeline.config.connections.max_rate_limited:
            self.connection.close(RATE_LIMITED)
        else:
            rate = self.pipeline.config.connections.messages_per_s
            self.connection.reply(
                frames.error_frame(
                    f"more than {rate:g} frames a second: this one was ignored", "rate_limited"
                )
            )
        return False


class ClassicSocket(Socket):
    """The classic protocol: subscribe, unsubscribe, ping, agent_action."""

    def greeting(self) -> str:
        return frames.connection_established(self.client.connection_id, self.pipeline.clock.time())

    async def handle(self, frame: Any) -> None:
        if isinstance(frame, Ping):
            self.connection.reply(frames.pong(frame.timestamp, self.pipeline.clock.time()))
        elif isinstance(frame, Subscribe):
            await self._subscribe(frame)
        elif isinstance(frame, Unsubscribe):
            self._unsubscribe(frame)
        elif isinstance(frame, AgentAction):
            await self._act(frame)
        else:
            raise FrameError("unknown_type", "admin commands belong on the admin socket")

    async def _subscribe(self, frame: Subscribe) -> None:
        session = self.connection.session
        assert session is not None
        refused = list(frame.malformed)
        allowed: list[str] = []
        room = self.pipeline.config.connections.max_subscriptions - len(self.connection.channels)
        too_many = 0
        for name in frame.channels:
            if name in session.channels and name != SYSTEM_CHANNEL:
                allowed.append(name)
            elif name == SYSTEM_CHANNEL or not await self.pipeline.access.may_subscribe(self.client, name):
                refused.append(name)
            elif room <= 0:
                too_many += 1
            else:
                room -= 1
                allowed.append(name)
        session.subscribe(tuple(allowed))
        self.connection.follow()
        self.connection.reply(frames.subscription_confirmed(allowed))
        if refused:
            self.connection.reply(frames.refused_channels(refused))
        if too_many:
            limit = self.pipeline.config.connections.max_subscriptions
            self.connection.reply(
                frames.error_frame(
                    f"{too_many} channel(s) over the limit of {limit} subscriptions: unsubscribe from some first",
                    "too_many_subscriptions",
                )
            )

    def _unsubscribe(self, frame: Unsubscribe) -> None:
        session = self.connection.session
        assert session is not None
        names = tuple(name for name in frame.channels if name != SYSTEM_CHANNEL)
        session.unsubscribe(names)
        self.connection.follow()
        self.connection.reply(frames.unsubscription_confirmed(names))

    async def _act(self, frame: AgentAction) -> None:
        access, reply = self.pipeline.access, self.connection.reply
        if not await access.may_act(self.client, frame.agent_id, frame.action, frame.params):
            reply(
                frames.error_frame(
                    "this connection may not do this: sign in, or ask for the permission", "forbidden"
                )
            )
            return
        try:
            handled = await access.act(self.client, frame.agent_id, frame.action, frame.params)
        except ActionRefused as error:
            reply(frames.error_frame(str(error), error.code))
        except TimeoutError:
            reply(frames.error_frame("the action got no answer in time", "timeout"))
        except Exception as error:  # the plugin's boundary: logged here, told there without its inside
            logger.exception("action failed in its handler: %s", type(error).__name__)
            reply(frames.error_frame("the action failed on the server", "action_failed"))
        else:
            if handled:
                reply(frames.action_queued(frame.agent_id, frame.action))
            else:
                reply(frames.error_frame("nobody handles this action", "action_unhandled"))


async def refuse(send: SendMessage, code: CloseCode) -> None:
    """Refuses a handshake: servers answer HTTP 403 to a close before accept."""
    await send({"type": "websocket.close", "code": code.code, "reason": code.reason})


async def first_message(receive: Receive, timeout_s: float) -> bool:
    """Reads the `websocket.connect` that opens every ASGI socket; False if it does not come."""
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
    except TimeoutError:
        return False
    return bool(message["type"] == "websocket.connect")
