"""Our own parts, as a plugin of the same kind as everybody's. It is asked last.

Parts whose extra is not installed are imported only when they are asked for.
"""

from __future__ import annotations

from typing import Any

from ..core.batching import BatchingPolicy
from ..core.circuit_breaker import CircuitBreaker
from ..core.config import PipelineConfig
from ..core.ports import RetryPolicy
from ..exceptions import ConfigurationError
from ..hookspecs import hookimpl
from ..runtime.clock import SystemClock
from ..runtime.parts import default_batching, default_circuit_breaker, default_retry
from ..transports.memory import MemoryTransport

TRANSPORTS = ("auto", "memory", "channels")


@hookimpl
def provide_transport(config: PipelineConfig) -> Any:
    """`memory`, `channels`, or with `auto` the Channels layer where one is configured that crosses processes."""
    name = config.transport
    if name == "auto":
        from ..transports.channels import crosses_processes

        name = "channels" if crosses_processes(config.channel_layer) else "memory"
    if name == "memory":
        return MemoryTransport()
    if name == "channels":
        from ..transports.channels import ChannelsTransport

        return ChannelsTransport(layer_alias=config.channel_layer, group=config.channel_group)
    raise ConfigurationError(
        f"TRANSPORT is {name!r}, which is none of {', '.join(TRANSPORTS)} and no plugin provides it",
        path="transport",
    )


@hookimpl
def provide_batching_policy(config: PipelineConfig) -> BatchingPolicy:
    """Adaptive batching."""
    return default_batching(config)


@hookimpl
def provide_circuit_breaker(config: PipelineConfig) -> CircuitBreaker:
    """Failures in a row."""
    return default_circuit_breaker(config, SystemClock())


@hookimpl
def provide_retry_policy(config: PipelineConfig) -> RetryPolicy:
    """Exponential back-off with full jitter."""
    return default_retry(config)
