"""How well the pipeline does: measurements in, a score from 0 to 100, a status and sentences out.

Lives here: the table of deductions and the sums. Not here: measuring (the shell fills ``HealthInput``) and
plugins' own checks (the shell asks them and passes their verdicts in). Each sentence says what is wrong, with
its figure, and what mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypedDict

HealthStatus = Literal["healthy", "degraded", "critical"]

HEALTHY_FROM: Final = 80
DEGRADED_FROM: Final = 50

MIN_SUCCESS_RATIO: Final = 0.95
MAX_QUEUE_FILL_RATIO: Final = 0.8
MAX_OLDEST_WAIT_S: Final = 1.0
MAX_LOOP_STALL_S: Final = 1.0
P99_LIMITS_MS: Final[Mapping[str, float]] = MappingProxyType(
    {"critical": 50.0, "high": 50.0, "normal": 100.0, "low": 500.0}
)
"""The latency classes' promises at p99, in milliseconds from acceptance to the last socket."""
MIN_P99_COUNT: Final = 100
"""Of fewer updates the 99th percentile is the slowest one, and one late update is no trouble: it is left out."""
CLIENT_ALLOWANCE_MS: Final = 500.0
"""What clients' networks and devices may add to a promise. At p95: a reader in twenty is its own trouble."""


@dataclass(frozen=True, slots=True)
class PluginCheck:
    """A plugin's verdict. ``issue`` is a sentence that names the mend; unused while ``is_ok``."""

    name: str
    is_ok: bool
    issue: str = ""


