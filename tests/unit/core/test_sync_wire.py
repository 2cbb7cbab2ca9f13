"""What a client of the sync protocol sends, frame by frame, and what it is told about each that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_update_pipeline.core.sync_wire import (
    MAX_FIELDS,
    SUBPROTOCOL,
    SYNC_READERS,
    Ack,
    SyncAction,
    SyncSubscribe,
    starting_at,
)
from django_update_pipeline.core.view import View
from django_update_pipeline.core.wire import (
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Position,
    Unsubscribe,
    decode_client_frame,
)

LIMITS = FrameLimits(max_channels_per_frame=2, max_name_length=5)


def read(kind: str, **frame: Any) -> Any:
    return decode_client_frame(json.dumps({"type": kind, **frame}), LIMITS, SYNC_READERS)


def refusal(kind: str, **frame: Any) -> FrameError:
    with pytest.raises(FrameError) as caught:
        read(kind, **frame)
    return caught.value


def test_the_frames_there_are() -> None:
    assert SUBPROTOCOL == "update-pipeline.sync.v1"
    assert sorted(SYNC_READERS) == ["ack", "agent_action", "ping", "subscribe", "unsubscribe"]
    assert read("ping", timestamp=7) == Ping(7)
    assert read("unsubscribe", channels=["a"]) == Unsubscribe(("a",))


# subscribe


def test_channels_are_wanted_from_nothing() -> None:
    assert read("subscribe", channels=["b", "a"]) == SyncSubscribe({View("b"): None, View("a"): None})
    assert list(read("subscribe", channels=["b", "a"]).since) == [View("b"), View("a")]


def test_a_position_is_where_to_go_on_from() -> None:
    wanted = read("subscribe", channels=["a", "b"], since={"a": {"epoch": "e", "offset": 7}})
    assert wanted.since == {View("a"): Position("e", 7), View("b"): None}
    wanted = read("subscribe", channels=["a"], since={"a": {"epoch": "e", "offset": 7, "view": ""}})
    assert wanted.since == {View("a"): Position("e", 7, "")}


def test_a_projection_is_a_view_of_its_own_with_sorted_fields_each_once() -> None:
    wanted = read("subscribe", channels=["a", "b"], fields={"a": ["y", "x", "y"]})
    assert wanted.since == {View("a", ("x", "y")): None, View("b"): None}


@pytest.mark.parametrize(("view", "at"), [("x,y", ("e", 7)), ("x", None), ("", None), (None, None)])
def test_a_position_is_valid_for_its_own_view_only(view: str | None, at: tuple[str, int] | None) -> None:
    position = {"epoch": "e", "offset": 7} | ({} if view is None else {"view": view})
    wanted = read("subscribe", channels=["a"], since={"a": position}, fields={"a": ["x", "y"]})
    assert wanted.since == {View("a", ("x", "y")): Position("e", 7, view)}
    assert starting_at(View("a", ("x", "y")), Position("e", 7, view)) == at


def test_a_projections_position_is_none_of_the_whole_channel() -> None:
    assert starting_at(View("a"), Position("e", 7, "x")) is None
    assert starting_at(View("a"), Position("e", 7)) == ("e", 7)
    assert starting_at(View("a"), None) is None


def test_a_view_without_events_is_another_view() -> None:
    """What was told with them says nothing of one without, and the other way round."""
    silent = View("a", ("x",), has_events=False)
    assert starting_at(silent, Position("e", 7, "x")) is None
    assert starting_at(silent, Position("e", 7, silent.name)) == ("e", 7)
    assert starting_at(View("a", ("x",)), Position("e", 7, silent.name)) is None


def test_names_that_no_channel_has_are_kept_apart() -> None:
    assert read("subscribe", channels=["a", "no way"]) == SyncSubscribe({View("a"): None}, ("no way",))


def test_the_limits_of_frames_are_kept() -> None:
    assert refusal("subscribe", channels=["a", "b", "c"]).code == "too_many_channels"
    assert refusal("agent_action", agent_id="x", action="danced").code == "invalid_field"


@pytest.mark.parametrize("fields", [[], "x", 7, None])
def test_fields_that_are_no_object(fields: Any) -> None:
    error = refusal("subscribe", channels=["a"], fields=fields)
    assert error.code == "invalid_field"
    assert error.message == 'fields is no object: send {"channel": ["field", ...]}, or leave it out'


@pytest.mark.parametrize("names", [[], {}, "x", 0, False, [f"f{n}" for n in range(MAX_FIELDS + 1)]])
def test_a_projection_is_an_array_of_some_names(names: Any) -> None:
    error = refusal("subscribe", channels=["a"], fields={"a": names})
    assert error.code == "invalid_field"
    assert error.message == "fields of a must be an array of 1 to 100 names"


def test_a_projection_may_have_a_hundred_fields_of_a_hundred_characters() -> None:
    names = [f"{n:0100}" for n in range(MAX_FIELDS)]
    assert read("subscribe", channels=["a"], fields={"a": names}).since == {View("a", tuple(names)): None}
    assert read("subscribe", channels=["a"], fields={"a": ["f"]}).since == {View("a", ("f",)): None}
    assert read("subscribe", channels=["a"], fields={"a": None}).since == {View("a"): None}


@pytest.mark.parametrize("name", ["", "x" * 101, "x\n", "__proto__", "x,y", 7, None, ["x"]])
def test_a_name_that_no_field_has(name: Any) -> None:
    error = refusal("subscribe", channels=["a"], fields={"a": ["ok", name]})
    assert error.code == "invalid_field"
    assert error.message == "fields of a has a name that no field has: send 1 to 100 characters"


# ack


def test_an_acknowledgement_with_all_it_may_say_and_with_the_least() -> None:
    whole = read("ack", channel="a", offset=7, age_ms=12.5, repaired=2)
    assert whole == Ack("a", 7, 12.5, 2)
    least = read("ack", channel="a", offset=0)
    assert least == Ack("a", 0, None, 0)
    assert (least.age_ms, least.repaired) == (None, 0)


@pytest.mark.parametrize("age_ms", [0, 0.0, 3, 1e300, -0.5, -1, -1e300])
def test_an_age_is_a_float_of_milliseconds(age_ms: float) -> None:
    ack = read("ack", channel="a", offset=7, age_ms=age_ms)
    assert type(ack.age_ms) is float
    assert ack.age_ms == age_ms


@pytest.mark.parametrize("repaired", [0, 1, 1_000_000])
def test_a_count_of_repairs(repaired: int) -> None:
    assert read("ack", channel="a", offset=7, repaired=repaired).repaired == repaired


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("channel", ["", "no way", 7, None], "channel of an ack must be a channel's name"),
        ("offset", [-1, 7.0, True, "7", None], "offset of an ack must be the frame's `to`, an integer"),
        ("age_ms", [True, "7", [7]], "age_ms of an ack must be milliseconds, a finite number"),
        ("repaired", [-1, 1_000_001, 0.0, True, None], "repaired of an ack must be a count"),
    ],
)
def test_an_acknowledgement_of_what_nobody_sent(field: str, values: list[Any], says: str) -> None:
    for value in values:
        error = refusal("ack", **{"channel": "a", "offset": 7, field: value})
        assert (error.code, error.message) == ("invalid_field", says), value


def test_an_age_without_end_is_none() -> None:
    """JSON has no such number; a frame that was decoded by other means may."""
    with pytest.raises(FrameError, match="age_ms"):
        SYNC_READERS["ack"]({"channel": "a", "offset": 7, "age_ms": float("inf")}, LIMITS)


# agent_action


@pytest.mark.parametrize("request_id", [None, 0, 7, -(2**53), "", "x" * 80])
def test_an_action_has_its_id(request_id: Any) -> None:
    action = read("agent_action", agent_id="x", action="move", params={"to": "pool"}, id=request_id)
    assert action == SyncAction(AgentAction("x", "move", {"to": "pool"}), request_id)


def test_an_action_may_do_without() -> None:
    assert read("agent_action", agent_id="x", action="move") == SyncAction(AgentAction("x", "move", {}), None)


@pytest.mark.parametrize("request_id", [True, False, 1.5, [], {}])
def test_an_id_of_another_type(request_id: Any) -> None:
    error = refusal("agent_action", agent_id="x", action="move", id=request_id)
    assert (error.code, error.request_id) == ("invalid_field", None)
    assert error.message == "id of an action must be a string or an integer, or be left out"


def test_an_id_that_is_too_long() -> None:
    error = refusal("agent_action", agent_id="x", action="move", id="x" * 81)
    assert (error.code, error.request_id) == ("invalid_field", None)
    assert error.message == "id has more than 80 characters: send fewer"


def test_what_is_wrong_with_an_action_comes_back_with_its_id() -> None:
    error = refusal("agent_action", agent_id="x", action="move", params=[], id=7)
    assert (error.code, error.request_id) == ("invalid_field", 7)
    assert error.message == "params is an array: send an object, or leave it out"
    assert str(error) == error.message
