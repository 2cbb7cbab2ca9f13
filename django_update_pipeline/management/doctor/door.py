"""A round trip through the project's own door, in this process.

The door judges the handshake by the project's hosts and origins and looks for its sessions; behind it is a pipeline
of its own with the project's bounds on the memory transport, without sources. So nothing that runs is disturbed, and
what fails here is the project's own set-up, not a network.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from ...conf import read_settings
from ...doors import WebSocketDoor, allowed_hosts
from ...exceptions import ConfigurationError
from ...runtime.pipeline import UpdatePipeline
from .findings import Finding

PROBE = "pipeline_doctor"


class DoorClosed(Exception):
    """The socket was refused or closed; `code` and `reason` are the close frame's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class _Socket:
    """Both ends' queues of an ASGI socket."""

    def __init__(self) -> None:
        self.inbound: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outbound: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: dict[str, Any]) -> None:
        await self.outbound.put(message)

    async def frame(self, kind: str, wanted: str | None = None) -> dict[str, Any]:
        """The next frame of a type (and of an agent); other frames are passed over."""
        while True:
            message = await self.outbound.get()
            if message["type"] == "websocket.close":
                raise DoorClosed(message.get("code", 1000), message.get("reason", ""))
            if message["type"] != "websocket.send":
                continue
            frame: dict[str, Any] = json.loads(message["text"])
            if frame["type"] == kind and (wanted is None or frame.get("agent_id") == wanted):
                return frame


def in_process(timeout_s: float) -> Iterator[Finding]:
    """Connects through the door, queues an update, and waits for it to come out."""
    try:
        config = msgspec.structs.replace(read_settings(), transport="memory", control=False)
    except ConfigurationError:
        yield Finding("note", "not tried: the settings are wrong (see above)")
        return
    host = _host()
    try:
        elapsed_ms = asyncio.run(_round_trip(UpdatePipeline(config), host, timeout_s))
    except DoorClosed as error:
        yield Finding(
            "error",
            f"the door refuses a plain program that calls itself Host {host!r}: {error}",
            "The log names the rule; for hosts see ALLOWED_HOSTS.",
        )
    except TimeoutError:
        yield Finding(
            "error",
            f"no update came through within {timeout_s:g} s.",
            "Look for a database that does not answer (the session's look-up) or a hook that hangs.",
        )
    else:
        yield Finding("good", f"an update came through the door in {elapsed_ms:.1f} ms (Host {host!r})")


async def _round_trip(pipeline: UpdatePipeline, host: str, timeout_s: float) -> float:
    socket = _Socket()
    scope = {
        "type": "websocket",
        "path": "/",
        "headers": [(b"host", host.encode("idna" if not host.startswith("[") else "ascii"))],
        "subprotocols": [],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await socket.inbound.put({"type": "websocket.connect"})
    async with asyncio.timeout(timeout_s):
        serving = asyncio.ensure_future(
            WebSocketDoor(pipeline=pipeline)(scope, socket.inbound.get, socket.send)
        )
        try:
            await socket.frame("connection_established")
            began = time.perf_counter()
            await pipeline.publish(PROBE, data={"is_probe": True})
            await socket.frame("agent_update", PROBE)
            return (time.perf_counter() - began) * 1000
        finally:
            await socket.inbound.put({"type": "websocket.disconnect", "code": 1000})
            serving.cancel()
            await asyncio.wait([serving])
            await pipeline.stop()


def _host() -> str:
    """A host name that ALLOWED_HOSTS lets in; a local one where it can be."""
    hosts = tuple(allowed_hosts())
    if not hosts:
        return "no-host-is-allowed"
    return "localhost" if "*" in hosts else hosts[0].removeprefix(".")
