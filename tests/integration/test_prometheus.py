"""The metrics as Prometheus gets them: through django-prometheus' exporter, in one process."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from django_update_pipeline import UpdatePipeline, UpdatePriority, get_update_pipeline
from django_update_pipeline import metrics as our_metrics
from django_update_pipeline.core.config import config_from_mapping
from django_update_pipeline.metrics import exporter
from django_update_pipeline.metrics.families import BUCKETS_S, FAMILIES, LABELS
from django_update_pipeline.service import current_pipeline, reset_update_pipeline
from django_update_pipeline.testing import RecordingSocket

ROOT = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _own_pipeline() -> Iterator[None]:
    reset_update_pipeline()
    yield
    reset_update_pipeline()


def samples(text: str) -> Samples:
    """Every `update_pipeline_*` sample of an exposition, by name and labels; a series comes once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("update_pipeline_"):
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in found, key
                found[key] = sample.value
    return found


def of(source: Any) -> tuple[CollectorRegistry, exporter.PipelineCollector]:
    """A registry of its own with a collector of one pipeline."""
    registry = CollectorRegistry()
    collector = exporter.register_collector(source, registry)
    assert collector is not None
    return registry, collector


def scraped(registry: CollectorRegistry) -> Samples:
    return samples(generate_latest(registry).decode())


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"update_pipeline_{name}", tuple(sorted(labels.items()))]


async def test_django_prometheus_exports_the_process_s_pipeline() -> None:
    pipeline = get_update_pipeline()
    async with pipeline:
        before = samples((await asyncio.to_thread(Client().get, "/metrics")).content.decode())
        await pipeline.publish("lamp", data={"on": True}, priority=UpdatePriority.HIGH)
        response = await asyncio.to_thread(Client().get, "/metrics")
    assert response.status_code == 200
    found = samples(response.content.decode())
    delivered = {"priority": "high", "outcome": "delivered"}  # by other tests' pipelines of this process, too
    counted = value(found, "updates_settled_total", **delivered) - value(
        before, "updates_settled_total", **delivered
    )
    assert counted == 1
    assert value(found, "running") == 1
    assert value(found, "circuit_breaker_state", state="closed") == 1


def test_a_scrape_makes_no_pipeline_and_has_every_series() -> None:
    assert current_pipeline() is None
    found = samples(Client().get("/metrics").content.decode())
    assert current_pipeline() is None
    assert value(found, "running") == 0
    assert {name for name, _ in found} >= {
        family.name for family in FAMILIES.values() if family.kind != "histogram"
    }


async def test_what_is_counted_is_exported() -> None:
    """Every counter of the account, and gauges that are not 0."""
    pipeline = UpdatePipeline()
    registry, _ = of(lambda: pipeline)
    pipeline.queue_agent_update("lamp", data={"n": 1}, priority=UpdatePriority.LOW)
    pipeline.queue_agent_update("lamp", data={"n": 2}, priority=UpdatePriority.LOW)
    found = scraped(registry)
    assert value(found, "updates_accepted_total", priority="low") == 2
    assert value(found, "updates_settled_total", priority="low", outcome="conflated") == 1
    assert value(found, "updates_pending", priority="low") == 1
    assert value(found, "updates_queued_total") == 2
    assert value(found, "ready") == 0
    async with pipeline:
        await pipeline.register_websocket("one", RecordingSocket())
        await pipeline.publish("lamp", data={"n": 3}, priority=UpdatePriority.LOW)
        pipeline.websocket_manager.count_refusal("max_connections")
        pipeline.websocket_manager.count_refusal("a limit of tomorrow")
        pipeline._delivery.settling.burials["a reason of tomorrow"] = 2
        pipeline.circuit_breaker.force_open("for the test")
        found = scraped(registry)
        assert value(found, "connections") == 1
        assert value(found, "connections_opened_total") == 1
        assert value(found, "connections_refused_total", limit="max_connections") == 1
        assert value(found, "connections_refused_total", limit="other") == 1
        assert value(found, "dead_letters_total", reason="other") == 2
        assert value(found, "circuit_breaker_state", state="open") == 1
        assert value(found, "circuit_breaker_state", state="closed") == 0
        assert value(found, "circuit_breaker_openings_total") == 1
        assert value(found, "agents") == 1
        assert value(found, "running") == 1
        assert value(found, "ready") == 0
        assert value(found, "health_score") < 100
        for priority in LABELS["priority"]:
            settled = sum(
                value(found, "updates_settled_total", priority=priority, outcome=outcome)
                for outcome in LABELS["outcome"]
            )
            accepted = value(found, "updates_accepted_total", priority=priority)
            assert accepted == settled + value(found, "updates_pending", priority=priority)


