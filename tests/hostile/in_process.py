"""Plays conversations on an ASGI callable in this process: no server, no network, every message seen."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import psutil
from django.core.asgi import get_asgi_application

from django_update_pipeline import UpdatePriority, service
from django_update_pipeline.routing import with_update_pipeline

from . import ledger, settings
from .campaign import Census
from .conversation import Broken, Conversation, Deaf, Odd, Publish, Say, Vanish, Wait
from .handshakes import ADMIN, CLASSIC, HOST, Fate, Handshake
from .hooks import MeantToFail
from .ledger import Classic, Find, Ledger
from .oracle import Limits

ODD_ANSWERED = b""


class Gone(OSError):
    """What a server's `send` raises when the client is gone."""


class Watch(logging.Handler):
    """Notes every log record that tells of a crash."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.crashes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, MeantToFail) or MeantToFail.__name__ in record.getMessage():
            return
        if record.levelno >= logging.ERROR or error is not None:
            self.crashes.append(f"{record.name}: {record.getMessage()}: {error!r}")


class Noting(Ledger):
    """A ledger that keeps what it heard."""

    def __init__(self, protocol: Classic, seen: list[str]) -> None:
        super().__init__(protocol)
        self._seen = seen

    def heard(self, text: str) -> None:
        self._seen.append(text)
        super().heard(text)

    def taken(self) -> list[str]:
        """What came since the last time."""
        taken, self._seen = self._seen, []
        return taken


class Socket:
    """One ASGI socket: the messages it is given, and a ledger of what it sends."""

    def __init__(self, app: Any, scope: dict[str, Any], ledger: Ledger) -> None:
        self.ledger = ledger
        self.is_accepted: bool | None = None
        self.is_gone = self.is_broken = False
        self._inbox: deque[dict[str, Any]] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._listening = asyncio.Event()
        self._listening.set()
        self.find: Find | None = None
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    def put(self, message: Mapping[str, Any]) -> None:
        """One more ASGI message for the application."""
        self._inbox.append(dict(message))
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        return self._inbox.popleft()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._listening.wait()
        if self.is_broken:
            raise Gone("the client is gone")
        try:
            self._note(message)
        except Find as find:
            self.find = self.find or find

    def _note(self, message: dict[str, Any]) -> None:
        if self.task.done():
            raise Find(f"sent after the application had returned: {message}")
        match message["type"]:
            case "websocket.accept" if self.is_accepted is None:
                self.is_accepted = True
            case "websocket.close":
                self.is_accepted = bool(self.is_accepted)
                self.ledger.shut(message["code"])
            case "websocket.send" if self.is_accepted:
                self.ledger.heard(message["text"])
            case _:
                raise Find(f"an ASGI message out of place: {message}")

    def listen(self, is_listening: bool) -> None:
        """Whether `send` goes through, or waits."""
        if is_listening:
            self._listening.set()
        else:
            self._listening.clear()

    async def until(self, is_so: Any, what: str) -> None:
        """Waits until something is so or the application has ended; what it raised is a find."""
        clock = asyncio.get_running_loop().time
        spins, owed, deadline = 0, len(self.ledger.owed), clock() + ledger.PATIENCE_S
        while not is_so() and not self.task.done() and self.find is None:
            spins += 1
            await asyncio.sleep(0 if spins < 50 else 0.001)
            if len(self.ledger.owed) < owed:  # each answer is waited for by itself
                owed, deadline = len(self.ledger.owed), clock() + ledger.PATIENCE_S
            # Turns are counted, too: a machine that stood still for a while gave nobody the time to answer.
            if clock() > deadline and spins > ledger.PATIENCE_S * 100:
                raise Find(
                    f"no answer in {ledger.PATIENCE_S:g} s: {what}; owed: {list(self.ledger.owed)[:1]!r:.300}"
                )
        self.look()

    def look(self) -> None:
        """Raises what has been found so far."""
        error = self.task.exception() if self.task.done() and not self.task.cancelled() else None
        if error is not None and not (self.is_broken and isinstance(error, Gone)):
            raise Find(f"the application raised {error!r}") from error
        if self.find is not None:
            raise self.find


class InProcess:
    """The doors of this process's pipeline: the plain one, or the Channels consumers where there are any.

    A well-behaved neighbour is connected all the time, and must be shown what the store holds.
    """

    def __init__(self, through: str, people: Mapping[str, bytes]) -> None:
        self.name = through
        self._people = people
        self._limits = Limits(settings.MAX_FRAME_BYTES, settings.MAX_DEPTH)
        self._watch = Watch()
        self._published = 0
        self._shown: dict[str, Any] = {}
        self._process = psutil.Process()

    async def open(self) -> None:
        logging.getLogger().addHandler(self._watch)
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        self.pipeline = service.get_update_pipeline()
        await service.start_serving(self.pipeline)
        plain = with_update_pipeline(get_asgi_application())
        self._apps: dict[str, Any] = {}
        if self.name == "consumers":
            from django_update_pipeline.consumers import AdminConsumer, UpdatePipelineConsumer

            self._apps = {CLASSIC: UpdatePipelineConsumer.as_asgi(), ADMIN: AdminConsumer.as_asgi()}
        self._other = plain
        self._neighbour = Noting(Classic(self._limits), [])
        shake = Handshake(Fate.IN, headers=(HOST,))
        self._neighbours_socket = Socket(self._apps.get(CLASSIC, plain), self._scope(shake), self._neighbour)
        self._neighbours_socket.put({"type": "websocket.connect"})
        await self.fresh_client()

    async def close(self) -> None:
        self._neighbours_socket.put({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait([self._neighbours_socket.task], timeout=ledger.PATIENCE_S)
        await service.stop_serving(self.pipeline)
        service.reset_update_pipeline()
        logging.getLogger().removeHandler(self._watch)

    def _loop_failed(self, loop: Any, context: dict[str, Any]) -> None:
        self._watch.crashes.append(f"the loop: {context.get('message')}: {context.get('exception')!r}")

    def _scope(self, shake: Handshake) -> dict[str, Any]:
        headers = list(shake.headers)
        if shake.who in self._people:
            headers.append((b"cookie", self._people[shake.who]))
        return {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": shake.path,
            "raw_path": shake.path.encode("utf-8", "replace"),
            "query_string": shake.query,
            "root_path": shake.root_path,
            "headers": headers,
            "subprotocols": list(shake.subprotocols),
            "client": ("127.0.0.1", 50000),
        }

    async def converse(self, talk: Conversation) -> int:
        """Plays one conversation; raises what it finds."""
        shake = talk.handshake
        protocol = talk.protocol(self._limits)
        socket = Socket(self._apps.get(shake.path, self._other), self._scope(shake), Ledger(protocol))
        try:
            await self._play(talk, socket)
        except Find as find:
            self._look_at_log(f"{find}; ")
            raise
        finally:
            socket.listen(True)
            if not socket.task.done():
                socket.task.cancel()
                await asyncio.wait([socket.task])
        self._look_at_log()
        return talk.inputs

    def _look_at_log(self, before: str = "") -> None:
        if self._watch.crashes:
            crashes, self._watch.crashes = self._watch.crashes, []
            raise Find(f"{before}logged: {crashes[0]}")

    async def _play(self, talk: Conversation, socket: Socket) -> None:
        for odd in talk.before:
            socket.put(dict(odd.message))
        if not talk.before:
            socket.put({"type": "websocket.connect"})
        is_in = not talk.before
        if is_in and talk.kind != "midway":
            await socket.until(lambda: socket.is_accepted is not None, "the handshake")
            is_in = self._judge(talk.handshake, socket)
        for step in talk.steps:
            await self._step(step, socket, is_in)
        if not socket.is_gone:
            socket.put({"type": "websocket.disconnect", "code": 1001})
            socket.is_gone = True
        await socket.until(lambda: False, "the end after the disconnect")
        if not socket.task.done():
            raise Find("the application did not end")

    @staticmethod
    def _judge(shake: Handshake, socket: Socket) -> bool:
        if socket.is_accepted is None:
            raise Find(f"a handshake got no answer: {shake!r:.500}")
        if shake.fate is not Fate.EITHER and socket.is_accepted is not (shake.fate is Fate.IN):
            raise Find(f"must be {shake.fate.value} and was not: {shake!r:.500}")
        return socket.is_accepted

    async def _step(self, step: Any, socket: Socket, is_in: bool) -> None:
        match step:
            case Say(data):
                self._say(
                    socket,
                    {"text": data} if isinstance(data, str) else {"bytes": data, "text": None},
                    data,
                    is_in,
                )
            case Odd(message, is_answered):
                if is_answered:
                    self._say(socket, dict(message), ODD_ANSWERED, is_in)
                else:
                    socket.put(dict(message))
            case Wait():
                if is_in and not socket.is_gone and not socket.is_broken:
                    await socket.until(lambda: socket.ledger.is_settled, "a burst of frames")
                    if not socket.ledger.is_settled:
                        raise Find("the application ended without a close and with frames unanswered")
            case Publish(count):
                for _ in range(count):
                    self._publish()
            case Deaf(is_deaf):
                socket.listen(not is_deaf)
                await asyncio.sleep(0)
            case Broken():
                socket.is_broken = True
            case Vanish(code):
                socket.is_gone = True
                socket.listen(True)
                socket.put({"type": "websocket.disconnect", "code": code})

    @staticmethod
    def _say(socket: Socket, message: dict[str, Any], data: Any, is_in: bool) -> None:
        if is_in and not socket.is_gone:
            socket.ledger.said(data)
        socket.put({"type": "websocket.receive", **message})

    def _publish(self) -> None:
        n = self._published = self._published + 1
        channels = (None, ["news"], ["room-1"], ["room-0-1", "updates"])[n % 4]
        if n % 3:
            self.pipeline.queue_agent_update(f"agent_{n % 50}", "state_change", {"n": n}, channels=channels)
        else:
            self.pipeline.queue_agent_update(
                f"agent_{n % 50}", "said", {"text": "<b>" * 9}, UpdatePriority.CRITICAL, channels=channels
            )

    async def fresh_client(self) -> None:
        """A well-behaved newcomer is served: greeting, state, an answer, a change that happens meanwhile."""
        seen: list[str] = []

        account = Noting(Classic(self._limits), seen)
        shake = Handshake(Fate.IN, headers=(HOST,))
        socket = Socket(self._apps.get(CLASSIC, self._other), self._scope(shake), account)
        socket.put({"type": "websocket.connect"})
        try:
            await socket.until(lambda: account.is_greeted, "a fresh client's greeting")
            self._say(
                socket, {"text": '{"type":"ping","timestamp":1}'}, '{"type":"ping","timestamp":1}', True
            )
            await socket.until(lambda: account.is_settled, "a fresh client's ping")
            mark = f"mark-{self._published}"
            self.pipeline.queue_agent_update("fresh", "state_change", {"mark": mark})
            await socket.until(lambda: any(mark in text for text in seen), "a fresh client's update")
        finally:
            socket.put({"type": "websocket.disconnect", "code": 1000})
            await asyncio.wait([socket.task], timeout=ledger.PATIENCE_S)
            socket.look()
        await self._neighbour_is_up_to_date()

    async def _neighbour_is_up_to_date(self) -> None:
        """The client that was there all the time holds what the store holds, whatever the others did."""
        channel = self.pipeline.config.default_channel

        def agrees() -> bool:
            for text in self._neighbour.taken():
                frame = json.loads(text)
                if frame["type"] == "agent_update" and frame["update_type"] == "state_change":
                    self._shown[frame["agent_id"]] = frame["data"]
            held = {name: json.loads(text) for name, text in self.pipeline.store.states(channel).items()}
            return self._shown == held

        await self._neighbours_socket.until(agrees, "the neighbour to hold what the store holds")

    async def census(self) -> Census:
        """What is left when no client is there."""
        for _ in range(20):
            await asyncio.sleep(0)
        gc.collect()
        manager = self.pipeline.websocket_manager
        return Census(
            connections=manager.get_connection_count(),
            feeds=len(manager._feeds),
            tasks=len(asyncio.all_tasks()),
            descriptors=self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
            rss_mb=self._process.memory_info().rss / 2**20,
        )
