"""What a producer may ask for: each action with its schema, who may, and the function that does it.

The pipeline settles names, params and rights before a function here runs. What only the villa knows (is there such a
place, such an agent?) a function checks itself, and raises `ActionRefused` with a sentence for the person who clicked.
They run in Django's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dating_show.producer import is_producer
from dating_show.services.frontend_state_adapter import get_frontend_state_adapter
from dating_show.services.unified_agent_manager import get_unified_agent_manager
from dating_show.villa import grounds
from dating_show.villa.guests import BadStep, GuestBook
from dating_show.villa.simulation import MOODS
from dating_show.villa.source import VillaSource, running_villa
from django_update_pipeline import Action
from django_update_pipeline.exceptions import ActionRefused


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients send: every field is named here, or the action is refused."""


class Move(Params, frozen=True):
    """`{"location": "pool"}`."""

    location: str


class Mood(Params, frozen=True):
    """`{"mood": "cheerful"}`."""

    mood: str


class Talk(Params, frozen=True):
    """`{"with": "agent_002"}`."""

    other_id: str = msgspec.field(name="with")


class Rose(Params, frozen=True):
    """`{"to": "agent_002"}`."""

    other_id: str = msgspec.field(name="to")


class Step(Params, frozen=True):
    """`{"step": 7, "movements": {...}}`: one step of a recording."""

    step: int
    movements: dict[str, Any]


def is_producers(client: Any, agent_id: str) -> bool:
    """Actions are the demo producer's, and those of who works on this machine."""
    return is_local(client, agent_id) or is_producer(client.user)


def is_local(client: Any, agent_id: str) -> bool:
    """Actions that only come from this machine, over the control socket."""
    return bool(client.is_local_operator)


def move(client: Any, agent_id: str, params: Move) -> None:
    """The agent goes there."""
    place = _one_of("location", params.location, grounds.PLACES)
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


def mood(client: Any, agent_id: str, params: Mood) -> None:
    """The agent feels so from now on."""
    name = _one_of("mood", params.mood, MOODS)
    villa = _own(agent_id)
    if villa is not None:
        villa.order(lambda world: world.cheer(agent_id, name))
    else:
        valence, energy = MOODS[name]
        _change(agent_id, {"emotions": {"mood": name, "valence": valence, "energy": energy}})


def talk(client: Any, agent_id: str, params: Talk) -> None:
    """The agent walks to another and talks to them."""
    villa, other_id = _pair(agent_id, params.other_id, "with")
    villa.order(lambda world: world.bring_together(agent_id, other_id))


def rose(client: Any, agent_id: str, params: Rose) -> None:
    """The agent gives a rose to another, wherever they are."""
    villa, other_id = _pair(agent_id, params.other_id, "to")
    villa.order(lambda world: world.hand_rose(agent_id, other_id))


def ceremony(client: Any, agent_id: str, params: None) -> None:
    """The rose ceremony begins now."""
    villa = running_villa()
    if villa is None or villa.villa is None:
        raise ActionRefused("The villa is not running in this server.")
    if villa.villa.ceremony.is_on:
        raise ActionRefused("A rose ceremony is going on already.")
    villa.order(lambda world: world.call_ceremony())


def replay_step(client: Any, agent_id: str, params: Step) -> None:
    """One step of a recording."""
    from django_update_pipeline import get_update_pipeline

    try:
        happenings = _guest_book().play(params.step, params.movements)
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


def replay_end(client: Any, agent_id: str, params: None) -> None:
    """The guests of a recording leave."""
    _guest_book().send_home()


ACTIONS = [
    Action("move", move, params=Move, permission=is_producers),
    Action("mood", mood, params=Mood, permission=is_producers),
    Action("talk", talk, params=Talk, permission=is_producers),
    Action("rose", rose, params=Rose, permission=is_producers, rate_per_s=5.0, burst=20),
    Action("ceremony", ceremony, permission=is_producers, rate_per_s=1.0, burst=3),
    Action("replay_step", replay_step, params=Step, permission=is_local),
    Action("replay_end", replay_end, permission=is_local),
]

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


def _pair(agent_id: str, other_id: str, param: str) -> tuple[VillaSource, str]:
    villa = _own(agent_id)
    if villa is None:
        raise ActionRefused("Only the villa's own people do that.")
    if not villa.knows(other_id) or other_id == agent_id:
        raise ActionRefused(f"{param!r} must name another agent of the villa.", code="bad_params")
    return villa, other_id


def _change(agent_id: str, updates: Mapping[str, Any]) -> None:
    if not get_frontend_state_adapter().update_agent_from_frontend(agent_id, updates):
        raise ActionRefused(f"There is no agent {agent_id!r} in the villa.", code="unknown_agent")


def _one_of(param: str, value: str, known: Mapping[str, Any]) -> str:
    if value not in known:
        raise ActionRefused(f"{param!r} must be one of: {', '.join(known)}.", code="bad_params")
    return value
