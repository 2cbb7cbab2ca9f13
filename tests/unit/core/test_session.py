"""A classic connection by examples; its laws are in tests/property/test_session_laws.py."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core import session as session_module
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.session import (
    MAX_LIVE_FRAMES,
    SYSTEM_CHANNEL,
    SYSTEM_EVENT,
    ClassicRenderer,
    ClassicSession,
    TooFarBehind,
)
from django_update_pipeline.core.store import ChannelStore, Store

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT


class World:
    """A store, its renderer and short names for what is told."""

    def __init__(self, **config):
        self.store = Store("e1", StoreConfig(**config))
        self.renderer = ClassicRenderer(self.store)
        self.count = 0

    def tell(self, kind, agent="x", content=None, channels=("a",), update_type="state_change", unset=()):
        self.count += 1
        text = json.dumps(content or {}).encode()
        change = Change(kind, agent, channels, update_type, text, unset, 1.5, UpdatePriority.NORMAL)
        self.store.apply(Publication(f"p{self.count}", (change,)))

    def state(self, agent, value, channels=("a",)):
        self.tell(REPLACE, agent, {"f": value}, channels)

    def remove(self, agent, channels=("a",)):
        self.tell(REMOVE, agent, channels=channels, update_type="state_removed")

    def say(self, what, channels=("a",), agent="x"):
        self.tell(EVENT, agent, {"n": what}, channels, "said")

    def session(self, *channels):
        return ClassicSession(self.renderer, channels or ("a",), lambda: 9.0)


def short(text):
    frame = json.loads(text)
    if frame["type"] == "system_notification":
        return frame["level"], int(frame["message"].split()[0])
    if frame["update_type"] == "said":
        return "said", frame["data"]["n"]
    if frame["update_type"] == "state_removed":
        assert frame["data"] == {}
        return frame["agent_id"], None
    return frame["agent_id"], frame["data"]["f"]


def rest(session):
    """What is left of a pass."""
    told = []
    while (text := session.next_frame()) is not None:
        told.append(short(text))
        assert len(told) < 1000, "it does not come to an end"
    return told


def live(session):
    """What keeps a connection up to date, all of it."""
    frames = session.renderer.live(session.channels, session.position)
    session.sent(frames, len(frames.texts))
    return [short(text) for text in frames.texts]


@pytest.fixture
def world():
    return World()


def test_a_new_connection_gets_each_agents_newest_state_and_no_old_event(world):
    world.state("x", 1)
    world.say("old")
    world.state("y", 2)
    world.state("x", 3)
    session = world.session()
    assert session.has_news()
    assert rest(session) == [("x", 3), ("y", 2)]
    assert not session.has_news()


def test_connections_that_keep_up_share_their_frames(world):
    one, other = world.session(), world.session()
    assert rest(one) == rest(other) == []
    world.state("x", 1)
    world.say("hello")
    assert one.has_news()
    frames = world.renderer.live(one.channels, one.position)
    assert world.renderer.live(other.channels, other.position) is frames
    assert live(one) == live(other) == [("x", 1), ("said", "hello")]
    assert not one.has_news()


def test_frames_are_made_anew_when_the_log_has_moved(world):
    session = world.session()
    rest(session)
    world.state("x", 1)
    before = world.renderer.live(session.channels, session.position)
    world.state("x", 2)
    after = world.renderer.live(session.channels, session.position)
    assert [short(text) for text in after.texts] == [("x", 2)]
    assert before.to < after.to


def test_the_text_of_a_state_is_made_once_per_change(world):
    world.state("x", 1)
    agent = world.store.channel("a").agents["x"]
    assert world.renderer.state(agent) is world.renderer.state(agent)
    world.tell(MERGE, "x", {"f": 2})
    assert short(world.renderer.state(agent)) == ("x", 2)


def test_a_channel_without_news_is_not_looked_at(world):
    session = world.session("a", "b")
    rest(session)
    world.state("y", 1, channels=("c",))
    assert not session.has_news()
    world.state("x", 1, channels=("b",))
    assert live(session) == [("x", 1)]


def test_a_state_in_two_channels_is_told_once(world):
    session = world.session("a", "b")
    rest(session)
    world.state("x", 1, channels=("a", "b"))
    world.say("both", channels=("a", "b"))
    assert live(session) == [("x", 1), ("said", "both")]


def test_events_of_several_channels_come_in_the_order_they_were_queued(world):
    session = world.session("a", "b")
    rest(session)
    for number, name in enumerate("baab"):
        world.say(number, channels=(name,))
    assert live(session) == [("said", 0), ("said", 1), ("said", 2), ("said", 3)]


def test_an_interrupted_writer_goes_on_from_what_is_now(world):
    session = world.session()
    rest(session)
    world.state("x", 1)
    world.say("first")
    world.say("second")
    frames = world.renderer.live(session.channels, session.position)
    world.state("x", 2)
    session.sent(frames, 2)
    assert rest(session) == [("x", 2), ("said", "second")]
    assert not session.has_news()


def test_a_writer_interrupted_before_its_first_frame_misses_nothing(world):
    session = world.session()
    rest(session)
    world.say("first")
    frames = world.renderer.live(session.channels, session.position)
    session.sent(frames, 0)
    assert rest(session) == [("said", "first")]


@pytest.mark.parametrize("kind", ["states", "removals", "events"])
def test_more_than_can_be_shared_is_read_one_by_one(world, kind):
    for number in range(MAX_LIVE_FRAMES + 1):
        world.state(f"agent {number}", 1)
    session = world.session()
    assert len(rest(session)) == MAX_LIVE_FRAMES + 1
    for number in range(MAX_LIVE_FRAMES + 1):
        if kind == "states":
            world.state(f"agent {number}", 2)
        elif kind == "removals":
            world.remove(f"agent {number}")
        else:
            world.say(number)
    assert world.renderer.live(session.channels, session.position) is None
    session.fall_behind()
    assert len(rest(session)) == MAX_LIVE_FRAMES + 1


def test_sharing_is_refused_before_anything_is_rendered(world):
    """A connection far behind must not make megabytes of text that nobody is sent."""
    session = world.session()
    rest(session)
    for number in range(MAX_LIVE_FRAMES + 1):
        world.state(f"agent {number}", 1)
    assert world.renderer.live(session.channels, session.position) is None
    assert all(agent.rendered is None for agent in world.store.channel("a").agents.values())


@pytest.mark.parametrize("listed", [0, 1, 1000])
def test_a_pass_tells_what_changed_since_however_it_is_looked_for(world, monkeypatch, listed):
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    for agent in "wxyz":
        world.state(agent, 1)
    session = world.session()
    rest(session)
    world.state("z", 2)
    world.remove("y")
    world.state("x", 2)
    session.fall_behind()
    assert sorted(rest(session), key=str) == [("x", 2), ("y", None), ("z", 2)]


@pytest.mark.parametrize("listed", [0, 1000])
def test_during_a_pass_each_agent_is_told_as_it_is_then(world, monkeypatch, listed):
    """Law C1; what changes after the target is told again, with its events, by the next pass."""
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    session = world.session()
    rest(session)
    world.state("x", 1)
    world.state("y", 1)
    session.fall_behind()
    assert short(session.next_frame()) == ("x", 1)
    world.state("y", 2)
    world.say("later")
    assert rest(session) == [("y", 2)]
    assert session.has_news()
    assert live(session) == [("y", 2), ("said", "later")]


@pytest.mark.parametrize("listed", [0, 1000])
@pytest.mark.parametrize("returns", [False, True])
def test_an_agent_removed_during_a_pass_is_told_before_its_events(world, monkeypatch, listed, returns):
    """What went wrong: x changed, then an event of x, and x was removed before the pass came to it.

    The event was told to a client that still showed x as it was long before.
    """
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("w", 0)
    world.state("x", 0)
    session = world.session()
    rest(session)
    world.state("w", 1)
    world.state("x", 1)
    world.say("x has changed")
    session.fall_behind()
    assert short(session.next_frame()) == ("w", 1)
    world.remove("x")
    if returns:
        world.state("x", 2)
    assert rest(session) == [("x", 2 if returns else None), ("said", "x has changed")]


@pytest.mark.parametrize("listed", [0, 1000])
def test_an_agent_that_returns_after_the_target_is_told_before_its_events(world, monkeypatch, listed):
    """What went wrong: removed before the target and back after it, it was neither gone nor looked for."""
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("x", 0)
    session = world.session()
    rest(session)
    world.state("x", 1)
    world.say("x has changed")
    world.remove("x")
    session.fall_behind()
    world.state("x", 2)
    told = rest(session)
    assert told[0] == ("x", 2)
    assert told[-1] == ("said", "x has changed")


def test_a_removal_is_taken_back_if_the_agent_has_returned(world):
    world.state("x", 1)
    world.state("y", 1)
    session = world.session()
    rest(session)
    world.remove("x")
    world.remove("y")
    session.fall_behind()
    assert short(session.next_frame()) == ("x", None)
    world.state("y", 2)
    assert ("y", None) not in rest(session)
    assert live(session) == [("y", 2)]


def test_missed_events_are_counted_once_in_a_warning():
    world = World(max_events=2)
    session = world.session()
    rest(session)
    for number in range(5):
        world.say(number)
    assert world.renderer.live(session.channels, session.position) is None
    session.fall_behind()
    warning = session.next_frame()
    assert json.loads(warning) == {
        "type": "system_notification",
        "level": "warning",
        "message": "3 event(s) were missed: this connection was slower than the server's bounded history",
        "timestamp": 9.0,
    }
    assert rest(session) == [("said", 3), ("said", 4)]
    world.say(5)
    assert live(session) == [("said", 5)]


def test_events_missed_after_a_part_of_the_shared_frames_are_counted():
    world = World(max_events=3)
    session = world.session()
    rest(session)
    for number in range(3):
        world.say(number)
    frames = world.renderer.live(session.channels, session.position)
    for number in range(3, 6):
        world.say(number)
    session.sent(frames, 1)
    assert rest(session) == [("warning", 2), ("said", 3), ("said", 4), ("said", 5)]


def test_a_pass_ends_while_the_ring_turns_faster_than_it_is_told():
    """What went wrong: each frame was another warning, and no state was ever told again."""
    world = World(max_events=1)
    session = world.session()
    rest(session)
    world.say(0)
    session.fall_behind()
    told = []
    for number in range(1, 50):
        world.say(number)
        text = session.next_frame()
        if text is None:
            break
        told.append(short(text))
    assert len(told) <= 3
    world.state("x", 1)
    session.fall_behind()
    assert short(session.next_frame()) == ("x", 1)
    told += rest(session)
    said = sum(1 for what, _ in told if what == "said")
    assert said + sum(count for level, count in told if level == "warning") == number + 1


def test_a_position_whose_removals_are_forgotten_must_start_afresh():
    world = World(max_tombstones=1)
    for agent in "wxyz":
        world.state(agent, 1)
    session = world.session()
    rest(session)
    for agent in "xyz":
        world.remove(agent)
    assert world.renderer.live(session.channels, session.position) is None
    session.fall_behind()
    with pytest.raises(TooFarBehind):
        session.next_frame()


def test_removals_forgotten_during_a_pass_are_noticed():
    world = World(max_tombstones=1)
    for agent in "wxyz":
        world.state(agent, 1)
    session = world.session()
    assert short(session.next_frame()) == ("w", 1)
    for agent in "wxyz":
        world.remove(agent)
    with pytest.raises(TooFarBehind):
        rest(session)


# channels


def test_a_channel_subscribed_later_begins_with_its_states_and_with_events_from_then_on(world):
    world.state("x", 1)
    world.state("y", 1, channels=("b",))
    world.say("before", channels=("b",))
    session = world.session("a")
    rest(session)
    session.subscribe(("a", "b"))
    assert session.channels == ("a", "b")
    world.say("after", channels=("b",))
    assert rest(session) == [("y", 1)]
    assert live(session) == [("said", "after")]


def test_subscribing_again_is_nothing_new(world):
    session = world.session("a")
    rest(session)
    session.subscribe(("a",))
    assert not session.has_news()


def test_subscribing_in_the_middle_tells_states_before_any_more_events(world):
    session = world.session("a")
    rest(session)
    world.state("y", 1, channels=("b",))
    world.say(1)
    world.say(2)
    session.fall_behind()
    assert short(session.next_frame()) == ("said", 1)
    world.state("x", 1)
    session.subscribe(("b",))
    assert rest(session) == [("x", 1), ("y", 1), ("said", 2)]


def test_subscribing_while_shared_frames_are_written_counts_them_as_told(world):
    """What went wrong: events that had just been written were warned about as missed."""
    session = world.session("a")
    rest(session)
    for number in range(3):
        world.say(number, channels=("a", "b"))
    frames = world.renderer.live(session.channels, session.position)
    session.subscribe(("b",))
    session.sent(frames, 2)
    assert rest(session) == [("said", 2)]


def test_all_shared_frames_written_before_a_subscription_counts_too(world):
    session = world.session("a")
    rest(session)
    world.say(0)
    frames = world.renderer.live(session.channels, session.position)
    session.subscribe(("b",))
    session.sent(frames, 1)
    assert rest(session) == []


def test_leaving_and_joining_while_shared_frames_are_written_hides_no_loss():
    world = World(max_events=2)
    session = world.session("a")
    rest(session)
    world.say(0)
    frames = world.renderer.live(session.channels, session.position)
    session.unsubscribe(("a",))
    session.subscribe(("a",))
    session.sent(frames, 1)
    rest(session)
    for number in range(1, 4):
        world.say(number)
    session.fall_behind()
    assert rest(session) == [("warning", 1), ("said", 2), ("said", 3)]


def test_nothing_of_a_channel_is_told_after_leaving_it(world):
    session = world.session("a", "b")
    rest(session)
    world.state("x", 1)
    world.say("a")
    world.state("y", 1, channels=("b",))
    session.fall_behind()
    session.unsubscribe(("a",))
    assert rest(session) == [("y", 1)]
    session.unsubscribe(("b", "never subscribed"))
    world.state("y", 2, channels=("b",))
    assert not session.has_news()
    assert session.channels == ()


def test_joining_again_tells_everything_again(world):
    world.state("x", 1)
    session = world.session("a")
    rest(session)
    session.unsubscribe(("a",))
    session.subscribe(("a",))
    assert rest(session) == [("x", 1)]


def test_an_agent_known_from_a_channel_just_left_is_taken_back_by_the_one_just_joined(world):
    """What went wrong: x was gone from both, but the one had only been asked for what there is."""
    world.state("x", 1, channels=("a", "b"))
    session = world.session("a")
    assert rest(session) == [("x", 1)]
    world.remove("x", channels=("a", "b"))
    session.subscribe(("b",))
    session.unsubscribe(("a",))
    assert rest(session) == [("x", None)]


def test_a_channel_joined_that_has_forgotten_removals_since_asks_to_start_afresh():
    """x is known from b, and a would have to say that it is gone."""
    world = World(max_tombstones=1)
    world.state("x", 1, channels=("a", "b"))
    world.state("y", 1)
    session = world.session("b")
    rest(session)
    world.remove("x", channels=("a", "b"))
    world.remove("y")
    session.subscribe(("a",))
    session.unsubscribe(("b",))
    with pytest.raises(TooFarBehind):
        session.next_frame()
    assert rest(world.session("a")) == []


def test_a_new_connection_is_not_told_of_what_went_before_it_came(world):
    world.state("x", 1)
    world.remove("x")
    assert rest(world.session()) == []


def test_a_connection_on_no_channel_hears_nothing(world):
    session = ClassicSession(world.renderer, (), lambda: 9.0)
    world.state("x", 1)
    assert not session.has_news()


def test_a_system_notification_is_a_frame_of_its_own_kind(world):
    session = world.session(SYSTEM_CHANNEL)
    rest(session)
    content = {"level": "info", "message": 'Rose "ceremony"'}
    world.tell(EVENT, "", content, (SYSTEM_CHANNEL,), SYSTEM_EVENT)
    (text,) = world.renderer.live(session.channels, session.position).texts
    assert json.loads(text) == {"type": "system_notification", **content, "timestamp": 1.5}


def test_the_frames_of_states_events_and_removals(world):
    world.state("x", 1)
    (text,) = [world.renderer.state(agent) for agent in world.store.channel("a").agents.values()]
    assert json.loads(text) == {
        "type": "agent_update",
        "agent_id": "x",
        "update_type": "state_change",
        "data": {"f": 1},
        "timestamp": 1.5,
    }
    assert json.loads(world.renderer.removal("x", 2.5)) == {
        "type": "agent_update",
        "agent_id": "x",
        "update_type": "state_removed",
        "data": {},
        "timestamp": 2.5,
    }


def test_events_of_several_channels_come_in_order_for_one_that_is_behind_too(world):
    session = world.session("a", "b")
    rest(session)
    for number, name in enumerate("baab"):
        world.say(number, channels=(name,))
    world.say(4, channels=("a", "b"))
    session.fall_behind()
    assert rest(session) == [("said", number) for number in range(5)]
    world.say(5, channels=("a", "b"))
    assert live(session) == [("said", 5)]


def test_an_event_is_rendered_once_for_positions_that_differ(world):
    one = world.session()
    rest(one)
    world.say(1)
    live(one)
    other = world.session()
    rest(other)
    other.position -= 1
    world.say(2)
    (text,) = one.live().texts
    both = other.live().texts
    assert [short(text) for text in both] == [("said", 1), ("said", 2)]
    assert both[1] is text


@pytest.mark.parametrize("listed", [0, 1000])
def test_an_agent_whose_newest_state_moves_to_a_channel_already_passed_is_told_before_its_events(
    world, monkeypatch, listed
):
    """What went wrong: b's state was left out for a's, which is newer, but a's turn was over."""
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("y", 0, channels=("a", "b"))
    session = world.session("a", "b")
    rest(session)
    world.state("y", 1, channels=("b",))
    world.state("x", 1)
    world.say("y has changed")
    session.fall_behind()
    assert short(session.next_frame()) == ("x", 1)
    world.state("y", 2, channels=("a",))
    assert rest(session) == [("y", 2), ("said", "y has changed")]


