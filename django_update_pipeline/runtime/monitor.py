"""What the pipeline measures of itself: metrics, health and readiness, as the founding contract names them.

Counting happens where things happen; here it is only read. Whatever is read here may be written on the loop at the same
moment: it is copied in single steps, so a report is made of numbers that were all true within its 0.6 ms, and the
account is of one instant.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from ..core import account as terms
from ..core.circuit_breaker import CircuitState
from ..core.health import MIN_P99_COUNT, HealthInput, PluginCheck, score, unready
from ..core.histogram import LatencyHistogram, LatencyRecorder
from ..core.messages import PRIORITIES, UpdateMessage
from ..core.names import one_line
from ..core.rate_meter import RateMeter
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

#: Latencies and refusals of late are those of the last one to two of these, in seconds.
ROTATION_S: Final = 30.0

#: How often the account is compared with what really waits, in seconds; seldom while many agents wait.
ACCOUNT_CHECK_S: Final = 5.0
ACCOUNT_CHECK_LARGE_S: Final = 60.0

#: With more waiting agents than this, looking at all of them is not done each time somebody asks.
LARGE: Final = 2000


class Monitor:
    """Latencies, rates and the reports. Written on the loop, read from any thread."""

    def __init__(self, pipeline: UpdatePipeline) -> None:
        self._pipeline = pipeline
        now = pipeline.clock.monotonic()
        self.latency = LatencyRecorder()
        self.rate = RateMeter()
        self.batch_count = 0
        self.account_difference = 0
        self.watchdog = Watchdog(self.look_round, self._suspect)
        self._rotated_at = now
        self._account_checked_at = now
        self._oldest: tuple[float, float | None] = (now - ACCOUNT_CHECK_S, None)
        # Refusals by limit, as they were at the last two rotations.
        self._refusals: tuple[dict[str, int], dict[str, int]] = ({}, {})

    # on the loop

    def batch_delivered(self, batch: list[UpdateMessage], done: float) -> None:
        """Records a batch whose last ready connection has been handed it at `done` (monotonic seconds)."""
        record = self.latency.record
        for update in batch:
            record(update.priority, done - update.accepted_at)
        self.rate.add(len(batch), done)
        self.batch_count += 1
        if done - self._rotated_at > ROTATION_S:
            self._rotate(done)

    def look_round(self) -> None:
        """What is done now and then, also when nothing is delivered: windows end, the account is checked."""
        now = self._pipeline.clock.monotonic()
        if now - self._rotated_at > ROTATION_S:
            self._rotate(now)
        waiting = len(self._pipeline.batch_processor.queue.chains)
        pause = ACCOUNT_CHECK_S if waiting <= LARGE else ACCOUNT_CHECK_LARGE_S
        if now - self._account_checked_at >= pause:
            self.check_account()

    def check_account(self) -> int:
        """Compares the account with what really waits and is in flight; the difference, which should be 0.

        On the loop, where nothing settles meanwhile, and behind the door, where nothing enters: so both are of one
        instant. While another thread is at the door, the last answer stands. O(what waits).
        """
        pipeline = self._pipeline
        queue = pipeline.batch_processor.queue

        def compare() -> int:
            found = {priority.label: count for priority, count in queue.pending_by_priority().items()}
            for update in pipeline._delivery.in_flight:
                found[update.priority.label] += 1
            account = queue.account.snapshot()
            differences = [account[label]["pending"] - count for label, count in found.items()]
            return sum(differences) or max(differences)

        taken, difference = pipeline._ingress.try_run(compare)
        if taken and difference is not None:
            self._account_checked_at = pipeline.clock.monotonic()
            self.account_difference = difference
        return self.account_difference

    def _rotate(self, now: float) -> None:
        self._rotated_at = now
        self.latency.rotate()
        manager = self._pipeline.websocket_manager
        manager.ages.rotate()
        self._refusals = (self._refusals[1], dict(manager.refused))

    # any thread

    def performance(self) -> dict[str, Any]:
        """`get_performance_metrics()`."""
        pipeline = self._pipeline
        queue = pipeline.batch_processor.queue
        delivery = pipeline._delivery
        settling = delivery.settling
        manager = pipeline.websocket_manager
        meter = self.watchdog.meter
        account = queue.account.snapshot()
        total = account["total"]
        latency: dict[str, Any] = dict(self.latency.snapshot_ms())
        by_priority = latency.pop("by_priority")
        settled = total["delivered"] + total["dead_lettered"]
        dispatcher = pipeline._dispatcher
        breaker = pipeline.breaker_state()
        return {
            "total_updates": pipeline.total_updates,
            "successful_updates": total["delivered"],
            "failed_updates": total["dead_lettered"],
            "failed_attempts": settling.failed_updates,
            "retries": settling.retries,
            "transport_failures": delivery.egress.failure_count,
            "updates_per_second": self.rate.per_second(pipeline.clock.monotonic()),
            **latency,
            "by_priority": by_priority,
            "applied": manager.ages.applied.snapshot_ms(),
            "acknowledged": manager.ages.acknowledged.snapshot_ms(),
            "divergence_repaired": manager.ages.repaired_count,
            "success_rate": total["delivered"] / settled if settled else 1.0,
            "websocket_connections": manager.get_connection_count(),
            "connections_behind": manager.behind_count(),
            "connections_opened": manager.opened_count,
            "connections_refused": dict(manager.refused),
            "send_failures": manager.send_failures,
            "frames_sent": manager.frames_sent,
            "circuit_breaker_state": _state_name(breaker["state"]),
            "circuit_breaker_openings": int(breaker.get("opened_count") or 0),
            "batches": self.batch_count,
            "last_batch_size": dispatcher.last_batch_size,
            "last_batch_duration_ms": dispatcher.last_batch_duration_ms,
            "queue_depth": {p.label: account[p.label]["pending"] for p in PRIORITIES},
            "queue_fill_ratio": max(self._fill().values()),
            "oldest_wait_s": self._oldest_wait_s(),
            **{name: total[name] for name in terms.TERMS},
            "conservation": account,
            "dead_letters": len(pipeline.dead_letters),
            "dead_letters_by_reason": dict(settling.burials),
            "dead_letters_let_go": pipeline.dead_letters.let_go,
            "agents": pipeline.store.agent_count(),
            "store_bytes": pipeline.store.size_bytes(),
            "loop_lag_ms": meter.lag_s * 1000.0,
            "loop_stalls": meter.count,
            "loop_stall_s": meter.total_s,
            "plugin_failures": pipeline.containment.failures(),
            "transport": pipeline.transport.name,
        }

    def latencies(self) -> dict[str, LatencyHistogram]:
        """By priority, all latencies since the pipeline was made, as copies."""
        return self.latency.totals()

    def client_latencies(self) -> dict[str, dict[str, LatencyHistogram]]:
        """As `latencies`, until clients had `applied` what was queued, and until they had `acknowledged` it."""
        ages = self._pipeline.websocket_manager.ages
        return {"applied": ages.applied.totals(), "acknowledged": ages.acknowledged.totals()}

    def health(self) -> dict[str, Any]:
        """`get_health_status()`."""
        pipeline = self._pipeline
        manager = pipeline.websocket_manager
        account = pipeline.batch_processor.queue.account.snapshot()["total"]
        breaker = pipeline.breaker_state()
        settled = account["delivered"] + account["dead_lettered"]
        by_priority = self.latency.snapshot_ms()["by_priority"]
        fill = self._fill()
        fullest = max(fill, key=lambda name: fill[name])
        stall = self.watchdog.stall()
        refused = self._refused_of_late()
        report = score(
            HealthInput(
                is_started=pipeline.is_running,
                breaker_state=_state_name(breaker["state"]),
                breaker_failure_count=int(breaker.get("failure_count") or 0),
                breaker_retry_after_s=breaker.get("retry_after_s", 0.0),
                transport=pipeline.transport.name,
                success_ratio=account["delivered"] / settled if settled else None,
                p99_latency_ms={
                    label: row["p99_latency_ms"]
                    for label, row in by_priority.items()
                    if row["count"] >= MIN_P99_COUNT
                },
                queue_fill_ratio=fill[fullest],
                queue_limit=fullest,
                dead_letter_count=len(pipeline.dead_letters),
                parts_blocking=pipeline.containment.blocking(),
                parts_off=pipeline.containment.switched_off(),
                parts_failing=pipeline.containment.failing(),
                oldest_wait_s=self._oldest_wait_s(),
                loop_stall_s=stall.seconds,
                loop_stall_is_on=stall.is_on,
                loop_stall_where=stall.where,
                account_difference=self.account_difference,
                refused_count=sum(refused.values()),
                refused_limits=tuple(refused),
                transport_problem=one_line(getattr(pipeline.transport, "problem", None) or ""),
                control_problem=one_line(pipeline.control_problem() or ""),
                stuck_count=manager.stuck.closed_of_late(),
                applied_p95_ms={
                    label: row["p95_latency_ms"]
                    for label, row in manager.ages.applied.snapshot_ms()["by_priority"].items()
                    if row["count"] >= MIN_P99_COUNT
                },
                divergence_count=manager.ages.repaired_of_late(),
                plugin_checks=tuple(self._plugin_checks()),
            )
        )
        return {**report.as_dict(), "is_running": pipeline.is_running}

    def readiness(self) -> dict[str, Any]:
        """`get_readiness()`."""
        pipeline = self._pipeline
        reasons = unready(
            is_running=pipeline.is_running,
            is_stopping=pipeline.is_stopping,
            breaker_state=_state_name(pipeline.breaker_state()["state"]),
        )
        return {"is_ready": not reasons, "reasons": list(reasons)}

    def _fill(self) -> dict[str, float]:
        """How full each bound of the queue is, by its name in the settings; 1 is full."""
        queue = self._pipeline.batch_processor.queue
        limits = self._pipeline.config.queue
        return {
            "max_events": queue.event_count / limits.max_events,
            "max_event_bytes": queue.event_bytes / limits.max_event_bytes,
            "max_total_bytes": (queue.waiting_bytes + self._pipeline.store.size_bytes())
            / limits.max_total_bytes,
        }

    def _oldest_wait_s(self) -> float:
        """How long what waits longest (in flight included) has waited, seconds; 0 if nothing waits."""
        pipeline = self._pipeline
        queue = pipeline.batch_processor.queue
        now = pipeline.clock.monotonic()
        looked_at, oldest = self._oldest
        if len(queue.chains) <= LARGE or now - looked_at >= ACCOUNT_CHECK_S:
            waiting = [update.accepted_at for update in pipeline._delivery.in_flight]
            queued = queue.oldest_accepted_at()
            oldest = min(waiting if queued is None else [queued, *waiting], default=None)
            self._oldest = (now, oldest)
        return max(0.0, now - oldest) if oldest is not None else 0.0

    def _refused_of_late(self) -> dict[str, int]:
        """Connections refused in the last one to two windows, by the limit's name."""
        before = self._refusals[0]
        refused = dict(self._pipeline.websocket_manager.refused)
        return {
            limit: count - before.get(limit, 0)
            for limit, count in refused.items()
            if count > before.get(limit, 0)
        }

    def _plugin_checks(self) -> list[PluginCheck]:
        contain = self._pipeline.containment
        return [contain.verdict(check) for check in self._pipeline.health_checks]

    def _suspect(self, thread: int) -> str:
        call = self._pipeline.blame.current(thread)
        return "" if call is None else str(call)

    def as_namespace(self) -> SimpleNamespace:
        """The metrics as attributes, for clients of the founding API that read `performance_metrics.x`."""
        return SimpleNamespace(**self.performance())


def _state_name(state: object) -> str:
    return state.value if isinstance(state, CircuitState) else str(state)
