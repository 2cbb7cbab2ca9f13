"""The servers of this project that run on this host: whether commands reach them, and updates a browser.

The last look is a round trip through everything: a real socket to a running server, on which that server is asked
(over the control socket) to send an update, through its own queue, transport and store.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ...control import ControlError, project_key
from ...control.sockets import candidate_directories, listen, remove
from ..servers import HINT, NoServer, Server, Servers
from .findings import Finding, Level

_STATUS_LEVELS: dict[str, Level] = {"healthy": "good", "degraded": "warning", "critical": "error"}


def control_folder() -> Iterator[Finding]:
    """Whether a server of this user could be reached by commands: one of the folders must hold a socket."""
    problems = []
    try:
        directories = candidate_directories()
    except AttributeError:  # no os.getuid
        yield Finding("warning", "this platform has no Unix sockets, so commands reach no server.")
        return
    for directory in directories:
        try:
            listener, path = listen(directory, f"doctor:{project_key()}")
        except (OSError, ControlError) as error:
            problems.append(str(error))
            continue
        listener.close()
        remove(path)
        yield Finding("good", f"commands reach servers through {directory}")
        return
    yield Finding(
        "error",
        f"no folder can hold the socket by which commands reach a server: {'; '.join(problems)}",
        "Name a folder that exists and is writable in UPDATE_PIPELINE_RUNTIME_DIR (for the server, too).",
    )


class Running:
    """Looks at the servers that run here.

    Args:
        timeout_s: bounds each question and each connection.
        url: where a browser connects, as `ws://127.0.0.1:8000/ws/updates/`; found out if left out.
    """

    def __init__(self, timeout_s: float, url: str | None = None) -> None:
        self.timeout_s = timeout_s
        self.url = url

    def servers(self) -> Iterator[Finding]:
        """Each server's answer and health."""
        try:
            with Servers(self.timeout_s) as servers:
                asked = servers.ask("get_health")
        except NoServer as nobody:
            yield Finding("note", "; ".join(nobody.reasons), HINT)
            return
        for server in asked:
            yield from _health(server)

    def round_trip(self) -> Iterator[Finding]:
        """A socket to a running server, and an update through all of it."""
        try:
            from websockets.sync.client import connect  # noqa: F401
        except ImportError:
            yield Finding(
                "note",
                "no real socket was tried: the package websockets is not here.",
                "pip install websockets",
            )
            return
        try:
            with Servers(self.timeout_s) as servers:
                if any(client.has_answered for client in servers.clients):
                    yield from self._through(servers)
                    return
        except NoServer:
            pass
        yield Finding(
            "note", "no real socket was tried: no server that answers runs here.", "Start the server first."
        )

    def _through(self, servers: Servers) -> Iterator[Finding]:
        urls = [self.url] if self.url else _urls_of(servers)
        if not urls:
            yield Finding(
                "note",
                "no real socket was tried: no request has told the server its own address yet.",
                "Give it: --url ws://127.0.0.1:8000/ws/updates/ (or open any page once).",
            )
        for url in urls:
            try:
                yield from self._try_socket(url, servers)
            except (OSError, TimeoutError, ValueError) as error:
                yield Finding(
                    "error",
                    f"no socket at {url}: {type(error).__name__}: {str(error)[:300]}",
                    "Is that the address and path of the socket? A proxy must pass Upgrade and Host on.",
                )

    def _try_socket(self, url: str, servers: Servers) -> Iterator[Finding]:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        try:
            with connect(url, open_timeout=self.timeout_s, close_timeout=1, max_size=None) as socket:
                greeting = self._next(socket, "connection_established")
                extensions = (
                    socket.response.headers.get("Sec-WebSocket-Extensions", "") if socket.response else ""
                )
                if "permessage-deflate" in extensions:
                    yield Finding(
                        "warning",
                        f"{url} compresses each frame for each client: most of the processor's time goes there.",
                        "uvicorn: --ws-per-message-deflate false.",
                    )
                yield from self._probe(url, socket, greeting["connection_id"], servers)
        except WebSocketException as error:
            yield Finding(
                "error",
                f"{url} refuses a plain program's socket: {str(error)[:300]}",
                f"Is {urlsplit(url).hostname!r} in ALLOWED_HOSTS, and is that the socket's path?",
            )

    def _probe(self, url: str, socket: Any, connection_id: str, servers: Servers) -> Iterator[Finding]:
        for server in servers.ask_in_turn("probe", connection_id=connection_id):
            if server.problem:
                yield Finding(
                    "error",
                    f"no update could be sent through the transport: {server.problem}",
                    "Look at pipeline_health: is the circuit breaker open?",
                )
                return
            if server.answer["found"]:
                answered = time.monotonic()
                self._next(socket, "agent_update", "pipeline_probe")
                elapsed_ms = (server.took_s + time.monotonic() - answered) * 1000
                yield Finding(
                    "good",
                    f"an update went through pid {server.pid} to a socket at {url} in {elapsed_ms:.1f} ms",
                )
                return
        yield Finding(
            "warning",
            f"{url} answers, but by none of the servers that run here for this user.",
            "Another project, user or host serves that address.",
        )

    def _next(self, socket: Any, kind: str, update_type: str | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + self.timeout_s
        while True:
            frame: dict[str, Any] = json.loads(socket.recv(timeout=max(0.01, deadline - time.monotonic())))
            if frame.get("type") == kind and update_type in (None, frame.get("update_type")):
                return frame


def _health(server: Server) -> Iterator[Finding]:
    if server.problem:
        yield Finding("error", f"the server with pid {server.pid} does not answer", server.problem)
        return
    status, score = server.answer["health_status"], server.answer["health_score"]
    level = _STATUS_LEVELS.get(status, "error")
    yield Finding(level, f"the server with pid {server.pid} is {status} ({score} of 100)")
    for issue in server.answer["issues"]:
        yield Finding("warning" if level == "good" else level, f"pid {server.pid}: {issue}")


def _urls_of(servers: Servers) -> list[str]:
    """Where the servers' own sockets are, as far as requests have told them. A server that hangs is told elsewhere."""
    # Nothing is bound here: these are what a server says that listens everywhere.
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
    urls = [
        f"ws://{everywhere.get(host, f'[{host}]' if ':' in host else host)}:{port}{path}"
        for server in servers.ask_in_turn("get_addresses")
        if not server.problem
        for host, port, path in server.answer["addresses"]
    ]
    return list(dict.fromkeys(urls))
