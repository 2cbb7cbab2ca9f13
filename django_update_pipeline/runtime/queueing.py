"""The half of the pipeline that any thread may call: checks, encodes and hands in; never waits.

`queue_agent_update` is the hot path: what it costs beyond encoding the data is measured by `benchmarks/ingest.py`.
Its common cases (a full state, an event) are written out there; everything else goes through methods.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..core import account as terms
from ..core.batching import BatchProcessor
from ..core.codec import NULL, encode_object, split_object
from ..core.config import PipelineConfig
from ..core.messages import UNSET, JSONObject, Load, UpdateKind, UpdateMessage, UpdatePriority
from ..core.names import unsafe_text, valid_agent_id
from ..core.ports import Clock, Router
from ..core.session import SYSTEM_CHANNEL, SYSTEM_EVENT
from ..core.store import Store
from ..exceptions import InvalidUpdate, UpdateNotDelivered, UpdatePipelineError
from .addressing import Addressing, Unroutable
from .bounds import Bounds
from .containment import Containment
from .delivery import Delivery
from .dispatcher import Dispatcher
from .ingress import Ingress

_EVENT, _REPLACE, _MERGE, _REMOVE = UpdateKind.EVENT, UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE
_NORMAL = UpdatePriority.NORMAL
_encode = msgspec.json.Encoder().encode

LEVELS = ("info", "warning", "error")

#: Asked with what is to be done at the commit; True if it will be.
Defer = Callable[[Callable[[], None]], bool]


class FutureWaiter:
    """Tells one `publish()` call how its update ended; from any thread."""

    def __init__(self) -> None:
        self.future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def delivered(self) -> None:
        """The transport acknowledged it."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # its caller was cancelled
            self.future.set_result(None)

    def failed(self, outcome: str, reason: str) -> None:
        """It was cleared or dead-lettered."""
        error = UpdateNotDelivered(f"the update was {outcome}: {reason}", outcome=outcome, reason=reason)
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.future.set_exception(error)


