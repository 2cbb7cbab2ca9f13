"""Who may what, as one table, on both doors, in both protocols, and for streams: promise 9.

What a log-in's end does is in test_revocation.py and test_revocation_of_views.py.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType

from django_update_pipeline import Action, get_update_pipeline, hookimpl
from django_update_pipeline.core.commands import COMMANDS, CommandError, checked_params
from django_update_pipeline.core.names import valid_channel_name
from django_update_pipeline.core.session import SYSTEM_CHANNEL
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from django_update_pipeline.permissions import OPERATE, VIEW

from .asgi import HOST, ORIGIN, AsgiSocket, opened
from .test_event_stream import Response
from .test_permissions import grant
from .test_revocation import DOORS, cookie, new_session, plain_door

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = "/ws/updates/admin/"
PROTOCOLS = [pytest.param([], id="classic"), pytest.param([SUBPROTOCOL], id="sync")]
ROLES = ("anonymous", "user", "producer", "staff", "watcher", "operator", "superuser", "inactive_operator")
SIGNED_IN = {"user", "producer", "staff", "watcher", "operator", "superuser"}
READING = {name for name, command in COMMANDS.items() if not command.needs_operator}
CHANGING = set(COMMANDS) - READING

CHANNELS: dict[str, set[str]] = {
    "updates": set(ROLES),  # the default channel
    "open": set(ROLES),  # OPEN_CHANNELS
    "secret": set(),  # nobody says anything
    "room.all": set(ROLES),  # a hook says yes
    "room.users": SIGNED_IN,  # a hook asks who it is
    "room.none": set(),  # a hook says no
    SYSTEM_CHANNEL: set(),  # in the sync protocol everybody is on it
    "update_pipeline.probe": set(),
    "not a name": set(),
    "UPDATES": set(),
}
ACTIONS: dict[str, set[str]] = {
    "plain": SIGNED_IN,  # no permission of its own
    "permitted": {"producer", "superuser"},
    "public": set(ROLES),  # its own rule says yes to everybody
    "vetoed": set(),  # its own rule says yes, a hook says no
    "local": set(),  # its own rule is for the local operator
    "classic": SIGNED_IN,  # a handle_action hook's
}
COMMANDS_OF: dict[str, set[str]] = {
    **{name: {"watcher", "operator", "superuser"} for name in READING},
    **{name: {"operator", "superuser"} for name in CHANGING},
}


def valid_params(command: str) -> dict[str, Any]:
    """Params that the command takes: everybody sends the same, and only the permission decides."""
    for params in ({}, {"all": True}):
        required = [
            field.encode_name for field in msgspec.structs.fields(COMMANDS[command].params) if field.required
        ]
        for value in ("nobody", 1):
            with contextlib.suppress(CommandError):
                checked_params(command, {**params, **dict.fromkeys(required, value)})
                return {**params, **dict.fromkeys(required, value)}
    raise AssertionError(f"say here what {command} takes")


class Move(msgspec.Struct, forbid_unknown_fields=True):
    to: str


class Project:
    """A project's hooks, one of each kind."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any, Any]] = []

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool | None:
        if channel == "room.users":
            return bool(client.user is not None and client.user.is_authenticated)
        return {"room.all": True, "room.none": False}.get(channel)

    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool | None:
        return False if action == "vetoed" else None

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> Any:
        if action == "classic":
            self.done.append((action, agent_id, params))
            return True
        return None

    @hookimpl
    def provide_actions(self, config: Any) -> list[Action]:
        def doing(name: str) -> Any:
            def handler(client: Any, agent_id: str, params: Any) -> None:
                self.done.append((name, agent_id, params))

            return handler

        def everybody(client: Any, agent_id: str) -> bool:
            return True

        def local(client: Any, agent_id: str) -> bool:
            return bool(client.is_local_operator)

        return [
            Action("plain", doing("plain"), params=Move),
            Action("permitted", doing("permitted"), permission="auth.produce"),
            Action("public", doing("public"), permission=everybody),
            Action("vetoed", doing("vetoed"), permission=everybody),
            Action("local", doing("local"), permission=local),
        ]


PROJECT = Project()


@pytest.fixture
def project(pipeline: Any) -> Project:
    PROJECT.done.clear()
    pipeline(OPEN_CHANNELS=["open"], PLUGINS=[f"{__name__}.PROJECT"])
    return PROJECT


async def headers_of(role: str) -> list[tuple[bytes, bytes]]:
    """The headers with which somebody of this role comes."""
    if role == "anonymous":
        return [HOST, ORIGIN]

    def make() -> Any:
        user = User.objects.create_user(
            role,
            is_staff=role not in ("user", "producer"),
            is_superuser=role == "superuser",
            is_active=role != "inactive_operator",
        )
        if role == "producer":
            content_type = ContentType.objects.get_for_model(User)
            user.user_permissions.add(
                Permission.objects.create(content_type=content_type, codename="produce", name="Can produce")
            )
        elif role == "watcher":
            grant(user, VIEW)
        elif role in ("operator", "inactive_operator"):
            grant(user, VIEW, OPERATE)
        return new_session(user)

    return cookie(await sync_to_async(make)())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("speaks", PROTOCOLS)
