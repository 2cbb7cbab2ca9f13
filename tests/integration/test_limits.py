"""Bounds of what comes in, on both doors: each limit has its code, and every way out gives the slot back."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application

from django_update_pipeline import UpdatePriority, hookimpl
from django_update_pipeline.core.codes import CLOSE_CODES
from django_update_pipeline.routing import with_update_pipeline

from .asgi import HOST, ORIGIN, AsgiSocket, opened
from .test_revocation import DOORS, cookie, new_session, plain_door, rose

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/ws/updates/admin/"


async def refused(app: Any, path: str = "/ws/updates/", **more: Any) -> int | None:
    """The code a handshake is refused with; nothing else was sent."""
    socket = AsgiSocket(app, path, **more)
    assert not await socket.connect()
    assert len(socket.sent) == 1
    return socket.close_code


def assert_free(pipeline: Any) -> None:
    manager = pipeline.websocket_manager
    assert (manager.admission.count, manager.admission.held(), manager.get_connection_count()) == (0, {}, 0)


# how many


@pytest.mark.parametrize("door", DOORS)
async def test_one_user_has_so_many_connections_and_others_are_not_hindered(pipeline: Any, door: Any) -> None:
    running = pipeline(CONNECTIONS={"max_connections_per_user": 2})
    app = door()
    _, session = await rose()
    other = await sync_to_async(lambda: new_session(User.objects.create_user("other")))()
    async with opened(app, headers=cookie(session)), opened(app, headers=cookie(session)):
        assert await refused(app, headers=cookie(session)) == 4430
        async with opened(app, headers=cookie(other)), opened(app), opened(app), opened(app):
            pass
    async with opened(app, headers=cookie(session)):
        pass
    assert_free(running)


@pytest.mark.parametrize("door", DOORS)
async def test_one_address_has_so_many_connections_and_a_header_changes_nothing(
    pipeline: Any, door: Any
) -> None:
    running = pipeline(CONNECTIONS={"max_connections_per_address": 1})
    app = door()
    spoofed = [HOST, ORIGIN, (b"x-forwarded-for", b"192.0.2.7"), (b"forwarded", b"for=192.0.2.7")]
    async with opened(app, client=["192.0.2.1", 1000], headers=[HOST, ORIGIN]):
        assert await refused(app, client=["192.0.2.1", 1001], headers=spoofed) == 4431
        async with opened(app, client=["192.0.2.2", 1000], headers=[HOST, ORIGIN]):
            pass
        async with opened(app, client=None, headers=[HOST, ORIGIN]), opened(app, headers=[HOST, ORIGIN]):
            pass  # a Unix socket has no address
    assert_free(running)


async def test_handshakes_under_way_count_among_all_connections(pipeline: Any) -> None:
    """Else a flood of them would pass any limit."""
    running = pipeline(CONNECTIONS={"max_connections": 2, "accept_timeout_s": 30.0})
    app = plain_door()
    silent = [AsgiSocket(app) for _ in range(2)]
    for socket in silent:
        socket.task = asyncio.create_task(socket.app(socket.scope, socket._inbox.get, socket._send))
    await asyncio.sleep(0)
    assert await refused(app) == 4429
    for socket in silent:
        socket._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        assert socket.task is not None
        await socket.task
    assert_free(running)


class Exploding:
    """A hook that raises what it is told to."""

    error: BaseException | None = None
    gate: threading.Event | None = None

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool | None:
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return None


EXPLODING = Exploding()


@pytest.fixture
def exploding() -> Exploding:
    EXPLODING.error = EXPLODING.gate = None
    return EXPLODING


async def broken_send(message: Any) -> None:
    raise OSError("the client is gone")


async def hanging_send(message: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("send", [broken_send, hanging_send])
@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_client_that_is_gone_in_its_handshake_frees_its_slot_without_a_traceback(
    pipeline: Any, send: Any, is_refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    running = pipeline(CONNECTIONS={"accept_timeout_s": 0.2})
    scope = {
        **AsgiSocket(plain_door()).scope,
        "headers": [HOST, (b"origin", b"null")] if is_refused else [HOST],
    }
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    async with asyncio.timeout(10):
        await plain_door()(scope, inbox.get, send)
    assert_free(running)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_socket_whose_task_is_cancelled_frees_its_slot(pipeline: Any) -> None:
    running = pipeline(CONNECTIONS={"max_connections_per_address": 5})
    socket = AsgiSocket(plain_door(), client=["192.0.2.1", 1])
    assert await socket.connect()
    assert running.websocket_manager.admission.count == 1
    assert socket.task is not None
    socket.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.task
    assert_free(running)


@pytest.mark.parametrize("where", ["sessions", "hooks"])
async def test_a_handshake_that_hangs_anywhere_is_refused_in_time(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, exploding: Exploding, where: str, caplog: Any
) -> None:
    running = pipeline(
        CONNECTIONS={"accept_timeout_s": 0.3, "hook_timeout_s": 30.0},
        PLUGINS=[f"{__name__}.EXPLODING"] if where == "hooks" else [],
    )
    await running.start()
    if where == "hooks":
        exploding.gate = threading.Event()
    else:

        async def hangs(*_: Any) -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr("django_update_pipeline.doors.recognise", hangs)
    with caplog.at_level(logging.CRITICAL):
        assert await refused(plain_door()) == 4011
    if exploding.gate is not None:
        exploding.gate.set()
    assert_free(running)


async def test_a_client_that_answers_no_close_is_hung_up_on(pipeline: Any) -> None:
    """The server's task ends, and with it the connection, though no `websocket.disconnect` ever came."""
    running = pipeline(
        CONNECTIONS={"messages_per_s": 1.0, "burst": 1, "max_rate_limited": 1, "close_timeout_s": 0.2}
    )
    socket = AsgiSocket(plain_door())
    assert await socket.connect()
    for _ in range(5):
        socket.say({"type": "ping"})
    await socket.until(lambda: socket.close_code)
    assert socket.task is not None
    async with asyncio.timeout(5):
        await socket.task
    assert_free(running)


