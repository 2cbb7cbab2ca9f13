"""Frames a client might send: right ones, nearly right ones, and what no client of ours would.

Everything comes from a `random.Random`, so a seed names a frame for ever. What a frame deserves is not decided here:
`oracle` reads it as the protocol's page does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

Data = str | bytes

CHANNELS = ("updates", "news", "agent.agent_001", "room-1", "room_2")
ODD_NAMES = (
    "",
    "secret",
    "update_pipeline.system",
    "news\n",
    "\u0663",
    "a" * 90,
    "a" * 91,
    "../admin",
    "specific.inmemory!x",
    "__proto__",
    "constructor",
    "news\x00",
    "\ud800",
    "<img src=x onerror=alert(1)>",
    "%n%s%d",
    "\r\nERROR forged line",
    "*",
    "NEWS",
    "update.pipeline..",
)
ACTIONS = ("move", "refuse", "explode", "hang up", "nobody", "dispatch", "__class__", "websocket.disconnect")
AGENTS = ("agent_001", "", "a" * 200, "a" * 201, "__proto__", "prototype", "\x1b[2J", "\u202egnirts", "é")
TYPES = (
    "subscribe",
    "unsubscribe",
    "ping",
    "agent_action",
    "Subscribe",
    "ping ",
    "pong",
    "error",
    "agent_update",
    "__init__",
    "websocket.disconnect",
    "connection_established",
    "\ud83d\ude00",
    "p\x00ing",
    "",
)
COMMANDS = (
    "get_health",
    "get_metrics",
    "get_connections",
    "get_history",
    "get_plugins",
    "list_dead_letters",
    "show_dead_letter",
    "reset_circuit_breaker",
    "close_connection",
    "replay_dead_letters",
    "discard_dead_letters",
    "watch",
    "unwatch",
    "hold_circuit_breaker ",
    "shutdown",
    "",
    "__dict__",
)
#: Parameters of commands. None of them holds the breaker: that an operator may do, and nothing would arrive.
COMMAND_PARAMS = (
    None,
    {},
    [],
    "all",
    {"limit": 1},
    {"limit": -1},
    {"limit": 10**9, "skip": 1},
    {"limit": True},
    {"seconds": 1e300},
    {"interval_s": 0.2},
    {"interval_s": -1},
    {"interval_s": "often"},
    {"number": 0},
    {"number": 2**53},
    {"numbers": [1, 1, 1]},
    {"numbers": [], "all": True},
    {"all": True, "reason": "'; --"},
    {"numbers": [1], "all": True},
    {"connection_id": "ws_" + "0" * 32},
    {"connection_id": "\x00"},
    {"connection_id": ["a"]},
    {"__class__": 1},
    {"reason": "x" * 5000},
)
IDS = (None, 0, 7, -1, 2**53, "a", "", "x" * 80, "x" * 81, True, 1.5, [], {}, "\r\nforged", "\ud800", "<b>")
NUMBERS = (
    "0",
    "-0",
    "-0.0",
    "1e308",
    "1e309",
    "-1e999999",
    "1E400",
    "4e-400",
    "0.1",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740992",
    "-9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "1" + "0" * 400,
    "-" + "9" * 5000,
    "0." + "3" * 700,
    "123456789.123456789e5",
    "1e16",
)
NOT_NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "01",
    "1.",
    ".5",
    "+1",
    "0x1f",
    "1e",
    "--1",
    "1_000",
    "tru",
)
JSON_BITS = (
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\\u007b",
    " ",
    "\n",
    "0",
)
NOT_UTF8 = (
    b"\xff",
    b"\xfe\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xe2\x82",
    b"\xf8\x88",
)


def frame(rng: random.Random, max_bytes: int, max_depth: int) -> Data:
    """One frame: half of them valid or nearly, the rest of every kind this module knows."""
    make = rng.choices(_KINDS, _WEIGHTS)[0]
    return make(rng, max_bytes, max_depth)


def valid(rng: random.Random, *_: int) -> str:
    """A frame a well-behaved client could send."""
    return json.dumps(rng.choice(_PLAIN)(rng), ensure_ascii=rng.random() < 0.5)


def _name(rng: random.Random) -> str:
    return rng.choice(CHANNELS) if rng.random() < 0.7 else rng.choice(ODD_NAMES)


def _subscribe(rng: random.Random) -> dict[str, object]:
    wanted: dict[str, object] = {
        "type": rng.choice(("subscribe", "unsubscribe")),
        "channels": [_name(rng) for _ in range(rng.choice((0, 1, 1, 2, 3, 8)))],
    }
    if rng.random() < 0.1:
        wanted["since"] = {"news": {"epoch": "e", "offset": rng.choice((0, 1, 10**9))}}
    return wanted


def _ping(rng: random.Random) -> dict[str, object]:
    stamp = rng.choice((None, 0, 1.5, -1, True, "", "x" * 300, "\u2028", 1623456789123, 5e-324, "\U0001f339"))
    return {"type": "ping", "timestamp": stamp} if rng.random() < 0.9 else {"type": "ping"}


def _action(rng: random.Random) -> dict[str, object]:
    params = rng.choice(_PARAMS)(rng)
    return {"type": "agent_action", "agent_id": "agent_001", "action": rng.choice(ACTIONS), "params": params}


def command(rng: random.Random) -> str:
    """A command of an operator's, with parameters and an id that fit or do not."""
    fields: dict[str, object] = {"command": rng.choice(COMMANDS)}
    if rng.random() < 0.5:
        fields["params"] = rng.choice(COMMAND_PARAMS)
    if rng.random() < 0.3:
        fields["id"] = rng.choice(IDS)
    return json.dumps(fields)


