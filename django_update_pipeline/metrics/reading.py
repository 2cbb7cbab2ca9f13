"""What the process's pipelines say, as values of `families`.

Counters never fall in a process: when its pipeline is made anew (settings changed, a test's reset) the new one counts
on from where the old one ended.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from .families import BUCKETS_S, FAMILIES, LABELS, OTHER

if TYPE_CHECKING:
    from ..runtime.pipeline import UpdatePipeline
    from . import Source

#: A family's name without its prefix, and its labels' values.
Key = tuple[str, tuple[str, ...]]

_COUNTERS: Final = tuple(name for name, family in FAMILIES.items() if family.kind == "counter")


_all: WeakSet[Readings] = WeakSet()


@dataclass
class Reading:
    """Values at one moment. A histogram has how many were at most each bound, then all of them, and their sum."""

    values: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, tuple[list[int], float]] = field(default_factory=dict)


def nothing() -> Reading:
    """Every series there can be, at 0: what a process without a pipeline says."""
    reading = Reading()
    for name, family in FAMILIES.items():
        for labels in product(*(LABELS[label] for label in family.labels)):
            if family.kind == "histogram":
                reading.histograms[name, labels] = [0] * (len(BUCKETS_S) + 1), 0.0
            else:
                reading.values[name, labels] = 0.0
    return reading


def read(pipeline: UpdatePipeline) -> Reading:
    """What one pipeline says. Any thread; about a millisecond."""
    metrics = pipeline.get_performance_metrics()
    reading = nothing()
    values = reading.values

    def put(name: str, value: float, *labels: str) -> None:
        values[name, labels] = float(value)

    def put_each(name: str, counts: dict[str, int], label: str) -> None:
        for value, count in counts.items():
            values[name, (value if value in LABELS[label] else OTHER,)] += count

    for priority, row in metrics["conservation"].items():
        if priority == "total":
            continue
        put("updates_accepted_total", row["accepted"], priority)
        put("updates_pending", row["pending"], priority)
        for outcome in LABELS["outcome"]:
            put("updates_settled_total", row[outcome], priority, outcome)
    put("updates_queued_total", metrics["total_updates"])
    put("update_failures_total", metrics["failed_attempts"])
    put("update_retries_total", metrics["retries"])
    put_each("dead_letters_total", metrics["dead_letters_by_reason"], "reason")
    put("dead_letters_kept", metrics["dead_letters"])
    put("batches_total", metrics["batches"])
    put("oldest_wait_seconds", metrics["oldest_wait_s"])
    put("queue_fill_ratio", metrics["queue_fill_ratio"])
    put("transport_failures_total", metrics["transport_failures"])
    if metrics["circuit_breaker_state"] in LABELS["state"]:  # a plugin's breaker may know others
        put("circuit_breaker_state", 1, metrics["circuit_breaker_state"])
    put("circuit_breaker_openings_total", metrics["circuit_breaker_openings"])
    put("connections", metrics["websocket_connections"])
    put("connections_behind", metrics["connections_behind"])
    put("connections_opened_total", metrics["connections_opened"])
    put_each("connections_refused_total", metrics["connections_refused"], "limit")
    put("send_failures_total", metrics["send_failures"])
    put("frames_sent_total", metrics["frames_sent"])
    put("divergence_repaired_total", metrics["divergence_repaired"])
    put("agents", metrics["agents"])
    put("store_bytes", metrics["store_bytes"])
    put("plugin_failures_total", sum(metrics["plugin_failures"].values()))
    put("loop_lag_seconds", metrics["loop_lag_ms"] / 1000.0)
    put("loop_stalls_total", metrics["loop_stalls"])
    put("loop_stall_seconds_total", metrics["loop_stall_s"])
    put("health_score", pipeline.get_health_status()["health_score"])
    put("running", pipeline.is_running)
    put("ready", pipeline.is_ready)
    for priority, histogram in pipeline.get_latencies().items():
        counts = histogram.cumulative(BUCKETS_S)
        reading.histograms["delivery_latency_seconds", (priority,)] = counts, histogram.sum_s
    for until, by_priority in pipeline.get_client_latencies().items():
        for priority, histogram in by_priority.items():
            counts = histogram.cumulative(BUCKETS_S)
            reading.histograms[f"{until}_latency_seconds", (priority,)] = counts, histogram.sum_s
    return reading


class Readings:
    """The readings of a process, over all the pipelines that it had one after the other.

    Args:
        source: says which pipeline is the process's; asked at each reading.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._pipeline: Any = None
        self._before = nothing()  # what the counters of earlier pipelines ended with
        _all.add(self)

    def take(self) -> Reading:
        """What is so now. Any thread."""
        with self._lock:
            pipeline = self._source()
            self._follow(pipeline)
            return self._since_ever(nothing() if pipeline is None else read(pipeline))

    def note(self, pipeline: UpdatePipeline) -> None:
        """A pipeline counts although nobody asked while it was the process's. Any thread."""
        with self._lock:
            self._follow(pipeline)

    def _follow(self, pipeline: UpdatePipeline | None) -> None:
        if pipeline is not self._pipeline:
            if self._pipeline is not None:
                self._before = self._since_ever(read(self._pipeline))
            self._pipeline = pipeline

    def _since_ever(self, reading: Reading) -> Reading:
        for key, value in self._before.values.items():
            if key[0] in _COUNTERS:
                reading.values[key] += value
        for key, (counts, sum_s) in self._before.histograms.items():
            now, now_sum_s = reading.histograms[key]
            reading.histograms[key] = [a + b for a, b in zip(counts, now, strict=True)], sum_s + now_sum_s
        return reading


def note(pipeline: UpdatePipeline) -> None:
    """Told before the process forgets a pipeline: what it counted stays in every registry's counters. Any thread."""
    for readings in list(_all):
        readings.note(pipeline)


# The parent's readings are not the child's, and a thread that is not there may hold their locks.
os.register_at_fork(after_in_child=_all.clear)