def test_a_writer_needs_nothing_but_what_every_session_has(world):
    """The writer of runtime/connection.py in small: it knows no protocol, only a session's methods."""
    session = world.session("a")
    session.begin("b")
    assert (session.protocol, session.key) == ("classic", ("a", "b"))
    world.state("x", 1, channels=("b",))
    while session.has_room() and session.catch_up is not None:
        if (text := session.next_text()) is not None:
            assert short(text) == ("x", 1)
    before = session.place
    world.state("x", 2, channels=("b",))
    world.say("hello")
    frames = session.live()
    asks = session.at_once(frames)
    assert asks is False, "they may go in one piece, and a classic client is asked for no acknowledgement"
    assert frames.form(asks) == list(session.texts(frames))
    assert [short(text) for text in session.texts(frames)] == [("x", 2), ("said", "hello")]
    assert frames.size == sum(map(len, frames.texts))
    session.sent(frames, frames.count)
    assert session.has_room()
    assert not session.has_news()
    assert session.place != before, (
        "who was told is somewhere else than who was not, and shares no frames with them"
    )


# what is told is told once


@pytest.mark.parametrize("listed", [0, 1000])
def test_a_pass_tells_nothing_that_was_told_before(world, monkeypatch, listed):
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    session = world.session()
    rest(session)
    world.state("y", 1)
    world.state("x", 1)
    assert live(session) == [("y", 1), ("x", 1)]
    world.state("y", 2)
    session.fall_behind()
    assert rest(session) == [("y", 2)]


