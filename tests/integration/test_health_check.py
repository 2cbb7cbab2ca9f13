"""The checks for django-health-check, through its own view."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from health_check.views import HealthCheckView

from django_update_pipeline import get_update_pipeline
from django_update_pipeline.health_check import PipelineHealth, PipelineReady
from django_update_pipeline.service import current_pipeline, reset_update_pipeline

ROOT = Path(__file__).resolve().parents[2]
BY_PATH = ["django_update_pipeline.health_check.PipelineReady"]


@pytest.fixture(autouse=True)
def _own_pipeline() -> Iterator[None]:
    reset_update_pipeline()
    yield
    reset_update_pipeline()


async def asked(checks: list[Any]) -> tuple[int, dict[str, str]]:
    """The view's status and what it says of each check."""
    view = HealthCheckView.as_view(checks=checks)
    response = await view(RequestFactory().get("/", {"format": "json"}))
    return response.status_code, json.loads(response.content)


async def test_without_a_pipeline_nothing_is_ready_and_none_is_made() -> None:
    status, told = await asked([*BY_PATH, PipelineHealth])
    assert status == 500
    assert len(told) == 2
    assert all("pipeline is not" in text for text in told.values())
    assert current_pipeline() is None


async def test_a_running_pipeline_is_ready_and_well() -> None:
    async with get_update_pipeline():
        status, told = await asked([*BY_PATH, PipelineHealth, (PipelineHealth, {"fail_below": 100})])
    assert status == 200
    assert set(told.values()) == {"OK"}
    assert len(told) == 3


async def test_an_open_breaker_is_not_ready_and_degraded() -> None:
    pipeline = get_update_pipeline()
    async with pipeline:
        pipeline.circuit_breaker.force_open("for the test")
        assert (await asked(BY_PATH))[0] == 500
        assert (await asked([PipelineHealth]))[0] == 200  # 55 is degraded, not critical
        status, told = await asked([(PipelineHealth, {"fail_below": 80})])
        assert status == 500
        [text] = told.values()
        assert text.endswith("the update pipeline is degraded")
        status, told = await asked([(PipelineHealth, {"fail_below": 80, "names_causes": True})])
        [text] = told.values()
        assert text.endswith("the update pipeline is degraded: breaker_open")
        pipeline.reset_circuit_breaker()


async def test_what_the_public_is_told_names_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Not the issue's text, a plugin, a host or a figure."""

    class Check:
        name = "secret_plugin"

        def check(self) -> str | None:
            return "db-7.internal is down"

    pipeline = get_update_pipeline()
    pipeline.health_checks.append(Check())
    async with pipeline:
        status, told = await asked([(PipelineHealth, {"fail_below": 80})])
    assert status == 500
    shown = json.dumps(told)
    assert "secret" not in shown
    assert "db-7" not in shown


async def test_the_checks_run_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of a plugin that takes its time must not hold up the loop that serves everybody."""
    threads: list[int] = []
    pipeline = get_update_pipeline()
    monkeypatch.setattr(
        pipeline,
        "get_health_status",
        lambda: threads.append(threading.get_ident()) or {"health_score": 100, "deductions": {}},
    )
    async with pipeline:
        await PipelineHealth().get_result()
    assert threads
    assert threads[0] != threading.get_ident()
    assert not asyncio.iscoroutinefunction(PipelineReady.run)


def test_the_package_needs_no_health_check() -> None:
    program = """
import sys
sys.modules["health_check"] = None  # as if it were not installed
import django; django.setup()
import django_update_pipeline.service, django_update_pipeline.routing
try:
    import django_update_pipeline.health_check
except ImportError as error:
    print("ImportError" in type(error).__name__ or "health_check" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "True", done.stderr


def test_the_package_needs_no_prometheus() -> None:
    program = """
import sys, importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("prometheus") else real(name, *rest)
sys.modules["prometheus_client"] = None
import django; django.setup()
from django_update_pipeline import get_update_pipeline
from django_update_pipeline.service import reset_update_pipeline
get_update_pipeline().queue_agent_update("lamp", data={})
reset_update_pipeline()
print("served")
"""
    for more in ({}, {"PROMETHEUS_MULTIPROC_DIR": "/nowhere"}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT), **more},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.strip() == "served", done.stderr
