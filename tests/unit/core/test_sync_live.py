"""Shared frames of the sync protocol: who may share them, how much is shared, what is in them and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from django_update_pipeline.core import sync_live
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_frames import FrameBuilder
from django_update_pipeline.core.sync_live import MIN_EVENT_CHARS, SyncLive, SyncRenderer
from django_update_pipeline.core.view import View

A, B = View("a"), View("b")
MOOD = View("a", ("mood",))


class World:
    """A log, the renderer of its frames, and short words for what happens."""

    def __init__(self, **config: int) -> None:
        self.now = 1000.0
        self.store = Store("e", StoreConfig(**config))
        self.renderer = SyncRenderer(self.store, lambda: self.now)

    def put(self, kind: UpdateKind, agent_id: str, content: dict[str, Any], channels: str) -> None:
        text = json.dumps(content, separators=(",", ":")).encode()
        change = Change(kind, agent_id, tuple(channels), "said", text, (), 50.0, UpdatePriority.NORMAL)
        self.store.apply(Publication(f"p{self.store.head}", (change,)))

    def set(self, agent_id: str, channels: str = "a", **fields: Any) -> None:
        self.put(UpdateKind.MERGE, agent_id, fields, channels)

    def say(self, channels: str = "a", text: str = "") -> None:
        self.put(UpdateKind.EVENT, "x", {"text": text}, channels)

    def live(self, *views: View, since: int | tuple[int, ...] = 0) -> SyncLive | None:
        """What brings a connection that was told of its views up to here to the head."""
        positions = since if isinstance(since, tuple) else (since,) * len(views)
        return self.renderer.live(views, max(positions), positions)

    def told(self, *views: View, since: int | tuple[int, ...] = 0) -> list[dict[str, Any]]:
        """The same as frames."""
        live = self.live(*views, since=since)
        assert live is not None
        assert live.size == sum(map(len, live.form(asks=False)))
        assert live.after[-1] == tuple(self.store.channel(view.channel).changed_at for view in views)
        return [json.loads(text) for text in live.form(asks=False)]


@pytest.fixture
def world() -> World:
    return World()


def what(frame: dict[str, Any]) -> str:
    """A frame in short: its channel, what it moves, what is in it."""
    parts = [part for part in ("removed", "agents", "events") if part in frame]
    return f"{frame['channel']} {frame['from']}-{frame['to']} {'more ' * frame.get('more', False)}{' '.join(parts)}"


# what is told


def test_states_and_events_of_one_channel_are_one_frame(world: World) -> None:
    world.set("x", mood="happy")
    world.say()
    world.set("y", mood="calm")
    assert [what(frame) for frame in world.told(A)] == ["a 0-3 agents events"]


def test_states_of_several_channels_come_before_events_and_say_that_more_follows(world: World) -> None:
    """A client is up to date with no view of which events are on their way."""
    world.set("x", "ab", mood="happy")
    world.say("a")
    world.say("b")
    assert [what(frame) for frame in world.told(A, B)] == [
        "a 0-0 more agents",
        "b 0-0 more agents",
        "a 0-2 events",
        "b 0-3 events",
    ]


def test_events_in_a_row_of_one_channel_are_one_frame(world: World) -> None:
    for channel in "aabbba":
        world.say(channel)
    assert [what(frame) for frame in world.told(A, B)] == ["a 0-2 events", "b 0-5 events", "a 2-6 events"]


def test_a_view_without_news_hides_not_those_of_the_next(world: World) -> None:
    """The connection would be taken for up to date, and never be told."""
    world.set("x", "ab", mood="happy")
    world.set("x", "b", mood="sad")
    assert [what(frame) for frame in world.told(A, B, since=1)] == ["b 1-2 agents"]


def test_views_without_news_are_not_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of x was to be told, so the projection stands where it was; that is no reason to look again."""
    world.set("x", place="pool")
    looked_at: list[str] = []
    change = sync_live.FrameBuilder.change
    monkeypatch.setattr(
        sync_live.FrameBuilder,
        "change",
        lambda *args: (looked_at.append(args[1].agent_id), change(*args))[1],
    )
    world.set("y", "b", mood="happy")
    live = world.renderer.live((MOOD, B), 1, (0, 1))
    assert live is not None
    assert [frame.view for frame in live.frames] == [B]
    assert looked_at == ["y"]


