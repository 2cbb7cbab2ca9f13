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


def nothing(client: Any, agent_id: str, params: Any) -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": ""}, "1 to 90"),
        ({"name": "x" * 91}, "1 to 90"),
        ({"name": 7}, "1 to 90"),
        ({"handler": "move"}, "can't be called"),
        ({"params": dict}, "Struct"),
        ({"params": Move("pool")}, "Struct"),
        ({"permission": 7}, "permission"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"rate_per_s": -1.0}, "rate_per_s"),
        ({"rate_per_s": float("nan")}, "rate_per_s"),
        ({"rate_per_s": 1.0, "burst": 0}, "burst"),
    ],
)
def test_what_can_be_no_action_is_refused_when_it_is_made(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Action(**{"name": "move", "handler": nothing, **values})


def test_a_name_belongs_to_one_action_and_only_actions_are_registered() -> None:
    move = Action("move", nothing)
    assert action_table([move])["move"] is move
    with pytest.raises(ConfigurationError, match="two actions are called 'move'"):
        action_table([move, Action("move", nothing)])
    with pytest.raises(ConfigurationError, match="Action objects"):
        action_table([("move", nothing)])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "to"),
        ({"to": "moon"}, "params.to"),
        ({"to": "pool", "path": [{"x": 1}, {"x": -1}]}, "params.path[1].x"),
        ({"to": "pool", "path": [{"x": "1"}]}, "params.path[0].x"),
        ({"to": "pool", "secret": 1}, "secret"),
    ],
)
def test_params_that_do_not_fit_are_refused_with_their_path(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionRefused) as caught:
        Action("move", nothing, params=Move).read(params)
    assert caught.value.code == "invalid_field"
    assert says in str(caught.value)


def test_an_action_without_a_schema_takes_nothing() -> None:
    assert Action("stop", nothing).read({}) is None
    with pytest.raises(ActionRefused, match="takes none"):
        Action("stop", nothing).read({"now": True})


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
