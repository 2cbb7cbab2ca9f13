"""One history: a source that queues, a server that is restarted, browsers that come and go, and a quiet end.

Everything of the package that runs between `queue_agent_update` and a socket's `send` is the real thing; what is ours
is the loop, the network, the transport's failures, the browsers, and the judgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from unittest import mock

from django_update_pipeline.core import session as classic_module
from django_update_pipeline.core import store as store_module
from django_update_pipeline.core import sync_live as live_module
from django_update_pipeline.core import sync_session as sync_module
from django_update_pipeline.core.circuit_breaker import CircuitBreaker
from django_update_pipeline.core.config import PipelineConfig, config_from_mapping
from django_update_pipeline.core.messages import UNSET, UpdatePriority
from django_update_pipeline.core.publication import Publication
from django_update_pipeline.core.retry import ExponentialBackoff
from django_update_pipeline.core.sync_stream import SyncStream
from django_update_pipeline.exceptions import PipelineFull
from django_update_pipeline.runtime import connection as connection_module
from django_update_pipeline.runtime.parts import DefaultAccess, Parts, default_batching
from django_update_pipeline.runtime.pipeline import UpdatePipeline
from django_update_pipeline.testing.transports import FaultyTransport
from django_update_pipeline.transports.memory import MemoryTransport

from .loop import SimulatedClock, SimulatedLoop
from .network import Link
from .oracle import Judge, Log, Source
from .viewers import ClassicViewer, SyncViewer, Viewer, client_of

CHANNELS = ["a", "b", "c"]
FIELDS = ("v", "x", "y", "text", "list")
PRIORITIES = list(UpdatePriority)

#: What may happen to a viewer or to the server; some more often than others.
TROUBLES = (
    *("cut", "cut", "away", "stall", "act", "act", "act", "withdraw"),
    *("compact", "fail", "lose", "hang", "outage", "flood", "wall", "kill", "stop"),
)

#: A CRITICAL event is with the transport after so many seconds at most: NORMAL's window, a quarter of LOW's.
CRITICAL_S = 0.02

#: So long, in virtual seconds, browsers may take to show the truth once all is well again.
QUIET_S = 600.0


class LoggedTransport(MemoryTransport):
    """The memory transport, with a model of its log beside it, and a way that takes its time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._log = world.log
        self._random = world.random
        self._delay_s = world.delay_s
        self.problems = world.loop.problems

    async def publish(self, publication: Publication) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s * self._random.random())
        if self._node is not None:
            try:
                self._log.apply(publication)
                self._in_time(publication)
            except AssertionError as error:  # to the pipeline it would be a transport that failed
                self.problems.append(str(error))
        await super().publish(publication)

    def _in_time(self, publication: Publication) -> None:
        """Promise 6, where nothing is in the way: CRITICAL takes along what waits before it, and does not wait."""
        world = self._world
        if not world.is_calm:
            return
        for change in publication.changes:
            if change.update_type == "said" and change.priority is UpdatePriority.CRITICAL:
                number = json.loads(change.content)["number"]
                waited = world.loop.time() - world.queued_at[number]
                assert waited < CRITICAL_S, f"CRITICAL event {number} waited {waited * 1000:.0f} ms"