def test_latencies_are_a_prometheus_histogram_since_the_start() -> None:
    pipeline = UpdatePipeline()
    registry, _ = of(lambda: pipeline)
    recorder = pipeline._monitor.latency
    for latency_s in (0.0004, 0.02, 0.02, 0.3, 9.0):
        recorder.record(UpdatePriority.NORMAL, latency_s)
        recorder.rotate()
    found = scraped(registry)
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in found.items()
        if name.endswith("delivery_latency_seconds_bucket") and ("priority", "normal") in labels
    }
    assert list(map(float, buckets)) == [*BUCKETS_S, float("inf")]
    assert list(buckets.values()) == [1, 1, 1, 1, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    assert value(found, "delivery_latency_seconds_count", priority="normal") == 5
    assert value(found, "delivery_latency_seconds_sum", priority="normal") == pytest.approx(9.3404)
    assert value(found, "delivery_latency_seconds_count", priority="low") == 0


@pytest.mark.slow
async def test_a_hundred_thousand_agents_many_channels_and_users_make_no_series() -> None:
    pipeline = UpdatePipeline(config_from_mapping({"queue": {"max_agents": 200_000}}))
    registry, _ = of(lambda: pipeline)
    before = set(scraped(registry))
    async with pipeline:
        for user in range(50):
            await pipeline.register_websocket(f"user_{user}", RecordingSocket(), {f"private_{user}"})
        for number in range(100_000):
            pipeline.queue_agent_update(f"agent_{number}", data={}, channels=(f"channel_{number % 500}",))
            if number % 10_000 == 0:
                await asyncio.sleep(0)
                pipeline.queue_agent_update(f"agent_{number}", f"event_{number}", {})
        during = set(scraped(registry))
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.05)
        found = scraped(registry)
    assert value(found, "agents") == 100_000
    assert before == during == set(found)
    assert len(found) < 300


async def test_counters_never_fall_through_stop_start_and_reset() -> None:
    registry, _ = of(current_pipeline)
    counters = {family.name for family in FAMILIES.values() if family.kind == "counter"}
    last: Samples = {}

    def look() -> Samples:
        nonlocal last
        found = scraped(registry)
        for key, now in found.items():
            if key[0] in counters or "latency_seconds" in key[0]:
                assert now >= last.get(key, 0.0), key
        last = found
        return found

    for round_ in range(1, 4):
        pipeline = get_update_pipeline()
        for _ in range(2):
            async with pipeline:
                await pipeline.publish("lamp", data={"round": round_})
                look()
            found = look()
        # Counted after the last scrape of this pipeline, and before the next one's first.
        async with pipeline:
            await pipeline.publish("lamp", data={"round": -round_})
        pipeline._monitor.latency.rotate()
        reset_update_pipeline()
        found = look()
        assert value(found, "updates_settled_total", priority="normal", outcome="delivered") == 3 * round_
        assert value(found, "delivery_latency_seconds_count", priority="normal") == 3 * round_
        assert value(found, "running") == 0


