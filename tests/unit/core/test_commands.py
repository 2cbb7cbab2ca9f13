"""The table of commands: what each takes is checked before anything runs, and says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline.core.codes import CODES
from django_update_pipeline.core.commands import (
    ADMIN_SOCKET_ONLY,
    COMMANDS,
    LIVE_EVENTS,
    LIVE_REPORTS,
    CommandError,
    checked_params,
)

#: Parameters that are needed, and are enough.
NEEDED: dict[str, dict[str, Any]] = {
    "show_dead_letter": {"number": 1},
    "close_connection": {"connection_id": "ws_1"},
    "replay_dead_letters": {"all": True},
    "discard_dead_letters": {"numbers": [1]},
    "enable_plugin": {"name": "shop_live"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_needs_is_enough_and_nothing_unknown_is_taken(command: str) -> None:
    needed = NEEDED.get(command, {})
    params = checked_params(command, needed)
    assert type(params) is COMMANDS[command].params
    if not needed:
        assert checked_params(command, None) == params
    with pytest.raises(CommandError, match=f"params of {command}.*it takes") as caught:
        checked_params(command, {**needed, "numbres": [1]})
    assert caught.value.code == "invalid_field"


@pytest.mark.parametrize(
    ("command", "params", "complaint"),
    [
        ("list_dead_letters", {"limit": 0}, "limit"),
        ("list_dead_letters", {"limit": 501}, "limit"),
        ("list_dead_letters", {"limit": "20"}, "limit"),
        ("list_dead_letters", {"before": 0}, "before"),
        ("list_dead_letters", [], "it takes limit, before, reason"),
        ("show_dead_letter", {}, "number"),
        ("show_dead_letter", {"number": True}, "number"),
        ("replay_dead_letters", {}, "give either"),
        ("replay_dead_letters", {"numbers": []}, "give either"),
        ("replay_dead_letters", {"numbers": [1], "all": True}, "give either"),
        ("replay_dead_letters", {"numbers": [1], "reason": "failed"}, "goes with"),
        ("replay_dead_letters", {"numbers": [0]}, "numbers"),
        ("discard_dead_letters", {"numbers": list(range(1, 1002))}, "numbers"),
        ("get_connections", {"limit": 1001}, "limit"),
        ("get_connections", {"skip": -1}, "skip"),
        ("get_history", {"seconds": 301}, "seconds"),
        ("close_connection", {"connection_id": ""}, "connection_id"),
        ("hold_circuit_breaker", {"reason": "x" * 201}, "reason"),
        ("watch", {"interval_s": 0.1}, "interval_s"),
        ("watch", {"interval_s": 61}, "interval_s"),
        ("unwatch", {"interval_s": 1}, "it takes none"),
    ],
)
def test_wrong_parameters_are_named(command: str, params: Any, complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint) as caught:
        checked_params(command, params)
    assert caught.value.code == "invalid_field"
    assert len(caught.value.message) < 400


def test_an_unknown_command_is_told_which_there_are() -> None:
    with pytest.raises(CommandError, match="send one of get_health, ") as caught:
        checked_params("__class__<script>", {})
    assert caught.value.code == "unknown_command"
    assert "<" not in caught.value.message


def test_reasons_go_with_all() -> None:
    params: Any = checked_params("replay_dead_letters", {"all": True, "reason": "failed"})
    assert (params.all, params.reason, params.numbers) == (True, "failed", ())


def test_the_table_is_whole() -> None:
    assert set(ADMIN_SOCKET_ONLY) <= set(COMMANDS)
    replies = [command.reply for name, command in COMMANDS.items() if name not in ADMIN_SOCKET_ONLY]
    assert len(set(replies)) == len(replies)
    assert set(LIVE_REPORTS) <= set(replies)
    assert not set(LIVE_EVENTS) & set(replies)
    assert {"unknown_command", "invalid_field", "not_found", "forbidden"} <= set(CODES)


def test_what_changes_something_or_shows_data_needs_an_operator() -> None:
    needed = {name for name, command in COMMANDS.items() if command.needs_operator}
    assert needed == {
        "show_dead_letter",
        "reset_circuit_breaker",
        "hold_circuit_breaker",
        "close_connection",
        "replay_dead_letters",
        "discard_dead_letters",
        "enable_plugin",
    }


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, 'give either "numbers" or "all": true'),
        ({"numbers": [1], "all": True}, 'give either "numbers" or "all": true'),
        ({"numbers": [1], "reason": "failed"}, '"reason" goes with "all": true'),
    ],
)
def test_what_is_told_of_a_choice_of_letters_that_is_none(params, said):
    with pytest.raises(CommandError) as caught:
        checked_params("replay_dead_letters", params)
    assert caught.value.message == f"params of replay_dead_letters: '{said}'; it takes numbers, all, reason"
