"""The frames the server sends: their keys, in order, and their text."""

from __future__ import annotations

import json
import math
import re

import pytest

from django_update_pipeline.core import frames
from django_update_pipeline.core.commands import COMMANDS

NOW = 1623456789.123


class Safe(str):
    """A str subclass, as Django's SafeString."""

    def __str__(self) -> str:
        return self


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            lambda: frames.agent_update("agent_001", "state_change", '{"mood":"happy"}', NOW),
            '{"type":"agent_update","agent_id":"agent_001","update_type":"state_change",'
            '"data":{"mood":"happy"},"timestamp":1623456789.123000}',
        ),
        (
            lambda: frames.system_notification("info", "Rose ceremony starting", NOW),
            '{"type":"system_notification","level":"info","message":"Rose ceremony starting",'
            '"timestamp":1623456789.123000}',
        ),
        (
            lambda: frames.connection_established("ws_12345", NOW),
            '{"type":"connection_established","connection_id":"ws_12345","timestamp":1623456789.123000}',
        ),
        (
            lambda: frames.subscription_confirmed(("a", "b")),
            '{"type":"subscription_confirmed","channels":["a","b"]}',
        ),
        (
            lambda: frames.unsubscription_confirmed(iter(())),
            '{"type":"unsubscription_confirmed","channels":[]}',
        ),
        (
            lambda: frames.pong(1623456789123, NOW),
            '{"type":"pong","timestamp":1623456789123,"server_time":1623456789.123000}',
        ),
        (lambda: frames.pong(None, 0), '{"type":"pong","timestamp":null,"server_time":0.000000}'),
        (
            lambda: frames.action_queued("a", "move"),
            '{"type":"action_queued","agent_id":"a","action":"move"}',
        ),
        (
            lambda: frames.action_queued("a", "move", 7),
            '{"type":"action_queued","agent_id":"a","action":"move","id":7}',
        ),
        (lambda: frames.error_frame("no", "forbidden"), '{"type":"error","message":"no","code":"forbidden"}'),
        (
            lambda: frames.admin_reply("get_health", {"health_score": 100}, NOW),
            '{"type":"health_status","data":{"health_score":100},"timestamp":1623456789.123000}',
        ),
    ],
)
def test_a_frame_is_compact_with_its_keys_in_the_documented_order(build, expected):
    assert build() == expected


def test_the_admin_socket_says_which_commands_it_takes():
    frame = json.loads(frames.admin_connected("c1", NOW))
    assert frame == {
        "type": "admin_connected",
        "connection_id": "c1",
        "commands": list(COMMANDS),
        "timestamp": NOW,
    }


def test_every_admin_command_has_a_reply_of_its_own():
    types = [json.loads(frames.admin_reply(command, {}, NOW))["type"] for command in COMMANDS]
    assert types[0] == "health_status"
    assert types.count("watching") == 2  # its beginning and its end
    assert len(set(types)) == len(types) - 1


def test_a_request_id_comes_back():
    assert json.loads(frames.admin_reply("get_health", {}, NOW, 7))["id"] == 7
    assert json.loads(frames.error_frame("no", "forbidden", "a"))["id"] == "a"
    assert "id" not in json.loads(frames.error_frame("no", "forbidden"))


def test_refused_channels_are_told_in_one_error_that_reflects_little():
    frame = json.loads(frames.refused_channels(["secret", "<b>", *["x" * 90] * 1000]))
    assert frame["code"] == "channel_refused"
    assert frame["message"].startswith("1002 channel(s) refused: 'secret, \\x3cb\\x3e, xxx")
    assert len(frame["message"]) < 160


def test_strings_of_another_class_are_sent_as_strings():
    assert json.loads(frames.agent_update(Safe("a"), Safe("b"), "{}", NOW))["agent_id"] == "a"


@pytest.mark.parametrize("bad", ["\ud800", "a\udfff"])
def test_half_a_surrogate_pair_is_refused(bad):
    with pytest.raises(ValueError, match="surrogates"):
        frames.agent_update(bad, "state_change", "{}", NOW)
    with pytest.raises(ValueError, match="surrogates"):
        frames.system_notification("info", bad, NOW)
    with pytest.raises(ValueError, match="surrogates"):
        frames.error_frame(bad, "forbidden")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_a_time_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="Unix seconds"):
        frames.agent_update("a", "b", "{}", bad)


@pytest.mark.parametrize("seconds", [1e15, -1e15, math.inf, -math.inf, math.nan])
def test_what_is_no_time_in_unix_seconds_is_refused(seconds):
    with pytest.raises(ValueError, match=f"^{re.escape(repr(seconds))} is not a time in Unix seconds$"):
        frames.pong(1, seconds)


@pytest.mark.parametrize("seconds", [999999999999999.0, -999999999999999.0, 0.0, 1e-7])
def test_any_time_a_clock_can_tell_is_sent(seconds):
    assert json.loads(frames.pong(1, seconds))["server_time"] == pytest.approx(seconds, abs=1e-6)


def test_a_report_that_comes_by_itself_says_so():
    assert frames.live_report("health_status", {"a": 1}, NOW) == (
        '{"type":"health_status","data":{"a":1},"timestamp":1623456789.123000,"live":true}'
    )
    assert frames.admin_report("dead_letter", {"a": [1]}, NOW) == (
        '{"type":"dead_letter","data":{"a":[1]},"timestamp":1623456789.123000}'
    )
    assert frames.admin_report("dead_letter", {}, NOW, 0).endswith('"timestamp":1623456789.123000,"id":0}')
