"""A log-in or a permission that ends while a sync socket or a stream is open: nothing of it is sent any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_update_pipeline import permission_changed
from django_update_pipeline.core.codes import SESSION_ENDED
from django_update_pipeline.core.sync_wire import SUBPROTOCOL

from .asgi import AsgiSocket
from .test_event_stream import Response
from .test_revocation import (
    BY_SIGNAL,
    ROOMS,
    Rooms,
    cookie,
    deactivate,
    log_out,
    plain_door,
    recognise,
    rose,
    update_only,
)

pytestmark = pytest.mark.django_db(transaction=True)


class SyncViewer:
    """A sync socket that is on some channels."""

    def __init__(self, app: Any, headers: Any) -> None:
        self.socket = AsgiSocket(app, headers=headers, subprotocols=[SUBPROTOCOL])

    async def open(self, *channels: str) -> None:
        assert await self.socket.connect()
        self.socket.say({"type": "subscribe", "channels": list(channels)})

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.socket.frames

    async def until(self, condition: Callable[[], Any]) -> None:
        await self.socket.until(condition)

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code

    async def close(self) -> None:
        await self.socket.disconnect()


class StreamViewer:
    """A stream of some channels."""

    def __init__(self, app: Any, headers: Any) -> None:
        self.app, self.headers = app, headers

    async def open(self, *channels: str) -> None:
        self.response = Response(self.app, b"channels=" + ",".join(channels).encode(), *self.headers[1:])
        await self.response.open()
        assert self.response.started["status"] == 200

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.response.events

    async def until(self, condition: Callable[[], Any]) -> None:
        await self.response.until(condition)

    @property
    def close_code(self) -> int | None:
        return next((event["code"] for event in self.frames if event.get("event") == "close"), None)

    async def close(self) -> None:
        if not self.response.task.done():
            await self.response.close()


Viewer = SyncViewer | StreamViewer
KINDS = [pytest.param(SyncViewer, id="sync"), pytest.param(StreamViewer, id="stream")]


@asynccontextmanager
async def viewing(kind: Any, app: Any, headers: Any, *channels: str) -> AsyncIterator[Any]:
    """A viewer that has been told all there was."""
    viewer = kind(app, headers)
    await viewer.open(*channels)
    await viewer.until(lambda: set(channels) <= {frame["channel"] for frame in syncs(viewer)})
    try:
        yield viewer
    finally:
        await viewer.close()


def syncs(viewer: Viewer) -> list[dict[str, Any]]:
    return [frame for frame in viewer.frames if frame.get("type") == "sync"]


def shown(viewer: Viewer, channel: str) -> list[Any]:
    """What was told of the agent of a channel."""
    return [
        frame["agents"]["agent"]["set"]["n"]
        for frame in syncs(viewer)
        if frame["channel"] == channel and "agent" in frame.get("agents", {})
    ]


@pytest.mark.parametrize("end", BY_SIGNAL, ids=lambda end: end.__name__)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_ends_a_log_in_ends_its_views_and_no_other(pipeline: Any, kind: Any, end: Any) -> None:
    """With a look only every hour: it was the signal."""
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    app = plain_door()
    async with (
        viewing(kind, app, cookie(session)[:2], "updates") as visitor,
        viewing(kind, app, cookie(session), "updates") as viewer,
    ):
        await end(user, session)
        await viewer.until(lambda: viewer.close_code is not None)
        assert viewer.close_code == SESSION_ENDED.code
        await running.publish("agent", "state_change", {"n": 1})
        await visitor.until(lambda: shown(visitor, "updates") == [1])
        assert shown(viewer, "updates") == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_no_signal_tells_is_found_by_looking(pipeline: Any, kind: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 0.5})
    user, session = await rose()
    async with viewing(kind, plain_door(), cookie(session), "updates") as viewer:
        await update_only(user, session)
        await viewer.until(lambda: viewer.close_code == SESSION_ENDED.code)


@pytest.mark.parametrize("how", [log_out, deactivate], ids=lambda how: how.__name__)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_handshake_that_raced_with_the_end_does_not_slip_through(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, kind: Any, how: Any
) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    from django_update_pipeline import doors

    async def slow(scope: Any, must: Any = None) -> Any:
        found = await recognise(scope, must)
        await how(user, session)
        return found

    monkeypatch.setattr(doors, "recognise", slow)
    viewer = kind(plain_door(), cookie(session))
    await viewer.open("updates")
    await viewer.until(lambda: viewer.close_code == SESSION_ENDED.code)
    if how is log_out:
        assert syncs(viewer) == [], "its session was known to have ended"
    await viewer.close()


@pytest.fixture
def rooms() -> Rooms:
    ROOMS.__init__()  # type: ignore[misc]
    return ROOMS


@pytest.mark.parametrize("kind", KINDS)
async def test_a_channel_that_is_withdrawn_is_told_of_no_more_and_not_resumed(
    pipeline: Any, rooms: Rooms, kind: Any
) -> None:
    """Neither live, nor by coming back with the position that was reached while it was allowed."""
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0}, PLUGINS=["tests.integration.test_revocation.ROOMS"])
    _, session = await rose()
    app = plain_door()
    await running.start()
    await running.publish("agent", "state_change", {"n": 1}, channels=["room.1", "room.2"])
    async with viewing(kind, app, cookie(session), "room.1", "room.2") as viewer:
        rooms.allowed.discard("room.1")
        await sync_to_async(permission_changed)()
        await viewer.until(lambda: any(f.get("code") == "channel_withdrawn" for f in viewer.frames))
        await running.publish("agent", "state_change", {"n": 2}, channels=["room.1", "room.2"])
        await viewer.until(lambda: shown(viewer, "room.2") == [1, 2])
        assert shown(viewer, "room.1") == [1]
        at = next(frame for frame in syncs(viewer) if frame["channel"] == "room.1")
    if kind is StreamViewer:
        back = Response(
            app, f"channels=room.1&since=room.1={at['epoch']}:{at['to']}".encode(), *cookie(session)[1:]
        )
        await back.open()
        assert back.started["status"] == 403
        return
    again = SyncViewer(app, cookie(session))
    assert await again.socket.connect()
    again.socket.say(
        {
            "type": "subscribe",
            "channels": ["room.1", "room.2"],
            "since": {"room.1": {"epoch": at["epoch"], "offset": at["to"], "view": ""}},
        }
    )
    await again.until(lambda: shown(again, "room.2") == [2])
    assert shown(again, "room.1") == []
    await again.close()


@pytest.mark.parametrize("projection", [None, ["n"], ["nothing"]])
async def test_changing_the_projection_of_a_withdrawn_channel_brings_it_not_back(
    pipeline: Any, rooms: Rooms, projection: list[str] | None
) -> None:
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0}, PLUGINS=["tests.integration.test_revocation.ROOMS"])
    _, session = await rose()
    await running.start()
    async with viewing(SyncViewer, plain_door(), cookie(session), "room.1") as viewer:
        rooms.allowed.discard("room.1")
        await sync_to_async(permission_changed)()
        await viewer.until(lambda: any(f.get("code") == "channel_withdrawn" for f in viewer.frames))
        fields = {} if projection is None else {"fields": {"room.1": projection}}
        viewer.socket.say({"type": "subscribe", "channels": ["room.1"], **fields})
        await viewer.until(lambda: any(f.get("code") == "channel_refused" for f in viewer.frames))
        await running.publish("agent", "state_change", {"n": 2}, channels=["room.1"])
        assert (await viewer.socket.ask({"type": "ping"}))["type"] == "pong"
        assert shown(viewer, "room.1") == []


async def test_a_projection_tells_no_other_field(pipeline: Any) -> None:
    """Neither whole, nor as a change, nor unset, nor in what is compared now and then."""
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0})
    await running.start()
    await running.publish("agent", "state_change", {"n": 1, "private": "s3cret"})
    viewer = SyncViewer(plain_door(), cookie((await rose())[1]))
    assert await viewer.socket.connect()
    viewer.socket.say({"type": "subscribe", "channels": ["updates"], "fields": {"updates": ["n"]}})
    await viewer.until(lambda: shown(viewer, "updates") == [1])
    await running.publish("agent", "state_patch", {"n": 2, "private": "s3cret too"})
    await viewer.until(lambda: shown(viewer, "updates") == [1, 2])
    assert any("check" in frame for frame in syncs(viewer))
    await running.publish("agent", "state_change", {"n": 3})
    await viewer.until(lambda: shown(viewer, "updates") == [1, 2, 3])
    assert "s3cret" not in str(viewer.frames)
    assert "private" not in str(viewer.frames)
    await viewer.close()


@pytest.mark.parametrize(
    "limit", ["max_connections", "max_connections_per_user", "max_connections_per_address"]
)
async def test_streams_count_as_connections_do(pipeline: Any, limit: str) -> None:
    running = pipeline(CONNECTIONS={limit: 1})
    _, session = await rose()
    app = plain_door()
    first = Response(app, b"", *cookie(session)[1:])
    first.scope["client"] = ("192.0.2.1", 1)
    await first.open()
    assert first.started["status"] == 200
    second = Response(app, b"", *cookie(session)[1:])
    second.scope["client"] = ("192.0.2.1", 2)
    await second.open()
    assert second.started["status"] == 429
    assert running.websocket_manager.refused == {limit: 1}
    socket = AsgiSocket(app, headers=cookie(session), client=("192.0.2.1", 3))
    assert not await socket.connect()
    await first.close()
    third = Response(app, b"", *cookie(session)[1:])
    await third.open()
    assert third.started["status"] == 200
    await third.close()
