"""Transformers that come with the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.messages import JSONObject


class FrontendStateAdapterTransformer:
    """Replaces each full state by what the adapter's `get_agent_for_frontend(agent_id)` says it is.

    Events and agents the adapter does not know pass unchanged.
    """

    name = "frontend_state_adapter"

    def __init__(self, adapter: Any, state_types: Iterable[str] = ("state_change",)) -> None:
        self.adapter = adapter
        self.state_types = frozenset(state_types)

    def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject | None:
        """The adapter's state for a full state, else the data as it is."""
        if update_type not in self.state_types:
            return data
        state: JSONObject | None = self.adapter.get_agent_for_frontend(agent_id)
        return data if state is None else state


class FieldFilterTransformer:
    """Keeps or drops top-level fields, so that what browsers need not know never leaves the server.

    Args:
        keep: only these are sent; None keeps all.
        drop: these are not sent.
        update_types: the types it applies to; None means all.
    """

    name = "field_filter"

    def __init__(
        self,
        *,
        keep: Iterable[str] | None = None,
        drop: Iterable[str] = (),
        update_types: Iterable[str] | None = None,
    ) -> None:
        self.keep = None if keep is None else frozenset(keep)
        self.drop = frozenset(drop)
        self.update_types = None if update_types is None else frozenset(update_types)

    def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject | None:
        """The data without the fields that stay here."""
        if self.update_types is not None and update_type not in self.update_types:
            return data
        return {
            key: value
            for key, value in data.items()
            if key not in self.drop and (self.keep is None or key in self.keep)
        }
