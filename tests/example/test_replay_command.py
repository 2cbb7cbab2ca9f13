"""`replay_simulation`: what it reads, what it refuses, and what it shows while it plays."""

from __future__ import annotations

import io
import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dating_show.management.commands import replay_simulation
from dating_show.management.commands.replay_simulation import Progress, speed, steps_range
from django_update_pipeline.control import CommandFailed, ServerUnreachable
from django_update_pipeline.core.recording import RecordedStep

pytestmark = pytest.mark.usefixtures("example_settings")

MOVED = {
    "movement": [1, 2],
    "pronunciatio": "x",
    "description": "reading @ the Ville:cafe:room:desk",
    "chat": None,
}


class FakeClient:
    """Takes calls instead of a server."""

    calls: list[tuple[str, dict[str, Any]]]
    error: Exception | None = None

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, command: str, /, **params: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.calls.append((command, params))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient()
    client.calls = []
    monkeypatch.setattr(replay_simulation.ControlClient, "connect", classmethod(lambda cls: client))
    return client


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.json"
    path.write_text(
        json.dumps({"0": {"Maria": MOVED}, "1": {}, "2": {"Klaus": MOVED, "Maria": MOVED}, "3": {}})
    )
    return path


def run(path: Path | str, *arguments: str) -> str:
    output = io.StringIO()
    call_command("replay_simulation", str(path), *arguments, stdout=output)
    return output.getvalue()


def test_each_step_with_changes_is_one_call_with_the_parsed_movements(
    server: FakeClient, recording: Path
) -> None:
    output = run(recording, "--speed", "0")
    assert [(command, params["action"], params["params"]["step"]) for command, params in server.calls] == [
        ("action", "replay_step", 0),
        ("action", "replay_step", 2),
    ]
    movements = server.calls[1][1]["params"]["movements"]
    assert movements.keys() == {"Klaus", "Maria"}
    assert movements["Klaus"]["activity"] == "reading"
    assert movements["Klaus"]["place"]["sector"] == "cafe"
    assert "Played 3 changes in 4 steps." in output


def test_the_folder_form_is_read_too(server: FakeClient, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "movement"
    folder.mkdir(parents=True)
    for step in (0, 10, 2):
        (folder / f"{step}.json").write_text(json.dumps({"persona": {"Maria": MOVED}, "meta": {}}))
    run(tmp_path / "run", "--speed", "0")
    assert [params["params"]["step"] for _, params in server.calls] == [0, 2, 10]


def test_only_the_wanted_steps_are_played(server: FakeClient, recording: Path) -> None:
    run(recording, "--speed", "0", "--steps", "1:3")
    assert [params["params"]["step"] for _, params in server.calls] == [2]


def test_guests_leave_at_the_end_when_asked_to(server: FakeClient, recording: Path) -> None:
    run(recording, "--speed", "0", "--leave")
    assert server.calls[-1][1]["action"] == "replay_end"


def test_the_speed_sets_how_long_a_step_lasts(
    server: FakeClient, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten simulated seconds a step: at 20 times, two steps on is one second later."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(replay_simulation.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(replay_simulation.time, "sleep", sleep)
    played: list[float] = []
    monkeypatch.setattr(FakeClient, "call", lambda self, command, /, **params: played.append(now[0] - 100))
    run(recording, "--speed", "20")
    assert played == [0.0, 1.0]
    assert now[0] - 100 == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("text", "steps"), [("3:7", (3, 7)), ("3:", (3, None)), (":7", (0, 7)), ("3", (3, 4)), (":", (0, None))]
)
def test_a_range_of_steps_is_read(text: str, steps: tuple[int, int | None]) -> None:
    assert steps_range(text) == steps


@pytest.mark.parametrize("text", ["a:b", "7:3", "3:3", "-1:3", "1:2:3", ""])
def test_what_is_no_range_of_steps_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"step"):
        steps_range(text) if text else steps_range("0:0")


@pytest.mark.parametrize("text", ["-1", "fast", "nan", "inf"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="speed"):
        speed(text)


def test_a_missing_file_is_named(server: FakeClient, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no recording at .*nowhere\.json"):
        run(tmp_path / "nowhere.json")


def test_a_folder_without_steps_is_named(server: FakeClient, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no recording at"):
        run(tmp_path)


def test_a_file_that_is_no_recording_is_refused_with_the_place(server: FakeClient, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"0": {"Maria": {"movement": "left"}}}')
    with pytest.raises(CommandError, match=r"not a recording: .*step 0.*Maria"):
        run(path)


def test_steps_that_are_not_there_are_refused_with_the_last_one(server: FakeClient, recording: Path) -> None:
    with pytest.raises(CommandError, match="last recorded one is 3"):
        run(recording, "--steps", "90:")


def test_without_a_running_server_it_says_how_to_start_one(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(cls: Any) -> Any:
        raise ServerUnreachable("no running server")

    monkeypatch.setattr(replay_simulation.ControlClient, "connect", classmethod(connect))
    with pytest.raises(CommandError, match="runserver 8001"):
        run(recording)


def test_a_refused_step_is_told_with_the_servers_words(server: FakeClient, recording: Path) -> None:
    server.error = CommandFailed("no more than 200 guests", code="bad_params", pid=1)
    with pytest.raises(CommandError, match="200 guests"):
        run(recording, "--speed", "0")


STEP = RecordedStep(7, {})


def test_on_a_terminal_the_bar_is_drawn_over_and_ends_full() -> None:
    written: list[tuple[str, str]] = []
    now = [0.0]
    progress = Progress(
        lambda text, ending="\n": written.append((text, ending)), 100, is_terminal=True, clock=lambda: now[0]
    )
    for done in range(101):
        now[0] = done * 0.05
        progress.show(done, STEP, done)
    progress.end()
    bars = [text for text, ending in written if ending == ""]
    assert 40 <= len(bars) <= 60, "no more than ten a second, and the last"
    assert all(bar.startswith("\r[") for bar in bars)
    assert "100 %" in bars[-1]
    assert "." not in bars[-1].partition("]")[0]
    assert "0:02 left" in bars[len(bars) // 2]
    assert written[-1] == ("", "\n")


def test_elsewhere_each_tenth_is_a_plain_line() -> None:
    lines: list[str] = []
    progress = Progress(lambda text, ending="\n": lines.append(text), 1000, is_terminal=False)
    for done in range(1001):
        progress.show(done, STEP, done)
    progress.end()
    assert len(lines) == 10
    assert not any("\r" in line for line in lines)
    assert lines[-1].startswith("100 %")
