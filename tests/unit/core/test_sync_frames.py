"""The sync protocol's frame, character by character."""

from __future__ import annotations

import json

import pytest

from django_update_pipeline.core.messages import UpdatePriority
from django_update_pipeline.core.store import AgentState, Event
from django_update_pipeline.core.sync_frames import (
    ACK,
    FrameBuilder,
    SyncFrame,
    View,
    agent_text,
    check_text,
    event_text,
)

A = View("a")
XY = View("a", ("x", "y"))


def agent(
    created: int = 1, agent_id: str = "k", unset: dict[str, int] | None = None, **fields: int
) -> AgentState:
    """An agent whose fields have their offsets for values."""
    made = AgentState(agent_id, created)
    made.offsets = dict(fields)
    made.fields = {name: str(offset).encode() for name, offset in fields.items()}
    made.unset = unset
    made.timestamp = 50.0
    made.changed = max([created, *fields.values(), *(unset or {}).values()])
    return made


def event(offset: int = 7, timestamp: float = 50.25, priority: int = 2, agent_id: str = "k") -> Event:
    return Event(offset, agent_id, 'sa"id', b'{"n":1}', timestamp, UpdatePriority(priority))


def test_a_view_is_named_by_its_fields() -> None:
    assert (A.name, XY.name, View("a", ("x",)).name) == ("", "x,y", "x")


# an agent's text


def test_an_agent_that_is_new_is_told_whole() -> None:
    assert agent_text(agent(5, x=5, y=6), 4, None) == '"k":{"set":{"x":5,"y":6},"at":50.000}'
    assert agent_text(agent(5, x=3), 4, None) == '"k":{"set":{"x":3},"at":50.000}', (
        "whatever its fields' offsets"
    )


def test_an_agents_own_text_is_taken_where_it_is_at_hand() -> None:
    whole = agent(5, x=5)
    whole.whole = b'{"x":"at hand"}'
    assert agent_text(whole, 4, None) == '"k":{"set":{"x":"at hand"},"at":50.000}'
    assert agent_text(whole, 5, None) is None, "it is no longer new"
    assert agent_text(whole, 4, ("x",)) == '"k":{"set":{"x":5},"at":50.000}', (
        "a projection is made from fields"
    )


def test_of_one_that_is_known_what_changed_above_the_offset_is_told() -> None:
    known = agent(1, x=5, y=6, z=7)
    assert agent_text(known, 5, None) == '"k":{"set":{"y":6,"z":7},"at":50.000}'
    assert agent_text(known, 6, None) == '"k":{"set":{"z":7},"at":50.000}'
    assert agent_text(known, 7, None) is None


def test_fields_that_are_gone_are_told_above_the_offset() -> None:
    known = agent(1, x=5, unset={"p": 6, "q": 7})
    assert agent_text(known, 5, None) == '"k":{"unset":["p","q"],"at":50.000}'
    assert agent_text(known, 6, None) == '"k":{"unset":["q"],"at":50.000}'
    assert agent_text(known, 7, None) is None
    assert agent_text(known, 4, None) == '"k":{"set":{"x":5},"unset":["p","q"],"at":50.000}'


def test_one_that_is_new_is_told_with_all_its_tombstones() -> None:
    """A client ahead of the offset may know fields that are gone."""
    assert agent_text(agent(5, unset={"p": 3}), 4, None) == '"k":{"unset":["p"],"at":50.000}'
    assert agent_text(agent(5, unset={"p": 3}), 4, ("p",)) == '"k":{"unset":["p"],"at":50.000}'


def test_one_that_is_new_and_has_nothing_is_told_of_all_the_same() -> None:
    assert agent_text(agent(5), 4, None) == '"k":{"at":50.000}'
    assert agent_text(agent(5), 5, None) is None
    assert agent_text(agent(5, z=5), 4, ("x",)) == '"k":{"at":50.000}'


def test_a_projection_is_told_of_its_fields_in_its_order() -> None:
    known = agent(1, y=6, x=5, z=7, unset={"p": 6, "q": 7})
    assert agent_text(known, 4, ("x", "y")) == '"k":{"set":{"x":5,"y":6},"at":50.000}'
    assert agent_text(known, 5, ("x", "y")) == '"k":{"set":{"y":6},"at":50.000}'
    assert agent_text(known, 6, ("x", "y")) is None
    assert agent_text(known, 5, ("p", "x")) == '"k":{"unset":["p"],"at":50.000}'
    assert agent_text(known, 6, ("p", "x")) is None
    assert agent_text(agent(5, x=5, z=5), 4, ("w", "x")) == '"k":{"set":{"x":5},"at":50.000}'
    assert agent_text(agent(5, x=3), 4, ("x",)) == '"k":{"set":{"x":3},"at":50.000}', "new: all it has"


def test_names_of_agents_and_fields_are_json() -> None:
    odd = agent(1, 'k"', unset={'p"': 6})
    assert agent_text(odd, 5, None) == '"k\\"":{"unset":["p\\""],"at":50.000}'


def test_a_time_has_three_digits_after_the_point() -> None:
    known = agent(1, x=5)
    known.timestamp = 1623456789.12345
    assert agent_text(known, 4, None) == '"k":{"set":{"x":5},"at":1623456789.123}'