@pytest.mark.parametrize("listed", [0, 1000])
def test_an_agent_that_went_and_came_back_before_a_pass_is_told_once(world, monkeypatch, listed):
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("x", 1)
    session = world.session()
    rest(session)
    world.remove("x")
    world.state("x", 2)
    session.fall_behind()
    assert rest(session) == [("x", 2)]


@pytest.mark.parametrize("listed", [0, 1000])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_an_agent_that_changed_in_two_channels_is_told_once(world, monkeypatch, listed, order):
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("x", 0, channels=("a", "b"))
    session = world.session("a", "b")
    rest(session)
    for value, name in enumerate(order, 1):
        world.state("x", value, channels=(name,))
    session.fall_behind()
    assert rest(session) == [("x", 2)]


@pytest.mark.parametrize("listed", [0, 1000])
def test_an_agent_that_changes_in_a_channel_whose_turn_is_to_come_is_told_there(world, monkeypatch, listed):
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", listed)
    world.state("x", 0, channels=("a", "b"))
    session = world.session("a", "b")
    rest(session)
    world.state("x", 1, channels=("a",))
    session.fall_behind()
    world.state("x", 2, channels=("b",))
    assert rest(session) == [("x", 2)]


def test_of_states_that_are_equally_new_the_first_channels_is_told(world):
    """However it is told: who keeps up and who is behind must not show two different agents."""
    world.tell(MERGE, "x", {"f": 1}, ("a",))
    world.tell(MERGE, "x", {"f": 1}, ("b",))
    follower, other = world.session("a", "b"), world.session("a", "b")
    rest(follower)
    rest(other)
    world.tell(MERGE, "x", {"g": 2}, ("b",))
    world.tell(MERGE, "x", {"h": 3}, ("a", "b"))
    (text,) = follower.live().texts
    other.fall_behind()
    assert json.loads(text)["data"] == {"f": 1, "h": 3}
    assert other.next_frame() == text


