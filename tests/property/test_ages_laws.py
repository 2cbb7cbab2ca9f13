"""Laws E1 to E5: what acknowledgements say of the age of news, of honest clients and of others."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core import sync_live, sync_session
from django_update_pipeline.core.ages import Ages
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.credit import ASK_EVERY_S, Asked, Credit
from django_update_pipeline.core.messages import PRIORITIES, UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_live import SyncRenderer
from django_update_pipeline.core.sync_stream import MAX_REPAIRS, SyncStream
from django_update_pipeline.core.view import View

LABELS = [priority.label for priority in PRIORITIES]
TIME = 1_700_000_000.0
WAYS = st.sampled_from((0.001, 0.02, 0.3, 2.0, 50.0))
QUEUED = st.dictionaries(st.integers(0, 3), WAYS.map(lambda wait: TIME - wait))


def recorded(ages: Ages, what: str) -> dict[str, tuple[int, float]]:
    """By priority, how many samples there are, and the largest in seconds."""
    rows = getattr(ages, what).snapshot_ms()["by_priority"]
    return {label: (row["count"], row["max_latency_ms"] / 1000.0) for label, row in rows.items()}


@given(
    queued=QUEUED,
    until_sent=WAYS,
    until_heard=WAYS,
    said=st.one_of(st.none(), st.floats(0, allow_nan=False, allow_infinity=False)),
)
def test_laws_e1_and_e2(
    queued: dict[int, float], until_sent: float, until_heard: float, said: float | None
) -> None:
    """Laws E1 and E2: a client may say what it likes."""
    ages = Ages()
    sent = TIME + until_sent
    heard = sent + until_heard
    oldest = min(queued.values(), default=TIME - 3.0)
    ages.heard(Asked("a", 1, 10.0, oldest, tuple(queued.items())), said, 10.0 + until_heard, heard)
    applied, acknowledged = recorded(ages, "applied"), recorded(ages, "acknowledged")
    for priority, label in enumerate(LABELS):
        at = queued.get(priority)
        assert acknowledged[label][0] == bool(at)
        assert applied[label][0] == (bool(at) and said is not None)
        if at:
            assert abs(acknowledged[label][1] - (heard - at)) < 1e-5
            if said is not None:
                assert sent - at - 1e-5 < applied[label][1] < heard - at + 1e-5


@given(
    queued=QUEUED.filter(bool),
    until_sent=WAYS,
    until_applied=WAYS,
    back=WAYS,
    wrong_s=st.sampled_from((0.0, 7_200.0, -86_400.0)),
)
def test_law_e3_an_honest_age_is_recorded_whatever_the_clocks_say(
    queued: dict[int, float], until_sent: float, until_applied: float, back: float, wrong_s: float
) -> None:
    """Law E3. A client's clock is wrong, and so its estimate of the server's is its clock and an offset."""
    ages = Ages()
    applied_at = TIME + until_sent + until_applied
    oldest = min(queued.values())
    its_clock, offset = applied_at + wrong_s, -wrong_s
    age_ms = (its_clock + offset - oldest) * 1000.0
    ages.heard(
        Asked("a", 1, 10.0, oldest, tuple(queued.items())),
        age_ms,
        10.0 + until_applied + back,
        applied_at + back,
    )
    for priority, label in enumerate(LABELS):
        at = queued.get(priority)
        count, seconds = recorded(ages, "applied")[label]
        assert count == bool(at)
        if at:
            assert abs(seconds - (applied_at - at)) < 1e-5


def test_law_e1_another_node_s_clock_that_is_ahead_makes_no_age_negative() -> None:
    ages = Ages()
    ages.heard(Asked("a", 1, 10.0, TIME + 60.0, ((0, TIME + 60.0),)), 5.0, 10.1, TIME)
    assert recorded(ages, "applied")["critical"] == recorded(ages, "acknowledged")["critical"] == (1, 0.0)


def test_law_e1_what_is_no_age_is_no_sample() -> None:
    """A queue time of 1970, say, of a source that gives its own."""
    ages = Ages()
    ages.heard(Asked("a", 1, 10.0, 1.0, ((0, 1.0),)), 0.0, 10.1, TIME)
    assert recorded(ages, "applied")["critical"][0] == 0


@given(
    steps=st.lists(
        st.tuples(st.sampled_from((0.05, 0.2, 3.0)), st.integers(0, 700)), min_size=10, max_size=40
    )
)
def test_law_e4_a_connection_weighs_no_more_for_being_busy(steps: list[tuple[float, int]]) -> None:
    """Law E4, with a client that acknowledges at once, and reports repairs with each."""
    world = World(window_bytes=250)
    (reader,) = world.streams
    samples: list[float] = []
    counted = reported = 0
    for pause, repairs in steps:
        world.now += pause
        world.change("x", 2)
        world.write(reader, 5)
        asked = reader.stream.credit.asked
        if asked is not None:
            samples += [world.now] * bool(asked.queued)
            counted += reader.stream.repaired(repairs)
            reported += repairs
            reader.acknowledge()
    assert all(after - before >= ASK_EVERY_S - 1e-9 for before, after in pairwise(samples))
    assert counted == min(MAX_REPAIRS, reported)


class Reader:
    """A connection, and when what it was told of was queued; each change has a time of its own."""

    def __init__(self, world: World, window_bytes: int) -> None:
        self.world = world
        self.stream = SyncStream(world.renderer, Credit(window_bytes, 50), lambda: world.now)
        self.told: set[float] = set()
        self.sample: tuple[float, ...] = ()

    def receive(self, text: str) -> None:
        frame = json.loads(text)
        times = [agent["at"] for agent in frame.get("agents", {}).values()]
        times += [event["timestamp"] for event in frame.get("events", ())]
        if frame.get("ack"):
            asked = self.stream.credit.asked
            assert asked is not None
            assert asked.oldest == min(times, default=0.0), "what a client's age counts from"
            repeated = {at for _, at in asked.queued} & self.told
            assert not repeated, "a sample counts what was told before"
            assert {at for _, at in asked.queued} <= set(times)
            self.world.samples += bool(asked.queued)
        self.told.update(times)

    def acknowledge(self) -> None:
        asked = self.stream.credit.asked
        if asked is not None:
            assert self.stream.credit.acknowledged(asked.channel, asked.offset, asked.at) is asked


class World:
    """A store, and connections to it."""

    def __init__(self, *, readers: int = 1, window_bytes: int = 1_000_000) -> None:
        self.now = 10.0
        self.samples = 0
        self.store = Store("e", StoreConfig(max_events=20))
        self.renderer = SyncRenderer(self.store, lambda: 100.0)
        self.streams = [Reader(self, window_bytes) for _ in range(readers)]
        for reader in self.streams:
            reader.stream.subscribe({View("a"): None, View("b"): None})
            self.write(reader, 100)
            reader.acknowledge()

    def change(
        self, agent_id: str, priority: int, kind: UpdateKind = UpdateKind.MERGE, channel: str = "a"
    ) -> None:
        number = self.store.head + 1
        content = json.dumps({"n": number, "text": "." * 40}).encode()
        if kind is UpdateKind.REMOVE:
            content = b"{}"
        change = Change(kind, agent_id, (channel,), "u", content, (), float(number), UpdatePriority(priority))
        self.store.apply(Publication(f"p{number}", (change,)))

    def write(self, reader: Reader, frames: int) -> None:
        """As a connection's writer does, up to so many frames; what is left of shared ones is told anew."""
        stream = reader.stream
        while frames > 0 and stream.has_room():
            if stream.catch_up is not None:
                text = stream.next_text()
                if text is not None:
                    reader.receive(text)
                    frames -= 1
                continue
            live = stream.live() if stream.has_news() else None
            if live is None:
                if not stream.has_news():
                    return
                stream.fall_behind()
                continue
            written = 0
            for text in stream.texts(live):
                reader.receive(text)
                written, frames = written + 1, frames - 1
                if frames == 0:
                    break
            stream.sent(live, written)
            if not written and live.frames:
                return


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("change"),
            st.sampled_from("xyz"),
            st.sampled_from((0, 2, 3)),
            st.sampled_from((UpdateKind.MERGE, UpdateKind.EVENT, UpdateKind.REMOVE)),
            st.sampled_from("ab"),
        ),
        st.tuples(st.just("write"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("acknowledge"), st.integers(0, 2)),
        st.tuples(st.just("behind"), st.integers(0, 2)),
        st.tuples(st.just("subscribe"), st.integers(0, 2), st.sampled_from("ab")),
    ),
    min_size=30,
    max_size=80,
)