async def test_a_client_that_takes_nothing_is_closed_all_the_same(pipeline: Any) -> None:
    running = pipeline(CONNECTIONS={"close_timeout_s": 0.2})
    socket = AsgiSocket(plain_door())
    assert await socket.connect()
    await socket.until(lambda: socket.frames)
    socket.block()
    socket.say({"type": "ping"})
    await asyncio.sleep(0)
    (connection,) = running.websocket_manager.connections.values()
    connection.close(CLOSE_CODES[0])
    assert socket.task is not None
    async with asyncio.timeout(5):
        await socket.task
    assert_free(running)


# how much


async def test_bytes_are_limited_before_a_frame_is_parsed(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_update_pipeline.runtime import socket as module

    parsed: list[int] = []
    decode = module.decode_client_frame

    def counting(raw: Any, *more: Any) -> Any:
        parsed.append(len(raw))
        return decode(raw, *more)

    monkeypatch.setattr(module, "decode_client_frame", counting)
    pipeline(CONNECTIONS={"bytes_per_s": 1.0, "burst_bytes": 2000, "max_rate_limited": 3})
    frame = '{"type":"ping","timestamp":"' + "x" * 900 + '"}'
    async with opened(plain_door()) as socket:
        for _ in range(8):
            socket.say(frame)
        await socket.until(lambda: socket.close_code)
        assert socket.close_code == 4008
        kinds = [one.get("code", one["type"]) for one in socket.frames]
        assert kinds == [
            "connection_established",
            "pong",
            "pong",
            "rate_limited",
            "rate_limited",
            "rate_limited",
        ]
        assert len(parsed) == 2


# odd handshakes


ODD: list[tuple[str, bytes | None]] = [
    ("//ws/updates/", b"//ws/updates/"),
    ("/ws/updates/admin/", b"/ws/updates/%61dmin/"),
    ("/ws/updates/admin/", b"/ws/updates%2fadmin/"),
    ("/ws/updates", b"/ws/updates"),
    ("/ws/updates/\n", b"/ws/updates/%0a"),
    ("/ws/updates/admin/\n", None),
    ("/ws/updates/x", b"/ws/updates/x"),
    ("/ws/updates/;a", b"/ws/updates/;a"),
    ("/ws/updates/\x00", b"/ws/updates/%00"),
    ("/ws/updates/../updates/", b"/ws/updates/../updates/"),
    ("/WS/updates/", b"/WS/updates/"),
    ("", b""),
    ("/\ud800", None),
    ("/nowhere/", b"/nowhere/"),
]


@pytest.mark.parametrize(("path", "raw"), ODD)
@pytest.mark.parametrize("door", DOORS)
async def test_an_odd_path_is_refused_without_a_traceback_or_a_line(
    pipeline: Any, door: Any, path: str, raw: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline()
    more = {} if raw is None else {"raw_path": raw}
    assert await refused(door(), path, headers=[HOST, ORIGIN], **more) == 4404
    assert not [one for one in caplog.records if one.name.startswith("django_update_pipeline.routing")]


@pytest.mark.parametrize("root", ["/x", "/ws", "ws/updates", "/ws/updates/", "\n", "/ws/updates/admin/more"])
@pytest.mark.parametrize("door", DOORS)
async def test_a_root_path_that_a_client_could_name_opens_nothing_and_breaks_nothing(
    pipeline: Any, door: Any, root: str
) -> None:
    """daphne takes it from a request's header: it may say anything."""
    pipeline()
    for path in ("/ws/updates/admin/", root + "/ws/updates/admin/"):
        code = await refused(door(), path, headers=[HOST, ORIGIN], root_path=root)
        assert code in (4404, 4401), "unknown, or asked to sign in: never in"


@pytest.mark.parametrize("offered", [["graphql-ws"], ["ünbekannt"], ["\x00"], ["x" * 5000], ["a"] * 1000])
@pytest.mark.parametrize("path", ["/ws/updates/", ADMIN])
@pytest.mark.parametrize("door", DOORS)
async def test_a_protocol_that_is_not_spoken_here_is_refused(
    pipeline: Any, door: Any, path: str, offered: list[str]
) -> None:
    pipeline()
    assert await refused(door(), path, headers=[HOST, ORIGIN], subprotocols=offered) == 4400


async def test_a_flood_of_refusals_writes_few_lines_and_none_that_is_forged(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = pipeline()
    evil = b"http://evil.example\r\nINFO all is well\x1b[31m"
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            assert (
                await refused(plain_door(), headers=[HOST, (b"origin", evil), (b"cookie", b"s=secret")])
                == 4403
            )
    lines = [record.getMessage() for record in caplog.records if "socket refused" in record.getMessage()]
    assert len(lines) == 7
    assert not any(re.search(r"[\x00-\x1f\x7f]|secret", line) for line in lines)
    assert running.websocket_manager.refusals.counts() == {"origin_malformed": 100}


async def test_logs_name_no_cookie_address_or_payload(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = pipeline()
    _, session = await rose()
    with caplog.at_level(logging.INFO):
        async with opened(plain_door(), headers=cookie(session), client=["192.0.2.99", 7]) as socket:
            socket.say("{payload-of-the-client")
            await socket.ask({"type": "agent_action", "agent_id": "payload-id", "action": "payload-action"})
            await running.publish("a", "state_change", {"n": "payload-state"})
            await socket.until(lambda: any(frame["type"] == "agent_update" for frame in socket.frames))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert not re.search("192.0.2.99|payload|" + session.session_key, text)


async def test_connection_ids_are_random(pipeline: Any) -> None:
    pipeline()
    seen: set[str] = set()
    for _ in range(50):
        async with opened(plain_door()) as socket:
            await socket.until(lambda: socket.frames)
            seen.add(socket.frames[0]["connection_id"])
    assert len(seen) == 50
    assert all(re.fullmatch(r"ws_[0-9a-f]{32}", one) for one in seen)


def test_close_codes_are_those_that_every_server_can_send() -> None:
    """autobahn (daphne) raises for anything but 1000 and 3000 to 4999; a reason has 123 bytes at most."""
    assert all(4000 <= code.code <= 4999 and len(code.reason.encode()) <= 123 for code in CLOSE_CODES)
    assert len({code.code for code in CLOSE_CODES}) == len(CLOSE_CODES)


# churn


@pytest.mark.fault(
    "F37", "no message of a channel after its unsubscription is confirmed, and no ghost member"
)
async def test_churn_of_subscriptions_that_races_with_publishing_leaves_no_ghost(pipeline: Any) -> None:
    running = pipeline(OPEN_CHANNELS=["news"], CONNECTIONS={"messages_per_s": 0, "bytes_per_s": 0})
    await running.start()
    app = with_update_pipeline(get_asgi_application())
    sockets = [AsgiSocket(app) for _ in range(20)]
    for socket in sockets:
        assert await socket.connect()

    async def publish() -> None:
        n = 0
        while not is_done.is_set():
            n += 1
            running.queue_agent_update("a", "said", {"n": n}, UpdatePriority.CRITICAL, channels=["news"])
            running.queue_agent_update("a", "state_change", {"n": n}, channels=["news"])
            await asyncio.sleep(0.001)

    async def churn(socket: AsgiSocket, dice: random.Random) -> None:
        for _ in range(30):
            for kind in ("subscribe", "unsubscribe"):
                socket.say({"type": kind, "channels": ["news"]})
                await asyncio.sleep(dice.choice([0, 0, 0.002]))  # a turn, or batches between: both must race

    is_done = asyncio.Event()
    publishing = asyncio.create_task(publish())
    await asyncio.gather(*(churn(socket, random.Random(n)) for n, socket in enumerate(sockets)))
    is_done.set()
    await publishing
    told = 0
    for socket in sockets:
        count: Callable[[], int] = lambda socket=socket: sum(  # type: ignore[misc] # noqa: E731
            frame["type"] == "unsubscription_confirmed" for frame in socket.frames
        )
        await socket.until(lambda count=count: count() == 30)
        is_on = False
        for frame in socket.frames:
            if frame["type"] == "subscription_confirmed":
                is_on = True
            elif frame["type"] == "unsubscription_confirmed":
                is_on = False
            elif frame["type"] == "agent_update":
                told += 1
                assert is_on, "a message after its channel's unsubscription was confirmed"
        await socket.disconnect()
    assert told, "the race was one"
    assert list(running.websocket_manager._feeds) in ([], [()])
    assert_free(running)
