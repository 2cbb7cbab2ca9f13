"""`manage.py replay_simulation PATH`: plays a Generative Agents recording into the running villa."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_update_pipeline.control import CommandFailed, ControlClient, ControlError
from django_update_pipeline.core.recording import RecordedStep, RecordingError
from django_update_pipeline.plugins.sources import movement_state, read_recording

STEP_S = 10.0
"""Simulated seconds of one recorded step."""

WIDTH = 28


def steps_range(text: str) -> tuple[int, int | None]:
    """`A:B`, `A:` or `:B` as first step and the step to stop before; one number is that step alone."""
    first, colon, last = text.partition(":")
    try:
        start = int(first) if first else 0
        stop = (int(last) if last else None) if colon else start + 1
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not A:B, two step numbers") from None
    if start < 0 or (stop is not None and stop <= start):
        raise ArgumentTypeError(f"{text!r} holds no step: A:B begins at A and ends before B")
    return start, stop


def speed(text: str) -> float:
    """A number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no speed: a number from 0 on, 0 as fast as it goes")
    return value


class Command(BaseCommand):
    """Reads the recording here and sends it, step by step, to the server that runs the villa."""

    help = (
        "Plays a Generative Agents recording (one file, or a folder with movement/<n>.json) into the running "
        "villa, where its agents appear as guests. The first hours of a recording are night: --steps 2200: "
        "begins in the morning."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", help="the recording: a file, or a folder")
        parser.add_argument(
            "--speed",
            type=speed,
            default=20.0,
            help="how many times faster than recorded; 0 is as fast as it goes (default: %(default)s)",
        )
        parser.add_argument(
            "--steps",
            type=steps_range,
            default=(0, None),
            metavar="A:B",
            help="only from step A to before step B",
        )
        parser.add_argument("--leave", action="store_true", help="the guests leave when the recording ends")

    def handle(self, *args: Any, path: str, **options: Any) -> None:
        steps = self._read(path, *options["steps"])
        try:
            with ControlClient.connect() as client:
                played = self._play(client, steps, options["speed"])
                if options["leave"]:
                    client.call("action", agent_id="villa", action="replay_end", params={})
        except CommandFailed as error:
            raise CommandError(f"The server refused a step: {error}") from error
        except ControlError as error:
            raise CommandError(
                f"{error}\nStart the villa first, in the same folder and as the same user: "
                "python manage.py runserver 8001"
            ) from error
        self.stdout.write(f"Played {played} changes in {len(steps)} steps.")

    def _read(self, path: str, start: int, stop: int | None) -> list[RecordedStep]:
        try:
            recording = read_recording(path)
        except RecordingError as error:
            raise CommandError(f"This is not a recording: {error}") from error
        except FileNotFoundError as error:
            raise CommandError(f"There is no recording at {path}: {error}") from error
        except OSError as error:
            raise CommandError(f"The recording can't be read: {error}") from error
        steps = [
            step for step in recording.steps if step.step >= start and (stop is None or step.step < stop)
        ]
        if not steps:
            last = recording.steps[-1].step if recording.steps else "none"
            raise CommandError(
                f"No step from {start} to {stop or 'the end'}; the last recorded one is {last}."
            )
        return steps

    def _play(self, client: ControlClient, steps: list[RecordedStep], times: float) -> int:
        progress = Progress(self.stdout.write, len(steps), is_terminal=self.stdout.isatty())
        began = time.monotonic()
        first = steps[0].step
        played = 0
        try:
            for index, step in enumerate(steps):
                if times:
                    due = began + (step.step - first) * STEP_S / times
                    while (left := due - time.monotonic()) > 0:
                        progress.show(index, step, played)
                        time.sleep(min(left, 0.5))
                if step.agents:
                    movements = {name: movement_state(movement) for name, movement in step.agents.items()}
                    client.call(
                        "action",
                        agent_id="villa",
                        action="replay_step",
                        params={"step": step.step, "movements": movements},
                    )
                    played += len(movements)
                progress.show(index + 1, step, played)
        except KeyboardInterrupt:
            progress.end()
            self.stderr.write(f"Stopped at step {step.step}; the guests stay where they are.")
            sys.exit(130)
        progress.end()
        return played


class Progress:
    """How far it is: a bar that is drawn over on a terminal, else a line for each tenth.

    Args:
        write: called with text and `ending=""` or `ending="\\n"`.
        total: how many steps there are.
        is_terminal: whether a line can be drawn over.
        clock: steady seconds.
    """

    def __init__(
        self,
        write: Callable[..., object],
        total: int,
        *,
        is_terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._total = total
        self._is_terminal = is_terminal
        self._clock = clock
        self._began = clock()
        self._drawn_at = float("-inf")
        self._tenth = 0

    def show(self, done: int, step: RecordedStep, played: int) -> None:
        """Shows that `done` steps are played; `step` is the one at hand, `played` the changes sent so far."""
        share = done / self._total
        if not self._is_terminal:
            tenth = int(10 * share)
            if tenth > self._tenth:
                self._tenth = tenth
                self._write(f"{10 * tenth:3d} %  step {step.step}, {played} changes")
            return
        now = self._clock()
        if now - self._drawn_at < 0.1 and done < self._total:
            return
        self._drawn_at = now
        filled = int(WIDTH * share)
        left = (now - self._began) * (1 - share) / share if share > 0 else None
        self._write(
            f"\r[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * share:3.0f} %  step {step.step}, "
            f"{played} changes, {_duration(left)} left ",
            ending="",
        )

    def end(self) -> None:
        """Leaves the bar as it is and begins a new line."""
        if self._is_terminal:
            self._write("")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
