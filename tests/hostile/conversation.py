"""What one hostile client does from its handshake to its end, as plain values that a seed names for ever.

    conversation(seed) ─▶ Conversation(handshake, steps) ─▶ a door's driver plays it ─▶ a ledger judges each answer

Nothing here knows whether the door is an ASGI callable or a socket, and which protocol is spoken is in the frames only.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from . import frames, sync_frames
from .frames import Data
from .handshakes import ADMIN, CLASSIC, HOST, ORIGIN, SYNC, Fate, Handshake, handshake, right
from .ledger import Admin, Classic


@dataclass(frozen=True, slots=True)
class Say:
    """A frame, as text or binary."""

    data: Data


@dataclass(frozen=True, slots=True)
class Odd:
    """An ASGI message as no client can cause it, but a middleware might; drivers over sockets leave it out."""

    message: tuple[tuple[str, object], ...]
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Until everything said is answered."""


@dataclass(frozen=True, slots=True)
class Publish:
    """The application has news meanwhile."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class Deaf:
    """The client takes nothing more from here on (True), or again (False)."""

    is_deaf: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """From here on the server's `send` raises: the client is gone, and its server knows."""


@dataclass(frozen=True, slots=True)
class Vanish:
    """The client is gone, with this code."""

    code: int = 1001


Step = Say | Odd | Wait | Publish | Deaf | Broken | Vanish


@dataclass(frozen=True, slots=True)
class Conversation:
    """One client's life. `before` comes in place of the server's first message, `websocket.connect`."""

    seed: int
    kind: str
    handshake: Handshake
    steps: tuple[Step, ...] = ()
    before: tuple[Odd, ...] = ()

    @property
    def protocol(self) -> type[Classic]:
        """What is spoken in it."""
        if self.handshake.path == ADMIN:
            return Admin
        return sync_frames.Sync if SYNC in self.handshake.subprotocols else Classic

    @property
    def inputs(self) -> int:
        """How many hostile inputs this is: the handshake, each frame, each odd message and each disconnect."""
        return 1 + len(self.before) + sum(isinstance(step, (Say, Odd, Vanish)) for step in self.steps)


def conversation(seed: int, max_bytes: int, max_depth: int) -> Conversation:
    """The conversation of a seed."""
    rng = random.Random(seed)
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    shake = handshake(rng) if kind in ("talk", "admin", "odd") else _let_in(rng)
    if kind == "admin":
        shake = Handshake(Fate.IN, ADMIN, (HOST, ORIGIN), who="operator")
    if kind == "sync":
        shake = Handshake(Fate.IN, CLASSIC, (HOST, ORIGIN), subprotocols=("update-pipeline.v9", SYNC))
    before: tuple[Odd, ...] = ()
    if kind == "early":
        before = tuple(rng.choices(_EARLY, k=rng.randrange(1, 3)))
    steps = tuple(_MAKERS[kind](rng, max_bytes, max_depth))
    if not any(isinstance(step, Vanish) for step in steps):
        steps += (Wait(), Vanish(rng.choice((1000, 1001, 1005, 1006, 4999))))
    return Conversation(seed, kind, shake, steps, before)


def _let_in(rng: random.Random) -> Handshake:
    while True:
        shake = right(rng)
        if shake.fate is Fate.IN and shake.path != ADMIN:
            return shake


def _talk(rng: random.Random, *limits: int) -> Iterator[Step]:
    """Frames of all kinds in bursts, each burst answered before the next."""
    for _ in range(rng.randrange(1, 6)):
        for _ in range(rng.randrange(1, 12)):
            yield Say(frames.frame(rng, *limits))
        if rng.random() < 0.3:
            yield Publish(rng.randrange(1, 4))
        yield Wait()


def _flood(rng: random.Random, *limits: int) -> Iterator[Step]:
    """More frames than the rate allows, without a look at the answers."""
    said = frames.frame(rng, *limits)
    if len(said) > 500:
        said = frames.valid(rng)
    for _ in range(rng.randrange(300, 700)):
        yield Say(said)
    yield Wait()


def _churn(rng: random.Random, *limits: int) -> Iterator[Step]:
    """On a channel and off it again, while there is news on it."""
    for _ in range(rng.randrange(5, 40)):
        yield Say(frames.valid(rng))
        if rng.random() < 0.5:
            yield Publish()
        if rng.random() < 0.1:
            yield Wait()


