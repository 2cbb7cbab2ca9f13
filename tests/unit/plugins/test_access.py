"""Who may subscribe and act: default deny, any plain no wins, no answer is a no."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from django_update_pipeline import Action, Fields, hookimpl
from django_update_pipeline.core.config import PipelineConfig, config_from_mapping
from django_update_pipeline.core.view import View
from django_update_pipeline.exceptions import ActionRefused
from django_update_pipeline.plugins.access import HookAccess
from django_update_pipeline.plugins.manager import Plugins

CONFIG = config_from_mapping(
    {"open_channels": ["open"], "connections": {"hook_timeout_s": 0.1}}, PipelineConfig
)


def plugin(**hooks: Callable[..., Any]) -> object:
    return type("Plugin", (), {name: staticmethod(hookimpl(function)) for name, function in hooks.items()})()


def access(*plugins: object) -> HookAccess:
    return HookAccess(Plugins(entry_points=False, extra=plugins), CONFIG)


def client(*, authenticated: bool = False, operator: bool = False) -> Any:
    user = SimpleNamespace(is_authenticated=authenticated)
    return SimpleNamespace(connection_id="one", user=user, is_local_operator=operator)


async def test_in_silence_the_open_channels_are_open_and_no_other() -> None:
    policy = access()
    assert await policy.may_subscribe(client(), "updates")
    assert await policy.may_subscribe(client(), "open")
    assert not await policy.may_subscribe(client(authenticated=True), "secret")


@pytest.mark.parametrize(
    ("answers", "allowed"),
    [
        ([None], False),
        ([True], True),
        ([True, None], True),
        ([True, False], False),
        ([False, True], False),
        ([None, True], True),
    ],
)
async def test_any_plain_no_wins(answers: list[bool | None], allowed: bool) -> None:
    def hook(answer: bool | None) -> Callable[..., Any]:
        def authorize_subscribe(client: Any, channel: str) -> bool | None:
            return answer

        return authorize_subscribe

    policy = access(*[plugin(authorize_subscribe=hook(answer)) for answer in answers])
    assert await policy.may_subscribe(client(), "secret") is allowed


async def test_a_no_closes_an_open_channel_too() -> None:
    def authorize_subscribe(channel: str) -> bool:
        return False

    assert not await access(plugin(authorize_subscribe=authorize_subscribe)).may_subscribe(client(), "open")


async def test_a_hook_that_raises_is_a_no() -> None:
    def authorize_subscribe(client: Any, channel: str) -> bool:
        raise RuntimeError("database down")

    def authorize_action(client: Any, agent_id: str, action: str, params: Any) -> bool:
        raise RuntimeError("database down")

    policy = access(plugin(authorize_subscribe=authorize_subscribe, authorize_action=authorize_action))
    assert not await policy.may_subscribe(client(), "open")
    assert not await policy.may_act(client(authenticated=True), "a", "move", {})


async def test_a_hook_that_raises_is_told_of_with_its_cause_and_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where the error's own text can't be had; counted, and not told each time."""

    class Dumb(Exception):
        def __str__(self) -> str:
            raise ValueError

    def authorize_subscribe(channel: str) -> bool:
        raise Dumb

    policy, views = access(plugin(authorize_subscribe=authorize_subscribe)), [View("a"), View("b")]
    with caplog.at_level(logging.DEBUG, "django_update_pipeline.plugins.access"):
        assert await policy.view(client(), views[0]) is None
        assert await policy.recheck(client(), views) == {}
    assert policy.failures == {"authorize_subscribe": 3}
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2  # the 1st and the 2nd
    assert "Dumb: its text can't be shown" in told[0].getMessage()
    assert f"{__file__}:" in told[0].getMessage()
    assert told[0].exc_info is None
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [type(error.__cause__) for error in errors if error] == [Dumb, Dumb]


