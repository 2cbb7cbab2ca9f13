"""The decoder: what a client may send, and what it is told otherwise."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core.codes import CODES
from django_update_pipeline.core.commands import COMMANDS, checked_params
from django_update_pipeline.core.config import ConnectionConfig
from django_update_pipeline.core.wire import (
    AdminCommand,
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Position,
    Subscribe,
    Unsubscribe,
    decode_client_frame,
)


def refusal(text: str | bytes, limits: FrameLimits | None = None) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode_client_frame(text, limits or FrameLimits())
    assert caught.value.code in CODES
    assert str(caught.value) == caught.value.message
    return caught.value


def action(**fields: object) -> str:
    return json.dumps({"type": "agent_action", "agent_id": "agent_001", "action": "move", **fields})


def test_the_founding_clients_frames_are_understood():
    """The four frames the founding document's JavaScript sends, as text and as bytes."""
    frames = {
        '{"type":"subscribe","channels":["dating_show_updates","agent_notifications"]}': Subscribe(
            ("dating_show_updates", "agent_notifications")
        ),
        '{"type":"ping","timestamp":1623456789123}': Ping(1623456789123),
        (
            '{"type":"agent_action","agent_id":"agent_001","action":"move","params":{"location":"pool"}}'
        ): AgentAction("agent_001", "move", {"location": "pool"}),
        '{"command":"get_health"}': AdminCommand("get_health"),
    }
    for text, frame in frames.items():
        assert decode_client_frame(text) == frame
        assert decode_client_frame(text.encode()) == frame


def test_params_may_be_left_out():
    assert decode_client_frame('{"type":"agent_action","agent_id":"a","action":"wave"}') == AgentAction(
        "a", "wave", {}
    )


def test_unknown_fields_are_ignored():
    """An older server understands a newer client."""
    assert decode_client_frame('{"type":"ping","timestamp":1,"colour":{"new":[1]}}') == Ping(1)


@pytest.mark.parametrize("value", [None, True, 0, -1, 1.5, 1623456789.123, "now", '\u2028"', 2**53, -(2**53)])
def test_a_ping_carries_any_scalar(value):
    assert decode_client_frame(json.dumps({"type": "ping", "timestamp": value})) == Ping(value)


def test_a_ping_without_a_timestamp_is_answered_too():
    assert decode_client_frame('{"type":"ping"}') == Ping(None)


def test_each_channel_is_named_once_in_the_order_sent():
    assert decode_client_frame('{"type":"unsubscribe","channels":["b","a","b"]}') == Unsubscribe(("b", "a"))


def test_names_that_no_channel_can_have_are_set_apart():
    """They are refused by name, and the others are subscribed to (one `error` for all refused names)."""
    names = ["news", "a b", "news\n", "٣", "", "x" * 91, "x" * 90, "__proto__"]
    frame = decode_client_frame(json.dumps({"type": "subscribe", "channels": names}))
    assert frame == Subscribe(("news", "x" * 90, "__proto__"), ("a b", "news\n", "٣", "", "x" * 91))


def test_positions_are_read_for_the_channels_asked_for():
    frame = decode_client_frame(
        '{"type":"subscribe","channels":["a","b"],"since":{"a":{"epoch":"k3f9","offset":7},"c":{"epoch":1}}}'
    )
    assert frame == Subscribe(("a", "b"), (), {"a": Position("k3f9", 7)})


@pytest.mark.parametrize(
    "since",
    [
        "[]",
        "1",
        '{"a":1}',
        '{"a":{"epoch":"e"}}',
        '{"a":{"epoch":"e","offset":-1}}',
        '{"a":{"epoch":"e","offset":true}}',
    ],
)
def test_a_position_of_another_shape_is_refused(since):
    assert refusal(f'{{"type":"subscribe","channels":["a"],"since":{since}}}').code == "invalid_field"


