"""Every default, unit and range of the pipeline: the only place that holds them.

`settings.UPDATE_PIPELINE` is turned into a `PipelineConfig` by `conf`; a bare `UpdatePipeline()` uses
`PipelineConfig()`. Names ending in `_s` are seconds, in `_ms` milliseconds, in `_bytes` bytes; founding
names (`recovery_timeout`, in seconds) keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, overload

import msgspec
from msgspec import Meta

from ..exceptions import ConfigurationError

Positive = Annotated[int, Meta(ge=1)]
PositiveFloat = Annotated[float, Meta(gt=0)]
SocketPath = Annotated[str, Meta(pattern=r"^/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?\Z")]
ChannelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,90}\Z")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the settings: unknown keys are errors."""


class BatchingConfig(_Section, frozen=True):
    """When a batch is flushed, and how large it may be.

    `max_batch_size` (1 or more, 50) bounds one batch, and the next may follow at once; how many updates are handed
    out together adapts to what the loop can do in `target_flush_ms` (25). `batch_timeout_ms` (20) is NORMAL's window:
    the longest pause between two flushes under load, from a flush's start, or from its end where it took longer. HIGH
    has half of it, LOW four times, CRITICAL none.
    """

    max_batch_size: Positive = 50
    batch_timeout_ms: Annotated[float, Meta(ge=0, le=60_000)] = 20.0
    target_flush_ms: PositiveFloat = 25.0


class CircuitBreakerConfig(_Section, frozen=True):
    """When publishing stops after failures in a row, for how long, and how many trial calls close it."""

    failure_threshold: Positive = 5
    recovery_timeout: PositiveFloat = 30.0
    half_open_max_calls: Positive = 3


class RetryConfig(_Section, frozen=True):
    """How an update that failed itself is tried again: full jitter below `base_delay_s * 2**n`."""

    max_retries: Annotated[int, Meta(ge=0)] = 3
    base_delay_s: PositiveFloat = 0.05
    max_delay_s: PositiveFloat = 5.0


class QueueConfig(_Section, frozen=True):
    """Bounds of what waits. `overflow` is what an event at its bound meets.

    `reject` raises `PipelineFull` at the call; `drop_oldest` moves the oldest waiting event to the dead
    letters. State of a known agent is never refused for load.
    """

    max_events: Positive = 10_000
    max_event_bytes: Positive = 64 * 1024 * 1024
    overflow: Literal["reject", "drop_oldest"] = "reject"
    max_agents: Positive = 100_000
    max_update_bytes: Positive = 1024 * 1024
    max_total_bytes: Positive = 1024 * 1024 * 1024


class StoreConfig(_Section, frozen=True):
    """What a channel remembers: the ring of recent events, and tombstones before they are compacted."""

    max_events: Positive = 10_000
    max_event_bytes: Positive = 64 * 1024 * 1024
    max_tombstones: Positive = 10_000


class DeadLetterConfig(_Section, frozen=True):
    """How many dead letters are kept; the oldest go first, and are counted."""

    max_entries: Positive = 1_000
    max_bytes: Positive = 16 * 1024 * 1024


class ConnectionConfig(_Section, frozen=True):
    """Limits of sockets, and what a browser's handshake must show.

    `messages_per_s` and `bytes_per_s` of 0 switch that rate limit off; after `max_rate_limited` refused frames the
    socket is closed. A `max_connections_per_...` of 0 is no limit. `recheck_s` is how long a log-out or a permission
    withdrawn may go unnoticed where nothing tells of it. `close_timeout_s` bounds a close, never a slow
    reader; one whose socket takes no frame at all for `stuck_timeout_s` is closed.
    `allowed_origins` are origins other than the host's own, as `https://example.com`.
    `unsent_bytes` bounds what the system holds unsent of a connection, where it can be; 0 leaves it to the system.
    `direct_writes` lets a flush's frames be encoded once for all connections where the server can be written to.
    """

    max_frame_bytes: Positive = 64 * 1024
    max_depth: Positive = 32
    max_subscriptions: Positive = 100
    messages_per_s: Annotated[float, Meta(ge=0)] = 100.0
    burst: Positive = 200
    bytes_per_s: Annotated[float, Meta(ge=0)] = 262_144.0
    burst_bytes: Positive = 1_048_576
    max_rate_limited: Positive = 100
    max_connections: Positive = 20_000
    max_connections_per_user: Annotated[int, Meta(ge=0)] = 50
    max_connections_per_address: Annotated[int, Meta(ge=0)] = 0
    recheck_s: PositiveFloat = 30.0
    hook_timeout_s: PositiveFloat = 5.0
    accept_timeout_s: PositiveFloat = 5.0
    close_timeout_s: PositiveFloat = 1.0
    stuck_timeout_s: PositiveFloat = 60.0
    window_bytes: Annotated[int, Meta(ge=1024)] = 256 * 1024
    window_frames: Annotated[int, Meta(ge=2)] = 64
    direct_writes: bool = True
    unsent_bytes: Annotated[int, Meta(ge=0)] = 32 * 1024
    allowed_origins: tuple[str, ...] = ()


