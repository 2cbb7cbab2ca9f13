"""The adapter: one shape for every agent, nothing lost, and the way back."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dating_show.services.frontend_state_adapter import FrontendStateAdapter, get_frontend_state_adapter
from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.effects import StateChange
from dating_show.villa.simulation import Villa

SECTIONS = {
    "agent_id",
    "name",
    "current_location",
    "current_action",
    "identity",
    "role",
    "skills",
    "personality",
    "position",
    "whereabouts",
    "emotions",
    "relationships",
    "dialogue",
    "memory",
    "cultural",
    "governance",
    "attributes",
}


@pytest.fixture
def adapter(manager: UnifiedAgentManager) -> FrontendStateAdapter:
    manager.register_agent("agent_001", "Amara Okafor", {"openness": 0.9})
    return FrontendStateAdapter(manager)


def size(state: Any) -> int:
    return len(msgspec.json.encode(state))


def test_every_state_has_every_section_and_the_two_names_of_the_browser(
    adapter: FrontendStateAdapter,
) -> None:
    adapter.unified_manager.update_agent_state(
        "agent_001", {"location": "pool", "activity": "swimming"}, batch_mode=False
    )
    state = adapter.get_agent_for_frontend("agent_001")
    assert state is not None
    assert state.keys() == SECTIONS
    assert (state["current_location"], state["current_action"]) == ("pool", "swimming")
    assert state["whereabouts"]["place_label"] == "the pool"
    assert state["identity"]["first_name"] == "Amara"


def test_an_unknown_agent_is_none(adapter: FrontendStateAdapter) -> None:
    assert adapter.get_agent_for_frontend("nobody") is None


def test_an_agent_that_was_only_registered_already_fills_two_kilobytes(adapter: FrontendStateAdapter) -> None:
    assert 2000 <= size(adapter.get_agent_for_frontend("agent_001")) <= 4096


def test_a_full_state_is_two_to_four_kilobytes_through_a_whole_evening(manager: UnifiedAgentManager) -> None:
    adapter = FrontendStateAdapter(manager)
    villa = Villa(random.Random(5), 0.0)
    for one in villa.islanders.values():
        manager.register_agent(one.agent_id, one.persona.name, one.persona.traits)
        manager.update_agent_state(one.agent_id, one.whole_state())
    sizes = []
    for step in range(1, 1500):
        for effect in villa.step(step * 0.5):
            if isinstance(effect, StateChange):
                manager.update_agent_state(effect.agent_id, effect.updates)
        if step % 50 == 0:
            sizes += [size(state) for state in adapter.get_all_agents_for_frontend()]
    assert min(sizes) >= 2048
    assert max(sizes) <= 4096


def test_all_agents_come_in_the_order_of_registration(adapter: FrontendStateAdapter) -> None:
    adapter.unified_manager.register_agent("agent_000", "Luca", {})
    assert [state["agent_id"] for state in adapter.get_all_agents_for_frontend()] == [
        "agent_001",
        "agent_000",
    ]


def test_fields_that_no_section_knows_are_kept_in_attributes(adapter: FrontendStateAdapter) -> None:
    adapter.unified_manager.update_agent_state(
        "agent_001", {"favourite_shell": {"size": 3}, "emotions": "not an object"}, batch_mode=False
    )
    state = adapter.get_agent_for_frontend("agent_001")
    assert state is not None
    assert state["attributes"] == {"favourite_shell": {"size": 3}, "emotions": "not an object"}
    assert state["emotions"]["mood"]


def test_a_place_nobody_built_has_a_label_and_always_the_same_point(adapter: FrontendStateAdapter) -> None:
    adapter.unified_manager.update_agent_state("agent_001", {"location": "wine_cellar"}, batch_mode=False)
    one = adapter.get_agent_for_frontend("agent_001")
    two = adapter.get_agent_for_frontend("agent_001")
    assert one is not None
    assert two is not None
    assert one["position"] == two["position"]
    assert one["whereabouts"]["place_label"] == "wine cellar"
    assert 0 <= one["position"]["x"] <= 100


def test_what_the_browser_changed_goes_back_in_the_managers_names_and_at_once(
    adapter: FrontendStateAdapter,
) -> None:
    notices: list[str] = []
    adapter.unified_manager.add_update_listener(lambda event, agent_id, state: notices.append(event))
    updates = {"current_location": "bar", "current_action": "waiting", "attributes": {"hat": "red"}}
    assert adapter.update_agent_from_frontend("agent_001", updates) is True
    state = adapter.unified_manager.get_agent_state("agent_001") or {}
    assert (state["location"], state["activity"], state["hat"]) == ("bar", "waiting", "red")
    assert notices == ["agent_updated"]


def test_a_section_from_the_browser_is_merged_into_what_is_there(adapter: FrontendStateAdapter) -> None:
    adapter.unified_manager.update_agent_state("agent_001", {"emotions": {"mood": "calm", "energy": 0.4}})
    adapter.update_agent_from_frontend("agent_001", {"emotions": {"mood": "elated"}})
    assert (adapter.unified_manager.get_agent_state("agent_001") or {})["emotions"] == {
        "mood": "elated",
        "energy": 0.4,
    }


def test_an_unknown_agent_from_the_browser_is_false(adapter: FrontendStateAdapter) -> None:
    assert adapter.update_agent_from_frontend("nobody", {"current_location": "bar"}) is False


def test_updates_from_the_browser_must_be_an_object(adapter: FrontendStateAdapter) -> None:
    with pytest.raises(TypeError, match="agent_001"):
        adapter.update_agent_from_frontend("agent_001", ["current_location"])  # type: ignore[arg-type]


def test_the_social_network_has_an_edge_for_each_feeling_between_agents(
    adapter: FrontendStateAdapter,
) -> None:
    manager = adapter.unified_manager
    manager.register_agent("agent_002", "Luca", {})
    manager.update_agent_state(
        "agent_001",
        {
            "relationships": {
                "agent_002": {"kind": "crush", "affinity": 0.6},
                "somebody_outside": {"kind": "friend", "affinity": 0.9},
            }
        },
    )
    network = adapter.get_social_network_data()
    assert [node["id"] for node in network["nodes"]] == ["agent_001", "agent_002"]
    assert network["edges"] == [{"from": "agent_001", "to": "agent_002", "kind": "crush", "weight": 0.6}]
    assert network["metadata"] == {"total_agents": 2, "total_relationships": 1, "network_density": 0.5}


def test_there_is_one_adapter_over_the_one_manager(the_manager: UnifiedAgentManager) -> None:
    adapter = get_frontend_state_adapter()
    assert adapter is get_frontend_state_adapter()
    assert adapter.unified_manager is the_manager


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*sorted(SECTIONS - {"agent_id"}), "location", "activity", "personality_traits"])


@given(
    traits=st.dictionaries(st.text(max_size=8), JSON, max_size=4),
    updates=st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=5),
)
def test_law_whatever_json_is_put_into_an_agent_comes_out_as_json_and_is_all_there(
    traits: dict[str, Any], updates: dict[str, Any]
) -> None:
    updates.pop("agent_id", None)
    if not (isinstance(updates.get("name", "x"), str) and updates.get("name", "x")):
        updates.pop("name")
    manager = UnifiedAgentManager()
    manager.register_agent("a", "Amara", traits)
    manager.update_agent_state("a", updates, batch_mode=False)
    state = FrontendStateAdapter(manager).get_agent_for_frontend("a")
    assert state is not None
    assert json.loads(json.dumps(state)) == state

    def is_inside(part: Any, whole: Any) -> bool:
        return part == whole or (
            isinstance(part, dict)
            and isinstance(whole, dict)
            and all(whole.get(key) == part[key] for key in part)
        )

    for key, value in updates.items():
        shown = {"location": "current_location", "activity": "current_action"}.get(key, key)
        places = [state.get(shown), state["attributes"].get(key)]
        if key == "personality_traits":
            places.append(state["personality"]["traits"])
        if key == "position":
            places.append({**state["whereabouts"], **state["position"]})
        assert any(is_inside(value, place) for place in places), (key, value, places)
