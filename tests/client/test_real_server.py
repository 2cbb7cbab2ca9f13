"""The built client in Node, over real WebSockets, against a real server."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline.core.credit import ASK_EVERY_S

from .serving import Site, site

pytestmark = pytest.mark.slow

WITHIN_S = 40


class Program:
    """js/test/real.mjs: an expression in, its value out."""

    def __init__(self, folder: Path, served: Site, **environment: str) -> None:
        self.process = subprocess.Popen(
            ["node", "test/real.mjs"],
            cwd=folder,
            env={**os.environ, "SOCKET": f"{served.url}/live/villa/", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _say(self, line: str) -> Any:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        try:
            answer = self.answers.get(timeout=WITHIN_S)
        except queue.Empty:
            pytest.fail(f"no answer to: {line}")
        assert answer, f"the program ended at: {line}"
        return json.loads(answer)

    def wait(self, expression: str) -> Any:
        """The expression's value, once it is truthy."""
        return self._say(f"wait {expression}")

    def ask(self, expression: str) -> Any:
        return self._say(f"eval {expression}")

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
            self.process.wait(10)
            self.reader.join(10)
            self.process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as served:
        yield served


@pytest.fixture
def program(client_folder: Path, served: Site) -> Iterator[Program]:
    served.do("fill", 100)
    program = Program(client_folder, served)
    yield program
    program.end()


@pytest.fixture
def without_sockets(client_folder: Path, served: Site) -> Iterator[Program]:
    """The same where no WebSocket can be opened."""
    served.do("fill", 100)
    program = Program(client_folder, served, WITHOUT_SOCKETS="1")
    yield program
    program.end()


def test_a_day_of_a_client(program: Program, served: Site) -> None:
    """Filled, told of changes, cut, resumed with what changed; the server killed and started again: always right."""
    assert program.wait("view.status === 'live' && map.status === 'live' && view.agents.size") == 100
    assert program.ask("map.get('agent_007')") == {"n": 7}
    assert program.ask("statuses[0].catchUp.isReset") is True
    assert program.wait("refused.status === 'refused'")

    served.do("patch", 1)
    served.do("say", 1)
    assert program.wait("events.length") == 1
    assert program.ask("view.get('agent_000').mood") == "mood 1"
    served.do("notify", 1)
    assert program.wait("notices.length && notices") == ["notice 1"]
    assert 0 <= program.ask("client.serverTime - view.changedAt('agent_000')") < 60

    assert program.ask("act('agent_003', 'move', {place: 'pool'})") == "done"
    assert program.wait("view.get('agent_003').place") == "pool"
    assert program.ask("act('agent_003', 'forbidden')").startswith("forbidden: ")
    assert program.ask("act('agent_003', 'refuse')") == "action_refused: not today"
    assert program.ask("act('agent_003', 'fly')").startswith("action_unhandled: ")

    program.ask("(statuses.length = 0, client.reconnect(), 0)")
    served.do("cut")
    for number in (2, 3):
        served.do("patch", number)
        served.do("say", number)
    served.do("remove", 99)
    served.do("notify", 2)
    assert program.wait("view.status === 'live' && view.get('agent_000').mood === 'mood 3'")
    assert program.wait("events.length === 3 && events") == [1, 2, 3]
    assert program.wait("notices.length === 2 && notices") == ["notice 1", "notice 2"]
    assert program.wait("view.agents.size === 99")
    resumed = program.ask("statuses.filter(({status}) => status === 'live').map(({catchUp}) => catchUp)")
    assert not any(one["isReset"] for one in resumed)
    assert sum(one["bytes"] for one in resumed) < 2000

    served.kill()
    assert program.wait("view.status === 'stale'")
    assert program.ask("view.agents.size") == 99
    served.start()
    served.do("fill", 5)
    assert program.wait("view.status === 'live' && view.agents.size === 5 && map.agents.size === 5")
    served.do("patch", 4)
    assert program.wait("view.get('agent_000').mood === 'mood 4'")
    assert program.ask("view.missed + map.missed") == 0


