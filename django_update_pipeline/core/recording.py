"""Recordings of Generative Agents simulations, parsed: bytes in, steps out.

Lives here: both forms such simulations are kept in. Not here: reading files (``plugins.sources``), and what a
movement means to a frontend (transformers). The forms, as the project's own code writes them
(joonspk-research/generative_agents, ``reverie.py`` and ``compress_sim_storage.py``):

- one file for all (``master_movement.json``): ``{"<step>": {"<agent>": MOVEMENT}}``. A step without an agent
  means that nothing changed for it, so steps may be empty;
- one file a step (``movement/<n>.json``): ``{"persona": {"<agent>": MOVEMENT}, "meta": {"curr_time": "…"}}``.

MOVEMENT is ``{"movement": [x, y], "pronunciatio": "<emoji>", "description": "<activity> @ <address>", "chat":
null | [["<speaker>", "<line>"], ...]}``, where an address is ``<world>:<sector>:<arena>:<object>``, or
``<persona> <name>`` while the agent is with another one. Only ``movement`` is required.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from ..exceptions import UpdatePipelineError

_STEP: Final = re.compile(r"[0-9]{1,9}")
_FARTHEST: Final = 1e9  # tiles; also keeps a position exact in a browser's floats
_PERSONA: Final = "<persona> "
_FIELDS: Final = "movement, pronunciatio, description and chat"


class RecordingError(UpdatePipelineError, ValueError):
    """A recording can't be read; a retry does not help.

    ``source`` is the recording's name as the caller gave it, ``step`` the step (None for the whole file),
    ``field`` the path within it, such as ``Isabella Rodriguez.movement``.
    """

    def __init__(self, problem: str, *, source: str, step: int | None = None, field: str = "") -> None:
        where = [source] if step is None else [source, f"step {step}"]
        if field:
            where.append(field[:120])
        super().__init__(f"{', '.join(where)}: {problem}")
        self.source = source
        self.step = step
        self.field = field


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is. Parts that the recording leaves open (``<random>`` too) are empty.

    ``with_agent`` names the agent whose side it is at; then the other parts are empty.
    """

    world: str = ""
    sector: str = ""
    arena: str = ""
    object_name: str = ""
    with_agent: str = ""


@dataclass(frozen=True, slots=True)
class AgentMovement:
    """What one step says of one agent.

    ``position`` is (x, y) in tiles. ``emoji`` stands for the activity. ``chat`` holds (speaker, line) pairs
    of the conversation that the agent is in, None while it is in none.
    """

    position: tuple[float, float]
    emoji: str = ""
    activity: str = ""
    place: Place = Place()
    chat: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step: what changed, by agent. ``simulated_time`` is the simulation's own text, or empty."""

    step: int
    agents: Mapping[str, AgentMovement]
    simulated_time: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole recording; ``steps`` ascend by number, and may skip some.

    Law G1: steps ascend strictly, and hold exactly the agents and movements that the bytes hold.
    Law G2: whatever the bytes, the answer is a recording or a ``RecordingError`` that names source and place.
    """

    steps: tuple[RecordedStep, ...]
    source: str = "recording"

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, in the order they first appear. O(movements)."""
        return tuple(dict.fromkeys(agent for step in self.steps for agent in step.agents))

    @property
    def update_count(self) -> int:
        """How many movements there are in all steps. O(steps)."""
        return sum(len(step.agents) for step in self.steps)


def parse_recording(content: str | bytes, source: str = "recording") -> Recording:
    """A recording from the one-file form.

    Args:
        content: the file's JSON text, in UTF-8 where it is bytes.
        source: what errors call it; the file's name, say.

    Raises:
        RecordingError: it is no JSON, or not of this form.
    """
    steps: dict[int, RecordedStep] = {}
    for key, agents in _object(_decoded(content, source, None), source, None, "").items():
        if not _STEP.fullmatch(key):
            hint = "; one file a step is read with parse_movement_file" if key in ("persona", "meta") else ""
            problem = f"the top level must map step numbers to agents, found the key {key!r:.80}{hint}"
            raise RecordingError(problem, source=source)
        step = int(key)
        if step in steps:
            raise RecordingError(
                f"the step occurs twice, the second time as {key!r}", source=source, step=step
            )
        steps[step] = RecordedStep(step, _movements(agents, source, step))
    return Recording(tuple(steps[step] for step in sorted(steps)), source)