def test_the_last_frame_of_one_piece_asks_and_no_other(world: World) -> None:
    world.say("a")
    world.say("b")
    world.say("a")
    live = world.live(A, B)
    assert live is not None
    plain = [json.loads(text) for text in live.form(asks=False)]
    asking = [json.loads(text) for text in live.form(asks=True)]
    assert asking[-1].pop("ack") is True
    assert asking == plain, "and else they are the same"


def test_nothing_to_tell_asks_for_nothing(world: World) -> None:
    world.set("x", mood="happy")
    world.set("x", place="pool")
    live = world.live(MOOD, since=1)
    assert live is not None
    assert (live.to, live.form(asks=True), live.form(asks=False)) == (2, [], [])


# who shares


def test_views_share_nothing_with_other_views_at_the_same_positions(world: World) -> None:
    world.set("x", "ab", mood="happy", place="pool")
    shown = [world.told(view)[0] for view in (A, B, MOOD)]
    assert [(frame["channel"], frame.get("view", "")) for frame in shown] == [
        ("a", ""),
        ("b", ""),
        ("a", "mood"),
    ]
    assert [sorted(frame["agents"]["x"]["set"]) for frame in shown] == [
        ["mood", "place"],
        ["mood", "place"],
        ["mood"],
    ]


@pytest.mark.parametrize(
    ("since", "is_shared"),
    [((1, 2), True), ((1, 3), True), ((3, 2), True), ((1, 1), False), ((0, 3), False)],
)
def test_a_frame_serves_who_was_told_as_much_of_each_view(
    world: World, since: tuple[int, ...], is_shared: bool
) -> None:
    """Law C6: of one view more is no matter, of none less."""
    for channel in "aabb":
        world.set("x", channel, mood=world.store.head)
    older = world.live(A, B, since=(1, 2))
    assert (world.live(A, B, since=since) is older) is is_shared


@pytest.mark.parametrize("less", [0, 1])
def test_only_a_small_frame_serves_a_newer_position(
    world: World, monkeypatch: pytest.MonkeyPatch, less: int
) -> None:
    """A connection that lacks little must not be sent much that it has."""
    world.set("x", mood="happy")
    world.set("y", mood="calm")
    older = world.live(A)
    assert older is not None
    monkeypatch.setattr(sync_live, "SHARED_CHARS", older.size - less)
    assert (world.live(A, since=1) is older) is (less == 0)
    assert world.live(A) is older, "who is at the same position shares it, whatever its size"


# how much is shared


