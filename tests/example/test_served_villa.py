"""The example as people run it: a real server, real sockets, a command in another process."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from .serving import Served, serve_example

pytestmark = pytest.mark.slow

Frame = dict[str, Any]


class Viewer:
    """A founding client: replaces an agent by each `agent_update` of the default channel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def until(self, wanted: Callable[[Frame], bool], *, within_s: float = 60.0) -> Frame:
        """The first frame, of those to come, that is wanted."""
        before = len(self.frames)
        try:
            async with asyncio.timeout(within_s):
                while True:
                    frame = json.loads(await self.socket.recv())
                    self.frames.append(frame)
                    if wanted(frame):
                        return frame
        except TimeoutError:
            came = [
                (frame["type"], frame.get("agent_id"), frame.get("data", {}).get("attributes"))
                for frame in self.frames[before:][-12:]
            ]
            raise AssertionError(
                f"not among {len(self.frames) - before} frames in {within_s} s; the last: {came}"
            ) from None

    @property
    def agents(self) -> dict[str, Frame]:
        return {frame["agent_id"]: frame["data"] for frame in self.frames if frame["type"] == "agent_update"}


@asynccontextmanager
async def view(served: Served, cookie: str = "") -> AsyncIterator[Viewer]:
    headers = {"Cookie": cookie, "Origin": served.url.rstrip("/")} if cookie else {}
    async with connect(served.socket_url, additional_headers=headers) as socket:
        yield Viewer(socket)


