"""The management commands against real servers in processes of their own: what is shown, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_update_pipeline.management.terminal import width_of

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets: run on Linux or macOS"
)

ROOT = Path(__file__).resolve().parents[2]

#: Serves as an ASGI process does, and does what it is told line by line.
SERVER = """
import asyncio, os, sys, time
import django
django.setup()
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage
from django_update_pipeline.service import get_update_pipeline, start_serving, stop_serving

pipeline = get_update_pipeline()

def die(n=1, agent="agent_001", reason="failed", cause="ValueError: no such room", kind="EVENT", data=b'{"text":"hi"}'):
    for _ in range(n):
        update = UpdateMessage(agent, "dialogue", data, channels=("updates",), kind=UpdateKind[kind])
        pipeline.dead_letters.add(update, reason, cause, time.time())

async def main():
    await start_serving(pipeline)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        exec(line)
        print("done", flush=True)
    await stop_serving(pipeline)

asyncio.run(main())
"""


class Running:
    """One server process."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings(**environment),
            cwd=ROOT,
        )
        self.pid = self.process.pid
        self._read("ready")

    def _read(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def do(self, line: str) -> None:
        """Has a line of Python carried out there."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self._read("done")

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


def surroundings(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "tests.settings", **more}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, with a path short enough for sockets."""
    base = tempfile.mkdtemp(prefix="dup-", dir="/tmp")
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", base)
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    yield Path(base) / f"django-update-pipeline-{os.getuid()}"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**environment: str) -> Running:
        running.append(Running(**environment))
        return running[-1]

    yield start
    for one in running:
        one.end()


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """A command in this process: exit code, output, messages."""
    out, err = io.StringIO(), io.StringIO()
    name, *rest = arguments
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        call_command(name, *rest, stdout=out, stderr=err)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), err.getvalue() + str(error)
    finally:
        sys.stdin = before
    return 0, out.getvalue(), err.getvalue()


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "django", *arguments]


