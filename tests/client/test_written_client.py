"""docs/howto/write-a-client.md: its client runs against a real server, through cuts, a kill and all."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from django_update_pipeline.core.codes import CLOSE_CODES, SESSION_ENDED
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.testing.mirror import Mirror
from tests.docs.markdown import ROOT, blocks

from .serving import Site, site
from .test_differential import histories

PAGE = ROOT / "docs" / "howto" / "write-a-client.md"
PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def viewer_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The page's client, as a file of its own."""
    (block,) = [block for block in blocks(PAGE, "python") if block.file == "viewer.py"]
    path = tmp_path_factory.mktemp("written") / "viewer.py"
    path.write_text(block.code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("viewer_of_the_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as served:
        served.do("fill", 100)
        yield served


class Watched:
    """The page's client while it runs, with all that it is told and says."""

    def __init__(self, module: Any, served: Site, channels: tuple[str, ...]) -> None:
        self.events: list[Any] = []
        self.frames: list[Any] = []
        self.said: list[Any] = []
        self.viewer = module.Viewer(f"ws://127.0.0.1:{served.port}/live/villa/", channels, self.events.append)
        hear, say = self.viewer.hear, self.viewer.say

        async def heard(frame: Any) -> None:
            self.frames.append(frame)
            await hear(frame)

        async def saying(**frame: Any) -> None:
            self.said.append(frame)
            await say(**frame)

        self.viewer.hear, self.viewer.say = heard, saying

    def view(self, name: str = "updates") -> Any:
        return self.viewer.views[name]

    def resets(self) -> int:
        return sum(bool(one.get("reset")) for one in self.frames if one.get("channel") == "updates")

    def told(self) -> list[int]:
        return [event["data"]["number"] for event in self.events if event["update_type"] == "said"]

    async def until(self, condition: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - the sample has no events to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"in vain; last: {[str(one)[:200] for one in self.frames[-5:]]}") from None


@contextlib.asynccontextmanager
async def running(module: Any, served: Site, *channels: str) -> AsyncIterator[Watched]:
    watched = Watched(module, served, channels)
    task = asyncio.create_task(watched.viewer.run())
    try:
        yield watched
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.slow
async def test_the_client_of_the_page_ends_right_through_a_cut_and_a_kill(
    viewer_module: ModuleType, served: Site
) -> None:
    def do(what: str, number: int = 0) -> Any:
        return asyncio.to_thread(served.do, what, number)

    async with running(viewer_module, served, "updates", "map", "secret") as client:
        view = client.view()
        await client.until(lambda: view.status == client.view("map").status == "live")
        assert len(view.agents) == len(client.view("map").agents) == 100
        assert view.agents["agent_007"]["n"] == 7
        assert client.view("secret").status == "refused"
        assert any(frame.get("more") for frame in client.frames), "too little for a snapshot in parts"

        await do("patch", 1)
        await do("say", 1)
        await do("notify", 1)
        await client.until(lambda: client.told() == [1])
        await client.until(lambda: view.agents["agent_000"]["mood"] == "mood 1")
        await client.until(lambda: any(one["update_type"] == "system_notification" for one in client.events))
        ages = [one["age_ms"] for one in client.said if one["type"] == "ack" and "age_ms" in one]
        assert ages
        assert all(0 <= age < PATIENCE_S * 1000 for age in ages)

        at = len(client.frames)
        await do("cut")
        for number in (2, 3):
            await do("patch", number)
            await do("say", number)
        await do("remove", 99)
        await client.until(lambda: client.told() == [1, 2, 3] and len(view.agents) == 99)
        await client.until(lambda: view.agents["agent_000"]["mood"] == "mood 3" and view.status == "live")
        resumed = [frame for frame in client.frames[at:] if frame["type"] == "sync"]
        assert resumed
        assert client.resets() == 1, "it came back with its position"
        assert sum(len(frame.get("agents", {})) for frame in resumed) < 10
        asked = [one for one in client.said if one["type"] == "subscribe"][-1]
        assert asked["since"]["updates"]["offset"] > 0

        served.kill()
        await client.until(lambda: view.status == "stale")
        assert len(view.agents) == 99
        await asyncio.to_thread(served.start)
        await do("fill", 5)
        await client.until(lambda: view.status == "live" and len(view.agents) == 5)
        await do("patch", 4)
        await client.until(lambda: view.agents["agent_000"]["mood"] == "mood 4")
        assert client.resets() >= 2
        assert view.missed == view.repaired == 0


@pytest.mark.slow
async def test_it_repairs_what_is_wrong_and_says_so(viewer_module: ModuleType, served: Site) -> None:
    async with running(viewer_module, served, "updates") as client:
        await client.until(lambda: client.view().status == "live")
        client.view().agents["agent_000"]["n"] = "wrong"
        del client.view().agents["agent_050"]
        number = 0
        while client.view().repaired < 1 or "agent_050" not in client.view().agents:
            number += 1
            assert number < 400, "the self-check does not come round"
            await asyncio.to_thread(served.do, "patch", number)
            await asyncio.sleep(0.05)
        await client.until(lambda: client.view().status == "live" and len(client.view().agents) == 100)
        assert client.view().agents["agent_000"]["n"] == 0


def test_its_constants_are_the_servers(viewer_module: Any) -> None:
    assert viewer_module.SUBPROTOCOL == SUBPROTOCOL
    assert viewer_module.SYSTEM_CHANNEL == SYSTEM_CHANNEL
    assert {code.code for code in CLOSE_CODES if not code.reconnect} == viewer_module.DO_NOT_COME_BACK
    assert SESSION_ENDED.code in viewer_module.DO_NOT_COME_BACK


def test_it_does_with_each_frame_what_the_mirror_does(viewer_module: Any) -> None:
    """Random histories of the real store and sessions, with all that their frames can hold."""
    seen = ""
    for recorded in islice(histories(), 150):
        view, mirror, events = viewer_module.View(), Mirror(), []
        for text in recorded.texts:
            frame = json.loads(text)
            assert mirror.apply(frame)
            events += view.apply(frame) or []
            assert view.agents == mirror.agents
            assert view.since() == {"epoch": mirror.epoch, "offset": mirror.position, "view": mirror.view}
        seen += "".join(recorded.texts)
        assert (events, view.missed) == (mirror.events, mirror.missed)
    for part in ('"reset":true', '"more":true', '"urgent":true', '"removed"', '"unset"', '"check"', '"view"'):
        assert part in seen, part