def least_bound(make: Callable[[World], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """The smallest MAX_LIVE_CHARS at which the frames of views a and b are shared."""
    low, high = 0, 100_000
    while low < high:
        middle = (low + high) // 2
        monkeypatch.setattr(sync_live, "MAX_LIVE_CHARS", middle)
        world = World()
        world.set("w", "ab", mood="calm")
        make(world)
        if world.live(A, B, since=1) is None:
            low = middle + 1
        else:
            high = middle
    return low


def test_what_is_shared_is_bounded_by_all_views_and_all_kinds_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound is about characters, and each of them counts once: of agents and events, in whatever view."""

    def bound(*makes: Callable[[World], object]) -> int:
        return least_bound(lambda world: [make(world) for make in makes], monkeypatch)

    state: Callable[[World], object] = lambda world: world.set("x", mood="." * 500)  # noqa: E731
    other: Callable[[World], object] = lambda world: world.set("y", "b", mood="." * 700)  # noqa: E731
    assert 500 < bound(state) < 1000
    assert bound(state, other) == bound(state) + bound(other)
    for length in (0, 300):
        event: Callable[[World], object] = lambda world, text="." * length: world.say("a", text)  # noqa: E731
        event_chars = len(json.dumps({"text": "." * length}, separators=(",", ":")))
        assert bound(state, event) == bound(state) + event_chars
        assert bound(state, event, other) == bound(state) + event_chars + bound(other)


def test_many_events_are_several_frames(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each closed once it is large enough, and at the position of its last event; a small rest is one, too."""
    for _ in range(5):
        world.say(text="x" * 100)
    one = FrameBuilder(A)
    one.event(world.store.channel("a").events_between(0, 1)[0])
    monkeypatch.setattr(sync_live, "PART_CHARS", one.size)
    assert [frame["to"] for frame in world.told(A)] == [2, 4, 5]
    live = world.live(A)
    assert live is not None
    assert (live.to, live.head, live.reached, live.after) == (5, 5, [2, 4, 5], [(2,), (4,), (5,)])


def test_of_very_many_events_the_first_are_shared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    for _ in range(5):
        world.say(text="x" * 100)
    event_chars = MIN_EVENT_CHARS + len(world.store.channel("a").events_between(0, 1)[0].data)
    monkeypatch.setattr(sync_live, "MAX_EVENT_CHARS", 3 * event_chars - 1)
    live = world.live(A)
    assert live is not None
    assert (live.to, live.head, live.reached) == (3, 5, [1, 2, 3])
    assert world.live(A, since=1) is not live, "it does not reach the head: only who is where it starts"
    rest = world.live(A, since=3)
    assert rest is not None
    assert (rest.to, rest.reached) == (5, [4, 5])
    assert [json.loads(text).get("more", False) for text in live.form(asks=False)] == [True] * 3
    assert [json.loads(text).get("more", False) for text in rest.form(asks=False)] == [False] * 2
    monkeypatch.setattr(sync_live, "MAX_LIVE_CHARS", 500)
    world.set("x", mood=1)
    assert world.live(A) is None, "states are not kept waiting behind them"


def test_a_view_is_catching_up_until_its_last_event_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law C2: where there is more than is made at once. A check comes once the view is up to date."""
    monkeypatch.setattr(sync_live, "MAX_EVENT_CHARS", 500)
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    world.set("y", "b", mood=1)
    world.now += 100.0
    for channels in "aabb":
        world.say(channels, text="x" * 100)
    told = world.told(A, B)
    assert [(frame["channel"], frame.get("more", False)) for frame in told] == [
        ("b", True),  # the state
        ("a", True),
        ("a", False),
        ("b", True),
        ("b", False),
    ]
    assert [("check" in frame) for frame in told] == [False, False, False, False, True]


def test_frames_for_places_that_nobody_shares_are_not_kept_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow readers of one backlog, each from where it is: the log stands still meanwhile."""
    for _ in range(20):
        world.say(text="x" * 2000)
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    monkeypatch.setattr(sync_live, "MAX_EVENT_CHARS", 1)
    monkeypatch.setattr(sync_live, "MAX_KEPT_CHARS", 10_000)
    for since in range(20):
        assert world.live(A, since=since) is not None
    kept = [live for _, live in world.renderer._live[A,]]
    assert 0 < sum(live.size for live in kept if live is not None) <= 10_000 + 3000


def test_an_event_of_several_channels_was_told_with_the_last_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    world.say("a")
    world.say("ab")
    world.say("b")
    live = world.live(A, B)
    assert live is not None
    assert [frame.to for frame in live.frames] == [1, 2, 2, 3]
    assert live.reached == [1, 1, 2, 3]


def test_frames_with_states_are_told_to_the_end_or_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    world.set("x", mood=1)
    world.say("a")
    world.say("a")
    live = world.live(A)
    assert live is not None
    assert (live.to, live.reached) == (3, [0, 0])


def test_a_backlog_with_states_has_parts_and_serves_nobody_who_has_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has all of it would be left at a frame that says that more follows."""
    monkeypatch.setattr(sync_live, "PART_CHARS", 1)
    monkeypatch.setattr(sync_live, "MAX_EVENT_CHARS", 1)
    world.set("x", mood=1)
    world.say("a")
    world.say("a")
    live = world.live(A)
    assert live is not None
    assert live.to == live.head
    assert live.has_parts is True


def test_states_of_several_channels_are_told_to_the_end_or_anew(world: World) -> None:
    world.set("x", "a", mood=1)
    world.set("x", "b", mood=1)
    live = world.live(A, B)
    assert live is not None
    assert live.reached == [0, 0]


@pytest.mark.parametrize("count", [2, 3])
def test_more_agents_than_may_be_listed_are_told_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(sync_live, "MAX_LISTED_AGENTS", 2)
    for number in range(count):
        world.set(f"x{number}", mood="happy")
    assert (world.live(A) is None) is (count == 3)


# the self-check


@pytest.fixture
def whenever_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check need not wait until much was told beside it."""
    monkeypatch.setattr(sync_live, "CHECK_SHARE", 0)


def checks(world: World, view: View = A, count: int = 1) -> list[list[str]]:
    """Who is in the self-checks of the next frames, each as late as it takes for one."""
    found = []
    for _ in range(count):
        world.now += sync_live.CHECK_EVERY_S
        since = world.store.head
        world.say(view.channel)
        (frame,) = world.told(view, since=since)
        found.append(list(frame["check"]["agents"]))
    return found


@pytest.mark.parametrize(
    ("chars", "expected"),
    [(99, ["uvw", "xyz", "uvw"]), (100, ["uvwx", "yz", "uvwx"]), (125, ["uvwxy", "z", "uvwxy"])],
)
@pytest.mark.usefixtures("whenever_it_is_time")
def test_a_check_has_as_many_agents_as_fit_and_goes_on_after_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch, chars: int, expected: list[str]
) -> None:
    monkeypatch.setattr(sync_live, "CHECK_CHARS", chars)
    for name in "uvwxyz":
        world.set(name, t="." * 17)
    assert len(world.store.channel("a").agents["u"].text()) == 25
    assert ["".join(names) for names in checks(world, count=3)] == expected


@pytest.mark.usefixtures("whenever_it_is_time")
def test_an_agent_larger_than_a_check_is_checked_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_live, "CHECK_CHARS", 50)
    for name in "xyz":
        world.set(name, t="." * (100 if name == "y" else 10))
    assert checks(world, count=4) == [["x"], ["y"], ["z"], ["x"]]


