"""The doors: who is let in, and to what. Plain ASGI, Django's sessions and hosts, no Channels needed.

One door a kind of connection: `WebSocketDoor` for the classic and the sync protocol and for operators, `StreamDoor` for
server-sent events. They judge a handshake alike; how they read and refuse one is their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.conf import settings

from .core.admission import LIMIT_OF, Slot
from .core.codes import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_ERROR,
    LOGIN_REQUIRED,
    SERVER_STOPPING,
    UNKNOWN_PATH,
    CloseCode,
)
from .core.commands import COMMANDS
from .core.handshake import choose_protocol, is_plain_path
from .core.origin import LOCAL_HOSTS, Allowed, Refused, check_handshake, check_request, cross_origin
from .core.repeats import Repeats
from .core.sync_wire import SUBPROTOCOL
from .permissions import may_operate, may_operate_now, may_view, may_view_now
from .runtime.admin_socket import AdminSocket
from .runtime.complaints import complain
from .runtime.event_stream import EventStream, answer, asked_of
from .runtime.pipeline import UpdatePipeline
from .runtime.socket import (
    ClassicSocket,
    Receive,
    SendMessage,
    Socket,
    SocketClient,
    first_message,
    refuse,
)
from .runtime.sync_socket import SyncSocket
from .service import get_update_pipeline, is_ending, start_serving
from .sessions import in_database_thread, recognise, watch_of

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
#: Any ASGI application; frameworks type its messages in their own ways.
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]
#: Makes what serves a connection, once it is known who is there.
Make = Callable[[UpdatePipeline, SocketClient], Socket]


class WebSocketDoor:
    """The ASGI application of one socket: judges the handshake, finds the user, serves.

    `scope["user"]` is used where something before us (Channels' AuthMiddleware) put it, else Django's session.
    Whatever happens, the handshake is accepted or refused within `accept_timeout_s`, and its slot is given back.
    """

    def __init__(self, *, admin: bool = False, pipeline: UpdatePipeline | None = None) -> None:
        self.admin = admin
        self._pipeline = pipeline
        #: What is spoken here, by subprotocol.
        self.protocols: dict[str | None, Make] = {None: self._admin_socket if admin else ClassicSocket}
        if not admin:
            self.protocols[SUBPROTOCOL] = SyncSocket

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        try:
            pipeline = self._pipeline or get_update_pipeline()
        except Exception as error:  # the door's boundary: wrong settings, which `manage.py check` explains
            complain(logger, error, "there is no pipeline for a socket", repeats=_failures)
            await self._turn_away(receive, send, INTERNAL_ERROR)
            return
        manager = pipeline.websocket_manager
        slot = manager.admission.enter(_address(scope), manager.get_connection_count())
        if isinstance(slot, CloseCode):
            manager.count_refusal(LIMIT_OF[slot])
            _tell(pipeline, slot.name, slot.reason)
            await self._turn_away(receive, send, slot)
            return
        try:
            verdict = await self._judge_in_time(pipeline, slot, scope, receive)
            if isinstance(verdict, CloseCode):
                await self._refuse(send, verdict)
            elif verdict is not None:
                await verdict.serve(receive, send)
        finally:
            slot.release()

    # what is different for another kind of connection

    async def _has_come(self, receive: Receive) -> bool:
        """Reads what opens the connection; False if something else comes."""
        return await first_message(receive)

    async def _turn_away(self, receive: Receive, send: SendMessage, code: CloseCode) -> None:
        """Refuses a handshake that is not looked at."""
        await turn_away(receive, send, code)

    async def _refuse(self, send: SendMessage, code: CloseCode) -> None:
        """Refuses a handshake that was looked at."""
        await refuse(send, code)

    def _maker(self, scope: Scope) -> Make | None:
        """What makes the connection that is asked for; None if nothing of it is spoken here."""
        return choose_protocol(scope.get("subprotocols") or (), self.protocols)

    def _check_origin(self, scope: Scope, origins: Sequence[str]) -> Allowed | Refused:
        """Whether the page that asks may."""
        return check_handshake(scope.get("headers", ()), allowed_hosts(), origins)

    async def _judge_in_time(
        self, pipeline: UpdatePipeline, slot: Slot, scope: Scope, receive: Receive
    ) -> Socket | CloseCode | None:
        """A socket to serve, the code that refuses it, or None for a client that never came."""
        has_come = False
        try:
            async with asyncio.timeout(pipeline.config.connections.accept_timeout_s):
                has_come = await self._has_come(receive)
                return await self._judge(pipeline, slot, scope) if has_come else None
        except Exception as error:  # the door's boundary: this socket is refused, the server goes on
            if not has_come:
                return None
            complain(logger, error, "a socket could not be let in", repeats=_failures)
            return INTERNAL_ERROR

    async def _judge(self, pipeline: UpdatePipeline, slot: Slot, scope: Scope) -> Socket | CloseCode:
        if not is_plain_path(scope.get("path", ""), scope.get("raw_path")):
            return UNKNOWN_PATH
        make = self._maker(scope)
        if make is None:
            return BAD_REQUEST
        verdict = self._check_origin(scope, pipeline.config.connections.allowed_origins)
        if isinstance(verdict, Refused):
            _tell(pipeline, verdict.rule, verdict.reason)
            return FORBIDDEN
        await start_serving(pipeline)
        watch = watch_of(pipeline)
        mark = watch.mark()
        user, identity, valid_s = await recognise(scope, may_view if self.admin else None)
        if getattr(user, "is_authenticated", False):
            key = getattr(user, "pk", None)
            refused = None if key is None else pipeline.websocket_manager.admission.claim(slot, str(key))
            if refused is not None:
                pipeline.websocket_manager.count_refusal(LIMIT_OF[refused])
                _tell(pipeline, refused.name, refused.reason)
                return refused
        elif self.admin:
            return LOGIN_REQUIRED
        if self.admin and not await may_view_now(user):
            return FORBIDDEN
        client = SocketClient(pipeline.websocket_manager.new_connection_id(), user, identity=identity)
        socket = make(pipeline, client)
        await socket.prepare()
        if isinstance(socket, EventStream) and (refusal := socket.refusal) is not None:
            return refusal
        if is_ending(pipeline):
            return SERVER_STOPPING
        if identity is not None or (socket.is_subscriber and pipeline.access.asks_about_channels):
            socket.watch, socket.mark, socket.valid_s = watch, mark, valid_s
        return socket

    @staticmethod
    def _admin_socket(pipeline: UpdatePipeline, client: SocketClient) -> Socket:
        async def may_command(command: str) -> bool:
            """Asked before each command: the session and the user are read again."""
            if not await socket.is_current():
                return False
            if client.identity is None:  # a user of a middleware's own, without a row
                return await (may_operate_now if COMMANDS[command].needs_operator else may_view_now)(
                    client.user
                )
            rule = may_operate if COMMANDS[command].needs_operator else may_view
            return await in_database_thread(lambda: rule(client.user))

        socket = AdminSocket(pipeline, client, may_command)
        return socket


class StreamDoor(WebSocketDoor):
    """The door of server-sent events: `GET` requests, judged as handshakes are, refused with HTTP's status."""

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        if scope.get("method") != "GET":
            await send({"type": "http.response.start", "status": 405, "headers": [(b"allow", b"GET")]})
            await send({"type": "http.response.body", "body": b"GET only\n"})
            return
        await super().__call__(scope, receive, send)

    async def _has_come(self, receive: Receive) -> bool:
        return True  # a request is there when it is told of; its body is nobody's

    async def _turn_away(self, receive: Receive, send: SendMessage, code: CloseCode) -> None:
        await answer(send, code)

    async def _refuse(self, send: SendMessage, code: CloseCode) -> None:
        await answer(send, code)

    def _maker(self, scope: Scope) -> Make | None:
        try:
            asked = asked_of(scope.get("query_string", b""))
        except ValueError:
            return None
        headers = dict(scope.get("headers", ()))
        last = headers.get(b"last-event-id", b"").decode("latin-1")

        def make(pipeline: UpdatePipeline, client: SocketClient) -> EventStream:
            origins = pipeline.config.connections.allowed_origins
            return EventStream(pipeline, client, asked, last, cross_origin(scope.get("headers", ()), origins))

        return make

    def _check_origin(self, scope: Scope, origins: Sequence[str]) -> Allowed | Refused:
        return check_request(scope.get("headers", ()), allowed_hosts(), origins)


_failures = Repeats()


def _tell(pipeline: UpdatePipeline, rule: str, reason: str) -> None:
    """Counts a refusal by its rule; one line in the log for the 1st, 2nd, 4th, 8th ... of a rule."""
    if times := pipeline.websocket_manager.refusals.add(rule):
        logger.info("socket refused: %s: %s (%d so far)", rule, reason, times)


def _address(scope: Scope) -> str | None:
    """The peer's address as the server knows it: never what a header says."""
    client = scope.get("client")
    return str(client[0]) if client else None


async def turn_away(receive: Receive, send: SendMessage, code: CloseCode, timeout_s: float = 5.0) -> None:
    """Refuses a handshake that is not looked at."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            if await first_message(receive):
                await refuse(send, code)


async def unknown_path(scope: Scope, receive: Receive, send: SendMessage) -> None:
    """An ASGI application that refuses every socket: the last route of a router that would else raise."""
    await turn_away(receive, send, UNKNOWN_PATH)


def allowed_hosts() -> Sequence[str]:
    """ALLOWED_HOSTS, or the local names where it is empty in DEBUG, as Django has it."""
    hosts: Sequence[str] = settings.ALLOWED_HOSTS
    return LOCAL_HOSTS if not hosts and settings.DEBUG else hosts