@pytest.mark.parametrize("door", DOORS)
async def test_who_may_subscribe_to_what(project: Project, door: Any, speaks: list[str], role: str) -> None:
    async with opened(door(), headers=await headers_of(role), subprotocols=speaks) as socket:
        for channel in CHANNELS:
            socket.say({"type": "subscribe", "channels": [channel]})

        def answers() -> list[Any]:
            return [one["channels"] for one in socket.frames if one["type"] == "subscription_confirmed"]

        await socket.until(lambda: len(answers()) == len(CHANNELS))
        for (channel, allowed), answer in zip(CHANNELS.items(), answers(), strict=True):
            is_allowed = role in allowed or (channel == SYSTEM_CHANNEL and speaks)
            assert answer == ([channel] if is_allowed else []), channel


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_have_what_as_a_stream(project: Project, role: str) -> None:
    """Alone, and beside a channel that everybody may have: then the rest of the stream has nothing of it."""
    line = get_update_pipeline()
    await line.start()
    for channel in CHANNELS:
        if valid_channel_name(channel) and channel != SYSTEM_CHANNEL:  # that one is the pipeline's own
            await line.publish(f"in {channel}", data={"channel": channel}, channels=[channel])
    headers, app = await headers_of(role), plain_door()
    for channel, allowed in CHANNELS.items():
        name = channel.replace(" ", "%20").encode()
        alone = Response(app, b"channels=" + name, *headers[1:])
        await alone.open()
        is_allowed = role in allowed or channel == SYSTEM_CHANNEL  # every stream is on that one
        assert alone.started["status"] == (200 if is_allowed else 403), channel
        if is_allowed:
            await alone.close()
        else:
            await alone.until(lambda: alone.is_complete)  # noqa: B023
            assert "in " not in alone.text
        beside = Response(app, b"channels=open," + name, *headers[1:])
        await beside.open()
        seen = {"open", channel} if role in allowed else {"open"}
        await beside.until(lambda: {frame["channel"] for frame in beside.sync()} == seen)  # noqa: B023
        await line.publish("mark", data={"of": channel}, channels=["open"])
        await beside.until(lambda: channel in str(beside.sync()[-1].get("agents", {}).get("mark")))  # noqa: B023
        assert {frame["channel"] for frame in beside.sync()} == seen
        await beside.close()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("speaks", PROTOCOLS)
@pytest.mark.parametrize("door", DOORS)
async def test_who_may_do_what_and_nothing_else_is_done(
    project: Project, door: Any, speaks: list[str], role: str
) -> None:
    async with opened(door(), headers=await headers_of(role), subprotocols=speaks) as socket:
        await socket.until(lambda: socket.frames)
        for action, allowed in ACTIONS.items():
            params = {"to": "pool"} if action in ("plain", "classic") else {}
            project.done.clear()
            answer = await socket.ask(
                {"type": "agent_action", "agent_id": "a", "action": action, "params": params}
            )
            if role in allowed:
                assert answer == {"type": "action_queued", "agent_id": "a", "action": action}
                given = Move("pool") if action == "plain" else params if action == "classic" else None
                assert project.done == [(action, "a", given)]
            else:
                assert answer["code"] == "forbidden", action
                assert project.done == []


@pytest.mark.parametrize(
    ("action", "params", "code"),
    [
        ("plain", {}, "invalid_field"),
        ("plain", {"to": 7}, "invalid_field"),
        ("plain", {"to": "pool", "__class__": "x"}, "invalid_field"),
        ("public", {"anything": 1}, "invalid_field"),
        ("nobody_registered_this", {}, "action_unhandled"),
        ("handler", {}, "action_unhandled"),
        ("__init__", {}, "action_unhandled"),
        ("serve", {}, "action_unhandled"),
    ],
)
@pytest.mark.parametrize("speaks", PROTOCOLS)
@pytest.mark.parametrize("door", DOORS)
async def test_a_name_or_params_that_do_not_fit_reach_no_handler(
    project: Project, door: Any, speaks: list[str], action: str, params: Any, code: str
) -> None:
    async with opened(door(), headers=await headers_of("superuser"), subprotocols=speaks) as socket:
        await socket.until(lambda: socket.frames)
        answer = await socket.ask(
            {"type": "agent_action", "agent_id": "a", "action": action, "params": params}
        )
        assert answer["code"] == code
        if code == "invalid_field":
            assert "params" in answer["message"]
        assert project.done == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", DOORS)
async def test_who_may_command_what(project: Project, door: Any, role: str) -> None:
    headers = await headers_of(role)
    if role not in COMMANDS_OF["get_health"]:
        socket = AsgiSocket(door(), ADMIN, headers)
        assert not await socket.connect()
        assert socket.close_code == (4401 if role in ("anonymous", "inactive_operator") else 4403)
        return
    async with opened(door(), ADMIN, headers=headers) as socket:
        await socket.until(lambda: socket.frames)
        for command, allowed in COMMANDS_OF.items():
            socket.say({"command": command, "params": valid_params(command), "id": command})
            await socket.until(lambda: any(frame.get("id") == command for frame in socket.frames))  # noqa: B023
            (answer,) = (frame for frame in socket.frames if frame.get("id") == command)
            assert (answer.get("code") != "forbidden") is (role in allowed), command


def test_the_table_names_every_command() -> None:
    assert set(COMMANDS_OF) == set(COMMANDS)
    assert CHANGING


async def test_actions_are_listed_with_their_plugin_and_their_failures(project: Project) -> None:
    from django_update_pipeline.runtime.inventory import inventory

    rows = [row for row in inventory(get_update_pipeline())["parts"] if row["kind"] == "action"]
    assert [row["name"] for row in rows] == ["plain", "permitted", "public", "vetoed", "local"]
    assert {row["plugin"] for row in rows} == {f"{__name__}.PROJECT"}
    assert {row["failures"] for row in rows} == {0}
