"""A log-in that ends while its socket is open: by every way that ends one, on both doors, with every session store.

Signals act at once, so these tests wait for the close and for nothing else; what no signal tells is found by looking,
here each half second.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, aget_user, alogout, logout
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone

from django_update_pipeline import hookimpl, permission_changed, sessions
from django_update_pipeline.permissions import OPERATE, VIEW
from django_update_pipeline.routing import with_update_pipeline
from django_update_pipeline.sessions import _read_sessions, _users_of, look, recognise

from .asgi import HOST, ORIGIN, AsgiSocket, opened
from .test_permissions import grant

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/ws/updates/admin/"
BACKEND = "django.contrib.auth.backends.ModelBackend"
ENGINES = ("db", "cached_db", "cache", "signed_cookies", "file")


def new_session(user: User, **more: Any) -> Any:
    """A session as `login()` makes it, saved."""
    session = import_module(django_settings.SESSION_ENGINE).SessionStore()
    session.update(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: BACKEND,
            HASH_SESSION_KEY: user.get_session_auth_hash(),
            **more,
        }
    )
    session.save()
    return session


def cookie(session: Any) -> list[tuple[bytes, bytes]]:
    return [HOST, ORIGIN, (b"cookie", f"sessionid={session.session_key}".encode())]


async def rose(**fields: Any) -> tuple[User, Any]:
    """A user with a session."""

    def make() -> tuple[User, Any]:
        user = User.objects.create_user("rose", password="x", **fields)
        return user, new_session(user)

    return await sync_to_async(make)()


def plain_door() -> Any:
    return with_update_pipeline(get_asgi_application())


def channels_door() -> Any:
    from channels.auth import AuthMiddlewareStack

    from django_update_pipeline.consumers import SocketRouter, websocket_urlpatterns

    return AuthMiddlewareStack(SocketRouter(websocket_urlpatterns()))


DOORS = [
    pytest.param(plain_door, id="plain"),
    pytest.param(channels_door, id="channels", marks=pytest.mark.channels),
]


@pytest.fixture(autouse=True)
def _folder_of_sessions(settings: Any, tmp_path: Any) -> None:
    settings.SESSION_FILE_PATH = str(tmp_path)


def request_of(user: Any, session: Any) -> HttpRequest:
    request = HttpRequest()
    request.user = user
    request.session = session
    return request


async def closes(socket: AsgiSocket, code: int = 4001) -> None:
    """Waits for the close; nothing came after what had come before, and the slot is free."""
    await socket.until(lambda: socket.close_code is not None)
    assert socket.close_code == code
    assert socket.sent[-1]["type"] == "websocket.close"


# what ends one, by signal


async def log_out(user: User, session: Any) -> None:
    await sync_to_async(logout)(request_of(user, session))


async def log_out_async(user: User, session: Any) -> None:
    request = request_of(user, session)

    async def auser() -> User:
        return user

    request.auser = auser  # type: ignore[method-assign]
    await alogout(request)


async def change_password(user: User, session: Any) -> None:
    user.set_password("y")
    await user.asave()


async def deactivate(user: User, session: Any) -> None:
    user.is_active = False
    await user.asave(update_fields=["is_active"])


async def delete(user: User, session: Any) -> None:
    await user.adelete()


async def end_session(user: User, session: Any) -> None:
    await session.adelete()


BY_SIGNAL: list[Callable[[User, Any], Awaitable[None]]] = [
    log_out,
    log_out_async,
    change_password,
    deactivate,
    delete,
    end_session,
]


@pytest.mark.parametrize("end", BY_SIGNAL, ids=lambda end: end.__name__)
@pytest.mark.parametrize("door", DOORS)
async def test_what_ends_a_log_in_ends_its_sockets_and_no_other(pipeline: Any, door: Any, end: Any) -> None:
    """With a look only every hour: it was the signal. Nothing is delivered to the socket after it has ended."""
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    other = await sync_to_async(lambda: new_session(User.objects.create_user("other")))()
    app = door()
    async with opened(app) as visitor, opened(app, headers=cookie(other)) as neighbour:
        socket = AsgiSocket(app, headers=cookie(session))
        assert await socket.connect()
        await end(user, session)
        await closes(socket)
        await running.publish("agent", "state_change", {"n": 1})
        for stays in (visitor, neighbour):
            await stays.until(lambda stays=stays: any(f["type"] == "agent_update" for f in stays.frames))
        assert not any(frame["type"] == "agent_update" for frame in socket.frames)
        await socket.disconnect()
        assert running.websocket_manager.get_connection_count() == 2


@pytest.mark.parametrize("engine", ENGINES)
async def test_logging_out_ends_the_socket_with_every_session_store(
    pipeline: Any, settings: Any, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    async with opened(plain_door(), headers=cookie(session)) as socket:
        await sync_to_async(logout)(
            request_of(user, import_module(settings.SESSION_ENGINE).SessionStore(session.session_key))
        )
        await closes(socket)


async def test_logging_out_of_one_browser_leaves_the_other_one(pipeline: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    elsewhere = await sync_to_async(new_session)(user)
    app = plain_door()
    async with (
        opened(app, headers=cookie(elsewhere)) as stays,
        opened(app, headers=cookie(session)) as socket,
    ):
        await log_out(user, session)
        await closes(socket)
        assert (await stays.ask({"type": "ping"}))["type"] == "pong"
        assert stays.close_code is None


@pytest.mark.channels
async def test_channels_own_logout_which_names_no_request_ends_it(pipeline: Any) -> None:
    from channels.auth import logout as channels_logout

    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    async with opened(channels_door(), headers=cookie(session)) as socket:
        await channels_logout({"user": user, "session": session})
        await closes(socket)


async def test_logging_in_elsewhere_and_unrelated_saves_ask_nothing(pipeline: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    async with opened(plain_door(), headers=cookie(session)) as socket:
        watch = sessions.watch_of(sessions_pipeline(socket))
        mark = watch.mark()
        await user.asave(update_fields=["last_login"])
        await Group.objects.acreate(name="unrelated")
        assert watch.mark() == mark
        user.first_name = "Rosa"
        await user.asave()
        assert watch.mark() == mark + 1
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"


def sessions_pipeline(socket: AsgiSocket) -> Any:
    from django_update_pipeline import get_update_pipeline

    return get_update_pipeline()


async def test_a_change_that_is_rolled_back_ends_nothing_and_one_is_told_at_its_commit(pipeline: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()

    def change(*, keep: bool) -> None:
        with transaction.atomic():
            user.is_active = False
            user.save()
            if not keep:
                transaction.set_rollback(True)

    async with opened(plain_door(), headers=cookie(session)) as socket:
        await sync_to_async(change)(keep=False)
        assert (await socket.ask({"type": "ping"}))["type"] == "pong"
        await sync_to_async(change)(keep=True)
        await closes(socket)


# what ends one without a signal


async def update_only(user: User, session: Any) -> None:
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)


async def delete_in_sql(user: User, session: Any) -> None:
    def delete() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_session")

    await sync_to_async(delete)()


@pytest.mark.parametrize("end", [update_only, delete_in_sql], ids=lambda end: end.__name__)
@pytest.mark.parametrize("door", DOORS)
async def test_what_no_signal_tells_is_found_by_looking(pipeline: Any, door: Any, end: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 0.5})
    user, session = await rose()
    async with opened(door(), headers=cookie(session)) as socket:
        await end(user, session)
        await closes(socket)


@pytest.mark.parametrize("door", DOORS)
async def test_a_session_that_expires_ends_its_socket_when_it_does(pipeline: Any, door: Any) -> None:
    """Not at the next look: that one is an hour away."""
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    _, session = await rose()
    session.set_expiry(timezone.now() + datetime.timedelta(seconds=0.5))
    await session.asave()
    async with opened(door(), headers=cookie(session)) as socket:
        if door is channels_door:
            permission_changed()  # behind Channels' middleware it is the first look that learns when
        await closes(socket)


async def test_permission_changed_is_for_what_no_signal_tells(pipeline: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    for told in (user, user.pk, None):
        await User.objects.filter(pk=user.pk).aupdate(is_active=True)
        async with opened(plain_door(), headers=cookie(session)) as socket:
            await update_only(user, session)
            await sync_to_async(permission_changed)(told)
            await closes(socket)


async def test_a_hundred_sockets_cost_two_queries(pipeline: Any) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0, "max_connections_per_user": 0})
    _, session = await rose()
    keys = [(await recognise({"headers": cookie(session)}))[1] for _ in range(100)]
    from django.test.utils import CaptureQueriesContext

    def ask() -> int:
        with CaptureQueriesContext(connection) as queries:
            found = sessions._look([key for key in keys if key is not None])
            assert len(found) == 100
            assert all(one is not None and one.user is not None for one in found)
        return len(queries)

    assert await sync_to_async(ask)() == 2


# races


@pytest.mark.parametrize("how", ["log_out", "deactivate"])
async def test_a_handshake_that_raced_with_the_end_does_not_slip_through(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The user was read before, the socket is there after: nobody would tell it any more."""
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose()
    from django_update_pipeline import doors

    async def slow(scope: Any, must: Any = None) -> Any:
        found = await recognise(scope, must)
        await (log_out if how == "log_out" else deactivate)(user, session)
        return found

    monkeypatch.setattr(doors, "recognise", slow)
    socket = AsgiSocket(plain_door(), headers=cookie(session))
    assert await socket.connect()
    await closes(socket)
    if how == "log_out":
        assert socket.frames == [], "its session was known to have ended"
    await socket.disconnect()


