"""What operators are told: the data of the admin protocol's answers and live frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Union

import msgspec
from msgspec import UNSET, UnsetType

from ..commands import LIVE_EVENTS
from ..health import HealthStatus
from ..history import COLUMNS
from .base import Count, JSONObject, Ratio, Sent, Taken, UnixSeconds, made_struct


class Health(Sent, frozen=True):
    """What `get_health_status()` returns: `deductions` are points by the names of what costs them."""

    health_score: Count
    health_status: HealthStatus
    issues: list[str]
    deductions: dict[str, int]
    is_running: bool


class Terms(Sent, frozen=True):
    """The account of updates: accepted = delivered + conflated + dead_lettered + cleared + pending."""

    accepted: int
    delivered: int
    conflated: int
    dead_lettered: int
    cleared: int
    pending: int


class Priorities(Sent, frozen=True):
    """A count for each priority."""

    critical: int
    high: int
    normal: int
    low: int


class Latency(Sent, frozen=True):
    """Milliseconds, and how many latencies these are."""

    average_latency_ms: Ratio
    p50_latency_ms: Ratio
    p95_latency_ms: Ratio
    p99_latency_ms: Ratio
    max_latency_ms: Ratio
    count: Count


class Latencies(Sent, frozen=True):
    """Latencies, for each priority."""

    critical: Latency
    high: Latency
    normal: Latency
    low: Latency


class Ages(Latency, frozen=True):
    """Latencies over all priorities, and for each."""

    by_priority: Latencies


class Conservation(Sent, frozen=True):
    """The account, for each priority and in all."""

    critical: Terms
    high: Terms
    normal: Terms
    low: Terms
    total: Terms


class Metrics(Sent, frozen=True):
    """What `get_performance_metrics()` returns; the metrics page says what each figure means."""

    total_updates: Count
    successful_updates: Count
    failed_updates: Count
    failed_attempts: Count
    retries: Count
    transport_failures: Count
    updates_per_second: Ratio
    average_latency_ms: Ratio
    p50_latency_ms: Ratio
    p95_latency_ms: Ratio
    p99_latency_ms: Ratio
    max_latency_ms: Ratio
    count: Count
    by_priority: Latencies
    applied: Ages
    acknowledged: Ages
    divergence_repaired: Count
    success_rate: Ratio
    websocket_connections: Count
    connections_behind: Count
    connections_opened: Count
    connections_refused: dict[str, int]
    send_failures: Count
    frames_sent: Count
    circuit_breaker_state: str
    circuit_breaker_openings: Count
    batches: Count
    last_batch_size: Count
    last_batch_duration_ms: Ratio
    queue_depth: Priorities
    queue_fill_ratio: Ratio
    oldest_wait_s: Ratio
    accepted: int
    delivered: int
    conflated: int
    dead_lettered: int
    cleared: int
    pending: int
    conservation: Conservation
    dead_letters: Count
    dead_letters_by_reason: dict[str, int]
    dead_letters_let_go: Count
    agents: Count
    store_bytes: Count
    loop_lag_ms: float
    loop_stalls: Count
    loop_stall_s: Ratio
    plugin_failures: dict[str, int]
    transport: str


class BreakerState(Taken, frozen=True):
    """The circuit breaker's whole state. `retry_after_s` is null while it is held open.

    A breaker that a plugin provides says what it likes beside `state`.
    """

    state: str
    failure_count: Count | UnsetType = UNSET
    failure_threshold: Count | UnsetType = UNSET
    recovery_timeout: float | UnsetType = UNSET
    half_open_max_calls: Count | UnsetType = UNSET
    retry_after_s: float | UnsetType | None = UNSET
    is_held_open: bool | UnsetType = UNSET
    trials_in_flight: Count | UnsetType = UNSET
    trials_passed: Count | UnsetType = UNSET
    opened_count: Count | UnsetType = UNSET
    openings_in_row: Count | UnsetType = UNSET
    late_result_count: Count | UnsetType = UNSET
    permits_lost_count: Count | UnsetType = UNSET
    events_lost_count: Count | UnsetType = UNSET


class ConnectionKinds(Sent, frozen=True):
    """Connections by kind, as each connection's `kind` has it; `stream` are server-sent events."""

    classic: Count
    sync: Count
    stream: Count
    admin: Count


class Connections(Sent, frozen=True):
    """How many connections there are: what is sent live."""

    count: Count
    by_kind: ConnectionKinds
    behind: Count
    opened: Count
    closed: Count
    watching: Count


class Connection(Sent, frozen=True):
    """One connection. `user_id` is a primary key as text; `behind` counts offsets it has not been told yet."""

    connection_id: str
    user_id: str | None
    kind: Literal["classic", "sync", "stream", "admin"]
    channels: list[str]
    channel_count: Count
    connected_s: float
    behind: Count
    waiting_answers: Count
    is_closing: bool


class ListedConnections(Connections, frozen=True):
    """Oldest first; `next_skip` says where to go on, and is null at the end."""

    connections: list[Connection]
    next_skip: int | None


