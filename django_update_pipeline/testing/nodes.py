"""The node a transport sees, without a pipeline around it."""

from __future__ import annotations

import json
import secrets
from typing import Any

from ..core.publication import Publication
from ..core.store import Store


class StoreNode:
    """A `Node` with a real store. `applied` has every publication that was handed to `apply`, in order."""

    def __init__(self, node_id: str | None = None) -> None:
        self.node_id = node_id or secrets.token_hex(8)
        self.store = Store(epoch=secrets.token_hex(4))
        self.applied: list[Publication] = []

    def apply(self, publication: Publication) -> None:
        """Applies a publication to the store."""
        self.applied.append(publication)
        self.store.apply(publication)

    def states(self, channel: str = "updates") -> dict[str, Any]:
        """The channel's agents, decoded."""
        return {agent_id: json.loads(text) for agent_id, text in self.store.states(channel).items()}

    def events(self, channel: str = "updates") -> list[tuple[str, Any]]:
        """The channel's events as `(agent_id, data)`, in order."""
        kept = self.store.channel(channel).events_between(0, self.store.head)
        return [(event.agent_id, json.loads(event.data)) for event in kept]
