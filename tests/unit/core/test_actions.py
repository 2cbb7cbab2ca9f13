"""Registered actions: what they may be made of, and how params are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from django_update_pipeline import Action
from django_update_pipeline.core.actions import action_table
from django_update_pipeline.exceptions import ActionRefused, ConfigurationError


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: Annotated[int, Meta(ge=0)]
    y: int = 0


class Move(msgspec.Struct, forbid_unknown_fields=True):
    to: Literal["pool", "bar"]
    path: list[Point] = []
    X: int = 0


def nothing(client: Any, agent_id: str, params: Any) -> None:
    """Does nothing."""


NAME = "action name {!r:.120} is not 1 to 90 characters"
PARAMS = "params of action 'move' is {!r:.80}: give a msgspec.Struct, or None"
PERMISSION = "permission of action 'move' is neither a name nor a function"
RATE = "action 'move' has rate_per_s {} and burst {}: both must be above 0; for no limit leave them out"
OBJECT = object()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": ""}, NAME.format("")),
        ({"name": "x" * 91}, NAME.format("x" * 91)),
        ({"name": 7}, NAME.format(7)),
        ({"handler": "move"}, "the handler of action 'move' can't be called"),
        ({"params": dict}, PARAMS.format(dict)),
        ({"params": Move("pool")}, PARAMS.format(Move("pool"))),
        ({"permission": 7}, PERMISSION),
        ({"permission": OBJECT}, PERMISSION),
        ({"rate_per_s": 0}, RATE.format(0, 1)),
        ({"rate_per_s": -1.0}, RATE.format(-1.0, 1)),
        ({"rate_per_s": float("nan")}, RATE.format("nan", 1)),
        ({"rate_per_s": 1.0, "burst": 0}, RATE.format(1.0, 0)),
    ],
)
def test_what_can_be_no_action_is_refused_when_it_is_made(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Action(**{"name": "move", "handler": nothing, **values})
    assert str(caught.value) == says
    assert caught.value.path == "plugins"


def test_an_action_may_be_as_little_and_as_much_as_this() -> None:
    for name in ("x", "x" * 90):
        assert Action(name, nothing).name == name
    for permission in (None, "shop.move", nothing):
        assert Action("move", nothing, permission=permission).permission == permission
    for rate_per_s, burst in ((0.1, 1), (1, 1), (50.0, 100)):
        action = Action("move", nothing, rate_per_s=rate_per_s, burst=burst)
        assert (action.rate_per_s, action.burst) == (rate_per_s, burst)
    assert (Action("move", nothing).rate_per_s, Action("move", nothing).burst) == (None, 1)


def test_a_name_belongs_to_one_action_and_only_actions_are_registered() -> None:
    move, stop = Action("move", nothing), Action("stop", nothing)
    assert action_table([move, stop]) == {"move": move, "stop": stop}
    with pytest.raises(ConfigurationError) as caught:
        action_table([move, Action("move", nothing)])
    assert str(caught.value) == "two actions are called 'move': a name belongs to one plugin"
    assert caught.value.path == "plugins"
    with pytest.raises(ConfigurationError) as caught:
        action_table([("move", 7)])
    assert (
        str(caught.value)
        == "provide_actions returned ('move', 7): return django_update_pipeline.Action objects"
    )
    assert caught.value.path == "plugins"


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "'params': 'Object missing required field `to`'"),
        ({"to": "moon"}, "'params.to': 'Invalid enum value 'moon''"),
        ({"to": "pool", "path": [{"x": 1}, {"x": -1}]}, "'params.path[1].x': 'Expected `int` \\x3e= 0'"),
        ({"to": "pool", "path": [{"x": "1"}]}, "'params.path[0].x': 'Expected `int`, got `str`'"),
        ({"to": "pool", "secret": 1}, "'params': 'Object contains unknown field `secret`'"),
        ({"to": "pool", "X": "1"}, "'params.X': 'Expected `int`, got `str`'"),
    ],
)
def test_params_that_do_not_fit_are_refused_with_their_path(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionRefused) as caught:
        Action("move", nothing, params=Move).read(params)
    assert caught.value.code == "invalid_field"
    assert str(caught.value) == says


def test_params_that_fit_are_an_instance() -> None:
    read = Action("move", nothing, params=Move).read({"to": "bar", "path": [{"x": 1}]})
    assert read == Move("bar", [Point(1)])


def test_an_action_without_a_schema_takes_nothing() -> None:
    assert Action("stop", nothing).read({}) is None
    with pytest.raises(ActionRefused) as caught:
        Action("stop", nothing).read({"now": True})
    assert (str(caught.value), caught.value.code) == ("params: 'stop' takes none", "invalid_field")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text() | st.sampled_from(["to", "path"]), json_values, max_size=4))
def test_whatever_is_sent_it_is_read_or_refused_in_plain_ascii(params: dict[str, Any]) -> None:
    """The refusal goes to the client and may meet a page or a log: nothing of theirs stands in it unescaped."""
    try:
        read = Action("move", nothing, params=Move).read(params)
    except ActionRefused as error:
        text = str(error)
        assert text.isascii()
        assert text.isprintable()
        assert not set("<>&") & set(text)
        assert len(text) < 250
    else:
        assert isinstance(read, Move)