class Part(Sent, frozen=True):
    """One part in the order of the flow, and who provides it."""

    kind: str
    name: str
    class_: str = msgspec.field(name="class")
    plugin: str
    is_off: bool
    off_because: str
    failures: Count
    last_error: str


class Plugins(Sent, frozen=True):
    """The parts in flow order, and the plugins in the order in which they are asked."""

    parts: list[Part]
    plugins: list[str]


class Process(Sent, frozen=True):
    """The process that answers."""

    pid: int
    version: str
    python: str
    node_id: str
    epoch: str
    offset: Count


class Status(Sent, frozen=True):
    """Everything of one process at once."""

    process: Process
    health: Health
    metrics: Metrics
    circuit_breaker: BreakerState
    connections: Connections
    parts: list[Part]
    plugins: list[str]


Samples = made_struct(
    "Samples",
    "Columns of equal length, oldest first.",
    [
        (f"column_{place}", list[str] if name.endswith("_state") else list[float], msgspec.field(name=name))
        for place, name in enumerate(COLUMNS)
    ],
)


class Letter(Sent, frozen=True):
    """One update that could not be delivered. Only events are replayable."""

    number: Count
    agent_id: str
    update_type: str
    kind: Literal["event", "replace", "merge", "remove"]
    priority: Literal["critical", "high", "normal", "low"]
    channels: list[str]
    bytes: Count
    reason: str
    cause: str
    queued_at: UnixSeconds
    died_at: UnixSeconds
    is_replayable: bool


class ShownLetter(Letter, frozen=True):
    """A dead letter with its data; null, and `is_data_too_large`, beyond the bound of an answer."""

    data: JSONObject | None
    is_data_too_large: bool


class Letters(Sent, frozen=True):
    """Newest first; `next_before` says where to go on, and is null at the end."""

    kept: Count
    total: Count
    let_go: Count
    matching: Count
    letters: list[Letter]
    next_before: int | None


class Replayed(Sent, frozen=True):
    """Numbers end at a bound; counts are of all. `problem` says why the rest was skipped."""

    replayed: list[int]
    replayed_count: Count
    skipped: list[int]
    skipped_count: Count
    kept: Count
    problem: str | None


class Discarded(Sent, frozen=True):
    """Numbers end at a bound; counts are of all."""

    discarded: list[int]
    discarded_count: Count
    skipped: list[int]
    skipped_count: Count
    kept: Count


class BreakerMoved(Sent, frozen=True):
    """The breaker before and after the command."""

    before: BreakerState
    after: BreakerState


class ConnectionClosed(Sent, frozen=True):
    """The connection that is being closed, and with which code."""

    connection_id: str
    code: int


class PluginEnabled(Sent, frozen=True):
    """The plugin's parts that were off, and are on again."""

    name: str
    enabled: list[str]


class Watching(Sent, frozen=True):
    """`interval_s` is null when the watch has ended; `last_event` is the number of the last live event."""

    interval_s: float | None
    last_event: Count


class BreakerChanged(Sent, frozen=True):
    """The breaker changed its state."""

    number: Count
    before: str
    after: str
    cause: str


class NewestLetter(Sent, frozen=True):
    """The letter that was added last."""

    number: Count
    agent_id: str
    update_type: str
    reason: str


class LettersAdded(Sent, frozen=True):
    """Updates died: `count` since the last such event, `total` ever, `kept` now."""

    number: Count
    count: Count
    total: Count
    kept: Count
    newest: NewestLetter


class PartSwitched(Sent, frozen=True):
    """A plugin's part was switched off or on."""

    number: Count
    plugin: str
    part: str
    is_on: bool
    cause: str


class OperatorActed(Sent, frozen=True):
    """An operator's command was carried out; `operator` is a user's key, never a name."""

    number: Count
    operator: str
    command: str
    result: str


#: The data of each live event.
LIVE_EVENT_DATA: Final[Mapping[str, type[msgspec.Struct]]] = {
    "circuit_breaker_changed": BreakerChanged,
    "dead_letters_added": LettersAdded,
    "part_switched": PartSwitched,
    "operator_acted": OperatorActed,
}

#: The data of each live report.
LIVE_REPORT_DATA: Final[Mapping[str, type[msgspec.Struct]]] = {
    "health_status": Health,
    "performance_metrics": Metrics,
    "connection_info": Connections,
}


def live_kind(kind: str) -> str:
    """The kind of a frame that `watch` has sent: its data may be another than an answer's."""
    return f"live_{kind}"


def camel(kind: str) -> str:
    """A kind as part of a type's name."""
    return "".join(word.title() for word in kind.split("_"))


_HAPPENED: Any = Union[  # noqa: UP007 - of as many as there are
    tuple(
        made_struct(
            f"{camel(kind)}Row",
            LIVE_EVENTS[kind],
            [("data", data), ("timestamp", UnixSeconds)],
            tag=kind,
            tag_field="type",
        )
        for kind, data in LIVE_EVENT_DATA.items()
    )
]

History = made_struct(
    "History",
    "A sample for each of the last seconds, and the live events of that time.",
    [("interval_s", float), ("samples", Samples), ("events", list[_HAPPENED]), ("last_event", Count)],
)
