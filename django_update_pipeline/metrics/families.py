"""Every metric that Prometheus is given: its name, kind, labels and meaning. The documents are drawn from this table.

Names follow Prometheus' conventions: one prefix, base units, `_total` for counters. Each label has a closed set of
values, so the number of series is the same for ten agents and for a million: no agent, channel, user, address or
plugin ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from ..core.messages import PRIORITIES

Kind = Literal["counter", "gauge", "histogram"]

#: How a gauge of several processes becomes one in multiprocess mode; counters and histograms are added up.
Merge = Literal["livesum", "livemax", "livemin"]

#: Upper bounds of the latency histograms' buckets in seconds, close together around the latency classes' limits,
#: and far enough for a reader on a poor line.
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)

#: Stands for every value that is not in a label's set.
OTHER: Final = "other"

PRIORITY: Final = tuple(priority.label for priority in PRIORITIES)
OUTCOME: Final = ("delivered", "conflated", "dead_lettered", "cleared")
REASON: Final = ("part_failed", "rejected", "overflow", "router_failed", OTHER)
STATE: Final = ("closed", "open", "half_open")
LIMIT: Final = ("max_connections", "max_connections_per_user", "max_connections_per_address", OTHER)

LABELS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"priority": PRIORITY, "outcome": OUTCOME, "reason": REASON, "state": STATE, "limit": LIMIT}
)
"""Each label's closed set of values."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A counter's `name` ends in `_total`, as it is exported."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = field(default="livesum")


def _f(
    name: str, kind: Kind, help: str, labels: tuple[str, ...] = (), merge: Merge = "livesum"
) -> tuple[str, Family]:
    return name, Family(f"update_pipeline_{name}", kind, help, labels, merge)


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    dict(
        (
            _f("updates_queued_total", "counter", "Updates queued; rolled back ones included"),
            _f("updates_accepted_total", "counter", "Updates taken into the queue", ("priority",)),
            _f(
                "updates_settled_total",
                "counter",
                "Updates that came to an end, by how",
                ("priority", "outcome"),
            ),
            _f(
                "updates_pending",
                "gauge",
                "Updates accepted and not settled; in flight and backing off included",
                ("priority",),
            ),
            _f("update_failures_total", "counter", "Failures of updates themselves, retried ones included"),
            _f(
                "update_retries_total",
                "counter",
                "Updates that failed themselves and were put back to be tried again",
            ),
            _f("dead_letters_total", "counter", "Updates that died, by reason", ("reason",)),
            _f("dead_letters_kept", "gauge", "Dead letters that are kept"),
            _f(
                "delivery_latency_seconds",
                "histogram",
                "From an update's acceptance until the ready connections have been handed it",
                ("priority",),
            ),
            _f(
                "applied_latency_seconds",
                "histogram",
                "From when an update was queued until a client had applied it, as clients say and the server bounds",
                ("priority",),
            ),
            _f(
                "acknowledged_latency_seconds",
                "histogram",
                "From when an update was queued until a client's acknowledgement of it came",
                ("priority",),
            ),
            _f(
                "divergence_repaired_total",
                "counter",
                "Agents that clients' self-checks repaired; should stay 0",
            ),
            _f("batches_total", "counter", "Batches delivered, those that went together as one"),
            _f(
                "oldest_wait_seconds",
                "gauge",
                "How long what waits longest has waited; in flight included",
                merge="livemax",
            ),
            _f(
                "queue_fill_ratio",
                "gauge",
                "What waits over its bound, the fullest of all bounds",
                merge="livemax",
            ),
            _f("transport_failures_total", "counter", "Publishes that the transport failed"),
            _f("circuit_breaker_state", "gauge", "1 for the state the breaker is in, else 0", ("state",)),
            _f("circuit_breaker_openings_total", "counter", "How often the breaker opened"),
            _f("connections", "gauge", "Open connections"),
            _f("connections_behind", "gauge", "Connections that have been told less than there is to tell"),
            _f("connections_opened_total", "counter", "Connections opened"),
            _f(
                "connections_refused_total",
                "counter",
                "Connections refused because a limit was reached, by the setting's name",
                ("limit",),
            ),
            _f("send_failures_total", "counter", "Sockets that failed while they were written to"),
            _f("frames_sent_total", "counter", "Frames written to connections"),
            _f("agents", "gauge", "Agents whose state is held"),
            _f("store_bytes", "gauge", "Bytes of states and recent events held"),
            _f("plugin_failures_total", "counter", "Failures of plugins' parts"),
            _f("loop_lag_seconds", "gauge", "How late the event loop last came round", merge="livemax"),
            _f(
                "loop_stalls_total",
                "counter",
                "How often the event loop did not come round for a second or more",
            ),
            _f("loop_stall_seconds_total", "counter", "How long these stalls were in all"),
            _f("health_score", "gauge", "The health score, 0 to 100", merge="livemin"),
            _f("running", "gauge", "1 while the pipeline delivers, else 0"),
            _f("ready", "gauge", "1 while the process should get clients, else 0"),
        )
    )
)
"""All metrics by the name without its prefix."""