def become_producer(served: Served) -> str:
    """The click, as a browser makes it; the cookies it leaves."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = browser.open(served.url).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1]}).encode()
    page = browser.open(urllib.request.Request(served.url + "producer/", data)).read().decode()
    assert 'data-producer="yes"' in page
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def test_scripts_are_served_as_scripts_from_a_fresh_clone(villa_server: Served) -> None:
    with urllib.request.urlopen(villa_server.url + "static/dating_show/main.js") as script:
        assert script.headers["Content-Type"].startswith("text/javascript")


async def test_a_visitor_gets_the_whole_villa_at_once(villa_server: Served) -> None:
    async with view(villa_server) as viewer:
        first = await viewer.until(lambda frame: True)
        assert first["type"] == "connection_established"
        await viewer.until(lambda frame: len(viewer.agents) >= 8)
        for state in viewer.agents.values():
            assert 2000 <= len(json.dumps(state, separators=(",", ":")).encode()) <= 4096
            assert state["current_location"]
            assert state["current_action"]


async def test_the_villa_lives_and_only_states_come_by_themselves(villa_server: Served) -> None:
    async with view(villa_server) as viewer:
        await viewer.until(lambda frame: len(viewer.agents) >= 8)
        seen = len(viewer.frames)
        await viewer.until(lambda frame: len(viewer.frames) > seen + 10)
    assert {frame["update_type"] for frame in viewer.frames if frame["type"] == "agent_update"} == {
        "state_change"
    }


async def test_who_subscribes_to_the_notifications_hears_what_happens_and_nobody_else(
    villa_server: Served,
) -> None:
    cookie = await asyncio.to_thread(become_producer, villa_server)
    async with view(villa_server, cookie) as producer, view(villa_server) as listener:
        await listener.send(type="subscribe", channels=["dating_show_updates", "agent_notifications"])
        confirmed = await listener.until(lambda frame: frame["type"] == "subscription_confirmed")
        assert set(confirmed["channels"]) == {"dating_show_updates", "agent_notifications"}
        await producer.send(
            type="agent_action", agent_id="agent_003", action="rose", params={"to": "agent_008"}
        )
        rose = await listener.until(
            lambda frame: frame.get("update_type") == "rose_given" and frame["agent_id"] == "agent_003"
        )
        assert rose["data"]["receiver"] == "agent_008"
        await producer.until(
            lambda frame: frame.get("agent_id") == "agent_008" and frame["data"]["role"]["roses_received"] > 0
        )
        assert {frame.get("update_type") for frame in producer.frames} == {None, "state_change"}


async def test_a_visitor_may_watch_but_not_act(villa_server: Served) -> None:
    async with view(villa_server) as viewer:
        await viewer.send(
            type="agent_action", agent_id="agent_001", action="move", params={"location": "pool"}
        )
        refused = await viewer.until(lambda frame: frame["type"] in ("error", "action_queued"))
        assert refused["type"] == "error"


async def test_what_the_producer_asks_for_is_seen_by_everyone(villa_server: Served) -> None:
    cookie = await asyncio.to_thread(become_producer, villa_server)
    async with view(villa_server, cookie) as producer, view(villa_server) as visitor:
        await producer.until(lambda frame: len(producer.agents) >= 8)
        await visitor.until(lambda frame: len(visitor.agents) >= 8)
        place = "hideaway" if visitor.agents["agent_001"]["current_location"] != "hideaway" else "garden"
        await producer.send(
            type="agent_action", agent_id="agent_001", action="move", params={"location": place}
        )
        queued = await producer.until(lambda frame: frame["type"] in ("error", "action_queued"))
        assert queued == {"type": "action_queued", "agent_id": "agent_001", "action": "move"}

        def is_there(frame: Frame) -> bool:
            return frame.get("agent_id") == "agent_001" and frame["data"].get("current_location") == place

        for viewer in (producer, visitor):
            await viewer.until(is_there, within_s=3)

        await producer.send(
            type="agent_action", agent_id="agent_001", action="move", params={"location": "moon"}
        )
        refused = await producer.until(lambda frame: frame["type"] in ("error", "action_queued"))
        assert refused["type"] == "error"
        assert "fire_pit" in refused["message"]


async def test_a_ceremony_is_announced_to_everyone_also_without_a_subscription(villa_server: Served) -> None:
    """Asked for again and again: while one is on already, the request is refused."""
    cookie = await asyncio.to_thread(become_producer, villa_server)
    async with view(villa_server, cookie) as producer, view(villa_server) as visitor:

        async def ask() -> None:
            while True:
                await producer.send(type="agent_action", agent_id="agent_001", action="ceremony", params={})
                await asyncio.sleep(1.0)

        asking = asyncio.create_task(ask())
        notice = await visitor.until(
            lambda frame: frame["type"] == "system_notification" and "start" in frame["message"], within_s=50
        )
        asking.cancel()
        assert notice["message"] == "Rose ceremony starting"
        assert notice["level"] == "info"


async def test_a_recording_plays_from_another_process(villa_server: Served, tmp_path: Path) -> None:
    moved = {"pronunciatio": "x", "description": "writing a poem @ the Ville:Hobbs Cafe:cafe:counter"}
    path = tmp_path / "recording.json"
    path.write_text(
        json.dumps(
            {str(step): {"Isabella Rodriguez": {"movement": [step, 50], **moved}} for step in range(71)}
        )
    )
    async with view(villa_server) as viewer:
        await viewer.until(lambda frame: len(viewer.agents) >= 8)
        done = await asyncio.to_thread(villa_server.manage, "replay_simulation", str(path), "--speed", "0")
        assert done.returncode == 0, done.stderr
        assert "Played 71 changes in 71 steps." in done.stdout
        assert "100 %" in done.stdout

        def is_at_the_end(frame: Frame) -> bool:
            data = frame.get("data", {})
            return data.get("name") == "Isabella Rodriguez" and data["position"]["x"] == 50.0

        last = await viewer.until(is_at_the_end)
        assert last["data"]["current_action"] == "writing a poem"
        left = await asyncio.to_thread(
            villa_server.manage, "replay_simulation", str(path), "--speed", "0", "--steps", "0", "--leave"
        )
        assert left.returncode == 0, left.stderr
        await viewer.until(lambda frame: frame.get("update_type") == "state_removed")


@pytest.fixture
def villa_on_daphne(tmp_path: Path) -> Iterator[Served]:
    yield from serve_example(tmp_path, "manage.py", "runserver", "{port}", "--noreload")


@pytest.mark.channels
async def test_runserver_serves_the_same_with_cookies_and_clicks(villa_on_daphne: Served) -> None:
    cookie = await asyncio.to_thread(become_producer, villa_on_daphne)
    async with view(villa_on_daphne, cookie) as producer:
        await producer.until(lambda frame: len(producer.agents) >= 8)
        await producer.send(
            type="agent_action", agent_id="agent_002", action="mood", params={"mood": "sleepy"}
        )
        await producer.until(lambda frame: frame["type"] == "action_queued")
        await producer.until(
            lambda frame: (
                frame.get("agent_id") == "agent_002" and frame["data"]["emotions"]["mood"] == "sleepy"
            )
        )
