"""Commands reach servers in other processes; whatever one server does costs a command its timeout at most."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline.control import (
    CommandFailed,
    ControlClient,
    ControlError,
    ControlServer,
    ControlTimeout,
    ServerUnreachable,
    project_key,
    server,
    sockets,
)
from django_update_pipeline.exceptions import ActionRefused

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets: run on Linux or macOS"
)

PROJECT = "villa.settings:/srv/villa"

SERVER = """
import asyncio, os, sys
from django_update_pipeline.control import ControlServer

async def echo(**params):
    return {"pid": os.getpid(), "params": params}

async def main():
    server = ControlServer(sys.argv[1], {"echo": echo})
    assert await server.start(), server.problem
    print(server.path, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await server.stop()

asyncio.run(main())
"""


FORK = """
import asyncio, os, sys
from django_update_pipeline.control import ControlServer

server = ControlServer(sys.argv[1], {})

async def child(parents):
    await server.stop()
    await server.start()
    print("child", len(set(server.path.parent.iterdir()) - {parents}), parents.exists(), flush=True)
    await server.stop()

async def main():
    await server.start()
    path = server.path
    pid = os.fork()
    if pid == 0:
        asyncio.run(child(path))
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent", list(path.parent.iterdir()) == [path], flush=True)
    await server.stop()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, with a path short enough for sockets."""
    base = tempfile.mkdtemp(prefix="dup-", dir="/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", base)
    yield Path(base) / f"django-update-pipeline-{os.getuid()}"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def only_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No other folder to fall back to."""
    monkeypatch.setattr(sockets, "candidate_directories", lambda: (folder,))
    monkeypatch.setattr(server, "candidate_directories", lambda: (folder,))
    return folder


@pytest.fixture
def spawn() -> Iterator[Callable[..., tuple[subprocess.Popen[str], Path]]]:
    """Starts servers in processes of their own, and ends them."""
    running: list[subprocess.Popen[str]] = []

    def start(project: str = PROJECT) -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, project], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@contextlib.asynccontextmanager
async def serving(handlers: dict[str, Any], **options: Any) -> AsyncIterator[ControlServer]:
    control = ControlServer(PROJECT, handlers, **options)
    assert await control.start(), control.problem
    try:
        yield control
    finally:
        await control.stop()


async def echo(**params: Any) -> dict[str, Any]:
    return params


async def until_idle(control: ControlServer) -> None:
    async with asyncio.timeout(10):
        while control._connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ask(command: str, **params: Any) -> Any:
    """One call from another thread, as a command would make it."""

    def call() -> Any:
        with ControlClient.connect(PROJECT, timeout_s=5) as client:
            return client.call(command, **params)

    return await asyncio.to_thread(call)


def test_a_command_reaches_a_server_in_another_process(spawn):
    process, _ = spawn()
    with ControlClient.connect(PROJECT) as client:
        assert client.pid == process.pid
        assert client.commands == ("echo",)
        assert client.call("echo", text="ünï\u2028\n", n=[1, None]) == {
            "pid": process.pid,
            "params": {"text": "ünï\u2028\n", "n": [1, None]},
        }
        assert client.call("echo", command="x", self=1)["params"] == {"command": "x", "self": 1}


def test_without_a_server_the_error_says_what_to_do():
    with pytest.raises(ServerUnreachable, match="no running server of villa"):
        ControlClient.connect(PROJECT)
    assert ControlClient.connect_all(PROJECT) == []


def test_projects_do_not_meet(spawn):
    spawn("another.settings:/srv/another")
    with pytest.raises(ServerUnreachable):
        ControlClient.connect(PROJECT)


def test_all_servers_of_a_project_are_found(spawn):
    pids = {spawn()[0].pid, spawn()[0].pid}
    clients = ControlClient.connect_all(PROJECT)
    try:
        assert {client.call("echo")["pid"] for client in clients} == pids
    finally:
        for client in clients:
            client.close()
    for pid in pids:
        with ControlClient.connect(PROJECT, pid=pid) as client:
            assert client.call("echo")["pid"] == pid
    with pytest.raises(ServerUnreachable, match="with pid 1 "):
        ControlClient.connect(PROJECT, pid=1)


def test_the_folder_and_the_socket_are_private(spawn, folder):
    _, path = spawn()
    assert path.parent == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_server_that_stops_leaves_nothing(spawn):
    process, path = spawn()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(10) == 0
    assert not path.exists()


