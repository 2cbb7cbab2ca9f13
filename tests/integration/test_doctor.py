"""`manage.py pipeline_doctor`: each thing it can find is brought about once, and a served project is well."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.management import call_command

from django_update_pipeline.management.doctor import Examination, Finding, project, worst
from django_update_pipeline.management.doctor.door import in_process
from django_update_pipeline.routing import with_update_pipeline
from tests.docs.markdown import ROOT

Report = dict[str, list[dict[str, str]]]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder for control sockets that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="up-"))
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def visit(*arguments: str) -> tuple[int, Report, str]:
    """Exit code, findings by examination, and the worst level."""
    out = io.StringIO()
    code = 0
    try:
        call_command("pipeline_doctor", "--json", *arguments, stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    report = json.loads(out.getvalue())
    return code, report["examinations"], report["worst"]


def texts(report: Report, examination: str) -> str:
    return "\n".join(f"{one['level']}: {one['text']} -> {one['mend']}" for one in report[examination])


# in this process


def test_a_project_that_is_not_served_is_told_what_was_not_tried(runtime: Path) -> None:
    code, report, level = visit()
    assert "came through the door" in texts(report, "The door, in this process")
    assert "note: no running server of " in texts(report, "Servers")
    assert "note: no real socket" in texts(report, "A real socket")
    # Tests run without DEBUG on the memory transport, which `check --deploy` has a word on.
    assert (code, level) == (1, "warning")
    assert "W003" in texts(report, "Settings")


def test_every_finding_that_is_not_good_has_a_mend(runtime: Path, settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"BATCHING": {"max_batch_size": "x"}}
    settings.ASGI_APPLICATION = None
    code, report, _ = visit()
    assert code == 2
    assert "E001" in texts(report, "Settings")
    assert "not tried" in texts(report, "The door, in this process")
    for findings in report.values():
        for one in findings:
            assert one["mend"] or one["level"] in ("good", "note")


def test_the_screen_says_what_the_json_says(runtime: Path) -> None:
    out = io.StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("pipeline_doctor", stdout=out, no_color=True)
    screen = out.getvalue()
    assert end.value.code == 1
    assert "  warning django_update_pipeline.W003" in screen
    assert "          -> " in screen
    assert screen.rstrip().endswith("0 error(s) and 1 warning(s) to mend.")


def test_an_examination_that_fails_is_a_finding_and_the_others_go_on() -> None:
    def look() -> Iterator[Finding]:
        yield Finding("good", "so far")
        raise RuntimeError("the disk is gone")

    findings = list(Examination("Disk", look).findings())
    assert [one.level for one in findings] == ["good", "error"]
    assert "the disk is gone" in findings[1].text
    assert worst(findings) == "error"
    assert worst([]) == "good"


@pytest.mark.parametrize(
    ("hosts", "level"),
    [
        (["*"], "good"),
        ([".example.com"], "good"),
        (["app.example.com"], "good"),
        (["[::1]"], "good"),
        (["bücher.example"], "error"),
        ([], "error"),
    ],
)
def test_the_door_is_tried_by_a_host_that_is_allowed(settings: Any, hosts: list[str], level: str) -> None:
    settings.ALLOWED_HOSTS = hosts
    (finding,) = Examination("door", lambda: in_process(5.0)).findings()
    assert finding.level == level


def test_a_door_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_update_pipeline.runtime.pipeline import UpdatePipeline

    async def publish(*args: Any, **values: Any) -> None:
        import asyncio

        await asyncio.Event().wait()

    monkeypatch.setattr(UpdatePipeline, "publish", publish)
    (finding,) = in_process(0.2)
    assert finding.level == "error"
    assert "within 0.2 s" in finding.text


@pytest.mark.parametrize(
    ("name", "version", "level"),
    [
        ("daphne", "4.2.1", "error"),
        ("daphne", "4.2.2", None),
        ("daphne", "5.0a1", None),
        ("Django", "5.2.13", "error"),
        ("Django", "6.0.4", "error"),
        ("Django", "6.1", None),
        ("granian", "nonsense", "error"),
    ],
)
def test_versions_with_known_holes_are_errors(
    name: str, version: str, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "_installed", lambda asked: version if asked == name else None)
    findings = list(project.versions())[1:]
    assert [one.level for one in findings] == ([level] if level else [])
    assert all(f"{name}>=" in one.mend for one in findings)


def test_our_doors_are_found_in_what_wraps_them() -> None:
    application = with_update_pipeline(get_asgi_application(), "live/")
    assert project.find_doors(application) == {"/live/", "/live/admin/"}

    class Middleware:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

    assert project.find_doors(Middleware(Middleware(application))) == {"/live/", "/live/admin/"}
    assert project.find_doors(get_asgi_application()) == set()


@pytest.mark.channels
def test_our_consumers_are_found_behind_channels_routers() -> None:
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.urls import path

    from django_update_pipeline.consumers import UpdatePipelineConsumer

    routes = URLRouter([path("ws/mine/", UpdatePipelineConsumer.as_asgi())])
    application = ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(routes))})
    assert project.find_doors(application) == {"/ws/mine/"}


def test_an_application_without_our_door_is_a_warning(settings: Any) -> None:
    settings.ASGI_APPLICATION = "tests.integration.test_doctor.PLAIN"
    (finding,) = project.application()
    assert finding.level == "warning"
    settings.ASGI_APPLICATION = "no.such.module"
    findings = list(Examination("application", project.application).findings())
    assert findings[-1].level == "error"


PLAIN = object()


def test_a_low_limit_of_open_files_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    (finding,) = project.host_limits()
    assert finding.level == "note"
    assert "20200" in finding.mend
    assert "824" in finding.mend


def test_no_folder_for_commands_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPDATE_PIPELINE_RUNTIME_DIR", str(tmp_path / "file"))
    _, report, _ = visit()
    assert texts(report, "Commands").startswith("error: ")
    assert "UPDATE_PIPELINE_RUNTIME_DIR" in texts(report, "Commands")


# a server that runs


@contextlib.contextmanager
def served(runtime: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The test project, served by uvicorn in a process of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.set_inheritable(True)
        port = listener.getsockname()[1]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "django_update_pipeline.asgi:application"),
                *(f"--fd={listener.fileno()}", "--log-level=warning", *options),
            ],
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
        )
        try:
            folder = runtime / f"django-update-pipeline-{os.getuid()}"
            deadline = time.monotonic() + 60
            while not (folder.is_dir() and list(folder.glob("*.sock"))):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.05)
            yield process, port
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(30)


def test_a_served_project_is_visited_down_to_a_real_socket(runtime: Path) -> None:
    with served(runtime, "--ws-per-message-deflate", "false") as (process, port):
        url = f"ws://127.0.0.1:{port}/ws/updates/"
        code, report, _ = visit("--url", url)
        assert f"good: the server with pid {process.pid} is healthy" in texts(report, "Servers")
        assert f"good: an update went through pid {process.pid}" in texts(report, "A real socket")
        assert code == 1, "of the settings only"

        wrong = url.replace("/ws/updates/", "/nowhere/")
        assert "error: " in texts(visit("--url", wrong)[1], "A real socket")

        # Reached once, the server knows its address.
        assert url in texts(visit()[1], "A real socket")

        process.send_signal(signal.SIGSTOP)
        code, report, _ = visit("--timeout", "0.3")
        assert code == 2
        assert f"error: the server with pid {process.pid} does not answer" in texts(report, "Servers")
        assert f"py-spy dump --pid {process.pid}" in texts(report, "Servers"), "with what can be done"
        assert "no server that answers runs here" in texts(report, "A real socket")


def test_compression_is_told(runtime: Path) -> None:
    with served(runtime) as (_, port):
        _, report, _ = visit("--url", f"ws://127.0.0.1:{port}/ws/updates/")
        assert "warning: " in texts(report, "A real socket")
        assert "--ws-per-message-deflate false" in texts(report, "A real socket")


def test_an_address_of_nobody_is_an_error(runtime: Path) -> None:
    with served(runtime, "--ws-per-message-deflate", "false"):
        _, report, _ = visit("--url", "ws://127.0.0.1:9/ws/updates/", "--timeout", "1")
        assert "error: no socket at ws://127.0.0.1:9" in texts(report, "A real socket")