async def test_a_hook_that_is_late_is_a_no_and_holds_up_nobody() -> None:
    release = threading.Event()

    def authorize_subscribe(client: Any, channel: str) -> bool | None:
        if channel == "late":
            release.wait(5)
        return True

    policy = access(plugin(authorize_subscribe=authorize_subscribe))
    began = time.monotonic()
    late, quick = await asyncio.gather(
        policy.may_subscribe(client(), "late"), policy.may_subscribe(client(), "quick")
    )
    release.set()
    assert (late, quick) == (False, True)
    assert time.monotonic() - began < 2


async def test_an_async_hook_that_hangs_is_a_no() -> None:
    async def authorize_subscribe(client: Any, channel: str) -> bool:
        await asyncio.Event().wait()
        return True

    assert not await access(plugin(authorize_subscribe=authorize_subscribe)).may_subscribe(client(), "x")


async def test_in_silence_only_authenticated_users_and_the_operator_may_act() -> None:
    policy = access()
    assert not await policy.may_act(client(), "a", "move", {})
    assert await policy.may_act(client(authenticated=True), "a", "move", {})
    assert await policy.may_act(client(operator=True), "a", "move", {})
    assert not await policy.act(client(operator=True), "a", "move", {}), "nobody handles it"


async def test_the_first_that_answers_has_handled_it() -> None:
    calls: list[str] = []

    def handler(name: str, result: Any) -> object:
        def handle_action(client: Any, agent_id: str, action: str, params: Any) -> Any:
            calls.append(name)
            if isinstance(result, Exception):
                raise result
            return result

        return plugin(handle_action=handle_action)

    assert await access(handler("first", None), handler("second", 0), handler("third", 1)).act(
        client(), "a", "x", {}
    )
    assert calls == ["first", "second"]
    with pytest.raises(ActionRefused, match="closed"):
        await access(handler("refuses", ActionRefused("closed"))).act(client(), "a", "x", {})


# looking again


def subscribing(hook: Callable[..., Any]) -> object:
    def authorize_subscribe(client: Any, channel: str) -> Any:
        return hook(channel)

    return plugin(authorize_subscribe=authorize_subscribe)


async def test_asked_again_the_answers_are_the_same_and_none_is_told_apart_from_no() -> None:
    def fails(channel: str) -> bool | None:
        if channel in ("shaky", "refused"):
            raise RuntimeError("database down")
        return None

    def rooms(channel: str) -> bool | None:
        return {"room": True, "refused": False, "odd": "yes"}.get(channel)  # type: ignore[return-value]

    policy = access(subscribing(fails), subscribing(rooms))
    views = [View(name) for name in ("open", "room", "secret", "refused", "odd", "shaky")]
    assert policy.asks_about_channels
    assert await policy.recheck(client(), views) == {
        View("open"): View("open"),
        View("room"): View("room"),
        View("secret"): None,
        View("refused"): None,  # a plain no counts, whatever the others do
        View("odd"): None,
        # "shaky" got no answer
    }
    once = {view: await policy.view(client(), view) for view in views}
    assert once == {**await policy.recheck(client(), views), View("shaky"): None}
    assert [await policy.may_subscribe(client(), view.channel) for view in views] == [
        one is not None for one in once.values()
    ]


async def test_without_hooks_nobody_is_asked_again() -> None:
    policy = access()
    assert not policy.asks_about_channels
    part = View("open", ("f",))
    assert await policy.recheck(client(), [part, View("updates"), View("x")]) == {
        part: part,
        View("updates"): View("updates"),
        View("x"): None,
    }


async def test_a_plain_hook_is_asked_about_all_channels_in_one_hop() -> None:
    hops: list[int] = []

    async def run_sync(call: Callable[[], Any]) -> Any:
        hops.append(1)
        return call()

    policy = HookAccess(
        Plugins(entry_points=False, extra=[subscribing(lambda channel: True)]), CONFIG, run_sync=run_sync
    )
    views = [View(f"c{n}") for n in range(100)]
    assert await policy.recheck(client(), views) == dict(zip(views, views, strict=True))
    assert len(hops) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_hook_that_is_late_gives_no_answer(is_async: bool) -> None:
    release = threading.Event()

    async def waits(client: Any, channel: str) -> bool:
        await asyncio.Event().wait()
        return True

    def blocks(client: Any, channel: str) -> bool:
        release.wait(5)
        return True

    policy = access(plugin(authorize_subscribe=waits if is_async else blocks))
    assert await policy.recheck(client(), [View("a"), View("b")]) == {}
    release.set()


