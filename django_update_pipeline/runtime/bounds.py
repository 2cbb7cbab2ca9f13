"""The bounds an update meets before it is queued, and what makes room at them.

Any thread may ask, and nobody waits: threads that ask at once may all find the last place free.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.codec import split_object
from ..core.config import QueueConfig
from ..core.messages import Channels, UpdateKind, UpdateMessage
from ..core.priority_queue import PriorityQueue
from ..core.store import Store
from ..exceptions import InvalidUpdate, PipelineFull
from .ingress import Ingress


class Bounds:
    """How many agents, events and bytes there may be.

    Args:
        breaker_is_closed: what the bound on events does depends on it.
        bury: told of an event that made room, with reason and cause; behind the door.
    """

    def __init__(
        self,
        limits: QueueConfig,
        queue: PriorityQueue,
        store: Store,
        ingress: Ingress,
        *,
        breaker_is_closed: Callable[[], bool],
        bury: Callable[[UpdateMessage, str, str], None],
    ) -> None:
        self.limits = limits
        self.queue = queue
        self.store = store
        self._chains = queue.chains
        self._ingress = ingress
        self._breaker_is_closed = breaker_is_closed
        self._bury = bury

    def check_room_for_agent(self, agent_id: str) -> None:
        """A new agent meets the bound on agents, and the one on all bytes.

        Raises:
            PipelineFull: there is no room for one more.
        """
        limits = self.limits
        agents = self.store.totals.agents
        if agent_id in self._chains or agent_id in agents:
            return
        if len(agents) + len(self._chains) >= limits.max_agents:
            # An agent that is in the store and waits too is one agent: counted only where it may matter.
            waiting = sum(1 for one in list(self._chains) if one not in agents)
            if len(agents) + waiting >= limits.max_agents:
                raise PipelineFull(
                    f"agent {agent_id!r} would be one more than QUEUE max_agents = {limits.max_agents}: remove agents "
                    '(update_type "state_removed") or raise it',
                    limit="max_agents",
                    value=limits.max_agents,
                )
        self.check_total_bytes(0)

    def check_total_bytes(self, size: int) -> None:
        """New agents and events meet this bound; the state of a known agent conflates instead."""
        held = self.queue.waiting_bytes + self.store.totals.size_bytes + size
        limit = self.limits.max_total_bytes
        if held > limit:
            raise PipelineFull(
                f"{held} bytes would be held, more than QUEUE max_total_bytes = {limit}: remove agents, lower STORE "
                "max_event_bytes, or raise it",
                limit="max_total_bytes",
                value=limit,
            )

    def check_room_for_event(self, size: int) -> None:
        """Events at their bound meet the overflow policy; with the breaker open the oldest makes room.

        Raises:
            PipelineFull: there is no room for one more of this size.
        """
        self.check_total_bytes(size)
        limits = self.limits
        queue = self.queue
        if queue.event_count < limits.max_events and queue.event_bytes + size <= limits.max_event_bytes:
            return
        if limits.overflow == "drop_oldest" or not self._breaker_is_closed():
            self._ingress.put(lambda: self._drop_oldest(size))
            return
        name, value = "max_events", limits.max_events
        if queue.event_count < limits.max_events:
            name, value = "max_event_bytes", limits.max_event_bytes
        raise PipelineFull(
            f"{queue.event_count} events with {queue.event_bytes} bytes wait, which is QUEUE {name} = {value}: try "
            'again later, raise it, or set QUEUE overflow to "drop_oldest"',
            limit=name,
            value=value,
        )

    def _drop_oldest(self, size: int) -> None:
        limits = self.limits
        queue = self.queue
        while queue.event_count >= limits.max_events or (
            queue.event_count and queue.event_bytes + size > limits.max_event_bytes
        ):
            update = queue.drop_oldest_event()
            if update is None:
                return
            self._bury(update, "overflow", "newer events took its place at the bound")

    def check_merged_size(
        self, agent_id: str, fields: dict[str, bytes | None], size: int, channels: Channels
    ) -> None:
        """A state grows by patches: with this one laid over it, it meets the same bound as a full state.

        Raises:
            InvalidUpdate: it would be too large.
        """
        chain = self._chains.get(agent_id)
        waiting = chain.waiting_state(channels) if chain is not None else None
        known = [
            agent
            for channel in map(self.store.channels.get, channels)
            if channel is not None and (agent := channel.agents.get(agent_id)) is not None
        ]
        at_most = size + (waiting.size_bytes() if waiting is not None else 0)
        at_most += max((sum(map(len, list(agent.fields.values()))) for agent in known), default=0)
        if at_most <= self.limits.max_update_bytes:
            return
        # What is replaced does not add up: looked at field by field, only where it may matter.
        for stored in [dict(agent.fields) for agent in known] or [{}]:
            merged: dict[str, bytes | None] = dict(stored)
            if waiting is not None:
                merged = _laid_over(merged, waiting)
            merged.update(fields)
            exact = sum(len(key) + len(text) + 4 for key, text in merged.items() if text is not None)
            if exact > self.limits.max_update_bytes:
                raise self.too_large(agent_id, exact)

    def too_large(self, agent_id: object, size: int) -> InvalidUpdate:
        """The error of an update's data that has more bytes than it may have."""
        return InvalidUpdate(
            f"data of agent {agent_id!r} has {size} bytes, more than QUEUE max_update_bytes = "
            f"{self.limits.max_update_bytes}: send less, or raise it",
            agent_id=agent_id,
            path="data",
        )


def _laid_over(state: dict[str, bytes | None], update: UpdateMessage) -> dict[str, bytes | None]:
    """A state's fields with a waiting state update laid over them."""
    fields, payload = update.fields, update.payload
    if update.kind is not UpdateKind.MERGE:
        state = {} if payload is None else dict(split_object(payload))
    return state if fields is None else state | dict(fields)
