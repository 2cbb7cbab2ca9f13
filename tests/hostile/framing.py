"""Attacks below the protocol: WebSocket framing (RFC 6455) and HTTP as no client may write them.

An `Attack` is bytes after a good handshake, `garbage` bytes in place of one. What a server makes of them is its own;
that ours keeps nothing of them, and serves the next client, is what the campaign checks.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from .raw_socket import BINARY, CLOSE, PING, PONG, TEXT, encode, masked, upgrade

PING_FRAME = b'{"type":"ping","timestamp":"fragments"}'
#: What a server may close with for framing that is wrong, inflated too far, or too large.
FRAMING_CODES = frozenset({1000, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010})


@dataclass(frozen=True, slots=True)
class Attack:
    """Bytes for an open socket. `must`: the server `closes`, the frame is `answered`, or either is right.

    `pieces` are written one by one; `deflate` asks for compression first; `is_dropped`: the client goes when all is
    written, without waiting for anything. A close code in `echoes` may come back.
    """

    name: str
    pieces: tuple[bytes, ...]
    must: str = "closes"
    deflate: bool = False
    is_dropped: bool = False
    echoes: frozenset[int] = frozenset()


def attack(rng: random.Random) -> Attack:
    """One attack on an open socket."""
    return rng.choice(_ATTACKS)(rng)


def _reserved(rng: random.Random) -> Attack:
    return Attack("reserved bits", (encode(TEXT, PING_FRAME, rsv=rng.choice((1, 2, 3, 4, 5, 7))),))


def _opcode(rng: random.Random) -> Attack:
    return Attack("unknown opcode", (encode(rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), PING_FRAME),))


def _unmasked(rng: random.Random) -> Attack:
    return Attack("unmasked", (encode(rng.choice((TEXT, BINARY, PING, CLOSE)), PING_FRAME, mask=None),))


def _long_control(rng: random.Random) -> Attack:
    return Attack(
        "control frame too long", (encode(rng.choice((PING, PONG, CLOSE)), b"x" * rng.choice((126, 70_000))),)
    )


def _split_control(rng: random.Random) -> Attack:
    return Attack(
        "control frame in fragments", (encode(rng.choice((PING, PONG)), b"x", fin=False), encode(0, b"y"))
    )


def _continuation(rng: random.Random) -> Attack:
    return Attack("continuation without start", (encode(0, PING_FRAME, fin=rng.random() < 0.5),))


def _interrupted(rng: random.Random) -> Attack:
    return Attack("a message within a message", (encode(TEXT, b"{", fin=False), encode(TEXT, PING_FRAME)))


def _tiny(rng: random.Random) -> Attack:
    """A right frame in fragments of one byte, control frames between them."""
    pieces = [encode(TEXT, PING_FRAME[:1], fin=False)]
    for byte in PING_FRAME[1:-1]:
        pieces.append(encode(0, bytes([byte]), fin=False))
        if rng.random() < 0.2:
            pieces.append(encode(rng.choice((PING, PONG)), b"between"))
    pieces.append(encode(0, PING_FRAME[-1:]))
    return Attack("tiny fragments", (b"".join(pieces),), must="answered")


def _empty_fragments(rng: random.Random) -> Attack:
    many = encode(0, b"", fin=False) * rng.choice((10, 2000))
    return Attack(
        "empty fragments", (encode(TEXT, b"", fin=False), many, encode(0, PING_FRAME)), must="answered"
    )


def _endless(rng: random.Random) -> Attack:
    many = encode(0, b"x" * rng.choice((1, 100)), fin=False) * 3000
    return Attack("endless fragments", (encode(TEXT, b"{", fin=False), many), must="either", is_dropped=True)


def _close(rng: random.Random) -> Attack:
    payload = rng.choice(
        (
            b"",
            b"\x03",
            *(
                struct.pack("!H", code)
                for code in (0, 999, 1000, 1001, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65535)
            ),
            struct.pack("!H", 1000) + b"\xff\xfe",
            struct.pack("!H", 1000) + b"x" * 123,
        )
    )
    after = encode(TEXT, PING_FRAME) if rng.random() < 0.5 else b""
    echoes = frozenset({int.from_bytes(payload[:2], "big")})
    return Attack("an odd close", (encode(CLOSE, payload) + after,), echoes=echoes)


def _length(rng: random.Random) -> Attack:
    """A length beyond what the sign bit leaves, or beyond all that will ever come."""
    size = rng.choice((2**63, 2**64 - 1, 2**62, 2**31, 100_000_000))
    return Attack(
        "a huge length",
        (struct.pack("!BBQ", 0x81, 0xFF, size) + b"\0\0\0\0{",),
        must="either",
        is_dropped=True,
    )


def _not_minimal(rng: random.Random) -> Attack:
    data = masked(PING_FRAME, b"\1\2\3\4")
    head = rng.choice(
        (struct.pack("!BBH", 0x81, 0xFE, len(data)), struct.pack("!BBQ", 0x81, 0xFF, len(data)))
    )
    return Attack("a length written too long", (head + b"\1\2\3\4" + data,), must="either")


def _not_utf8(rng: random.Random) -> Attack:
    pieces = rng.choice(
        (
            (encode(TEXT, b'{"type":"\xff"}'),),
            (encode(TEXT, b"\xe2\x82", fin=False), encode(0, b"\x28")),
            (encode(TEXT, b"\xed\xa0\x80"),),
        )
    )
    return Attack("text that is not UTF-8", pieces)


def _half(rng: random.Random) -> Attack:
    whole = encode(TEXT, PING_FRAME)
    return Attack("half a frame", (whole[: rng.randrange(1, len(whole))],), must="either", is_dropped=True)


def _bytewise(rng: random.Random) -> Attack:
    whole = encode(TEXT, PING_FRAME)
    return Attack("byte by byte", tuple(whole[n : n + 1] for n in range(len(whole))), must="answered")


def _pings(rng: random.Random) -> Attack:
    flood = encode(PING, b"x" * rng.choice((0, 125))) * 500 + encode(PONG, b"nobody asked") * 50
    return Attack("a flood of pings", (flood, encode(TEXT, PING_FRAME)), must="answered")


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _bomb(rng: random.Random) -> Attack:
    return bomb(rng.choice(BOMB_SIZES), rng.choice((b" ", b"[", b"0")))


def bomb(size: int, filler: bytes = b" ") -> Attack:
    """Megabytes of one character in a few kilobytes."""
    if (size, filler) not in _BOMBS:
        _BOMBS[size, filler] = _deflated(b'{"type":"ping","x":"' + filler * size)
    return Attack(
        "a compression bomb", (encode(TEXT, _BOMBS[size, filler], rsv=4),), must="either", deflate=True
    )


BOMB_SIZES = (100_000, 1_000_000, 15_000_000, 64_000_000)
_BOMBS: dict[tuple[int, bytes], bytes] = {}


def _bad_deflate(rng: random.Random) -> Attack:
    good = _deflated(PING_FRAME)
    pieces = rng.choice(
        (
            (encode(TEXT, rng.randbytes(50), rsv=4),),
            (encode(TEXT, good[: len(good) // 2], rsv=4),),
            (encode(TEXT, good[:5], fin=False, rsv=4), encode(0, good[5:], rsv=4)),
            (encode(TEXT, good, rsv=4),),
            (encode(PING, b"x", rsv=4),),
            (encode(TEXT, b"", rsv=4),),
        )
    )
    return Attack("deflate that is wrong", pieces, must="either", deflate=True)


_ATTACKS = (
    _reserved,
    _opcode,
    _unmasked,
    _long_control,
    _split_control,
    _continuation,
    _interrupted,
    _tiny,
    _empty_fragments,
    _endless,
    _close,
    _length,
    _not_minimal,
    _not_utf8,
    _half,
    _bytewise,
    _pings,
    _bomb,
    _bad_deflate,
)


def garbage(rng: random.Random, host: bytes) -> tuple[str, bytes]:
    """A name and the bytes that come in place of a handshake."""
    name = rng.choice(tuple(_GARBAGE))
    return name, _GARBAGE[name](rng, host)


def _lines(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _without(rng: random.Random, host: bytes) -> bytes:
    """A handshake with one header missing, wrong, or given twice."""
    headers = upgrade((b"host", host))
    at = rng.randrange(len(headers))
    name, value = headers[at]
    wrong = rng.choice((None, b"", b"x", value + b", " + value, value * 50, b"\xff", b"0", b"14"))
    headers[at : at + 1] = [] if wrong is None else [(name, wrong)]
    if rng.random() < 0.2:
        headers += headers
    return _lines(b"GET /ws/updates/ HTTP/1.1", *(n + b": " + v for n, v in headers))


def _pipelined(rng: random.Random, host: bytes) -> bytes:
    """Frames, or a second request, before the first is answered."""
    first = _lines(b"GET /ws/updates/ HTTP/1.1", *(n + b": " + v for n, v in upgrade((b"host", host))))
    return first + rng.choice((encode(TEXT, PING_FRAME) * 3, first, b"\0" * 100, encode(CLOSE, b"")))


_GARBAGE = {
    "noise": lambda rng, host: rng.randbytes(rng.randrange(1, 3000)),
    "a TLS hello": lambda rng, host: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300),
    "the preface of HTTP/2": lambda rng, host: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(30),
    "HTTP/0.9": lambda rng, host: b"GET /ws/updates/\r\n\r\n",
    "an unknown version": lambda rng, host: _lines(b"GET /ws/updates/ HTTP/9.9", b"Host: " + host),
    "an odd method": lambda rng, host: _lines(
        rng.choice((b"OPTIONS *", b"CONNECT a:1", b"BREW /ws/updates/", b"TRACE /", b"G\x00T /"))
        + b" HTTP/1.1",
        b"Host: " + host,
    ),
    "an absolute target": lambda rng, host: _lines(
        b"GET http://elsewhere.example/ws/updates/ HTTP/1.1", b"Host: " + host
    ),
    "a long target": lambda rng, host: _lines(b"GET /" + b"a" * 100_000 + b" HTTP/1.1", b"Host: " + host),
    "a long header": lambda rng, host: _lines(b"GET / HTTP/1.1", b"Host: " + host, b"X: " + b"a" * 200_000),
    "many headers": lambda rng, host: _lines(
        b"GET / HTTP/1.1", b"Host: " + host, *(b"X-%d: y" % n for n in range(3000))
    ),
    "two lengths": lambda rng, host: (
        _lines(b"POST / HTTP/1.1", b"Host: " + host, b"Content-Length: 5", b"Transfer-Encoding: chunked")
        + b"0\r\n\r\nGET /ws/updates/admin/ HTTP/1.1\r\n\r\n"
    ),
    "a wrong length": lambda rng, host: _lines(
        b"POST / HTTP/1.1",
        b"Host: " + host,
        b"Content-Length: " + rng.choice((b"-1", b"1e3", b"9" * 40, b"0x5", b"5, 6")),
    ),
    "bare line feeds": lambda rng, host: b"GET /ws/updates/ HTTP/1.1\nHost: " + host + b"\n\n",
    "folded headers": lambda rng, host: _lines(b"GET / HTTP/1.1", b"Host: " + host, b"X: a", b" b", b"\tc"),
    "spaces before the colon": lambda rng, host: _lines(
        b"GET / HTTP/1.1", b"Host : " + host, b"Upgrade : websocket"
    ),
    "raw bytes in the target": lambda rng, host: _lines(
        b"GET /ws/\xff\xfe\xe2\x82/ HTTP/1.1", b"Host: " + host
    ),
    "half a handshake": lambda rng, host: _lines(b"GET /ws/updates/ HTTP/1.1", b"Host: " + host)[
        : rng.randrange(1, 40)
    ],
    "a handshake with a fault": _without,
    "a handshake with more behind it": _pipelined,
}