@pytest.mark.parametrize("wrong_s", [0, 10_800, -93_600])
def test_the_server_learns_how_old_news_is_there_whatever_the_clock_says(
    client_folder: Path, served: Site, wrong_s: int
) -> None:
    """Clocks are wrong by hours on some machines; a reader that does not read for a second shows all of it."""
    served.do("fill", 3)
    program = Program(client_folder, served, CLOCK_WRONG_MS=str(wrong_s * 1000))
    try:
        assert program.wait("view.status === 'live'")
        number = 0

        def samples_above(count: int) -> dict[str, float]:
            nonlocal number
            deadline = time.monotonic() + WITHIN_S
            while time.monotonic() < deadline:
                number += 1
                served.do("patch", number)
                assert program.wait(f"view.get('agent_000').mood === 'mood {number}'")
                time.sleep(ASK_EVERY_S)
                metrics = served.metrics()
                applied, acknowledged = (
                    metrics[key]["by_priority"]["high"] for key in ("applied", "acknowledged")
                )
                if applied["count"] > count:
                    assert applied["count"] == acknowledged["count"]
                    assert applied["max_latency_ms"] <= acknowledged["max_latency_ms"]
                    return dict(applied)
            pytest.fail("the client says no ages")

        before = samples_above(2)
        assert 0 < before["p50_latency_ms"] < 10_000, "hours would be the clock's"
        time.sleep(
            ASK_EVERY_S
        )  # of a server's clock, which nobody can set: it asks again with the next frame
        program.ask("(client.pause(), 0)")
        began = time.monotonic()
        served.do("patch", number + 1)
        time.sleep(1.0)  # what the two real clocks make of it is the test
        program.ask("(client.resume(), 0)")
        assert program.wait(f"view.get('agent_000').mood === 'mood {number + 1}'")
        late_ms = (time.monotonic() - began) * 1000
        number += 1
        after = samples_above(int(before["count"]))
        assert 1000 <= after["max_latency_ms"] <= max(late_ms, before["max_latency_ms"]) + 1000
        assert served.metrics()["divergence_repaired"] == 0
    finally:
        program.end()


def test_a_slow_reader_is_told_what_changed_meanwhile_once(program: Program, served: Site) -> None:
    """Far more than a window comes while nothing is read: the answer is the newest values, each field once."""
    assert program.wait("view.status === 'live' && map.status === 'live'")
    snapshot = program.ask("statuses[0].catchUp.bytes")
    assert program.ask("view.snapshotBytes()") == pytest.approx(snapshot, rel=0.02)
    program.ask("(statuses.length = 0, client.pause(), 0)")
    assert program.ask("view.status") == "stale"
    for _ in range(12):
        served.do("fill", 300)
    for number in range(1, 30):
        served.do("patch", number)
    assert program.ask("view.agents.size") == 100
    program.ask("(client.resume(), 0)")
    assert program.wait("view.status === 'live' && view.get('agent_000').mood === 'mood 29'")
    assert program.wait("map.status === 'live' && map.agents.size === 300 && view.agents.size === 300")
    (caught_up,) = program.ask("statuses.filter(({status}) => status === 'live').map(({catchUp}) => catchUp)")
    assert not caught_up["isReset"]
    # Agents that were filled again and again: unread frames of a window, and then each field once.
    assert caught_up["bytes"] < 128 * 1024 + 2 * program.ask("view.snapshotBytes()")

    program.ask("(client.disconnect(), 0)")
    assert program.ask("[client.status.state, view.status, view.agents.size]") == ["closed", "stale", 300]
    served.do("patch", 30)
    program.ask("(client.reconnect(), 0)")
    assert program.wait("view.status === 'live' && view.get('agent_000').mood === 'mood 30'")


def test_a_flood_is_followed_to_its_end(program: Program, served: Site) -> None:
    """Far more than a window of frames: without acknowledgements it would stop."""
    assert program.wait("view.status === 'live'")
    for _ in range(3):
        served.do("fill", 300)
    served.do("patch", 9)
    assert program.wait("view.status === 'live' && view.get('agent_000').mood === 'mood 9'")
    assert program.wait("view.agents.size === 300 && map.agents.size === 300")
    assert program.ask("view.get('agent_299').n") == 299


def test_without_sockets_the_same_comes_as_server_sent_events(without_sockets: Program, served: Site) -> None:
    program = without_sockets
    assert program.wait("view.status === 'live' && map.status === 'live' && view.agents.size") == 100
    assert program.ask("map.get('agent_007')") == {"n": 7}
    assert program.wait("refused.status === 'refused'")
    served.do("patch", 1)
    served.do("say", 1)
    assert program.wait("events.length") == 1
    assert program.ask("view.get('agent_000').mood") == "mood 1"
    assert program.ask("act('agent_003', 'move', {place: 'pool'})").startswith("no_way_up: ")

    program.ask("(statuses.length = 0, 0)")
    served.do("cut")
    served.do("patch", 2)
    served.do("say", 2)
    assert program.wait("view.status === 'live' && view.get('agent_000').mood === 'mood 2'")
    assert program.wait("events.length === 2 && events") == [1, 2]
    resumed = program.ask("statuses.filter(({status}) => status === 'live').map(({catchUp}) => catchUp)")
    assert not any(one["isReset"] for one in resumed)

    served.kill()
    assert program.wait("view.status === 'stale'")
    served.start()
    served.do("fill", 5)
    assert program.wait("view.status === 'live' && view.agents.size === 5 && map.agents.size === 5")
