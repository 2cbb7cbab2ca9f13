"""The plain ASGI door: who is let in, what is answered, and what no frame can do."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.asgi import get_asgi_application

from django_update_pipeline import UpdatePriority, hookimpl
from django_update_pipeline.core.codes import CODES
from django_update_pipeline.exceptions import ActionRefused
from django_update_pipeline.permissions import OPERATE, VIEW
from django_update_pipeline.routing import with_update_pipeline

from .asgi import HOST, ORIGIN, AsgiSocket, Lifespan, opened
from .test_permissions import grant


@pytest.fixture
def app() -> Any:
    return with_update_pipeline(get_asgi_application())


class Hooks:
    """Decides by names: `room.<user>` is for anybody, actions say in their name what becomes of them."""

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool | None:
        if channel == "raises":
            raise RuntimeError("broken hook")
        return True if channel.startswith("room.") else None

    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool | None:
        return action != "forbidden"

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> Any:
        if action == "refused":
            raise ActionRefused("the villa is closed")
        if action == "breaks":
            raise RuntimeError("secret inside")
        if action == "late":
            raise TimeoutError
        return "done" if action == "move" else None


HOOKS = Hooks()


# handshake


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ([HOST], True),
        ([HOST, ORIGIN], True),
        ([(b"host", b"localhost:8001"), (b"origin", b"http://localhost:8001")], True),
        ([HOST, (b"origin", b"http://elsewhere.example")], False),
        ([HOST, (b"origin", b"null")], False),
        ([HOST, (b"origin", b"")], False),
        ([HOST, (b"origin", b"http://[::1")], False),
        ([HOST, ORIGIN, ORIGIN], False),
        ([HOST, (b"cookie", b"a=b")], False),
        ([HOST, ORIGIN, (b"cookie", b"a=b")], True),
        ([(b"host", b"elsewhere.example")], False),
        ([HOST, HOST], False),
        ([], False),
    ],
)
async def test_a_handshake_is_judged_by_its_headers(
    app: Any, pipeline: Any, headers: list[tuple[bytes, bytes]], let_in: bool
) -> None:
    pipeline()
    socket = AsgiSocket(app, headers=headers)
    assert await socket.connect() is let_in
    if let_in:
        await socket.until(lambda: socket.frames)
        assert socket.frames[0]["type"] == "connection_established"
        await socket.disconnect()
    else:
        assert socket.sent == [
            {
                "type": "websocket.close",
                "code": 4403,
                "reason": "this origin, host or user is not allowed here",
            }
        ]


@pytest.mark.parametrize(
    "path", ["/", "/ws/", "/ws/updates", "/ws/updates/x/", "//ws/updates/admin/", "/%61dmin/"]
)
async def test_an_unknown_path_is_refused_without_a_traceback(app: Any, pipeline: Any, path: str) -> None:
    pipeline()
    socket = AsgiSocket(app, path)
    assert not await socket.connect()
    assert socket.close_code == 4404


async def test_other_paths_may_be_another_applications(pipeline: Any) -> None:
    pipeline()
    seen: list[str] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await receive()
        await send({"type": "websocket.close"})

    app = with_update_pipeline(get_asgi_application(), path="live", websocket=other)
    assert not await AsgiSocket(app, "/chat/").connect()
    assert seen == ["/chat/"]
    async with opened(app, "/live/"):
        pass
    async with opened(app, "/mounted/live/", root_path="/mounted"):
        pass


async def test_more_connections_than_allowed_are_refused(app: Any, pipeline: Any) -> None:
    pipeline(CONNECTIONS={"max_connections": 1})
    async with opened(app):
        socket = AsgiSocket(app)
        assert not await socket.connect()
        assert socket.close_code == 4429


# frames


async def test_a_visitor_gets_the_state_at_once_then_what_changes(app: Any, pipeline: Any) -> None:
    running = pipeline()
    await running.start()
    await running.publish("agent_001", "state_change", {"mood": "happy"})
    async with opened(app) as socket:
        await socket.until(lambda: len(socket.frames) == 2)
        assert [frame["type"] for frame in socket.frames] == ["connection_established", "agent_update"]
        assert socket.frames[1]["data"] == {"mood": "happy"}
        running.queue_agent_update("agent_001", "said", {"text": "hi"}, UpdatePriority.CRITICAL)
        running.queue_system_notification("Rose ceremony", level="warning")
        await socket.until(lambda: len(socket.frames) == 4)
        assert {frame["type"] for frame in socket.frames[2:]} == {"agent_update", "system_notification"}
    assert running.websocket_manager.get_connection_count() == 0


async def test_frames_are_answered_in_order(app: Any, pipeline: Any) -> None:
    pipeline(OPEN_CHANNELS=["news"])
    async with opened(app) as socket:
        for n in range(30):
            socket.say({"type": "ping", "timestamp": n})
            socket.say({"type": "subscribe", "channels": ["news"]})
            socket.say("{")
        await socket.until(lambda: len(socket.frames) == 91)
        kinds = [frame["type"] for frame in socket.frames[1:]]
        assert kinds == ["pong", "subscription_confirmed", "error"] * 30
        assert [frame["timestamp"] for frame in socket.frames if frame["type"] == "pong"] == list(range(30))


async def test_subscribing_gets_what_is_allowed_and_one_error_for_the_rest(app: Any, pipeline: Any) -> None:
    running = pipeline(OPEN_CHANNELS=["news"], PLUGINS=[f"{__name__}.HOOKS"])
    async with opened(app) as socket:
        names = ["news", "room.1", "secret", "raises", "not a name", "update_pipeline.system"]
        socket.say({"type": "subscribe", "channels": names})
        await socket.until(lambda: len(socket.frames) == 3)
        assert socket.frames[1] == {"type": "subscription_confirmed", "channels": ["news", "room.1"]}
        error = socket.frames[2]
        assert error["code"] == "channel_refused"
        assert error["message"].startswith("4 channel(s) refused")
        await running.publish("a", "said", {"n": 1}, channels=["secret"])
        await running.publish("a", "said", {"n": 2}, channels=["room.1"])
        await socket.until(lambda: len(socket.frames) == 4)
        assert socket.frames[3]["data"] == {"n": 2}
        answer = await socket.ask({"type": "unsubscribe", "channels": ["room.1", "never"]})
        assert answer["type"] == "unsubscription_confirmed"
        await running.publish("a", "said", {"n": 3}, channels=["room.1"])
        await socket.ask({"type": "ping"})
        assert socket.frames[-1]["type"] == "pong", (
            "nothing of a channel after its unsubscription is confirmed"
        )


FRAMES: list[tuple[str, Any]] = [
    ("frame_too_large", "x" * 70_000),
    ("invalid_utf8", b"\xff\xfe"),
    ("invalid_json", "{"),
    ("invalid_json", "\ufeff{}"),
    ("too_deep", "[" * 40 + "]" * 40),
    ("duplicate_key", '{"type":"ping","type":"ping"}'),
    ("number_out_of_range", '{"type":"ping","timestamp":90071992547409930}'),
    ("invalid_frame", "[]"),
    ("unknown_type", {"type": "__class__"}),
    ("unknown_type", {"command": "get_health"}),
    ("unknown_command", {"command": "shutdown"}),
    ("invalid_field", {"type": "subscribe", "channels": "news"}),
    ("too_many_channels", {"type": "subscribe", "channels": [f"c{n}" for n in range(101)]}),
    ("channel_refused", {"type": "subscribe", "channels": ["secret"]}),
    ("too_many_subscriptions", {"type": "subscribe", "channels": ["room.1", "room.2", "room.3"]}),
    ("forbidden", {"type": "agent_action", "agent_id": "a", "action": "forbidden"}),
    ("action_refused", {"type": "agent_action", "agent_id": "a", "action": "refused"}),
    ("action_unhandled", {"type": "agent_action", "agent_id": "a", "action": "dance"}),
    ("action_failed", {"type": "agent_action", "agent_id": "a", "action": "breaks"}),
    ("timeout", {"type": "agent_action", "agent_id": "a", "action": "late"}),
]


@pytest.mark.parametrize(("code", "frame"), FRAMES, ids=[f"{code}-{n}" for n, (code, _) in enumerate(FRAMES)])
async def test_a_bad_frame_gets_its_code_and_the_socket_goes_on(
    app: Any, pipeline: Any, code: str, frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline(PLUGINS=[f"{__name__}.HOOKS"], CONNECTIONS={"max_subscriptions": 2})
    with caplog.at_level(logging.CRITICAL):
        async with opened(app) as socket:
            socket.say(frame)
            await socket.until(lambda: any(one["type"] == "error" for one in socket.frames))
            error = next(one for one in socket.frames if one["type"] == "error")
            assert error["code"] == code
            assert error["message"]
            assert "secret inside" not in error["message"]
            assert (await socket.ask({"type": "ping", "timestamp": 7}))["timestamp"] == 7


async def test_a_frame_that_breaks_the_server_is_answered_and_harms_no_other(
    app: Any, pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = pipeline()

    async def breaks(*_: Any) -> bool:
        raise RuntimeError("a bug")

    async with opened(app) as socket, opened(app) as other:
        monkeypatch.setattr(running.access, "may_subscribe", breaks)
        with caplog.at_level(logging.CRITICAL):
            answer = await socket.ask({"type": "subscribe", "channels": ["x"]})
        assert answer["code"] == "internal_error"
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        assert (await other.ask({"type": "ping"}))["type"] == "pong"


def test_every_error_code_is_seen_in_these_tests() -> None:
    assert {code for code, _ in FRAMES} | {
        "internal_error",
        "rate_limited",
        "not_found",
        "channel_withdrawn",  # answers no frame: tests/integration/test_revocation.py
    } == set(CODES)


async def test_binary_json_is_a_frame_too(app: Any, pipeline: Any) -> None:
    pipeline()
    async with opened(app) as socket:
        assert (await socket.ask(b'{"type":"ping","timestamp":"x"}'))["timestamp"] == "x"


async def test_an_action_is_done_and_said_to_be(app: Any, pipeline: Any) -> None:
    pipeline(PLUGINS=[f"{__name__}.HOOKS"])
    async with opened(app) as socket:
        answer = await socket.ask(
            {"type": "agent_action", "agent_id": "a", "action": "move", "params": {"to": "pool"}}
        )
        assert answer == {"type": "action_queued", "agent_id": "a", "action": "move"}


async def test_without_hooks_a_stranger_may_do_nothing(app: Any, pipeline: Any) -> None:
    pipeline()
    async with opened(app) as socket:
        answer = await socket.ask({"type": "agent_action", "agent_id": "a", "action": "move"})
        assert answer["code"] == "forbidden"


# rates


async def test_who_sends_too_fast_is_told_and_then_closed(app: Any, pipeline: Any) -> None:
    pipeline(CONNECTIONS={"messages_per_s": 1.0, "burst": 5, "max_rate_limited": 10})
    socket = AsgiSocket(app)
    assert await socket.connect()
    for n in range(40):
        socket.say({"type": "ping", "timestamp": n})
    await socket.until(lambda: socket.close_code is not None)
    assert socket.close_code == 4008
    assert [frame["type"] for frame in socket.frames[1:]] == ["pong"] * 5 + ["error"] * 10
    assert {frame.get("code") for frame in socket.frames[6:]} == {"rate_limited"}
    socket.say({"type": "ping"})
    await socket.disconnect()
    assert socket.sent[-1]["type"] == "websocket.close", "nothing is sent after a close"


async def test_a_client_that_reads_no_answers_is_not_read(app: Any, pipeline: Any) -> None:
    running = pipeline(CONNECTIONS={"messages_per_s": 0})
    socket = AsgiSocket(app)
    assert await socket.connect()
    await socket.until(lambda: socket.frames)
    socket.block()
    for n in range(1000):
        socket.say({"type": "ping", "timestamp": n})
    for _ in range(50):
        await asyncio.sleep(0)
    (connection,) = running.websocket_manager.connections.values()
    assert len(connection.replies) < 100
    assert socket._inbox.qsize() > 800
    socket.unblock()
    await socket.until(lambda: len(socket.frames) == 1001)
    await socket.disconnect()


# users


async def make_user(**fields: Any) -> tuple[Any, bytes]:
    """A user, and the cookie of a session of theirs."""

    def make() -> tuple[Any, bytes]:
        user = get_user_model().objects.create_user("rose", password="x", **fields)
        session = SessionStore()
        session["_auth_user_id"] = str(user.pk)
        session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        session["_auth_user_hash"] = user.get_session_auth_hash()
        session.save()
        return user, f"sessionid={session.session_key}".encode()

    return await sync_to_async(make)()


class Tell:
    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool:
        return True

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> Any:
        from django.contrib.auth.models import User

        raise ActionRefused(f"{client.user} of {User.objects.count()}")  # a hook may use the ORM


TELL = Tell()


@pytest.mark.django_db(transaction=True)
async def test_the_session_cookie_tells_the_user_and_hooks_may_use_the_database(
    app: Any, pipeline: Any
) -> None:
    pipeline(PLUGINS=[f"{__name__}.TELL"])
    _, cookie = await make_user()
    ask = {"type": "agent_action", "agent_id": "a", "action": "who"}
    async with opened(app, headers=[HOST, ORIGIN, (b"cookie", cookie)]) as socket:
        assert (await socket.ask(ask))["message"] == "rose of 1"
    for wrong in (b"sessionid=nonsense", b"sessionid=", b"other=1", b"=;;=\xff"):
        async with opened(app, headers=[HOST, ORIGIN, (b"cookie", wrong)]) as socket:
            assert (await socket.ask(ask))["message"] == "AnonymousUser of 1"


@pytest.mark.django_db(transaction=True)
async def test_the_admin_socket_is_for_staff_and_asks_again_each_time(app: Any, pipeline: Any) -> None:
    running = pipeline()
    path = "/ws/updates/admin/"
    assert not await (stranger := AsgiSocket(app, path)).connect()
    assert stranger.close_code == 4401
    user, cookie = await make_user()
    headers = [HOST, ORIGIN, (b"cookie", cookie)]
    assert not await (visitor := AsgiSocket(app, path, headers)).connect()
    assert visitor.close_code == 4403
    user.is_staff = True
    await user.asave()
    assert not await (staff := AsgiSocket(app, path, headers)).connect(), "staff needs the permission, too"
    assert staff.close_code == 4403
    await sync_to_async(grant)(user, VIEW)
    running.circuit_breaker.force_open("test")
    async with opened(app, path, headers=headers) as socket:
        await socket.until(lambda: socket.frames)
        assert socket.frames[0]["type"] == "admin_connected"
        for command, kind in (
            ("get_health", "health_status"),
            ("get_metrics", "performance_metrics"),
            ("get_connections", "connection_info"),
        ):
            assert (await socket.ask({"command": command}))["type"] == kind
        reset = {"command": "reset_circuit_breaker"}
        assert (await socket.ask(reset))["code"] == "forbidden", "who may watch may not change anything"
        assert running.circuit_breaker.get_state()["state"] == "open"
        await sync_to_async(grant)(user, OPERATE)
        assert (await socket.ask(reset))["type"] == "circuit_breaker_reset"
        assert running.circuit_breaker.get_state()["state"] == "closed"
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        assert (await socket.ask({"type": "subscribe", "channels": []}))["code"] == "unknown_type"
        running.queue_agent_update("a", "said", {})
        await sync_to_async(get_user_model().objects.filter(pk=user.pk).update)(is_staff=False)  # no signal
        socket.say({"command": "get_health"})
        await socket.until(lambda: socket.close_code)
        assert socket.close_code == 4001, "asked again before the command"
        assert socket.frames[-1]["type"] != "health_status"
        assert not any(frame["type"] == "agent_update" for frame in socket.frames), "it gets no updates"


# life


async def test_lifespan_starts_and_stops_the_pipeline(app: Any, pipeline: Any) -> None:
    running = pipeline()
    lifespan = Lifespan(app)
    assert (await lifespan.tell("startup"))["type"] == "lifespan.startup.complete"
    assert running.is_running
    socket = AsgiSocket(app)
    assert await socket.connect()
    assert (await lifespan.tell("shutdown"))["type"] == "lifespan.shutdown.complete"
    assert not running.is_running
    assert socket.close_code == 4010
    await lifespan.task
    await socket.disconnect()


async def test_a_pipeline_that_can_not_start_is_told_to_the_server(
    app: Any, pipeline: Any, settings: Any
) -> None:
    pipeline()
    settings.UPDATE_PIPELINE = {"TRANSPORT": "smoke signals"}
    answer = await Lifespan(app).tell("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "smoke signals" in answer["message"]
    socket = AsgiSocket(app)
    assert not await socket.connect(), "and its sockets are refused without a traceback"
    assert socket.close_code == 4011


async def test_without_lifespan_the_first_socket_starts_the_pipeline(app: Any, pipeline: Any) -> None:
    running = pipeline()
    async with opened(app), opened(app):
        assert running.is_running


async def test_a_request_starts_it_too_and_gets_its_page(app: Any, pipeline: Any) -> None:
    running = pipeline()
    sent: list[Any] = []

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/nothing/", "headers": [HOST], "query_string": b""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 404
    assert running.is_running


async def test_a_server_whose_send_fails_loses_that_socket_only(app: Any, pipeline: Any) -> None:
    running = pipeline()
    async with opened(app) as good:
        bad = AsgiSocket(app)
        assert await bad.connect()
        await bad.until(lambda: bad.frames)

        def broken(message: Any) -> None:
            raise RuntimeError("Unexpected ASGI message, the client is gone")

        bad.sent = type("Broken", (list,), {"append": lambda self, message: broken(message)})()
        await running.publish("a", "said", {"n": 1})
        await good.until(lambda: any(frame["type"] == "agent_update" for frame in good.frames))
        assert running.websocket_manager.get_connection_count() == 1
        bad.say({"type": "ping"})
        await bad.disconnect()


async def test_a_client_that_connects_and_says_nothing_is_given_up(app: Any, pipeline: Any) -> None:
    pipeline(CONNECTIONS={"accept_timeout_s": 0.01})
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(2):
        await app({"type": "websocket", "path": "/ws/updates/", "headers": [HOST]}, receive, send)
    assert sent == []


def test_frames_are_compact(app: Any) -> None:
    from django_update_pipeline.core import frames

    text = frames.pong(1, 2.0)
    assert text == json.dumps(json.loads(text), separators=(",", ":")).replace(
        '"server_time":2.0', '"server_time":2.000000'
    )