def test_a_killed_server_is_not_found_and_its_socket_is_cleared(spawn):
    process, path = spawn()
    client = ControlClient.connect(PROJECT)
    process.kill()
    process.wait()
    assert path.exists()
    with client, pytest.raises(ServerUnreachable, match="ended the connection"):
        client.call("echo")
    with pytest.raises(ServerUnreachable):
        ControlClient.connect(PROJECT)
    assert not path.exists()


def test_a_new_server_clears_what_dead_ones_of_any_project_left(spawn):
    process, path = spawn("another.settings:/srv/another")
    process.kill()
    process.wait()
    assert path.exists()
    spawn()
    assert not path.exists()


def test_a_dead_socket_whose_pid_lives_again_is_cleared_once_it_is_old(folder):
    """A pid is reused, or belongs to another container: that nobody listens is what counts."""
    folder.mkdir(mode=0o700)
    path = folder / f"{sockets._prefix(PROJECT)}-{os.getpid()}-0a1b2c3d.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ServerUnreachable):
        ControlClient.connect(PROJECT)
    assert path.exists(), "it may be just between bind() and listen()"
    os.utime(path, (time.time() - 60, time.time() - 60))
    with pytest.raises(ServerUnreachable):
        ControlClient.connect(PROJECT)
    assert not path.exists()


def test_a_stopped_server_costs_the_timeout_and_the_others_still_answer(spawn):
    stuck, _ = spawn()
    stuck.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ControlTimeout, match=f"pid {stuck.pid}"):
        ControlClient.connect(PROJECT, timeout_s=0.3)
    assert 0.25 < time.monotonic() - began < 2
    well, _ = spawn()
    with ControlClient.connect(PROJECT, timeout_s=30) as client:
        assert client.call("echo")["pid"] == well.pid
    began = time.monotonic()
    clients = {client.pid: client for client in ControlClient.connect_all(PROJECT, timeout_s=0.5)}
    assert time.monotonic() - began < 2
    try:
        assert clients[well.pid].has_answered
        assert not clients[stuck.pid].has_answered
        assert clients[well.pid].call("echo")["pid"] == well.pid
        with pytest.raises(ControlTimeout):
            clients[stuck.pid].call("echo")
        stuck.send_signal(signal.SIGCONT)
        clients[stuck.pid].timeout_s = 10
        assert clients[stuck.pid].call("echo", n=2) == {"pid": stuck.pid, "params": {"n": 2}}, (
            "not the late answer"
        )
    finally:
        for client in clients.values():
            client.close()


def test_a_server_stopped_within_a_call_costs_that_calls_timeout(spawn):
    process, _ = spawn()
    with ControlClient.connect(PROJECT, timeout_s=0.3) as client:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(ControlTimeout, match="stopped or stuck"):
            client.call("echo")


def test_a_request_too_large_is_refused_before_it_is_sent(spawn):
    spawn()
    with ControlClient.connect(PROJECT) as client:
        with pytest.raises(ControlError, match="the limit is 1048576"):
            client.call("echo", text="x" * 1024 * 1024)
        assert client.call("echo", text="x" * 1_000_000)["params"]["text"] == "x" * 1_000_000


def test_an_oversized_line_ends_only_its_own_connection(spawn):
    _, path = spawn()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(path))
        received = bytearray()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(b"x" * 3 * 1024 * 1024)
        with contextlib.suppress(ConnectionResetError):
            while data := raw.recv(65536):
                received += data
    assert b'"hello"' in received
    assert b'"too_large"' in received
    with ControlClient.connect(PROJECT) as client:
        assert client.call("echo", n=1)["params"] == {"n": 1}


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b'{"id":1}', b'{"id":"1","command":"echo"}', b"\xff", b"[" * 9999]
)
def test_a_line_that_is_no_request_is_answered_with_an_error(spawn, line):
    _, path = spawn()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(path))
        raw.sendall(line + b"\n" + b'{"id":7,"command":"echo","params":{}}\n')
        lines = raw.makefile("rb")
        assert "hello" in json.loads(lines.readline())
        assert json.loads(lines.readline())["error"]["code"] == "invalid_request"
        assert json.loads(lines.readline())["id"] == 7
        lines.close()


