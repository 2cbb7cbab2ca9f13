"""A sync connection's frames spend credit (Law C5): which of them ask, what is counted, and when nothing is sent."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core import sync_live
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.credit import ASK_EVERY_S, Asked, Credit
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_frames import ACK, PART_CHARS
from django_update_pipeline.core.sync_live import SyncLive, SyncRenderer
from django_update_pipeline.core.sync_stream import MAX_REPAIRS, SyncStream
from django_update_pipeline.core.view import View

HIGH = UpdatePriority.HIGH
HIGHS = ((HIGH, 50.0),)


class World:
    """A store, and a connection with its window."""

    def __init__(self, window_bytes: int = 1_000_000, window_frames: int = 1000) -> None:
        self.monotonic = 10.0
        self.store = Store("e", StoreConfig())
        self.credit = Credit(window_bytes, window_frames)
        self.stream = SyncStream(SyncRenderer(self.store, lambda: 100.0), self.credit, lambda: self.monotonic)

    def say(self, channel: str = "a", size: int = 1) -> None:
        text = json.dumps({"n": "x" * size}).encode()
        change = Change(UpdateKind.EVENT, "k", (channel,), "said", text, (), 50.0, HIGH)
        self.store.apply(Publication(f"p{self.store.head}", (change,)))

    def settle(self) -> None:
        """Brings the connection to the head; nothing is in flight then."""
        while self.stream.next_text() is not None:
            pass
        self.credit.asked = None
        self.credit.bytes_in_flight = self.credit.frames_in_flight = 0

    def live(self) -> SyncLive:
        live = self.stream.live()
        assert live is not None
        return live


@pytest.fixture
def world() -> World:
    """Settled on two channels, with news in both: two frames."""
    world = World()
    world.stream.subscribe({View("a"): None, View("b"): None})
    world.settle()
    world.say("a")
    world.say("b", 20)
    assert world.live().count == 2
    return world


def spent(world: World) -> tuple[int, int]:
    return world.credit.bytes_in_flight, world.credit.frames_in_flight


def test_it_begins_with_all_of_a_channel_from_nothing() -> None:
    world = World()
    world.say("a")
    world.stream.begin("a")
    assert world.stream.protocol == "sync"
    assert world.stream.key == (View("a"),)
    text = world.stream.next_text()
    assert text is not None
    frame = json.loads(text)
    assert (frame["channel"], frame["reset"], frame["to"]) == ("a", True, 1)
    assert world.stream.next_text() is None


def test_its_place_is_what_frames_are_shared_by(world: World) -> None:
    assert world.stream.place == (0, (0, 0))
    live = world.live()
    world.stream.sent(live, 2)
    assert world.stream.place == (2, (1, 2))


def test_frames_at_once_ask_with_the_last_of_them_and_are_counted(world: World) -> None:
    world.monotonic += ASK_EVERY_S
    live = world.live()
    assert world.stream.at_once(live) is True
    assert spent(world) == (live.size, 1)
    assert world.credit.asked == Asked("b", 2, world.monotonic, 50.0, HIGHS)


def test_it_is_the_last_of_many_that_asks(world: World) -> None:
    world.say("a")
    world.monotonic += ASK_EVERY_S
    live = world.live()
    assert live.count == 3
    assert world.stream.at_once(live) is True
    assert world.credit.asked == Asked("a", 3, world.monotonic, 50.0, HIGHS)


def test_frames_at_once_need_not_ask(world: World) -> None:
    world.credit.sent(0, Asked("a", 0, 10.0))
    world.credit.acknowledged("a", 0, world.monotonic)
    assert world.stream.at_once(world.live()) is False
    assert world.credit.asked is None
    assert spent(world) == (world.live().size, 1)


def test_half_a_window_at_once_makes_them_ask(world: World) -> None:
    world.credit.sent(0, Asked("a", 0, 10.0))
    world.credit.acknowledged("a", 0, world.monotonic)
    world.credit.window_bytes = 2 * world.live().size
    assert world.stream.at_once(world.live()) is True


def test_what_has_no_room_at_once_is_not_sent_at_once(world: World) -> None:
    live = world.live()
    world.credit.sent(1, Asked("a", 0, 10.0))
    world.credit.window_bytes = live.size
    assert world.stream.at_once(live) is None
    assert spent(world) == (1, 1)
    world.credit.window_bytes += 1
    assert world.stream.at_once(live) is False


def test_no_frames_are_not_sent_at_once(world: World) -> None:
    empty = SyncLive(world.stream.views, 2, 2, [], [], [], (0, 0), 0)
    assert world.stream.at_once(empty) is None
    assert spent(world) == (0, 0)


def test_frames_one_by_one_while_there_is_room(world: World) -> None:
    live = world.live()
    first, second = live.frames
    world.monotonic += ASK_EVERY_S
    world.credit.window_bytes = len(first.text) + len(ACK) + len(second.text)
    texts = world.stream.texts(live)
    assert next(texts) == first.asking
    assert world.credit.asked == Asked("a", 1, world.monotonic, 50.0, HIGHS)
    assert spent(world) == (len(first.text) + len(ACK), 1), "an ask's characters are counted"
    assert next(texts) == second.text, "one is awaited: no other asks"
    assert spent(world) == (world.credit.window_bytes, 2)
    assert next(texts, None) is None


def test_the_second_is_not_sent_without_room(world: World) -> None:
    live = world.live()
    first, second = live.frames
    world.monotonic += ASK_EVERY_S
    world.credit.window_bytes = len(first.text) + len(ACK) + len(second.text) - 1
    assert list(world.stream.texts(live)) == [first.asking]
    assert spent(world) == (len(first.text) + len(ACK), 1)


def test_a_frame_that_says_nothing_asks_only_for_the_windows_sake() -> None:
    """The snapshot of an empty channel has nothing to be applied: a client that passes it over loses no credit."""
    world = World(window_bytes=390)
    world.stream.begin("a")
    text = world.stream.next_text()
    assert text is not None
    assert not text.endswith(ACK)
    world.stream.begin("b")
    text = world.stream.next_text()
    assert text is not None
    assert text.endswith(ACK), "half of the window is used"


def test_a_frame_of_a_pass_asks_when_it_is_time_or_much(world: World) -> None:
    world.stream.fall_behind()
    text = world.stream.next_text()
    assert text is not None
    assert text.endswith(ACK)
    assert world.credit.asked == Asked("a", 1, 10.0, 50.0, HIGHS)
    assert spent(world) == (len(text) + 1, 1), "the brace whose place the ask takes is counted, too"
    world.credit.acknowledged("a", 1, world.monotonic)
    text = world.stream.next_text()
    assert text is not None
    assert not text.endswith(ACK)
    assert spent(world) == (len(text), 1)
    assert world.credit.asked is None
    assert world.stream.next_text() is None
    world.credit.window_bytes = 2 * len(text)
    world.say(size=100)
    world.stream.fall_behind()
    text = world.stream.next_text()
    assert text is not None
    assert text.endswith(ACK), "half of the window would be in flight"


@pytest.mark.parametrize(("window", "left"), [(1_000_000, PART_CHARS), (1000, 250), (1003, 250)])
def test_room_is_a_part_or_a_quarter_of_a_small_window(window: int, left: int) -> None:
    world = World(window_bytes=window)
    assert world.stream.has_room()
    world.credit.sent(window - left, Asked("a", 0, 10.0))
    assert world.stream.has_room()
    world.credit.sent(1, None)
    assert not world.stream.has_room()


# what an acknowledgement says of ages


def asked(world: World) -> Asked:
    assert world.credit.asked is not None
    return world.credit.asked


def test_the_first_frame_of_a_subscription_is_no_sample() -> None:
    """It says how old what is held is, not how long news takes; what the client counts from it has all the same."""
    world = World()
    world.say("a")
    world.say("a")
    world.stream.subscribe({View("a"): ("e", 1)})
    world.stream.next_text()
    assert (asked(world).oldest, asked(world).queued) == (50.0, ())


def test_what_follows_a_pass_may_repeat_it_and_is_no_sample() -> None:
    world = World()
    world.stream.subscribe({View("a"): None})
    world.stream.next_text()
    world.say("a")  # above the pass's target: it may have been told already
    while world.stream.next_text() is not None:
        pass
    world.credit.acknowledged("a", 0, world.monotonic)
    world.monotonic += ASK_EVERY_S
    live = world.live()
    assert world.stream.at_once(live) is True
    assert asked(world).queued == ()
    world.stream.sent(live, live.count)
    world.credit.acknowledged("a", 1, world.monotonic)
    world.monotonic += ASK_EVERY_S
    world.say("a")
    assert world.stream.at_once(world.live()) is True
    assert asked(world).queued == HIGHS


@pytest.fixture
def _unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "SHARED_CHARS", 0)


@pytest.mark.usefixtures("_unshared")
def test_who_was_told_some_events_goes_on_from_there(world: World) -> None:
    world.stream.sent(world.live(), 1)
    assert world.stream.catch_up is None
    assert (world.stream.position, world.stream.positions) == (1, (1, 0))
    live = world.live()
    assert [(frame.view.channel, frame.to) for frame in live.frames] == [("b", 2)]
    world.monotonic += ASK_EVERY_S
    assert world.stream.at_once(live) is True
    assert asked(world).queued == (), "what may have been told is no sample"
    world.stream.sent(live, 1)
    assert world.stream.place == (2, (1, 2))


def test_who_was_told_nothing_goes_through_the_store(world: World) -> None:
    world.stream.sent(world.live(), 0)
    assert world.stream.catch_up is not None


def test_what_is_urgent_does_not_wait_behind_events(world: World) -> None:
    live = world.live()
    change = Change(UpdateKind.EVENT, "k", ("b",), "said", b"{}", (), 50.0, UpdatePriority.CRITICAL)
    world.store.apply(Publication("urgent", (change,)))
    world.stream.sent(live, 1)
    assert world.stream.catch_up is not None
    assert json.loads(world.stream.next_text() or "")["urgent"] is True


def test_who_gets_no_further_with_shared_frames_goes_through_the_store(world: World) -> None:
    """The first of them again and again would be no way forward."""
    shared = world.live()
    world.stream.sent(shared, 1)
    assert world.live() is shared
    world.stream.sent(shared, 1)
    assert world.stream.catch_up is not None


def test_a_pass_of_one_that_fell_behind_is_a_sample(world: World) -> None:
    world.monotonic += ASK_EVERY_S
    world.stream.fall_behind()
    world.stream.next_text()
    assert asked(world).queued == HIGHS


def test_a_pass_that_repeats_what_was_written_is_none(world: World) -> None:
    live = world.live()
    next(world.stream.texts(live))
    world.stream.sent(live, 1)
    world.stream.fall_behind()
    world.credit.acknowledged("a", 1, world.monotonic)
    world.monotonic += ASK_EVERY_S
    world.stream.next_text()
    assert (asked(world).oldest, asked(world).queued) == (50.0, ())


@pytest.mark.parametrize("written", [0, 1])
def test_a_pass_that_began_while_frames_were_written_is_a_sample_if_none_was(
    world: World, written: int
) -> None:
    """A subscription came between two of them, so the positions did not move, and the first is told again."""
    frames = world.stream.texts(live := world.live())
    for _ in range(written):
        next(frames)
    world.stream.subscribe({View("c"): None})
    world.stream.sent(live, written)
    if written:
        world.credit.acknowledged("a", 1, world.monotonic)
    world.monotonic += ASK_EVERY_S
    while world.credit.asked is None:
        assert world.stream.next_text() is not None
    assert (asked(world).channel, asked(world).queued) == ("a", () if written else HIGHS)


def test_a_pass_that_repeats_nothing_is_one(world: World) -> None:
    world.stream.sent(world.live(), 0)
    world.monotonic += ASK_EVERY_S
    world.stream.next_text()
    assert asked(world).queued == HIGHS


@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_frame_made_for_one_further_behind_is_no_sample(world: World, is_at_once: bool) -> None:
    """Law C6 shares it: to this one some of it is old."""
    other = SyncStream(world.stream.renderer, Credit(1_000_000, 1000), lambda: world.monotonic)
    other.subscribe({View("a"): ("e", 1), View("b"): ("e", 0)})
    while other.next_text() is not None:
        pass
    other.credit.acknowledged("a", 1, world.monotonic)
    world.say("a")
    world.monotonic += ASK_EVERY_S
    shared = world.live()
    assert other.live() is shared
    other.credit.asked = None
    if is_at_once:
        assert other.at_once(shared) is True
    else:
        next(iter(other.texts(shared)))
    assert other.credit.asked is not None
    assert (other.credit.asked.oldest, other.credit.asked.queued) == (50.0, ())
    assert world.stream.at_once(shared) is True
    assert asked(world).queued == HIGHS


def test_the_first_news_of_a_connection_is_a_sample_whatever_the_clock_begins_with() -> None:
    world = World(window_bytes=1000)
    world.monotonic = 0.0
    world.stream.begin("a")
    world.settle()
    world.say("a", 400)
    assert world.stream.at_once(world.live()) is True
    assert asked(world).queued == HIGHS


def test_a_busy_connection_is_one_sample_in_a_while() -> None:
    world = World(window_bytes=1000)  # each frame is half of it, and asks
    world.stream.begin("a")
    world.settle()
    samples = []
    for _ in range(10):
        world.say("a", 400)
        live = world.live()
        assert world.stream.at_once(live) is True
        world.stream.sent(live, live.count)
        samples.append(bool(asked(world).queued))
        world.credit.acknowledged("a", asked(world).offset, world.monotonic)
        world.monotonic += ASK_EVERY_S / 2
    assert samples == [True, False] * 5


def test_repairs_of_a_connection_are_counted_up_to_a_bound(world: World) -> None:
    assert [world.stream.repaired(n) for n in (0, 3, MAX_REPAIRS, 1)] == [0, 3, MAX_REPAIRS - 3, 0]