# views


def seeing(*answers: Any) -> HookAccess:
    """The policy of plugins that answer so, whatever they are asked."""

    def hook(answer: Any) -> object:
        def authorize_subscribe(client: Any, channel: str) -> Any:
            return answer

        return plugin(authorize_subscribe=authorize_subscribe)

    return access(*map(hook, answers))


XY = Fields("x", "y")


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ([XY], View("room", ("x", "y"), False)),
        ([XY, None, True], View("room", ("x", "y"), False)),
        ([True, Fields("y", "x", events=True)], View("room", ("x", "y"))),
        ([Fields("x", "y", events=True), Fields("y", "z", events=True)], View("room", ("y",))),
        ([Fields("x", "y", events=True), Fields("y", "z")], View("room", ("y",), False)),
        ([Fields("x"), Fields("z")], None),
        ([XY, False], None),
        ([False, XY], None),
        ([{"x", "y"}], None),  # what is no answer is a no
        ([XY, "x"], None),
    ],
)
async def test_several_answers_leave_what_all_of_them_show(answers: list[Any], left: View | None) -> None:
    policy = seeing(*answers)
    assert await policy.view(client(), View("room")) == left
    assert await policy.recheck(client(), [View("room")]) == {View("room"): left}
    assert await policy.may_subscribe(client(), "room") is False


@pytest.mark.parametrize(
    ("asked", "left"), [(("x",), ("x",)), (("x", "z"), ("x",)), (("z",), None), (None, ("x", "y"))]
)
async def test_of_what_is_asked_for_what_may_be_seen_is_left(asked: Any, left: Any) -> None:
    found = await seeing(XY).view(client(), View("room", asked))
    assert found == (None if left is None else View("room", left, has_events=False))


async def test_a_hook_is_told_what_is_asked_for_if_it_wants_to_know() -> None:
    told: list[Any] = []

    def knows(client: Any, channel: str, fields: Any) -> bool:
        told.append((channel, fields))
        return fields is not None and fields <= {"x", "y"}

    def does_not_care(channel: str) -> bool:
        return True

    policy = access(plugin(authorize_subscribe=knows), plugin(authorize_subscribe=does_not_care))
    for fields, left in [(("x",), True), (("x", "z"), False), (None, False)]:
        view = View("room", fields)
        assert await policy.view(client(), view) == (view if left else None)
    assert told == [("room", frozenset({"x"})), ("room", frozenset({"x", "z"})), ("room", None)]


async def test_an_async_hook_narrows_as_well() -> None:
    async def authorize_subscribe(client: Any, channel: str, fields: Any) -> Fields:
        await asyncio.sleep(0)
        return XY

    policy = access(plugin(authorize_subscribe=authorize_subscribe))
    left = View("room", ("x", "y"), has_events=False)
    assert await policy.view(client(), View("room")) == left
    assert await policy.recheck(client(), [View("room")]) == {View("room"): left}


# registered actions


def offering(*actions: Action) -> object:
    def provide_actions(config: Any) -> list[Action]:
        return list(actions)

    return plugin(provide_actions=provide_actions)


def somebody(name: str, *, permissions: tuple[str, ...] = ()) -> Any:
    user = SimpleNamespace(is_authenticated=True, pk=name, has_perm=lambda wanted: wanted in permissions)
    return SimpleNamespace(connection_id=f"ws_{name}", user=user, is_local_operator=False)


