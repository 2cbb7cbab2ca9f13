"""The last minutes for an operator's eyes: a sample of the figures each second, and what happened, numbered.

Lives here: two bounded rings. Not here: when a sample is taken, and who is told (`runtime.live`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from .messages import PRIORITIES

SAMPLE_INTERVAL_S: Final = 1.0
MAX_SAMPLES: Final = 300
MAX_EVENTS: Final = 200

_PERCENTILES: Final = ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms")
_LABELS: Final = tuple(priority.label for priority in PRIORITIES)

COLUMNS: Final[tuple[str, ...]] = (
    "timestamp",
    "updates_per_second",
    "accepted",
    *_PERCENTILES,
    *(f"{label}.{name}" for label in _LABELS for name in _PERCENTILES),
    *(f"{label}.queue_depth" for label in _LABELS),
    "websocket_connections",
    "behind",
    "dead_letters",
    "circuit_breaker_state",
)
"""A sample's columns; `critical.p99_latency_ms` is `by_priority.critical.p99_latency_ms` of the metrics."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened: `number` grows by one with each, `kind` is one of LIVE_EVENTS, `at` is Unix seconds."""

    number: int
    kind: str
    data: Mapping[str, Any]
    at: float


class History:
    """Samples and happenings, both bounded: the oldest go first. It belongs to one loop.

    Law L1: happenings are numbered 1, 2, 3 ...; `after(n)` is the oldest kept one with a number above n.
    """

    def __init__(self, max_samples: int = MAX_SAMPLES, max_events: int = MAX_EVENTS) -> None:
        self._samples: deque[tuple[Any, ...]] = deque(maxlen=max_samples)
        self._events: deque[Happening] = deque(maxlen=max_events)
        self.last_number = 0

    def sample(self, metrics: Mapping[str, Any], behind: int, at: float) -> None:
        """Keeps one sample of a metrics report."""
        by_priority, depth = metrics["by_priority"], metrics["queue_depth"]
        self._samples.append(
            (
                round(at, 3),
                round(metrics["updates_per_second"], 2),
                metrics["accepted"],
                *(round(metrics[name], 3) for name in _PERCENTILES),
                *(round(by_priority[label][name], 3) for label in _LABELS for name in _PERCENTILES),
                *(depth[label] for label in _LABELS),
                metrics["websocket_connections"],
                behind,
                metrics["dead_letters"],
                metrics["circuit_breaker_state"],
            )
        )

    def happened(self, kind: str, data: Mapping[str, Any], at: float) -> Happening:
        """Keeps and numbers one happening."""
        self.last_number += 1
        event = Happening(self.last_number, kind, data, at)
        self._events.append(event)
        return event

    def after(self, number: int) -> Happening | None:
        """The first happening that is kept with a higher number; None if there is none."""
        if number >= self.last_number:
            return None
        oldest = self._events[0].number
        return self._events[max(0, number + 1 - oldest)]

    def as_dict(self, since: float) -> dict[str, Any]:
        """What lies after a time (Unix seconds), samples as columns of equal length, oldest first."""
        begin = next(
            (place for place, row in enumerate(self._samples) if row[0] >= since), len(self._samples)
        )
        rows = list(islice(self._samples, begin, None))
        columns = zip(*rows, strict=True) if rows else ([] for _ in COLUMNS)
        return {
            "interval_s": SAMPLE_INTERVAL_S,
            "samples": {name: list(column) for name, column in zip(COLUMNS, columns, strict=True)},
            "events": [event_data(event) for event in self._events if event.at >= since],
            "last_event": self.last_number,
        }


def event_data(event: Happening) -> dict[str, Any]:
    """A happening as `get_history` lists it."""
    return {
        "type": event.kind,
        "data": {"number": event.number, **event.data},
        "timestamp": round(event.at, 6),
    }
