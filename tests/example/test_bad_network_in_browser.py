"""The page on a bad line: what it shows is true or marked stale, and what it says of coming back is what came."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from dating_show import settings
from django_update_pipeline.testing.mirror import Mirror

from .browsing import CHANNELS, Window
from .serving import UVICORN, Served, serve_example

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WINDOW = settings.UPDATE_PIPELINE["CONNECTIONS"]["window_bytes"]
STATES = """() => {
    window.states = [];
    const status = document.getElementById("status");
    const note = () => window.states.at(-1) !== status.dataset.state && window.states.push(status.dataset.state);
    new MutationObserver(note).observe(status, { attributes: true });
}"""


class Truth:
    """What the server tells another client, which misses nothing: each agent's fields at each position."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.socket.send(json.dumps({"type": "subscribe", "channels": [CHANNELS[0]]}))
        self.mirror = Mirror()
        self.at: dict[int, str] = {}
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        try:
            for text in self.socket:
                frame = json.loads(text)
                if frame.get("channel") == CHANNELS[0]:
                    self.mirror.apply(frame)
                    if self.mirror.is_live:
                        self.at[self.mirror.position] = canonical(self.mirror.agents)
                if frame.get("ack"):
                    ack = {"type": "ack", "channel": frame["channel"], "offset": frame["to"]}
                    self.socket.send(json.dumps(ack))
        except ConnectionClosed:
            pass


@contextmanager
def truth_of(served: Served) -> Iterator[Truth]:
    with connect(served.socket_url, subprotocols=[Subprotocol("update-pipeline.sync.v1")]) as socket:
        truth = Truth(socket)
        try:
            yield truth
        finally:
            socket.close()
            truth.thread.join(10)


def canonical(agents: Any) -> str:
    """JSON of one form: a browser writes 1.0 as 1."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in sorted(value.items())}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(plain(agents))


def expect_truth(window: Window, truth: Truth) -> None:
    """What the page holds, at the position that it says, is what the server had there."""
    seen: list[int] = []

    def is_true() -> bool:
        # The client keeps its copy when the page goes, for one that comes after a reload.
        kept = window.page.evaluate(
            """channel => {
                dispatchEvent(new Event("pagehide"));
                const key = Object.keys(sessionStorage).find((one) => one.includes(channel));
                return JSON.parse(sessionStorage.getItem(key)).saved;
            }""",
            CHANNELS[0],
        )
        offset = kept["offset"]
        seen.append(offset)
        window.until(lambda: truth.mirror.position >= offset)
        if offset not in truth.at:
            return False  # a frame of the other client's went over it
        agents = {agent_id: fields for agent_id, fields, _ in kept["agents"]}
        assert canonical(agents) == truth.at[offset], f"at {offset}"
        drawn = {one["first_name"] for one in (fields["identity"] for fields in agents.values())}
        assert set(window.page.locator(".cast-button > span:nth-of-type(1)").all_inner_texts()) == drawn
        return True

    window.until(is_true)


def choose(window: Window, line: str) -> None:
    window.page.locator(".switch span", has_text=line).click()


def told(window: Window) -> list[dict[str, Any]]:
    """The lines of the page's log, newest first: what each says and its figures."""
    lines: list[dict[str, Any]] = window.page.locator(".network-log li").evaluate_all(
        "items => items.map((item) => ({ ...item.dataset, text: item.innerText }))"
    )
    return lines


def until_live(frames: list[tuple[dict[str, Any], int]]) -> list[tuple[dict[str, Any], int]]:
    """The frames up to the one with which the last of both channels is up to date."""
    missing = set(CHANNELS)
    counted = []
    for frame, size in frames:
        if frame["channel"] in missing:
            counted.append((frame, size))
            if not frame.get("more"):
                missing.discard(frame["channel"])
    assert not missing
    return counted


def figures(frames: list[tuple[dict[str, Any], int]]) -> dict[str, str]:
    changes = [change for frame, _ in frames for change in frame.get("agents", {}).values()]
    fields = sum(len(change.get("set", {})) + len(change.get("unset", [])) for change in changes)
    events = sum(len(frame.get("events", [])) for frame, _ in frames)
    return {"fields": str(fields), "events": str(events), "bytes": str(sum(size for _, size in frames))}


def bytes_of(window: Window) -> Callable[[], int]:
    """How many bytes have come to a window since now."""
    line = window.sockets[-1]
    before = len(line.came)
    return lambda: sum(len(text.encode()) for text in line.came[before:])