def test_a_second_registration_changes_nothing() -> None:
    assert REGISTRY._names_to_collectors["update_pipeline_running"] is not None
    registry, first = of(lambda: None)
    assert exporter.register_collector(lambda: None, registry) is None
    assert registry._names_to_collectors["update_pipeline_running"] is first
    assert our_metrics.register(current_pipeline)  # the default registry has it since django.setup()
    again = importlib.reload(exporter)
    assert again.register_collector(lambda: None, registry) is None
    assert registry._names_to_collectors["update_pipeline_running"] is first


@override_settings(UPDATE_PIPELINE={"NO_SUCH": 1})
def test_metrics_that_can_t_be_read_break_no_scrape(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()

    def source() -> UpdatePipeline:
        raise ValueError("forged\nline")

    collector = exporter.register_collector(source, registry)
    assert collector is not None
    assert [scraped(registry) for _ in range(5)] == [{}] * 5
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [
        f"the metrics could not be read ({count} time(s))" for count in (1, 2, 4)
    ]
    assert "forged\\nline" in lines[0]


def test_scrapes_at_once_count_nothing_twice() -> None:
    """Two threads that scrape while the pipeline is made anew both see the old one's counts once."""
    for _ in range(20):
        registry, _ = of(current_pipeline)
        get_update_pipeline().queue_agent_update("lamp", data={})
        scraped(registry)
        reset_update_pipeline()
        get_update_pipeline()
        seen: list[float] = []

        def look(registry: CollectorRegistry = registry, seen: list[float] = seen) -> None:
            seen.append(value(scraped(registry), "updates_queued_total"))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [1.0] * 4
        reset_update_pipeline()


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES.values():
        assert family.name.startswith("update_pipeline_")
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert not any(unit in family.name for unit in ("_ms", "_milli", "_minutes", "_kb", "_percent"))
        assert family.help
        assert set(family.labels) <= set(LABELS)
        assert family.help[-1] != "."
    # prometheus_client and OpenMetrics know a counter without its suffix: no two metrics may share that name.
    assert len({family.name.removesuffix("_total") for family in FAMILIES.values()}) == len(FAMILIES)
    assert not {"agent", "agent_id", "channel", "user", "connection", "plugin", "address"} & set(LABELS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_fork_counts_from_zero() -> None:
    pipeline = UpdatePipeline()
    registry, _ = of(lambda: pipeline)
    pipeline.queue_agent_update("lamp", data={})
    assert value(scraped(registry), "updates_queued_total") == 1
    program = """
import os, sys
import django; django.setup()
from prometheus_client import REGISTRY
from django_update_pipeline import get_update_pipeline
from django_update_pipeline.service import reset_update_pipeline
for _ in range(2):  # also what an earlier pipeline of the parent counted
    get_update_pipeline().queue_agent_update("lamp", data={})
    reset_update_pipeline()
    assert REGISTRY.get_sample_value("update_pipeline_updates_queued_total") == _ + 1
pid = os.fork()
got = REGISTRY.get_sample_value("update_pipeline_updates_queued_total")
if pid == 0:
    os._exit(int(got))
assert got == 2.0
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)}
    env.pop("PROMETHEUS_MULTIPROC_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_served_application_is_scraped() -> None:
    """uvicorn, the tests' settings, django-prometheus' URL: as an operator's Prometheus does it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.TemporaryDirectory(prefix="dup")
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(ROOT),
        "UPDATE_PIPELINE_RUNTIME_DIR": folder.name,  # a socket's path must be short
    }
    env.pop("PROMETHEUS_MULTIPROC_DIR", None)
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "django_update_pipeline.asgi:application",
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                    connection.request("GET", "/metrics")
                    response = connection.getresponse()
                    break
                except ConnectionError:
                    assert server.poll() is None, server.stdout.read() if server.stdout else ""
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert response.status == 200
            found = samples(response.read().decode())
            connection.close()
        finally:
            server.terminate()
            server.wait(20)
            folder.cleanup()
    assert value(found, "running") == 1
    assert value(found, "ready") == 1
    assert value(found, "health_score") == 100
