"""Updates in a process where no pipeline runs: told once, and only where nobody will hear them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.runtime.unheard import PATIENCE_S, Unheard
from django_update_pipeline.testing import FaultyTransport, ManualClock

from .conftest import MakePipeline


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "they reach nobody" in record.getMessage()]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_who_goes_on_queueing_is_told_once(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = UpdatePipeline()
    unheard = Unheard(lambda: pipeline, clock.monotonic)
    for _ in range(5):
        unheard.queued()
        clock.advance(PATIENCE_S / 4)
    assert not warnings(caplog), "a server may start yet"
    for _ in range(5):
        clock.advance(1)
        unheard.queued()
    assert len(warnings(caplog)) == 1
    assert not unheard.is_watching


def test_what_is_left_at_the_end_is_told_of(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = UpdatePipeline()
    unheard = Unheard(lambda: pipeline, clock.monotonic)
    unheard.process_ends()
    assert not warnings(caplog), "nothing was queued"
    pipeline.queue_agent_update("a", data={})
    unheard.process_ends()
    (warning,) = warnings(caplog)
    assert "1 of them are gone" in warning


async def test_once_it_runs_nothing_is_watched_any_more(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = UpdatePipeline()
    unheard = Unheard(lambda: pipeline, clock.monotonic)
    async with pipeline:
        unheard.queued()
    pipeline.queue_agent_update("a", data={})
    unheard.process_ends()
    assert not unheard.is_watching
    assert not warnings(caplog)


def test_another_transport_is_none_of_its_business(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, make_pipeline: MakePipeline
) -> None:
    pipeline = make_pipeline(FaultyTransport())
    pipeline.queue_agent_update("a", data={})
    Unheard(lambda: pipeline, clock.monotonic).process_ends()
    Unheard(lambda: None, clock.monotonic).process_ends()
    assert not warnings(caplog)


PROGRAM = """
import logging, django
logging.basicConfig()
django.setup()
from django_update_pipeline import get_update_pipeline
get_update_pipeline().queue_agent_update("lamp", data={"on": True})
"""


def test_a_script_that_queues_and_ends_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("they reach nobody") == 1
