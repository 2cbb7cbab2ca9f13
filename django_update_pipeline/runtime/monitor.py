"""What the pipeline measures of itself: metrics and health, as the founding contract names them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..core import account as terms
from ..core.circuit_breaker import CircuitState
from ..core.health import HealthInput, PluginCheck, score, unready
from ..core.histogram import LatencyRecorder
from ..core.messages import PRIORITIES, UpdateMessage
from ..core.rate_meter import RateMeter

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline

ROTATION_S = 30.0


class Monitor:
    """Latencies, rates and the two reports. Written on the loop, read from any thread."""

    def __init__(self, pipeline: UpdatePipeline) -> None:
        self._pipeline = pipeline
        self.latency = LatencyRecorder()
        self.rate = RateMeter()
        self._rotated_at = pipeline.clock.monotonic()

    def batch_delivered(self, batch: list[UpdateMessage], done: float) -> None:
        """Records a batch whose last ready connection has been handed it at `done` (monotonic seconds)."""
        record = self.latency.record
        for update in batch:
            record(update.priority, done - update.accepted_at)
        self.rate.add(len(batch), done)
        if done - self._rotated_at > ROTATION_S:
            self._rotated_at = done
            self.latency.rotate()

    def performance(self) -> dict[str, Any]:
        """`get_performance_metrics()`."""
        pipeline = self._pipeline
        account = pipeline.batch_processor.queue.account.snapshot()
        total = account["total"]
        latency: dict[str, Any] = dict(self.latency.snapshot_ms())
        by_priority = latency.pop("by_priority")
        settled = total["delivered"] + total["dead_lettered"]
        dispatcher = pipeline._dispatcher
        return {
            "total_updates": pipeline.total_updates,
            "successful_updates": total["delivered"],
            "failed_updates": total["dead_lettered"],
            "failed_attempts": pipeline._delivery.failed_updates,
            "updates_per_second": self.rate.per_second(pipeline.clock.monotonic()),
            **latency,
            "by_priority": by_priority,
            "success_rate": total["delivered"] / settled if settled else 1.0,
            "websocket_connections": pipeline.websocket_manager.get_connection_count(),
            "circuit_breaker_state": _state_name(pipeline.breaker_state()["state"]),
            "last_batch_size": dispatcher.last_batch_size,
            "last_batch_duration_ms": dispatcher.last_batch_duration_ms,
            "queue_depth": {p.label: account[p.label]["pending"] for p in PRIORITIES},
            **{name: total[name] for name in terms.TERMS},
            "conservation": account,
            "dead_letters": len(pipeline.dead_letters),
            "transport": pipeline.transport.name,
        }

    def health(self) -> dict[str, Any]:
        """`get_health_status()`."""
        pipeline = self._pipeline
        queue = pipeline.batch_processor.queue
        limits = pipeline.config.queue
        account = queue.account.snapshot()["total"]
        breaker = pipeline.breaker_state()
        oldest = queue.oldest_accepted_at()
        settled = account["delivered"] + account["dead_lettered"]
        by_priority = self.latency.snapshot_ms()["by_priority"]
        fill = {
            "max_events": queue.event_count / limits.max_events,
            "max_event_bytes": queue.event_bytes / limits.max_event_bytes,
            "max_total_bytes": (queue.waiting_bytes + pipeline.store.size_bytes()) / limits.max_total_bytes,
        }
        fullest = max(fill, key=lambda name: fill[name])
        report = score(
            HealthInput(
                is_started=pipeline.is_running,
                breaker_state=_state_name(breaker["state"]),
                breaker_failure_count=int(breaker.get("failure_count") or 0),
                breaker_retry_after_s=breaker.get("retry_after_s", 0.0),
                transport=pipeline.transport.name,
                success_ratio=account["delivered"] / settled if settled else None,
                p99_latency_ms={label: row["p99_latency_ms"] for label, row in by_priority.items()},
                queue_fill_ratio=fill[fullest],
                queue_limit=fullest,
                dead_letter_count=len(pipeline.dead_letters),
                oldest_wait_s=max(0.0, pipeline.clock.monotonic() - oldest) if oldest is not None else 0.0,
                parts_blocking=pipeline.containment.blocking(),
                parts_off=pipeline.containment.switched_off(),
                parts_failing=pipeline.containment.failing(),
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
            breaker_state=_state_name(pipeline.circuit_breaker.get_state()["state"]),
        )
        return {"is_ready": not reasons, "reasons": list(reasons)}

    def _plugin_checks(self) -> list[PluginCheck]:
        contain = self._pipeline.containment
        return [contain.verdict(check) for check in self._pipeline.health_checks]

    def as_namespace(self) -> SimpleNamespace:
        """The metrics as attributes, for clients of the founding API that read `performance_metrics.x`."""
        return SimpleNamespace(**self.performance())


def _state_name(state: object) -> str:
    return state.value if isinstance(state, CircuitState) else str(state)
