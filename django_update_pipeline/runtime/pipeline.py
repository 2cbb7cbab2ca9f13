"""UpdatePipeline: the life cycle, and the facade over the stages.

`queue_agent_update` and its kin may be called from any thread, with or without a loop, before `start()` and
after `stop()`. Everything else belongs to the loop the pipeline was started on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from ..core.batching import BatchProcessor
from ..core.config import PipelineConfig
from ..core.dead_letters import DeadLetters
from ..core.histogram import LatencyHistogram
from ..core.messages import UpdateKind, UpdateMessage, UpdatePriority
from ..core.names import one_line
from ..core.ports import Clock
from ..core.publication import Publication
from ..core.repeats import Repeats
from ..core.session import ClassicRenderer
from ..core.store import Store
from ..exceptions import PluginError, UpdatesRejected, WrongLoop
from .boundary import Boundary
from .clock import SystemClock
from .complaints import complain
from .connections import WebSocketManager, closer, sender
from .containment import Containment
from .delivery import Delivery
from .dispatcher import Dispatcher
from .guarded import GuardedBatching, GuardedBreaker, guarded_batching, guarded_breaker, guarded_retry
from .ingress import Ingress
from .live import Live
from .monitor import Monitor
from .parts import Parts, default_batching, default_circuit_breaker, default_parts, default_retry
from .queueing import Defer, Queueing
from .sourcing import Sources

logger = logging.getLogger(__name__)


#: Observers that move the breaker in answer to its moves are told of so many rounds at once; the rest later.
MAX_BREAKER_ROUNDS = 16


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


class UpdatePipeline(Queueing):
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
        defer: Defer | None = None,
    ) -> None:
        self.config = config = config or PipelineConfig()
        self.clock: Clock = clock or SystemClock()
        self.parts = parts = parts or default_parts(config, self.clock)
        self.containment = contain = parts.containment or Containment(
            config.containment, self.clock.monotonic
        )
        contain.on_switched = self._part_switched
        self.blame = contain.blame  # which plugin has which thread
        self.transport = parts.transport
        self.circuit_breaker = parts.circuit_breaker
        self.frontend_adapter = parts.frontend_adapter
        self.access = parts.access
        self.health_checks = parts.health_checks
        self.node_id = secrets.token_hex(8)
        self.store = Store(epoch=secrets.token_hex(4), config=config.store)
        self.dead_letters = DeadLetters(config.dead_letters)
        self.batch_processor = BatchProcessor(
            guarded_batching(
                parts.batching,
                lambda: default_batching(config),
                lambda: contain.of_part("batching policy", parts.batching),
            )
        )
        self._queue = self.batch_processor.queue
        self._ingress = Ingress(self.batch_processor.accept)
        self._ingress.after = self._after_door
        policy = self.batch_processor.policy
        if isinstance(policy, GuardedBatching):
            self._ingress.is_barred = policy.boundary.is_inside
        self.batch_processor.clear = self._clear
        self.batch_processor.on_tuned = self._nudge
        self._obituaries: deque[tuple[UpdateMessage, str, str]] = deque(maxlen=1000)
        self._is_telling = self._is_telling_of_the_breaker = False
        self.websocket_manager = WebSocketManager(ClassicRenderer(self.store), config.connections, self.clock)
        self.websocket_manager.on_opened = functools.partial(self._tell_connection, "connection_opened")
        self.websocket_manager.on_closed = functools.partial(self._tell_connection, "connection_closed")
        self._breaker = guarded_breaker(
            parts.circuit_breaker,
            lambda: default_circuit_breaker(config, self.clock),
            lambda: contain.of_part("circuit breaker", parts.circuit_breaker),
        )
        self._sources = Sources(contain, timeout_s=config.connections.hook_timeout_s)
        batch_numbers = count(1)
        self._delivery = Delivery(
            ingress=self._ingress,
            processor=self.batch_processor,
            transport=self.transport,
            transformers=parts.transformers,
            breaker=self._breaker,
            retry=guarded_retry(
                parts.retry,
                lambda: default_retry(config),
                lambda: contain.of_part("retry policy", parts.retry),
            ),
            dead_letters=self.dead_letters,
            clock=self.clock,
            containment=contain,
            transport_timeout_s=config.transport_timeout_s,
            hook_timeout_s=config.connections.hook_timeout_s,
            max_update_bytes=config.queue.max_update_bytes,
            batch_ids=lambda: f"{self.node_id}-{next(batch_numbers)}",
            on_dead_letter=lambda *obituary: self._obituaries.append(obituary),
        )
        self._dispatcher = Dispatcher(
            self.batch_processor, self._ingress, self._delivery, self.clock, on_batch=self._batch_done
        )
        self._monitor = Monitor(self)
        self.live = Live(self)
        if hasattr(parts.circuit_breaker, "on_change"):
            parts.circuit_breaker.on_change = self._breaker_changed
        self._prepare_queueing(parts.router, defer, contain)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._claim = threading.Lock()
        self._life: asyncio.Lock | None = None
        self._life_loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = False
        self.control_problem: Callable[[], str | None] = lambda: None  # why commands can't reach this process
        self.plugins: Any = None  # the plugin manager, if one assembled this pipeline

    # clearing and dead letters

    def _clear(self, priority: UpdatePriority | None = None) -> None:
        def clear() -> None:
            for update in self._queue.clear(priority):
                self._delivery.thaw(update)
                for waiter in update.waiters or ():
                    waiter.failed("cleared", "the queue was cleared")

        self._ingress.put(clear)

    def replay_dead_letter(self, number: int) -> bool:
        """Queues a dead event again; False if there is no such letter or it is state. Any thread.

        Raises:
            PipelineFull: there is no room for one more event; the letter is kept.
        """
        letter = next((one for one in self.dead_letters.list() if one.number == number), None)
        if letter is None or not letter.is_replayable:
            return False
        self._check_room_for_event(len(letter.payload))
        if self.dead_letters.discard(number) is None:  # another caller replays it
            return False
        # At once, also inside a transaction: the letter is gone, and a rollback would take the event along.
        self._enter(
            UpdateMessage(
                letter.agent_id,
                letter.update_type,
                letter.payload,
                letter.priority,
                letter.queued_at,
                self._monotonic(),
                letter.channels or self._channels(letter.agent_id, letter.update_type, None),
                UpdateKind.EVENT,
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

    async def register_websocket(
        self, connection_id: str, ws: Any, channels: Iterable[str] | None = None
    ) -> bool:
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
        while (old := manager.connections.get(connection_id)) is not None:
            await manager.drop(old)  # meanwhile another call may have come first: then that one goes, too
        if manager.get_connection_count() >= self.config.connections.max_connections:
            manager.count_refusal("max_connections")
            return False
        names = self._default_channels if channels is None else self._channels("", "", channels)
        manager.open(connection_id, sender(ws), closer(ws), session=manager.classic_session(names))
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
                raise WrongLoop(
                    f"{what}() was called on another event loop than the one the pipeline runs on"
                )
            self._forget_loop()

    # plugins

    def breaker_state(self) -> dict[str, Any]:
        """The circuit breaker's `get_state()`, contained where it is a plugin's. Any thread."""
        state: dict[str, Any] = self._breaker.get_state()
        return state

    def enable_plugin(self, name: str) -> list[str]:
        """Switches a plugin's parts on again; the names of those that were off. Any thread.

        Raises:
            PluginError: there is no such plugin.
        """
        if self.plugins is not None:
            enabled: list[str] = self.plugins.enable(name)
            return enabled
        try:
            return self.containment.enable(name)
        except KeyError:
            known = ", ".join(sorted({one.plugin for one in self.containment.boundaries()}))
            raise PluginError(f"there is no plugin {name!r}: give one of {known}", path="plugins") from None

    def source_failed(self, source: object, error: BaseException, agent_id: str | None = None) -> None:
        """A source says that it could not make an update of a change. Any thread."""
        self._sources.failed(source, error, agent_id)

    def source_passed(self, source: object) -> None:
        """A source says that it could. Any thread."""
        self._sources.passed(source)

    # what others read

    @property
    def is_running(self) -> bool:
        """Whether the pipeline delivers."""
        return (
            self._task is not None
            and not self._task.done()
            and not (self._loop is None or self._loop.is_closed())
        )

    def get_readiness(self) -> dict[str, Any]:
        """Whether this process should get clients: `{"is_ready": False, "reasons": ["breaker_open"]}`. Any thread.

        Reasons are keys of `core.health.UNREADY`. Cheap enough for a probe every second.
        """
        return self._monitor.readiness()

    @property
    def is_ready(self) -> bool:
        """Whether it runs, is not stopping, and its breaker is not open. Any thread."""
        return bool(self._monitor.readiness()["is_ready"])

    def get_performance_metrics(self) -> dict[str, Any]:
        """Counters, latencies (ms), rates, depths and the account. Any thread; some 0.6 ms."""
        return self._monitor.performance()

    def get_health_status(self) -> dict[str, Any]:
        """`health_score` 0-100, `health_status`, `issues` that name the mend, `deductions`. Any thread."""
        return self._monitor.health()

    def get_latencies(self) -> dict[str, LatencyHistogram]:
        """By priority, every latency since the pipeline was made, as a histogram of its own. Any thread."""
        return self._monitor.latencies()

    def get_client_latencies(self) -> dict[str, dict[str, LatencyHistogram]]:
        """As `get_latencies`, until clients had `applied` an update, and `acknowledged` it. Any thread."""
        return self._monitor.client_latencies()

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
            with self._claim:  # two threads' loops may be here at once
                if self._loop is not None and self._loop is not loop:
                    if not self._loop.is_closed():
                        raise WrongLoop(
                            "the pipeline already runs on another event loop: stop it there first, or use it from "
                            "there (queue_agent_update works from any thread)"
                        )
                    self._forget_loop()
                if self.is_running:
                    return
                self._loop = loop
            try:
                await self._begin(loop)
            except BaseException:  # also when cancelled: nothing is left half started
                await self._end()
                raise
            logger.info(
                "pipeline started: transport %s, epoch %s",
                one_line(self.transport.name, 100),
                self.store.epoch,
            )
            self.parts.observers.tell(self.parts.observers.started, pipeline=self)

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._sources.stop()  # those of an earlier loop that ended without stop()
        self.containment.loop_thread = threading.get_ident()
        self.websocket_manager.forget_other_loops(loop)
        self._delivery.on_new_loop()
        async with asyncio.timeout(self.config.transport_timeout_s):
            await self.transport.start(self)
        self._dispatcher.attach(loop)
        self._task = loop.create_task(self._run(), name="update-pipeline-dispatcher")
        self._monitor.watchdog.start()
        await self._sources.start(self.parts.sources, self)

    async def stop(self, timeout_s: float | None = None) -> StopReport:
        """Stops the sources, delivers what waits until the deadline, closes connections, and gives account.

        Args:
            timeout_s: the deadline in seconds, `stop_timeout_s` of the settings by default.
        """
        async with self._lock():
            deadline = self.clock.monotonic() + (
                self.config.stop_timeout_s if timeout_s is None else timeout_s
            )
            in_time = True
            if self._loop is not None and self._loop.is_closed():
                self._forget_loop()
            if self._loop is not None:
                if self._loop is not asyncio.get_running_loop():  # it was started elsewhere while we waited
                    raise WrongLoop("the pipeline runs on another event loop: stop it there")
                self.is_stopping = True
                try:
                    in_time = await self._wind_up(deadline)
                finally:
                    try:
                        await self._end()
                    finally:
                        self.is_stopping = False
                logger.info("pipeline stopped")
            total = self._queue.account.snapshot()["total"]
            report = StopReport(**total, in_time=in_time)
            self.parts.observers.tell(self.parts.observers.stopped, pipeline=self, report=report)
            return report

    async def see_off(self) -> None:
        """Delivers what waits, for `stop_timeout_s` at most, and closes all connections; the pipeline runs on."""
        deadline = self.clock.monotonic() + self.config.stop_timeout_s
        # Asked, not told: it happens once, at the end.
        snapshot = self._queue.account.snapshot
        while snapshot()["total"]["pending"] and self.clock.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await self.websocket_manager.caught_up(min(1.0, max(0.05, deadline - self.clock.monotonic())))
        await self.websocket_manager.close_all()

    async def _wind_up(self, deadline: float) -> bool:
        """Delivers what waits until the deadline; True if that was in time."""
        await self._sources.stop()
        await self._cancel_task()
        drain = asyncio.create_task(self._dispatcher.drain(), name="update-pipeline-drain")
        try:
            await asyncio.wait([drain], timeout=max(0.0, deadline - self.clock.monotonic()))
        finally:
            in_time = drain.done()
            await end_task(drain)
        await self.websocket_manager.caught_up(min(1.0, max(0.05, deadline - self.clock.monotonic())))
        return in_time

    async def _end(self) -> None:
        """Lets go of the loop: connections, transport, task. What is queued stays."""
        self._monitor.watchdog.stop()
        await self._sources.stop()
        await self._cancel_task()
        self.live.stop()
        self._delivery.maker.give_up()
        await self.websocket_manager.close_all()
        self._dispatcher.detach()
        try:
            async with asyncio.timeout(self.config.transport_timeout_s):
                await self.transport.stop()
        except Exception as error:  # the transport's boundary: it is not used any more
            complain(logger, error, "transport %s could not be stopped", self.transport.name)
        self._loop = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        complaints = Repeats()
        while self._task is asyncio.current_task():  # a cancellation that somebody swallowed ends it, too
            try:
                await self._dispatcher.run()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                complain(
                    logger,
                    error,
                    "the dispatcher was cancelled by a part of its own; it goes on",
                    repeats=complaints,
                )
            except Exception as error:  # the last boundary: a bug of ours must not end delivery for good
                complain(logger, error, "the dispatcher failed; it goes on", repeats=complaints)
                await asyncio.sleep(0.1)

    async def _cancel_task(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)

    def _lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._life is None or self._life_loop is not loop:
            if self.is_running and self._loop is not loop:
                raise WrongLoop(
                    "the pipeline runs on another event loop: stop it there first, or use it from there "
                    "(queue_agent_update works from any thread)"
                )
            self._life, self._life_loop = asyncio.Lock(), loop
        return self._life

    def _forget_loop(self) -> None:
        """The loop ended without stop(): its tasks and sockets are gone with it; what is queued is not."""
        self._loop = None
        self._task = None
        self._monitor.watchdog.stop()
        self._dispatcher.detach()
        self.live.stop()
        self.websocket_manager.forget_all()

    # the node a transport sees

    def apply(self, publication: Publication) -> None:
        """Applies a publication to the store and wakes the connections it concerns. On the loop."""
        try:
            if not self.store.apply(publication):
                return
        except UpdatesRejected:
            self._wake_for(publication)  # the others of it were applied
            raise
        self._wake_for(publication)

    def _wake_for(self, publication: Publication) -> None:
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

    def _after_door(self, commands: bool) -> None:
        """The door is open again: wakes the dispatcher, tells of the dead. Any thread."""
        if commands:
            self._dispatcher.nudge()
        else:
            self._dispatcher.notify()
        if self._obituaries:
            self._tell_of_the_dead()

    def _tell_of_the_dead(self) -> None:
        """Outside the door, and once round: an observer may queue updates, by which others die."""
        self.live.letters_added()
        if self._is_telling:
            return
        self._is_telling = True
        try:
            observers = self.parts.observers
            for _ in range(len(self._obituaries)):
                try:
                    update, reason, cause = self._obituaries.popleft()
                except IndexError:  # another thread tells too
                    return
                if observers.dead_lettered:
                    observers.tell(observers.dead_lettered, update=update, reason=reason, cause=cause)
        finally:
            self._is_telling = False

    def _nudge(self) -> None:
        self._dispatcher.nudge()

    def _tell_connection(self, notice: str, connection: Any) -> None:
        observers = self.parts.observers
        told = getattr(observers, notice)
        if told:
            observers.tell(told, connection_id=connection.connection_id)

    def _part_switched(self, boundary: Boundary) -> None:
        """A plugin's part was switched off or on. Any thread."""
        if isinstance(self._breaker, GuardedBreaker) and boundary is self._breaker.boundary:
            self.circuit_breaker = self._breaker.active
        self._delivery.part_switched()
        self.live.happened(
            "part_switched",
            {
                "plugin": boundary.plugin,
                "part": boundary.part,
                "is_on": not boundary.is_off,
                "cause": boundary.off_because,
            },
        )
        observers = self.parts.observers
        if observers.part_switched:
            observers.tell(
                observers.part_switched,
                plugin=boundary.plugin,
                part=boundary.part,
                is_on=not boundary.is_off,
                cause=boundary.off_because,
            )

    def _breaker_changed(self) -> None:
        """The breaker changed, perhaps by assignment in another thread: the delivery looks again."""
        if (
            not self._is_telling_of_the_breaker
        ):  # an observer may move the breaker: it is told in this same loop
            self._is_telling_of_the_breaker = True
            try:
                self._tell_of_the_breaker()
            finally:
                self._is_telling_of_the_breaker = False
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if threading.get_ident() == self._dispatcher._thread:
            self._delivery.breaker_changed()
        else:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._delivery.breaker_changed)

    def _tell_of_the_breaker(self) -> None:
        observers = self.parts.observers
        for _ in range(MAX_BREAKER_ROUNDS):
            events = self.circuit_breaker.take_events()
            if not events:
                return
            for event in events:
                self.live.happened(
                    "circuit_breaker_changed",
                    {"before": event.before.value, "after": event.after.value, "cause": event.cause},
                )
                logger.warning(
                    "circuit breaker: %s -> %s (%s)",
                    event.before.value,
                    event.after.value,
                    one_line(event.cause),
                )
                if observers.breaker_changed:
                    observers.tell(observers.breaker_changed, change=event)


async def end_task(task: asyncio.Task[None], timeout_s: float = 2.0) -> None:
    """Cancels a task and waits for its end; again and again, because somebody's code may swallow it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not task.done() and loop.time() < deadline:
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    if not task.done():
        logger.error("task %s does not end: a transport or plugin swallows its cancellation", task.get_name())
    elif not task.cancelled() and (error := task.exception()) is not None:
        complain(logger, error, "task %s failed", task.get_name())
