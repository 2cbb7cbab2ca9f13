"""Guests from a recording: steps become states, and every line is said once."""

from __future__ import annotations

from typing import Any

import pytest

from dating_show.services.frontend_state_adapter import FrontendStateAdapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.guests import MOST_GUESTS, BadStep, GuestBook


def movement(x: float = 70, y: float = 50, **others: Any) -> dict[str, Any]:
    return {
        "position": {"x": x, "y": y},
        "activity": "painting",
        "emoji": "x",
        "place": {"sector": "Hobbs Cafe", "arena": "cafe", "object": "counter"},
        "chat": None,
        **others,
    }


@pytest.fixture
def book(manager: UnifiedAgentManager) -> GuestBook:
    return GuestBook(manager)


def test_an_unknown_agent_is_registered_as_a_guest_and_placed_in_proportion(
    book: GuestBook, manager: UnifiedAgentManager
) -> None:
    assert book.play(7, {"Isabella Rodriguez": movement()}) == []
    state = FrontendStateAdapter(manager).get_agent_for_frontend("guest_isabella_rodriguez")
    assert state is not None
    assert state["name"] == "Isabella Rodriguez"
    assert (state["current_location"], state["current_action"]) == ("Hobbs Cafe", "painting")
    assert (state["position"]["x"], state["position"]["y"]) == (50.0, 50.0)
    assert state["whereabouts"]["inside"] == "cafe, counter"
    assert state["identity"]["guest"] is True
    assert state["attributes"] == {"emoji": "x"}


def test_a_second_step_moves_the_same_guest(book: GuestBook, manager: UnifiedAgentManager) -> None:
    book.play(0, {"Maria Lopez": movement()})
    book.play(1, {"Maria Lopez": movement(x=140, y=0)})
    assert manager.agent_ids() == ["guest_maria_lopez"]
    assert (manager.get_agent_state("guest_maria_lopez") or {})["position"]["x"] == 100.0


def test_two_names_with_one_slug_stay_two_people(book: GuestBook, manager: UnifiedAgentManager) -> None:
    book.play(0, {"Zoë": movement(), "Zo!": movement(), "???": movement()})
    assert len(manager.agent_ids()) == 3
    assert {state["name"] for state in manager.get_all_agents_state().values()} == {"Zoë", "Zo!", "???"}


def test_a_talk_that_both_repeat_at_each_step_is_said_once(book: GuestBook) -> None:
    talk = [{"speaker": "Maria Lopez", "line": "Hi."}, {"speaker": "Klaus Mueller", "line": "Hello."}]
    said = []
    for step in range(3):
        both = {name: movement(chat=talk) for name in ("Maria Lopez", "Klaus Mueller")}
        said += book.play(step, both)
    longer = [*talk, {"speaker": "Maria Lopez", "line": "Bye."}]
    said += book.play(3, {"Klaus Mueller": movement(chat=longer)})
    assert [(line.agent_id, line.data["text"], line.data["listener"]) for line in said] == [
        ("guest_maria_lopez", "Hi.", "guest_klaus_mueller"),
        ("guest_klaus_mueller", "Hello.", "guest_maria_lopez"),
        ("guest_maria_lopez", "Bye.", "guest_klaus_mueller"),
    ]


def test_another_talk_of_the_same_two_is_said_whole(book: GuestBook) -> None:
    for number, text in enumerate(("Hi.", "Hi again.")):
        [line] = book.play(number, {"Maria": movement(chat=[{"speaker": "Maria", "line": text}])})
        assert line.data["text"] == text


@pytest.mark.parametrize(
    ("step", "movements"),
    [
        (None, {}),
        (-1, {}),
        ("3", {}),
        (3, None),
        (3, []),
        (3, {"": movement()}),
        (3, {"x" * 101: movement()}),
        (3, {"Maria": {}}),
        (3, {"Maria": {"position": [1, 2]}}),
        (3, {"Maria": movement(x="far")}),
        (3, {"Maria": movement(x=1e12)}),
        (3, {"Maria": movement(activity="y" * 501)}),
        (3, {"Maria": movement(chat=[["Maria", "Hi."]])}),
        (3, {"Maria": movement(chat=[{"speaker": "Maria", "line": "Hi."}] * 201)}),
    ],
)
def test_what_is_no_step_is_refused_whole(
    book: GuestBook, manager: UnifiedAgentManager, step: Any, movements: Any
) -> None:
    if isinstance(movements, dict):
        movements = {"Klaus": movement(), **movements} if step == 3 else movements
    with pytest.raises(BadStep):
        book.play(step, movements)
    assert manager.agent_ids() == []


def test_the_villa_holds_only_so_many_guests(book: GuestBook, manager: UnifiedAgentManager) -> None:
    book.play(0, {f"Guest {number}": movement() for number in range(MOST_GUESTS)})
    with pytest.raises(BadStep, match="200"):
        book.play(1, {"One more": movement()})
    assert len(manager.agent_ids()) == MOST_GUESTS


def test_guests_go_home_and_may_come_again(book: GuestBook, manager: UnifiedAgentManager) -> None:
    manager.register_agent("agent_001", "Amara", {})
    book.play(0, {"Maria": movement()})
    assert book.send_home() == 1
    assert manager.agent_ids() == ["agent_001"]
    book.play(1, {"Maria": movement()})
    assert manager.agent_ids() == ["agent_001", "guest_maria"]
