"""A socket that has left is let go of at once.

The queue of what is looked at next held it until its turn, up to 21 s later. With it went the server's own object for
the connection and the last message that came over it: a client that sent 15 MB (15 KB compressed) and left, again and
again, filled the memory at that rate. The campaign of hostile clients found it by the resident memory of uvicorn.
"""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from django_update_pipeline.runtime.watch import Standing, Watch


class Socket:
    """A socket as the watch sees it; notes what is done to it."""

    def __init__(self, key: str | None = None) -> None:
        identity = None if key is None else SimpleNamespace(keys=(key,))
        self.client = SimpleNamespace(identity=identity, user="before")
        self.told: list[str] = []
        self.was_told = asyncio.Event()

    def end(self, code: Any) -> None:
        self.told.append("ended")

    async def narrow(self, *, is_overdue: bool) -> bool:
        self.told.append("narrowed")
        self.was_told.set()
        return True


class Looks:
    """Finds everybody, once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, identities: Sequence[Any]) -> list[Standing | None]:
        self.asked.set()
        await self.may_answer.wait()
        return [Standing("after") for _ in identities]


def watch_with(looks: Looks) -> Watch:
    return Watch(looks, recheck_s=30.0, look_timeout_s=10.0, monotonic=time.monotonic)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_nothing_of_a_socket_that_left_is_kept(is_alone: bool) -> None:
    watch, other = watch_with(Looks()), Socket("other")
    if not is_alone:
        assert watch.join(other, watch.mark())
    left = []
    for _ in range(50):
        socket = Socket("gone")
        assert watch.join(socket, watch.mark())
        watch.suspect(socket, 5.0)
        watch.leave(socket)
        left.append(weakref.ref(socket))
    del socket
    gc.collect()
    assert [ref for ref in left if ref() is not None] == []
    watch.leave(other)


async def test_a_socket_that_leaves_while_it_is_looked_at_is_left_alone() -> None:
    looks = Looks()
    watch, leaves, stays = watch_with(looks), Socket("a"), Socket("b")
    for socket in (leaves, stays):
        assert watch.join(socket, watch.mark())
        watch.suspect(socket)
    async with asyncio.timeout(10):
        await looks.asked.wait()
        watch.leave(leaves)
        looks.may_answer.set()
        await stays.was_told.wait()
    assert (stays.told, stays.client.user) == (["narrowed"], "after")
    assert (leaves.told, leaves.client.user) == ([], "before")
    watch.leave(stays)
