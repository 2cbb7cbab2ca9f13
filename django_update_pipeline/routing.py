"""The doors: plain ASGI, Django's sessions and hosts, no Channels needed.

    from django.core.asgi import get_asgi_application
    from django_update_pipeline.routing import with_update_pipeline

    application = with_update_pipeline(get_asgi_application())

serves the classic socket at `ws/updates/`, the admin socket at `ws/updates/admin/`, and everything else as before.
The pipeline starts with the server's lifespan where it has one, else with the first scope.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import get_script_prefix

from .conf import read_settings
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
from .core.config import PipelineConfig
from .core.handshake import choose_protocol, is_plain_path
from .core.origin import LOCAL_HOSTS, Refused, check_handshake
from .core.repeats import Repeats
from .core.sync_wire import SUBPROTOCOL
from .exceptions import ConfigurationError
from .permissions import may_operate, may_operate_now, may_view, may_view_now
from .runtime.admin_socket import AdminSocket
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
from .service import get_update_pipeline, is_ending, served_at, start_serving, stop_serving
from .sessions import in_database_thread, recognise, watch_of

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
#: Any ASGI application; frameworks type its messages in their own ways.
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]

#: Where an HTTP request's scope says at which path the application that it came through serves the sockets.
PATH_KEY = "update_pipeline.path"


class WebSocketDoor:
    """The ASGI application of one socket: judges the handshake, finds the user, serves.

    `scope["user"]` is used where something before us (Channels' AuthMiddleware) put it, else Django's session.
    Whatever happens, the handshake is accepted or refused within `accept_timeout_s`, and its slot is given back.
    """

    def __init__(self, *, admin: bool = False, pipeline: UpdatePipeline | None = None) -> None:
        self.admin = admin
        self._pipeline = pipeline
        #: What is spoken here, by subprotocol.
        self.protocols: dict[str | None, Callable[[UpdatePipeline, SocketClient], Socket]] = {
            None: self._admin_socket if admin else ClassicSocket
        }
        if not admin:
            self.protocols[SUBPROTOCOL] = SyncSocket

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        try:
            pipeline = self._pipeline or get_update_pipeline()
        except Exception:  # the door's boundary: wrong settings, which `manage.py check` explains
            if times := _failures.add("no pipeline"):
                logger.exception("there is no pipeline for a socket (%d time(s))", times)
            await turn_away(receive, send, INTERNAL_ERROR)
            return
        manager = pipeline.websocket_manager
        slot = manager.admission.enter(_address(scope), manager.get_connection_count())
        if isinstance(slot, CloseCode):
            manager.count_refusal(LIMIT_OF[slot])
            _tell(pipeline, slot.name, slot.reason)
            await turn_away(receive, send, slot)
            return
        try:
            answer = await self._judge_in_time(pipeline, slot, scope, receive)
            if isinstance(answer, CloseCode):
                await refuse(send, answer)
            elif answer is not None:
                await answer.serve(receive, send)
        finally:
            slot.release()

    async def _judge_in_time(
        self, pipeline: UpdatePipeline, slot: Slot, scope: Scope, receive: Receive
    ) -> Socket | CloseCode | None:
        """A socket to serve, the code that refuses it, or None for a client that never came."""
        has_come = False
        try:
            async with asyncio.timeout(pipeline.config.connections.accept_timeout_s):
                has_come = await first_message(receive)
                return await self._judge(pipeline, slot, scope) if has_come else None
        except Exception as error:  # the door's boundary: this socket is refused, the server goes on
            if not has_come:
                return None
            kind = type(error).__name__
            if times := _failures.add(kind):
                logger.error("a socket could not be let in (%s, %d time(s))", kind, times, exc_info=error)
            return INTERNAL_ERROR

    async def _judge(self, pipeline: UpdatePipeline, slot: Slot, scope: Scope) -> Socket | CloseCode:
        if not is_plain_path(scope.get("path", ""), scope.get("raw_path")):
            return UNKNOWN_PATH
        make = choose_protocol(scope.get("subprotocols") or (), self.protocols)
        if make is None:
            return BAD_REQUEST
        origins = pipeline.config.connections.allowed_origins
        verdict = check_handshake(scope.get("headers", ()), allowed_hosts(), origins)
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


class UpdatePipelineApplication:
    """Wraps an ASGI application: our sockets at `path` and `path + "admin/"`, lifespan, the rest as before."""

    def __init__(
        self, app: ASGIApplication, path: str | None = None, websocket: ASGIApplication | None = None
    ) -> None:
        self.app = app
        self.websocket = websocket
        self._has_failed = False
        self.path = base = _absolute(path or path_of_settings())
        self.doors = {base: WebSocketDoor(), f"{base}admin/": WebSocketDoor(admin=True)}

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        kind = scope["type"]
        served_at(scope.get("server"), scope.get("root_path", "").rstrip("/") + next(iter(self.doors)))
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            door = self.doors.get(_path(scope))
            if door is not None:
                await door(scope, receive, send)
            elif self.websocket is not None:
                await self.websocket(scope, receive, send)
            else:
                await unknown_path(scope, receive, send)
        else:
            await self._start_if_possible()
            # Our pages learn from it where our sockets are, under whatever prefix the server mounts us.
            path = scope.get("root_path", "").rstrip("/") + self.path
            await self.app({**scope, PATH_KEY: path}, receive, send)

    async def _start_if_possible(self) -> None:
        """Pages are served also where the pipeline can't be; its sockets and `manage.py check` say why."""
        if self._has_failed:
            return
        try:
            await start_serving(get_update_pipeline())
        except Exception:  # the door's boundary: said once, not with each request
            self._has_failed = True
            logger.exception("the pipeline could not be started; pages are served without it")

    async def _lifespan(self, receive: Receive, send: SendMessage) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await start_serving(get_update_pipeline(), has_lifespan=True)
                except Exception as error:
                    logger.exception("the pipeline could not be started")
                    await send(
                        {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
                    )
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await stop_serving(get_update_pipeline())
                await send({"type": "lifespan.shutdown.complete"})
                return


def with_update_pipeline(
    app: ASGIApplication, path: str | None = None, *, websocket: ASGIApplication | None = None
) -> UpdatePipelineApplication:
    """Adds the pipeline's sockets and its life cycle to an ASGI application.

    Args:
        app: what serves HTTP, as `get_asgi_application()` returns it.
        path: where the classic socket is; the admin socket is at `path + "admin/"`. `SOCKET_PATH` of the settings
            by default.
        websocket: serves sockets at other paths; without it they are refused.
    """
    return UpdatePipelineApplication(app, path, websocket)


def admin_socket_path(request: HttpRequest) -> str:
    """Where the admin socket is, for the page that a request asks for.

    The application that the request came through says it; else (Channels' router, or WSGI beside an ASGI server) the
    settings do.
    """
    scope: Scope = getattr(request, "scope", {})
    path: str = scope.get(PATH_KEY) or get_script_prefix().rstrip("/") + _absolute(path_of_settings())
    return f"{path}admin/"


def _absolute(path: str) -> str:
    return "/" + path.strip("/") + "/"


def path_of_settings() -> str:
    """`SOCKET_PATH`, or its default where the settings are wrong."""
    try:
        return read_settings().socket_path
    except ConfigurationError:  # `manage.py check` and the start of the pipeline say what is wrong
        return PipelineConfig().socket_path


def _path(scope: Scope) -> str:
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def allowed_hosts() -> Sequence[str]:
    """ALLOWED_HOSTS, or the local names where it is empty in DEBUG, as Django has it."""
    hosts: Sequence[str] = settings.ALLOWED_HOSTS
    return LOCAL_HOSTS if not hosts and settings.DEBUG else hosts