async def test_failures_of_a_handler_are_answers_and_are_counted(caplog):
    async def breaks() -> None:
        raise ZeroDivisionError("by zero")

    async def refuses() -> None:
        raise ActionRefused("the pool is closed \ud800", code="closed")

    async def hangs() -> None:
        await asyncio.sleep(3600)

    async def unsendable() -> object:
        return object()

    async def too_much() -> str:
        return "x" * 1024 * 1024

    handlers = {
        "breaks": breaks,
        "refuses": refuses,
        "hangs": hangs,
        "unsendable": unsendable,
        "too_much": too_much,
    }
    async with serving({**handlers, "echo": echo}, handler_timeout_s=0.05) as control:
        for command, code, text in [
            ("breaks", "failed", "ZeroDivisionError: by zero"),
            ("refuses", "closed", r"the pool is closed \\ud800"),
            ("hangs", "timeout", "0.05 s"),
            ("unsendable", "failed", "object"),
            ("too_much", "too_large", "the limit is"),
            ("drop", "unknown_command", "use one of breaks, echo"),
            ("__class__", "unknown_command", "use one of"),
        ]:
            with pytest.raises(CommandFailed, match=text) as caught:
                await ask(command)
            assert caught.value.code == code
            assert caught.value.pid == os.getpid()
        with pytest.raises(CommandFailed, match="unexpected keyword") as caught:
            await ask("hangs", n=1)
        assert caught.value.code == "invalid_params"
        assert control.failures == 3
        assert await ask("echo", n=1) == {"n": 1}
    assert sorted(record.levelname for record in caplog.records) == ["ERROR", "ERROR", "WARNING"]


async def test_a_slow_command_does_not_delay_another_connection():
    release = asyncio.Event()

    async def slow() -> str:
        await release.wait()
        return "done"

    async with serving({"slow": slow, "echo": echo}):
        waiting = asyncio.create_task(ask("slow"))
        assert await ask("echo", n=1) == {"n": 1}
        assert not waiting.done()
        release.set()
        assert await waiting == "done"


async def test_start_and_stop_can_be_repeated_and_end_open_connections(folder):
    control = ControlServer(PROJECT, {"echo": echo})
    assert await asyncio.gather(control.start(), control.start()) == [True, True]
    assert len(list(folder.iterdir())) == 1
    client = await asyncio.to_thread(ControlClient.connect, PROJECT)
    await control.stop()
    await control.stop()
    assert list(folder.iterdir()) == []
    with pytest.raises(ServerUnreachable), client:
        await asyncio.to_thread(client.call, "echo")
    assert await control.start()
    assert await ask("echo", n=2) == {"n": 2}
    await control.stop()


def test_a_server_can_start_again_on_another_loop(folder):
    """Also where the first loop ended without stop()."""
    control = ControlServer(PROJECT, {"echo": echo})

    async def once(stop: bool) -> Any:
        assert await control.start()
        answer = await ask("echo", n=3)
        if stop:
            await control.stop()
        return answer

    assert asyncio.run(once(stop=False)) == {"n": 3}
    assert asyncio.run(once(stop=True)) == {"n": 3}
    assert list(folder.iterdir()) == []


async def test_a_command_may_stop_the_server():
    control = ControlServer(PROJECT, {})

    async def leave() -> str:
        await control.stop()
        return "bye"

    control.handlers = {"leave": leave}
    assert await control.start()
    with await asyncio.to_thread(ControlClient.connect, PROJECT) as client:
        assert await asyncio.to_thread(client.call, "leave") == "bye"
        with pytest.raises(ServerUnreachable):
            await asyncio.to_thread(client.call, "leave")
    with pytest.raises(ServerUnreachable):
        await ask("leave")


def test_a_fork_leaves_the_parents_socket_alone(folder):
    """The child, with what it inherited, listens on a socket of its own and removes only that."""
    ended = subprocess.run([sys.executable, "-c", FORK, PROJECT], capture_output=True, text=True, timeout=30)
    assert (ended.stdout, ended.returncode) == ("child 1 True\nparent True\n", 0), ended.stderr


async def test_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with serving({"echo": echo}) as control:
        clients = [await asyncio.to_thread(ControlClient.connect, PROJECT) for _ in range(2)]
        with pytest.raises(ServerUnreachable, match="connections are open"):
            await asyncio.to_thread(ControlClient.connect, PROJECT)
        for client in clients:
            client.close()
        await until_idle(control)
        assert await ask("echo", n=5) == {"n": 5}


async def test_a_silent_connection_ends():
    async with serving({"echo": echo}, idle_timeout_s=0.05) as control:
        client = await asyncio.to_thread(ControlClient.connect, PROJECT)
        await until_idle(control)
        with pytest.raises(ServerUnreachable), client:
            await asyncio.to_thread(client.call, "echo")


async def test_another_user_is_refused(monkeypatch, caplog):
    monkeypatch.setattr(server, "is_own_user", lambda connection: False)
    async with serving({"echo": echo}):
        with pytest.raises(ServerUnreachable):
            await ask("echo")
    assert "another user" in caplog.text


