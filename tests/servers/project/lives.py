"""A source that knows its own truth: what every client must hold once it has gone quiet."""

from __future__ import annotations

import hashlib
import json
import random
import time
from typing import Any

from django_update_pipeline import UNSET, UpdatePriority, get_update_pipeline

TICK_S = 0.05
PER_TICK = 10
PLACES = ("pool", "kitchen", "terrace", "fire pit")


def digest(agents: dict[str, dict[str, Any]]) -> str:
    """One line for all agents' fields."""
    return hashlib.sha256(json.dumps(agents, sort_keys=True).encode()).hexdigest()


class Lives:
    """Changes agents at random, and keeps what they are. `run` belongs to a thread of its own."""

    def __init__(self) -> None:
        self.agents: dict[str, dict[str, Any]] = {}
        self.said: dict[str, int] = {}  # by agent: how many events, numbered from 0
        self.is_over = False

    def account(self) -> dict[str, Any]:
        """The truth, for comparison."""
        return {"is_over": self.is_over, "digest": digest(self.agents), "said": self.said}

    def run(self, seed: int, seconds: float, agents: int) -> None:
        """Lives for so long, then goes quiet."""
        chance = random.Random(seed)
        due = time.monotonic()
        end = due + seconds
        while due < end:
            for _ in range(PER_TICK):
                self.step(chance, f"agent_{chance.randrange(agents):03d}")
            due += TICK_S
            time.sleep(max(0.0, due - time.monotonic()))
        self.is_over = True

    def step(self, chance: random.Random, agent_id: str) -> None:
        """One change of one agent."""
        queue = get_update_pipeline().queue_agent_update
        priority = chance.choice(list(UpdatePriority))
        what = chance.random()
        known = self.agents.get(agent_id)
        if what < 0.3:
            number = self.said[agent_id] = self.said.get(agent_id, -1) + 1
            queue(agent_id, "said", {"number": number}, priority)
        elif known is None or what < 0.45:
            state = {
                "place": chance.choice(PLACES),
                "mood": chance.random(),
                "note": "x" * chance.randrange(400),
            }
            self.agents[agent_id] = state
            queue(agent_id, "state_change", state, priority)
        elif what < 0.5:
            del self.agents[agent_id]
            queue(agent_id, "state_removed", {}, priority)
        elif what < 0.6:
            known.pop("place", None)
            queue(agent_id, "state_patch", {"place": UNSET}, priority)
        else:
            patch = {chance.choice(("place", "mood", "partner")): chance.random()}
            known.update(patch)
            queue(agent_id, "state_patch", patch, priority)