def parse_movement_file(step: int, content: str | bytes, source: str = "movement file") -> RecordedStep:
    """A step from the one-file-a-step form; its number is in the file's name, so the caller gives it.

    Raises:
        RecordingError: it is no JSON, or not of this form.
    """
    whole = _object(_decoded(content, source, step), source, step, "")
    if "persona" not in whole:
        hint = (
            "; a file with all steps is read with parse_recording" if any(map(_STEP.fullmatch, whole)) else ""
        )
        raise RecordingError(f"the key 'persona' is missing{hint}", source=source, step=step)
    agents = _movements(whole["persona"], source, step)
    meta = _object(whole.get("meta") or {}, source, step, "meta")
    simulated_time = _text(meta.get("curr_time"), source, step, "meta.curr_time")
    return RecordedStep(step, agents, simulated_time)


def join_steps(steps: Iterable[RecordedStep], source: str = "recording") -> Recording:
    """A recording from single steps in any order.

    Raises:
        RecordingError: a step occurs twice.
    """
    ordered = sorted(steps, key=lambda step: step.step)
    for before, after in itertools.pairwise(ordered):
        if before.step == after.step:
            raise RecordingError("the step occurs twice", source=source, step=after.step)
    return Recording(tuple(ordered), source)


def parse_place(address: str) -> Place:
    """An address taken apart: ``the Ville:Hobbs Cafe:cafe:counter``, or ``<persona> Maria Lopez``."""
    if address.startswith(_PERSONA):
        return Place(with_agent=address.removeprefix(_PERSONA).strip())
    if address.startswith("<"):  # "<waiting> 12 34", "<random>": no place with a name
        return Place()
    parts = [part.strip() for part in address.split(":", 3)]
    return Place(*("" if part.startswith("<") else part for part in parts))


def _decoded(content: str | bytes, source: str, step: int | None) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise RecordingError(f"no valid JSON: {error}", source=source, step=step) from error
    except RecursionError as error:
        raise RecordingError("nested too deeply", source=source, step=step) from error


def _object(value: object, source: str, step: int | None, field: str) -> dict[str, object]:
    if not isinstance(value, dict):
        problem = f"must be an object, found {_kind(value)}"
        raise RecordingError(problem, source=source, step=step, field=field)
    return value


def _text(value: object, source: str, step: int | None, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        problem = f"must be a text or null, found {_kind(value)}"
        raise RecordingError(problem, source=source, step=step, field=field)
    return value


def _movements(value: object, source: str, step: int) -> dict[str, AgentMovement]:
    agents = _object(value, source, step, "")
    return {agent: _movement(raw, source, step, agent) for agent, raw in agents.items()}


def _movement(value: object, source: str, step: int, agent: str) -> AgentMovement:
    raw = _object(value, source, step, agent)
    if "movement" not in raw:
        problem = f"the key 'movement' is missing; an agent's step has {_FIELDS}"
        raise RecordingError(problem, source=source, step=step, field=agent)
    # From the right: an activity may hold " @ ", an address does not.
    description = _text(raw.get("description"), source, step, f"{agent}.description")
    activity, at, address = description.rpartition(" @ ")
    return AgentMovement(
        position=_position(raw["movement"], source, step, f"{agent}.movement"),
        emoji=_text(raw.get("pronunciatio"), source, step, f"{agent}.pronunciatio"),
        activity=activity if at else description,
        place=parse_place(address) if at else Place(),
        chat=_chat(raw.get("chat"), source, step, f"{agent}.chat"),
    )


def _position(value: object, source: str, step: int, field: str) -> tuple[float, float]:
    if isinstance(value, list) and len(value) == 2 and all(map(_is_coordinate, value)):
        return (value[0], value[1])
    found = f"{value!r:.80}" if isinstance(value, list) else _kind(value)
    problem = f"must be two numbers [x, y] of at most a billion, found {found}"
    raise RecordingError(problem, source=source, step=step, field=field)


def _is_coordinate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _FARTHEST


def _chat(value: object, source: str, step: int, field: str) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        problem = f"must be null or a list of [speaker, line] pairs, found {_kind(value)}"
        raise RecordingError(problem, source=source, step=step, field=field)
    lines: list[tuple[str, str]] = []
    for index, pair in enumerate(value):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            problem = f"must be a [speaker, line] pair of texts, found {pair!r:.80}"
            raise RecordingError(problem, source=source, step=step, field=f"{field}[{index}]")
        lines.append((pair[0], pair[1]))
    return tuple(lines)


def _kind(value: object) -> str:
    """A value in the words of JSON, for error texts."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value!r:.40}"
    if isinstance(value, str):
        return f"the text {value!r:.80}"
    return "a list" if isinstance(value, list) else "an object"
