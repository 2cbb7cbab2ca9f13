"""The admin socket: commands in, reports out. The door lets only operators in; each command is asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..core import frames
from ..core.commands import CommandError
from ..core.wire import AdminCommand, FrameError, Ping
from .operations import carry_out
from .socket import Socket, SocketClient

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline


class AdminSocket(Socket):
    """One operator's socket. `may_command` is asked with each command whether it may still be carried out."""

    is_subscriber = False

    def __init__(
        self, pipeline: UpdatePipeline, client: SocketClient, may_command: Callable[[str], Awaitable[bool]]
    ) -> None:
        super().__init__(pipeline, client)
        self._may_command = may_command

    def greeting(self) -> str:
        return frames.admin_connected(self.client.connection_id, self.pipeline.clock.time())

    async def handle(self, frame: Any) -> None:
        now = self.pipeline.clock.time
        if isinstance(frame, Ping):
            self.connection.reply(frames.pong(frame.timestamp, now()))
            return
        if not isinstance(frame, AdminCommand):
            raise FrameError("unknown_type", "the admin socket takes commands and pings")
        if not await self._may_command(frame.command):
            raise FrameError(
                "forbidden", "this connection may not do this, or no longer: sign in again", frame.request_id
            )
        try:
            data = carry_out(self.pipeline, frame.command, frame.params)
        except CommandError as error:
            raise FrameError(error.code, error.message, frame.request_id) from error
        self.connection.reply(frames.admin_reply(frame.command, data, now(), frame.request_id))
