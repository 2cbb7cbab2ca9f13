"""Handshakes: the headers, paths and subprotocols with which somebody asks for a socket.

Each says what must become of it: let in (`IN`), refused (`OUT`), or either, as long as it is one of the two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum

from .settings import HOST_NAME

Headers = tuple[tuple[bytes, bytes], ...]


class Fate(Enum):
    """What must become of a handshake."""

    IN = "let in"
    OUT = "refused"
    EITHER = "let in or refused"


@dataclass(frozen=True, slots=True)
class Handshake:
    """One handshake, as plain values; `who` is whose session cookie it brings, if anybody's."""

    fate: Fate
    path: str = "/ws/updates/"
    headers: Headers = ()
    who: str = "stranger"
    subprotocols: tuple[str, ...] = ()
    query: bytes = b""
    root_path: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)


HOST = (b"host", HOST_NAME.encode())
ORIGIN = (b"origin", b"http://" + HOST_NAME.encode())
CLASSIC, ADMIN = "/ws/updates/", "/ws/updates/admin/"
SYNC = "update-pipeline.sync.v1"

#: Paths at which nothing of ours may be found, however a proxy or server writes them.
ODD_PATHS = (
    "",
    "/",
    "//",
    "/ws/updates",
    "/ws/updates/admin",
    "//ws/updates/",
    "//ws/updates/admin/",
    "/ws//updates/admin/",
    "/ws/updates//admin/",
    "/ws/updates/admin//",
    "/ws/updates/%61dmin/",
    "/ws/updates%2fadmin/",
    "/ws/updates/../updates/admin/",
    "/ws/updates/./admin/",
    "/WS/UPDATES/",
    "/ws/updates/admin/\x00",
    "/ws/updates/\u0430dmin/",
    "/ws/updates/admin/;x=1",
    "/ws/updates/admin/\n",
    "/ws/updates/" + "a" * 8000,
    "\\ws\\updates\\",
    "ws/updates/",
    "/\ud800/",
    "/ws/updates/admin/.well-known/",
    "/%",
    "/%00%0d%0a",
)
ODD_HOSTS = (
    b"",
    b"elsewhere.example",
    b"127.0.0.1:99999",
    b"127.0.0.1:8001:1",
    b"[::1",
    b"[::1]]",
    b"127.0.0.1@elsewhere.example",
    b"127.0.0.1/x",
    b"127.0.0.1\r\nX: 1",
    b"127.0.0.1\x00",
    b"\xff\xfe",
    b" 127.0.0.1",
    b"a" * 65_000,
    b"0x7f.1",
    b"elsewhere.example#127.0.0.1",
)
ODD_ORIGINS = (
    b"",
    b"null",
    b"NULL",
    b"http://",
    b"http://[::1",
    b"http://elsewhere.example",
    b"http://127.0.0.1.elsewhere.example",
    b"http://127.0.0.1@elsewhere.example",
    b"http://elsewhere.example/127.0.0.1",
    b"javascript:alert(1)",
    b"file://",
    b"http://127.0.0.1:99999",
    b"http://127.0.0.1:\xd9\xa3",
    b"http://127.0.0.1, http://elsewhere.example",
    b"\xff\xff",
    b"http://127.0.0.1\x0b",
    b"chrome-extension://abc",
    b"http://*",
    b"http" + b"s" * 60_000,
    b"http://%6c%6f%63%61%6c",
    b"http:///",
)
ODD_COOKIES = (
    b"sessionid=",
    b"sessionid=nonsense",
    b"sessionid=" + b"a" * 32,
    b"sessionid='; DROP TABLE django_session; --",
    b"=;;=\xff",
    b"sessionid=a; sessionid=b",
    b"\x00",
    b"sessionid=" + b"A" * 30_000,
    b"; ".join(b"c%d=%d" % (n, n) for n in range(500)),
    b'sessionid="\\"quoted\\""',
    "sessionid=é".encode(),
)
ODD_SUBPROTOCOLS = (
    "",
    "update-pipeline.v9",
    "\u00e9\u00e8",
    "a" * 5000,
    "chat, superchat",
    "\x00",
    "sync\r\nX: y",
)


def handshake(rng: random.Random) -> Handshake:
    """One in five is hostile by itself; the others let a conversation begin."""
    if rng.random() < 0.8:
        return right(rng)
    kind = rng.randrange(7)
    if kind == 0:
        return Handshake(Fate.OUT, rng.choice(ODD_PATHS), (HOST, ORIGIN))
    if kind == 1:
        return Handshake(Fate.OUT, CLASSIC, ((b"host", rng.choice(ODD_HOSTS)), ORIGIN))
    if kind == 2:
        return Handshake(Fate.OUT, CLASSIC, (HOST, (b"origin", rng.choice(ODD_ORIGINS))))
    if kind == 3:
        return Handshake(Fate.OUT, CLASSIC, _refused(rng))
    if kind == 4:  # whose session is none is a stranger: let in, but never to the admin socket
        path = rng.choice((CLASSIC, ADMIN))
        fate = Fate.IN if path == CLASSIC else Fate.OUT
        return Handshake(fate, path, (HOST, ORIGIN, (b"cookie", rng.choice(ODD_COOKIES))))
    if kind == 5:
        return Handshake(Fate.EITHER, CLASSIC, _many(rng), subprotocols=(rng.choice(ODD_SUBPROTOCOLS),))
    path, root = rng.choice(
        (("/sub/ws/updates/", "/sub"), ("/sub", "/sub"), (CLASSIC, "/sub"), ("/ws/updates/", "/ws"))
    )
    return Handshake(
        Fate.EITHER, path, (HOST, ORIGIN), root_path=root, query=rng.randbytes(rng.randrange(40))
    )


def right(rng: random.Random) -> Handshake:
    """A handshake that must be let in: a browser's or a program's, now and then an operator's."""
    headers: Headers = (HOST,) if rng.random() < 0.5 else (HOST, ORIGIN)
    chance = rng.random()
    if chance < 0.06:
        return Handshake(Fate.IN, ADMIN, (HOST, ORIGIN), who="operator")
    if chance < 0.12:
        return Handshake(Fate.OUT, ADMIN, headers, who="stranger")
    if chance < 0.15:
        return Handshake(Fate.IN, CLASSIC, (HOST, ORIGIN), who="member")
    return Handshake(Fate.IN, CLASSIC, headers, query=b"token=%00" if rng.random() < 0.1 else b"")


def _refused(rng: random.Random) -> Headers:
    return rng.choice(
        (
            (),
            (HOST, HOST),
            (HOST, ORIGIN, ORIGIN),
            (HOST, (b"cookie", b"a=b")),
            (ORIGIN,),
            (HOST, (b"Origin", b"http://elsewhere.example")),
            (HOST, ORIGIN, (b"origin", b"http://elsewhere.example")),
            ((b"Host", b"elsewhere.example"), HOST, ORIGIN),
        )
    )


def _many(rng: random.Random) -> Headers:
    """Headers nobody asked for: many, long, repeated, with bytes of every kind."""
    extra = [
        (
            rng.choice((b"x-%d", b"X_FORWARDED_HOST%d", b"sec-websocket-protocol%.0d", b"\xff%d")) % n,
            rng.randbytes(20),
        )
        for n in range(rng.choice((1, 20, 300)))
    ]
    extra.append((b"x-forwarded-host", b"elsewhere.example"))
    return (HOST, ORIGIN, *extra, (b"user-agent", b"A" * rng.choice((0, 100, 60_000))))
