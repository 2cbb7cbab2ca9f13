"""What a producer asks for: checked with a sentence, and done."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from dating_show import actions, plugins
from dating_show.producer import USERNAME
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa import grounds, source
from dating_show.villa.simulation import MOODS, Villa
from django_update_pipeline.exceptions import ActionRefused


class StandingVilla(source.VillaSource):
    """A villa whose orders are done when the test says so."""

    def __init__(self, manager: UnifiedAgentManager) -> None:
        super().__init__(manager)
        self.villa = Villa(random.Random(1), 0.0)

    def obey(self) -> None:
        assert self.villa is not None
        for order in self._take_orders(self.villa):
            order()


@pytest.fixture
def villa(the_manager: UnifiedAgentManager, monkeypatch: pytest.MonkeyPatch) -> StandingVilla:
    standing = StandingVilla(the_manager)
    monkeypatch.setattr(source, "_running", standing)
    return standing


def action_called(name: str) -> Any:
    return next(action for action in actions.ACTIONS if action.name == name)


def act(agent_id: str, name: str, params: dict[str, Any]) -> None:
    """As the pipeline does it, once it knows that the client may."""
    action = action_called(name)
    action.handler(client(), agent_id, action.read(params))


def islander(villa: StandingVilla, agent_id: str) -> Any:
    assert villa.villa is not None
    return villa.villa.islanders[agent_id]


def test_move_sends_an_islander(villa: StandingVilla) -> None:
    act("agent_001", "move", {"location": "hideaway"})
    villa.obey()
    assert islander(villa, "agent_001").place == "hideaway"
    assert islander(villa, "agent_001").is_walking


def test_mood_talk_rose_and_ceremony_reach_the_villa(villa: StandingVilla) -> None:
    act("agent_001", "mood", {"mood": "heartbroken"})
    act("agent_001", "talk", {"with": "agent_002"})
    act("agent_001", "rose", {"to": "agent_002"})
    act("agent_001", "ceremony", {})
    villa.obey()
    assert villa.villa is not None
    assert islander(villa, "agent_002").roses_received == 1
    villa.villa.step(0.5)
    assert villa.villa.ceremony.is_on
    with pytest.raises(ActionRefused, match="going on already"):
        act("agent_001", "ceremony", {})


def test_a_guest_is_moved_through_the_manager(villa: StandingVilla, the_manager: UnifiedAgentManager) -> None:
    the_manager.register_agent("guest_maria", "Maria", {})
    act("guest_maria", "move", {"location": "bar"})
    act("guest_maria", "mood", {"mood": "cheerful"})
    state = the_manager.get_agent_state("guest_maria") or {}
    assert state["location"] == "bar"
    assert state["emotions"]["mood"] == "cheerful"


def test_without_a_running_villa_move_still_works_and_a_ceremony_says_why_not(
    the_manager: UnifiedAgentManager,
) -> None:
    the_manager.register_agent("agent_001", "Amara", {})
    act("agent_001", "move", {"location": "pool"})
    assert (the_manager.get_agent_state("agent_001") or {})["location"] == "pool"
    with pytest.raises(ActionRefused, match="not running"):
        act("agent_001", "ceremony", {})


@pytest.mark.parametrize(
    ("agent_id", "action", "params", "hint"),
    [
        ("nobody", "move", {"location": "pool"}, "nobody"),
        ("agent_001", "move", {}, "location"),
        ("agent_001", "move", {"location": "moon"}, "fire_pit"),
        ("agent_001", "move", {"location": ["pool"]}, r"params\.location"),
        ("agent_001", "mood", {"mood": "purple"}, "cheerful"),
        ("agent_001", "mood", {"mood": None}, r"params\.mood"),
        ("agent_001", "talk", {"with": "agent_001"}, "another agent"),
        ("agent_001", "talk", {"with": "nobody"}, "another agent"),
        ("agent_001", "rose", {"to": {"id": "agent_002"}}, r"params\.to"),
        ("agent_001", "replay_step", {"step": 1}, "movements"),
        ("agent_001", "replay_step", {"step": 1, "movements": {"Maria": 7}}, "recording"),
        ("agent_001", "move", {"location": "pool", "priority": 0}, "priority"),
        ("agent_001", "ceremony", {"now": True}, "takes none"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence_and_changes_nothing(
    villa: StandingVilla, agent_id: str, action: str, params: dict[str, Any], hint: str
) -> None:
    assert villa.villa is not None
    villa.villa.step(0.5)
    before = {one: person.whole_state() for one, person in villa.villa.islanders.items()}
    with pytest.raises(ActionRefused, match=hint):
        act(agent_id, action, params)
    villa.obey()
    assert before == {one: person.whole_state() for one, person in villa.villa.islanders.items()}


def client(user: Any = None, *, local: bool = False) -> Any:
    return SimpleNamespace(connection_id="c", user=user, is_local_operator=local)


def user(name: str, *, active: bool = True, authenticated: bool = True) -> Any:
    return SimpleNamespace(is_active=active, is_authenticated=authenticated, get_username=lambda: name)


@pytest.mark.parametrize(
    ("who", "action", "allowed"),
    [
        (client(user(USERNAME)), "move", True),
        (client(user(USERNAME, active=False)), "move", False),
        (client(user(USERNAME, authenticated=False)), "move", False),
        (client(user("somebody")), "move", False),
        (client(user("")), "move", False),
        (client(None), "move", False),
        (client(None, local=True), "move", True),
        (client(user(USERNAME)), "replay_step", False),
        (client(user(USERNAME)), "replay_end", False),
        (client(None, local=True), "replay_step", True),
    ],
)
def test_only_the_producer_and_the_local_operator_may_act(who: Any, action: str, allowed: bool) -> None:
    assert action_called(action).permission(who, "agent_001") is allowed


@pytest.mark.parametrize("update_type", ["state_change", "state_patch", "state_removed"])
def test_states_go_to_the_default_channel(update_type: str) -> None:
    assert plugins.VillaRouter().route("agent_001", update_type) is None


@pytest.mark.parametrize("update_type", ["dialogue", "rose_given", "ceremony_started", "anything else"])
def test_events_go_to_the_notifications(update_type: str) -> None:
    assert plugins.VillaRouter().route("agent_001", update_type) == ("agent_notifications",)


def test_the_buttons_of_the_page_ask_for_what_the_villa_knows(villa: StandingVilla) -> None:
    for place in grounds.PLACES:
        act("agent_001", "move", {"location": place})
    for mood in MOODS:
        act("agent_001", "mood", {"mood": mood})
