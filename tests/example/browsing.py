"""Windows of a real browser on the example."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser import WIDE

from .serving import Served

CHANNELS = ("dating_show_updates", "agent_notifications")


class Traffic:
    """What went over a socket of the page, as text."""

    def __init__(self, socket: Any) -> None:
        self.came: list[str] = []
        self.went: list[str] = []
        self.is_closed = False
        socket.on("framereceived", lambda text: self.came.append(text))
        socket.on("framesent", lambda text: self.went.append(text))
        socket.on("close", self._closed)

    def _closed(self, _: Any) -> None:
        self.is_closed = True

    def sync_frames(self, start: int = 0) -> list[tuple[dict[str, Any], int]]:
        """Frames of the villa's two channels that came, and their bytes."""
        frames = [(json.loads(text), len(text.encode())) for text in self.came[start:]]
        return [(frame, size) for frame, size in frames if frame.get("channel") in CHANNELS]


class Window:
    """A browser window of its own, with cookies of its own; it keeps what the page complained about."""

    def __init__(self, chromium: Any, url: str, api: Any, on_socket: Any = None, **options: Any) -> None:
        self.api = api
        self.sockets: list[Traffic] = []
        self.context = chromium.new_context(**options)
        self.page = self.context.new_page()
        if on_socket is not None:
            self.page.route_web_socket("**/ws/**", on_socket)
        self.page.on("websocket", lambda socket: self.sockets.append(Traffic(socket)))
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(url)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def expect(self, selector: str) -> Any:
        return self.api.expect(self.page.locator(selector))

    def until(self, is_so: Callable[[], object], within_s: float = 30.0) -> None:
        """Lets the browser run until something is so; looks again now and then."""
        deadline = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline, f"not within {within_s} s"
            self.page.wait_for_timeout(50)


@pytest.fixture
def open_window(chromium: Any, villa_server: Served, playwright_api: Any) -> Iterator[Any]:
    windows: list[Window] = []

    def open_one(path: str = "", **options: Any) -> Window:
        url = villa_server.url + path
        windows.append(Window(chromium, url, playwright_api, **{"viewport": WIDE, **options}))
        return windows[-1]

    yield open_one
    complaints = [complaint for window in windows for complaint in window.complaints]
    for window in windows:
        window.context.close()
    assert complaints == []
