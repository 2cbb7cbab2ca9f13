"""A reader at a quarter of the pace: what it holds is at most a second old, on a server whose `send` never waits."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from django_update_pipeline.core.view import View
from django_update_pipeline.testing.clocks import START_TIME

from .network import Line
from .oracle import Judge
from .viewers import SyncViewer
from .world import World

AGENTS = 25
ENVELOPE_CHARS = 70  # of an agent in a frame, beside its text
PLAYED_S = 30.0
WARM_UP_S = 5.0
OLDEST_S = 1.0


async def oldest_shown(world: World, chars: int, each_s: float) -> float:
    """Plays thirty seconds; how old the oldest state was that the reader showed, after the first five."""
    world.config = type(world.config)(default_channel="a")
    await world.start_server()
    viewer = world.viewers[0]
    pace = AGENTS * (chars + ENVELOPE_CHARS) / each_s
    viewer.line = Line(0.02, 0.0, pace / 4, waits=False, is_direct=False, buffer_chars=1 << 30)
    shown: dict[str, float] = {}
    assert isinstance(viewer, SyncViewer)
    viewer.judges = {"a": Judge(View("a"), world.logs)}
    take = viewer.take

    def note(frame: dict, link: object) -> None:
        take(frame, link)  # type: ignore[arg-type]
        for agent_id, change in frame.get("agents", {}).items():
            shown[agent_id] = change["at"] - START_TIME

    viewer.take = note  # type: ignore[assignment,method-assign]
    life = world.loop.create_task(viewer.live())
    oldest = 0.0
    for step in range(int(PLAYED_S / each_s)):
        for number in range(AGENTS):
            agent_id, version = f"agent_{number}", world.source.version(f"agent_{number}")
            state = {"v": version, "text": chr(97 + step % 26) * chars}
            world.source.replace(("a",), agent_id, state)
            assert world.pipeline is not None
            world.pipeline.queue_agent_update(agent_id, data=state)
        await asyncio.sleep(each_s)
        if world.loop.time() > WARM_UP_S:
            assert len(shown) == AGENTS
            oldest = max(oldest, world.loop.time() - min(shown.values()))
    world.accepted = AGENTS * int(PLAYED_S / each_s)
    viewer.leave()
    await life
    await world.stop_server(is_killed=False)
    return oldest


@pytest.mark.parametrize(
    ("chars", "each_s"), [(4000, 0.1), (100, 0.02)], ids=["few large frames", "many small ones"]
)
def test_a_reader_at_a_quarter_of_the_pace_holds_fresh_state(chars: int, each_s: float) -> None:
    world = World(0)
    world.random = Random(1)
    try:
        assert world.loop.run_until_complete(oldest_shown(world, chars, each_s)) < OLDEST_S
        assert not world.loop.problems
    finally:
        world.loop.close()
