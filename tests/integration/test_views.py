"""Which fields of a channel who may see: on the classic socket, the sync socket and streams, and while they are open.

What a view does not hold never appears on the wire: not in a snapshot, a change, a catch-up, an event or what is
compared now and then, however the client came to its position. (The same of every kind of frame, urgent ones included,
over random histories: tests/property/test_sync_laws.py.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from django_update_pipeline import Fields, UpdatePriority, get_update_pipeline, hookimpl, permission_changed
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.testing.mirror import Mirror

from .asgi import AsgiSocket, opened
from .test_event_stream import Response
from .test_private_by_default import headers_of
from .test_revocation import DOORS, cookie, plain_door, rose

pytestmark = pytest.mark.django_db(transaction=True)

PLACE, EVENTS, NAME, SALARY = ("x", "y"), "events", "name", "salary"
WHOLE = {"x": 1, "y": 2, "name": "the-name", "salary": "the-salary"}

#: By role what its view of `map` shows: fields (None: all) and whether there are events; not there: nothing.
SEEN: dict[str, tuple[tuple[str, ...] | None, bool]] = {
    "anonymous": (("x", "y"), False),
    "user": (("name", "x", "y"), True),
    "staff": (None, True),
}
#: A user whose project refuses him the channel.
ROLES = (*SEEN, "producer")


class Project:
    """A map: positions are for all, names for users, the rest for staff."""

    def __init__(self) -> None:
        self.is_asked_for: list[Any] = []
        self.fails = False
        self.answers: dict[str, Any] = {}  # by user name, in place of the rules

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str, fields: Any) -> bool | Fields | None:
        if channel != "map":
            return None
        self.is_asked_for.append(fields)
        if self.fails:
            raise RuntimeError("database down")
        user = client.user
        if user.username in self.answers:
            answer: bool | Fields = self.answers[user.username]
            return answer
        if not user.is_authenticated:
            return Fields("x", "y")
        if user.username == "producer":
            return False
        return True if user.is_staff else Fields("x", "y", "name", events=True)


PROJECT = Project()


@pytest.fixture
def project(pipeline: Any) -> Any:
    PROJECT.__init__()  # type: ignore[misc]
    pipeline(PLUGINS=[f"{__name__}.PROJECT"], CONNECTIONS={"recheck_s": 3600.0})
    return PROJECT


class Viewer:
    """Somebody who is on `map`, and maybe on more: a mirror of what is shown, and all that came over the wire."""

    frames: list[dict[str, Any]]

    def syncs(self, channel: str = "map") -> list[dict[str, Any]]:
        return [one for one in self.frames if one.get("type") == "sync" and one["channel"] == channel]

    def mirror(self, channel: str = "map") -> Mirror:
        mirror = Mirror()
        for frame in self.syncs(channel):
            assert mirror.apply(frame), frame
        return mirror

    async def until(self, condition: Any) -> None: ...

    async def shows(self, agents: dict[str, Any], channel: str = "map") -> None:
        await self.until(lambda: self.syncs(channel) and self.mirror(channel).agents == agents)


class SyncViewer(Viewer):
    def __init__(self, headers: Any, fields: list[str] | None = None, since: Any = None) -> None:
        self.socket = AsgiSocket(plain_door(), headers=headers, subprotocols=[SUBPROTOCOL])
        self.acknowledged = 0
        self.asked = {"type": "subscribe", "channels": ["map"]}
        if fields is not None:
            self.asked["fields"] = {"map": fields}
        if since is not None:
            self.asked["since"] = {"map": since}

    async def open(self) -> int:
        assert await self.socket.connect()
        self.socket.say(self.asked)
        await self.socket.until(lambda: any(f["type"] == "subscription_confirmed" for f in self.frames))
        confirmed = next(f for f in self.frames if f["type"] == "subscription_confirmed")
        return 200 if confirmed["channels"] else 403

    @property
    def frames(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.socket.frames

    @property
    def wire(self) -> str:
        return str(self.socket.sent)

    async def until(self, condition: Any) -> None:
        """Waits, and acknowledges what comes meanwhile."""

        def holds() -> Any:
            asking = [one for one in self.frames if one.get("ack")]
            for frame in asking[self.acknowledged :]:
                self.socket.say({"type": "ack", "channel": frame["channel"], "offset": frame["to"]})
            self.acknowledged = len(asking)
            return condition()

        await self.socket.until(holds)

    async def close(self) -> None:
        await self.socket.disconnect()


class StreamViewer(Viewer):
    def __init__(self, headers: Any, fields: list[str] | None = None, since: Any = None) -> None:
        query = "channels=map" + ("" if fields is None else f"&fields=map:{','.join(fields)}")
        more: list[Any] = []
        if since is not None:
            position = f"map={since['epoch']}:{since['offset']}"
            view = since.get("view", "").replace(",", "%2C")
            more = [(b"last-event-id", f"{position}:{view}".encode() if view else position.encode())]
        self.response = Response(plain_door(), query.encode(), *headers[1:], *more)

    async def open(self) -> int:
        await self.response.open()
        status: int = self.response.started["status"]
        return status

    @property
    def frames(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.response.events

    @property
    def wire(self) -> str:
        return self.response.text

    async def until(self, condition: Any) -> None:
        await self.response.until(condition)

    async def close(self) -> None:
        if not self.response.task.done():
            await self.response.close()


KINDS = [pytest.param(SyncViewer, id="sync"), pytest.param(StreamViewer, id="stream")]


@asynccontextmanager
async def viewing(kind: Any, headers: Any, *more: Any) -> AsyncIterator[Any]:
    viewer = kind(headers, *more)
    assert await viewer.open() == 200, viewer.wire
    try:
        yield viewer
    finally:
        await viewer.close()


def part(fields: tuple[str, ...] | None, of: dict[str, Any] = WHOLE) -> dict[str, Any]:
    return {name: of[name] for name in of if fields is None or name in fields}


def hidden(fields: tuple[str, ...] | None, has_events: bool) -> list[str]:
    """Texts that may not be on the wire: names and values of fields, and what events say."""
    names = [name for name in ("name", "salary") if fields is not None and name not in fields]
    gone = [text for name in names for text in (f"the-{name}", f'"{name}"', f"'{name}'")]
    return gone if has_events else [*gone, "the-event"]


async def play() -> None:
    """A life of an agent: changed in every field, more urgently, and less; spoken of; and another that comes."""
    line = get_update_pipeline()
    everything = {"x": 5, "salary": "the-salary-2", "name": "the-name-2"}
    await line.publish("lamp", "state_patch", everything, channels=["map"])
    await line.publish("lamp", "said", {"text": "the-event"}, UpdatePriority.CRITICAL, channels=["map"])
    await line.publish(
        "lamp", "state_patch", {"salary": "the-salary-3"}, UpdatePriority.CRITICAL, channels=["map"]
    )
    await line.publish("lamp", "state_change", {**WHOLE, "x": 6}, channels=["map"])
    await line.publish("other", data=WHOLE, channels=["map"])
    await line.publish("mark", data={"x": 0}, channels=["map"])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", KINDS)
async def test_who_sees_which_fields(project: Project, kind: Any, role: str) -> None:
    """From the snapshot on, live, and coming back from any position that was reached, or made up."""
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    headers = await headers_of(role)
    if role not in SEEN:
        viewer = kind(headers)
        assert await viewer.open() == 403
        await play()
        assert "the-" not in viewer.wire
        await viewer.close()
        return
    fields, has_events = SEEN[role]
    end = {"lamp": part(fields, {**WHOLE, "x": 6}), "other": part(fields), "mark": {"x": 0}}
    async with viewing(kind, headers) as viewer:
        await viewer.shows({"lamp": part(fields)})
        await play()
        await viewer.shows(end)
        first = viewer.syncs()[0]
        assert any("check" in frame for frame in viewer.syncs())
        for text in hidden(fields, has_events):
            assert text not in viewer.wire
        assert ("the-event" in viewer.wire) is has_events
        since = viewer.mirror().since()
        epoch = first["epoch"]
    assert line.store.head > 5
    names = ["", "x", "x,y", "name,x,y", "name,x,y,,no-events", "salary", "salary,,no-events"]
    forged = [
        {"epoch": epoch, "offset": at, "view": view} for at in (0, 1, 3, line.store.head) for view in names
    ]
    mine = first.get("view", "")
    for position in ({**since, "view": mine}, *forged):
        async with viewing(kind, headers, None, position) as back:
            await back.until(lambda: back.syncs() and not back.syncs()[-1].get("more"))
            is_reset = bool(back.syncs()[0].get("reset"))
            assert is_reset is (position["view"] != mine), position
            if is_reset:
                assert back.mirror().agents == end
            for text in hidden(fields, has_events):
                assert text not in back.wire


@pytest.mark.parametrize("role", SEEN)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [["x"], ["salary"], ["x", "salary"], ["name", "x", "y", "salary"]])
async def test_a_projection_is_what_was_asked_for_of_what_may_be_seen(
    project: Project, kind: Any, role: str, asked: list[str]
) -> None:
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    fields, has_events = SEEN[role]
    left = tuple(name for name in asked if fields is None or name in fields)
    headers = await headers_of(role)
    if not left:
        viewer = kind(headers, asked)
        assert await viewer.open() == 403
        assert "the-" not in viewer.wire
        await viewer.close()
    else:
        async with viewing(kind, headers, asked) as viewer:
            await play()
            lamp, mark = part(left, {**WHOLE, "x": 6}), part(left, {"x": 0})
            await viewer.shows({"lamp": lamp, "other": part(left), "mark": mark})
            for text in hidden(left, has_events):
                assert text not in viewer.wire
    assert project.is_asked_for == [frozenset(asked)]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", DOORS)
async def test_the_classic_protocol_shows_a_channel_whole_or_not_at_all(
    project: Project, door: Any, role: str
) -> None:
    """Its frames name neither channel nor view."""
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    async with opened(door(), headers=await headers_of(role)) as socket:
        socket.say({"type": "subscribe", "channels": ["map"]})
        await socket.until(lambda: any(f["type"] == "subscription_confirmed" for f in socket.frames))
        await play()
        await line.publish("mark", data={}, channels=["updates"])
        await socket.until(
            lambda: any(f.get("agent_id") == "mark" and f["data"] == {} for f in socket.frames)
        )
        if role == "staff":
            await socket.until(lambda: "the-salary-3" in str(socket.sent) or "other" in str(socket.sent))
        else:
            assert "the-" not in str(socket.sent)
            assert [f["code"] for f in socket.frames if f["type"] == "error"] == ["channel_refused"]


async def changes(project: Project, answer: Any) -> None:
    """What a user may see becomes another, and a signal tells it."""
    project.answers["rose"] = answer
    await sync_to_async(permission_changed)()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_may_be_seen_changes_while_it_is_seen(project: Project, kind: Any) -> None:
    """Each time the view begins anew, with a look only every hour: it was the signal. One that stays is left alone."""
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map", "updates"])
    _, session = await rose()
    project.answers["rose"] = True
    async with viewing(kind, cookie(session)) as viewer:
        await viewer.shows({"lamp": WHOLE})
        count = 1
        for answer, name in [
            (Fields("x", "y"), "x,y,,no-events"),
            (Fields("x"), "x,,no-events"),
            (Fields("x", events=True), "x"),
            (Fields("x", "salary", events=True), "salary,x"),
            (True, ""),
        ]:
            shown = part(None if answer is True else tuple(answer.names))
            before = len(viewer.frames)
            await changes(project, answer)
            await viewer.until(lambda: sum(1 for f in viewer.syncs() if f.get("reset")) > count)  # noqa: B023
            await viewer.shows({"lamp": shown})
            count += 1
            await changes(project, answer)  # nothing is another now
            await line.publish("lamp", "said", {"text": "the-event"}, channels=["map"])
            await line.publish(
                "lamp", "state_patch", {"x": count, "salary": f"the-salary-{count}"}, channels=["map"]
            )
            WHOLE_NOW = {**WHOLE, "x": count, "salary": f"the-salary-{count}"}
            await viewer.shows({"lamp": part(None if answer is True else tuple(answer.names), WHOLE_NOW)})
            since = viewer.frames[before:]
            assert all(frame.get("view", "") == name for frame in since if frame.get("channel") == "map")
            assert sum(1 for frame in since if frame.get("reset")) == 1
            fields = None if answer is True else tuple(answer.names)
            for text in hidden(fields, answer is True or answer.events):
                assert text not in str(since)
            await line.publish("lamp", data=WHOLE, channels=["map"])
            await viewer.shows({"lamp": part(fields)})
        await changes(project, False)
        await viewer.until(lambda: any(f.get("code") == "channel_withdrawn" for f in viewer.frames))
        last = len(viewer.syncs())
        await play()
        assert len(viewer.syncs()) == last


@asynccontextmanager
async def looked_after(pipeline: Any, kind: Any) -> AsyncIterator[tuple[Any, Viewer]]:
    """Rose and her view of the lamp in part, looked at twice a second."""
    PROJECT.__init__()  # type: ignore[misc]
    line = pipeline(PLUGINS=[f"{__name__}.PROJECT"], CONNECTIONS={"recheck_s": 0.5})
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    user, session = await rose()
    async with viewing(kind, cookie(session)) as viewer:
        await viewer.shows({"lamp": part(("name", "x", "y"))})
        yield user, viewer


@pytest.mark.parametrize("kind", KINDS)
async def test_what_no_signal_tells_is_found_by_looking(pipeline: Any, kind: Any) -> None:
    async with looked_after(pipeline, kind) as (user, viewer):
        await User.objects.filter(pk=user.pk).aupdate(is_staff=True)
        await viewer.shows({"lamp": WHOLE})
        await User.objects.filter(pk=user.pk).aupdate(is_staff=False)
        await viewer.shows({"lamp": part(("name", "x", "y"))})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_view_that_nobody_can_judge_stays_until_it_is_overdue(pipeline: Any, kind: Any) -> None:
    async with looked_after(pipeline, kind) as (_, viewer):
        PROJECT.fails = True
        await viewer.until(lambda: any(f.get("code") == "channel_withdrawn" for f in viewer.frames))
        assert [bool(frame.get("reset")) for frame in viewer.syncs()] == [True]


async def test_the_classic_socket_loses_a_channel_that_may_be_seen_in_part(project: Project) -> None:
    line = get_update_pipeline()
    await line.start()
    _, session = await rose()
    project.answers["rose"] = True
    async with opened(plain_door(), headers=cookie(session)) as socket:
        socket.say({"type": "subscribe", "channels": ["map"]})
        await socket.until(lambda: any(f["type"] == "subscription_confirmed" for f in socket.frames))
        await changes(project, Fields("x"))
        await socket.until(lambda: any(f.get("code") == "channel_withdrawn" for f in socket.frames))
        await play()
        await line.publish("here", data={})
        await socket.until(lambda: any(f.get("agent_id") == "here" for f in socket.frames))
        assert "the-" not in str(socket.sent)


async def test_asking_for_another_view_is_asking_again(project: Project) -> None:
    """What is refused is off, also where something else of the channel was seen; nothing wider comes by asking."""
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    _, session = await rose()
    project.answers["rose"] = Fields("x", "y")
    async with viewing(SyncViewer, cookie(session), ["x"]) as viewer:
        await viewer.shows({"lamp": part(("x",))})
        viewer.socket.say({"type": "subscribe", "channels": ["map"]})
        await viewer.until(lambda: viewer.mirror().agents == {"lamp": part(PLACE)})
        viewer.socket.say(
            {"type": "subscribe", "channels": ["map"]}
        )  # the same: nobody is asked, and it begins anew
        await viewer.until(lambda: [bool(f.get("reset")) for f in viewer.syncs()].count(True) == 3)
        assert project.is_asked_for == [frozenset({"x"}), None]
        viewer.socket.say({"type": "subscribe", "channels": ["map"], "fields": {"map": ["salary"]}})
        await viewer.until(lambda: any(f.get("code") == "channel_refused" for f in viewer.frames))
        last = len(viewer.syncs())
        await play()
        assert (await viewer.socket.ask({"type": "ping"}))["type"] == "pong"
        assert len(viewer.syncs()) == last
        assert "the-" not in viewer.wire


async def test_an_answer_to_what_was_asked_for_before_changes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks for another view while hooks are asked again about the one it had."""
    line = get_update_pipeline()
    await line.start()
    await line.publish("lamp", data=WHOLE, channels=["map"])
    _, session = await rose()
    project.answers["rose"] = Fields("x", "y")
    async with viewing(SyncViewer, cookie(session)) as viewer:
        await viewer.shows({"lamp": part(PLACE)})
        ask = line.access.recheck
        asked: list[Any] = []

        async def slow(client: Any, wanted: Any) -> Any:
            answers = await ask(client, wanted)
            asked.append(wanted)
            if len(asked) == 1:
                viewer.socket.say({"type": "subscribe", "channels": ["map"], "fields": {"map": ["x"]}})
                await viewer.until(lambda: viewer.mirror().agents == {"lamp": part(("x",))})
            else:
                again.set()
            return answers

        again = asyncio.Event()
        monkeypatch.setattr(line.access, "recheck", slow)
        await changes(project, Fields("x", "y", "name"))
        async with asyncio.timeout(10):
            await again.wait()  # about what it asks for now
        assert [[view.fields for view in wanted] for wanted in asked[:2]] == [[None], [("x",)]]
        assert "the-name" not in viewer.wire


@pytest.mark.parametrize("kind", KINDS)
async def test_notices_to_all_are_on_every_line_and_are_resumed(project: Project, kind: Any) -> None:
    line = get_update_pipeline()
    await line.start()
    async with viewing(kind, await headers_of("anonymous")) as viewer:
        await viewer.until(lambda: viewer.syncs(SYSTEM_CHANNEL))
        line.queue_system_notification("Rose ceremony starting")
        await viewer.until(lambda: viewer.mirror(SYSTEM_CHANNEL).events)
        assert viewer.mirror(SYSTEM_CHANNEL).events[0]["data"]["message"] == "Rose ceremony starting"
        if kind is StreamViewer:
            last = viewer.frames[-1]["id"].encode()
            line.queue_system_notification("Rose ceremony over")
            await viewer.until(lambda: len(viewer.mirror(SYSTEM_CHANNEL).events) == 2)
            back = Response(plain_door(), b"channels=update_pipeline.system", (b"last-event-id", last))
            await back.open()
            await back.until(lambda: back.sync(of_all=True))
            (frame,) = back.sync(of_all=True)
            assert [event["data"]["message"] for event in frame["events"]] == ["Rose ceremony over"]
            await back.close()