def test_a_cut_is_resumed_with_the_figures_of_what_really_came(open_window: Any) -> None:
    window, other = open_window(), open_window()
    for one in (window, other):
        one.expect("#status").to_have_attribute("data-state", "live")
        one.expect(".figure").to_have_count(10)
    (first,) = told(window)
    assert first["reset"] == "true"
    assert first["bytes"] == figures(until_live(window.sockets[0].sync_frames()))["bytes"]
    assert first["text"].startswith("filled: 10 people in ")

    window.page.evaluate(STATES)
    choose(window, "cut")
    window.expect("#status").to_have_attribute("data-state", "offline")
    window.expect("#as-of").to_be_visible()
    window.until(lambda: window.sockets[0].is_closed)
    window.expect("#who-travel").to_contain_text("stale for")
    since = bytes_of(other)
    other.until(lambda: since() > 2000)
    assert len(window.sockets) == 1, "it stays away"
    choose(window, "good")
    window.expect(".network-log li").to_have_count(2)
    window.expect("#as-of").to_be_hidden()
    line = told(window)[0]
    assert line["reset"] == "false"
    wanted = figures(until_live(window.sockets[1].sync_frames()))
    assert {name: line[name] for name in wanted} == wanted
    assert int(line["fields"]) > 0
    # What it did not cost is measured, too: what a new window gets at the same time is as long.
    third = open_window()
    third.expect(".network-log li").to_have_count(1)
    assert int(line["whole"]) == pytest.approx(int(told(third)[0]["bytes"]), rel=0.1)
    assert int(line["bytes"]) < int(line["whole"])
    assert line["text"].startswith("resumed after ")
    states = window.page.evaluate("window.states")
    assert states[0] == "offline"
    assert "catching-up live" in " ".join(states)

    window.expect("#feed li:not(.feed-empty)").not_to_have_count(0, timeout=30_000)
    earliest = window.page.locator("#feed li").last.inner_text()
    window.page.reload()
    window.expect(".network-log li").to_have_count(1)
    assert told(window)[0]["text"].startswith("reloaded: ")
    assert window.page.locator("#feed li").last.inner_text() == earliest


def test_a_page_that_reads_nothing_is_a_slow_reader_and_catches_up_with_the_truth(
    open_window: Any, villa_server: Served
) -> None:
    with truth_of(villa_server) as truth:
        window, other = open_window(), open_window()
        for one in (window, other):
            one.expect("#status").to_have_attribute("data-state", "live")
        window.page.evaluate(STATES)
        line = window.sockets[0]
        pressed = len(line.came)
        choose(window, "reads nothing")
        window.expect("#status").to_have_attribute("data-state", "paused")
        before, went = len(line.came), len(line.went)
        unread, others = bytes_of(window), bytes_of(other)
        window.expect("#as-of").to_be_visible()
        shown = window.page.evaluate(
            "[...document.querySelectorAll('.cast-mood')].map(one => one.textContent)"
        )
        fields = window.page.locator("#fields").text_content()
        # The window of the example's settings: then the server waits, and others get on.
        other.until(lambda: others() > 2 * WINDOW)
        largest = max(len(text.encode()) for text in line.came[before:])
        assert unread() <= WINDOW + largest
        assert line.went[went:] == [], "nothing is acknowledged"
        assert not line.is_closed
        assert window.page.locator("#fields").text_content() == fields
        assert shown == window.page.evaluate(
            "[...document.querySelectorAll('.cast-mood')].map(one => one.textContent)"
        )

        choose(window, "good")
        window.expect("#status").to_have_attribute("data-state", "live")
        assert len(window.sockets) == 1, "it is the same socket"
        assert window.page.evaluate("window.states.slice(0, 3)") == ["paused", "catching-up", "live"]
        went_now = [json.loads(text)["type"] for text in line.went[went:]]
        assert went_now[: went_now.index("subscribe") + 1] == ["ack", "ping", "subscribe"]
        newest = told(window)[0]
        assert newest["reset"] == "false"
        (answered,) = [
            at for at, text in enumerate(line.came) if at >= before and "subscription_confirmed" in text
        ]
        answer = until_live(line.sync_frames(answered))
        # Which frame was the first that was not read is known to within those that came while the button was pressed.
        unread_frames = [line.sync_frames(start) for start in range(pressed, before + 1)]
        after = len(line.sync_frames(answered))
        possible = [figures([*frames[: len(frames) - after], *answer]) for frames in unread_frames]
        assert {name: newest[name] for name in possible[0]} in possible
        expect_truth(window, truth)


def test_a_reload_shows_what_the_page_had_before_the_server_says_anything(open_window: Any) -> None:
    window = open_window()
    window.expect(".figure").to_have_count(10)
    window.page.route_web_socket(
        "**/ws/**", lambda line: None
    )  # a line that opens, and on which nothing comes
    window.page.reload()
    window.expect(".figure").to_have_count(10)
    window.expect("#who-name").not_to_be_empty()
    window.expect("#map").to_have_class("map stale")
    window.expect("#as-of").to_be_visible()
    window.expect(".network-log li").to_have_count(0)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    yield from serve_example(tmp_path, *UVICORN)


def test_a_killed_server_leaves_a_page_that_is_live_and_right_once_it_is_back(
    chromium: Any, own_server: Served, playwright_api: Any
) -> None:
    window = Window(chromium, own_server.url, playwright_api)
    window.expect("#status").to_have_attribute("data-state", "live")
    window.expect(".figure").to_have_count(10)
    window.page.evaluate("window.isTheSame = true")
    own_server.kill()
    window.expect("#status").to_have_attribute("data-state", "offline")
    window.expect("#map").to_have_class("map stale")
    window.expect(".figure").to_have_count(10)
    own_server.start()
    window.expect("#status").to_have_attribute("data-state", "live", timeout=30_000)
    window.expect("#map").to_have_class("map")
    newest = told(window)[0]
    assert newest["reset"] == "true"
    assert newest["text"].startswith("begun anew")
    with truth_of(own_server) as truth:
        expect_truth(window, truth)
    assert window.page.evaluate("window.isTheSame")
    window.context.close()
    assert all("WebSocket connection to" in text or "Failed to load" in text for text in window.complaints)
