"""What enters the pipeline: updates, their priority and their kind.

An `UpdateMessage` is built by the caller's thread, already encoded, and from then on belongs to the
pipeline. What leaves for the browsers is in `core.frames`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from .codec import encode_object

#: What `state_patch` gives a field to remove it. `None` sets the field to JSON `null`.
UNSET = msgspec.UNSET

#: The update type that replaces an agent's state wherever nothing else is configured.
FULL_STATE = "state_change"

JSONObject = dict[str, Any]
Channels = tuple[str, ...]


class UpdatePriority(enum.IntEnum):
    """How urgent an update is. The value is the order: a lower one goes first.

    The figures are the latency promised at p99 from queueing to the socket.
    """

    CRITICAL = 0  # < 50 ms, flushed at once
    HIGH = 1  # < 50 ms
    NORMAL = 2  # < 100 ms
    LOW = 3  # < 500 ms

    @property
    def label(self) -> str:
        """The name in metrics and logs: `critical`, `high`, `normal`, `low`."""
        return self.name.lower()


PRIORITIES: tuple[UpdatePriority, ...] = tuple(UpdatePriority)


class UpdateKind(enum.IntEnum):
    """What an update does to its agent's state. `EVENT` does nothing to it."""

    REPLACE = 0
    MERGE = 1
    REMOVE = 2
    EVENT = 3


class Waiter(Protocol):
    """One `publish()` call that waits for an update to settle; called from any thread."""

    def delivered(self) -> None: ...

    def failed(self, outcome: str, reason: str) -> None: ...


Load = Callable[[str], JSONObject | None]


class UpdateMessage(msgspec.Struct, eq=False):
    """One update on its way through the pipeline.

    The content is `payload`, the data as compact JSON text in UTF-8. A merge, and a replace that merges
    were laid over, keep `fields` instead: top-level field to its JSON text, `None` for a field to remove.
    An update that only says *this agent changed* has `load`, which is asked for the state at the flush;
    `fields` is laid over what it returns.

    `accepted_at` is in monotonic seconds, `timestamp` in Unix seconds (when it was queued). `retry_count`
    counts failures of the update itself, never an outage's. `seq`, `rank` and `deadline` are its place in the
    queue, `revision` is how often another was composed into it. A Struct, because making one is a good part of
    what queueing costs; `of` makes one from plain data.
    """

    agent_id: str
    update_type: str = "state_change"
    payload: bytes | None = None
    priority: UpdatePriority = UpdatePriority.NORMAL
    timestamp: float = 0.0
    accepted_at: float = 0.0
    channels: Channels = ()
    kind: UpdateKind = UpdateKind.EVENT
    max_retries: int = 3
    retry_count: int = 0
    fields: dict[str, bytes | None] | None = None
    load: Load | None = None
    waiters: list[Waiter] | None = None
    seq: int = 0
    rank: int = 1
    deadline: float = 0.0
    revision: int = 0

    @classmethod
    def of(
        cls,
        agent_id: str,
        update_type: str,
        data: JSONObject,
        priority: UpdatePriority = UpdatePriority.NORMAL,
        timestamp: float = 0.0,
        *,
        retry_count: int = 0,
        max_retries: int = 3,
    ) -> UpdateMessage:
        """Makes an event from plain data.

        Raises:
            InvalidUpdate: the data can't be encoded.
        """
        return cls(
            agent_id,
            update_type,
            encode_object(data, agent_id),
            priority,
            timestamp,
            max_retries=max_retries,
            retry_count=retry_count,
        )

    @property
    def data(self) -> JSONObject:
        """The content decoded afresh: changing it changes nothing that was queued."""
        if self.fields is not None:
            return {k: msgspec.json.decode(v) for k, v in self.fields.items() if v is not None}
        if self.payload is None:
            return {}
        decoded: JSONObject = msgspec.json.decode(self.payload)
        return decoded

    def size_bytes(self) -> int:
        """Bytes of content that wait (0 for a lazily loaded state)."""
        size = len(self.payload) if self.payload is not None else 0
        if self.fields is not None:
            size += sum(len(k) + (len(v) if v is not None else 0) for k, v in self.fields.items())
        return size

    def __repr__(self) -> str:
        return (
            f"UpdateMessage({self.agent_id!r}, {self.update_type!r}, {self.priority.label}, "
            f"{self.kind.name.lower()}, {self.size_bytes()} bytes)"
        )
