"""Plays conversations on a real server's port, and attacks its framing: uvicorn or daphne, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from . import framing, settings
from .campaign import Census
from .census import CENSUS
from .conversation import Broken, Conversation, Deaf, Publish, Say, Vanish, Wait
from .handshakes import Fate, Handshake
from .hooks import MeantToFail
from .ledger import PATIENCE_S, Classic, Find, Ledger
from .oracle import Limits
from .raw_socket import BINARY, CLOSE, DEFLATE, TEXT, RawSocket, encode, request, upgrade

ROOT = Path(__file__).resolve().parents[2]
#: Attacks on framing and on HTTP that go with each conversation.
ATTACKS = 8
COMMANDS = {
    "uvicorn": ("uvicorn", "tests.hostile.server:application", "--host", "127.0.0.1", "--port", "{port}"),
    "daphne": ("daphne", "-b", "127.0.0.1", "-p", "{port}", "tests.hostile.server:application"),
}
#: Tracebacks that others write about their own doings; none of them holds a line of ours.
KNOWN = (
    # Django tells of each request whose Host it doesn't allow.
    re.compile(r"^django\.core\.exceptions\.DisallowedHost: ", re.MULTILINE),
    # uvicorn tells of each text frame that is not UTF-8, and closes with 1007; where the client's own close came in
    # the same packet that close fails, and the transport is said to have a fatal error.
    re.compile(r"in send_receive_event_to_app\n.*\n.*\nUnicodeDecodeError"),
    re.compile(r"self\.conn\.send_close\(1007\)\n.*\n.*\nwebsockets\.exceptions\.InvalidState"),
)
#: A header's line beyond this is cut off by every server; uvicorn then neither answers nor ends the connection.
LINE_BYTES = 8000
LINE_WAIT_S = 1.0
OURS = re.compile(r'File "[^"]*django_update_pipeline')
TRACEBACK = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*(?P<error>.*)$", re.MULTILINE
)
ALARM = re.compile(
    r"never retrieved|never awaited|ResourceWarning|Exception in|CRITICAL|Fatal Python|Segmentation|Unhandled"
    r"|^django_update_pipeline ERROR (?!.*MeantToFail)"
)
#: What a proxy or server may tidy up in a header or cut it at, so that another header arrives than was sent.
TIDIED = re.compile(rb"^[\s]|[\s]$|[\r\n\x00]")


class OverSockets:
    """A server's port."""

    def __init__(self, name: str, people: Mapping[str, bytes]) -> None:
        self.name = name
        self._people = people
        self._limits = Limits(settings.MAX_FRAME_BYTES, settings.MAX_DEPTH)
        self._read_to = 0
        self._fewest_tasks = 1000

    async def open(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "server.log"
        command = [part.format(port=self._port) for part in COMMANDS[self.name]]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - once, before anything else runs
                [sys.executable, "-X", "dev", "-W", "default", "-m", *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        for _ in range(600):
            try:
                await self.fresh_client()
            except (OSError, Find):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
                continue
            # The most that one frame ever takes is part of what the server holds from the first check on.
            for size in framing.BOMB_SIZES * 2:
                await self._attack(framing.bomb(size))
            return
        log = self._log.read_text(errors="replace")
        await self.close()
        raise RuntimeError(f"{self.name} does not serve:\n{log[-4000:]}")

    async def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._folder.cleanup()

    async def converse(self, talk: Conversation) -> int:
        """Plays one conversation and some attacks below it."""
        await self._converse(talk)
        rng = random.Random(f"{talk.seed} below")
        for _ in range(ATTACKS):
            if rng.random() < 0.7:
                await self._attack(framing.attack(rng))
            else:
                await self._garbage(*framing.garbage(rng, settings.HOST_NAME.encode()))
        self._scan_log()
        return talk.inputs + ATTACKS

    # conversations

    async def _converse(self, talk: Conversation) -> None:
        if talk.before:
            return  # a server sends what comes first; no client can
        shake = talk.handshake
        ledger = Ledger(
            talk.protocol(self._limits),
            frozenset({1000, 1005, 1006, 1007, 1002}),
        )
        async with _Opened(self._port, ledger) as ws:
            is_in = await self._handshake(ws, shake)
            for step in talk.steps:
                if not is_in:
                    break
                await self._step(step, ws, ledger, talk)
            ws.raise_find()
            if is_in and not await ws.raw.ended(PATIENCE_S):
                raise Find("the server did not end its side of the connection")
            ws.raise_find()

    async def _handshake(self, ws: _Opened, shake: Handshake) -> bool:
        headers = list(shake.headers)
        if shake.who in self._people:
            headers.append((b"cookie", self._people[shake.who]))
        extra = [(b"sec-websocket-protocol", name.encode()) for name in shake.subprotocols]
        path = quote(shake.path.encode("utf-8", "surrogatepass"), safe="/%;=\\").encode() or b"/"
        if shake.query:
            path += b"?" + quote(shake.query).encode()
        is_long = len(path) > LINE_BYTES or any(len(value) > LINE_BYTES for _, value in (*headers, *extra))
        try:
            status = await ws.raw.handshake(
                request(path, upgrade(*headers, *extra)), LINE_WAIT_S if is_long else PATIENCE_S
            )
        except Find:
            if is_long:
                return False
            raise
        is_in = status == 101
        fate = shake.fate
        if is_long or any(TIDIED.search(value) for _, value in headers) or shake.root_path:
            fate = Fate.EITHER
        if fate is not Fate.EITHER and is_in is not (fate is Fate.IN):
            raise Find(f"must be {fate.value} and was answered {status}: {shake!r:.500}")
        if status is not None and status >= 500:
            raise Find(f"a handshake was answered {status}: {shake!r:.500}")
        return is_in

    async def _step(self, step: Any, ws: _Opened, ledger: Ledger, talk: Conversation) -> None:
        raw = ws.raw
        match step:
            case Say(data) if not ws.is_gone:
                ledger.said(data)
                if isinstance(data, str):
                    raw.send(encode(TEXT, data.encode("utf-8", "surrogatepass")))
                else:
                    raw.send(encode(BINARY, data))
            case Wait() if not ws.is_gone:
                await ws.until(lambda: ledger.is_settled, "a burst of frames")
                # A server that closes for text that is no UTF-8 leaves the rest unread; the reset that
                # follows may overtake its close frame.
                if ledger.closed in (1006, 1007) and not _has_half(talk):
                    raise Find(f"closed with {ledger.closed}, and all text was UTF-8")
            case Publish():
                await asyncio.sleep(0)
            case Deaf(is_deaf):
                raw.deafen(is_deaf)
            case Broken():
                ws.is_gone = True
                raw.reset()
            case Vanish(code) if not ws.is_gone:
                ws.is_gone = True
                if code in (1005, 1006):
                    raw.reset()
                else:
                    raw.send(encode(CLOSE, code.to_bytes(2, "big")))

    # below the protocol

    async def _attack(self, attack: framing.Attack) -> None:
        ledger = Ledger(Classic(self._limits), framing.FRAMING_CODES | attack.echoes)
        async with _Opened(self._port, ledger) as ws:
            more = [(b"sec-websocket-extensions", DEFLATE)] if attack.deflate else []
            headers = upgrade((b"host", settings.HOST_NAME.encode()), *more)
            if await ws.raw.handshake(request(b"/ws/updates/", headers), PATIENCE_S) != 101:
                raise Find(f"a right handshake was answered {ws.raw.status} ({attack.name})")
            await ws.until(lambda: ledger.is_greeted, "the greeting")
            # An answer, if one comes, is owed to this frame; errors are as good.
            ledger.owed.append((framing.PING_FRAME, _ANYTHING))
            for piece in attack.pieces:
                ws.raw.send(piece)
                if len(piece) == 1:
                    await asyncio.sleep(0)
            if attack.is_dropped:
                ws.raw.reset()
                return
            await ws.until(lambda: ledger.is_settled, f"an attack: {attack.name}")
            if attack.must == "answered" and ledger.closed is not None:
                raise Find(f"closed with {ledger.closed}, must be answered: {attack.name}")
            if attack.must == "closes" and ledger.closed is None:
                raise Find(f"must close: {attack.name}")

    async def _garbage(self, name: str, data: bytes) -> None:
        raw = await RawSocket.open(self._port)
        try:
            status = None
            raw.send(data)
            try:
                raw.writer.write_eof()
                async with asyncio.timeout(PATIENCE_S):
                    head = await raw.reader.read(64)
                status = int(head[9:12]) if head[:5] == b"HTTP/" and head[9:12].isdigit() else None
            except (ConnectionError, OSError):
                pass
            except TimeoutError:
                raise Find(
                    f"neither answered nor closed in {PATIENCE_S:g} s: {name}: {data[:200]!r}"
                ) from None
            if status is not None and status >= 500 and status != 505:
                raise Find(f"answered {status}: {name}: {data[:300]!r}")
        finally:
            raw.reset()
            await raw.shut()

    def _scan_log(self) -> None:
        """What the server wrote since the last time: a crash is a find, unless it is known to be the server's own."""
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            new = log.read()
        new = new[: new.rfind(b"\n") + 1]
        self._read_to += len(new)
        crashes = crashes_in(new.decode(errors="replace"), KNOWN)
        if crashes:
            raise Find(f"the server's log: {crashes[0][-3000:]}")

    # what is left

    async def fresh_client(self) -> None:
        """A newcomer is greeted, answered and told of a change."""
        seen: list[str] = []
        ledger = Ledger(Classic(self._limits))
        async with _Opened(self._port, ledger, seen) as ws:
            headers = upgrade((b"host", settings.HOST_NAME.encode()))
            if await ws.raw.handshake(request(b"/ws/updates/", headers), PATIENCE_S) != 101:
                raise Find(f"a fresh client was answered {ws.raw.status}")
            ledger.said('{"type":"ping","timestamp":1}')
            ws.raw.send(encode(TEXT, b'{"type":"ping","timestamp":1}'))
            await ws.until(lambda: ledger.is_settled, "a fresh client's ping")
            count = sum("agent_update" in text for text in seen)
            await ws.until(
                lambda: sum("agent_update" in text for text in seen) > count, "a fresh client's update"
            )
            ws.raw.send(encode(CLOSE, b"\x03\xe8"))
            await ws.raw.ended(PATIENCE_S)

    async def census(self) -> Census:
        """Asked of the server once its clients are gone; they may take it a moment."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            counts = await self._counts()
            self._fewest_tasks = min(self._fewest_tasks, counts["tasks"])
            is_quiet = counts["connections"] == 0 and counts["tasks"] <= self._fewest_tasks
            if is_quiet or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.05)
        process = psutil.Process(counts["pid"])
        return Census(
            counts["connections"],
            counts["feeds"],
            counts["tasks"],
            process.num_fds() if hasattr(process, "num_fds") else 0,
            process.memory_info().rss / 2**20,
        )

    async def _counts(self) -> dict[str, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(
                request(CENSUS.encode(), [(b"host", settings.HOST_NAME.encode()), (b"connection", b"close")])
            )
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
        finally:
            writer.close()
        counts: dict[str, int] = json.loads(answer[answer.index(b"\r\n\r\n") + 4 :])
        return counts


def crashes_in(log: str, known: Iterable[re.Pattern[str]] = ()) -> list[str]:
    """Tracebacks and alarms in a server's log, but for the hooks' own and the known ones."""
    found = []
    for match in TRACEBACK.finditer(log):
        block = match[0]
        if MeantToFail.__name__ not in match["error"] and (
            OURS.search(block) or not any(one.search(block) for one in known)
        ):
            found.append(log[max(0, match.start() - 300) : match.end()])
    found += [line for line in TRACEBACK.sub("", log).splitlines() if ALARM.search(line)]
    return found


class _Anything:
    types = frozenset({"pong", "error"})
    codes = None
    value: dict[str, Any] = {"timestamp": "fragments"}


_ANYTHING: Any = _Anything()


class _Opened:
    """A raw socket with its ledger, let go of at the end."""

    def __init__(self, port: int, ledger: Ledger, seen: list[str] | None = None) -> None:
        self._port, self._ledger, self._seen = port, ledger, seen
        self._find: Find | None = None
        self._news = asyncio.Event()
        self.is_gone = False
        self.raw: RawSocket

    async def __aenter__(self) -> _Opened:
        self.raw = await RawSocket.open(self._port)
        self.raw.on_text = self._text
        self.raw.on_close = self._closed
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.raw.writer.is_closing():
            self.raw.reset()
        await self.raw.shut()

    def _text(self, text: str) -> None:
        try:
            self._ledger.heard(text)
        except Find as find:
            self._find = self._find or find
        if self._seen is not None:
            self._seen.append(text)
        self._news.set()

    def _closed(self, code: int) -> None:
        if not self.is_gone:
            try:
                self._ledger.shut(code)
            except Find as find:
                self._find = self._find or find
        self._news.set()

    def raise_find(self) -> None:
        """Raises what has been found so far."""
        if self._find is not None:
            raise self._find

    async def until(self, is_so: Any, what: str) -> None:
        """Waits until something is so; that the reader ended is for the caller to judge."""
        clock = asyncio.get_running_loop().time
        owed, deadline = len(self._ledger.owed), clock() + PATIENCE_S
        while not is_so() and self._find is None:
            if len(self._ledger.owed) < owed:  # each answer is waited for by itself
                owed, deadline = len(self._ledger.owed), clock() + PATIENCE_S
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._news.wait()
            if clock() > deadline and not is_so():
                raise Find(
                    f"no answer in {PATIENCE_S:g} s: {what}; owed: {list(self._ledger.owed)[:1]!r:.300}"
                )
        self.raise_find()


def _has_half(talk: Conversation) -> bool:
    """Whether some text frame of it is no UTF-8 once encoded."""
    return any(
        isinstance(step, Say)
        and isinstance(step.data, str)
        and any("\ud800" <= char <= "\udfff" for char in step.data)
        for step in talk.steps
    )