# permissions and channels


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "how", ["staff", "permission", "group", "group_permission", "group_deleted", "reverse"]
)
async def test_who_may_no_longer_watch_loses_the_admin_socket(pipeline: Any, door: Any, how: str) -> None:
    pipeline(CONNECTIONS={"recheck_s": 3600.0})
    user, session = await rose(is_staff=True)

    def prepare() -> Group:
        group = Group.objects.create(name="operators")
        if how in ("staff", "permission"):
            grant(user, VIEW)
        else:
            grant(group, OPERATE)
            user.groups.add(group)
        return group

    def withdraw() -> None:
        match how:
            case "staff":
                user.is_staff = False
                user.save()
            case "permission":
                user.user_permissions.clear()
            case "group":
                user.groups.clear()
            case "group_permission":
                group.permissions.clear()
            case "group_deleted":
                group.delete()
            case "reverse":
                group.user_set.remove(user)

    group = await sync_to_async(prepare)()
    app = door()
    async with (
        opened(app, headers=cookie(session)) as viewer,
        opened(app, ADMIN, headers=cookie(session)) as admin,
    ):
        assert (await admin.ask({"command": "get_health"}))["type"] == "health_status"
        await sync_to_async(withdraw)()
        await closes(admin)
        assert viewer.close_code is None, "the log-in itself goes on"
        assert (await viewer.ask({"type": "ping"}))["type"] == "pong"


