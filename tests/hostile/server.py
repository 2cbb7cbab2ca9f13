"""What the servers serve: the package's own doors, news at a steady pace, and a page that counts what is left."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
from typing import Any

import django

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402

from django_update_pipeline import service  # noqa: E402
from django_update_pipeline.routing import with_update_pipeline  # noqa: E402
from tests.hostile.census import CENSUS  # noqa: E402

# Our own errors are single lines without a traceback: told apart from a server's by what they begin with.
_handler = logging.StreamHandler()
_handler.setFormatter(logging.Formatter("django_update_pipeline %(levelname)s %(message)s"))
logging.getLogger("django_update_pipeline").addHandler(_handler)
logging.getLogger("django_update_pipeline").propagate = False

_inner = with_update_pipeline(get_asgi_application())
_ticker: asyncio.Task[None] | None = None
_libc = ctypes.CDLL(None)


async def _tick() -> None:
    pipeline = await service.start_update_pipeline_service()
    n = 0
    while True:
        n += 1
        pipeline.queue_agent_update(f"agent_{n % 50}", "state_change", {"n": n})
        pipeline.queue_agent_update(f"agent_{n % 50}", "said", {"n": n}, channels=["news"])
        await asyncio.sleep(0.02)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """ASGI."""
    global _ticker
    if _ticker is None:
        _ticker = asyncio.create_task(_tick())
    if scope["type"] != "http" or scope["path"] != CENSUS:
        await _inner(scope, receive, send)
        return
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)  # what the allocator merely keeps is no leak
    manager = service.get_update_pipeline().websocket_manager
    body = json.dumps(
        {
            "pid": os.getpid(),
            "connections": manager.get_connection_count(),
            "feeds": len(manager._feeds),
            "tasks": len(asyncio.all_tasks()),
        }
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