class World:
    """The history of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.loop = SimulatedLoop(
            Random(seed + 1), is_shuffled=seed % 3 != 0, turn_s=random.choice((0.0, 2e-5, 5e-4))
        )
        self.clock = SimulatedClock(self.loop)
        self.channels = CHANNELS[: random.randint(1, 3)]
        self.agents = [f"agent_{number}" for number in range(random.choice((1, 3, 8)))]
        self.source = Source()
        self.logs: dict[str, Log] = {}
        self.counts: Counter[str] = Counter()
        self.digest = hashlib.sha256()
        self.config: PipelineConfig = config_from_mapping(
            {
                "default_channel": self.channels[0],
                "open_channels": self.channels[1:],
                "queue": {
                    "max_events": random.choice((4, 10_000)),
                    "overflow": random.choice(("reject", "drop_oldest")),
                },
                "store": {
                    "max_events": random.choice((2, 5, 10_000)),
                    "max_tombstones": random.choice((1, 3, 10_000)),
                },
                "batching": {"max_batch_size": random.choice((1, 3, 50))},
                "circuit_breaker": {"failure_threshold": 3, "recovery_timeout": 1.0},
                "connections": {
                    "window_bytes": random.choice((1024, 4096, 128 * 1024)),
                    "window_frames": random.choice((2, 5, 64)),
                    "messages_per_s": 0,
                    "bytes_per_s": 0,
                },
            }
        )
        self.rejects = random.random() < 0.2
        self.delay_s = random.choice((0.0, 0.0, 0.005))
        self.is_calm = not self.rejects and not self.delay_s and self.loop.turn_s < 1e-4
        self.queued_at: dict[int, float] = {}  # by event, monotonic seconds
        self.span_s = random.choice((1.0, 4.0, 15.0))
        self.pipeline: UpdatePipeline | None = None
        self.transport: FaultyTransport
        self.log: Log
        self.accepted = 0
        self.links: list[Link] = []
        self.link_of: dict[str, Link] = {}
        self.viewers: list[Viewer] = [
            SyncViewer(self, f"sync{number}", random) for number in range(random.randint(1, 4))
        ]
        self.viewers += [
            ClassicViewer(self, f"classic{number}", random) for number in range(random.randint(0, 1))
        ]
        self._serving: set[asyncio.Task[None]] = set()

    def sizes(self) -> dict[Any, dict[str, Any]]:
        """The package's thresholds of this history: small ones, so that a short history passes them."""
        random = self.random
        return {
            sync_module: {
                "PART_CHARS": random.choice((60, 400, 32 * 1024)),
                "MAX_LISTED_AGENTS": random.choice((1, 1024)),
                "MAX_LOOKED_AT_AGENTS": random.choice((1, 3, 1024)),
            },
            live_module: {
                "PART_CHARS": random.choice((60, 400, 32 * 1024)),
                "SHARED_CHARS": random.choice((250, 8 * 1024)),
                "MAX_LIVE_CHARS": random.choice((500, 2000, 256 * 1024)),
                "MAX_LISTED_AGENTS": random.choice((1, 1024)),
                "CHECK_EVERY_S": random.choice((0.02, 10.0)),
                "CHECK_CHARS": random.choice((10, 4096)),
            },
            classic_module: {
                "MAX_LIVE_FRAMES": random.choice((2, 256)),
                "MAX_LISTED_AGENTS": random.choice((1, 1024)),
            },
            store_module: {"URGENT_KEPT": random.choice((2, 256))},
            connection_module: {
                "TURN_CHARS": random.choice((100, 64 * 1024)),
                "direct_writer": lambda send: (
                    send.__self__
                    if getattr(send, "__self__", None) and send.__self__.line.is_direct
                    else None
                ),
            },
        }

    # the server

    async def start_server(self) -> None:
        """A new process: another epoch, an empty store, and the source tells it all it has."""
        number = len(self.logs)
        random = self.random
        self.log = Log(self.source)
        self.transport = FaultyTransport(LoggedTransport(self))
        if (
            self.rejects
        ):  # for what they are, so always: one that is taken later is late by the transport's own doing
            self.transport.reject(
                lambda change: change.update_type == "said" and json.loads(change.content)["number"] % 9 == 0
            )
        config = self.config
        breaker = config.circuit_breaker
        parts = Parts(
            transport=self.transport,
            batching=default_batching(config),
            circuit_breaker=CircuitBreaker(
                breaker.failure_threshold,
                breaker.recovery_timeout,
                breaker.half_open_max_calls,
                permit_timeout_s=10.0,
                monotonic=self.clock.monotonic,
                random=random.random,
            ),
            retry=ExponentialBackoff(
                config.retry.base_delay_s, config.retry.max_delay_s, random=random.random
            ),
            access=DefaultAccess(config),
        )
        pipeline = UpdatePipeline(config, parts=parts, clock=self.clock)
        pipeline.store.epoch = f"e{number}"  # by chance otherwise
        pipeline.node_id = f"n{number}"
        watchdog: Any = pipeline._monitor.watchdog
        watchdog.start = lambda: None  # a thread, which looks at real time
        manager = pipeline.websocket_manager
        send_failed = manager.send_failed

        def failed(connection: connection_module.Connection, error: Exception) -> None:
            if not isinstance(error, ConnectionResetError):  # anything else is a bug of the writer's
                self.loop.problems.append(f"a writer failed: {error!r}")
            send_failed(connection, error)

        manager.send_failed = failed  # type: ignore[method-assign]
        self.logs[f"e{number}"] = self.log
        self.accepted = 0
        await pipeline.start()
        self.pipeline = pipeline
        for channel, states in self.source.states.items():
            for agent_id, state in states.items():
                self._queue(agent_id, "state_change", state, UpdatePriority.NORMAL, (channel,))

    async def stop_server(self, *, is_killed: bool) -> None:
        """The process ends: with a farewell, or as if the plug was pulled."""
        pipeline, self.pipeline = self.pipeline, None
        assert pipeline is not None
        if is_killed:
            for link in self.links:
                link.cut(0.0)
        self.transport.go_on()
        report = await pipeline.stop(0.0 if is_killed else 1.0)
        self.conserved(pipeline)
        assert report.accepted == self.accepted
        if self._serving:
            await asyncio.wait(self._serving, timeout=60)
        assert not self._serving, "sockets are served after the end"
        assert not pipeline.websocket_manager.connections
        assert not pipeline.websocket_manager._feeds

    def connect(self, viewer: Viewer) -> Link | None:
        """A handshake: None if nobody listens."""
        pipeline = self.pipeline
        if pipeline is None or pipeline.is_stopping:
            return None
        link = Link(self.loop, self.random, viewer.line)
        connections = self.config.connections
        link.window = connections.window_bytes, connections.window_frames
        self.links = [*(one for one in self.links if not one.is_noticed), link]
        socket = viewer.socket_type(pipeline, client_of(viewer))
        self.link_of[socket.client.connection_id] = link
        viewer.socket = socket

        async def serve() -> None:
            await socket.serve(link.receive, link.send)
            link.cut(0.0)

        task = self.loop.create_task(serve())
        self._serving.add(task)
        task.add_done_callback(self._served)
        return link

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.loop.problems.append(f"a socket's task failed: {task.exception()!r}")

    # the source

    def _queue(
        self, agent_id: str, kind: str, data: Any, priority: UpdatePriority, channels: tuple[str, ...]
    ) -> bool:
        if self.pipeline is None:
            return False
        try:
            self.pipeline.queue_agent_update(agent_id, kind, data, priority, channels)
        except PipelineFull:
            self.counts["refused events"] += 1
            return False
        self.accepted += 1
        if kind == "said":
            self.queued_at[data["number"]] = self.loop.time()
        return True

    def projection(self) -> tuple[str, ...]:
        """Some fields."""
        return tuple(sorted(self.random.sample(FIELDS, self.random.randint(1, 3))))

    def value(self) -> Any:
        """What a field may hold: rarely large, often what it was."""
        random = self.random
        return random.choice(
            (random.randint(0, 3), None, [1, {"z": random.random()}], "é" * random.randint(0, 9), "t" * 700)
        )

    def update(self) -> None:
        """Queues one update of any kind."""
        random, source = self.random, self.source
        agent_id, priority = random.choice(self.agents), random.choice(PRIORITIES)
        channels = tuple(sorted(random.sample(self.channels, random.choice((1, 1, len(self.channels))))))
        what = random.random()
        if what < 0.3:
            data = source.event(agent_id, channels)
            if random.random() < 0.1:
                data["pad"] = "p" * 500
            self._queue(agent_id, "said", data, priority, channels)
            return
        version = source.version(agent_id)
        if what < 0.38:
            source.remove(channels, agent_id, version)
            self._queue(agent_id, "state_removed", {}, priority, channels)
        elif what < 0.75:
            fields = {name: self.value() for name in random.sample(FIELDS[1:], random.randint(0, 3))}
            fields["v"] = version
            gone = {name for name in FIELDS[1:] if name not in fields and random.random() < 0.2}
            source.merge(channels, agent_id, fields, gone)
            self._queue(agent_id, "state_patch", {**fields, **dict.fromkeys(gone, UNSET)}, priority, channels)
        else:
            state = {name: self.value() for name in random.sample(FIELDS[1:], random.randint(0, 4))}
            state["v"] = version
            source.replace(channels, agent_id, state)
            self._queue(agent_id, "state_change", state, priority, channels)

    def flood(self) -> None:
        """Many CRITICAL updates and events of one agent, and some of LOW around them."""
        random, source = self.random, self.source
        agent_id, channels = random.choice(self.agents), (random.choice(self.channels),)
        for _ in range(random.randint(5, 25)):
            if random.random() < 0.5:
                data = source.event(agent_id, channels)
                self._queue(agent_id, "said", data, UpdatePriority.CRITICAL, channels)
            else:
                state = {"v": source.version(agent_id), "text": self.value()}
                source.replace(channels, agent_id, state)
                self._queue(agent_id, "state_change", state, UpdatePriority.CRITICAL, channels)

    async def work(self) -> None:
        """Queues in bursts until the time is over."""
        random = self.random
        pause_s = random.choice((0.0005, 0.02, 0.3))
        for _ in range(random.randint(10, 60)):
            for _ in range(random.choice((1, 1, 1, 5, 15))):
                self.update()
            await asyncio.sleep(random.random() * pause_s * 2)
            if self.loop.time() > self.span_s:
                return

    async def disturb(self) -> None:
        """Does one bad thing after the other until the time is over."""
        random = self.random
        every_s = self.span_s / random.choice((3, 10, 40))
        while self.loop.time() < self.span_s:
            await asyncio.sleep(random.expovariate(1 / every_s))
            viewer = random.choice(self.viewers)
            what = random.choice(TROUBLES)
            self.counts[what] += 1
            await self._do(what, viewer)

    async def _do(self, what: str, viewer: Viewer) -> None:
        random, pipeline = self.random, self.pipeline
        now = self.loop.time()
        self.is_calm = self.is_calm and what not in {"fail", "lose", "hang", "outage", "kill", "stop"}
        if what in {"cut", "away"}:
            if what == "away":
                viewer.away_until = now + random.choice((0.5, self.span_s, 3600.0))
            if viewer.link is not None:
                viewer.link.cut(random.choice((0.0, 0.01, 1.0, 40.0)), keeps=random.choice((0, 1, 99)))
        elif what == "stall":
            viewer.paused_until = now + random.choice((0.1, 1.0, 10.0))
        elif what == "act":
            viewer.act()
        elif what == "flood":
            self.flood()
        elif what == "wall":
            self.clock.set_by_s += random.choice((-100.0, 100.0))
        elif pipeline is None:
            return
        elif what == "withdraw":
            self._withdraw(viewer)
        elif what == "compact":
            for channel in pipeline.store.channels.values():
                channel.compact()
        elif what == "fail":
            self.transport.fail(random.randint(1, 4))
        elif what == "lose":
            self.transport.lose_answers(random.randint(1, 3))
        elif what == "hang":
            self.transport.hang()
            self.loop.call_later(random.choice((0.1, 1.0, 6.0)), self.transport.go_on)
        elif what == "outage":
            self.transport.begin_outage()
            self.loop.call_later(random.choice((0.1, 3.0)), self.transport.end_outage)
        elif random.random() < 0.5:
            await self.stop_server(is_killed=what == "kill")
            await asyncio.sleep(random.choice((0.0, 0.5)))
            await self.start_server()

    def _withdraw(self, viewer: Viewer) -> None:
        if (
            isinstance(viewer, SyncViewer)
            and viewer.is_greeted
            and viewer.link is not None
            and not (viewer.expected or viewer.is_withdrawn or viewer.link.is_noticed)
            and viewer.judges
            and viewer.socket is not None
        ):
            viewer.is_withdrawn = True
            viewer.socket.take_off((self.random.choice(sorted(viewer.judges)),))

    # judgement

    def count(self, frame: dict[str, Any], judge: Judge) -> None:
        """What histories pass through, so that a report can say so."""
        for name in ("reset", "more", "urgent", "check", "removed", "events", "view", "ack"):
            if frame.get(name):
                self.counts[f"frames with {name}"] += 1
        self.counts["frames"] += 1
        self.digest.update(json.dumps(frame).encode())

    def after_turn(self) -> None:
        """Holds what must hold at any moment."""
        if self.loop.turns % 32 == 0 and self.pipeline is not None:
            self.conserved(self.pipeline)
            self.bounded(self.pipeline)

    def conserved(self, pipeline: UpdatePipeline) -> None:
        """Promise 3: what the account says is pending is what waits, by priority."""
        told = pipeline._queue.account.snapshot()
        waiting = pipeline._queue.pending_by_priority()
        for update in pipeline._delivery.in_flight:
            waiting[update.priority] += 1
        assert told["total"]["accepted"] == self.accepted, "an update is not in the account, or in it twice"
        for priority, count in waiting.items():
            assert told[priority.label]["pending"] == count, f"account {told}, waiting {waiting}"

    def bounded(self, pipeline: UpdatePipeline) -> None:
        """What the server holds for each connection is bounded by its views, not by what it missed."""
        for connection in pipeline.websocket_manager.connections.values():
            assert len(connection.replies) <= connection_module.MAX_REPLIES + 8
            session = connection.session
            if isinstance(session, sync_module.SyncSession) and session.catch_up is not None:
                held = [told.frame for told in session.catch_up.pending]
                self.counts["most frames held"] = max(self.counts["most frames held"], len(held))
                size = sum(len(frame.text) for frame in held)
                self.counts["most chars held"] = max(self.counts["most chars held"], size)

    def lacks(self) -> str | None:
        """What is not yet as it should be at the end, in words."""
        pipeline = self.pipeline
        assert pipeline is not None
        assert not self.loop.problems, self.loop.problems
        pending = pipeline._queue.account.snapshot()["total"]["pending"]
        if pending:
            return f"{pending} updates are pending"
        for channel in self.channels:
            truth = self.source.states.get(channel, {})
            kept = {one: json.loads(text) for one, text in pipeline.store.states(channel).items()}
            assert kept == truth, f"the store's {channel} is not what was queued"
            assert self.log.channel(channel).newest() == truth
        assert pipeline.store.head == self.log.head
        for connection in pipeline.websocket_manager.connections.values():
            session, link = connection.session, self.link_of.get(connection.connection_id)
            if isinstance(session, SyncStream) and link is not None:
                assert session.credit.bytes_in_flight <= link.in_flight[0] + 16, "credit leaks"
        return next((lack for viewer in self.viewers if (lack := viewer.lacks()) is not None), None)

    async def play(self) -> None:
        """The history, from start to end."""
        await self.start_server()
        self.loop.after_turn = self.after_turn
        lives = [self.loop.create_task(viewer.live()) for viewer in self.viewers]
        jobs = [self.loop.create_task(self.work()), self.loop.create_task(self.disturb())]
        waiting = set(jobs)
        while waiting:
            done, waiting = await asyncio.wait({*waiting, *lives}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            waiting -= set(lives)
        await self._quiet(lives)
        for viewer in self.viewers:
            viewer.leave()
        await asyncio.wait(lives)
        for task in lives:
            task.result()
        await self.stop_server(is_killed=False)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"

    async def _quiet(self, lives: list[asyncio.Task[None]]) -> None:
        """Nothing bad happens any more: in the end every browser shows the truth."""
        self.transport.go_on()
        self.transport.end_outage()
        self.transport.fail(0)
        self.transport.lose_answers(0)
        for viewer in self.viewers:
            viewer.away_until = viewer.paused_until = 0.0
        until = self.loop.time() + QUIET_S
        lack: str | None = ""
        while lack is not None:
            assert self.loop.time() < until, f"in {QUIET_S:g} quiet seconds: {lack}"
            await asyncio.sleep(0.1)
            for task in lives:
                if task.done():
                    task.result()
            lack = self.lacks()


class Overheard(logging.Handler):
    """What the package logs as an error: a bug, here."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.problems.append(f"{record.getMessage()} {error!r}")


@contextlib.contextmanager
def overheard(problems: list[str]) -> Iterator[None]:
    """Collects errors of the package's loggers, and keeps them quiet."""
    logger = logging.getLogger("django_update_pipeline")
    before = logger.propagate, logger.level
    handler = Overheard(problems)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]


def run_seed(seed: int) -> World:
    """Plays one history.

    Raises:
        AssertionError: a promise was broken.
    """
    world = World(seed)
    with contextlib.ExitStack() as stack:
        for module, values in world.sizes().items():
            stack.enter_context(mock.patch.multiple(module, **values))
        stack.enter_context(overheard(world.loop.problems))
        try:
            world.loop.run_until_complete(world.play())
            assert not world.loop.problems, world.loop.problems
        finally:
            close(world.loop)
    return world


def close(loop: SimulatedLoop) -> None:
    """Ends what a failed history left running."""
    loop.after_turn = lambda: None
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.wait(tasks, timeout=100))
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
    loop.close()
