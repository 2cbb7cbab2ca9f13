"""The parts a pipeline is made of. `assembly` fills them from plugins; a bare pipeline uses the defaults."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.batching import AdaptiveBatching, BatchingPolicy
from ..core.circuit_breaker import CircuitBreaker
from ..core.config import PipelineConfig
from ..core.messages import JSONObject
from ..core.ports import (
    AccessPolicy,
    Client,
    Clock,
    HealthCheck,
    RetryPolicy,
    Router,
    Source,
    Transformer,
    Transport,
)
from ..core.retry import ExponentialBackoff
from ..core.view import View, allowed
from ..transports.memory import MemoryTransport
from .containment import Containment
from .observers import Observers


class DefaultAccess:
    """Access without plugins: the open channels, and no actions."""

    def __init__(self, config: PipelineConfig) -> None:
        self._open = {config.default_channel, *config.open_channels}

    asks_about_channels = False

    async def may_subscribe(self, client: Client, channel: str) -> bool:
        return channel in self._open

    async def view(self, client: Client, wanted: View) -> View | None:
        return allowed(wanted, (), is_open=wanted.channel in self._open)

    async def recheck(self, client: Client, wanted: Sequence[View]) -> dict[View, View | None]:
        return {view: await self.view(client, view) for view in wanted}

    async def may_act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        return False

    async def act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        return False


@dataclass
class Parts:
    """One pipeline's parts."""

    transport: Transport
    batching: BatchingPolicy
    circuit_breaker: CircuitBreaker
    retry: RetryPolicy
    access: AccessPolicy
    sources: list[Source] = field(default_factory=list)
    transformers: list[Transformer] = field(default_factory=list)
    router: Router | None = None
    frontend_adapter: Any = None
    observers: Observers = field(default_factory=Observers)
    health_checks: list[HealthCheck] = field(default_factory=list)
    containment: Containment | None = None  # the pipeline makes one if there is none


def default_batching(config: PipelineConfig) -> BatchingPolicy:
    """Adaptive batching with the configured bounds."""
    return AdaptiveBatching(config.batching)


def default_circuit_breaker(config: PipelineConfig, clock: Clock) -> CircuitBreaker:
    """The founding breaker: failures in a row."""
    section = config.circuit_breaker
    return CircuitBreaker(
        section.failure_threshold,
        section.recovery_timeout,
        section.half_open_max_calls,
        permit_timeout_s=config.transport_timeout_s * 2,
        monotonic=clock.monotonic,
        random=random.random,
    )


def default_retry(config: PipelineConfig) -> RetryPolicy:
    """Exponential back-off with full jitter."""
    return ExponentialBackoff(config.retry.base_delay_s, config.retry.max_delay_s, random=random.random)


def default_parts(config: PipelineConfig, clock: Clock) -> Parts:
    """What a bare pipeline is made of."""
    return Parts(
        transport=MemoryTransport(),
        batching=default_batching(config),
        circuit_breaker=default_circuit_breaker(config, clock),
        retry=default_retry(config),
        access=DefaultAccess(config),
    )