def _nest(rng: random.Random, depth: int) -> object:
    value: object = rng.choice((1, "x", None))
    for _ in range(depth):
        value = {"n": value} if rng.random() < 0.5 else [value]
    return value


_PARAMS: tuple[Callable[[random.Random], object], ...] = (
    lambda rng: {},
    lambda rng: {"to": "pool"},
    lambda rng: {"__proto__": {"polluted": True}, "constructor": {"prototype": {"polluted": True}}},
    lambda rng: {"to": rng.choice(ODD_NAMES)},
    lambda rng: {"self": 1, "client": 2, "agent_id": 3, "action": "x", "params": {}, "**": None},
    lambda rng: {"deep": _nest(rng, rng.randrange(40))},
    lambda rng: {"many": dict.fromkeys((f"k{n}" for n in range(rng.randrange(400))), 0)},
    lambda rng: {"text": "A" * rng.randrange(3000)},
    lambda rng: rng.choice(([], "text", 5, None, True)),
    lambda rng: {"sql": "'; DROP TABLE auth_user; --", "tmpl": "{{ settings.SECRET_KEY }}", "fmt": "%(x)s"},
)
_PLAIN = (_subscribe, _subscribe, _ping, _ping, _action)


def _mutated(rng: random.Random, *limits: int) -> Data:
    """A valid frame with a few bytes or characters changed, doubled, cut out or moved."""
    text = valid(rng)
    raw: Data = text.encode("utf-8", "surrogatepass") if rng.random() < 0.4 else text
    for _ in range(rng.randrange(1, 4)):
        at, to = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
        match rng.randrange(5):
            case 0:
                raw = raw[:at] + raw[at + 1 :]
            case 1:
                raw = raw[:to]
            case 2:
                raw = raw[:at] + raw[at:to] * 2 + raw[to:]
            case _ if isinstance(raw, str):
                raw = raw[:at] + rng.choice(JSON_BITS) + raw[at:]
            case _:
                raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at:]
    return raw


def _retyped(rng: random.Random, *_: int) -> str:
    """The right fields with values of the wrong kind."""
    value = rng.choice(
        (None, True, 0, -1.5, "text", [], {}, [[]], {"a": 1}, ["a", 1], [None], ["news", {}], [True])
    )
    whole = rng.choice(_PLAIN)(rng)
    field = rng.choice((*whole, "since"))
    whole[field] = value
    if rng.random() < 0.2:
        whole["since"] = {
            "news": rng.choice((value, {"epoch": value, "offset": 1}, {"epoch": "e", "offset": value}, {}))
        }
    return json.dumps(whole)


def _named(rng: random.Random, *_: int) -> str:
    """Any type, command, agent or field name."""
    fields: dict[str, object] = {"type": rng.choice(TYPES), "command": rng.choice(COMMANDS)}
    if rng.random() < 0.6:
        del fields[rng.choice(("type", "command"))]
    fields |= {
        "agent_id": rng.choice(AGENTS),
        "action": rng.choice((*ACTIONS, *ODD_NAMES)),
        "id": rng.choice(ODD_NAMES),
    }
    return json.dumps(fields)


def _numbered(rng: random.Random, *_: int) -> str:
    """Numbers at and beyond what JavaScript, C and Python hold, and what is no number."""
    number = rng.choice(NUMBERS if rng.random() < 0.6 else NOT_NUMBERS)
    return rng.choice(
        (
            f'{{"type":"ping","timestamp":{number}}}',
            f'{{"type":"agent_action","agent_id":"a","action":"move","params":{{"n":[{number}]}}}}',
            f'{{"type":"subscribe","channels":["news"],"since":{{"news":{{"epoch":"e","offset":{number}}}}}}}',
            f'{{"type":"ping","ignored":{{"deep":[[{number}]]}}}}',
            number,
        )
    )