def run_apart(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a shell runs it."""
    return subprocess.run(
        command_line(*arguments),
        capture_output=True,
        env=surroundings(**environment),
        cwd=ROOT,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


# health


def test_a_healthy_server_exits_with_0(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do("pipeline.queue_agent_update('a', 'said', {'n': 1})")
    code, out, err = run("pipeline_health")
    assert (code, err) == (0, "")
    assert f"pid {server.pid}" in out
    assert "100 healthy" in out
    for row in (
        "breaker ",
        "transport ",
        "waiting ",
        "connections ",
        "clients ",
        "dead letters ",
        "account ",
        "plugins ",
    ):
        assert f"\n{row}" in out
    assert re.search(r"\ncritical +0 +- +- +- +- +50 ms\n", out)
    assert "\x1b" not in out


def test_what_clients_say_is_shown(serve: Callable[..., Running]) -> None:
    server = serve()
    assert "\nclients       no acknowledgements of late\n" in run("pipeline_health")[1]
    server.do("from django_update_pipeline.core.credit import Asked; globals().update(Asked=Asked)")
    asked = "Asked('updates', 1, 9.0, 50.0, ((0, 50.0), (3, 50.0)))"
    hear = f"pipeline.websocket_manager.ages.heard({asked}, %s, 10.0, 60.0)"
    server.do(hear % None)
    assert re.search(
        r"\nclients +acknowledged p99 (10\.\d s|9,[89]\d\d ms) after queueing\n", run("pipeline_health")[1]
    )
    server.do(f"[{hear % 9500} for _ in range(200)]; pipeline.websocket_manager.ages.repaired(3)")
    code, out, _ = run("pipeline_health")
    assert code == 1
    assert re.search(r"\nclients +applied (p\d\d 9,[3-6]\d\d ms(, | )){3}after queueing; 3 agents", out)
    assert re.search(r"\ncritical +0 +- +- +- +9,[3-6]\d\d ms +50 ms\n", out)
    assert re.search(r"\nhigh +0 +- +- +- +- +50 ms\n", out)
    assert "  * Clients' self-checks repaired 3 agents" in out
    assert "  * Updates are old when clients have applied them" in out


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        ("pipeline.circuit_breaker.force_open('test')", "degraded", 1),
        ("pipeline.circuit_breaker.force_open('test'); die(3)", "critical", 2),
    ],
)
def test_trouble_is_an_exit_code_and_a_sentence_with_its_mend(
    serve: Callable[..., Running], trouble: str, status: str, code: int
) -> None:
    server = serve()
    server.do(trouble)
    found, out, _ = run("pipeline_health")
    assert found == code
    assert status in out
    assert "\n  * The circuit breaker is held open" in out
    assert "pipeline_reset_breaker" in out
    found, out, err = run("pipeline_health", "--json")
    answer = json.loads(out)
    assert (found, answer["exit_code"], answer["status"]) == (code, code, status)
    assert answer["servers"][0]["circuit_breaker"]["is_held_open"]
    assert err == ""


def test_without_a_server_it_says_what_to_do_and_exits_with_3() -> None:
    code, out, err = run("pipeline_health")
    assert (code, out) == (3, "")
    assert "no running server of tests.settings" in err
    assert "start one, or run this as its user" in err
    assert "its log says why" in err
    ended = run_apart("pipeline_health", "--json")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["status"] == "unreachable"
    assert b"no running server" in ended.stderr


def test_of_several_servers_the_worst_decides_and_one_that_hangs_is_told(
    serve: Callable[..., Running],
) -> None:
    well, ill, stuck = serve(), serve(), serve()
    ill.do("pipeline.circuit_breaker.force_open('test')")
    code, out, _ = run("pipeline_health")
    assert code == 1
    assert "3 servers: 2 healthy, 1 degraded" in out
    assert all(f"pid {one.pid}" in out for one in (well, ill, stuck))
    assert run("pipeline_health", "--pid", str(well.pid))[0] == 0
    stuck.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    code, out, _ = run("pipeline_health", "--timeout", "0.5")
    assert time.monotonic() - began < 20
    assert code == 3
    assert f"pid {stuck.pid}: unreachable" in out
    assert "look at it with py-spy dump" in " ".join(out.split())
    assert "3 servers: 1 healthy, 1 degraded, 1 unreachable" in out
    answer = json.loads(run("pipeline_health", "--json", "--timeout", "0.5")[1])
    assert {one["pid"]: one["status"] for one in answer["servers"]} == {
        well.pid: "healthy",
        ill.pid: "degraded",
        stuck.pid: "unreachable",
    }


def test_a_killed_server_leaves_a_socket_that_is_cleared(serve: Callable[..., Running], folder: Path) -> None:
    server = serve()
    server.process.kill()
    server.process.wait()
    assert list(folder.iterdir())
    assert run("pipeline_health")[0] == 3
    assert not list(folder.iterdir())


def test_a_folder_of_another_user_is_named(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    folder.mkdir(mode=0o700)
    os.chown(folder, 54321, 54321)
    code, _, err = run("pipeline_health")
    assert code == 3
    assert f"{folder} belongs to user 54321: remove it" in err


def test_a_folder_that_others_may_enter_is_named(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    code, _, err = run("pipeline_health")
    assert code == 3
    assert "is open to others" in err


def test_a_server_that_can_make_no_socket_serves_and_is_unreachable(serve: Callable[..., Running]) -> None:
    """A folder in which nothing can be made, as on a full or read-only disk."""
    server = serve(UPDATE_PIPELINE_RUNTIME_DIR="/proc")
    server.do("assert pipeline.is_running")
    assert run("pipeline_health")[0] == 3


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_the_screen_fits_the_terminal(
    serve: Callable[..., Running], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    server.do("pipeline.circuit_breaker.force_open('test'); die(3)")
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run("pipeline_health")
    assert max(map(width_of, out.splitlines())) <= columns
    server.do("pipeline.reset_circuit_breaker(); pipeline.dead_letters.discard(1)")
    if columns >= 80:
        server.do("pipeline.dead_letters.discard(2); pipeline.dead_letters.discard(3)")
        _, out, _ = run("pipeline_health")
        assert len(out.splitlines()) <= 23, "one screen of 24 lines, with the prompt"


def test_colors_and_encodings(serve: Callable[..., Running]) -> None:
    serve()
    plain = run_apart("pipeline_health")
    assert b"\x1b" not in plain.stdout
    assert "█" in plain.stdout.decode()
    assert b"\x1b[" in run_apart("pipeline_health", "--force-color").stdout
    ascii_only = run_apart("pipeline_health", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ascii_only.returncode == 0
    assert b"###" in ascii_only.stdout
    ascii_only.stdout.decode("ascii")


def interruptible() -> None:
    """In a child: a shell that started these tests in the background had SIGINT ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watching_without_a_terminal_appends_lines_until_interrupted(serve: Callable[..., Running]) -> None:
    server = serve()
    with subprocess.Popen(
        command_line("pipeline_health", "--watch", "0.2"),
        stdout=subprocess.PIPE,
        env=surroundings(),
        cwd=ROOT,
        preexec_fn=interruptible,
    ) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline().decode() for _ in range(3)]
        server.end()
        while b"no running server" not in (gone := watching.stdout.readline()):
            assert b"pid" in gone, "it goes on when the server is gone, which may come back"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    for line in lines:
        assert re.match(
            rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d  pid {server.pid}  healthy 100  breaker closed", line
        )


