"""The store by examples; its laws are in tests/property/test_store_laws.py."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.reader import Reader
from django_update_pipeline.core.store import URGENT_KEPT, AgentChanges, Event, Store
from django_update_pipeline.exceptions import UpdatesRejected

REPLACE, MERGE, REMOVE, EVENT = UpdateKind.REPLACE, UpdateKind.MERGE, UpdateKind.REMOVE, UpdateKind.EVENT


def change(
    kind,
    agent="x",
    content=None,
    unset=(),
    channels=("a",),
    update_type="state_change",
    timestamp=1.0,
    priority=UpdatePriority.NORMAL,
):
    text = (
        content if isinstance(content, bytes) else json.dumps(content or {}, separators=(",", ":")).encode()
    )
    return Change(kind, agent, channels, update_type, text, tuple(unset), timestamp, priority)


class Log:
    """A store and the numbers of its publications."""

    def __init__(self, **config):
        self.store = Store("e1", StoreConfig(**config))
        self.count = 0

    def __call__(self, *changes):
        self.count += 1
        return self.store.apply(Publication(f"p{self.count}", changes))

    def since(self, n, channel="a"):
        return self.store.changes_since(channel, "e1", n)

    def channel(self, name="a"):
        return self.store.channel(name)


@pytest.fixture
def log():
    return Log()


def test_a_new_store_has_nothing_and_says_so(log):
    frame = log.since(0)
    assert (frame.to, frame.reset, frame.agents, frame.removed, frame.events) == (0, False, {}, [], [])
    assert log.store.size_bytes() == log.store.agent_count() == 0


def test_one_counter_numbers_all_channels(log):
    log(change(REPLACE, "x", {"f": 1}, channels=("a",)), change(REPLACE, "y", {"f": 2}, channels=("b",)))
    log(change(EVENT, channels=("a", "b")))
    assert log.store.head == 3
    assert log.channel("a").changed_at == log.channel("b").changed_at == 3


def test_only_what_changed_since_is_answered_field_by_field(log):
    log(change(REPLACE, "x", {"f": 1, "g": 1}))
    log(change(MERGE, "x", {"g": 2}, unset=["f", "unknown"]))
    frame = log.since(1)
    assert frame.agents["x"].set == {"g": b"2"}
    assert frame.agents["x"].unset == ["f"]
    assert log.since(2).agents == {}


def test_a_full_state_of_equal_bytes_changes_nothing(log):
    log(change(REPLACE, "x", {"f": 1}))
    log(change(REPLACE, "x", {"f": 1}))
    log(change(MERGE, "x", {"f": 1}))
    assert log.since(1).agents == {}
    assert log.channel().agents["x"].changed == 1


def test_equal_fields_in_another_order_change_nothing(log):
    log(change(REPLACE, "x", {"f": 1, "g": 2}))
    log(change(REPLACE, "x", {"g": 2, "f": 1}))
    assert log.since(1).agents == {}
    assert json.loads(log.store.states("a")["x"]) == {"f": 1, "g": 2}


def test_a_field_that_comes_back_is_set_and_not_unset(log):
    log(change(REPLACE, "x", {"f": 1}))
    log(change(REPLACE, "x", {}))
    log(change(MERGE, "x", {"f": 1}))
    frame = log.since(1)
    assert (frame.agents["x"].set, frame.agents["x"].unset) == ({"f": b"1"}, [])
    assert log.channel().tombstones == 0


def test_an_agent_that_returns_starts_afresh(log):
    log(change(REPLACE, "x", {"f": 1, "g": 1}))
    log(change(REMOVE, "x"))
    log(change(MERGE, "x", {"g": 2}))
    frame = log.since(1)
    assert frame.removed == ["x"]
    assert frame.agents["x"].set == {"g": b"2"}
    assert log.channel().gone_since(1) == []
    assert log.channel().removals_since(1) == [("x", 1.0)]


def test_a_patch_of_an_unknown_agent_makes_it(log):
    log(change(MERGE, "x", {}, unset=["f"]))
    assert log.store.states("a") == {"x": b"{}"}


def test_removing_what_is_not_there_changes_nothing(log):
    log(change(REMOVE, "x"))
    assert log.since(0).removed == []


def test_the_whole_state_is_the_text_that_came_or_is_joined(log):
    log(change(REPLACE, "x", b'{"f":1,"g":[1,2]}'))
    assert log.store.states("a")["x"] == b'{"f":1,"g":[1,2]}'
    log(change(MERGE, "x", {"h": None}, unset=["f"]))
    assert log.store.states("a")["x"] == b'{"g":[1,2],"h":null}'


def test_agents_come_in_order_of_last_change_and_removals_in_order_of_removal(log):
    for agent in "xyzw":
        log(change(REPLACE, agent, {"f": 1}))
    log(change(REMOVE, "w"))
    log(change(REPLACE, "x", {"f": 2}))
    log(change(REMOVE, "z"))
    frame = log.since(0)
    assert list(frame.agents) == ["y", "x"]
    assert frame.removed == ["w", "z"]
    assert [agent.agent_id for agent in log.channel().agents_changed_since(0, 2)] == ["y", "x"]
    assert log.channel().agents_changed_since(0, 1) is None
    assert log.channel().agents_changed_since(6, 2) == [], (
        "what changed at the position itself is known there"
    )
    assert log.channel().agents_changed_since(7, 0) == []


def test_another_epoch_or_an_impossible_position_gets_a_snapshot_without_events(log):
    log(change(REPLACE, "x", {"f": 1}), change(EVENT))
    for epoch, position in (("e0", 0), (None, 0), ("e1", 3), ("e1", -1)):
        frame = log.store.changes_since("a", epoch, position)
        assert (frame.reset, frame.from_, frame.to, frame.event_count) == (True, 0, 2, 1)
        assert frame.agents["x"].set == {"f": b"1"}
        assert frame.events == []


def test_an_answer_from_before_an_agents_creation_serves_a_client_that_knows_it(log):
    """What went wrong: the field was gone, but only clients from after the creation were told."""
    log(change(REPLACE, "x", {"f": 1, "g": 1}))
    log(change(MERGE, "x", {}, unset=["f"]))
    assert log.since(0).agents["x"].set == {"g": b"1"}
    assert log.since(0).agents["x"].unset == log.since(1).agents["x"].unset == ["f"]
    assert log.since(-1).agents["x"].unset == []


def test_an_answer_is_a_copy(log):
    log(change(REPLACE, "x", {"f": 1}))
    for frame in (log.since(0), log.since(-1)):
        frame.agents["x"].set["f"] = b"2"
    assert log.since(0).agents["x"].set == {"f": b"1"}


# publications


def test_a_publication_is_applied_once(log):
    publication = Publication("once", (change(EVENT),))
    assert log.store.apply(publication)
    assert not log.store.apply(publication)
    assert log.store.head == 1


def test_each_part_is_applied_whatever_its_index_and_the_rest_with_the_whole(log):
    """What went wrong: the second part alone was taken for the first, and lost."""
    publication = Publication("p", tuple(change(REPLACE, agent, {"f": 1}) for agent in "xyz"))
    parts = publication.parts()
    assert log.store.apply(parts[0])
    assert log.store.apply(parts[1])
    assert not log.store.apply(parts[1])
    assert log.store.apply(publication)
    assert sorted(log.store.states("a")) == ["x", "y", "z"]
    assert log.store.head == 3
    assert not log.store.apply(parts[2])


def test_old_publications_are_forgotten_after_a_thousand(log):
    first = Publication("first", (change(EVENT),))
    log.store.apply(first)
    for _ in range(1023):
        log(change(EVENT))
    assert not log.store.apply(first), "a thousand and more may come in between"
    log(change(EVENT))
    assert log.store.apply(first)


def test_content_that_is_no_object_is_refused_by_itself(log):
    """The others of its publication are applied, and the numbers go on."""
    with pytest.raises(UpdatesRejected) as caught:
        log(
            change(REPLACE, "x", {"f": 1}),
            change(REPLACE, "y", b'{"f":}', channels=("a", "b")),
            change(EVENT),
        )
    assert list(caught.value.reasons) == [1]
    assert sorted(log.store.states("a")) == ["x"]
    assert log.store.states("b") == {}
    assert [event.offset for event in log.since(0).events] == [3]
    assert log(change(REPLACE, "y", {"f": 2}))
    assert log.store.head == 4


# tombstones


def test_old_tombstones_are_dropped_and_the_floor_tells():
    log = Log(max_tombstones=4)
    for agent in "abcde":
        log(change(REPLACE, agent, {"f": 1}))
    for agent in "abcd":
        log(change(REMOVE, agent))
    assert log.channel().floor == 0
    log(change(REPLACE, "e", {}))
    assert log.channel().floor == 8
    assert log.since(7).reset
    assert log.since(8).removed == ["d"]
    assert log.since(8).agents["e"].unset == ["f"]
    assert log.channel().removals_since(0) == [("d", 1.0)]


def test_unset_fields_are_dropped_too():
    log = Log(max_tombstones=2)
    log(change(REPLACE, "x", {"f": 1, "g": 1, "h": 1}))
    for field in "fgh":
        log(change(MERGE, "x", {}, unset=[field]))
    assert log.channel().tombstones == 1
    assert log.since(log.channel().floor).agents["x"].unset == ["h"]


def test_readers_are_told_whose_tombstones_are_dropped_by_when_the_agents_were_made():
    """A pass that is under way tells those agents once more, if its client may have known them."""
    log, reader = Log(max_tombstones=100), Reader()
    reader.reach = 99
    for agent in "vwxyz":
        log(change(REPLACE, agent, {"f": 1, "g": 1}))
    log.channel().readers.add(reader)
    log(change(MERGE, "y", {}, unset=["f"]))  # 6
    log(change(MERGE, "x", {}, unset=["f"]))  # 7
    log(change(REMOVE, "w"))  # 8
    log(change(MERGE, "x", {}, unset=["g"]))  # 9
    log(change(REMOVE, "v"))  # 10
    log(change(MERGE, "z", {}, unset=["f"]))  # 11
    log.channel().compact()
    assert log.channel().floor == 9
    assert list(reader.lost) == ["w", "x", "y"], "in order of their creation; v and z have theirs still"
    assert log.channel().agents["x"].unset is None
    assert log.channel().tombstones == 1
    assert log.channel().gone_since(9) == [("v", 1.0)]


def test_a_removal_that_is_dropped_stands_for_all_that_had_the_name():
    """Who knew the first of them, and has heard of nothing since, must hear that it is gone."""
    log, seen = Log(max_tombstones=100), []

    class Seen(Reader):
        def forget(self, dropped):
            seen.append(list(dropped))

    reader = Seen()
    log(change(REPLACE, "y", {"f": 1}))
    log.channel().readers.add(reader)
    for _ in range(2):
        log(change(REPLACE, "x", {"f": 1}))
        log(change(REMOVE, "x"))
    log.channel().compact()
    assert seen == [[(2, "x")]]
    log(change(REPLACE, "x", {"f": 1}))
    log(change(REMOVE, "x"))
    log.channel().compact()
    assert seen[1:] == [[(6, "x")]], "what stands for an earlier one was dropped with it"


def test_compacting_nothing_changes_nothing(log):
    log.channel().compact()
    assert log.channel().floor == 0


def test_many_removed_agents_leave_no_holes_behind():
    log = Log(max_tombstones=10)
    for number in range(500):
        log(change(REPLACE, f"agent {number}", {"f": 1}))
    channel = log.channel()
    for number in (*range(0, 500, 2), *range(1, 400, 2)):
        log(change(REMOVE, f"agent {number}"))
        assert len(channel._created) <= 2 * len(channel.agents) + 64
    scanned = [agent.agent_id for agent in channel.scan(0, log.store.head)]
    assert scanned == [f"agent {number}" for number in range(401, 500, 2)]
    log(change(REMOVE, "agent 401"))
    log(change(REPLACE, "agent 401", {"f": 2}))
    scanned = [agent.agent_id for agent in channel.scan(0, log.store.head)]
    assert scanned == [f"agent {number}" for number in range(403, 500, 2)] + ["agent 401"]


def test_a_scan_goes_from_after_the_cursor_up_to_the_limit(log):
    for agent in "xyz":
        log(change(REPLACE, agent, {"f": 1}))
    assert [agent.agent_id for agent in log.channel().scan(1, 2)] == ["y"]
    assert [agent.agent_id for agent in log.channel().scan(3, 9)] == []


# events


def test_the_ring_keeps_the_newest_events_and_knows_how_many_there_were():
    log = Log(max_events=3)
    for number in range(5):
        log(change(EVENT, content={"n": number}, update_type="said", timestamp=number + 0.5))
    frame = log.since(0)
    assert [(event.offset, event.timestamp, event.update_type) for event in frame.events] == [
        (3, 2.5, "said"), (4, 3.5, "said"), (5, 4.5, "said"),
    ]  # fmt: skip
    assert frame.event_count == 5
    assert log.channel().last_evicted == 2


def test_the_ring_is_bounded_in_bytes_but_keeps_the_last_event():
    log = Log(max_event_bytes=30)
    log(change(EVENT, content={"n": "x" * 10}))
    log(change(EVENT, content={"n": "y" * 10}))
    assert [event.offset for event in log.since(0).events] == [2]
    log(change(EVENT, content={"n": "z" * 100}))
    assert [event.offset for event in log.since(0).events] == [3]
    assert log.channel().event_bytes == log.store.size_bytes() == 108


def test_questions_about_events_hold_while_the_ring_turns():
    """The passed events are let go of in blocks; answers must not depend on when."""
    log = Log(max_events=10)
    for number in range(1, 1500):
        log(change(EVENT))
        channel = log.channel()
        kept = list(range(max(1, number - 9), number + 1))
        for position in (0, number - 11, number - 5, number - 1, number):
            above = [offset for offset in kept if offset > position]
            assert [event.offset for event in channel.events_between(position, number)] == above
            assert channel.events_until(position) == number - len(above)
            following = channel.next_event(position)
            assert (following.offset if following else None) == (above[0] if above else None)
        assert [event.offset for event in channel.events_between(0, number - 3)] == kept[:-3]
    assert len(channel._events) <= 300


def test_gauges_over_all_channels(log):
    log(change(REPLACE, "x", {"f": 12345}, channels=("a", "b")), change(EVENT, content={"n": 1}))
    assert log.store.agent_count() == 1, "an agent in two channels is one agent"
    assert log.store.size_bytes() == 2 * 5 + len('{"n":1}')
    log(change(MERGE, "x", {"g": 1}, unset=["f"]))
    assert log.store.size_bytes() == 1 + 5 + len('{"n":1}')
    log(change(REMOVE, "x", channels=("a", "b")))
    assert log.store.size_bytes() == len('{"n":1}')


# what each answer holds, to the last field


def test_an_answer_names_its_epoch_its_ends_and_each_event_whole(log):
    log(change(REPLACE, "x", {"f": 1}, timestamp=3.5))
    log(change(EVENT, "y", {"n": 1}, update_type="said", timestamp=4.5))
    frame = log.since(1)
    assert (frame.epoch, frame.from_, frame.to, frame.reset) == ("e1", 1, 2, False)
    assert frame.events == [Event(2, "y", "said", b'{"n":1}', 4.5)]
    snapshot = log.store.changes_since("a", "e0", 1)
    assert (snapshot.epoch, snapshot.from_, snapshot.to, snapshot.reset) == ("e1", 0, 2, True)
    assert (snapshot.removed, snapshot.events, snapshot.event_count) == ([], [], 1)
    assert log.channel().changes_since(0, 2, "e1").reset is False, "exact, if nobody says otherwise"


def test_a_change_at_the_position_itself_is_known_already(log):
    log(change(REPLACE, "x", {"f": 1, "g": 1}))
    log(change(MERGE, "x", {"f": 2}, unset=["g"]))
    log(change(MERGE, "x", {"h": 3}))
    assert log.since(2).agents["x"] == AgentChanges({"h": b"3"}, [])
    assert log.since(1).agents["x"] == AgentChanges({"f": b"2", "h": b"3"}, ["g"])


def test_an_agent_is_told_as_whole_with_the_type_and_time_it_last_had(log):
    log(change(REPLACE, "x", {"f": 1}, update_type="moved", timestamp=3.5))
    agent = log.channel().agents["x"]
    assert (agent.created, agent.changed, agent.update_type, agent.timestamp) == (1, 1, "moved", 3.5)
    assert agent.whole == b'{"f":1}'
    log(change(MERGE, "x", {"g": 2}, update_type="state_patch", timestamp=4.5))
    assert (agent.created, agent.changed, agent.update_type, agent.timestamp) == (1, 2, "moved", 4.5)
    assert agent.whole is None
    assert agent.text() == b'{"f":1,"g":2}'
    log(change(REPLACE, "x", {"f": 9}, update_type="calmed", timestamp=5.5))
    assert (agent.created, agent.changed, agent.update_type, agent.timestamp) == (1, 3, "calmed", 5.5)
    assert agent.whole == b'{"f":9}'


def test_agents_and_events_have_the_priority_of_their_change(log):
    """It decides what overtakes when somebody is told of them, now or in a catch-up."""
    log(change(REPLACE, "x", {"f": 1}, priority=UpdatePriority.LOW))
    assert log.channel().agents["x"].priority is UpdatePriority.LOW
    assert log.channel().agents["x"].rendered is None, "a frame is made when somebody wants it"
    log(change(MERGE, "x", {"f": 2}, priority=UpdatePriority.CRITICAL))
    assert log.channel().agents["x"].priority is UpdatePriority.CRITICAL
    log(change(EVENT, priority=UpdatePriority.HIGH))
    assert log.channel().next_event(0).priority is UpdatePriority.HIGH


def test_an_agent_made_by_a_patch_is_told_as_a_full_state(log):
    log(change(MERGE, "x", {"f": 1}, update_type="state_patch", timestamp=4.5))
    agent = log.channel().agents["x"]
    assert (agent.update_type, agent.timestamp, agent.text()) == ("state_change", 4.5, b'{"f":1}')


def test_a_patch_with_the_bytes_of_the_whole_is_still_a_patch(log):
    """Only a full state of equal bytes can be passed over unread; a patch may unset besides."""
    log(change(REPLACE, "x", {"f": 1}))
    log(change(MERGE, "x", {"f": 1}, unset=["f"]))
    assert log.channel().agents["x"].text() == b"{}"
    assert log.since(1).agents["x"] == AgentChanges({}, ["f"])


def test_sizes_are_those_of_what_is_kept_at_every_step(log):
    steps = [
        change(REPLACE, "x", {"f": "aaaa", "g": "b"}),
        change(REPLACE, "y", {"f": "cc"}),
        change(MERGE, "x", {"f": "a"}),
        change(MERGE, "x", {"h": "ddddd"}, unset=["g"]),
        change(REPLACE, "x", {"h": "e"}),
        change(REMOVE, "y"),
        change(REPLACE, "z", {"f": 1}, channels=("a", "b")),
        change(REMOVE, "z", channels=("b",)),
        change(REMOVE, "x"),
    ]
    for step in steps:
        log(step)
        for name in ("a", "b"):
            kept = [text for agent in log.channel(name).agents.values() for text in agent.fields.values()]
            assert log.channel(name).state_bytes == sum(map(len, kept))
        assert log.store.size_bytes() == log.channel("a").state_bytes + log.channel("b").state_bytes
    assert log.store.agent_count() == 1


def test_an_agent_counts_until_its_last_channel_lets_it_go(log):
    log(change(REPLACE, "x", {"f": 1}, channels=("a", "b", "c")))
    for channel, left in (("a", 1), ("b", 1), ("c", 0)):
        log(change(REMOVE, "x", channels=(channel,)))
        assert log.store.agent_count() == left
    log(change(REPLACE, "x", {"f": 1}, channels=("a", "b")))
    log(change(REMOVE, "x", channels=("b",)))
    assert log.store.agent_count() == 1


def test_tombstones_are_counted_field_by_field():
    log = Log(max_tombstones=100)
    log(change(REPLACE, "x", {"f": 1, "g": 1}), change(REPLACE, "y", {"f": 1, "g": 1}))
    log(change(MERGE, "x", {}, unset=["f", "g", "never"]), change(MERGE, "y", {}, unset=["f"]))
    assert log.channel().tombstones == 3
    log(change(MERGE, "x", {"f": 1}))
    assert log.channel().tombstones == 2
    log(change(REMOVE, "x"))
    assert log.channel().tombstones == 1
    log(change(REPLACE, "y", {}))
    assert log.channel().tombstones == 2


def test_as_many_tombstones_as_allowed_stay():
    log = Log(max_tombstones=2)
    for agent in "xyz":
        log(change(REPLACE, agent, {"f": 1}))
    log(change(REMOVE, "x"))
    log(change(REMOVE, "y"))
    assert log.channel().floor == 0
    log(change(REMOVE, "z"))
    assert log.channel().floor > 0


def test_the_ring_may_be_as_full_of_bytes_as_allowed():
    log = Log(max_event_bytes=14)
    log(change(EVENT, content={"n": 1}))
    log(change(EVENT, content={"n": 2}))
    assert [event.offset for event in log.since(0).events] == [1, 2]
    log(change(EVENT, content={"n": 3}))
    assert [event.offset for event in log.since(0).events] == [2, 3]


def test_a_refusal_tells_the_error_of_each_change(log):
    with pytest.raises(UpdatesRejected) as caught:
        log(change(REPLACE, "y", b"[]"))
    assert caught.value.reasons[0].startswith("ValidationError: Expected `object`, got `array`")


def test_a_channel_that_nothing_was_ever_in_has_the_store_s_own_limits():
    log = Log(max_events=7)
    assert log.channel("never").config.max_events == 7
    assert (log.channel("never").changed_at, log.channel("never").state_bytes) == (0, 0)
    assert log.channel("never").name == "never"
    log(change(EVENT))
    assert log.channel().name == "a"
    assert log.channel().last_evicted == 0, "no event was let go of"


# what is urgent


def test_critical_changes_are_known_with_their_agents_in_order(log):
    """A pass that tells a long catch-up asks for them in between; what it was told already is not urgent any more."""
    for agent in "xyxz":
        log(change(EVENT, agent, priority=UpdatePriority.CRITICAL))
        log(change(EVENT, "calm"))
    assert log.channel().urgent_since(0) == [(1, "x"), (3, "y"), (5, "x"), (7, "z")]
    assert log.channel().urgent_since(5) == [(7, "z")], "what changed at the position itself is known there"
    assert log.channel().urgent_since(8) == []


def test_only_the_latest_critical_changes_are_remembered(log):
    for _ in range(URGENT_KEPT + 10):
        log(change(EVENT, priority=UpdatePriority.CRITICAL))
    assert [offset for offset, _ in log.channel().urgent_since(0)] == list(range(11, URGENT_KEPT + 11))


def test_what_changes_nothing_leaves_no_trace(log):
    """Neither is the channel newer, for who looks whether there is news, nor the agent urgent."""
    critical = UpdatePriority.CRITICAL
    log(change(REPLACE, "x", {"f": 1, "g": 2}))
    for nothing in (
        change(REPLACE, "x", {"f": 1, "g": 2}, priority=critical),
        change(REPLACE, "x", {"g": 2, "f": 1}, priority=critical),
        change(MERGE, "x", {"f": 1}, unset=["never"], priority=critical),
        change(REMOVE, "unknown", priority=critical),
    ):
        log(nothing)
        assert log.channel().changed_at == 1
        assert log.channel().urgent_since(0) == []
    log(change(REMOVE, "x", priority=critical))
    assert log.channel().changed_at == 6
    assert log.channel().urgent_since(0) == [(6, "x")]
