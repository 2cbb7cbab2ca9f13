"""The admin socket: commands in, reports out. The door lets only operators in; each command is asked for again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core import frames
from ..core.commands import COMMANDS, CommandError, Watch
from ..core.names import one_line
from ..core.wire import AdminCommand, FrameError, Ping
from .operations import carry_out
from .socket import Receive, SendMessage, Socket, SocketClient

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)


class AdminSocket(Socket):
    """One operator's socket.

    `may_command` is asked with each command whether it may still be carried out, and again and again for `watch`
    while reports are sent.
    """

    is_subscriber = False

    def __init__(
        self, pipeline: UpdatePipeline, client: SocketClient, may_command: Callable[[str], Awaitable[bool]]
    ) -> None:
        super().__init__(pipeline, client)
        self._may_command = may_command

    def greeting(self) -> str:
        return frames.admin_connected(self.client.connection_id, self.pipeline.clock.time())

    async def serve(self, receive: Receive, send: SendMessage) -> None:
        try:
            await super().serve(receive, send)
        finally:
            if hasattr(self, "connection"):
                self.pipeline.live.unwatch(self.connection)

    async def handle(self, frame: Any) -> None:
        now = self.pipeline.clock.time
        if isinstance(frame, Ping):
            self.connection.reply(frames.pong(frame.timestamp, now()))
            return
        if not isinstance(frame, AdminCommand):
            raise FrameError("unknown_type", "the admin socket takes commands and pings")
        command, who = frame.command, operator_name(self.client)
        if not await self._may_command(command):
            if COMMANDS[command].changes:
                logger.warning("operator %s: %s was refused: no permission", who, command)
            raise FrameError(
                "forbidden", "this connection may not do this, or no longer: sign in again", frame.request_id
            )
        try:
            if command in _ON_THIS_SOCKET:
                data = _ON_THIS_SOCKET[command](self, frame.params)
            else:
                data = carry_out(self.pipeline, command, frame.params, by=who)
        except CommandError as error:
            raise FrameError(error.code, error.message, frame.request_id) from error
        self.connection.reply(frames.admin_reply(command, data, now(), frame.request_id))

    def _watch(self, params: Watch) -> dict[str, Any]:
        live = self.pipeline.live
        live.watch(self.connection, params.interval_s, lambda: self._may_command("watch"))
        return {"interval_s": params.interval_s, "last_event": live.history.last_number}

    def _unwatch(self, params: Any) -> dict[str, Any]:
        live = self.pipeline.live
        live.unwatch(self.connection)
        return {"interval_s": None, "last_event": live.history.last_number}


_ON_THIS_SOCKET: dict[str, Callable[[AdminSocket, Any], dict[str, Any]]] = {
    "watch": AdminSocket._watch,
    "unwatch": AdminSocket._unwatch,
}


def operator_name(client: SocketClient) -> str:
    """Who commands, for the log: a user's key, never a name."""
    if client.is_local_operator:
        return client.connection_id
    key = getattr(client.user, "pk", None)
    return "unknown user" if key is None else f"user {one_line(str(key), 80)}"
