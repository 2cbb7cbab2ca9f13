"""UpdatePipeline: the life cycle, and the facade over the stages.

`queue_agent_update` and its kin may be called from any thread, with or without a loop, before `start()` and
after `stop()`. Everything else belongs to the loop the pipeline was started on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from ..core import account as terms
from ..core.batching import BatchProcessor
from ..core.codec import encode_object, split_object
from ..core.config import PipelineConfig
from ..core.dead_letters import DeadLetters
from ..core.messages import UNSET, Channels, JSONObject, Load, UpdateKind, UpdateMessage, UpdatePriority
from ..core.names import valid_agent_id, valid_channel_name
from ..core.ports import Clock
from ..core.publication import Publication
from ..core.session import SYSTEM_CHANNEL, SYSTEM_EVENT, ClassicRenderer
from ..core.store import Store
from ..exceptions import InvalidUpdate, PipelineFull, UpdateNotDelivered, UpdatePipelineError, WrongLoop
from .clock import SystemClock
from .connections import WebSocketManager, closer, sender
from .delivery import Delivery
from .dispatcher import Dispatcher
from .ingress import Ingress
from .monitor import Monitor
from .parts import Parts, default_parts

logger = logging.getLogger(__name__)

_EVENT, _REPLACE, _MERGE, _REMOVE = UpdateKind.EVENT, UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE
_NORMAL = UpdatePriority.NORMAL
LEVELS = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class StopReport:
    """What became of all accepted updates when the pipeline stopped. What is `pending` stays queued."""

    accepted: int
    delivered: int
    conflated: int
    dead_lettered: int
    cleared: int
    pending: int
    in_time: bool


class _FutureWaiter:
    """Tells one `publish()` call how its update ended; from any thread."""

    def __init__(self) -> None:
        self.future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def delivered(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def failed(self, outcome: str, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(
                UpdateNotDelivered(f"the update was {outcome}: {reason}", outcome=outcome, reason=reason)
            )


class UpdatePipeline:
    """Carries updates from any thread to every connection: nothing lost, nothing stale, most urgent first.

    `UpdatePipeline()` is bare: core defaults, memory transport, no plugins, a store of its own; it reads no
    settings and starts only when told. `get_update_pipeline()` returns the one made from the settings.

    Args:
        config: bounds, windows and names; all have defaults.
        parts: transport, policies and plugins' parts; the defaults if left out.
        clock: where time comes from.
        defer: asked with each accepted update's continuation; True if it will be called later (at commit).
    """

    def __init__(
        self,
        config: PipelineConfig | None = None,
        *,
        parts: Parts | None = None,
        clock: Clock | None = None,
        defer: Callable[[Callable[[], None]], bool] | None = None,
    ) -> None:
        self.config = config = config or PipelineConfig()
        self.clock: Clock = clock or SystemClock()
        self.parts = parts = parts or default_parts(config, self.clock)
        self.transport = parts.transport
        self.circuit_breaker = parts.circuit_breaker
        self.frontend_adapter = parts.frontend_adapter
        self.access = parts.access
        self.health_checks = parts.health_checks
        self.node_id = secrets.token_hex(8)
        self.store = Store(epoch=secrets.token_hex(4), config=config.store)
        self.dead_letters = DeadLetters(config.dead_letters)
        self.batch_processor = BatchProcessor(parts.batching)
        self._queue = self.batch_processor.queue
        self._ingress = Ingress(self.batch_processor.accept)
        self.batch_processor.clear = self._clear
        self.websocket_manager = WebSocketManager(ClassicRenderer(self.store), config.connections, self.clock)
        self.websocket_manager.on_opened = functools.partial(self._tell_connection, "connection_opened")
        self.websocket_manager.on_closed = functools.partial(self._tell_connection, "connection_closed")
        batch_numbers = count(1)
        self._delivery = Delivery(
            ingress=self._ingress,
            queue=self._queue,
            transport=self.transport,
            transformers=parts.transformers,
            breaker=parts.circuit_breaker,
            retry=parts.retry,
            dead_letters=self.dead_letters,
            clock=self.clock,
            transport_timeout_s=config.transport_timeout_s,
            hook_timeout_s=config.connections.hook_timeout_s,
            batch_ids=lambda: f"{self.node_id}-{next(batch_numbers)}",
            take_more=lambda limit: self._ingress.try_run(lambda: self._queue.take(limit))[1] or [],
            on_dead_letter=self._tell_dead_letter,
        )
        self._dispatcher = Dispatcher(
            self.batch_processor, self._ingress, self._delivery, self.clock, on_batch=self._batch_done
        )
        self._monitor = Monitor(self)
        if hasattr(parts.circuit_breaker, "on_change"):
            parts.circuit_breaker.on_change = self._breaker_changed
        self.defer = defer
        self._deferred = count()
        self._deferred_count = 0
        self._committed_count = 0
        # What the hot path needs, bound once.
        self._monotonic = self.clock.monotonic
        self._time = self.clock.time
        self._route = parts.router.route if parts.router is not None else None
        self._default_channels: Channels = (config.default_channel,)
        self._kinds = {name: _REPLACE for name in config.state_types}
        self._kinds |= {"state_patch": _MERGE, "state_removed": _REMOVE}
        self._channel_sets: dict[Channels, Channels] = {}
        self._max_retries = config.retry.max_retries
        self._max_update_bytes = config.queue.max_update_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._life: asyncio.Lock | None = None
        self._life_loop: asyncio.AbstractEventLoop | None = None
        self._started_sources: list[Any] = []
        self.plugins: Any = None  # the plugin manager, if one assembled this pipeline

    # queueing: any thread

    def queue_agent_update(
        self,
        agent_id: str,
        update_type: str = "state_change",
        data: JSONObject | None = None,
        priority: UpdatePriority = _NORMAL,
        channels: Iterable[str] | None = None,
    ) -> None:
        """Queues an update. The data is encoded before this returns; it never waits.

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
        self._hand_in(self._update(agent_id, update_type, data, priority, channels))

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
        """
        if self._kinds.get(update_type) is not _REPLACE:
            raise InvalidUpdate(
                f"update_type {update_type!r} is no full state: use one of {sorted(self.config.state_types)}",
                agent_id=agent_id,
            )
        self._check_agent(agent_id)
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
        waiter = _FutureWaiter()
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
        self._hand_in(
            UpdateMessage(
                "",
                SYSTEM_EVENT,
                encode_object({"level": level, "message": str(message)}, "system"),
                self._checked_priority(priority),
                self._time(),
                self._monotonic(),
                (SYSTEM_CHANNEL,),
                _EVENT,
                self._max_retries,
            )
        )

    def _update(
        self, agent_id: str, update_type: str, data: Any, priority: UpdatePriority, channels: Iterable[str] | None
    ) -> UpdateMessage:
        """Checks and encodes one update."""
        if type(agent_id) is not str or agent_id not in self._queue.chains:
            self._check_agent(agent_id)
        if type(priority) is not UpdatePriority:
            priority = self._checked_priority(priority)
        try:
            kind = self._kinds.get(update_type, _EVENT)
        except TypeError:
            raise InvalidUpdate(f"update_type {update_type!r} is not a string", agent_id=agent_id) from None
        fields = payload = None
        if kind is _REPLACE:
            payload = encode_object(data, agent_id)
        elif kind is _EVENT:
            if type(update_type) is not str or not 0 < len(update_type) <= 100:
                raise InvalidUpdate(
                    f"update_type {update_type!r:.120} is not a string of 1 to 100 characters", agent_id=agent_id
                )
            payload = encode_object(data, agent_id)
            self._check_room_for_event(len(payload))
        elif kind is _REMOVE:
            payload = b"{}"
        else:
            fields, size = self._patch(agent_id, data)
            self._check_merged_size(agent_id, size)
        if payload is not None and len(payload) > self._max_update_bytes:
            raise self._too_large(agent_id, len(payload))
        if channels is None and self._route is None:
            names = self._default_channels
        else:
            names = self._channels(agent_id, update_type, channels)
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
        if self.defer is not None:
            # Counted before: the continuation may run at once where there is no transaction after all.
            if self.defer(lambda: self._commit(update)):
                self._deferred_count = next(self._deferred) + 1
                return
        if not update.channels:
            self._ingress.put(lambda: self._swallow(update))
            return
        self._ingress.put(update)
        self._dispatcher.notify()

    def _commit(self, update: UpdateMessage) -> None:
        """A deferred update's transaction was committed."""
        self._committed_count += 1
        update.accepted_at = self._monotonic()
        if not update.channels:
            self._ingress.put(lambda: self._swallow(update))
            return
        self._ingress.put(update)
        self._dispatcher.notify()

    def _swallow(self, update: UpdateMessage) -> None:
        account = self._queue.account
        account.add(update.priority, terms.ACCEPTED)
        account.add(update.priority, terms.CLEARED)
        for waiter in update.waiters or ():
            waiter.failed("cleared", "the router sends it nowhere")

    # checks

    def _check_agent(self, agent_id: object) -> None:
        if not valid_agent_id(agent_id):
            raise InvalidUpdate(
                f"agent_id {agent_id!r:.220} is not valid: give a string of 1 to 200 characters without control "
                "characters, not __proto__, constructor or prototype",
                agent_id=agent_id,
            )
        limit = self.config.queue.max_agents
        if self.store.agent_count() + len(self._queue.chains) >= limit:
            chains, channels = self._queue.chains, self.store.channels
            if agent_id not in chains and not any(agent_id in c.agents for c in list(channels.values())):
                raise PipelineFull(
                    f"agent {agent_id!r} would be one more than QUEUE max_agents = {limit}: remove agents "
                    '(update_type "state_removed") or raise it',
                    limit="max_agents",
                    value=limit,
                )
        total = self._queue.waiting_bytes
        if total > self.config.queue.max_total_bytes // 2:
            total += self.store.size_bytes()
            if total > self.config.queue.max_total_bytes:
                raise PipelineFull(
                    f"{total} bytes are held, more than QUEUE max_total_bytes = "
                    f"{self.config.queue.max_total_bytes}: queue less, or raise it",
                    limit="max_total_bytes",
                    value=self.config.queue.max_total_bytes,
                )

    @staticmethod
    def _checked_priority(priority: object) -> UpdatePriority:
        try:
            return UpdatePriority(priority)  # type: ignore[arg-type]
        except ValueError:
            raise InvalidUpdate(
                f"priority {priority!r} is none of {', '.join(p.name for p in UpdatePriority)}"
            ) from None

    def _check_room_for_event(self, size: int) -> None:
        limits = self.config.queue
        queue = self._queue
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

    def _breaker_is_closed(self) -> bool:
        state = getattr(self.circuit_breaker, "state", None)
        return state is None or getattr(state, "value", state) == "closed"

    def _drop_oldest(self, size: int) -> None:
        limits = self.config.queue
        queue = self._queue
        while queue.event_count >= limits.max_events or (
            queue.event_count and queue.event_bytes + size > limits.max_event_bytes
        ):
            update = queue.drop_oldest_event()
            if update is None:
                return
            self._delivery.bury(update, "overflow", "newer events took its place at the bound")

    def _patch(self, agent_id: str, data: Any) -> tuple[dict[str, bytes | None], int]:
        """A state_patch's fields and their size; UNSET marks fields to remove."""
        if not isinstance(data, dict):
            encode_object(data, agent_id)  # raises, with the right words
        unset = [key for key, value in data.items() if value is UNSET]
        if unset:
            data = {key: value for key, value in data.items() if value is not UNSET}
        text = encode_object(data, agent_id)
        fields: dict[str, bytes | None] = dict(split_object(text))
        for key in unset:
            fields[key] = None
        return fields, len(text)

    def _check_merged_size(self, agent_id: str, size: int) -> None:
        """A state grows by patches: the sum meets the same bound as a full state."""
        chain = self._queue.chains.get(agent_id)
        if chain is not None and chain.state is not None:
            size += chain.state.size_bytes()
        largest = 0
        for channel in list(self.store.channels.values()):
            agent = channel.agents.get(agent_id)
            if agent is not None:
                largest = max(largest, sum(map(len, list(agent.fields.values()))))
        if size + largest > self.config.queue.max_update_bytes:
            raise self._too_large(agent_id, size + largest)

    def _too_large(self, agent_id: object, size: int) -> InvalidUpdate:
        return InvalidUpdate(
            f"data of agent {agent_id!r} has {size} bytes, more than QUEUE max_update_bytes = "
            f"{self.config.queue.max_update_bytes}: send less, or raise it",
            agent_id=agent_id,
            path="data",
        )

    def _channels(self, agent_id: str, update_type: str, channels: Iterable[str] | None) -> Channels:
        if channels is None:
            routed = self._route(agent_id, update_type) if self._route is not None else None
            if routed is None:
                return self._default_channels
            channels = routed
        names = (channels,) if isinstance(channels, str) else tuple(channels)
        known = self._channel_sets.get(names)
        if known is not None:
            return known
        for name in names:
            if not valid_channel_name(name) or name == SYSTEM_CHANNEL:
                raise InvalidUpdate(
                    f"channel {name!r:.120} is not valid: give 1 to 90 of A-Z a-z 0-9 . _ -", agent_id=agent_id
                )
        result = tuple(dict.fromkeys(names))
        if len(self._channel_sets) > 10_000:
            self._channel_sets.clear()
        self._channel_sets[names] = result
        return result

    # clearing and dead letters

    def _clear(self, priority: UpdatePriority | None = None) -> None:
        def clear() -> None:
            for update in self._queue.clear(priority):
                for waiter in update.waiters or ():
                    waiter.failed("cleared", "the queue was cleared")

        self._ingress.put(clear)

    def replay_dead_letter(self, number: int) -> bool:
        """Queues a dead event again; False if there is no such letter or it is state."""
        letter = next((one for one in self.dead_letters.list() if one.number == number), None)
        if letter is None or not letter.is_replayable:
            return False
        self.dead_letters.discard(number)
        self._hand_in(
            UpdateMessage(
                letter.agent_id,
                letter.update_type,
                letter.payload,
                letter.priority,
                letter.queued_at,
                self._monotonic(),
                letter.channels,
                _EVENT,
                self._max_retries,
            )
        )
        return True

    def reset_circuit_breaker(self) -> None:
        """Closes the breaker; what waits is tried at once. Any thread."""
        breaker: Any = self.circuit_breaker
        if hasattr(breaker, "force_close"):
            breaker.force_close("reset")
        else:
            breaker.record_success()

    # connections: on the pipeline's loop

    async def register_websocket(self, connection_id: str, ws: Any, channels: Iterable[str] | None = None) -> bool:
        """Registers anything with `send(text)`, sync or async, and perhaps `close()`.

        It gets each agent's newest state at once, then what changes. A later one with the same id takes its
        place. Channels are the caller's to allow; None means the default one.

        Returns:
            False if `ws` has no `send`, or as many connections as allowed are there.
        """
        manager = self.websocket_manager
        self._check_loop("register_websocket")
        if not callable(getattr(ws, "send", None)):
            return False
        old = manager.connections.get(connection_id)
        if old is not None:
            await manager.drop(old)
        if manager.get_connection_count() >= self.config.connections.max_connections:
            return False
        names = self._default_channels if channels is None else self._channels("", "", channels)
        manager.open(connection_id, sender(ws), closer(ws), channels=names)
        return True

    async def unregister_websocket(self, connection_id: str) -> bool:
        """Takes a connection off; its socket is left open. False if there is none of that id."""
        connection = self.websocket_manager.connections.get(connection_id)
        if connection is None:
            return False
        await self.websocket_manager.drop(connection)
        return True

    def _check_loop(self, what: str) -> None:
        running = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not running:
            if not self._loop.is_closed():
                raise WrongLoop(f"{what}() was called on another event loop than the one the pipeline runs on")
            self._forget_loop()

    # what others read

    @property
    def is_running(self) -> bool:
        """Whether the pipeline delivers."""
        return self._task is not None and not self._task.done() and not (self._loop is None or self._loop.is_closed())

    @property
    def total_updates(self) -> int:
        """Updates queued so far, those that wait for a commit or were rolled back included."""
        deferred = self._deferred_count - self._committed_count
        return self._queue.account.total(terms.ACCEPTED) + deferred

    def get_performance_metrics(self) -> dict[str, Any]:
        """Counters, latencies (ms), rates, depths and the account. Any thread; some 0.3 ms."""
        return self._monitor.performance()

    def get_health_status(self) -> dict[str, Any]:
        """`health_score` 0-100, `health_status`, `issues` that name the mend, `deductions`. Any thread."""
        return self._monitor.health()

    @property
    def performance_metrics(self) -> SimpleNamespace:
        """The metrics as attributes (`performance_metrics.total_updates`)."""
        return self._monitor.as_namespace()

    # life

    async def start(self) -> None:
        """Begins to deliver on the running loop. Does nothing if it does so already.

        Raises:
            WrongLoop: it runs on another loop that is alive.
        """
        async with self._lock():
            loop = asyncio.get_running_loop()
            if self._loop is not None and self._loop is not loop:
                if not self._loop.is_closed():
                    raise WrongLoop(
                        "the pipeline already runs on another event loop: stop it there first, or use it from there "
                        "(queue_agent_update works from any thread)"
                    )
                self._forget_loop()
            if self.is_running:
                return
            self._loop = loop
            self._delivery.on_new_loop()
            await self.transport.start(self)
            self._dispatcher.attach(loop)
            self._task = loop.create_task(self._run(), name="update-pipeline-dispatcher")
            for source in self.parts.sources:
                try:
                    result = source.start(self)
                    if inspect.isawaitable(result):
                        async with asyncio.timeout(self.config.connections.hook_timeout_s):
                            await result
                    self._started_sources.append(source)
                except Exception:  # a source's boundary: the others and the pipeline go on
                    logger.exception("source %s could not be started", getattr(source, "name", source))
            logger.info("pipeline started: transport %s, epoch %s", self.transport.name, self.store.epoch)
            self.parts.observers.tell(self.parts.observers.started, pipeline=self)

    async def stop(self, timeout_s: float | None = None) -> StopReport:
        """Stops the sources, delivers what waits until the deadline, closes connections, and gives account.

        Args:
            timeout_s: the deadline in seconds, `stop_timeout_s` of the settings by default.
        """
        async with self._lock():
            deadline = self.clock.monotonic() + (self.config.stop_timeout_s if timeout_s is None else timeout_s)
            in_time = True
            if self._loop is not None and self._loop.is_closed():
                self._forget_loop()
            if self._task is not None:
                await self._stop_sources()
                await self._cancel_task()
                try:
                    async with asyncio.timeout(max(0.0, deadline - self.clock.monotonic())):
                        await self._dispatcher.drain()
                except TimeoutError:
                    in_time = False
                await self.websocket_manager.caught_up(
                    min(1.0, max(0.05, deadline - self.clock.monotonic()))
                )
                await self.websocket_manager.close_all()
                self._dispatcher.detach()
                await self.transport.stop()
                self._loop = None
                logger.info("pipeline stopped")
            total = self._queue.account.snapshot()["total"]
            report = StopReport(**total, in_time=in_time)
            self.parts.observers.tell(self.parts.observers.stopped, pipeline=self, report=report)
            return report

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self._dispatcher.run()
            except Exception:  # the last boundary: a bug of ours must not end delivery for good
                logger.exception("the dispatcher failed; it goes on")
                await asyncio.sleep(0.1)

    async def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _stop_sources(self) -> None:
        while self._started_sources:
            source = self._started_sources.pop()
            try:
                result = source.stop()
                if inspect.isawaitable(result):
                    async with asyncio.timeout(self.config.connections.hook_timeout_s):
                        await result
            except Exception:  # a source's boundary
                logger.exception("source %s could not be stopped", getattr(source, "name", source))

    def _lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._life is None or (self._life_loop is not loop and (self._life_loop is None or self._life_loop.is_closed())):
            self._life, self._life_loop = asyncio.Lock(), loop
        elif self._life_loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise WrongLoop("the pipeline runs on another event loop: stop it there first")
            self._life, self._life_loop = asyncio.Lock(), loop
        return self._life

    def _forget_loop(self) -> None:
        """The loop ended without stop(): its tasks and sockets are gone with it; what is queued is not."""
        self._loop = None
        self._task = None
        self._started_sources.clear()
        self._dispatcher.detach()
        self.websocket_manager.connections.clear()

    # the node a transport sees

    def apply(self, publication: Publication) -> None:
        """Applies a publication to the store and wakes the connections it concerns. On the loop."""
        if not self.store.apply(publication):
            return
        changes = publication.changes
        if len(changes) == 1:
            self.websocket_manager.wake(set(changes[0].channels))
        else:
            self.websocket_manager.wake({name for change in changes for name in change.channels})

    # notices

    def _batch_done(self, batch: list[UpdateMessage], began: float, done: float) -> None:
        self._monitor.batch_delivered(batch, done)
        observers = self.parts.observers
        if observers.batch_delivered:
            observers.tell(observers.batch_delivered, size=len(batch), duration_s=done - began)

    def _tell_dead_letter(self, update: UpdateMessage, reason: str, cause: str) -> None:
        observers = self.parts.observers
        if observers.dead_lettered:
            observers.tell(observers.dead_lettered, update=update, reason=reason, cause=cause)

    def _tell_connection(self, notice: str, connection: Any) -> None:
        observers = self.parts.observers
        told = getattr(observers, notice)
        if told:
            observers.tell(told, connection_id=connection.connection_id)

    def _breaker_changed(self) -> None:
        """The breaker changed, perhaps by assignment in another thread: the delivery looks again."""
        events = self.circuit_breaker.take_events()
        for event in events:
            logger.warning("circuit breaker: %s -> %s (%s)", event.before.value, event.after.value, event.cause)
            observers = self.parts.observers
            if observers.breaker_changed:
                observers.tell(observers.breaker_changed, change=event)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if threading.get_ident() == self._dispatcher._thread:
            self._delivery.breaker_changed()
        else:
            loop.call_soon_threadsafe(self._delivery.breaker_changed)
