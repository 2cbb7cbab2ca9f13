"""What a producer may ask for, checked before it is done: action name to function.

Each function gets the agent's id and the params as the client sent them, checks both, and either does
it or raises `ActionRefused` with a sentence for the person who clicked. They run in Django's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dating_show.services.frontend_state_adapter import get_frontend_state_adapter
from dating_show.services.unified_agent_manager import get_unified_agent_manager
from dating_show.villa import grounds
from dating_show.villa.guests import BadStep, GuestBook
from dating_show.villa.simulation import MOODS
from dating_show.villa.source import VillaSource, running_villa
from django_update_pipeline.exceptions import ActionRefused

Params = Mapping[str, Any]


def act(agent_id: str, action: str, params: Params) -> object | None:
    """Does what was asked, or returns None when the villa knows no such action.

    Raises:
        ActionRefused: the agent or a parameter does not fit; the message names what would.
    """
    function = ACTIONS.get(action)
    return None if function is None else function(agent_id, params)


def move(agent_id: str, params: Params) -> dict[str, Any]:
    """`move {"location": "pool"}`: the agent goes there."""
    place = _one_of("location", params.get("location"), grounds.PLACES)
    villa = _own(agent_id)
    if villa is not None:
        villa.order(lambda world: world.send_to(agent_id, place))
    else:
        # Somebody whom the villa's own life does not move: a guest, or an agent of another programme.
        x, y = grounds.standing_point(agent_id, place)
        _change(
            agent_id,
            {
                "current_location": place,
                "current_action": f"at {grounds.label_of(place)}",
                "position": {"x": x, "y": y, "place_label": grounds.label_of(place)},
            },
        )
    return {"agent_id": agent_id, "location": place}


def mood(agent_id: str, params: Params) -> dict[str, Any]:
    """`mood {"mood": "cheerful"}`: the agent feels so from now on."""
    name = _one_of("mood", params.get("mood"), MOODS)
    villa = _own(agent_id)
    if villa is not None:
        villa.order(lambda world: world.cheer(agent_id, name))
    else:
        valence, energy = MOODS[name]
        _change(agent_id, {"emotions": {"mood": name, "valence": valence, "energy": energy}})
    return {"agent_id": agent_id, "mood": name}


def talk(agent_id: str, params: Params) -> dict[str, Any]:
    """`talk {"with": "agent_002"}`: the agent walks to another and talks to them."""
    villa, other_id = _pair(agent_id, params.get("with"), "with")
    villa.order(lambda world: world.bring_together(agent_id, other_id))
    return {"agent_id": agent_id, "with": other_id}


def rose(agent_id: str, params: Params) -> dict[str, Any]:
    """`rose {"to": "agent_002"}`: the agent gives a rose to another, wherever they are."""
    villa, other_id = _pair(agent_id, params.get("to"), "to")
    villa.order(lambda world: world.hand_rose(agent_id, other_id))
    return {"agent_id": agent_id, "to": other_id}


def ceremony(agent_id: str, params: Params) -> dict[str, Any]:
    """`ceremony`: the rose ceremony begins now."""
    villa = running_villa()
    if villa is None or villa.villa is None:
        raise ActionRefused("The villa is not running in this server.")
    if villa.villa.ceremony.is_on:
        raise ActionRefused("A rose ceremony is going on already.")
    villa.order(lambda world: world.call_ceremony())
    return {"agent_id": agent_id}


def replay_step(agent_id: str, params: Params) -> dict[str, Any]:
    """`replay_step {"step": 7, "movements": {...}}`: one step of a recording; for the local operator only."""
    from django_update_pipeline import get_update_pipeline

    try:
        happenings = _guest_book().play(params.get("step"), params.get("movements"))
    except BadStep as error:
        raise ActionRefused(f"Not a step of a recording: {error}.", code="bad_params") from error
    pipeline = get_update_pipeline()
    for happening in happenings:
        pipeline.queue_agent_update(
            agent_id=happening.agent_id,
            update_type=happening.update_type,
            data=happening.data,
            priority=happening.priority,
        )
    return {"step": params.get("step"), "lines": len(happenings)}


def replay_end(agent_id: str, params: Params) -> dict[str, Any]:
    """`replay_end`: the guests of a recording leave; for the local operator only."""
    return {"left": _guest_book().send_home()}


ACTIONS: dict[str, Callable[[str, Params], dict[str, Any]]] = {
    "move": move,
    "mood": mood,
    "talk": talk,
    "rose": rose,
    "ceremony": ceremony,
    "replay_step": replay_step,
    "replay_end": replay_end,
}

LOCAL_ACTIONS = frozenset({"replay_step", "replay_end"})
"""Actions that only come from this machine, over the control socket."""

_book: GuestBook | None = None


def _guest_book() -> GuestBook:
    global _book
    manager = get_unified_agent_manager()
    if _book is None or _book.manager is not manager:
        _book = GuestBook(manager)
    return _book


def _own(agent_id: str) -> VillaSource | None:
    villa = running_villa()
    if villa is not None and villa.knows(agent_id):
        return villa
    if not get_unified_agent_manager().has_agent(agent_id):
        raise ActionRefused(f"There is no agent {agent_id!r} in the villa.", code="unknown_agent")
    return None


def _pair(agent_id: str, other_id: Any, param: str) -> tuple[VillaSource, str]:
    villa = _own(agent_id)
    if villa is None:
        raise ActionRefused("Only the villa's own people do that.")
    if not isinstance(other_id, str) or not villa.knows(other_id) or other_id == agent_id:
        raise ActionRefused(f"{param!r} must name another agent of the villa.", code="bad_params")
    return villa, other_id


def _change(agent_id: str, updates: Params) -> None:
    if not get_frontend_state_adapter().update_agent_from_frontend(agent_id, updates):
        raise ActionRefused(f"There is no agent {agent_id!r} in the villa.", code="unknown_agent")


def _one_of(param: str, value: Any, known: Mapping[str, Any]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ActionRefused(f"{param!r} must be one of: {', '.join(known)}.", code="bad_params")
    return value