def test_the_first_event_of_a_log_is_told_in_a_pass(world):
    session = world.session()
    rest(session)
    world.say("first of all")
    session.fall_behind()
    assert rest(session) == [("said", "first of all")]


def test_an_event_of_two_channels_that_was_written_is_missing_in_neither(world):
    session = world.session("a", "b")
    rest(session)
    world.say(1, channels=("a", "b"))
    world.say(2)
    session.sent(session.live(), 1)
    assert rest(session) == [("said", 2)]


# what it costs


#: Ways for one frame more than a state, a removal and two events, all of them in channel a.
ONE_MORE = {
    "a state": lambda world: world.state("w", 2),
    "a removal": lambda world: world.remove("w"),
    "an event": lambda world: world.say(3),
    "another channel's": lambda world: world.state("z", 1, channels=("b",)),
}


@pytest.mark.parametrize("one_more", [None, *ONE_MORE])
def test_all_kinds_of_frames_of_all_channels_count_for_what_may_be_shared(world, monkeypatch, one_more):
    monkeypatch.setattr(session_module, "MAX_LIVE_FRAMES", 4)
    for agent in "wxy":
        world.state(agent, 1)
    session = world.session("a", "b")
    rest(session)
    world.state("x", 2)
    world.remove("y")
    world.say(1)
    world.say(2)
    if one_more is None:
        assert len(live(session)) == 4
    else:
        ONE_MORE[one_more](world)
        assert session.live() is None