def _bomb(rng: random.Random, *limits: int) -> Iterator[Step]:
    """As many subscriptions as the socket bears, then more; then off all of them."""
    for n in range(rng.randrange(1, 6)):
        names = [f"room-{n}-{k}" for k in range(rng.choice((1, 50, 99, 100)))]
        yield Say(json.dumps({"type": "subscribe", "channels": names}))
        yield Publish()
        yield Say(json.dumps({"type": "unsubscribe", "channels": names[: rng.randrange(len(names) + 1)]}))
    yield Wait()


def _deaf(rng: random.Random, *limits: int) -> Iterator[Step]:
    """A client that asks and does not listen; some come back, some do not."""
    yield Wait()
    yield Deaf(True)
    for _ in range(rng.randrange(1, 150)):
        yield Say(frames.frame(rng, *limits))
        if rng.random() < 0.2:
            yield Publish()
    if rng.random() < 0.7:
        yield Deaf(False)
        yield Wait()
    else:
        yield Vanish(1006)


def _midway(rng: random.Random, *limits: int) -> Iterator[Step]:
    """Gone before it is answered, perhaps before it was let in; frames may come after that."""
    for _ in range(rng.randrange(0, 10)):
        yield Say(frames.frame(rng, *limits))
    yield Vanish(rng.choice((1000, 1001, 1005, 1006, 1011, 3000, 4000, 0, 65535)))
    for _ in range(rng.randrange(0, 4)):
        yield rng.choice((Say(frames.frame(rng, *limits)), Vanish(1006), _ODD[0]))


def _broken(rng: random.Random, *limits: int) -> Iterator[Step]:
    """The server finds out by a failing `send`."""
    yield Wait()
    yield Broken()
    for _ in range(rng.randrange(1, 6)):
        yield Say(frames.frame(rng, *limits))
        yield Publish()
    yield Vanish(1006)


def _odd(rng: random.Random, *limits: int) -> Iterator[Step]:
    """ASGI messages that have no place here, among frames that have."""
    for _ in range(rng.randrange(1, 20)):
        yield rng.choice(_ODD) if rng.random() < 0.6 else Say(frames.frame(rng, *limits))
    yield Wait()


def _admin(rng: random.Random, *limits: int) -> Iterator[Step]:
    """An operator's socket in the wrong hands: commands right and wrong, and frames of all kinds."""
    for _ in range(rng.randrange(1, 12)):
        if rng.random() < 0.6:
            yield Say(frames.command(rng))
        else:
            yield Say(frames.frame(rng, *limits))
    yield Wait()


def _sync(rng: random.Random, *limits: int) -> Iterator[Step]:
    """Views, positions and acknowledgements, right and wrong; some do not listen for a while, some are gone."""
    end = rng.random()
    for _ in range(rng.randrange(1, 6)):
        is_deaf = rng.random() < 0.2
        if is_deaf:
            yield Deaf(True)
        for _ in range(rng.randrange(1, 12)):
            yield Say(sync_frames.frame(rng))
            if rng.random() < 0.3:
                yield Publish(rng.randrange(1, 4))
        if is_deaf:
            yield Deaf(False)
        yield Wait()
    if end < 0.1:
        yield Broken()
        yield Say(sync_frames.frame(rng))
        yield Publish()
        yield Vanish(1006)


def _message(**fields: object) -> tuple[tuple[str, object], ...]:
    return tuple(fields.items())


_ODD = (
    Odd(_message(type="websocket.receive"), is_answered=True),
    Odd(_message(type="websocket.receive", text=None, bytes=None), is_answered=True),
    Odd(_message(type="websocket.receive", text=None, bytes=b""), is_answered=True),
    Odd(_message(type="websocket.connect")),
    Odd(_message(type="websocket.accept")),
    Odd(_message(type="websocket.send", text="{}")),
    Odd(_message(type="websocket.unheard.of", text="{}")),
    Odd(_message(type="http.request", body=b"", more_body=False)),
    Odd(_message(type="http.disconnect")),
    Odd(_message(type="lifespan.shutdown")),
    Odd(_message(type="update_pipeline.event", p="{}")),
    Odd(_message(type="")),
)
_EARLY = (
    Odd(_message(type="websocket.receive", text='{"type":"ping"}')),
    Odd(_message(type="websocket.disconnect", code=1006)),
    Odd(_message(type="websocket.unheard.of")),
    Odd(_message(type="lifespan.startup")),
)
_MAKERS = {
    "talk": _talk,
    "flood": _flood,
    "churn": _churn,
    "bomb": _bomb,
    "deaf": _deaf,
    "midway": _midway,
    "broken": _broken,
    "odd": _odd,
    "admin": _admin,
    "early": _midway,
    "sync": _sync,
}
_KINDS = tuple(_MAKERS)
_WEIGHTS = (40, 1, 12, 3, 6, 12, 5, 10, 6, 3, 20)
