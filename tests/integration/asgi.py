"""A client of an ASGI WebSocket application: no server, no network, every message visible."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

HOST = (b"host", b"testserver")
ORIGIN = (b"origin", b"http://testserver")


class AsgiSocket:
    """One socket. `sent` has the application's messages, `frames` the decoded frames among them."""

    def __init__(
        self,
        app: Any,
        path: str = "/ws/updates/",
        headers: Iterable[tuple[bytes, bytes]] = (HOST,),
        **scope: Any,
    ) -> None:
        self.app = app
        self.scope = {
            "type": "websocket",
            "path": path,
            "headers": list(headers),
            "subprotocols": [],
            "query_string": b"",
            "root_path": "",
            **scope,
        }
        self.sent: list[dict[str, Any]] = []
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self.task: asyncio.Task[None] | None = None

    async def _send(self, message: dict[str, Any]) -> None:
        await self._open.wait()
        self.sent.append(message)
        self._news.set()

    def block(self) -> None:
        """The application's sends wait."""
        self._open.clear()

    def unblock(self) -> None:
        self._open.set()

    async def connect(self) -> bool:
        """Opens the socket; False if it is refused. A refused socket has been sent nothing else."""
        self._inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self.app(self.scope, self._inbox.get, self._send))
        await self.until(lambda: self.sent)
        return bool(self.sent[0]["type"] == "websocket.accept")

    async def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Waits until the condition holds, asked after each message; what the application raises is raised."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                assert self.task is not None
                await asyncio.wait([news, self.task], return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if self.task.done():
                    self.task.result()
                    if not condition():
                        raise AssertionError(f"the application ended; it had sent {self.sent}")

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    @property
    def close_code(self) -> int | None:
        for message in self.sent:
            if message["type"] == "websocket.close":
                code: int = message["code"]
                return code
        return None

    def say(self, frame: Any) -> None:
        """Sends a frame; text and bytes as they are, anything else as JSON."""
        if isinstance(frame, bytes):
            self._inbox.put_nowait({"type": "websocket.receive", "bytes": frame, "text": None})
        else:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    async def ask(self, frame: Any) -> dict[str, Any]:
        """Sends a frame and returns the next one that is neither an update nor a live report."""

        def answers() -> list[dict[str, Any]]:
            unasked = ("agent_update", "system_notification", "sync")
            return [one for one in self.frames if one["type"] not in unasked and not one.get("live")]

        before = len(answers())
        self.say(frame)
        await self.until(lambda: len(answers()) > before)
        return answers()[before]

    async def disconnect(self) -> None:
        """The client is gone; waits for the application to end."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
        assert self.task is not None
        async with asyncio.timeout(5):
            await self.task


@contextlib.asynccontextmanager
async def opened(app: Any, path: str = "/ws/updates/", **more: Any) -> AsyncIterator[AsgiSocket]:
    """A socket that is let in, and disconnected afterwards."""
    socket = AsgiSocket(app, path, **more)
    assert await socket.connect(), socket.sent
    try:
        yield socket
    finally:
        await socket.disconnect()


class Lifespan:
    """Drives an application's lifespan as a server does."""

    def __init__(self, app: Any) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(app({"type": "lifespan"}, self._inbox.get, self._outbox.put))

    async def tell(self, what: str) -> dict[str, Any]:
        """`startup` or `shutdown`; returns the answer."""
        self._inbox.put_nowait({"type": f"lifespan.{what}"})
        async with asyncio.timeout(10):
            return await self._outbox.get()