def test_agents_are_not_listed_beyond_what_may_be_shared_or_told_one_by_one(world, monkeypatch):
    """A writer holds the loop while it lists them, and there may be a hundred thousand."""
    monkeypatch.setattr(session_module, "MAX_LIVE_FRAMES", 3)
    monkeypatch.setattr(session_module, "MAX_LISTED_AGENTS", 5)
    listed = []
    list_them = ChannelStore.agents_changed_since

    def noted(channel, position, limit):
        found = list_them(channel, position, limit)
        listed.append(len(found or ()))
        return found

    session = world.session()
    rest(session)
    for number in range(9):
        world.state(f"agent {number}", 1)
    monkeypatch.setattr(ChannelStore, "agents_changed_since", noted)
    assert session.live() is None
    session.fall_behind()
    assert len(rest(session)) == 9
    assert listed == [0, 0]


def test_few_changes_are_found_without_a_look_at_every_agent(world, monkeypatch):
    for number in range(9):
        world.state(f"agent {number}", 1)
    session = world.session()
    rest(session)
    world.state("agent 4", 2)
    monkeypatch.setattr(ChannelStore, "scan", lambda *_: pytest.fail("it looks at all of them"))
    session.fall_behind()
    assert rest(session) == [("agent 4", 2)]


def test_a_client_that_comes_and_goes_leaves_nothing_of_the_channels_it_left(world):
    """What went wrong: the name of each was remembered for as long as the connection lasted."""
    session = world.session("a")
    rest(session)
    for number in range(20):
        session.subscribe((f"channel {number}", f"other {number}"))
        session.unsubscribe((f"other {number}",))
        assert set(session.catch_up.seen) == {"a", f"channel {number}"}
        assert set(session.catch_up.joined) == {f"channel {number}"}
        rest(session)
        session.unsubscribe((f"channel {number}",))
    session.subscribe(("b",))
    assert set(session.catch_up.seen) == {"a", "b"}
    assert set(session.catch_up.joined) == {"b"}
