"""Laws N1 and N2 of the slots, against a list of who is there."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.admission import Admission, Slot
from django_update_pipeline.core.codes import TOO_MANY_CONNECTIONS, TOO_MANY_FROM_ADDRESS, TOO_MANY_OF_USER
from django_update_pipeline.core.config import ConnectionConfig

addresses = st.sampled_from([None, "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"])
same = {"2001:db8::2": "2001:db8::1"}  # one /64
comings = st.tuples(st.just("come"), addresses, st.sampled_from([None, "rose", "ada"]))
goings = st.tuples(st.just("go"), st.integers(0, 30), st.integers(1, 2))


@given(
    limits=st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 3)),
    steps=st.lists(comings | goings, max_size=60),
)
def test_laws_n1_and_n2_slots_are_what_is_there(
    limits: tuple[int, int, int], steps: list[tuple[Any, ...]]
) -> None:
    """Law N1: no limit is ever exceeded, and nobody is refused below one. Law N2: what ended or was refused holds
    nothing, however often it is given back."""
    total, of_user, of_address = limits
    admission = Admission(
        ConnectionConfig(
            max_connections=total, max_connections_per_user=of_user, max_connections_per_address=of_address
        )
    )
    there: list[tuple[Slot, Any, Any]] = []
    for step in steps:
        if step[0] == "go":
            if there:
                slot, _, _ = there.pop(step[1] % len(there))
                for _ in range(step[2]):
                    slot.release()
        else:
            _, address, user = step
            key = same.get(address, address)
            users = Counter(one for _, _, one in there)
            places = Counter(one for _, one, _ in there)
            entered = admission.enter(address)
            if len(there) >= total:
                assert entered is TOO_MANY_CONNECTIONS
            elif of_address and key is not None and places[key] >= of_address:
                assert entered is TOO_MANY_FROM_ADDRESS
            else:
                assert isinstance(entered, Slot)
                refused = None if user is None else admission.claim(entered, user)
                if user is not None and of_user and users[user] >= of_user:
                    assert refused is TOO_MANY_OF_USER
                    entered.release()
                else:
                    assert refused is None
                    there.append((entered, key, user))
        assert admission.count == len(there) <= total
        held = admission.held()
        assert all(count > 0 for count in held.values())
        expected = Counter(one for _, _, one in there if one is not None)
        assert {key[1]: n for key, n in held.items() if key[0] == "user"} == (
            dict(expected) if of_user else {}
        )  # type: ignore[index]
        if of_address:
            assert sum(n for key, n in held.items() if key[0] == "address") == sum(  # type: ignore[index]
                1 for _, one, _ in there if one is not None
            )
    for slot, _, _ in there:
        slot.release()
    assert (admission.count, admission.held()) == (0, {})