def play(operations: list[tuple[Any, ...]]) -> World:
    with (
        mock.patch.object(sync_session, "PART_CHARS", 330),
        mock.patch.object(sync_live, "PART_CHARS", 330),
        mock.patch.object(sync_live, "MAX_LIVE_CHARS", 900),
        mock.patch.object(sync_session, "MAX_LISTED_AGENTS", 2),
    ):
        world = World(readers=3)
        for operation in operations:
            world.now += ASK_EVERY_S
            match operation:
                case ("change", agent_id, priority, kind, channel):
                    world.change(agent_id, priority, kind, channel)
                case ("write", which, frames):
                    world.write(world.streams[which], frames)
                case ("acknowledge", which):
                    world.streams[which].acknowledge()
                case ("behind", which):
                    if world.streams[which].stream.catch_up is None:
                        world.streams[which].stream.fall_behind()
                case ("subscribe", which, channel):
                    reader = world.streams[which]
                    held = dict(zip(reader.stream.channels, reader.stream.positions, strict=True))
                    reader.stream.subscribe({View(channel): ("e", held[channel])})
        return world


@given(operations=OPERATIONS)
def test_law_e5_a_sample_counts_news_only(operations: list[tuple[Any, ...]]) -> None:
    """Law E5: shared frames, passes, what overtakes them and what is told again after an interruption."""
    play(operations)


def test_law_e5_leaves_samples() -> None:
    """It would hold of a server that takes none."""
    steps = [("change", "x", 2, UpdateKind.MERGE, "a"), ("write", 0, 3), ("acknowledge", 0)]
    assert play(steps * 10).samples == 10