class Rooms:
    """`room.1` is for those in the set, `shaky` raises on demand; the default channel is for all but the banned."""

    def __init__(self) -> None:
        self.allowed = {"room.1", "room.2"}
        self.is_broken = False
        self.asked = 0

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool | None:
        self.asked += 1
        if self.is_broken:
            raise RuntimeError("database down")
        return channel in self.allowed if channel.startswith("room.") else None


ROOMS = Rooms()


@pytest.fixture
def rooms() -> Rooms:
    ROOMS.__init__()  # type: ignore[misc]
    return ROOMS


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.fault("F37", "nothing of a channel is sent after its end was told")
async def test_a_channel_that_is_no_longer_allowed_is_taken_off_and_told(
    pipeline: Any, rooms: Rooms, door: Any
) -> None:
    """An anonymous socket too, where hooks decide: it is asked about, and looked up nowhere."""
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0}, PLUGINS=[f"{__name__}.ROOMS"])
    async with opened(door()) as socket:
        answer = await socket.ask({"type": "subscribe", "channels": ["room.1", "room.2"]})
        assert answer["channels"] == ["room.1", "room.2"]
        rooms.allowed = {"room.2"}
        permission_changed()
        await socket.until(lambda: any(frame.get("code") == "channel_withdrawn" for frame in socket.frames))
        assert socket.frames[-2] == {"type": "unsubscription_confirmed", "channels": ["room.1"]}
        await running.publish("a", "state_change", {"n": 1}, channels=["room.1"])
        await running.publish("b", "state_change", {"n": 2}, channels=["room.2"])
        await socket.until(lambda: any(frame.get("agent_id") == "b" for frame in socket.frames))
        assert not any(frame.get("agent_id") == "a" for frame in socket.frames)
        assert (await socket.ask({"type": "subscribe", "channels": ["room.1"]}))["channels"] == []


