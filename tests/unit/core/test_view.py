"""Views, and what hooks leave of them."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline.core.messages import UpdatePriority
from django_update_pipeline.core.publication import Change, Publication, UpdateKind
from django_update_pipeline.core.store import ChannelStore, Store
from django_update_pipeline.core.view import Fields, View, allowed, valid_field_name

XY = Fields("x", "y")


@pytest.mark.parametrize("name", ["x", "current_location", "Ä ö", "a" * 100])
def test_what_a_field_may_be_called(name: str) -> None:
    assert valid_field_name(name)


@pytest.mark.parametrize("name", ["", "a" * 101, "a,b", "a\n", "\ud800", "__proto__", 7, None, ["x"]])
def test_what_no_projection_names(name: Any) -> None:
    assert not valid_field_name(name)
    with pytest.raises(ValueError, match=r"Fields has .*: a name has 1 to 100 characters and no comma"):
        Fields("x", name)


def test_fields_show_something() -> None:
    with pytest.raises(ValueError, match=r"^Fields\(\) shows nothing: name the .* be seen, or answer False$"):
        Fields()


def test_fields_are_values_and_say_what_they_are() -> None:
    assert Fields("y", "x", "x") == XY
    assert hash(Fields("y", "x")) == hash(XY)
    assert len({hash(Fields(name)) for name in "abc"}) > 1
    assert Fields("x", "y", events=True) != XY
    assert Fields("x") != XY
    assert frozenset({"x", "y"}) != XY
    assert repr(XY) == "Fields('x', 'y', events=False)"
    assert XY.names == {"x", "y"}
    assert not XY.events, "the safe answer"


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (View("a"), ""),
        (View("a", ("x", "y")), "x,y"),
        (View("a", ("x", "y"), has_events=False), "x,y,,no-events"),
        (View("a", ("no-events",)), "no-events"),
        (View("a", has_events=False), ",,no-events"),
    ],
)
def test_two_views_of_a_channel_have_two_names(view: View, name: str) -> None:
    assert view.name == name


def test_narrowing_takes_away_and_adds_nothing() -> None:
    assert View("a").narrowed(XY) == View("a", ("x", "y"), False)
    assert View("a", ("z", "y")).narrowed(XY) == View("a", ("y",), False)
    assert View("a", ("z",)).narrowed(XY) is None
    silent = View("a", ("x",), has_events=False)
    assert silent.narrowed(Fields("x", events=True)) == silent


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("wanted", [View("a"), View("a", ("x", "z"))])
def test_what_hooks_leave(wanted: View, is_open: bool) -> None:
    assert allowed(wanted, (), is_open=is_open) == (wanted if is_open else None)
    assert allowed(wanted, [True], is_open=is_open) == wanted
    assert allowed(wanted, [False], is_open=is_open) is None
    assert allowed(wanted, [True, False], is_open=is_open) is None
    assert allowed(wanted, [Fields("w"), Fields("x")], is_open=is_open) is None
    assert allowed(wanted, [Fields("w"), Fields("x"), True], is_open=is_open) is None
    assert allowed(wanted, [XY, True], is_open=is_open) == wanted.narrowed(XY)


@pytest.fixture
def channel() -> ChannelStore:
    """One with three events, of which the first is forgotten."""
    from django_update_pipeline.core.config import StoreConfig

    store = Store("e", StoreConfig(max_events=2))
    for number in range(3):
        change = Change(UpdateKind.EVENT, "x", ("a",), "said", b"{}", (), 1.0, UpdatePriority.NORMAL)
        store.apply(Publication(f"p{number}", (change,)))
    return store.channel("a")


def test_the_events_of_a_view(channel: ChannelStore) -> None:
    view = View("a", ("x",))
    assert [event.offset for event in view.events_between(channel, 1, 3)] == [2, 3]
    event = view.next_event(channel, 2)
    assert event is not None
    assert event.offset == 3
    assert view.events_until(channel, 2) == 2
    assert view.event_count(channel) == 3
    assert view.last_evicted(channel) == 1


def test_a_view_without_events_knows_not_even_how_many_there_are(channel: ChannelStore) -> None:
    view = View("a", ("x",), has_events=False)
    assert view.events_between(channel, 0, 3) == []
    assert view.next_event(channel, 0) is None
    assert view.events_until(channel, 3) == 0
    assert view.event_count(channel) == 0
    assert view.last_evicted(channel) == 0
