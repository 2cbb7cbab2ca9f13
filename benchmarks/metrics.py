"""What measuring costs: one latency sample, an acknowledgement's, one report, and the event loop's watchdog.

usage: python benchmarks/metrics.py [--rounds 15] [--calls 50000] [--watch-s 20]

The sample is what a delivered update pays: `LatencyRecorder.record`, less the cost of the same loop without it; the
best of the rounds, since other work on the machine only adds. An acknowledgement that says an age is two samples for
each priority in its frame, of which most frames have one: what is measured is all of `Ages.heard`, its judgement
included. The watchdog is the processor time that an otherwise idle pipeline uses in `--watch-s` seconds beyond the same
without its watchdog. Exits with 1 when a sample costs more than 0.3 microseconds, an acknowledgement with one priority
more than 1, or the watchdog more than 0.1 % of a processor.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import time
from itertools import repeat
from random import Random

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.ages import Ages
from django_update_pipeline.core.credit import Asked
from django_update_pipeline.core.histogram import LatencyRecorder

SAMPLE_LIMIT_US = 0.3
ACKNOWLEDGEMENT_LIMIT_US = 1.0  # of one priority
WATCHDOG_LIMIT_PERCENT = 0.1


def sample_us(rounds: int, calls: int) -> float:
    """Microseconds a sample, over latencies from 0.1 ms to 1 s of all four priorities."""
    random = Random(1)
    samples = [(n % 4, 10 ** random.uniform(-4, 0)) for n in range(calls)]
    recorder = LatencyRecorder()
    costs = []
    for _ in range(rounds):
        begun = time.perf_counter()
        record = recorder.record
        for priority, value in samples:
            record(priority, value)
        with_it = time.perf_counter() - begun
        begun = time.perf_counter()
        for _priority, _value in samples:
            pass
        costs.append((with_it - (time.perf_counter() - begun)) / calls * 1e6)
        recorder.rotate()
    return min(costs)


def heard_us(rounds: int, calls: int) -> tuple[float, float]:
    """Microseconds an acknowledgement whose frame has one priority, and all four."""
    random = Random(1)
    costs = []
    for priorities in (1, 4):
        ages = Ages()
        acks = []
        for n in range(calls):
            wait_s = 10 ** random.uniform(-3, 0)
            queued = tuple(((place + n) % 4, 50.0 - wait_s) for place in range(priorities))
            acks.append((Asked("updates", n, 10.0, 50.0 - wait_s, queued), wait_s * 1000.0 + 20.0))
        best = float("inf")
        for _ in range(rounds):
            heard = ages.heard
            begun = time.perf_counter()
            for asked, age_ms in acks:
                heard(asked, age_ms, 10.05, 50.05)
            with_it = time.perf_counter() - begun
            begun = time.perf_counter()
            for _asked, _age_ms in acks:
                pass
            best = min(best, (with_it - (time.perf_counter() - begun)) / calls * 1e6)
            ages.rotate()
        costs.append(best)
    return costs[0], costs[1]


def report_us(pipeline: UpdatePipeline, calls: int) -> tuple[float, float]:
    """Microseconds of `get_performance_metrics` and of `get_health_status`."""
    costs = []
    for report in (pipeline.get_performance_metrics, pipeline.get_health_status):
        begun = time.perf_counter()
        for _ in repeat(None, calls):
            report()
        costs.append((time.perf_counter() - begun) / calls * 1e6)
    return costs[0], costs[1]


async def idle_s(seconds: float, *, is_watched: bool) -> float:
    """Processor seconds that an idle pipeline uses."""
    async with UpdatePipeline() as pipeline:
        if not is_watched:
            pipeline._monitor.watchdog.stop()
        await asyncio.sleep(0.5)
        begun = time.process_time()
        await asyncio.sleep(seconds)
        return time.process_time() - begun


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--watch-s", type=float, default=20.0)
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {platform.machine()}\n")
    sample = sample_us(options.rounds, options.calls)
    one, four = heard_us(options.rounds, options.calls)
    metrics, health = report_us(UpdatePipeline(), max(1, options.calls // 500))
    watched = asyncio.run(idle_s(options.watch_s, is_watched=True))
    alone = asyncio.run(idle_s(options.watch_s, is_watched=False))
    watchdog = max(0.0, watched - alone) / options.watch_s * 100
    print("| what | cost | limit |")
    print("|---|---:|---:|")
    print(f"| a latency sample | {sample:.3f} us | {SAMPLE_LIMIT_US} us |")
    print(f"| an acknowledgement, one priority: 2 samples | {one:.3f} us | {ACKNOWLEDGEMENT_LIMIT_US} us |")
    print(f"| an acknowledgement, four priorities: 8 samples | {four:.3f} us | |")
    print(f"| get_performance_metrics() | {metrics:.0f} us | |")
    print(f"| get_health_status() | {health:.0f} us | |")
    print(f"| the watchdog of an idle pipeline | {watchdog:.4f} % | {WATCHDOG_LIMIT_PERCENT} % |")
    is_cheap = sample <= SAMPLE_LIMIT_US and one <= ACKNOWLEDGEMENT_LIMIT_US
    return 0 if is_cheap and watchdog <= WATCHDOG_LIMIT_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
