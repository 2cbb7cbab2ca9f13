"""Slots, and what counts as one address."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.admission import Admission, Slot, address_key
from django_update_pipeline.core.codes import TOO_MANY_CONNECTIONS, TOO_MANY_OF_USER
from django_update_pipeline.core.config import ConnectionConfig


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("testclient", "testclient", True),
        ("", "10.0.0.1", False),
    ],
)
def test_an_address_is_an_ipv4_address_or_an_ipv6_network(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1%eth0", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("testclient", "testclient"),
    ],
)
def test_what_stands_for_an_address(address: str, key: str) -> None:
    assert address_key(address) == key


def test_the_last_place_is_given_and_no_more() -> None:
    admission = Admission(ConnectionConfig(max_connections=1))
    assert isinstance(admission.enter(None), Slot)
    assert admission.enter(None) is TOO_MANY_CONNECTIONS


def test_a_user_has_as_many_as_allowed_and_no_more() -> None:
    admission = Admission(ConnectionConfig(max_connections_per_user=1))
    first, second = admission.enter(None), admission.enter(None)
    assert isinstance(first, Slot)
    assert isinstance(second, Slot)
    assert admission.claim(first, "rose") is None
    assert admission.claim(second, "rose") is TOO_MANY_OF_USER
    assert admission.claim(second, "ada") is None
    assert admission.held() == {("user", "rose"): 1, ("user", "ada"): 1}


def test_connections_that_came_another_way_count() -> None:
    admission = Admission(ConnectionConfig(max_connections=3))
    assert isinstance(admission.enter(None, connected=2), Slot)
    assert admission.enter(None, connected=3) is TOO_MANY_CONNECTIONS


def test_a_slot_given_back_can_hold_nothing_more() -> None:
    admission = Admission(ConnectionConfig(max_connections_per_user=1))
    slot = admission.enter("10.0.0.1")
    assert isinstance(slot, Slot)
    slot.release()
    assert admission.claim(slot, "rose") is None
    assert (admission.count, admission.held()) == (0, {})
