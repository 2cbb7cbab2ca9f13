"""Looking for connections that are stuck: while there are any, on the loop that is there, and no longer."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from django_update_pipeline.core.codes import TOO_SLOW
from django_update_pipeline.runtime.stuck import StuckWriters
from django_update_pipeline.testing import in_virtual_time


class Stuck:
    """A connection that takes nothing."""

    connection_id, written, is_idle = "one", 1, False

    def __init__(self) -> None:
        self.closed_with: Any = None

    def close(self, code: Any) -> None:
        self.closed_with = code


def watching(*connections: Any) -> tuple[StuckWriters, dict[str, Any]]:
    there = {str(number): connection for number, connection in enumerate(connections)}
    return StuckWriters(there, 8.0, lambda: asyncio.get_running_loop().time()), there


@in_virtual_time
async def test_it_looks_no_more_once_nobody_is_there() -> None:
    stuck, there = watching(Stuck())
    stuck.watch()
    there.clear()
    await asyncio.sleep(9)
    assert stuck._timer is None
    there["late"] = late = Stuck()
    stuck.watch()
    await asyncio.sleep(11)
    assert late.closed_with is TOO_SLOW


@in_virtual_time
async def test_once_it_is_stopped_nobody_is_closed() -> None:
    connection = Stuck()
    stuck, _ = watching(connection)
    stuck.watch()
    stuck.stop()
    await asyncio.sleep(60)
    assert connection.closed_with is None
    assert stuck.closed_count == 0


@in_virtual_time
async def test_once_it_is_stopped_it_keeps_no_connection() -> None:
    stuck, there = watching(Stuck())
    stuck.watch()
    await asyncio.sleep(3)
    seen = weakref.ref(there["0"])
    stuck.stop()
    there.clear()
    assert seen() is None


def test_on_another_loop_it_looks_again() -> None:
    """The first one ended in the middle, and its timer with it."""
    connection = Stuck()
    stuck = StuckWriters({"one": connection}, 0.04, lambda: 0.0)  # type: ignore[dict-item]

    async def begin() -> None:
        stuck.watch()

    async def go_on() -> None:
        stuck.watch()
        async with asyncio.timeout(10):
            while connection.closed_with is None:  # noqa: ASYNC110 - looking is the test
                await asyncio.sleep(0.01)
        stuck.stop()

    asyncio.run(begin())
    asyncio.run(go_on())
    assert connection.closed_with is TOO_SLOW
