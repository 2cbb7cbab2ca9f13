"""The tutorial as a newcomer follows it: an empty folder, the pages' own files, a real server, kills and restarts."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.docs.project import RUNSERVER, environment, frame, manage, served

pytestmark = [pytest.mark.channels, pytest.mark.slow, pytest.mark.timeout(180)]


class Visitor:
    """A browser without its screen: cookies, forms with their CSRF token, and a socket from its own origin."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        with self.opener.open(f"http://{self.host}{path}", timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    def post(self, path: str, page: str, **fields: str) -> int:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(page))
        assert token is not None
        body = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        with self.opener.open(f"http://{self.host}{path}", body, timeout=20) as answer:
            status: int = answer.status
            return status

    def window(self) -> Any:
        return connect(f"ws://{self.host}/ws/updates/", origin=f"http://{self.host}")


def begun(websocket: Any) -> list[dict[str, Any]]:
    """What a new window is told before anything happens: all that comes before the answer to its ping."""
    assert frame(websocket)["type"] == "connection_established"
    websocket.send('{"type":"ping","timestamp":1}')
    told = []
    while (received := frame(websocket))["type"] != "pong":
        told.append(received)
    return told


def until_told(websocket: Any, agent_id: str) -> Any:
    """The data of the next frame about an agent; None if it was removed."""
    while (received := frame(websocket)).get("agent_id") != agent_id:
        pass
    return None if received["update_type"] == "state_removed" else received["data"]


def test_the_first_part_shows_every_step_in_both_windows_and_forgets_with_the_process(
    first_part: Path,
) -> None:
    with served(first_part, RUNSERVER, killed=True) as host:
        visitor = Visitor(host)
        with visitor.window() as one, visitor.window() as two:
            assert begun(one) == begun(two) == []
            assert visitor.post("/order/", "/", drink="Espresso", phone="555-0100") == 204
            order = {"id": 1, "drink": "Espresso", "step": "waiting"}
            assert [until_told(window, "order-1") for window in (one, two)] == [order, order]
            for step in ("making", "ready"):
                visitor.post("/step/1/", "/")
                assert [until_told(window, "order-1")["step"] for window in (one, two)] == [step, step]
            with visitor.window() as third:
                (told,) = begun(third)
                assert told["data"] == {**order, "step": "ready"}
            visitor.post("/step/1/", "/")
            assert [until_told(window, "order-1") for window in (one, two)] == [None, None]
            visitor.post("/order/", "/", drink="Mocha")
            until_told(one, "order-2")
    with served(first_part, RUNSERVER) as host, Visitor(host).window() as window:
        assert begun(window) == [], "the page says that the board is empty after a restart"


def test_the_second_part_survives_a_kill_and_follows_the_admin(second_part: Path) -> None:
    password = {"DJANGO_SUPERUSER_PASSWORD": "a long enough password"}
    manage(second_part, "manage.py", "createsuperuser", "--no-input", "--username=me", "--email=", **password)
    with served(second_part, RUNSERVER, killed=True) as host:
        visitor = Visitor(host)
        with visitor.window() as window:
            assert begun(window) == []
            visitor.post("/order/", "/", drink="Mocha", phone="555-0100")
            told = until_told(window, "board.order.1")
            assert told == {"id": 1, "drink": "Mocha", "step": "waiting"}, "no phone number"
    with served(second_part, RUNSERVER, killed=True) as host:
        visitor = Visitor(host)
        with visitor.window() as window:
            (again,) = begun(window)
            assert again["data"] == told, "the source read what was there"
            login = "/admin/login/"
            visitor.post(
                login, login, next="/admin/", username="me", password=password["DJANGO_SUPERUSER_PASSWORD"]
            )
            change = "/admin/board/order/1/change/"
            visitor.post(change, change, drink="Flat white", phone="555-0100", step="making")
            assert until_told(window, "board.order.1") == {"id": 1, "drink": "Flat white", "step": "making"}
            assert re.search(
                r"transformer +private +board\.live", manage(second_part, "manage.py", "pipeline_plugins")
            )
            assert "healthy" in manage(second_part, "manage.py", "pipeline_health")
            for _ in range(2):
                visitor.post("/step/1/", "/")
            assert until_told(window, "board.order.1")["step"] == "ready"
            assert until_told(window, "board.order.1") is None


def test_a_misspelt_hook_is_named_by_the_check(second_part: Path) -> None:
    assert "no issues" in manage(second_part, "manage.py", "check")
    live = second_part / "board" / "live.py"
    text = live.read_text()
    live.write_text(text.replace("def provide_sources", "def provide_source"))
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", "check"],
            cwd=second_part,
            env=environment(),
            capture_output=True,
            text=True,
        )
    finally:
        live.write_text(text)
    assert done.returncode == 1
    assert "django_update_pipeline.E002" in done.stderr
    assert "board.live" in done.stderr