@dataclass(frozen=True, slots=True)
class HealthInput:
    """What is measured; the defaults are those of a pipeline in perfect health.

    Args:
        is_started: the pipeline runs.
        breaker_state: ``closed``, ``open`` or ``half_open``.
        breaker_failure_count: the transport's failures in a row.
        breaker_retry_after_s: seconds until the breaker lets a call through; None while it is held open.
        transport: the transport's name.
        success_ratio: successful over all settled updates, 0 to 1; None while nothing has settled.
        p99_latency_ms: by priority's label, of at least ``MIN_P99_COUNT`` updates.
        queue_fill_ratio: what waits over its bound, 0 to 1 (the fullest of all bounds).
        queue_limit: the name of that bound in the settings.
        dead_letter_count: dead letters that are kept.
        oldest_wait_s: age of the oldest waiting update, seconds.
        loop_stall_s: how long the event loop did not come round, at its worst of late, seconds.
        loop_stall_is_on: it does not come round at this moment.
        loop_stall_where: what had its thread, in one line; empty if nobody knows.
        account_difference: accepted updates minus the sum of what became of them; anything but 0 is a bug.
        parts_blocking: plugins' parts that have held a thread for too long and still do, as sentences.
        parts_off: plugins' parts that are switched off, as sentences.
        parts_failing: plugins' parts whose last answer was a failure, as sentences.
        refused_count: connections refused of late because a limit was reached.
        refused_limits: the names of these limits in the settings.
        transport_problem: what the transport says of itself; empty when it is well.
        control_problem: why management commands can't reach this process; empty if they can.
        stuck_count: connections closed in the last minute because their sockets took nothing.
        applied_p95_ms: by priority's label, how old updates are when clients have applied them, of at least
            ``MIN_P99_COUNT`` samples.
        divergence_count: agents that clients' self-checks repaired of late.
        plugin_checks: what plugins say of their own parts.
    """

    is_started: bool = True
    breaker_state: str = "closed"
    breaker_failure_count: int = 0
    breaker_retry_after_s: float | None = 0.0
    transport: str = "memory"
    success_ratio: float | None = None
    p99_latency_ms: Mapping[str, float] = field(default_factory=dict)
    queue_fill_ratio: float = 0.0
    queue_limit: str = "max_events"
    dead_letter_count: int = 0
    oldest_wait_s: float = 0.0
    loop_stall_s: float = 0.0
    loop_stall_is_on: bool = False
    loop_stall_where: str = ""
    account_difference: int = 0
    parts_blocking: tuple[str, ...] = ()
    parts_off: tuple[str, ...] = ()
    parts_failing: tuple[str, ...] = ()
    refused_count: int = 0
    refused_limits: tuple[str, ...] = ()
    transport_problem: str = ""
    control_problem: str = ""
    stuck_count: int = 0
    applied_p95_ms: Mapping[str, float] = field(default_factory=dict)
    divergence_count: int = 0
    plugin_checks: tuple[PluginCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Deduction:
    """One row of the table: a name for metrics, what each issue costs, and how issues are found."""

    name: str
    points: int
    find: Callable[[HealthInput], tuple[str, ...]]


class HealthReportDict(TypedDict):
    """A report as ``get_health_status()`` and the admin socket give it."""

    health_score: int
    health_status: HealthStatus
    issues: list[str]
    deductions: dict[str, int]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The verdict. ``deductions`` maps the names of the rows that applied to the points they cost."""

    health_score: int
    health_status: HealthStatus
    issues: tuple[str, ...]
    deductions: Mapping[str, int]

    def as_dict(self) -> HealthReportDict:
        """Plain values that JSON can hold."""
        return {
            "health_score": self.health_score,
            "health_status": self.health_status,
            "issues": list(self.issues),
            "deductions": dict(self.deductions),
        }


def _when(condition: bool, issue: str) -> tuple[str, ...]:
    return (issue,) if condition else ()


def _not_started(health: HealthInput) -> tuple[str, ...]:
    return _when(
        not health.is_started,
        "The pipeline is not running, so updates wait: await pipeline.start(), or serve the project with an "
        "ASGI server.",
    )


def _breaker_open(health: HealthInput) -> tuple[str, ...]:
    if health.breaker_retry_after_s is None:
        cause, then = "is held open by an operator", "end it with manage.py pipeline_reset_breaker"
    else:
        cause = f"is open after {health.breaker_failure_count} failures in a row"
        then = (
            f"check that the transport {health.transport!r} can be reached; the next try is in "
            f"{health.breaker_retry_after_s:.1f} s, or at once after manage.py pipeline_reset_breaker"
        )
    return _when(health.breaker_state == "open", f"The circuit breaker {cause}, so updates wait: {then}.")


def _breaker_half_open(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.breaker_state == "half_open",
        f"The circuit breaker is half-open: trial calls show whether the transport {health.transport!r} is "
        "back; nothing needs to be done unless it opens again.",
    )


def _success_ratio(health: HealthInput) -> tuple[str, ...]:
    ratio = health.success_ratio
    return _when(
        ratio is not None and ratio < MIN_SUCCESS_RATIO,
        f"Only {100 * (ratio or 0.0):.1f} % of the updates succeeded (the limit is {MIN_SUCCESS_RATIO:.0%}): "
        "read the reasons in the dead letters and in the log.",
    )


def _p99(label: str) -> Callable[[HealthInput], tuple[str, ...]]:
    def find(health: HealthInput) -> tuple[str, ...]:
        p99_ms, limit_ms = health.p99_latency_ms.get(label, 0.0), P99_LIMITS_MS[label]
        return _when(
            p99_ms > limit_ms,
            f"{label.upper()} updates take {p99_ms:.0f} ms at p99 (the limit is {limit_ms:.0f} ms): queue "
            "fewer updates, make transformers cheaper, or spread the connections over more nodes.",
        )

    return find


def _applied(health: HealthInput) -> tuple[str, ...]:
    late = [
        f"{label.upper()} {health.applied_p95_ms[label]:.0f} ms (the limit is {limit_ms + CLIENT_ALLOWANCE_MS:.0f} ms)"
        for label, limit_ms in P99_LIMITS_MS.items()
        if health.applied_p95_ms.get(label, 0.0) > limit_ms + CLIENT_ALLOWANCE_MS
    ]
    return _when(
        bool(late),
        f"Updates are old when clients have applied them, at p95: {', '.join(late)}. Where the server's own p99 is "
        "well, it is their networks or devices: send less, let them subscribe to fewer fields, and look at the proxy.",
    )


def _divergence(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.divergence_count > 0,
        f"Clients' self-checks repaired {health.divergence_count} agents in the last minute, which should never "
        "differ from the server's: the log names the connections. Bring client and server to one version and look "
        "for a proxy that changes frames; if it goes on, report it.",
    )


def _queue_fill(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.queue_fill_ratio > MAX_QUEUE_FILL_RATIO,
        f"The queue is {health.queue_fill_ratio:.0%} full (QUEUE {health.queue_limit}): mend what delays the "
        "delivery, queue less, or raise that limit.",
    )


def _dead_letters(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.dead_letter_count > 0,
        f"{health.dead_letter_count} dead letters are kept: manage.py pipeline_dead_letters list tells why; then "
        "replay or discard them.",
    )


def _oldest_wait(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.oldest_wait_s > MAX_OLDEST_WAIT_S,
        f"The oldest waiting update has waited for {health.oldest_wait_s:.1f} s (the limit is "
        f"{MAX_OLDEST_WAIT_S:.0f} s): look for an open breaker, a blocked event loop or an overloaded node.",
    )


def _loop_stall(health: HealthInput) -> tuple[str, ...]:
    verb = "has been" if health.loop_stall_is_on else "was"
    place = f" in {health.loop_stall_where}" if health.loop_stall_where else ""
    mend = (
        "move that call to a thread, or make it asynchronous."
        if place
        else "find the call that lets no other thread run (PYTHONASYNCIODEBUG=1 names it) and move it to a process."
    )
    return _when(
        health.loop_stall_s > MAX_LOOP_STALL_S,
        f"The event loop {verb} blocked for {health.loop_stall_s:.1f} s{place}: {mend}",
    )


def _stuck(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.stuck_count > 0,
        f"{health.stuck_count} connections were closed in the last minute because their sockets took no frame for "
        "CONNECTIONS stuck_timeout_s: look at the network and the proxy before this server, or raise it.",
    )


def _account(health: HealthInput) -> tuple[str, ...]:
    return _when(
        health.account_difference != 0,
        f"The account of updates is off by {health.account_difference}: updates were lost or counted twice; "
        "this is a bug, please report it with the metrics.",
    )


def _refused(health: HealthInput) -> tuple[str, ...]:
    limits = " and ".join(health.refused_limits) or "max_connections"
    return _when(
        health.refused_count > 0,
        f"{health.refused_count} connections were refused in the last minute (CONNECTIONS {limits}): look who opens "
        "them, raise that limit, or spread the connections over more nodes.",
    )


def _transport(health: HealthInput) -> tuple[str, ...]:
    return _when(
        bool(health.transport_problem),
        f"The transport {health.transport!r} has trouble: {health.transport_problem}; this process goes on with "
        "what it has: check that what the transport needs can be reached from here.",
    )


def _control(health: HealthInput) -> tuple[str, ...]:
    return _when(
        bool(health.control_problem),
        f"Management commands can't reach this process: {health.control_problem}; name a folder of its own in "
        "UPDATE_PIPELINE_RUNTIME_DIR, or set CONTROL to False.",
    )


def _plugins(health: HealthInput) -> tuple[str, ...]:
    return tuple(
        f"{check.name}: {check.issue or 'its health check failed; see its documentation and the log.'}"
        for check in health.plugin_checks
        if not check.is_ok
    )


DEDUCTIONS: Final[tuple[Deduction, ...]] = (
    # A broken promise is critical alone; an outage that the pipeline rides out is degraded alone.
    Deduction("account_divergent", 60, _account),
    Deduction("not_started", 30, _not_started),
    Deduction("breaker_open", 45, _breaker_open),
    Deduction("breaker_half_open", 25, _breaker_half_open),
    Deduction("loop_stalled", 30, _loop_stall),
    Deduction("success_ratio_low", 25, _success_ratio),
    Deduction("oldest_wait_long", 25, _oldest_wait),
    Deduction("queue_nearly_full", 20, _queue_fill),
    Deduction("p99_critical_high", 20, _p99("critical")),
    Deduction("p99_high_high", 15, _p99("high")),
    Deduction("p99_normal_high", 15, _p99("normal")),
    Deduction("p99_low_high", 10, _p99("low")),
    Deduction("divergence_repaired", 20, _divergence),
    Deduction("applied_p95_high", 10, _applied),
    Deduction("plugin_blocking", 25, lambda health: health.parts_blocking),
    Deduction("plugin_off", 25, lambda health: health.parts_off),
    Deduction("plugin_failing", 10, lambda health: health.parts_failing),
    Deduction("transport_problem", 20, _transport),
    Deduction("connections_refused", 15, _refused),
    Deduction("plugin_check_failed", 25, _plugins),
    Deduction("control_unreachable", 5, _control),
    Deduction("connections_stuck", 5, _stuck),
    Deduction("dead_letters", 10, _dead_letters),
)
"""What costs how many points; issues are told in this order. The docs are drawn from it."""


UNREADY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "not_running": "The pipeline does not deliver yet, or no longer.",
        "stopping": "It delivers what waits, and then ends.",
        "breaker_open": "The transport failed so often that it is left alone; a new viewer would see old state.",
    }
)
"""Why a process should get no new clients. A half-open breaker is ready: its trials need something to carry."""


def unready(*, is_running: bool, is_stopping: bool, breaker_state: str) -> tuple[str, ...]:
    """The keys of `UNREADY` that apply, in its order; empty when the process is ready."""
    claims = {
        "not_running": not is_running and not is_stopping,
        "stopping": is_stopping,
        "breaker_open": breaker_state == "open",
    }
    return tuple(reason for reason in UNREADY if claims[reason])


def status_of(health_score: int) -> HealthStatus:
    """The status of a score: healthy from 80, degraded from 50, else critical."""
    if health_score >= HEALTHY_FROM:
        return "healthy"
    return "degraded" if health_score >= DEGRADED_FROM else "critical"


def score(health: HealthInput) -> HealthReport:
    """The verdict on what was measured.

    Law D1: the score is 100 less the points of every issue, and never below 0.
    Law D2: the score is below 100 exactly when there is an issue.
    Law D3: one more trouble never raises the score, and never removes another's issue.
    """
    issues: list[str] = []
    deductions: dict[str, int] = {}
    for row in DEDUCTIONS:
        found = row.find(health)
        if found:
            issues.extend(found)
            deductions[row.name] = row.points * len(found)
    health_score = max(0, 100 - sum(deductions.values()))
    return HealthReport(health_score, status_of(health_score), tuple(issues), MappingProxyType(deductions))