def test_every_admin_command_is_known():
    needed = {
        "show_dead_letter": {"number": 1},
        "close_connection": {"connection_id": "ws_1"},
        "enable_plugin": {"name": "shop_live"},
    }
    for command in COMMANDS:
        params = needed.get(
            command, {"all": True} if "SomeDeadLetters" in str(COMMANDS[command].params) else {}
        )
        frame = decode_client_frame(json.dumps({"command": command, "params": params, "id": 3}))
        assert frame == AdminCommand(command, checked_params(command, params), 3)
    assert refusal('{"command":"drop_tables"}').code == "unknown_command"
    assert refusal('{"command":1}').code == "invalid_field"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("\ufeff{}", "invalid_json"),
        ('{"type":"ping","timestamp":NaN}', "invalid_json"),
        ('{"type":"ping","timestamp":-Infinity}', "invalid_json"),
        ('{"type":"ping",}', "invalid_json"),
        ("{'type':'ping'}", "invalid_json"),
        ('{"type":"ping"}{}', "invalid_json"),
        ('{"type":"ping","timestamp":"\\ud800"}', "invalid_json"),
        ('{"type":"ping","timestamp":"\\udc00x"}', "invalid_json"),
        ('{"type":"ping","timestamp":"\x01"}', "invalid_json"),
        ('{"type":"ping","timestamp":"\ud800"}', "invalid_utf8"),
        (b'{"type":"ping","timestamp":"\xff"}', "invalid_utf8"),
        (b'{"type":"ping","timestamp":"\xed\xa0\x80"}', "invalid_utf8"),
        (b"\xff\xfe{\x00}\x00", "invalid_utf8"),
        ("null", "invalid_frame"),
        ("[]", "invalid_frame"),
        ('"ping"', "invalid_frame"),
        ("1", "invalid_frame"),
        ("{}", "invalid_frame"),
        ('{"type":null}', "invalid_frame"),
        ('{"type":true}', "invalid_frame"),
        ('{"type":["ping"]}', "invalid_frame"),
        ('{"type":"PING"}', "unknown_type"),
        ('{"type":"__class__"}', "unknown_type"),
        ('{"type":"agent_update"}', "unknown_type"),
        ('{"type":"subscribe"}', "invalid_field"),
        ('{"type":"subscribe","channels":"news"}', "invalid_field"),
        ('{"type":"subscribe","channels":{"news":1}}', "invalid_field"),
        ('{"type":"subscribe","channels":["news",1]}', "invalid_field"),
        ('{"type":"subscribe","channels":[null]}', "invalid_field"),
        ('{"type":"ping","timestamp":{}}', "invalid_field"),
        ('{"type":"ping","timestamp":[]}', "invalid_field"),
        ('{"type":"ping","type":"ping"}', "duplicate_key"),
        ('{"type":"ping","timestamp":1e400}', "number_out_of_range"),
        ('{"type":"ping","timestamp":9007199254740993}', "number_out_of_range"),
        ('{"type":"ping","timestamp":-9007199254740993}', "number_out_of_range"),
        ('{"type":"ping","timestamp":' + "9" * 5000 + "}", "number_out_of_range"),
        (action(params={"deep": [{"n": 2**53 + 1}]}), "number_out_of_range"),
        (action(params=None), "invalid_field"),
        (action(params=[]), "invalid_field"),
        (action(action=""), "invalid_field"),
        (action(action=7), "invalid_field"),
        (action(action="x" * 91), "invalid_field"),
        (action(action="a\nb"), "invalid_field"),
        (action(action="__proto__"), "invalid_field"),
        (action(agent_id=""), "invalid_field"),
        (action(agent_id=1), "invalid_field"),
        (action(agent_id="x" * 201), "invalid_field"),
        (action(agent_id="a\x00"), "invalid_field"),
        (action(agent_id="constructor"), "invalid_field"),
    ],
)
def test_a_bad_frame_is_refused_with_its_code(text, code):
    assert refusal(text).code == code


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ping","a":{"b":1,"b":2}}',
        '{"type":"ping","a":[{"b":1},{"c":1,"d":2,"c":3}]}',
        '{"type":"ping","\\u0061":1,"a":2}',
        '{"type":"ping","a":":::","a":2}',
        '{"type":"ping","a":"\\":","a":2}',
    ],
)
def test_a_key_given_twice_is_found_wherever_it_is(text):
    assert refusal(text).code == "duplicate_key"


@pytest.mark.parametrize("value", ["10:30", '":', '{"a":1,"a":2}', "\\", '\\":', "[[[[" * 20])
def test_strings_that_look_like_structure_are_only_strings(value):
    assert decode_client_frame(action(params={value: value, "n": {"x": value}})) == AgentAction(
        "agent_001", "move", {value: value, "n": {"x": value}}
    )


def test_the_depth_limit_counts_the_frame_itself():
    """32 levels pass, 33 do not; brackets in strings and side by side do not count."""
    assert decode_client_frame('{"type":"ping","a":' + "[" * 31 + "]" * 31 + "}") == Ping(None)
    assert refusal('{"type":"ping","a":' + "[" * 32 + "]" * 32 + "}").code == "too_deep"
    assert refusal('{"type":"ping","a":' + '{"a":' * 32 + "1" + "}" * 32 + "}").code == "too_deep"
    assert decode_client_frame('{"type":"ping","a":[' + "[]," * 1000 + '"' + "[" * 1000 + '"]}') == Ping(None)


def test_a_depth_limit_beyond_the_stack_still_refuses():
    limits = FrameLimits(max_frame_bytes=10**6, max_depth=10**6)
    assert refusal("[" * 200_000, limits).code == "too_deep"