async def test_a_hook_may_close_the_default_channel_at_the_handshake_and_later(
    pipeline: Any, rooms: Rooms
) -> None:
    running = pipeline(
        DEFAULT_CHANNEL="room.1", CONNECTIONS={"recheck_s": 0.5}, PLUGINS=[f"{__name__}.ROOMS"]
    )
    await running.start()
    await running.publish("a", "state_change", {"n": 1})
    async with opened(plain_door()) as early:
        await early.until(lambda: len(early.frames) == 2)
        rooms.allowed = set()
        await early.until(lambda: early.frames[-1].get("code") == "channel_withdrawn")
        async with opened(plain_door()) as late:
            late.say({"type": "ping"})
            await late.until(lambda: late.frames[-1:] and late.frames[-1]["type"] == "pong")
            assert [frame["type"] for frame in late.frames] == ["connection_established", "pong"]


async def test_one_hook_that_fails_takes_nothing_away_until_it_is_overdue(
    pipeline: Any, rooms: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline(CONNECTIONS={"recheck_s": 2.0}, PLUGINS=[f"{__name__}.ROOMS"])
    with caplog.at_level(logging.CRITICAL):
        async with opened(plain_door()) as socket:
            await socket.ask({"type": "subscribe", "channels": ["room.1"]})
            rooms.is_broken = True
            asked = rooms.asked
            permission_changed()
            async with asyncio.timeout(5):
                while rooms.asked == asked:  # noqa: ASYNC110 - a hook in a thread tells nobody
                    await asyncio.sleep(0.01)
            assert (await socket.ask({"type": "ping"}))["type"] == "pong"
            await socket.until(
                lambda: any(frame.get("code") == "channel_withdrawn" for frame in socket.frames)
            )


async def test_users_that_can_not_be_looked_up_keep_their_socket_until_it_is_overdue(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is away for a moment must not send everybody home; for good it must."""
    running = pipeline(CONNECTIONS={"recheck_s": 2.0})
    _, session = await rose()
    looks = []

    async def fails(identities: Any) -> Any:
        looks.append(len(identities))
        raise OSError("no route to the database")

    with caplog.at_level(logging.ERROR):
        async with opened(plain_door(), headers=cookie(session)) as socket:
            monkeypatch.setattr(sessions.watch_of(running), "_look", fails)
            permission_changed()
            answer = await socket.ask({"type": "agent_action", "agent_id": "a", "action": "x"})
            assert answer["code"] == "timeout", "an action needs somebody who can tell"
            await closes(socket, 4011)
    assert len(looks) > 2


async def test_a_channel_lost_while_hooks_were_asked_about_others_is_not_won_back(
    pipeline: Any, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = pipeline(CONNECTIONS={"recheck_s": 3600.0}, PLUGINS=[f"{__name__}.ROOMS"])
    async with opened(plain_door()) as socket:
        await socket.ask({"type": "subscribe", "channels": ["room.1"]})
        (connection,) = running.websocket_manager.connections.values()
        ask = running.access.may_subscribe

        async def slow(client: Any, channel: str) -> bool:
            rooms.allowed = {"room.2"}
            permission_changed()
            async with asyncio.timeout(5):
                while "room.1" in connection.channels:  # noqa: ASYNC110 - the watch tells nobody
                    await asyncio.sleep(0.01)
            return bool(await ask(client, channel))

        monkeypatch.setattr(running.access, "may_subscribe", slow)
        socket.say({"type": "subscribe", "channels": ["room.1", "room.2"]})
        await socket.until(lambda: any(frame.get("code") == "channel_refused" for frame in socket.frames))
        assert connection.channels == ("room.2", "updates")


# what Django would say


async def django_says(session: Any) -> Any:
    request = HttpRequest()
    request.session = import_module(django_settings.SESSION_ENGINE).SessionStore(session.session_key)
    user = await aget_user(request)
    return None if isinstance(user, AnonymousUser) else user


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        "nothing",
        "inactive",
        "deleted",
        "password",
        "no_hash",
        "no_backend",
        "other_backend",
        "secret",
        "flushed",
    ],
)
async def test_we_judge_a_session_as_django_does_and_leave_it_as_it_is(
    settings: Any, engine: str, change: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    user, session = await rose()

    def make() -> None:
        if change == "inactive":
            User.objects.update(is_active=False)
        elif change == "deleted":
            User.objects.all().delete()
        elif change == "password":
            user.set_password("y")
            user.save()
        elif change == "no_hash":
            del session[HASH_SESSION_KEY]
            session.save()
        elif change == "no_backend":
            del session[BACKEND_SESSION_KEY]
            session.save()
        elif change == "other_backend":
            session[BACKEND_SESSION_KEY] = "somewhere.else.Backend"
            session.save()
        elif change == "flushed":
            session.delete()

    await sync_to_async(make)()
    if change == "secret":  # the key was rotated: sessions signed with the one before stay good
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another"

    def ours() -> Any:
        key = session.session_key
        before = dict(import_module(settings.SESSION_ENGINE).SessionStore(key).items()) if key else {}
        found = _users_of(_read_sessions([key])).get(key) if key else None
        after = dict(import_module(settings.SESSION_ENGINE).SessionStore(key).items()) if key else {}
        assert before == after, "it was only read"
        return found

    said = await sync_to_async(ours)()
    assert said == await django_says(session)
    assert (said is not None) is (change in ("nothing", "secret"))


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 5000, "a\x00bcdefgh", "éééééééééé", "../../../etc/passwd", "' OR 1=1 --"]
)
async def test_a_cookie_that_is_no_session_is_nobody(pipeline: Any, key: str) -> None:
    pipeline()
    headers = [HOST, ORIGIN, (b"cookie", f"sessionid={key}".encode())]
    async with opened(plain_door(), headers=headers) as socket:
        answer = await socket.ask({"type": "agent_action", "agent_id": "a", "action": "x"})
        while answer["type"] != "error":
            answer = await socket.ask({"type": "agent_action", "agent_id": "a", "action": "x"})
        assert answer["code"] == "forbidden"


async def test_a_user_without_a_session_is_looked_up_by_row() -> None:
    """A token middleware put them into the scope; a session beside it that is not theirs counts for nothing."""
    user, _ = await rose()
    other = await sync_to_async(lambda: new_session(User.objects.create_user("other")))()
    for scope in ({"user": user}, {"user": user, "session": other}):
        found, identity, _ = await recognise(scope)
        assert found is user
        assert identity is not None
        assert identity.session_key is None
        assert (await look([identity]))[0].user == user  # type: ignore[union-attr]
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)
    assert (await look([identity]))[0].user is None  # type: ignore[union-attr]


async def test_a_user_that_is_no_row_is_the_middlewares_own_affair() -> None:
    class Robot:
        is_authenticated = True
        pk = 7

    robot = Robot()
    assert await recognise({"user": robot}) == (robot, None, None)
