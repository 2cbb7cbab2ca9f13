"""One WebSocket from accept to disconnect, whatever door it came through; no Django here.

The door has judged the handshake and knows who is there. This reads the client's frames one after the other and
answers each; everything that is sent goes through the connection's writer. It runs in the server's task for the
socket, on the pipeline's loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core import frames
from ..core.admission import LIMIT_OF
from ..core.codes import SESSION_ENDED, TOO_MANY_CONNECTIONS, CloseCode
from ..core.inbound import Inbound, frame_size
from ..core.session import SYSTEM_CHANNEL, ClassicSession
from ..core.view import View
from ..core.wire import (
    CLASSIC_READERS,
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Readers,
    Subscribe,
    Unsubscribe,
    decode_client_frame,
)
from ..exceptions import ActionRefused
from .complaints import complain
from .connection import Connection
from .feed import Session
from .unsent import bound_unsent, cut_if_stuck

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline
    from .watch import Watch

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class SocketClient:
    """Who is behind a socket. `user` is a Django user, AnonymousUser, or None; each look at them replaces it.

    `identity` is how the door found them, for the watch; None where nobody can be looked up again.
    """

    connection_id: str
    user: Any = None
    is_local_operator: bool = False
    identity: Any = None


class Socket:
    """What all kinds of sockets share: accept, the reading loop, its limits, and the end.

    A kind says how it greets, how it reads and answers a frame, and how it tells a client that channels are lost.
    """

    #: Whether it gets updates.
    is_subscriber = True
    #: What a handshake must ask for to get this kind, and what the accept names; None: nothing.
    subprotocol: str | None = None

    def __init__(self, pipeline: UpdatePipeline, client: SocketClient) -> None:
        self.pipeline = pipeline
        self.client = client
        limits = pipeline.config.connections
        self._limits = FrameLimits(limits.max_frame_bytes, limits.max_depth)
        self._inbound = Inbound(limits, pipeline.clock.monotonic)
        self.watch: Watch | None = None
        self.mark = 0  # what the watch said before the client was looked up
        self.valid_s: float | None = None  # how long the client's log-in lasts, if that is known
        self.channels: tuple[str, ...] | None = (
            (pipeline.config.default_channel,) if self.is_subscriber else None
        )
        self._is_receiving = self._is_let_go = False
        self.connection: Connection

    #: What reads this kind's frames.
    readers: Readers = CLASSIC_READERS

    def greeting(self) -> str:
        """The first frame."""
        raise AssertionError("each kind of socket has its own")

    def make_session(self) -> Session | None:
        """Where the connection stands, from the start; None if it gets no updates."""
        if self.channels is None:
            return None
        return self.pipeline.websocket_manager.classic_session(self.channels)

    async def handle(self, frame: Any) -> None:
        """Answers one valid frame."""
        raise AssertionError("each kind of socket has its own")

    def tell_withdrawn(self, channels: tuple[str, ...]) -> None:
        """Tells the client that it has been taken off channels; nothing of them is sent any more."""

    async def prepare(self) -> None:
        """Before the accept: what the client is on from the start, if the hooks let it."""
        access = self.pipeline.access
        if self.channels and access.asks_about_channels:
            allowed = [name for name in self.channels if await self.may_see(View(name)) is not None]
            self.channels = tuple(allowed)

    async def may_see(self, wanted: View) -> View | None:
        """What hooks leave of a view, if this protocol can show that: classic frames know whole channels only."""
        return wanted if await self.pipeline.access.may_subscribe(self.client, wanted.channel) else None

    async def serve(self, receive: Receive, send: SendMessage) -> None:
        """Accepts the socket and serves it until it is gone; returns soon after a close of ours."""
        manager, limits = self.pipeline.websocket_manager, self.pipeline.config.connections
        if manager.get_connection_count() >= limits.max_connections:
            manager.count_refusal(LIMIT_OF[TOO_MANY_CONNECTIONS])
            await refuse(send, TOO_MANY_CONNECTIONS)
            return
        try:
            async with asyncio.timeout(limits.accept_timeout_s):
                await send({"type": "websocket.accept", "subprotocol": self.subprotocol})
        except Exception as error:  # the client is gone before it was let in
            logger.debug("a socket could not be accepted: %r", error)
            return
        bound_unsent(send, limits.unsent_bytes)
        self._send = send
        reader = asyncio.current_task()

        async def close(code: CloseCode) -> None:
            self._is_let_go = True
            if self._is_receiving and reader is not None:
                reader.cancel()  # granian writes no close while somebody waits in `receive`
            await send({"type": "websocket.close", "code": code.code, "reason": code.reason})

        self.connection = manager.open(
            self.client.connection_id, send, close, session=self.make_session(), greeting=self.greeting()
        )
        self.connection.client = self.client
        try:
            if self.watch is not None and not self.watch.join(self, self.mark, self.valid_s):
                self.end(SESSION_ENDED)
            await self._read(receive)
        finally:
            if self.watch is not None:
                self.watch.leave(self)
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
        """Waits until a close is written and answered. Who does not answer is cut by the server on our return, and by
        us if it does not even read: a server would wait for it.
        """
        if self.connection.task is not None:
            await asyncio.wait([self.connection.task])  # bounded by `close_timeout_s`
        try:
            async with asyncio.timeout(self.pipeline.config.connections.close_timeout_s):
                while (await receive())["type"] != "websocket.disconnect":
                    pass
        except TimeoutError:
            cut_if_stuck(self._send)

    async def _read(self, receive: Receive) -> None:
        connection = self.connection
        while True:
            message = await self._receive(receive)
            kind = message["type"]
            if kind == "websocket.disconnect":
                return
            if kind != "websocket.receive" or connection.is_closing or not connection.is_registered:
                continue  # nobody would write the answer
            text = message.get("text")
            raw = message.get("bytes") or b"" if text is None else text
            if not self._admit(raw):
                continue
            try:
                await self.handle(decode_client_frame(raw, self._limits, self.readers))
            except FrameError as error:
                connection.reply(frames.error_frame(error.message, error.code, error.request_id))
            except Exception as error:  # the connection's boundary: this frame failed, no other one
                complaints = self.pipeline.websocket_manager.complaints
                complain(
                    logger,
                    error,
                    "a frame of connection %s failed",
                    connection.connection_id,
                    repeats=complaints,
                )
                connection.reply(frames.error_frame("the server failed on this frame", "internal_error"))
            if len(connection.replies) > 8:
                await connection.drained()

    def _admit(self, raw: str | bytes) -> bool:
        """Whether the rates allow one more frame; if not, it is answered, and not parsed."""
        verdict = self._inbound.judge(frame_size(raw, self._limits.max_frame_bytes))
        if verdict is None:
            return True
        if isinstance(verdict, CloseCode):
            self.connection.close(verdict)
        else:
            self.connection.reply(frames.error_frame(verdict.reason, "rate_limited"))
        return False

    # what the watch asks of it

    def end(self, code: CloseCode) -> None:
        """Sends nothing more and closes."""
        self.connection.end(code)

    def asked(self) -> dict[str, View]:
        """What the client asked for, by channel, of those it is on."""
        return {name: View(name) for name in self.connection.channels}

    async def narrow(self, *, is_overdue: bool) -> bool:
        """Asks the hooks again for each view, and shows what is left of it. False: some gave no answer."""
        access, asked = self.pipeline.access, self.asked()
        if not asked or not access.asks_about_channels:
            return True
        answers = await access.recheck(self.client, tuple(asked.values()))
        now = self.asked()
        is_settled = True
        lost: list[str] = []
        for name, wanted in asked.items():
            if name not in now:
                continue
            if now[name] != wanted or (wanted not in answers and not is_overdue):
                is_settled = False  # the answer was to another question, or there is none: asked again soon
            elif (view := answers.get(wanted)) is None or not self.show(view):
                lost.append(name)
        self.take_off(tuple(lost))
        return is_settled

    def show(self, view: View) -> bool:
        """Shows a view of a channel it is on in place of what was shown. False: this protocol has no such view."""
        return view == View(view.channel)

    def take_off(self, channels: tuple[str, ...]) -> None:
        """Ends subscriptions: what is written next has nothing of them."""
        session = self.connection.session
        if channels and session is not None:
            session.unsubscribe(channels)
            self.connection.follow()
            self.tell_withdrawn(channels)

    async def is_current(self) -> bool:
        """Whether the client is still who the door let in, looked up now: asked before each action and command."""
        return self.watch is None or await self.watch.confirm(self)


class ClassicSocket(Socket):
    """The classic protocol: subscribe, unsubscribe, ping, agent_action."""

    #: Channels that clients can't name.
    hidden: tuple[str, ...] = (SYSTEM_CHANNEL,)

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
        session, watch = self.connection.session, self.watch
        assert isinstance(session, ClassicSession)
        mark = 0 if watch is None else watch.mark()
        allowed, refused, too_many = await self._judge([View(name) for name in frame.channels])
        names = tuple(view.channel for view in allowed)
        session.subscribe(names)
        self._confirm(names, (*frame.malformed, *refused), too_many, mark)

    async def _judge(self, asked: Iterable[View]) -> tuple[dict[View, View], list[str], int]:
        """Of the views that are asked for: what of each it may have, which it may not, and how many are too many."""
        before = self.asked()
        room = self.pipeline.config.connections.max_subscriptions - len(before)
        allowed: dict[View, View] = {}
        refused: list[str] = []
        too_many = 0
        for wanted in asked:
            name = wanted.channel
            if before.get(name) == wanted:
                allowed[wanted] = wanted  # the watch asks again for what it is on
            elif name in self.hidden or (view := await self.may_see(wanted)) is None:
                refused.append(name)
            elif name not in before and room <= 0:
                too_many += 1
            else:
                room -= name not in before
                allowed[wanted] = view
        shown = self.shown()
        for wanted in [one for one in allowed if before.get(one.channel) == one]:
            if (view := shown.get(wanted.channel)) is not None:
                allowed[wanted] = view
            else:  # taken off while hooks were asked about others
                del allowed[wanted]
                refused.append(wanted.channel)
        return allowed, refused, too_many

    def shown(self) -> dict[str, View]:
        """What it is shown of each channel it is on."""
        return {name: View(name) for name in self.connection.channels}

    def _confirm(self, allowed: tuple[str, ...], refused: tuple[str, ...], too_many: int, mark: int) -> None:
        """Answers a subscription that was carried out; `mark` is the watch's, of before the hooks were asked."""
        self.connection.follow()
        if self.watch is not None and self.watch.mark() != mark:
            self.watch.suspect(self)  # what a hook answered may be older than what it was told since
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

    def tell_withdrawn(self, channels: tuple[str, ...]) -> None:
        self.connection.reply(frames.unsubscription_confirmed(channels))
        self.connection.reply(
            frames.error_frame(
                f"{len(channels)} channel(s) withdrawn: this connection may no longer be on them",
                "channel_withdrawn",
            )
        )

    def _unsubscribe(self, frame: Unsubscribe) -> None:
        session = self.connection.session
        assert session is not None
        names = tuple(name for name in frame.channels if name not in self.hidden)
        session.unsubscribe(names)
        self.connection.follow()
        self.connection.reply(frames.unsubscription_confirmed(names))

    async def _act(self, frame: AgentAction, request_id: str | int | None = None) -> None:
        access = self.pipeline.access

        def refuse_it(message: str, code: str) -> None:
            self.connection.reply(frames.error_frame(message, code, request_id))

        if not await self.is_current():
            refuse_it("nobody can tell who you are now: try again", "timeout")
            return  # if the log-in has ended, the socket is being closed, and this is not sent
        if not await access.may_act(self.client, frame.agent_id, frame.action, frame.params):
            refuse_it("this connection may not do this: sign in, or ask for the permission", "forbidden")
            return
        try:
            handled = await access.act(self.client, frame.agent_id, frame.action, frame.params)
        except ActionRefused as error:
            refuse_it(str(error), error.code)
        except TimeoutError:
            refuse_it("the action got no answer in time", "timeout")
        except Exception as error:  # the plugin's boundary: logged here, told there without its inside
            complaints = self.pipeline.websocket_manager.complaints
            complain(logger, error, "an action failed in its handler", repeats=complaints)
            refuse_it("the action failed on the server", "action_failed")
        else:
            if handled:
                self.connection.reply(frames.action_queued(frame.agent_id, frame.action, request_id))
            else:
                refuse_it("nobody handles this action", "action_unhandled")


async def refuse(send: SendMessage, code: CloseCode, timeout_s: float = 1.0) -> None:
    """Refuses a handshake: servers answer HTTP 403 to a close before accept. A client that is gone is no error."""
    try:
        async with asyncio.timeout(timeout_s):
            await send({"type": "websocket.close", "code": code.code, "reason": code.reason})
    except Exception as error:  # it is gone, or does not answer: either way we are done
        logger.debug("refusing a socket: %r", error)


async def first_message(receive: Receive) -> bool:
    """Reads the `websocket.connect` that opens every ASGI socket; False if something else comes."""
    return bool((await receive())["type"] == "websocket.connect")
