"""One operator's socket: what it answers, to whom, and what it leaves in the log."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from django_update_pipeline.core.commands import COMMANDS
from django_update_pipeline.runtime.admin_socket import AdminSocket, operator_name
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.testing import in_virtual_time

from .conftest import MakePipeline
from .test_live import Door, admin, close


@in_virtual_time
async def test_each_command_is_asked_for_and_refused_ones_run_nothing(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline, door=door)
        pipeline.circuit_breaker.force_open("test")
        door.answer = False
        for command in COMMANDS:
            params: dict[str, dict[str, Any]] = {
                "show_dead_letter": {"number": 1},
                "close_connection": {"connection_id": "ws_1"},
                "enable_plugin": {"name": "mysite.plugins"},
                "replay_dead_letters": {"all": True},
                "discard_dead_letters": {"all": True},
            }
            answer = await socket.ask({"command": command, "params": params.get(command, {}), "id": command})
            assert (answer["type"], answer["code"], answer["id"]) == ("error", "forbidden", command)
        assert door.asked == list(COMMANDS)
        assert pipeline.circuit_breaker.get_state()["state"] == "open"
        assert pipeline.live.watcher_count == 0
        refused = [record.getMessage() for record in caplog.records if "no permission" in record.getMessage()]
        changing = [name for name, command in COMMANDS.items() if command.changes]
        assert refused == [f"operator unknown user: {name} was refused: no permission" for name in changing]
        await close(socket)


@in_virtual_time
async def test_what_is_not_there_is_an_error_with_the_request_s_id(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline)
        answer = await socket.ask({"command": "show_dead_letter", "params": {"number": 9}, "id": "x"})
        assert (answer["code"], answer["id"]) == ("not_found", "x")
        answer = await socket.ask({"command": "close_connection", "params": {"connection_id": "no"}, "id": 3})
        assert (answer["code"], answer["id"]) == ("not_found", 3)
        answer = await socket.ask({"command": "get_health", "params": {"x": 1}, "id": 4})
        assert (answer["code"], answer["id"]) == ("invalid_field", 4)
        assert (await socket.ask({"type": "subscribe", "channels": []}))["code"] == "unknown_type"
        await close(socket)


@in_virtual_time
async def test_an_operator_may_close_its_own_socket(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket = await admin(pipeline)
        await socket.ask({"command": "watch"})
        answer = await socket.ask({"command": "close_connection", "params": {"connection_id": "ws_1"}})
        assert answer["type"] == "connection_closed"
        await socket.until(lambda: socket.close_code)
        assert socket.close_code == 4002
        await close(socket)
        assert pipeline.live.watcher_count == 0


@in_virtual_time
async def test_who_acted_is_a_key_and_never_a_name(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    user = SimpleNamespace(pk=7, username="maria", email="maria@example.com")
    assert operator_name(SocketClient("ws_1", user)) == "user 7"
    assert operator_name(SocketClient("local-operator", None, is_local_operator=True)) == "local-operator"
    assert operator_name(SocketClient("ws_1", None)) == "unknown user"
    hostile = SimpleNamespace(pk="7\noperator user 1: forged")
    assert "\n" not in operator_name(SocketClient("ws_1", hostile))
    assert AdminSocket.is_subscriber is False