def test_size_is_counted_in_bytes_before_anything_is_parsed():
    limits = FrameLimits(max_frame_bytes=30)
    exact = '{"type":"ping","timestamp":10}'
    assert len(exact) == 30
    assert decode_client_frame(exact, limits) == Ping(10)
    assert refusal(exact + " ", limits).code == "frame_too_large"
    assert refusal(exact.encode() + b" ", limits).code == "frame_too_large"
    assert refusal("é" * 16, limits).code == "frame_too_large"
    assert refusal("[" * 1_000_000).code == "frame_too_large"


def test_too_many_channels_are_refused_with_the_limit():
    names = [f"c{index}" for index in range(101)]
    error = refusal(json.dumps({"type": "subscribe", "channels": names}))
    assert error.code == "too_many_channels"
    assert "101" in error.message
    assert "100" in error.message


def test_messages_name_the_value_the_limit_and_the_mend():
    assert (
        refusal(b" " * 65537).message == "the frame has 65537 bytes, the limit is 65536: send less at a time"
    )
    assert "'a' twice" in refusal('{"a":1,"a":2}').message
    assert "9007199254740993" in refusal('{"type":"ping","timestamp":9007199254740993}').message
    assert "byte order mark" in refusal("\ufeff{}").message
    assert "send one of subscribe, unsubscribe, ping, agent_action" in refusal('{"type":"x"}').message


@pytest.mark.parametrize("field", ["type", "agent_id", "action"])
@pytest.mark.parametrize(
    "nasty", ["<img src=x onerror=alert(1)>" * 40, "\x1b[31m\n" * 100, "\U0001f600\u202e" * 101]
)
def test_messages_reflect_little_and_only_escaped(field, nasty):
    frame = {"type": "agent_action", "agent_id": "a", "action": "b", field: nasty}
    message = refusal(json.dumps(frame)).message
    assert message.isascii()
    assert message.isprintable()
    assert "<" not in message
    assert len(message) < 250


def test_the_limits_are_those_of_the_configuration():
    config, limits = ConnectionConfig(), FrameLimits()
    assert (limits.max_frame_bytes, limits.max_depth) == (config.max_frame_bytes, config.max_depth)
    assert limits.max_channels_per_frame == config.max_subscriptions


ONE_OF = "subscribe, unsubscribe, ping, agent_action"
POSITION = '{"type":"subscribe","channels":["a"],"since":'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "the frame is not valid UTF-8: encode its text as UTF-8"),
        ("x" * 65537, "the frame has more than 65536 bytes, the limit is 65536: send less at a time"),
        ("\u00e9" * 32769, "the frame has 65538 bytes, the limit is 65536: send less at a time"),
        ("\ufeff{}", "the frame is not JSON: the frame begins with a byte order mark: leave it out"),
        ("{", "the frame is not JSON: Input data was truncated"),
        ("1e400", "a number is too large for a double: send it as a string"),
        ("[" * 33, "the frame is nested deeper than 32 levels: flatten it"),
        ("null", 'the frame is missing or null: send an object such as {"type": "ping"}'),
        ("true", 'the frame is a boolean: send an object such as {"type": "ping"}'),
        ("7", 'the frame is a number: send an object such as {"type": "ping"}'),
        ("7.5", 'the frame is a number: send an object such as {"type": "ping"}'),
        ('"a"', 'the frame is a string: send an object such as {"type": "ping"}'),
        ("[]", 'the frame is an array: send an object such as {"type": "ping"}'),
        ('{"type":{}}', f"the frame's type is an object: send one of {ONE_OF} as a string"),
        ('{"type":"x"}', f"type 'x' is not known: send one of {ONE_OF}"),
        ('{"type":"ping","b":{"a":1.5,"a":2}}', "an object names the key 'a' twice: send it once"),
        (
            '{"type":"ping","timestamp":-9007199254740993}',
            "the integer -9007199254740993 is beyond 2**53, where JavaScript rounds: send it as a string",
        ),
        (
            '{"type":"ping","timestamp":' + "9" * 30 + "}",
            f"the integer {'9' * 30} is beyond 2**53, where JavaScript rounds: send it as a string",
        ),
        (
            '{"type":"ping","timestamp":1' + "0" * 30 + "}",
            "the integer of 100 bits is beyond 2**53, where JavaScript rounds: send it as a string",
        ),
        ('{"type":"ping","timestamp":[]}', "timestamp is an array: send a number or a string"),
        (action(agent_id=1), "agent_id is a number: send a string"),
        (action(action=None), "action is missing or null: send a string"),
        (action(params=[]), "params is an array: send an object, or leave it out"),
        (
            action(agent_id="a\n"),
            "agent_id 'a\\n' is not allowed: send 1 to 200 characters, no control characters, "
            "no name such as __proto__",
        ),
        (
            action(action="a\n"),
            "action 'a\\n' is not allowed: send 1 to 90 characters, no control characters",
        ),
        ('{"type":"subscribe","channels":{}}', 'channels is an object: send an array such as ["news"]'),
        ('{"type":"subscribe","channels":["a",2]}', "channels[1] is a number: send the channel's name"),
        (
            json.dumps({"type": "subscribe", "channels": ["a"] * 101}),
            "channels has 101 names, the limit is 100: split it",
        ),
        (POSITION + "[]}", 'since is an array: send {"channel": {"epoch", "offset"}}'),
        (
            POSITION + '{"a":{"epoch":"e","offset":-1}}}',
            "since of 'a' has a negative offset: send 0",
        ),
        (
            POSITION + '{"a":1}}',
            "since of 'a' is not a position: 'Expected `object`, got `int`'",
        ),
        ('{"command":"x","id":true}', "id is a boolean: send a string or an integer, or none"),
        (json.dumps({"command": "x", "id": "a" * 81}), "id has more than 80 characters: send fewer"),
    ],
)
def test_what_a_refused_client_is_told(text, message):
    """Word for word: it is all a client's author gets to see."""
    assert refusal(text).message == message