@pytest.mark.usefixtures("whenever_it_is_time")
def test_between_two_checks_there_is_none(world: World) -> None:
    world.set("x", mood="happy")
    checks(world)
    since = world.store.head
    world.now += sync_live.CHECK_EVERY_S - 0.1
    world.say()
    (frame,) = world.told(A, since=since)
    assert "check" not in frame


@pytest.mark.usefixtures("whenever_it_is_time")
def test_a_clock_that_was_set_back_does_not_end_the_checks(world: World) -> None:
    world.set("x", mood="happy")
    checks(world)
    world.now -= 500.0
    since = world.store.head
    world.say()
    (frame,) = world.told(A, since=since)
    assert list(frame["check"]["agents"]) == ["x"]


@pytest.mark.usefixtures("whenever_it_is_time")
def test_of_too_many_views_the_one_checked_longest_ago_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is checked again and again keeps its place in the rotation, whoever makes up views meanwhile."""
    monkeypatch.setattr(sync_live, "MAX_CHECKED_VIEWS", 2)
    monkeypatch.setattr(sync_live, "CHECK_CHARS", 10)
    for name in "xyz":
        world.set(name, mood="happy")
    found = []
    for number in range(3):
        found += checks(world)
        checks(world, View("a", (f"made up {number}",)))
    assert found == [["x"], ["y"], ["z"]]


@pytest.mark.parametrize("is_time", [True, False])
def test_a_check_waits_until_a_multiple_of_it_was_told(
    world: World, monkeypatch: pytest.MonkeyPatch, is_time: bool
) -> None:
    """What was told counts from the check on, also while it was too soon for another."""
    world.set("x", mood="happy")
    world.store.head = 100  # from here on offsets have as many digits
    builder = FrameBuilder(A)
    world.say()
    builder.event(world.store.channel("a").events_between(0, 101)[0])
    monkeypatch.setattr(sync_live, "CHECK_SHARE", builder.size)
    (frame,) = world.told(A, since=100)
    due_after = len(',"check":' + json.dumps(frame["check"], separators=(",", ":")))
    for count in range(1, due_after + 1):
        if is_time or count == due_after:
            world.now += sync_live.CHECK_EVERY_S
        world.say()
        (frame,) = world.told(A, since=world.store.head - 1)
        assert ("check" in frame) is (count == due_after), count


@pytest.mark.usefixtures("whenever_it_is_time")
def test_a_view_of_several_runs_is_checked_in_one_of_them(world: World) -> None:
    world.set("x", "ab", mood="happy")
    for channel in "abab":
        world.say(channel)
    told = world.told(A, B)
    assert ["check" in frame for frame in told] == [False, False, True, True, False, False]
