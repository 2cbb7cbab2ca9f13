"""The command's end: finds the running servers of a project on this host and asks them."""

from __future__ import annotations

import os
import selectors
import socket
import time
from types import TracebackType
from typing import Any

import msgspec

from ..core.codec import encode_value
from .sockets import MAX_LINE_BYTES, ControlError, connections, project_key


class ServerUnreachable(ControlError):
    """No server of this project runs here for this user, or it went away; a retry helps once one runs."""


class ControlTimeout(ControlError):
    """A server did not answer in time; it may be busy, stopped or stuck, and a retry may help."""


class CommandFailed(ControlError):
    """The server answered with an error. `code` is a word for programs, `pid` tells which server."""

    def __init__(self, message: str, *, code: str, pid: int) -> None:
        super().__init__(message)
        self.code = code
        self.pid = pid


class _Hello(msgspec.Struct, frozen=True):
    pid: int
    commands: tuple[str, ...] = ()


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Answer(msgspec.Struct, frozen=True):
    """Any line of a server: its greeting, or the answer to a request."""

    id: int | None = None
    result: Any = None
    error: _Error | None = None
    hello: _Hello | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


class ControlClient:
    """One connection to one running server; a context manager. Synchronous, for one thread.

    `pid` is the server's process and `path` its socket, `has_answered` whether it has greeted yet (a stopped or
    stuck one has not), `commands` what it then said it takes. `timeout_s` bounds each call.
    """

    def __init__(self, connection: socket.socket, pid: int, timeout_s: float) -> None:
        self.pid = pid
        self.timeout_s = timeout_s
        self.commands: tuple[str, ...] = ()
        self.has_answered = False
        self._connection = connection
        try:
            self.path = str(connection.getpeername())
        except OSError:  # it went away in this moment; the first call says so
            self.path = ""
        self._received = bytearray()
        self._searched = 0
        self._last_id = 0
        self._is_closed = False

    @classmethod
    def connect(
        cls, project: str | None = None, timeout_s: float = 5.0, pid: int | None = None
    ) -> ControlClient:
        """Connects to the first server that answers, or to that of one process.

        Args:
            project: the project's key; by default that of the configured Django project.
            timeout_s: bounds this call, and later each `call`.
            pid: the server's process id.

        Raises:
            ServerUnreachable: none runs.
            ControlTimeout: some run, but none answers.
        """
        project = project_key() if project is None else project
        clients, passed_over = cls._greet(project, timeout_s, pid, enough=1)
        chosen = next((client for client in clients if client.has_answered), None)
        for client in clients:
            if client is not chosen:
                client.close()
        if chosen is not None:
            return chosen
        if clients:
            pids = ", ".join(str(client.pid) for client in clients)
            raise ControlTimeout(
                f"no server answered within {timeout_s} s (pid {pids}): is it stopped or stuck?"
            )
        raise ServerUnreachable("; ".join([cls._none_runs(project, pid), *passed_over]))

    @classmethod
    def connect_all(cls, project: str | None = None, timeout_s: float = 5.0) -> list[ControlClient]:
        """Connects to every running server, newest first; waits at most `timeout_s` for all their greetings.

        Those that did not answer are in the list too (`has_answered` is False), so they can be reported. An
        empty list means that none runs. Close each client.
        """
        return cls.discover(project, timeout_s)[0]

    @classmethod
    def discover(
        cls, project: str | None = None, timeout_s: float = 5.0, pid: int | None = None
    ) -> tuple[list[ControlClient], list[str]]:
        """`connect_all`, perhaps for one process only, and sentences on what was passed over.

        If none runs, the first of them says so.
        """
        project = project_key() if project is None else project
        clients, passed_over = cls._greet(project, timeout_s, pid, enough=None)
        return clients, passed_over if clients else [cls._none_runs(project, pid), *passed_over]

    @staticmethod
    def _none_runs(project: str, pid: int | None) -> str:
        which = project if pid is None else f"{project} with pid {pid}"
        return f"no running server of {which} for user {os.getuid()}: start one, or run this as its user"

    @classmethod
    def _greet(
        cls, project: str, timeout_s: float, pid: int | None, enough: int | None
    ) -> tuple[list[ControlClient], list[str]]:
        """Opens connections and reads greetings side by side, until `enough` (all, if None) have come."""
        deadline = time.monotonic() + timeout_s
        found, passed_over = connections(project, pid)
        clients = [cls(connection, server_pid, timeout_s) for connection, server_pid in found]
        missing = len(clients) if enough is None else enough
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client._connection, selectors.EVENT_READ, client)
            while missing > 0 and selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    client = key.data
                    try:
                        if not client._receive_greeting():
                            continue
                    except ControlError as error:  # it went away, is full, or is no server of ours
                        passed_over.append(str(error))
                        client.close()
                    selector.unregister(key.fileobj)
                    missing -= client.has_answered
        return [client for client in clients if not client._is_closed], passed_over

    def call(self, command: str, /, **params: Any) -> Any:
        """Asks the server to carry out a command; its result, as JSON values.

        Raises:
            CommandFailed: the server answered with an error.
            ControlTimeout: no answer within `timeout_s`. The command may still be carried out.
            ServerUnreachable: the server went away.
            ControlError: the request is too large, or the answer is none.
        """
        deadline = time.monotonic() + self.timeout_s
        self._last_id += 1
        line = encode_value({"id": self._last_id, "command": command, "params": params}) + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise ControlError(f"the request has {len(line)} bytes, the limit is {MAX_LINE_BYTES}: send less")
        self._write(line, deadline)
        while True:
            answer = self._read(deadline)
            if answer.hello is not None:
                self._welcome(answer.hello)
            elif answer.id == self._last_id or (answer.id is None and answer.error is not None):
                break
            # Anything else is the late answer to a call that timed out before.
        if answer.error is not None:
            raise CommandFailed(answer.error.message, code=answer.error.code, pid=self.pid)
        return answer.result

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._is_closed = True
        self._connection.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes, deadline: float) -> None:
        try:
            self._connection.settimeout(self._left(deadline))
            self._connection.sendall(line)
        except TimeoutError:
            self.close()  # half a line is on its way: nothing sensible can follow
            raise self._timeout() from None
        except OSError as error:
            raise self._gone(error) from error

    def _read(self, deadline: float) -> _Answer:
        while (answer := self._next()) is None:
            try:
                self._connection.settimeout(self._left(deadline))
                self._receive()
            except TimeoutError:
                raise self._timeout() from None
            except OSError as error:
                raise self._gone(error) from error
        return answer

    def _receive_greeting(self) -> bool:
        """Reads what is there, without waiting; True once the greeting is complete."""
        try:
            self._receive()
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._gone(error) from error
        answer = self._next()
        if answer is None:
            return False
        if answer.hello is None:
            raise ControlError(f"pid {self.pid}: {answer.error.message if answer.error else 'no greeting'}")
        self._welcome(answer.hello)
        return True

    def _welcome(self, hello: _Hello) -> None:
        self.has_answered, self.commands = True, hello.commands

    def _receive(self) -> None:
        data = self._connection.recv(65536)
        if not data:
            raise self._gone(None)
        self._received += data

    def _next(self) -> _Answer | None:
        """The next complete line that was received, if any; each byte is looked at once."""
        end = self._received.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._received)
            if self._searched > MAX_LINE_BYTES:
                self.close()
                raise ControlError(
                    f"pid {self.pid} answers with more than {MAX_LINE_BYTES} bytes: ask for less"
                )
            return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        try:
            return _decode_answer(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.close()
            raise ControlError(
                f"pid {self.pid} answers with something else than an answer: {error}"
            ) from error

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _timeout(self) -> ControlTimeout:
        return ControlTimeout(
            f"pid {self.pid} did not answer within {self.timeout_s} s: is it stopped or stuck?"
        )

    def _gone(self, error: OSError | None) -> ServerUnreachable:
        self.close()
        return ServerUnreachable(f"pid {self.pid} ended the connection{f': {error}' if error else ''}: retry")
