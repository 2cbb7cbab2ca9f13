"""Who may subscribe and act: default deny, any plain no wins, no answer is a no."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from django_update_pipeline import hookimpl
from django_update_pipeline.core.config import PipelineConfig, config_from_mapping
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
