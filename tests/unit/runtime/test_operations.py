"""What the operators' commands do, whoever asks; each answer has the shape that the protocol's page shows."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core import frames
from django_update_pipeline.core.codec import encode_value
from django_update_pipeline.core.commands import (
    ADMIN_SOCKET_ONLY,
    COMMANDS,
    LIVE_EVENTS,
    CommandError,
    checked_params,
)
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage
from django_update_pipeline.runtime.operations import MAX_LIST_BYTES, carry_out
from django_update_pipeline.runtime.socket import SocketClient
from django_update_pipeline.testing import FaultyTransport, RecordingSocket, in_virtual_time
from tests.docs.markdown import ROOT, blocks

from .conftest import MakePipeline, account, settled

LINE_BYTES = 1024 * 1024


def ask(pipeline: UpdatePipeline, command: str, **params: Any) -> dict[str, Any]:
    """One command, and what every answer must be: JSON within a line of the control socket."""
    answer = carry_out(pipeline, command, checked_params(command, params), by="user 7")
    assert len(encode_value(answer)) < LINE_BYTES - 1000
    frame = json.loads(frames.admin_reply(command, answer, 1.0))
    assert frame["type"] == COMMANDS[command].reply
    data: dict[str, Any] = frame["data"]
    return data


def dead(pipeline: UpdatePipeline, n: int, *, kind: UpdateKind = UpdateKind.EVENT, **more: Any) -> int:
    """A dead letter with its number."""
    values = {"agent_id": f"agent_{n:03d}", "update_type": "said", "payload": b'{"n":%d}' % n, "kind": kind}
    letter = pipeline.dead_letters.add(
        UpdateMessage(**{"channels": ("updates",), **values, **more}),  # type: ignore[arg-type]
        "failed",
        "ValueError: no such room",
        pipeline.clock.time(),
    )
    return letter.number


# the page


def shapes(value: Any, path: str = "") -> set[str]:
    """The keys of a JSON value, as paths; of a list, those of its first item."""
    if isinstance(value, dict):
        found = set()
        for key, item in value.items():
            found |= {f"{path}.{key}"} | shapes(item, f"{path}.{key}")
        return found
    return shapes(value[0], f"{path}[]") if isinstance(value, list) and value else set()


#: The page shows these in part only: they have tables of their own.
IN_PART = {"health_status", "performance_metrics", "circuit_breaker_reset", "circuit_breaker_held", "status"}


@in_virtual_time
async def test_the_samples_of_the_page_have_the_keys_of_real_answers(make_pipeline: MakePipeline) -> None:
    page = ROOT / "docs" / "reference" / "protocol-admin.md"
    samples = [json.loads(block.code) for block in blocks(page, "json")]
    shown = {one["type"]: one["data"] for one in samples if "data" in one and not one.get("live")}
    shown |= {f"live {one['type']}": one["data"] for one in samples if one.get("live")}
    async with make_pipeline(clock="loop") as pipeline:
        pipeline.live.start()
        await pipeline.register_websocket("ws_0123", RecordingSocket())
        for n in range(3):
            dead(pipeline, n)
        pipeline.circuit_breaker.force_open("for the history")
        pipeline.live.letters_added()
        pipeline.containment.boundary("mysite.plugins", "transformer", "mood").switch_off("it failed")
        await asyncio.sleep(1.5)
        params: dict[str, dict[str, Any]] = {
            "show_dead_letter": {"number": 1},
            "replay_dead_letters": {"numbers": [1]},
            "discard_dead_letters": {"numbers": [2]},
            "close_connection": {"connection_id": "ws_0123"},
            "enable_plugin": {"name": pipeline.containment.boundaries()[0].plugin},
        }
        for command in (name for name in COMMANDS if name not in ADMIN_SOCKET_ONLY):
            kind = COMMANDS[command].reply
            answer = ask(pipeline, command, **params.get(command, {}))
            if kind == "dead_letter":
                answer["data"] = {"text": "hello"}
            if kind in IN_PART:
                assert shapes(shown[kind]) <= shapes(answer), kind
            else:
                assert shapes(shown[kind]) == shapes(answer), kind
        await asyncio.sleep(1.5)
        events = {one["type"]: one["data"] for one in ask(pipeline, "get_history")["events"]}
        for kind, data in events.items():
            assert shapes(shown[f"live {kind}"]) == shapes(data), kind
        assert set(events) == set(LIVE_EVENTS)
        report = ask(pipeline, "get_connections")
        del report["connections"], report["next_skip"]
        assert shapes(shown["live connection_info"]) == shapes(report)


# reading


def test_a_command_of_the_socket_is_for_the_socket_only() -> None:
    for command in ADMIN_SOCKET_ONLY:
        with pytest.raises(CommandError, match="for the admin socket only") as caught:
            ask(UpdatePipeline(), command)
        assert caught.value.code == "unknown_command"


@in_virtual_time
async def test_connections_are_paged_and_say_how_far_behind_they_are(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        slow = RecordingSocket()
        await pipeline.register_websocket("slow", slow)
        await asyncio.sleep(1)
        slow.block()
        for n in range(4):
            await pipeline.register_websocket(f"ws_{n}", RecordingSocket(), {"updates", f"room.{n}"})
        for n in range(3):
            await pipeline.publish("lamp", "said", {"n": n})
        answer = ask(pipeline, "get_connections", limit=2)
        assert [one["connection_id"] for one in answer["connections"]] == ["slow", "ws_0"]
        assert (answer["count"], answer["opened"], answer["closed"], answer["next_skip"]) == (5, 5, 0, 2)
        assert answer["by_kind"] == {"classic": 5, "sync": 0, "stream": 0, "admin": 0}
        assert answer["behind"] == 1
        row = answer["connections"][0]
        assert row["behind"] >= 2, "what is on its way to it is not counted"
        assert row["connected_s"] >= 1
        assert (row["channels"], row["channel_count"]) == (["updates"], 1)
        assert answer["connections"][1]["behind"] == 0
        rest = ask(pipeline, "get_connections", skip=2)
        assert [one["connection_id"] for one in rest["connections"]] == ["ws_1", "ws_2", "ws_3"]
        assert rest["next_skip"] is None
        assert ask(pipeline, "get_connections", skip=9)["connections"] == []
        slow.unblock()


@in_virtual_time
async def test_a_connection_tells_its_users_key_and_no_name(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        for name in ("ws_1", "ws_2", "ws_3"):
            await pipeline.register_websocket(name, RecordingSocket())
        connections = pipeline.websocket_manager.connections
        connections["ws_1"].client = SocketClient("ws_1", SimpleNamespace(pk=7, username="maria"))
        connections["ws_2"].client = SocketClient("ws_2", SimpleNamespace(pk=None, username=""))
        rows = ask(pipeline, "get_connections")["connections"]
        assert [row["user_id"] for row in rows] == ["7", None, None]
        assert "maria" not in str(rows)


@in_virtual_time
async def test_a_connection_with_many_channels_is_shown_with_a_few(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        for n in range(300):
            channels = {f"room.{n}.{i}.{'x' * 70}" for i in range(50)}
            await pipeline.register_websocket(f"ws_{n}", RecordingSocket(), channels)
        answer = ask(pipeline, "get_connections")
        assert answer["connections"][0]["channel_count"] == 50
        assert len(answer["connections"][0]["channels"]) == 20
        seen = [one["connection_id"] for one in answer["connections"]]
        while (skip := answer["next_skip"]) is not None:
            answer = ask(pipeline, "get_connections", skip=skip)
            seen += [one["connection_id"] for one in answer["connections"]]
        assert seen == [f"ws_{n}" for n in range(300)]


def test_dead_letters_are_paged_newest_first_whatever_they_hold() -> None:
    pipeline = UpdatePipeline()
    for _ in range(700):
        pipeline.dead_letters.add(
            UpdateMessage("\U0001f339" * 200, "said", b"{}"), "failed", '"\x01' * 250, 1.0
        )
    seen: list[int] = []
    before: int | None = None
    pages = 0
    while True:
        answer = ask(pipeline, "list_dead_letters", limit=500, before=before)
        seen += [letter["number"] for letter in answer["letters"]]
        pages += 1
        before = answer["next_before"]
        if before is None:
            break
    assert seen == list(range(700, 0, -1))
    assert pages > 2, "pages end by size, too: 700 would fit into two of 500"
    assert len(encode_value(answer)) <= MAX_LIST_BYTES + 1000


def test_dead_letters_of_one_reason() -> None:
    pipeline = UpdatePipeline()
    for n, reason in enumerate(["failed", "overflow", "failed"]):
        pipeline.dead_letters.add(UpdateMessage(f"a{n}", "said", b"{}"), reason, "why", 1.0)
    answer = ask(pipeline, "list_dead_letters", reason="failed", limit=1)
    assert [letter["number"] for letter in answer["letters"]] == [3]
    assert (answer["kept"], answer["matching"], answer["next_before"]) == (3, 2, 3)
    assert ask(pipeline, "list_dead_letters", reason="nothing")["letters"] == []


def test_a_letter_is_shown_with_its_data_unless_that_is_too_large() -> None:
    pipeline = UpdatePipeline()
    small, large = dead(pipeline, 7), dead(pipeline, 8, payload=b'{"x":"%s"}' % (b"y" * MAX_LIST_BYTES))
    assert ask(pipeline, "show_dead_letter", number=small)["data"] == {"n": 7}
    answer = ask(pipeline, "show_dead_letter", number=large)
    assert (answer["data"], answer["is_data_too_large"]) == (None, True)
    with pytest.raises(CommandError, match="no dead letter 99") as caught:
        ask(pipeline, "show_dead_letter", number=99)
    assert caught.value.code == "not_found"


def test_a_cause_that_is_no_valid_text_spoils_no_list() -> None:
    pipeline = UpdatePipeline()
    pipeline.dead_letters.add(UpdateMessage("a", "said", b"{}"), "failed", "half \ud83c of\none\x1b[2J", 1.0)
    dead(pipeline, 2)
    letters = ask(pipeline, "list_dead_letters")["letters"]
    assert [letter["cause"] for letter in letters] == [
        "ValueError: no such room",
        r"half \ud83c of\none\x1b[2J",
    ]


def test_parts_are_told_in_flow_order() -> None:
    kinds = [part["kind"] for part in ask(UpdatePipeline(), "get_plugins")["parts"]]
    assert kinds == ["queue", "batching policy", "circuit breaker", "retry policy", "transport", "store"]


# changing


def test_the_breaker_is_held_and_reset(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = UpdatePipeline()
    answer = ask(pipeline, "hold_circuit_breaker", reason="Redis moves")
    assert (answer["before"]["state"], answer["after"]["state"]) == ("closed", "open")
    assert answer["after"]["is_held_open"]
    assert pipeline.get_health_status()["health_status"] != "healthy"
    answer = ask(pipeline, "reset_circuit_breaker")
    assert (answer["before"]["state"], answer["after"]["state"]) == ("open", "closed")
    lines = [record.getMessage() for record in caplog.records if "operator" in record.getMessage()]
    assert lines == [
        "operator user 7: hold_circuit_breaker reason='Redis moves': before=closed after=open",
        "operator user 7: reset_circuit_breaker -: before=open after=closed",
    ]


def test_a_breaker_that_cannot_be_held_says_so() -> None:
    pipeline = UpdatePipeline()

    class Plain:
        def get_state(self) -> dict[str, Any]:
            return {"state": "closed"}

    pipeline.circuit_breaker = Plain()  # type: ignore[assignment]
    with pytest.raises(CommandError, match="Plain can't be held open"):
        ask(pipeline, "hold_circuit_breaker")


@in_virtual_time
async def test_while_the_breaker_is_held_updates_wait_and_nothing_is_lost(
    make_pipeline: MakePipeline,
) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        ask(pipeline, "hold_circuit_breaker")
        for n in range(50):
            pipeline.queue_agent_update("lamp", "said", {"n": n})
        await asyncio.sleep(3600)
        assert account(pipeline)["pending"] == 50
        ask(pipeline, "reset_circuit_breaker")
        assert (await settled(pipeline))["delivered"] == 50


@in_virtual_time
async def test_a_connection_is_closed_by_its_id(make_pipeline: MakePipeline) -> None:
    async with make_pipeline(clock="loop") as pipeline:
        socket, other = RecordingSocket(), RecordingSocket()
        await pipeline.register_websocket("ws_1", socket)
        await pipeline.register_websocket("ws_2", other)
        assert ask(pipeline, "close_connection", connection_id="ws_1") == {
            "connection_id": "ws_1",
            "code": 4002,
        }
        await socket.until(lambda: socket.is_closed)
        await asyncio.sleep(1)
        assert list(pipeline.websocket_manager.connections) == ["ws_2"]
        assert not other.is_closed
        with pytest.raises(CommandError) as caught:
            ask(pipeline, "close_connection", connection_id="ws_1")
        assert caught.value.code == "not_found"


@in_virtual_time
async def test_replayed_letters_are_delivered_and_state_is_skipped(make_pipeline: MakePipeline) -> None:
    transport = FaultyTransport()
    async with make_pipeline(transport, clock="loop") as pipeline:
        events = [dead(pipeline, n) for n in range(3)]
        state = dead(pipeline, 9, kind=UpdateKind.REPLACE, update_type="state_change")
        socket = RecordingSocket()
        await pipeline.register_websocket("ws_1", socket)
        answer = ask(pipeline, "replay_dead_letters", numbers=[events[1], state, 99])
        assert (answer["replayed"], answer["skipped"], answer["kept"]) == ([events[1]], [state, 99], 3)
        answer = ask(pipeline, "replay_dead_letters", all=True)
        assert (answer["replayed_count"], answer["skipped"], answer["problem"]) == (2, [state], None)
        await settled(pipeline)
        await socket.until(lambda: len(socket.events) == 3)
        assert [one["data"]["n"] for one in socket.events] == [1, 0, 2]
        assert ask(pipeline, "discard_dead_letters", all=True, reason="other")["discarded_count"] == 0
        assert ask(pipeline, "discard_dead_letters", all=True, reason="failed")["discarded"] == [state]


def test_a_full_queue_keeps_the_rest_of_the_letters(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(queue={"max_events": 2})
    numbers = [dead(pipeline, n) for n in range(5)]
    answer = ask(pipeline, "replay_dead_letters", all=True)
    assert answer["replayed"] == numbers[:2]
    assert answer["skipped"] == numbers[2:]
    assert "max_events = 2" in answer["problem"]
    assert answer["kept"] == 3


def test_a_letter_is_replayed_once_however_many_ask_while_others_are_let_go(
    make_pipeline: MakePipeline,
) -> None:
    """Replay, discard and new deaths at once, from several threads: each letter has one fate, and the bytes add up."""
    pipeline = make_pipeline(dead_letters={"max_entries": 200}, queue={"max_events": 100_000})
    fates: dict[str, list[int]] = {"replayed": [], "discarded": []}
    is_over = threading.Event()
    problems: list[BaseException] = []

    def until_over(command: str, fate: str) -> None:
        try:
            while not is_over.is_set():
                fates[fate] += ask(pipeline, command, all=True)[fate]
        except BaseException as error:  # told to the test below
            problems.append(error)

    threads = [
        threading.Thread(target=until_over, args=pair)
        for pair in (
            ("replay_dead_letters", "replayed"),
            ("replay_dead_letters", "replayed"),
            ("discard_dead_letters", "discarded"),
        )
    ]
    for thread in threads:
        thread.start()
    for n in range(3000):
        dead(pipeline, n)
    is_over.set()
    for thread in threads:
        thread.join()
    assert not problems
    letters = pipeline.dead_letters
    rest = [letter.number for letter in letters.list()]
    gone = fates["replayed"] + fates["discarded"]
    assert len(set(gone) | set(rest)) == len(gone) + len(rest), "no letter has two fates"
    assert len(gone) + len(rest) + letters.let_go == letters.total == 3000
    assert account(pipeline)["accepted"] == len(fates["replayed"])
    dead(pipeline, 1)  # the sum is made when one is added
    assert letters._bytes == sum(len(letter.payload) for letter in letters.list())


@in_virtual_time
async def test_what_changes_something_is_on_record(
    make_pipeline: MakePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, at a level that is seen by default, forgeable by nobody, without an update's data; and a notice."""
    caplog.set_level(logging.DEBUG)
    async with make_pipeline(clock="loop") as pipeline:
        told: list[dict[str, Any]] = []
        pipeline.parts.observers.operator_command = (lambda **values: told.append(values),)
        pipeline.live.start()
        dead(pipeline, 1, payload=b'{"secret":"rose"}')
        ask(pipeline, "replay_dead_letters", numbers=[1, 2])
        ask(pipeline, "hold_circuit_breaker", reason="one\ntwo <b>")
        with pytest.raises(CommandError):
            ask(pipeline, "close_connection", connection_id="x\ny")
        ask(pipeline, "get_health")
        lines = [record for record in caplog.records if record.name.endswith("operations")]
        assert [line.levelno for line in lines] == [logging.WARNING] * 3
        assert [line.getMessage() for line in lines] == [
            "operator user 7: replay_dead_letters numbers=1,2: replayed_count=1 skipped_count=1 kept=0",
            r"operator user 7: hold_circuit_breaker reason='one\ntwo \x3cb\x3e': before=closed after=open",
            r"operator user 7: close_connection connection_id='x\ny' was not carried out: not_found",
        ]
        assert "rose" not in caplog.text
        assert not any("\n" in record.getMessage() for record in caplog.records)
        assert [one["command"] for one in told] == ["replay_dead_letters", "hold_circuit_breaker"]
        assert told[0]["operator"] == "user 7"
        assert told[0]["params"] == {"numbers": (1, 2)}
        assert told[0]["result"]["replayed"] == [1]
        await asyncio.sleep(0)
        acted = [
            one["data"] for one in ask(pipeline, "get_history")["events"] if one["type"] == "operator_acted"
        ]
        assert [one["command"] for one in acted] == ["replay_dead_letters", "hold_circuit_breaker"]