def _doubled(rng: random.Random, *_: int) -> str:
    """A key given twice, also in disguise, at some depth; or only something that looks so."""
    return rng.choice(
        (
            '{"type":"ping","type":"subscribe","channels":[]}',
            '{"type":"ping","\\u0074ype":"ping"}',
            '{"type":"ping","timestamp":"a:b","b":{"a":1,"a":1}}',
            '{"type":"ping","x":[{"k":0},{"k":0}]}',
            '{"type":"ping","timestamp":"\\":\\":"}',
            '{"type":"agent_action","agent_id":"a","action":"move","params":{"":1,"":2}}',
            '{"type":"ping","a":{"b":{"c":1,"\\u0063":2}}}',
            '{"command":"get_health","command":"get_health"}',
        )
    )


def _surrogates(rng: random.Random, *_: int) -> Data:
    """Halves of pairs, escaped and raw, the marks of byte order, and bytes that are no UTF-8."""
    half = chr(rng.randrange(0xD800, 0xE000))
    if rng.random() < 0.3:
        text = valid(rng).encode("utf-8", "replace")
        at = rng.randrange(len(text) + 1)
        return text[:at] + rng.choice(NOT_UTF8) + text[at:]
    return rng.choice(
        (
            json.dumps({"type": "ping", "timestamp": half}),
            f'{{"type":"ping","timestamp":"{half}"}}',
            '{"type":"ping","timestamp":"\\ud83d\\ude00"}',
            '{"type":"ping","timestamp":"\\ude00\\ud83d"}',
            "\ufeff" + valid(rng),
            valid(rng) + "\ufeff",
            b"\xef\xbb\xbf" + valid(rng).encode("utf-8", "replace"),
            valid(rng).encode("utf-16", "replace"),
            valid(rng).encode("utf-32-le", "replace"),
        )
    )


def _nested(rng: random.Random, max_bytes: int, max_depth: int) -> str:
    """Depth at the limit, just beyond it, and far beyond what a recursive parser survives."""
    depth = rng.choice(
        (max_depth - 2, max_depth - 1, max_depth, max_depth + 1, 200, 1500, max_bytes // 2 - 20)
    )
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    depth = min(depth, (max_bytes - 100) // (len(opening) + 1))
    inner = opening * depth + "0" + closing * (depth if rng.random() < 0.8 else depth - 1)
    return rng.choice(
        (f'{{"type":"ping","x":{inner}}}', inner, f'{{"type":"ping","timestamp":"{"[" * 40}"}}')
    )


def _sized(rng: random.Random, max_bytes: int, max_depth: int) -> Data:
    """As many bytes as allowed, one more or less, and far too many; characters of several bytes too."""
    size = max_bytes + rng.choice((-1, 0, 1, max_bytes))
    head, tail = '{"type":"ping","timestamp":"', '"}'
    filler = rng.choice(("x", "\u00e9", "\U0001f339"))
    room = size - len(head) - len(tail)
    text = head + filler * (room // len(filler.encode())) + "x" * (room % len(filler.encode())) + tail
    return text.encode() if rng.random() < 0.3 else text


def _bombs(rng: random.Random, max_bytes: int, max_depth: int) -> str:
    """Subscriptions by the hundred, and keys by the thousand."""
    count = rng.choice((99, 100, 101, 1000))
    names = [f"room-{rng.randrange(10**6)}" for _ in range(count)]
    if rng.random() < 0.3:
        return json.dumps({"type": "ping", **{f"k{n}": n for n in range(count)}})
    return json.dumps({"type": rng.choice(("subscribe", "unsubscribe")), "channels": names})


def _not_objects(rng: random.Random, *_: int) -> Data:
    return rng.choice(
        (
            "",
            b"",
            " ",
            "null",
            "true",
            "[]",
            '"ping"',
            "42",
            "{}",
            "[{}]",
            '{"type":"ping"} ',
            '\t\r\n{"type":"ping"}\n',
            '{"type":"ping"}{"type":"ping"}',
            '{"type":"ping"}\x00',
            "{'type':'ping'}",
            '{"type":"ping",}',
            '{"type":"ping"/*c*/}',
            '{type:"ping"}',
            '{"type":"pi\nng"}',
            '{"type":"ping","a":"\\x41"}',
            "GET / HTTP/1.1\r\n\r\n",
            "<policy-file-request/>\x00",
            b"\x00\x01\x02\x03",
            b"\x80\x04\x95.",
            "}" * 50,
            ":" * 500,
            '"' * 333,
        )
    )


def _noise(rng: random.Random, *_: int) -> Data:
    if rng.random() < 0.5:
        return rng.randbytes(rng.randrange(200))
    return "".join(rng.choices((*JSON_BITS, "type", "ping", "é", "\ud800"), k=rng.randrange(60)))


_KINDS: tuple[Callable[[random.Random, int, int], Data], ...] = (
    valid,
    _mutated,
    _retyped,
    _named,
    _numbered,
    _doubled,
    _surrogates,
    _nested,
    _sized,
    _bombs,
    _not_objects,
    _noise,
)
_WEIGHTS = (30, 20, 10, 8, 8, 4, 6, 2, 1, 2, 6, 5)
