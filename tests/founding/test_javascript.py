"""The founding document's browser programs, run in Node against the served example.

Each program is run twice where the document is at hand: as it stands there, only its port exchanged, and in our
own words. What npm installs for this goes into a cache outside of the clone, once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node import installed

from .document import in_both_words
from .serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).parent / "js"

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The packages of js/package.json."""
    return installed(PROGRAMS)


@pytest.fixture
def run(node_modules: Path, tmp_path: Path, served: Server) -> Run:
    """Runs a program of js/ on a sample, in a folder of its own; what it reports."""

    def run_(program: str, sample: str, text: str, *, cookie: str = "", **environment: str) -> dict[str, Any]:
        for file in PROGRAMS.glob("*.mjs"):
            shutil.copy(file, tmp_path)
        (tmp_path / "node_modules").symlink_to(node_modules, target_is_directory=True)
        (tmp_path / sample).write_text(text.replace("localhost:8001", f"localhost:{served.port}"))
        variables = {
            **os.environ,
            "SERVER": f"http://localhost:{served.port}",
            "COOKIE": cookie,
            **environment,
        }
        done = subprocess.run(
            ["node", program], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report

    return run_


def both(ours: str, heading: str) -> pytest.MarkDecorator:
    """The program in our words, and the document's own where it is at hand."""
    return pytest.mark.parametrize("text", in_both_words((PROGRAMS / ours).read_text(), heading))


@both("our_client.mjs", "JavaScript WebSocket Client")
def test_the_javascript_client_gets_agents_and_sends_actions(
    run: Run, producer_cookie: str, text: str
) -> None:
    report = run("run_client.mjs", "sample.mjs", f"{text}\nexport {{ client }};\n", cookie=producer_cookie)
    assert len(report["agents"]) >= 8
    assert report["first"] == "connection_established"
    assert report["answer"] == {"type": "action_queued", "agent_id": "agent_001", "action": "move"}
    assert report["state"]["agent_id"] == "agent_001"
    assert {"identity", "emotions", "relationships", "memory"} <= report["state"].keys()


@both("our_client.mjs", "JavaScript WebSocket Client")
def test_a_visitors_action_reaches_the_server_and_is_refused(run: Run, text: str) -> None:
    report = run("run_client.mjs", "sample.mjs", f"{text}\nexport {{ client }};\n")
    assert report["answer"]["type"] == "error"
    assert report["answer"]["code"] == "forbidden"


@both("our_hook.jsx", "React Integration Example")
def test_the_react_dashboard_shows_agents_and_sends_actions(
    run: Run, producer_cookie: str, text: str
) -> None:
    """A click on a card is an action; the card shows what came of it. Ends with the socket closed."""
    export = "\nexport { DatingShowDashboard };\n"
    report = run("run_hook.mjs", "sample.jsx", text + export, cookie=producer_cookie)
    assert report["statuses"] == ["connecting", "connected", "disconnected"]
    assert report["cards"] >= 8
    assert report["answer"] == {"type": "action_queued", "agent_id": "agent_001", "action": "move"}
    assert report["state"]["current_location"] in ("pool", "garden")


@both("our_admin.mjs", "Admin WebSocket Interface")
def test_the_admin_client_is_told_health_and_metrics(run: Run, staff_cookie: str, text: str) -> None:
    report = run("run_admin.mjs", "sample.mjs", text, cookie=staff_cookie)
    assert [words[0] for words in report["printed"]] == ["Admin data:"] * 3
    answers = {words[1]["type"]: words[1] for words in report["printed"]}
    assert answers.keys() == {"admin_connected", "health_status", "performance_metrics"}


@both("our_messages_up.js", "Message Types (Client → Server)")
def test_each_message_of_a_client_is_answered(run: Run, producer_cookie: str, text: str) -> None:
    report = run("run_messages.mjs", "sample.js", text, cookie=producer_cookie)
    subscribe, action, ping = report["messages"]
    assert [subscribe["type"], action["type"], ping["type"]] == ["subscribe", "agent_action", "ping"]
    answers = {frame["type"]: frame for frame in report["answers"]}
    assert set(answers["subscription_confirmed"]["channels"]) == set(subscribe["channels"])
    assert answers["action_queued"] == {
        "type": "action_queued",
        "agent_id": action["agent_id"],
        "action": action["action"],
    }
    assert answers["pong"]["timestamp"] == ping["timestamp"]
    assert "error" not in answers


@both("our_messages_down.js", "Message Types (Server → Client)")
async def test_the_servers_messages_have_the_stated_shape(run: Run, text: str) -> None:
    """The stated keys are there, and hold values of the stated kinds; there may be more."""
    from django_update_pipeline import UpdatePipeline
    from django_update_pipeline.core import frames

    from .conftest import Screen

    stated = {
        frame["type"]: frame
        for frame in run("run_messages.mjs", "sample.js", text, READ_ONLY="1")["messages"]
    }
    assert stated.keys() == {"agent_update", "system_notification", "connection_established"}
    screen = Screen()
    async with UpdatePipeline() as pipeline:
        await pipeline.register_websocket("ws_1", screen)
        pipeline.queue_system_notification("Rose ceremony starting", level="info")
        pipeline.queue_agent_update(agent_id="agent_001", update_type="state_change", data={"a": 1})
    sent = [
        json.loads(text)
        for text in (*screen.texts, frames.connection_established("ws_12345", 1623456789.123))
    ]
    assert {frame["type"] for frame in sent} == stated.keys()
    for frame in sent:
        for key, value in stated[frame["type"]].items():
            assert type(frame[key]) is type(value)
    assert next(f for f in sent if f["type"] == "system_notification").items() >= {
        ("level", "info"),
        ("message", "Rose ceremony starting"),
    }
