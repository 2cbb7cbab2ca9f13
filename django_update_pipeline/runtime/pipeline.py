"""UpdatePipeline: the life cycle, and the facade over the stages.

`queue_agent_update` and its kin may be called from any thread, with or without a loop, before `start()` and
after `stop()`. Everything else belongs to the loop the pipeline was started on.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from itertools import count
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from ..core.batching import BatchProcessor
from ..core.config import PipelineConfig
from ..core.dead_letters import DeadLetters
from ..core.histogram import LatencyHistogram
from ..core.messages import UpdateKind, UpdateMessage, UpdatePriority
from ..core.ports import Clock
from ..core.publication import Publication
from ..core.session import ClassicRenderer
from ..core.store import Store
from ..exceptions import PluginError, UpdatesRejected
from .boundary import Boundary
from .clock import SystemClock
from .connection import closer, sender
from .connections import WebSocketManager
from .containment import Containment
from .delivery import Delivery
from .dispatcher import Dispatcher
from .guarded import GuardedBatching, GuardedBreaker, guarded_batching, guarded_breaker, guarded_retry
from .ingress import Ingress
from .life import Life, StopReport
from .live import Live
from .monitor import Monitor
from .notices import Notices
from .parts import Parts, default_batching, default_circuit_breaker, default_parts, default_retry
from .queueing import Defer, Queueing
from .sourcing import Sources

logger = logging.getLogger(__name__)


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
        self.live = Live(self)
        self._notices = notices = Notices(parts.observers, self.live)
        self.websocket_manager = WebSocketManager(ClassicRenderer(self.store), config.connections, self.clock)
        self.websocket_manager.on_opened = notices.connection_opened
        self.websocket_manager.on_closed = notices.connection_closed
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
            on_dead_letter=lambda *obituary: notices.obituaries.append(obituary),
        )
        self._dispatcher = Dispatcher(
            self.batch_processor, self._ingress, self._delivery, self.clock, on_batch=self._batch_done
        )
        self._monitor = Monitor(self)
        self._life = Life(self, self._dispatcher, self._sources)
        if hasattr(parts.circuit_breaker, "on_change"):
            parts.circuit_breaker.on_change = self._breaker_changed
        self._prepare_queueing(parts.router, defer, contain)
        self.control_problem: Callable[[], str | None] = lambda: None  # why commands can't reach this process
        self.plugins: Any = None  # the plugin manager, if one assembled this pipeline

    # clearing and dead letters

    def _clear(self, priority: UpdatePriority | None = None) -> None:
        def clear() -> None:
            for update in self._queue.clear(priority):
                self._delivery.settling.thaw(update)
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
        self._life.check_loop("register_websocket")
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
        return self._life.is_running

    @property
    def is_stopping(self) -> bool:
        """Whether `stop()` is under way."""
        return self._life.is_stopping

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
        await self._life.start()

    async def stop(self, timeout_s: float | None = None) -> StopReport:
        """Stops the sources, delivers what waits until the deadline, closes connections, and gives account.

        Args:
            timeout_s: the deadline in seconds, `stop_timeout_s` of the settings by default.
        """
        return await self._life.stop(timeout_s)

    async def see_off(self) -> None:
        """Delivers what waits, for `stop_timeout_s` at most, and closes all connections; the pipeline runs on."""
        await self._life.see_off()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

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

    # what its parts tell it

    def _batch_done(self, batch: list[UpdateMessage], began: float, done: float) -> None:
        self._monitor.batch_delivered(batch, done)
        self._notices.batch_delivered(len(batch), done - began)

    def _after_door(self, commands: bool) -> None:
        """The door is open again: wakes the dispatcher, tells of the dead. Any thread."""
        if commands:
            self._dispatcher.nudge()
        else:
            self._dispatcher.notify()
        if self._notices.obituaries:
            self._notices.tell_of_the_dead()

    def _nudge(self) -> None:
        self._dispatcher.nudge()

    def _part_switched(self, boundary: Boundary) -> None:
        """A plugin's part was switched off or on. Any thread."""
        if isinstance(self._breaker, GuardedBreaker) and boundary is self._breaker.boundary:
            self.circuit_breaker = self._breaker.active
        self._delivery.part_switched()
        self._notices.part_switched(boundary)

    def _breaker_changed(self) -> None:
        """The breaker changed, perhaps by assignment in another thread: the delivery looks again."""
        self._notices.breaker_changed(lambda: self.circuit_breaker.take_events())
        self._life.call(self._delivery.breaker_changed)
