"""The server's end: answers commands from other processes of the same user on this host."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ..core.codec import encode_value
from ..core.names import one_line, reflected
from ..core.repeats import Repeats
from ..exceptions import UpdatePipelineError
from ..runtime.complaints import complain
from .sockets import MAX_LINE_BYTES, ControlError, candidate_directories, is_own_user, listen, remove

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 32
_STOP_TIMEOUT_S: Final = 1.0

Handler = Callable[..., Awaitable[Any]]


class _Request(msgspec.Struct, frozen=True):
    id: int
    command: str
    params: dict[str, Any] = {}


_decode_request = msgspec.json.Decoder(_Request).decode


class ControlServer:
    """Answers commands from other processes of the same user on this host.

    Args:
        project: the project's key; a client must use the same.
        handlers: coroutine functions by command; called with the request's params as keywords. Looked up at
            each request, and the only names a request can reach.
        handler_timeout_s: how long a handler may take.
        idle_timeout_s: how long a connection may be silent or leave an answer unread.

    A server that can't listen says so once in the log and in `problem`, counts it in `failures`, and is no
    reason for the process not to serve. All methods belong to one loop.
    """

    def __init__(
        self,
        project: str,
        handlers: Mapping[str, Handler],
        *,
        handler_timeout_s: float = 10.0,
        idle_timeout_s: float = 60.0,
    ) -> None:
        self.project = project
        self.handlers = handlers
        self.handler_timeout_s = handler_timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.path: Path | None = None
        """The socket while listening, else None."""
        self.problem: str | None = None
        """Why the last start failed, None if it did not."""
        self.failures = 0
        """How often a start or a handler failed."""
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._has_warned = False
        self._complaints = Repeats()

    async def start(self) -> bool:
        """Listens; True if it does now. Idempotent; raises nothing but cancellation."""
        here = (os.getpid(), asyncio.get_running_loop())
        if self._server is not None and self._home == here:
            return True
        self._forget()
        self.problem = None
        problems: list[str] = []
        for directory in self._directories(problems):
            try:
                listener, path = listen(directory, self.project)
            except (OSError, ControlError) as error:
                problems.append(str(error))
                continue
            self._listener, self.path, self._home = listener, path, here
            try:
                # This does not suspend, so of two tasks that start at once the second finds the server.
                self._server = await asyncio.start_unix_server(
                    self._serve, sock=listener, limit=MAX_LINE_BYTES, start_serving=False
                )
                await self._server.start_serving()
            except Exception as error:  # the named boundary: the pipeline goes on without commands
                self._forget()
                problems.append(f"{type(error).__name__}: {error}")
                continue
            return True
        self.failures += 1
        self.problem = "; ".join(problems) or "no temporary folder exists"
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Management commands can't reach this process: %s; name a folder that exists and is writable in "
                "UPDATE_PIPELINE_RUNTIME_DIR, for the commands, too",
                one_line(self.problem),
            )
        return False

    async def stop(self) -> None:
        """Ends all connections and removes the socket. Idempotent; safe from a handler."""
        server = self._server if self._home == (os.getpid(), asyncio.get_running_loop()) else None
        tasks = self._connections - {asyncio.current_task()}
        if server is not None:
            server.close()
        self._forget()
        if server is not None and tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_STOP_TIMEOUT_S)

    def _forget(self) -> None:
        """Drops the socket, also one of a loop that ended, or of the parent of a fork (whose file stays)."""
        if self._listener is not None:
            self._listener.close()
        if self.path is not None and self._home is not None and self._home[0] == os.getpid():
            remove(self.path)
        self._server = self._listener = self.path = self._home = None
        self._connections = set()

    @staticmethod
    def _directories(problems: list[str]) -> tuple[Path, ...]:
        try:
            return candidate_directories()
        except AttributeError:  # no os.getuid: not a POSIX system
            problems.append("this platform has no Unix sockets")
            return ()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, a named boundary: whatever happens here ends this connection only."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, EOFError):  # the client went away, is silent, or does not read
            pass
        except asyncio.CancelledError:
            # Only stop() and the end of the loop cancel this task, and nobody awaits its result. The streams
            # of Python 3.11 would report a cancelled connection as an unhandled error.
            pass
        except Exception as error:  # the named boundary
            self.failures += 1
            complain(logger, error, "A control connection failed", repeats=self._complaints)
        finally:
            self._connections.discard(task)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # close() would wait for a client that does not read
            else:
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_own_user(writer.get_extra_info("socket")):
            if count := self._complaints.add("another user"):
                logger.warning("A control connection of another user was refused (%d so far)", count)
            return
        if len(self._connections) > MAX_CONNECTIONS:
            await self._send(
                writer, _failure(None, "busy", f"{MAX_CONNECTIONS} connections are open: retry later")
            )
            return
        await self._send(
            writer, encode_value({"hello": {"pid": os.getpid(), "commands": list(self.handlers)}})
        )
        while self._server is not None:
            try:
                async with asyncio.timeout(self.idle_timeout_s):
                    line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                message = f"a request has more than {MAX_LINE_BYTES} bytes: send less at a time"
                await self._send(writer, _failure(None, "too_large", message))
                return
            await self._send(writer, await self._answer(line))

    async def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(line + b"\n")
        async with asyncio.timeout(self.idle_timeout_s):
            await writer.drain()

    async def _answer(self, line: bytes) -> bytes:
        """Carries out one request; every failure is an answer."""
        try:
            request = _decode_request(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _failure(None, "invalid_request", f"the line is not a request: {error}")
        handler = self.handlers.get(request.command)
        if handler is None:
            known = ", ".join(sorted(self.handlers)) or "none"
            message = f"command {reflected(request.command)} is not known here: use one of {known}"
            return _failure(request.id, "unknown_command", message)
        try:
            inspect.signature(handler).bind(**request.params)
        except TypeError as error:
            return _failure(request.id, "invalid_params", f"{request.command}: {error}")
        try:
            async with asyncio.timeout(self.handler_timeout_s) as timeout:
                result = await handler(**request.params)
            answer = encode_value({"id": request.id, "result": result})
        except UpdatePipelineError as error:  # a no with its reason, not a failure
            return _failure(request.id, str(getattr(error, "code", "refused")), str(error))
        except Exception as error:  # the named boundary: a handler
            self.failures += 1
            if isinstance(error, TimeoutError) and timeout.expired():
                logger.warning(
                    "Control command %s took more than %s s", request.command, self.handler_timeout_s
                )
                message = f"{request.command} took more than {self.handler_timeout_s} s"
                return _failure(request.id, "timeout", message)
            complain(logger, error, "Control command %s failed", request.command, repeats=self._complaints)
            return _failure(request.id, "failed", f"{type(error).__name__}: {error}")
        if len(answer) >= MAX_LINE_BYTES:
            message = f"the answer has {len(answer)} bytes, the limit is {MAX_LINE_BYTES}: ask for less"
            return _failure(request.id, "too_large", message)
        return answer


def _failure(request_id: int | None, code: str, message: str) -> bytes:
    text = message[:2000].encode("utf-8", "backslashreplace").decode()
    return encode_value({"id": request_id, "error": {"code": code, "message": text}})
