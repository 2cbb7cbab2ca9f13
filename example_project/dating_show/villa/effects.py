"""What a step of the villa brings about: values that the source carries to the manager and the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django_update_pipeline import UpdatePriority


@dataclass(frozen=True)
class StateChange:
    """Fields of one agent's state that are new; `priority` is the most urgent reason among them."""

    agent_id: str
    updates: dict[str, Any]
    priority: UpdatePriority


@dataclass(frozen=True)
class Happening:
    """Something that happened once: a line of dialogue, a rose, a couple."""

    agent_id: str
    update_type: str
    data: dict[str, Any]
    priority: UpdatePriority


@dataclass(frozen=True)
class Announcement:
    """A system notification to everyone who watches."""

    message: str
    level: str = "info"


Effect = StateChange | Happening | Announcement