class ContainmentConfig(_Section, frozen=True):
    """When a plugin's part is switched off.

    After `max_failures` in a row (10; 0 for never), or when it blocked the event loop `max_blocks` times (3; 0 for
    never) for longer than `max_block_s`; ten minutes without a block and the earlier ones are forgotten. A
    transformer or load that is off is tried again each `retry_after_s` (0 for never), because updates wait for it; one
    that blocked is not.
    """

    max_failures: Annotated[int, Meta(ge=0)] = 10
    max_block_s: PositiveFloat = 1.0
    max_blocks: Annotated[int, Meta(ge=0)] = 3
    retry_after_s: Annotated[float, Meta(ge=0)] = 30.0


class PipelineConfig(_Section, frozen=True):
    """The whole configuration. Everything has a default; `PipelineConfig()` runs.

    `socket_path` is where the classic socket is; the admin socket is at `admin/` below it.
    """

    transport: str = "memory"
    plugins: tuple[str, ...] = ()
    entry_points: bool = True
    channel_layer: str = "default"
    channel_group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,80}\Z")] = "update_pipeline"
    default_channel: ChannelName = "updates"
    open_channels: tuple[ChannelName, ...] = ()
    state_types: tuple[str, ...] = ("state_change",)
    database: str = "default"
    on_commit: bool = True
    control: bool = True
    stop_on_sigterm: bool = True
    socket_path: SocketPath = "ws/updates/"
    stop_timeout_s: PositiveFloat = 10.0
    transport_timeout_s: PositiveFloat = 5.0
    batching: BatchingConfig = BatchingConfig()
    circuit_breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    retry: RetryConfig = RetryConfig()
    queue: QueueConfig = QueueConfig()
    store: StoreConfig = StoreConfig()
    dead_letters: DeadLetterConfig = DeadLetterConfig()
    connections: ConnectionConfig = ConnectionConfig()
    containment: ContainmentConfig = ContainmentConfig()


_S = TypeVar("_S", bound=_Section)


@overload
def config_from_mapping(values: Mapping[str, Any]) -> PipelineConfig: ...
@overload
def config_from_mapping(values: Mapping[str, Any], kind: type[_S]) -> _S: ...
def config_from_mapping(values: Mapping[str, Any], kind: type[_Section] = PipelineConfig) -> _Section:
    """Builds a section from plain values, sections' names in any case (`BATCHING`).

    Raises:
        ConfigurationError: an unknown name or a wrong value; the text names its path and the mend.
    """
    lowered: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigurationError(f"setting name {key!r} is not a string", path=repr(key))
        name = key.lower() if kind is PipelineConfig else key
        if name in lowered:
            raise ConfigurationError(
                f"UPDATE_PIPELINE has {name!r} twice, in two spellings: keep one", path=name
            )
        lowered[name] = value
    try:
        return msgspec.convert(lowered, kind, strict=True)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        known = ", ".join(sorted(field.name for field in msgspec.structs.fields(kind)))
        where = path.strip("`").removeprefix("$.") or "the top level"
        hint = f"; known names there: {known}" if "unknown field" in text and not path else ""
        raise ConfigurationError(f"UPDATE_PIPELINE is wrong at {where}: {text}{hint}", path=where) from error