def done(client: Any, agent_id: str, params: Any) -> None:
    """Done."""


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [(True, True), (False, False), (None, False), ("yes", False), (1, False), (RuntimeError("down"), False)],
)
async def test_only_true_is_a_permission(answer: Any, allowed: bool) -> None:
    def permission(client: Any, agent_id: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    policy = access(offering(Action("move", done, permission=permission)))
    assert await policy.may_act(somebody("rose"), "a", "move", {}) is allowed
    assert await policy.may_act(client(), "a", "move", {}) is allowed, "its own rule may let strangers in"


async def test_a_permission_by_name_is_the_users_and_the_local_operators() -> None:
    policy = access(offering(Action("move", done, permission="villa.move")))
    assert await policy.may_act(somebody("rose", permissions=("villa.move",)), "a", "move", {})
    assert not await policy.may_act(somebody("ada"), "a", "move", {})
    assert not await policy.may_act(client(), "a", "move", {})
    assert await policy.may_act(client(operator=True), "a", "move", {})


async def test_a_hooks_yes_is_no_permission_and_its_no_beats_one() -> None:
    def authorize_action(client: Any, agent_id: str, action: str, params: Any) -> bool:
        return action == "move"

    policy = access(
        plugin(authorize_action=authorize_action),
        offering(
            Action("move", done, permission="villa.move"), Action("stop", done, permission=lambda *_: True)
        ),
    )
    assert not await policy.may_act(somebody("ada"), "a", "move", {})
    assert not await policy.may_act(somebody("ada"), "a", "stop", {})


async def test_a_rate_is_each_users_own_and_spans_their_connections() -> None:
    now = [0.0]
    plugins = Plugins(entry_points=False, extra=[offering(Action("move", done, rate_per_s=1.0, burst=2))])
    policy = HookAccess(plugins, CONFIG, monotonic=lambda: now[0])
    rose, elsewhere, ada = somebody("rose"), somebody("rose"), somebody("ada")
    elsewhere.connection_id = "ws_other"
    assert await policy.act(rose, "a", "move", {})
    assert await policy.act(elsewhere, "a", "move", {})
    with pytest.raises(ActionRefused, match=r"wait 1\.0 s") as caught:
        await policy.act(rose, "a", "move", {})
    assert caught.value.code == "rate_limited"
    assert await policy.act(ada, "a", "move", {})
    for _ in range(5):
        assert await policy.act(client(operator=True), "a", "move", {}), "the local operator is not limited"
    now[0] = 1.0
    assert await policy.act(elsewhere, "a", "move", {})


async def test_rates_are_remembered_of_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_update_pipeline.plugins.access.MAX_RATES", 10)
    policy = access(offering(Action("move", done, rate_per_s=1.0)))
    for n in range(50):
        await policy.act(somebody(f"user{n}"), "a", "move", {})
    assert len(policy._rates) == 10


async def test_a_handler_may_be_a_coroutine_and_refuse() -> None:
    async def refuses(client: Any, agent_id: str, params: Any) -> None:
        await asyncio.sleep(0)
        raise ActionRefused("closed")

    policy = access(offering(Action("move", refuses)))
    with pytest.raises(ActionRefused, match="closed"):
        await policy.act(somebody("rose"), "a", "move", {})


async def test_a_handler_that_hangs_is_late() -> None:
    async def hangs(client: Any, agent_id: str, params: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await access(offering(Action("move", hangs))).act(somebody("rose"), "a", "move", {})


async def test_a_handler_that_fails_is_named_and_counted_and_its_error_is_the_callers() -> None:
    def fails(client: Any, agent_id: str, params: Any) -> None:
        raise RuntimeError("no villa")

    plugins = Plugins(entry_points=False, extra=[offering(Action("move", fails))])
    with pytest.raises(RuntimeError, match="no villa"):
        await HookAccess(plugins, CONFIG).act(somebody("rose"), "a", "move", {})
    (record,) = [row for row in plugins.report() if row["failures"]]
    assert "no villa" in record["last_error"]
