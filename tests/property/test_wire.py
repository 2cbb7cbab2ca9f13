"""Laws of the classic protocol's frames: total, strict, and the same for every parser."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from django_update_pipeline.core import frames
from django_update_pipeline.core.codes import CODES
from django_update_pipeline.core.names import valid_agent_id, valid_channel_name
from django_update_pipeline.core.wire import (
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Subscribe,
    Unsubscribe,
    decode_client_frame,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
awkward = text | st.sampled_from(
    ["\u2028\u2029", '"', "\\", "</script>", "\x00\x1f\x7f", "\U0010ffff", "\ufeff"]
)
integers = st.integers(-(2**53), 2**53)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | awkward
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(awkward, inner, max_size=5),
    max_leaves=20,
)
names = st.from_regex(r"[A-Za-z0-9._-]{1,90}", fullmatch=True)
times = st.floats(0, 1e11)
structure = st.lists(
    st.sampled_from(
        [*'{}[]:,"\\', '"type"', '"ping"', '"a"', "1", "NaN", "\\ud800", "9" * 17, "1e999", "\ud800", "é"]
    ),
    max_size=200,
).map("".join)


def code_of(raw: str | bytes, limits: FrameLimits | None = None) -> str | None:
    """The code with which a frame is refused, None for one that is accepted; all else goes up."""
    try:
        decode_client_frame(raw, limits or FrameLimits())
    except FrameError as refused:
        error = refused
    else:
        return None
    assert error.code in CODES
    assert error.message.isascii()
    assert error.message.isprintable()
    assert len(error.message) < 400
    return error.code


@given(st.text() | structure | st.binary())
@example("[" * 65536)
@example('{"a":' * 13000)
@example('"' * 65536)
@example('["' * 30000)
@example("\\" * 65536)
def test_any_text_gives_a_frame_or_a_frame_error(raw):
    code_of(raw)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["subscribe", "unsubscribe", "ping", "agent_action"])},
        optional={
            "channels": trees | st.lists(awkward),
            "since": trees,
            "timestamp": trees,
            "agent_id": trees,
            "action": trees,
            "params": trees,
            "command": trees,
        },
    ),
    st.integers(1, 40),
)
def test_any_fields_give_a_frame_or_a_frame_error(fields, depth):
    code_of(json.dumps(fields), FrameLimits(max_depth=depth))


@given(
    st.lists(names), st.sampled_from([("subscribe", Subscribe), ("unsubscribe", Unsubscribe)]), st.booleans()
)
def test_channel_names_arrive_as_sent(channels, kind, ascii_only):
    name, shape = kind
    raw = json.dumps({"type": name, "channels": channels}, ensure_ascii=ascii_only)
    assert decode_client_frame(raw) == shape(tuple(dict.fromkeys(channels)))
    assert all(valid_channel_name(channel) for channel in channels)


@given(awkward.filter(valid_agent_id), names, st.dictionaries(awkward, trees, max_size=5), st.booleans())
def test_an_action_arrives_as_sent(agent_id, action, params, ascii_only):
    """Also through strings that look like structure: the check for keys given twice is not fooled."""
    fields = {"type": "agent_action", "agent_id": agent_id, "action": action, "params": params}
    if action in ("constructor", "prototype", "__proto__"):
        return
    assert decode_client_frame(json.dumps(fields, ensure_ascii=ascii_only)) == AgentAction(
        agent_id, action, params
    )


@given(trees, st.integers(0, 3), awkward)
def test_a_key_given_twice_is_never_accepted(value, depth, key):
    twice = f"{{{json.dumps(key)}:{json.dumps(value)},{json.dumps(key, ensure_ascii=False)}:1}}"
    for _ in range(depth):
        twice = f'[{{"n":{twice}}}]'
    assert code_of(f'{{"type":"ping","x":{twice}}}') == "duplicate_key"


@given(st.integers(min_value=2**53 + 1) | st.integers(max_value=-(2**53) - 1))
def test_an_integer_javascript_would_round_is_never_accepted(number):
    raw = json.dumps({"type": "agent_action", "agent_id": "a", "action": "b", "params": {"n": [number]}})
    assert code_of(raw) == "number_out_of_range"


@given(scalars, times)
def test_a_pong_echoes_what_the_ping_said(timestamp, now):
    ping = decode_client_frame(json.dumps({"type": "ping", "timestamp": timestamp}))
    assert isinstance(ping, Ping)
    pong = json.loads(frames.pong(ping.timestamp, now))
    assert pong == {"type": "pong", "timestamp": timestamp, "server_time": round(now, 6)}


def strictly(raw: str) -> dict[str, Any]:
    """What a browser's parser would read; NaN and Infinity fail, and so does a key given twice."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    raw.encode()
    result: dict[str, Any] = json.loads(raw, parse_constant=refuse, object_pairs_hook=once)
    return result


@given(awkward, awkward, st.dictionaries(awkward, trees, max_size=5), times)
def test_what_the_server_says_is_read_as_meant(one, two, data, now):
    time = round(now, 6)
    assert strictly(frames.agent_update(one, two, json.dumps(data), now)) == {
        "type": "agent_update",
        "agent_id": one,
        "update_type": two,
        "data": data,
        "timestamp": time,
    }
    assert strictly(frames.system_notification(one, two, now)) == {
        "type": "system_notification",
        "level": one,
        "message": two,
        "timestamp": time,
    }
    assert strictly(frames.connection_established(one, now)) == {
        "type": "connection_established",
        "connection_id": one,
        "timestamp": time,
    }
    assert strictly(frames.subscription_confirmed([one, two])) == {
        "type": "subscription_confirmed",
        "channels": [one, two],
    }
    assert strictly(frames.unsubscription_confirmed([one])) == {
        "type": "unsubscription_confirmed",
        "channels": [one],
    }
    assert strictly(frames.action_queued(one, two)) == {
        "type": "action_queued",
        "agent_id": one,
        "action": two,
    }
    assert strictly(frames.error_frame(one, two)) == {"type": "error", "message": one, "code": two}
    assert strictly(frames.admin_reply("get_metrics", data, now)) == {
        "type": "performance_metrics",
        "data": data,
        "timestamp": time,
    }
    assert strictly(frames.refused_channels([one, two]))["code"] == "channel_refused"