class Queueing:
    """What `UpdatePipeline` offers to producers. Its parts are made by `UpdatePipeline.__init__`."""

    config: PipelineConfig
    clock: Clock
    store: Store
    batch_processor: BatchProcessor
    circuit_breaker: Any
    _ingress: Ingress
    _delivery: Delivery
    _dispatcher: Dispatcher

    @property
    def is_running(self) -> bool:
        """Whether the pipeline delivers."""
        raise AssertionError("UpdatePipeline has it")

    def _prepare_queueing(self, router: Router | None, defer: Defer | None, containment: Containment) -> None:
        """Binds once what the hot path needs."""
        config = self.config
        self.defer = defer
        self._commit_turn = 0
        self._last_total = 0
        self._deferred_count = 0  # those that wait for a commit, or were rolled back
        self._queue = self.batch_processor.queue
        self._chains = self._queue.chains
        self._accept = self.batch_processor.accept
        self._monotonic = self.clock.monotonic
        self._time = self.clock.time
        addressing = Addressing(router, config.default_channel, containment, self.clock)
        self._route = addressing.route
        self._default_channels = addressing.default_channels
        self._channels = addressing.channels
        self._bounds = bounds = Bounds(
            config.queue,
            self._queue,
            self.store,
            self._ingress,
            breaker_is_closed=self._breaker_is_closed,
            bury=self._delivery.settling.bury,
        )
        self._check_room_for_event = bounds.check_room_for_event
        self._too_large = bounds.too_large
        self._kinds = dict.fromkeys(config.state_types, _REPLACE)
        self._kinds |= {"state_patch": _MERGE, "state_removed": _REMOVE}
        self._known_types: set[str] = set()
        self._max_retries = config.retry.max_retries
        self._max_update_bytes = config.queue.max_update_bytes

    def queue_agent_update(
        self,
        agent_id: str,
        update_type: str = "state_change",
        data: JSONObject | None = None,
        priority: UpdatePriority = _NORMAL,
        channels: Iterable[str] | None = None,
    ) -> None:
        """Queues an update. The data is encoded before this returns; it never waits. Any thread.

        Args:
            agent_id: the entity's id, 1 to 200 characters.
            update_type: `state_change` (and those in STATE_TYPES) replaces the agent's state, `state_patch`
                merges top-level fields into it (None sets null, UNSET removes the field), `state_removed`
                removes the agent. Any other is an event: delivered, in order, once each.
            data: a JSON object.
            priority: how urgent it is.
            channels: where it goes; None for what the router says, else the default channel.

        Raises:
            InvalidUpdate: a field or the data is not valid.
            PipelineFull: a bound is reached.
        """
        if (
            type(data) is dict
            and type(agent_id) is str
            and agent_id in self._chains
            and type(priority) is UpdatePriority
            and type(update_type) is str
            and (kind := self._kinds.get(update_type, _EVENT)) is _REPLACE
        ):
            # A known agent's full state, written out: each call and branch shows in the benchmark.
            try:
                payload = _encode(data)
            except Exception:
                payload = encode_object(
                    data, agent_id
                )  # plain values of odd types, or an error with its path
            if NULL(payload) is not None:
                payload = encode_object(data, agent_id)
            if len(payload) > self._max_update_bytes:
                raise self._too_large(agent_id, len(payload))
            update = UpdateMessage(
                agent_id,
                update_type,
                payload,
                priority,
                self._time(),
                self._monotonic(),
                self._default_channels
                if channels is None and self._route is None
                else self._channels(agent_id, update_type, channels),
                kind,
                self._max_retries,
            )
        else:
            update = self._update(agent_id, update_type, data, priority, channels)
        if self.defer is not None or not update.channels:
            self._hand_in(update)
            return
        if self._ingress.put_update(update):
            self._dispatcher.notify()

    def queue_agent_changed(
        self,
        agent_id: str,
        load: Load,
        priority: UpdatePriority = _NORMAL,
        update_type: str = "state_change",
        channels: Iterable[str] | None = None,
    ) -> None:
        """Says that an agent changed: `load(agent_id)` is asked for its state at the flush, on the loop.

        However often an agent changes before a flush, its state is made once. None from `load` sends nothing.

        Raises:
            InvalidUpdate: a field is not valid, or the update type is no full state.
            PipelineFull: a bound is reached.
        """
        if type(update_type) is not str or self._kinds.get(update_type) is not _REPLACE:
            raise InvalidUpdate(
                f"update_type {update_type!r} is no full state: use one of {sorted(self.config.state_types)}",
                agent_id=agent_id,
            )
        if not valid_agent_id(agent_id):
            raise _invalid_agent(agent_id)
        self._bounds.check_room_for_agent(agent_id)
        self._hand_in(
            UpdateMessage(
                agent_id,
                update_type,
                None,
                self._checked_priority(priority),
                self._time(),
                self._monotonic(),
                self._channels(agent_id, update_type, channels),
                _REPLACE,
                self._max_retries,
                load=load,
            )
        )

    async def publish(
        self,
        agent_id: str,
        update_type: str = "state_change",
        data: JSONObject | None = None,
        priority: UpdatePriority = _NORMAL,
        channels: Iterable[str] | None = None,
    ) -> None:
        """Queues an update and returns once the transport has acknowledged it, or a newer state in its place.

        Waits while the circuit breaker is open.

        Raises:
            UpdateNotDelivered: the update was cleared or dead-lettered.
            UpdatePipelineError: the pipeline does not run.
        """
        if not self.is_running:
            raise UpdatePipelineError("publish() needs a running pipeline: await pipeline.start() first")
        waiter = FutureWaiter()
        update = self._update(agent_id, update_type, data, priority, channels)
        update.waiters = [waiter]
        self._hand_in(update)
        await asyncio.wrap_future(waiter.future)

    def queue_system_notification(
        self, message: str, level: str = "info", priority: UpdatePriority = UpdatePriority.HIGH
    ) -> None:
        """Queues news for every connection, whatever it is subscribed to. `level`: info, warning or error."""
        if level not in LEVELS:
            raise InvalidUpdate(f"level {level!r} is none of {', '.join(LEVELS)}")
        payload = encode_object({"level": level, "message": str(message)}, SYSTEM_CHANNEL)
        if len(payload) > self._max_update_bytes:
            raise self._too_large(SYSTEM_CHANNEL, len(payload))
        self._check_room_for_event(len(payload))
        self._hand_in(
            UpdateMessage(
                "",
                SYSTEM_EVENT,
                payload,
                self._checked_priority(priority),
                self._time(),
                self._monotonic(),
                (SYSTEM_CHANNEL,),
                _EVENT,
                self._max_retries,
            )
        )

    @property
    def total_updates(self) -> int:
        """Updates queued so far, those that wait for a commit or were rolled back included."""
        for _ in range(10):  # a bound, because a signal handler may have interrupted the commit
            turn = self._commit_turn
            total = self._queue.account.total(terms.ACCEPTED) + self._deferred_count
            if turn == self._commit_turn and not turn % 2:
                break
        # In the middle of a commit the sum is one too low, never too high.
        self._last_total = total = max(total, self._last_total)
        return total

    # handing in

    def _update(
        self,
        agent_id: str,
        update_type: str,
        data: Any,
        priority: UpdatePriority,
        channels: Iterable[str] | None,
    ) -> UpdateMessage:
        """Checks and encodes one update of any kind."""
        if type(agent_id) is not str or agent_id not in self._chains:
            if not valid_agent_id(agent_id):
                raise _invalid_agent(agent_id)
            self._bounds.check_room_for_agent(agent_id)
        if type(priority) is not UpdatePriority:
            priority = self._checked_priority(priority)
        if type(update_type) is not str or not self._is_type(update_type):
            raise InvalidUpdate(
                f"update_type {update_type!r:.120} is not valid: give a string of 1 to 100 characters, none of them "
                f"a control character, other than "
                f"{SYSTEM_EVENT!r}",
                agent_id=agent_id,
            )
        kind = self._kinds.get(update_type, _EVENT)
        fields: dict[str, bytes | None] | None = None
        payload: bytes | None = None
        if kind is _MERGE:
            fields, size = self._patch(agent_id, data)
        else:
            payload = b"{}" if kind is _REMOVE else encode_object(data, agent_id)
            if len(payload) > self._max_update_bytes:
                raise self._too_large(agent_id, len(payload))
            if kind is _EVENT:
                self._check_room_for_event(len(payload))
        names = self._channels(agent_id, update_type, channels)
        if fields is not None:
            self._bounds.check_merged_size(agent_id, fields, size, names)
        return UpdateMessage(
            agent_id,
            update_type,
            payload,
            priority,
            self._time(),
            self._monotonic(),
            names,
            kind,
            self._max_retries,
            0,
            fields,
        )

    def _hand_in(self, update: UpdateMessage) -> None:
        # Counted after `defer` says yes: without a transaction it says no and nothing is deferred.
        if self.defer is not None and self.defer(lambda: self._commit(update)):
            self._ingress.put(self._count_deferred)
            return
        self._enter(update)

    def _commit(self, update: UpdateMessage) -> None:
        """A deferred update's transaction was committed."""
        update.accepted_at = self._monotonic()

        def commit() -> None:
            self._commit_turn += 1  # odd: `total_updates` would not count it
            self._deferred_count -= 1
            try:
                if update.channels:
                    self._accept(update)
                else:
                    self._swallow(update)
            finally:
                self._commit_turn += 1

        self._ingress.put(commit)

    def _enter(self, update: UpdateMessage) -> None:
        if not update.channels:
            self._ingress.put(lambda: self._swallow(update))
        elif self._ingress.put_update(update):
            self._dispatcher.notify()

    def _count_deferred(self) -> None:
        self._deferred_count += 1

    def _swallow(self, update: UpdateMessage) -> None:
        account = self._queue.account
        account.add(update.priority, terms.ACCEPTED)
        if isinstance(update.channels, Unroutable):
            account.add(update.priority, terms.DEAD_LETTERED)
            self._delivery.settling.bury(update, "router_failed", update.channels.cause)
            return
        account.add(update.priority, terms.CLEARED)
        for waiter in update.waiters or ():
            waiter.failed("cleared", "the router sends it nowhere")

    # checks

    def _is_type(self, update_type: str) -> bool:
        """Whether a string can be an update's type; half surrogates could not be sent."""
        if update_type in self._known_types:
            return True
        if not 0 < len(update_type) <= 100 or update_type == SYSTEM_EVENT or unsafe_text(update_type):
            return False
        if len(self._known_types) < 10_000:
            self._known_types.add(update_type)
        return True

    @staticmethod
    def _checked_priority(priority: int) -> UpdatePriority:
        try:
            return UpdatePriority(priority)
        except ValueError:
            raise InvalidUpdate(
                f"priority {priority!r} is none of {', '.join(p.name for p in UpdatePriority)}"
            ) from None

    def _breaker_is_closed(self) -> bool:
        state = getattr(self.circuit_breaker, "state", None)
        return state is None or getattr(state, "value", state) == "closed"

    def _patch(self, agent_id: str, data: Any) -> tuple[dict[str, bytes | None], int]:
        """A state_patch's fields and their size; UNSET marks fields to remove."""
        unset: list[str] = []
        if isinstance(data, dict):
            unset = [key for key, value in data.items() if value is UNSET]
            if unset:
                data = {key: value for key, value in data.items() if value is not UNSET}
        text = encode_object(data, agent_id)
        fields: dict[str, bytes | None] = dict(split_object(text))
        if unset:  # these keys become text as the others did, or are refused as they would be
            fields.update(dict.fromkeys(split_object(encode_object(dict.fromkeys(unset), agent_id))))
        return fields, len(text)


def _invalid_agent(agent_id: object) -> InvalidUpdate:
    return InvalidUpdate(
        f"agent_id {agent_id!r:.220} is not valid: give a string of 1 to 200 characters without control "
        "characters, not __proto__, constructor or prototype",
        agent_id=agent_id,
    )