def test_an_events_text() -> None:
    assert event_text(event(agent_id='k"')) == (
        '{"offset":7,"agent_id":"k\\"","update_type":"sa\\"id","data":{"n":1},"timestamp":50.250}'
    )


def test_a_check_counts_all_agents_and_has_some_whole() -> None:
    agents = {one.agent_id: one for one in (agent(1, "k", x=1, y=2), agent(2, 'l"', y=2, x=3), agent(3, "m"))}
    assert check_text(agents, ["k", 'l"'], None) == (
        ',"check":{"count":3,"agents":{"k":{"x":1,"y":2},"l\\"":{"y":2,"x":3}}}'
    )
    assert check_text(agents, ['l"', "m"], ("x", "z")) == (
        ',"check":{"count":3,"agents":{"l\\"":{"x":3},"m":{}}}'
    )
    assert check_text(agents, [], None) == ',"check":{"count":3,"agents":{}}'


# the frame


def test_an_empty_frame_says_where_it_leads() -> None:
    builder = FrameBuilder(A)
    assert builder.is_empty
    frame = builder.build("e", 3, 5, 100.0, 9)
    assert (
        frame.text == '{"type":"sync","channel":"a","epoch":"e","from":3,"to":5,"ts":100.000,"event_count":9}'
    )
    assert frame == SyncFrame(A, frame.text, 5, 0.0, (), False, True)


def test_a_frame_with_all_there_can_be() -> None:
    builder = FrameBuilder(XY)
    builder.remove(["g", 'h"'])
    assert builder.change(agent(1, "k", x=5), 4)
    assert builder.change(agent(1, "l", y=6), 4)
    builder.event(event(7))
    builder.event(event(8))
    frame = builder.build(
        "e", 4, 8, 100.1239, 2, reset=True, more=True, urgent=True, check=check_text({}, [], None)
    )
    assert frame.text == (
        '{"type":"sync","channel":"a","view":"x,y","epoch":"e","from":4,"to":8,"ts":100.124,"reset":true,"more":true,'
        '"urgent":true,"removed":["g","h\\""],"agents":{"k":{"set":{"x":5},"at":50.000},'
        '"l":{"set":{"y":6},"at":50.000}},"events":['
        '{"offset":7,"agent_id":"k","update_type":"sa\\"id","data":{"n":1},"timestamp":50.250},'
        '{"offset":8,"agent_id":"k","update_type":"sa\\"id","data":{"n":1},"timestamp":50.250}],'
        '"event_count":2,"check":{"count":0,"agents":{}}}'
    )
    assert json.loads(frame.text)["view"] == "x,y"
    assert frame.is_urgent
    assert (frame.view, frame.to) == (XY, 8)


def test_a_frame_that_asks() -> None:
    frame = FrameBuilder(A).build("e", 3, 5, 100.0, 9)
    assert frame.asking == frame.text[:-1] + ',"ack":true}'
    assert ACK == ',"ack":true}'
    assert json.loads(frame.asking)["ack"] is True


@pytest.mark.parametrize("what", ["removed", "agents", "events"])
def test_a_builder_with_anything_in_it_is_not_empty(what: str) -> None:
    builder = FrameBuilder(A)
    if what == "removed":
        builder.remove(["g"])
    elif what == "agents":
        builder.change(agent(1, x=5), 4)
    else:
        builder.event(event())
    assert not builder.is_empty
    assert list(json.loads(builder.build("e", 3, 7, 100.0, 1).text)).count(what) == 1
    assert builder.is_empty, "it begins anew"


def test_what_is_nothing_in_this_view_is_not_told() -> None:
    builder = FrameBuilder(XY)
    assert builder.change(agent(1, z=5), 4) is False
    assert builder.is_empty
    assert (builder.size, builder.queued) == (200, {})
    assert builder.change(agent(1, x=5), 4) is True


def test_its_size_is_that_of_its_texts_with_a_comma_each() -> None:
    builder = FrameBuilder(A)
    assert builder.size == 200
    builder.remove(["g", 'h"'])
    assert builder.size == 200 + len('"g",') + len('"h\\"",')
    size, one = builder.size, agent(1, x=5)
    builder.change(one, 4)
    size += len(agent_text(one, 4, None) or "") + 1
    assert builder.size == size
    builder.event(event())
    assert builder.size == size + len(event_text(event())) + 1
    builder.build("e", 3, 7, 100.0, 1)
    assert builder.size == 200


def test_a_frame_knows_the_oldest_change_of_each_priority() -> None:
    builder = FrameBuilder(A)
    builder.event(event(7, timestamp=60.0, priority=2))
    builder.event(event(8, timestamp=70.0, priority=3))
    builder.event(event(9, timestamp=55.0, priority=2))
    builder.event(event(10, timestamp=65.0, priority=2))
    one = agent(1, x=9)
    one.priority = UpdatePriority.CRITICAL
    builder.change(one, 8)
    frame = builder.build("e", 6, 9, 100.0, 2)
    assert (frame.oldest, frame.queued, frame.is_urgent) == (50.0, ((2, 55.0), (3, 70.0), (0, 50.0)), False)
    assert builder.queued == {}


def test_a_frame_that_repeats_knows_its_oldest_change_only() -> None:
    builder = FrameBuilder(A)
    builder.event(event(7, timestamp=60.0, priority=2))
    frame = builder.build("e", 6, 9, 100.0, 2, is_news=False)
    assert (frame.oldest, frame.queued) == (60.0, ())
