"""The campaign at the size CI affords, and proof that it would notice: each planted fault is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conversation import conversation
from .in_process import Watch
from .ledger import Admin, Classic, Find, Ledger
from .oracle import Limits
from .sockets import crashes_in

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(1024, 8)


def campaign(tmp_path: Path, *arguments: str, code: int = 0, before: str = "") -> list[dict[str, Any]]:
    """Runs the campaign's command, perhaps with a fault planted `before`; its reports."""
    report = tmp_path / "report.json"
    start = (
        f"import runpy, sys\n{before}\nrunpy.run_module('tests.hostile', run_name='__main__', alter_sys=True)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-c", start, "--json", str(report), *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == code, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    reports: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
    return reports


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_hundred_thousand_hostile_inputs_in_process(tmp_path: Path) -> None:
    """No crash, no unanswered frame, nothing left over, and a fresh client served after each thousand."""
    reports = campaign(tmp_path, "--count", "100000")
    assert sum(report["inputs"] for report in reports) >= 100_000
    assert sum(report["fresh_clients"] for report in reports) >= 100
    assert not any(report["finds"] for report in reports)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_thousands_of_hostile_inputs_over_real_sockets(tmp_path: Path) -> None:
    """The same over servers' ports, with framing and HTTP no client may write."""
    reports = campaign(tmp_path, "--over", "sockets", "--count", "3000")
    assert sum(report["inputs"] for report in reports) >= 3_000
    assert sum(report["fresh_clients"] for report in reports) >= 3
    assert not any(report["finds"] for report in reports)


FAULTS = {
    "a frame unanswered": (
        "from django_update_pipeline.core import frames; from django_update_pipeline.runtime import connection as c\n"
        "old = c.Connection.reply\n"
        "c.Connection.reply = lambda self, text: None if 'too_deep' in text else old(self, text)",
        "no answer|is owed",
    ),
    "a frame answered twice": (
        "from django_update_pipeline.runtime import connection as c\n"
        "old = c.Connection.reply\n"
        "c.Connection.reply = lambda self, text: [old(self, text) for _ in range(1 + ('unknown_type' in text))]",
        "answer to nothing|is owed",
    ),
    "a crash": (
        "from django_update_pipeline.core import wire\nwire._twice = lambda raw: 1 / 0",
        "internal_error|logged",
    ),
    "connections kept": (
        "from django_update_pipeline.runtime import connections as c\n"
        "c.WebSocketManager.forget = lambda self, connection: None",
        "connections grew",
    ),
    "a foreign origin let in": (
        "from django_update_pipeline import doors\n"
        "from django_update_pipeline.core.origin import Allowed\n"
        "doors.check_handshake = lambda *a: Allowed(None)",
        "must be refused",
    ),
    "text reflected raw": (
        "from django_update_pipeline.core import names, wire\n"
        "wire.reflected = lambda text: text.encode('ascii', 'replace').decode()",
        "shows too much",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_campaign_finds_a_fault_that_is_planted(tmp_path: Path, name: str) -> None:
    """And prints the seed that brings it about again."""
    import re

    before, what = FAULTS[name]
    before += "\nimport tests.hostile.ledger as p; p.PATIENCE_S = 0.5"
    (report,) = campaign(tmp_path, "--over", "asgi", "--count", "4000", code=1, before=before)
    assert any(re.search(what, find) for find in report["finds"]), report["finds"][:3]


def ledger(protocol: type[Classic] = Classic) -> Ledger:
    account = Ledger(protocol(LIMITS))
    first = {"type": account.protocol.first, "connection_id": "ws_1", "timestamp": 1.0}
    account.heard(json.dumps(first))
    return account


PING = '{"type":"ping","timestamp":1}'
PONG = {"type": "pong", "timestamp": 1, "server_time": 2.0}
ERROR = {"type": "error", "message": "no", "code": "invalid_json"}


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (PING, {**PONG, "timestamp": True}),
        (PING, {**PONG, "timestamp": 1.0}),
        (PING, ERROR),
        ("{", PONG),
        ("{", {**ERROR, "code": "too_deep"}),
        ("{", {**ERROR, "code": "made_up"}),
        ("{", {**ERROR, "code": "internal_error"}),
        ("{", {**ERROR, "message": "<b>"}),
        ("{", {**ERROR, "message": "a\nb"}),
        (PING, {"type": "pong"}),
        (PING, {"type": "news"}),
        (PING, ["pong"]),
    ],
)
def test_the_ledger_refuses_a_wrong_answer(said: str, heard: Any) -> None:
    account = ledger()
    account.said(said)
    with pytest.raises(Find):
        account.heard(json.dumps(heard))


def test_the_ledger_takes_right_answers_in_their_order() -> None:
    account = ledger()
    for frame in (PING, "{", '{"type":"subscribe","channels":["secret"]}'):
        account.said(frame)
    refused = {**ERROR, "code": "channel_refused"}
    for answer in (PONG, ERROR, {"type": "subscription_confirmed", "channels": []}, refused):
        assert not account.is_settled or answer is refused
        account.heard(json.dumps(answer))
    assert account.is_settled
    with pytest.raises(Find, match="answer to nothing"):
        account.heard(json.dumps(refused))


def test_the_ledger_wants_codes_from_the_table_and_nothing_after_a_close() -> None:
    with pytest.raises(Find, match="no table"):
        ledger().shut(1011)
    account = ledger(Admin)
    account.shut(4001)
    with pytest.raises(Find, match="twice"):
        account.shut(4001)
    with pytest.raises(Find, match="after the close"):
        account.heard("{}")


def test_a_seed_names_one_conversation() -> None:
    for seed in range(200):
        assert conversation(seed, 1024, 8) == conversation(seed, 1024, 8)
    assert len({conversation(seed, 1024, 8).kind for seed in range(200)}) >= 9


def test_tracebacks_in_a_log_are_found_but_for_known_ones() -> None:
    import re

    block = (
        'Traceback (most recent call last):\n  File "x/{}/a.py", line 1, in f\n    boom()\nValueError: x\n'
    )
    theirs, ours = block.format("uvicorn"), block.format("django_update_pipeline")
    assert len(crashes_in(f"INFO a\n{theirs}INFO b\n")) == 1
    assert crashes_in(theirs, [re.compile("uvicorn")]) == []
    assert len(crashes_in(ours, [re.compile("ValueError")])) == 1
    assert len(crashes_in("task: Task exception was never retrieved\n")) == 1
    assert Watch().crashes == []
    failed = "django_update_pipeline ERROR a frame of connection ws_1 failed: ValueError: x"
    assert crashes_in(f"INFO a\n{failed}\n") == [failed]
    assert crashes_in("django_update_pipeline ERROR an action failed in its handler: MeantToFail\n") == []
    assert crashes_in("django_update_pipeline INFO socket refused: origin\n") == []
