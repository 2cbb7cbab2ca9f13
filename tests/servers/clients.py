"""Real WebSocket clients that keep what they get, and say what they miss when they wait in vain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

Frame = dict[str, Any]

#: An upper bound for waiting; what is waited for ends it at once.
PATIENCE_S = 30.0


@dataclass
class Viewer:
    """A founding client: replaces an agent by each state it gets, and keeps everything else in order."""

    socket: ClientConnection
    frames: list[Frame] = field(default_factory=list)
    agents: dict[str, Frame] = field(default_factory=dict)
    events: list[Frame] = field(default_factory=list)

    async def say(self, frame: Any) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def next(self) -> Frame:
        """The next frame.

        Raises:
            ConnectionClosed: there is none.
        """
        async with asyncio.timeout(PATIENCE_S):
            frame: Frame = json.loads(await self.socket.recv())
        self.frames.append(frame)
        if frame["type"] == "agent_update":
            if frame["update_type"] == "state_change":
                self.agents[frame["agent_id"]] = frame["data"]
            else:
                self.events.append(frame)
        return frame

    async def until(self, condition: Callable[[], object]) -> None:
        """Reads until the condition holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await self.next()
        except TimeoutError:
            raise AssertionError(f"in vain after {len(self.frames)} frames: {self.frames[-5:]}") from None

    async def answer(self, *kinds: str) -> Frame:
        """The next frame that is of one of these kinds."""
        async with asyncio.timeout(PATIENCE_S):
            while (frame := await self.next())["type"] not in kinds:
                pass
        return frame

    async def ask(self, frame: Any, *kinds: str) -> Frame:
        """Sends a frame and returns its answer: no update, no notification."""
        await self.say(frame)
        known = ("pong", "error", "subscription_confirmed", "unsubscription_confirmed", "action_queued")
        return await self.answer(*(kinds or known))

    async def ending(self) -> tuple[int, str]:
        """Reads to the end; the code and the reason of the close."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.next()
                except ConnectionClosed:
                    assert self.socket.close_code is not None
                    return self.socket.close_code, self.socket.close_reason or ""


@contextlib.asynccontextmanager
async def viewing(url: str, cookie: str = "", origin: str = "", **more: Any) -> AsyncIterator[Viewer]:
    """A client at one of the server's sockets; a cookie comes with an origin, as from a browser."""
    headers = {"Cookie": cookie} if cookie else {}
    if cookie or origin:
        headers["Origin"] = origin or url.replace("ws", "http", 1).split("/ws/", 1)[0]
    more.setdefault("open_timeout", PATIENCE_S)
    more.setdefault("max_queue", None)  # a full queue would keep the server's close from being seen
    async with connect(
        url, additional_headers=headers, compression=None, max_size=2**24, proxy=None, **more
    ) as connection:
        yield Viewer(connection)


@contextlib.asynccontextmanager
async def stalled(url: str, port: int) -> AsyncIterator[Viewer]:
    """A client with small buffers, which reads only when it is asked to."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port))
    # It would not see the answer to its close, either.
    async with viewing(url, sock=narrow, max_queue=1, ping_interval=None, close_timeout=0.1) as viewer:
        yield viewer


async def refusal(url: str, **headers: str) -> int:
    """The HTTP status, or the close code, by which a socket is refused; 0 if it is let in."""
    try:
        async with connect(url, additional_headers=headers, compression=None, proxy=None) as connection:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await connection.recv()
            except ConnectionClosed:
                assert connection.close_code is not None
                return connection.close_code
            return 0
    except InvalidStatus as error:
        return error.response.status_code
