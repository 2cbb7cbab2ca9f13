"""The manager: what listeners are told, when, and that nobody else's hands are in the state."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dating_show.services.unified_agent_manager import (
    BATCH_WINDOW_S,
    UnifiedAgentManager,
    get_unified_agent_manager,
)

from .conftest import HandTimer


def listen(manager: UnifiedAgentManager) -> list[tuple[str, Any, Any]]:
    notices: list[tuple[str, Any, Any]] = []
    manager.add_update_listener(lambda *notice: notices.append(notice))
    return notices


def test_a_registered_agent_is_announced_with_its_whole_state(manager: UnifiedAgentManager) -> None:
    notices = listen(manager)
    manager.register_agent("agent_001", "Amara", {"stubbornness": 0.9})
    [(event, agent_id, state)] = notices
    assert (event, agent_id) == ("agent_registered", "agent_001")
    assert state == manager.get_agent_state("agent_001")
    assert state["name"] == "Amara"
    assert state["personality_traits"] == {"stubbornness": 0.9}
    assert {"location", "activity"} <= state.keys()


def test_registering_a_known_id_again_changes_and_announces_nothing(manager: UnifiedAgentManager) -> None:
    manager.register_agent("agent_001", "Amara", {})
    manager.update_agent_state("agent_001", {"location": "pool"}, batch_mode=False)
    notices = listen(manager)
    answer = manager.register_agent("agent_001", "Somebody else", {})
    assert answer == manager.get_agent_state("agent_001")
    assert answer["name"] == "Amara"
    assert answer["location"] == "pool"
    assert notices == []


@pytest.mark.parametrize(("agent_id", "name"), [("", "Amara"), ("agent_001", ""), (7, "Amara"), ("a", None)])
def test_an_agent_needs_an_id_and_a_name(manager: UnifiedAgentManager, agent_id: Any, name: Any) -> None:
    with pytest.raises(ValueError, match="must be a non-empty string"):
        manager.register_agent(agent_id, name, {})


def test_an_update_of_an_unknown_agent_is_false_and_tells_nobody(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    notices = listen(manager)
    assert manager.update_agent_state("nobody", {"location": "pool"}) is False
    assert manager.update_agent_state("nobody", {"location": "pool"}, batch_mode=False) is False
    assert timer.waiting == []
    assert notices == []


@pytest.mark.parametrize("updates", [None, [("location", "pool")], {1: "pool"}, "pool"])
def test_updates_that_are_no_mapping_with_string_keys_are_refused(
    manager: UnifiedAgentManager, updates: Any
) -> None:
    manager.register_agent("agent_001", "Amara", {})
    with pytest.raises(TypeError, match="agent_001"):
        manager.update_agent_state("agent_001", updates)


def test_an_agent_keeps_its_id(manager: UnifiedAgentManager) -> None:
    manager.register_agent("agent_001", "Amara", {})
    with pytest.raises(ValueError, match="agent_002"):
        manager.update_agent_state("agent_001", {"agent_id": "agent_002"})


def test_batch_mode_gathers_until_the_window_ends_and_the_state_is_new_at_once(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    for agent_id in ("agent_001", "agent_002"):
        manager.register_agent(agent_id, "Amara", {})
    notices = listen(manager)
    assert manager.update_agent_state("agent_001", {"location": "pool"}) is True
    manager.update_agent_state("agent_002", {"activity": "napping"})
    manager.update_agent_state("agent_001", {"location": "a place nobody built", "mood": "odd"})
    assert notices == []
    assert (manager.get_agent_state("agent_001") or {})["location"] == "a place nobody built"
    timer.fire()
    assert notices == [
        (
            "batch_update",
            {
                "agent_001": {"location": "a place nobody built", "mood": "odd"},
                "agent_002": {"activity": "napping"},
            },
            None,
        )
    ]


def test_later_changes_do_not_move_the_end_of_the_window(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    """A window, not a debounce: constant change must not silence an agent."""
    manager.register_agent("agent_001", "Amara", {})
    for step in range(50):
        manager.update_agent_state("agent_001", {"step": step})
    assert timer.delays == [BATCH_WINDOW_S]
    timer.fire()
    manager.update_agent_state("agent_001", {"step": 50})
    assert timer.delays == [BATCH_WINDOW_S, BATCH_WINDOW_S]


def test_without_batch_mode_the_whole_state_is_told_before_the_call_returns(
    manager: UnifiedAgentManager,
) -> None:
    manager.register_agent("agent_001", "Amara", {})
    notices = listen(manager)
    manager.update_agent_state("agent_001", {"location": "pool"}, batch_mode=False)
    assert notices == [("agent_updated", "agent_001", manager.get_agent_state("agent_001"))]


def test_an_immediate_update_takes_the_gathered_with_it(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    """Told later, the gathered place would take a listener back from the bar to the pool."""
    manager.register_agent("agent_001", "Amara", {})
    manager.update_agent_state("agent_001", {"location": "pool"})
    notices = listen(manager)
    manager.update_agent_state("agent_001", {"location": "bar"}, batch_mode=False)
    timer.fire()
    assert [(event, state["location"]) for event, _, state in notices] == [("agent_updated", "bar")]


def test_flush_updates_ends_the_window_and_its_timer_ends_no_later_one(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    manager.register_agent("agent_001", "Amara", {})
    notices = listen(manager)
    manager.update_agent_state("agent_001", {"step": 1})
    [late] = timer.waiting
    manager.flush_updates()
    timer.waiting.clear()
    manager.update_agent_state("agent_001", {"step": 2})
    late()
    assert [what for _, what, _ in notices] == [{"agent_001": {"step": 1}}]
    timer.fire()
    assert [what for _, what, _ in notices][1:] == [{"agent_001": {"step": 2}}]


def test_what_goes_in_and_comes_out_is_a_copy(manager: UnifiedAgentManager, timer: HandTimer) -> None:
    traits = {"openness": 0.5}
    skills = {"cooking": [1]}
    manager.register_agent("agent_001", "Amara", traits)
    seen = listen(manager)
    manager.update_agent_state("agent_001", {"skills": skills})
    traits["openness"] = 0.0
    skills["cooking"].append(2)
    (manager.get_agent_state("agent_001") or {})["skills"]["cooking"].append(3)
    manager.get_all_agents_state()["agent_001"]["skills"]["cooking"].append(4)
    timer.fire()
    seen[0][1]["agent_001"]["skills"]["cooking"].append(5)
    state = manager.get_agent_state("agent_001") or {}
    assert state["skills"] == {"cooking": [1]}
    assert state["personality_traits"] == {"openness": 0.5}


def test_one_listener_can_neither_break_nor_change_what_the_next_one_gets(
    manager: UnifiedAgentManager, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(event: str, agent_id: Any, state: Any) -> None:
        state["location"] = "spoiled"
        raise RuntimeError("this listener is broken")

    manager.add_update_listener(spoil)
    notices = listen(manager)
    manager.register_agent("agent_001", "Amara", {})
    assert [state["location"] for _, _, state in notices] == ["villa"]
    assert "this listener is broken" in caplog.text


def test_a_removed_listener_hears_no_more_and_a_listener_added_twice_hears_once(
    manager: UnifiedAgentManager,
) -> None:
    heard: list[str] = []

    def listener(event: str, agent_id: Any, state: Any) -> None:
        heard.append(agent_id)

    manager.add_update_listener(listener)
    manager.add_update_listener(listener)
    manager.register_agent("agent_001", "Amara", {})
    manager.remove_update_listener(listener)
    manager.remove_update_listener(listener)
    manager.register_agent("agent_002", "Luca", {})
    assert heard == ["agent_001"]


def test_a_listener_may_call_the_manager_again_and_the_order_stays(manager: UnifiedAgentManager) -> None:
    order: list[tuple[str, Any]] = []

    def answer(event: str, agent_id: Any, state: Any) -> None:
        order.append((event, state["activity"]))
        if state["activity"] == "asking":
            manager.update_agent_state("agent_001", {"activity": "answering"}, batch_mode=False)

    manager.register_agent("agent_001", "Amara", {})
    manager.add_update_listener(answer)
    manager.update_agent_state("agent_001", {"activity": "asking"}, batch_mode=False)
    assert order == [("agent_updated", "asking"), ("agent_updated", "answering")]


def test_a_removed_agent_is_announced_and_its_gathered_changes_are_not(
    manager: UnifiedAgentManager, timer: HandTimer
) -> None:
    manager.register_agent("agent_001", "Amara", {})
    notices = listen(manager)
    manager.update_agent_state("agent_001", {"location": "pool"})
    assert manager.remove_agent("agent_001") is True
    assert manager.remove_agent("agent_001") is False
    timer.fire()
    assert [(event, agent_id) for event, agent_id, _ in notices] == [("agent_removed", "agent_001")]
    assert manager.get_agent_state("agent_001") is None


def test_the_real_window_ends_by_itself_in_a_thread_without_any_loop() -> None:
    manager = UnifiedAgentManager(batch_window_s=0.01)
    manager.register_agent("agent_001", "Amara", {})
    told = threading.Event()
    manager.add_update_listener(lambda *notice: told.set())
    manager.update_agent_state("agent_001", {"location": "pool"})
    assert told.wait(5)


def test_when_no_thread_can_start_the_change_is_told_at_once() -> None:
    class Refused:
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    manager = UnifiedAgentManager(timer=lambda delay_s, function: Refused())
    manager.register_agent("agent_001", "Amara", {})
    notices = listen(manager)
    manager.update_agent_state("agent_001", {"location": "pool"})
    assert notices == [("batch_update", {"agent_001": {"location": "pool"}}, None)]


def test_there_is_one_manager_a_process() -> None:
    assert get_unified_agent_manager() is get_unified_agent_manager()


def test_many_threads_lose_no_change_and_tell_each_one() -> None:
    manager = UnifiedAgentManager(batch_window_s=0.005)
    manager.register_agent("agent_001", "Amara", {})
    mirror: dict[str, Any] = {}

    def follow(event: str, what: Any, state: Any) -> None:
        mirror.update(what["agent_001"] if event == "batch_update" else state)

    manager.add_update_listener(follow)

    def change(worker: int) -> None:
        for number in range(200):
            manager.update_agent_state("agent_001", {f"field_{worker}": number}, batch_mode=number % 3 != 0)

    workers = [threading.Thread(target=change, args=(worker,)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    manager.flush_updates()
    assert mirror == manager.get_agent_state("agent_001")
    assert all(mirror[f"field_{worker}"] == 199 for worker in range(6))


IDS = st.sampled_from(["a", "b", "c"])
OPERATIONS = st.one_of(
    st.tuples(st.just("register"), IDS),
    st.tuples(st.just("remove"), IDS),
    st.tuples(
        st.just("update"),
        IDS,
        st.dictionaries(st.sampled_from(["location", "activity", "x"]), st.integers(0, 9), min_size=1),
        st.booleans(),
    ),
    st.tuples(st.just("fire")),
    st.tuples(st.just("flush")),
)


@given(st.lists(OPERATIONS, max_size=40))
def test_law_a_listener_that_applies_every_notice_ends_with_the_managers_states(
    operations: list[tuple[Any, ...]],
) -> None:
    timer = HandTimer()
    manager = UnifiedAgentManager(timer=timer)
    mirror: dict[str, Any] = {}

    def follow(event: str, what: Any, state: Any) -> None:
        if event == "batch_update":
            for agent_id, fields in what.items():
                mirror[agent_id].update(fields)
        elif event == "agent_removed":
            del mirror[what]
        else:
            mirror[what] = state

    manager.add_update_listener(follow)
    for operation in operations:
        match operation:
            case ("register", agent_id):
                manager.register_agent(agent_id, "Somebody", {})
            case ("remove", agent_id):
                manager.remove_agent(agent_id)
            case ("update", agent_id, fields, batch_mode):
                assert manager.update_agent_state(agent_id, fields, batch_mode) == manager.has_agent(agent_id)
            case ("fire",):
                timer.fire()
            case _:
                manager.flush_updates()
    manager.flush_updates()
    assert mirror == manager.get_all_agents_state()
