"""A batch as it is handed to a transport: frozen, encoded, with an id under which it is retried.

As Law Q4 of the queue asks, a publication does not change once made; its retries carry the same id, and a
store that has applied an id ignores it.
"""

from __future__ import annotations

import msgspec

from .messages import Channels, UpdateKind, UpdatePriority

__all__ = ["Change", "Publication", "UpdateKind"]


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One update, ready to be applied.

    `content` is compact JSON: the whole state for REPLACE, the fields to set for MERGE (with `unset` the
    ones to remove), `{}` for REMOVE, the event's data for EVENT. `timestamp` is Unix seconds.
    """

    kind: UpdateKind
    agent_id: str
    channels: Channels
    update_type: str
    content: bytes
    unset: tuple[str, ...]
    timestamp: float
    priority: UpdatePriority


class Publication(msgspec.Struct, frozen=True, array_like=True):
    """Changes that are applied together, in order.

    A publication that failed may be tried change by change: then `part` is the index of the one change in the
    publication that `id` names, else it is -1. A part applied before is not applied again with the whole.
    """

    id: str
    changes: tuple[Change, ...]
    part: int = -1

    def parts(self) -> list[Publication]:
        """Each change by itself, under the same id."""
        if self.part >= 0:
            return [self]
        return [Publication(self.id, (change,), index) for index, change in enumerate(self.changes)]