def test_watching_as_json_writes_one_object_a_line(serve: Callable[..., Running]) -> None:
    serve()
    with subprocess.Popen(
        command_line("pipeline_health", "--watch", "0.2", "--json"),
        stdout=subprocess.PIPE,
        env=surroundings(),
        cwd=ROOT,
        preexec_fn=interruptible,
    ) as watching:
        assert watching.stdout is not None
        assert [json.loads(watching.stdout.readline())["status"] for _ in range(2)] == ["healthy"] * 2
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0


class OnTerminal:
    """A command on a terminal of its own, 80 by 24."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        import fcntl
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            command_line(*arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=surroundings(TERM="xterm", **environment),
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=interruptible,
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # it ended
                    assert text in self.seen, self.seen
                    return

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        code = self.process.wait(60)
        os.close(self.master)
        return code


def test_watching_on_a_terminal_draws_over(serve: Callable[..., Running]) -> None:
    server = serve()
    terminal = OnTerminal("pipeline_health", "--watch", "0.2")
    terminal.until("healthy")
    terminal.until("\x1b[H")
    terminal.until("\x1b[J")
    assert "\x1b[32" in terminal.seen, "in colour"
    server.do("die(1)")
    terminal.until("1: manage.py pipeline_dead_letters list")
    drawn = terminal.seen.split("\x1b[H")[1]
    assert len(drawn.splitlines()) <= 24, "it never scrolls"
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0


def test_no_color_on_a_terminal(serve: Callable[..., Running]) -> None:
    serve()
    for arguments, environment in ((["--no-color"], {}), ([], {"NO_COLOR": "1"})):
        terminal = OnTerminal("pipeline_health", *arguments, **environment)
        terminal.until("control ")
        assert terminal.end() == 0
        assert "\x1b" not in terminal.seen


def test_the_help_tells_the_exit_codes() -> None:
    for name in (
        "pipeline_health",
        "pipeline_reset_breaker",
        "pipeline_dead_letters",
        "pipeline_plugins",
    ):
        ended = run_apart(name, "--help", COLUMNS="200")
        assert ended.returncode == 0
        text = " ".join(ended.stdout.decode().split())
        assert re.search(r"Exit codes: 0 .*3 ", text), text
    assert run_apart("pipeline_health", "--timeout", "0").returncode == 2
    assert run_apart("pipeline_health", "--watch", "nan").returncode == 2


# breaker


def test_the_breaker_is_reset_and_before_and_after_are_told(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do("pipeline.circuit_breaker.force_open('test')")
    code, out, err = run("pipeline_reset_breaker")
    assert (code, err) == (0, "")
    assert out == (
        f"pid {server.pid}: the breaker was open (0 failures in a row, held by an operator), and is closed now.\n"
    )
    answer = json.loads(run("pipeline_reset_breaker", "--json")[1])
    assert answer["servers"][0]["before"]["state"] == answer["servers"][0]["after"]["state"] == "closed"


def test_of_several_breakers_one_must_be_chosen_or_all(serve: Callable[..., Running]) -> None:
    one, other = serve(), serve()
    for server in (one, other):
        server.do("pipeline.circuit_breaker.force_open('test')")
    code, _, err = run("pipeline_reset_breaker")
    assert code == 1
    assert "2 servers run here" in err
    assert "--all" in err
    assert run("pipeline_reset_breaker", "--pid", str(one.pid))[0] == 0
    one.do("assert pipeline.circuit_breaker.get_state()['state'] == 'closed'")
    other.do("assert pipeline.circuit_breaker.get_state()['state'] == 'open'")
    one.process.send_signal(signal.SIGSTOP)
    code, out, err = run("pipeline_reset_breaker", "--all", "--timeout", "0.5")
    assert code == 3
    assert f"pid {other.pid}: the breaker was open" in out
    assert f"pid {one.pid} did not answer" in err
    assert run("pipeline_reset_breaker", "--pid", "999999999")[0] == 3


# dead letters


def test_dead_letters_are_listed_shown_replayed_and_discarded(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do("die(3); die(1, kind='REPLACE'); die(1, reason='overflow')")
    code, out, _ = run("pipeline_dead_letters", "list")
    assert code == 0
    assert f"pid {server.pid}: 5 kept of 5 that ever died" in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["5", "4", "3", "2", "1"]
    assert "More: --before 4" in run("pipeline_dead_letters", "list", "--limit", "2")[1]
    out = run("pipeline_dead_letters", "list", "--reason", "overflow")[1]
    assert "ValueError: no such room" in out, "the cause is there, whatever the width"
    out = run("pipeline_dead_letters", "list", "--reason", "overflow", "--json")[1]
    assert [one["number"] for one in json.loads(out)["servers"][0]["letters"]] == [5]
    code, out, _ = run("pipeline_dead_letters", "show", "1")
    assert code == 0
    assert '"text": "hi"' in out
    assert re.search(r"\ncause +ValueError: no such room\n", out)
    assert json.loads(run("pipeline_dead_letters", "show", "1", "--json")[1])["data"] == {"text": "hi"}
    code, _, err = run("pipeline_dead_letters", "show", "99")
    assert code == 1
    assert "no dead letter 99" in err
    code, out, _ = run("pipeline_dead_letters", "replay", "1", "4", "99")
    assert code == 1, "two of the three were not replayed"
    assert "1 replayed, 4 are still kept" in out
    assert "2 were skipped (4, 99)" in out
    code, out, _ = run("pipeline_dead_letters", "discard", "2")
    assert (code, out) == (0, f"pid {server.pid}: 1 discarded, 3 are still kept.\n")
    code, out, _ = run("pipeline_dead_letters", "replay", "--all", "--yes", "--json")
    assert code == 0
    answer = json.loads(out)
    assert (answer["replayed_count"], answer["skipped"], answer["kept"]) == (2, [4], 1)
    server.do("assert pipeline.get_performance_metrics()['accepted'] == 3")


def test_all_letters_are_touched_only_after_a_yes(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do("die(7); die(2, reason='overflow')")
    code, _, err = run("pipeline_dead_letters", "discard", "--all")
    assert code == 1
    assert f"Discard 9 dead letters of pid {server.pid} for good?" in err
    assert "add --yes" in err
    terminal = OnTerminal("pipeline_dead_letters", "discard", "--all", "--reason", "overflow")
    terminal.until("Discard 2 dead letters")
    terminal.until("[y/N] ")
    terminal.type("n\n")
    terminal.until("nothing was changed")
    assert terminal.end() == 1
    server.do("assert len(pipeline.dead_letters) == 9")
    terminal = OnTerminal("pipeline_dead_letters", "discard", "--all", "--reason", "overflow")
    terminal.until("[y/N] ")
    terminal.type("y\n")
    terminal.until("2 discarded, 7 are still kept")
    assert terminal.end() == 0
    assert run("pipeline_dead_letters", "discard", "--all", "--no-input")[0] == 0
    server.do("assert len(pipeline.dead_letters) == 0")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay"], "by number, or give --all"),
        (["discard", "1", "--all"], "by number, or give --all"),
        (["replay", "1", "--reason", "failed"], "--reason goes with --all"),
    ],
)
def test_what_is_meant_must_be_said(
    serve: Callable[..., Running], arguments: list[str], complaint: str
) -> None:
    serve().do("die(1)")
    code, _, err = run("pipeline_dead_letters", *arguments)
    assert code == 1
    assert complaint in err


def test_numbers_belong_to_one_server(serve: Callable[..., Running]) -> None:
    one, other = serve(), serve()
    for server in (one, other):
        server.do("die(1)")
    code, out, _ = run("pipeline_dead_letters", "list")
    assert code == 0
    assert all(f"pid {server.pid}: 1 kept" in out for server in (one, other))
    for action in (["show", "1"], ["replay", "1"], ["discard", "--all", "--yes"]):
        code, _, err = run("pipeline_dead_letters", *action)
        assert code == 1
        assert "--pid" in err
    assert run("pipeline_dead_letters", "replay", "1", "--pid", str(one.pid))[0] == 0
    other.process.send_signal(signal.SIGSTOP)
    code, out, err = run("pipeline_dead_letters", "list", "--timeout", "0.5")
    assert code == 3
    assert f"pid {one.pid}" in out
    assert f"pid {other.pid} did not answer" in err
    assert run("pipeline_dead_letters", "show", "1", "--pid", str(other.pid), "--timeout", "0.5")[0] == 3


def test_long_lists_come_in_pages_and_large_data_is_not_shown(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do(
        "die(1, data=b'{\"x\":\"' + b'y' * 600_000 + b'\"}'); die(900, agent='\\U0001f339' * 200, cause='\"' * 500)"
    )
    out = run("pipeline_dead_letters", "list", "--limit", "901", "--json")[1]
    assert [one["number"] for one in json.loads(out)["servers"][0]["letters"]] == list(range(901, 0, -1))
    code, out, _ = run("pipeline_dead_letters", "show", "1")
    assert code == 0
    assert "too many to be shown" in out


def test_nothing_that_died_writes_to_the_terminal(serve: Callable[..., Running], monkeypatch: Any) -> None:
    server = serve()
    data = r"data='{\"a\\u001b\":\"\x7f\u009b2J\"}'.encode()"
    server.do(rf"die(1, cause='\x1b[2J\x9b31m gone\nforged', reason='\x1b[31m', {data})")
    for columns in ("60", "132"):
        monkeypatch.setenv("COLUMNS", columns)
        for arguments in (["list"], ["show", "1"]):
            _, out, err = run("pipeline_dead_letters", *arguments)
            assert "forged" in out or columns == "60"
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err)


# plugins


def test_the_parts_of_the_running_server_and_of_the_settings(serve: Callable[..., Running]) -> None:
    code, out, _ = run("pipeline_plugins")
    assert code == 0
    assert "no server was asked" in out
    kinds = [line.split("  ")[0] for line in out.splitlines()[3:]]
    flow = ["queue", "batching policy", "circuit breaker", "retry policy", "transport", "store"]
    assert [kind for kind in kinds if kind in flow] == flow
    server = serve()
    code, out, _ = run("pipeline_plugins")
    assert code == 0
    assert out.startswith(f"pid {server.pid}\n")
    answer = json.loads(run("pipeline_plugins", "--json")[1])
    assert (answer["source"], answer["pid"]) == ("server", server.pid)
    answer = json.loads(run("pipeline_plugins", "--json", "--settings-only")[1])
    assert (answer["source"], answer["pid"]) == ("settings", None)
    server.process.send_signal(signal.SIGSTOP)
    assert run("pipeline_plugins", "--timeout", "0.5")[0] == 3
    assert run("pipeline_plugins", "--pid", "999999999")[0] == 3


def test_a_part_that_is_off_is_told_and_switched_on(serve: Callable[..., Running]) -> None:
    server = serve()
    server.do(
        "pipeline.containment.of_part('transport', pipeline.transport).switch_off('it failed \\x1b[2J')"
    )
    code, out, _ = run("pipeline_plugins")
    assert code == 1
    assert re.search(r"\ntransport .* off\n", out)
    plugin = "django_update_pipeline.plugins.defaults"
    assert f"pipeline_plugins --enable {plugin}" in " ".join(out.split())
    assert "\x1b" not in out
    assert "switched off: transport memory" in " ".join(run("pipeline_health")[1].split())
    code, out, _ = run("pipeline_plugins", "--enable", plugin)
    assert (code, out) == (0, f"pid {server.pid}: switched on: transport memory.\n")
    assert run("pipeline_plugins", "--enable", plugin)[1] == f"pid {server.pid}: nothing of it was off.\n"
    assert run("pipeline_plugins")[0] == 0
    code, _, err = run("pipeline_plugins", "--enable", "no.such.plugin")
    assert code == 1
    assert "there is no plugin 'no.such.plugin'" in err


def test_wrong_settings_are_told(settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"PLUGINS": ["no.such.plugin"]}
    code, _, err = run("pipeline_plugins")
    assert code == 1
    assert "no.such.plugin" in err