def test_the_kernel_says_who_connects():
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        assert sockets.is_own_user(one)


@pytest.mark.parametrize("wrong", ["symlink", "file", "mode", "long", "full"])
async def test_a_folder_that_cannot_be_trusted_is_not_used_and_the_service_goes_on(
    wrong, only_folder, tmp_path, monkeypatch, caplog
):
    if wrong == "symlink":
        tmp_path.chmod(0o700)
        only_folder.symlink_to(tmp_path)
    elif wrong == "file":
        only_folder.write_text("")
    elif wrong == "mode":
        only_folder.mkdir()
        only_folder.chmod(0o755)
    elif wrong == "long":
        monkeypatch.setattr(server, "candidate_directories", lambda: (only_folder / ("x" * 80),))
    else:
        monkeypatch.setattr(
            os, "mkdir", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
    control = ControlServer(PROJECT, {"echo": echo})
    with caplog.at_level(logging.WARNING):
        assert not await control.start()
        assert not await control.start()
    await control.stop()
    assert control.failures == 2
    assert control.problem
    assert caplog.text.count("Management commands can't reach this process") == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ServerUnreachable) as caught:
        await ask("echo")
    reasons = {
        "symlink": "not a folder",
        "file": "not a folder",
        "mode": "open to others",
        "long": "longer than",
    }
    assert reasons.get(wrong, "No space left") in control.problem
    if wrong in ("symlink", "file", "mode"):
        assert str(only_folder) in control.problem
        assert str(only_folder) in str(caught.value)


async def test_a_folder_of_another_user_is_not_used(only_folder, monkeypatch):
    only_folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    control = ControlServer(PROJECT, {})
    assert not await control.start()
    assert "belongs to user" in (control.problem or "")


async def test_a_folder_that_cannot_be_used_is_passed_over_for_the_next(folder, tmp_path, monkeypatch):
    """A client finds the server whatever its own environment says."""
    folder.symlink_to(tmp_path)
    fallback = tempfile.mkdtemp(prefix="dup-", dir="/tmp")
    monkeypatch.setenv("TMPDIR", fallback)
    try:
        async with serving({"echo": echo}) as control:
            assert control.path is not None
            assert control.path.parent == Path(fallback) / folder.name
            assert await ask("echo", n=6) == {"n": 6}
            monkeypatch.delenv("XDG_RUNTIME_DIR")
            assert await ask("echo", n=6) == {"n": 6}
    finally:
        shutil.rmtree(fallback)


def test_a_server_that_talks_something_else_is_an_error(folder):
    folder.mkdir(mode=0o700)
    path = folder / f"{sockets._prefix(PROJECT)}-{os.getpid()}-0a1b2c3d.sock"
    for said, complaint in [
        (b"HTTP/1.1 200 OK\r\n\n", "something else than an answer"),
        (b'{"id":1}\n', "no greeting"),
        (b"x" * (1024 * 1024 + 70_000), "more than 1048576 bytes"),
    ]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def talk(listener: socket.socket = listener, said: bytes = said) -> None:
                with listener.accept()[0] as connection, contextlib.suppress(OSError):
                    connection.sendall(said)

            thread = threading.Thread(target=talk)
            thread.start()
            with pytest.raises(ServerUnreachable, match=complaint):
                ControlClient.connect(PROJECT)
            thread.join()
        path.unlink()


def test_a_server_that_takes_no_more_connections_costs_nothing(folder):
    folder.mkdir(mode=0o700)
    path = folder / f"{sockets._prefix(PROJECT)}-{os.getpid()}-0a1b2c3d.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            waiting.connect_ex(str(path))
        began = time.monotonic()
        with pytest.raises(ServerUnreachable, match=f"pid {os.getpid()} can't be reached"):
            ControlClient.connect(PROJECT, timeout_s=0.5)
        assert time.monotonic() - began < 0.5
        assert path.exists()


def test_the_key_of_a_project_is_its_settings_and_their_folder(settings, tmp_path):
    settings.BASE_DIR = str(tmp_path)
    key = project_key()
    assert key.endswith(f":{tmp_path.resolve()}")
    assert key.startswith("tests.settings:")
    settings.BASE_DIR = None
    assert project_key() != key


def test_a_named_folder_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two set-ups of one project on one host: a command meant for one once reached the other."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", str(tmp_path / "mine"))
    (folder,) = sockets.candidate_directories()
    assert folder.parent == tmp_path / "mine"
