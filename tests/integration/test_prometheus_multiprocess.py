"""Prometheus' multiprocess mode: real processes that write files, and one exporter for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from django_update_pipeline.metrics.families import BUCKETS_S, FAMILIES

ROOT = Path(__file__).resolve().parents[2]

WORKER = """
import asyncio, os, sys
import django; django.setup()
from django_update_pipeline import get_update_pipeline
from django_update_pipeline.service import reset_update_pipeline

async def main(count):
    pipeline = get_update_pipeline()
    await pipeline.start()
    for number in range(count):
        await pipeline.publish(f"agent_{number}", data={"n": number})
    print("up", os.getpid(), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await pipeline.stop()
    reset_update_pipeline()  # what the next one counts is added
    async with get_update_pipeline() as pipeline:
        await pipeline.publish("last", data={})

asyncio.run(main(int(sys.argv[1])))
"""

# What django-prometheus' view does in this mode, asked through Django.
EXPORTER = """
import sys
import django; django.setup()
from django.test import Client
sys.stdout.write(Client().get("/metrics").content.decode())
"""


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(ROOT),
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
    }


def exported(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", EXPORTER], env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(folder: Path, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return registry.get_sample_value(f"update_pipeline_{name}", labels)


@pytest.mark.slow
def test_two_processes_are_added_up_and_the_dead_are_no_longer_running(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(count)],
            env=environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for count in (3, 5)
    ]
    try:
        pids = []
        for worker in workers:
            assert worker.stdout is not None
            pids.append(int(worker.stdout.readline().split()[1]))
        text = exported(tmp_path)  # while both run: what they wrote when they began
        assert text.count("# TYPE update_pipeline_") == len(FAMILIES)
        assert read(tmp_path, "running") == 2
        workers[0].communicate("go\n", timeout=60)
        assert workers[0].returncode == 0
        assert read(tmp_path, "running") == 1  # it wrote a last time
        assert read(
            tmp_path,
            "updates_settled_total",
            priority="normal",
            outcome="delivered",
        ) == 4 + _written(tmp_path, pids[1])
        workers[1].kill()
        workers[1].wait(20)
        assert read(tmp_path, "running") == 1  # nobody said that it is dead
        mark_process_dead(pids[1], str(tmp_path))
        assert read(tmp_path, "running") == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    name = "delivery_latency_seconds"
    counts = [
        read(tmp_path, f"{name}_bucket", priority="normal", le=le)
        for le in [*(str(bound) for bound in BUCKETS_S), "+Inf"]
    ]
    assert None not in counts
    assert counts == sorted(counts)  # type: ignore[type-var]
    assert counts[-1] == read(tmp_path, f"{name}_count", priority="normal")
    assert counts[-1] >= 4  # type: ignore[operator]
    total_s = read(tmp_path, f"{name}_sum", priority="normal")
    assert total_s is not None
    assert total_s > 0
    files = sorted(path.name.rsplit("_", 1)[0] for path in tmp_path.iterdir())
    assert files == [
        "counter",
        "counter",
        "gauge_livemax",
        "gauge_livemin",
        "gauge_livesum",
        "histogram",
        "histogram",
    ]


def _written(folder: Path, pid: int) -> int:
    """How many deliveries a process has written so far."""
    from prometheus_client.mmap_dict import MmapedDict

    values = MmapedDict.read_all_values_from_file(str(folder / f"counter_{pid}.db"))
    return int(sum(value for key, value, *_ in values if '"delivered"' in key))


FORKING = """
import asyncio, os
import django; django.setup()
from django_update_pipeline import get_update_pipeline

async def work(count):
    async with get_update_pipeline() as pipeline:
        for number in range(count):
            await pipeline.publish(f"agent_{number}", data={"n": number})

asyncio.run(work(2))  # before the fork
pid = os.fork()
asyncio.run(work(3 if pid else 4))
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_counts_nothing_twice(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING], env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert read(tmp_path, "updates_settled_total", priority="normal", outcome="delivered") == 2 + 3 + 4
    assert read(tmp_path, "delivery_latency_seconds_count", priority="normal") == 2 + 3 + 4
    assert read(tmp_path, "running") == 0


BROKEN = """
import asyncio, logging, shutil, os
import django; django.setup()
from django_update_pipeline import get_update_pipeline
from django_update_pipeline.metrics import multiprocess

def fail(*args): raise OSError("disk\\nfull")
multiprocess.MultiprocessWriter._write = fail

async def work():
    async with get_update_pipeline() as pipeline:
        await pipeline.publish("lamp", data={})
    print(pipeline.get_performance_metrics()["delivered"])

asyncio.run(work())
"""


@pytest.mark.fault(
    "F50", "metrics that can't be written delay and break no delivery, and are told of in one line"
)
def test_metrics_that_can_t_be_written_break_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]
    assert done.stderr.splitlines() == [
        f"the metrics could not be written ({count} time(s)): OSError: disk\\nfull" for count in (1, 2)
    ]
