"""A TCP proxy on 127.0.0.1 that misbehaves as told: latency, a narrow line, silence, resets, half-closed, single bytes.

    async with FaultProxy(port_of_the_server) as proxy:
        connect to proxy.port
        proxy.down.delay_s = 0.3; proxy.down.bytes_per_s = 8000      # from the server to the clients
        proxy.up.segment_bytes = 1                                   # from the clients to the server
        proxy.blackhole()                                            # nothing passes any more, and nobody is told
        proxy.reset(after_bytes=100)                                 # RST to both sides in mid-frame

Settings count for all connections, from the next bytes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Line:
    """What one direction does to what it carries."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0  # 0: as fast as it goes
    segment_bytes: int = 0  # 0: as it comes
    is_silent: bool = False
    reset_after_bytes: int | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(7))


class FaultProxy:
    """Carries TCP connections to a server; an async context manager."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.port = 0
        self.up = Line()
        self.down = Line()
        self.opened = 0
        self.idle_timeout_s = 0.0  # 0: never; counts for connections to come
        self._listener: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_count(self) -> int:
        """How many connections it carries."""
        return len(self._links)

    def blackhole(self) -> None:
        """Nothing passes any more, in either direction; neither side is told."""
        self.up.is_silent = self.down.is_silent = True

    def reset(self, *, after_bytes: int | None = None) -> None:
        """Cuts all connections with RST: at once, or once so many more bytes went down to a client."""
        if after_bytes is not None:
            self.down.reset_after_bytes = after_bytes
            return
        for link in list(self._links):
            link.reset()

    def half_close(self, side: str) -> None:
        """Tells one side (`server` or `client`) that the other will send no more; the other way stays open."""
        for link in list(self._links):
            writer = link.server if side == "server" else link.client
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:  # by us, at the end; Python 3.11's streams would report it
            pass
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what waits, waits at the server
        narrow.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self.server_port))
            server_reader, server_writer = await asyncio.open_connection(sock=narrow, limit=4096)
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, writer, server_writer)
        self._links.add(link)
        pumps = [
            asyncio.ensure_future(link.carry(reader, server_writer, lambda: self.up)),
            asyncio.ensure_future(link.carry(server_reader, writer, lambda: self.down)),
        ]
        if self.idle_timeout_s:
            pumps.append(asyncio.ensure_future(link.watch_idle(self.idle_timeout_s)))
        try:
            await asyncio.gather(*pumps)
        except OSError:
            pass
        finally:
            self._links.discard(link)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in (writer, server_writer):
                one.transport.abort()


class Link:
    """One connection: its two sockets, and a pump for each direction."""

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.last_bytes_at = asyncio.get_running_loop().time()

    def reset(self) -> None:
        """Cuts both sides with RST rather than FIN (SO_LINGER of no time)."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Callable[[], Line]
    ) -> None:
        """Reads at one end and writes at the other as the line says: late bytes overlap, and keep their order."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)

        async def read() -> None:
            due = 0.0
            with contextlib.suppress(OSError):
                while data := await reader.read(line().segment_bytes or 4096):
                    now = line()
                    self.last_bytes_at = loop.time()
                    late = now.delay_s + now.chance.uniform(-now.jitter_s, now.jitter_s)
                    due = max(due, loop.time() + late)
                    await under_way.put((due, data))
            await under_way.put((due, b""))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                due, data = await under_way.get()
                if not data:
                    break
                now = line()
                if now.is_silent:
                    continue  # read, and gone
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if now.bytes_per_s:
                    await asyncio.sleep(len(data) / now.bytes_per_s)
                if now.reset_after_bytes is not None:
                    now.reset_after_bytes -= len(data)
                    if now.reset_after_bytes <= 0:
                        now.reset_after_bytes = None
                        writer.write(data[: len(data) // 2])
                        self.reset()
                        return
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    async def watch_idle(self, timeout_s: float) -> None:
        """Cuts the connection once no byte has passed for so long, as proxies do."""
        loop = asyncio.get_running_loop()
        while (left := self.last_bytes_at + timeout_s - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self.reset()