def test_a_depth_limit_beyond_the_stack_is_told_as_such():
    limits = FrameLimits(max_frame_bytes=10**6, max_depth=10**6)
    assert (
        refusal("[" * 200_000, limits).message
        == "the frame is nested deeper than the parser goes: flatten it"
    )


@pytest.mark.parametrize("beside", ["[],[],[]", "{},[{}],{}", '"[[[[[["', '"\\"[[[["'])
def test_depth_is_counted_by_what_is_open_at_once(beside):
    """As deep as allowed, with brackets before, after and in strings; one more is refused."""
    limits = FrameLimits(max_depth=4)
    assert decode_client_frame(f'{{"type":"ping","a":[{beside},[[0]],{beside}]}}', limits) == Ping(None)
    assert refusal(f'{{"type":"ping","a":[{beside},[[[0]]],{beside}]}}', limits).code == "too_deep"
    assert refusal(f'{{"type":"ping","a":[{beside},{{"b":{{"c":{{}}}}}}]}}', limits).code == "too_deep"


def test_as_many_channels_as_allowed_pass():
    names = [f"c{index}" for index in range(100)]
    assert decode_client_frame(json.dumps({"type": "subscribe", "channels": names})) == Subscribe(
        tuple(names)
    )


def test_a_longer_name_than_the_limits_say_is_set_apart():
    limits = FrameLimits(max_name_length=3)
    frame = decode_client_frame('{"type":"unsubscribe","channels":["abc","abcd"]}', limits)
    assert frame == Unsubscribe(("abc",), ("abcd",))


@pytest.mark.parametrize("offset", ['"3"', "3.5", "null", "true"])
def test_a_position_s_offset_is_an_integer_and_nothing_that_could_be_made_one(offset):
    text = POSITION + f'{{"a":{{"epoch":"e","offset":{offset}}}}}}}'
    assert refusal(text).code == "invalid_field"


def test_a_request_id_of_80_characters_comes_back():
    frame = decode_client_frame(json.dumps({"command": "get_health", "id": "a" * 80}))
    assert frame == AdminCommand("get_health", checked_params("get_health", None), "a" * 80)
    error = refusal(json.dumps({"command": "get_health", "params": {"no": 1}, "id": 0}))
    assert (error.code, error.request_id) == ("invalid_field", 0)


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ('{"b":0,"a":1,"c":2,"a":3}', "a"),
        ('{"b":{"d":1},"c":[{"e":1,"f":2,"e":3}]}', "e"),
        ('{"a":9007199254740993,"a":1}', "a"),
        ('{"a":0.' + "9" * 5000 + ',"a":1e300}', "a"),
    ],
)
def test_the_key_that_is_named_twice_is_told(text, twice):
    """Also beside numbers that Python's own reader would refuse."""
    error = refusal(text)
    assert error.code == "duplicate_key"
    assert error.message == f"an object names the key '{twice}' twice: send it once"


def test_a_position_at_the_beginning_is_one():
    frame = decode_client_frame(POSITION + '{"a":{"epoch":"e","offset":0}}}')
    assert frame == Subscribe(("a",), (), {"a": Position("e", 0)})


def test_an_action_s_name_may_be_as_long_as_the_limit_and_no_longer():
    limits = FrameLimits(max_name_length=4)
    text = '{"type":"agent_action","agent_id":"x","action":"%s"}'
    assert decode_client_frame(text % "move", limits) == AgentAction("x", "move", {})
    assert refusal(text % "moves", limits).code == "invalid_field"
