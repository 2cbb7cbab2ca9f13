"""Plays seeds on a door until there have been enough inputs; counts, checks that nothing grows, and says how to replay.

A `Door` is whatever conversations can be played on: an ASGI callable in this process, a server's socket.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from . import settings
from .conversation import Conversation, conversation
from .ledger import Find

#: After so many inputs a fresh client must be served, and what is left over is counted.
CHECK_EVERY = 1000
#: Resident memory may grow by so much between the checks: one message of a server's own limit (16 MB) is there as
#: bytes, as inflated bytes and as text, and what it leaves behind is the allocator's.
MAX_GROWTH_MB = 48.0
MAX_FINDS = 10


@dataclass(frozen=True, slots=True)
class Census:
    """What a door holds while no hostile client is there."""

    connections: int
    feeds: int
    tasks: int
    descriptors: int
    rss_mb: float


class Door(Protocol):
    """Where conversations are played."""

    name: str

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def converse(self, talk: Conversation) -> int:
        """Plays one conversation to its end; how many inputs that were.

        Raises:
            Find: something happened that must not.
        """

    async def fresh_client(self) -> None:
        """A well-behaved newcomer connects, is answered and gets an update, or a Find is raised."""

    async def census(self) -> Census: ...


@dataclass
class Report:
    """What a campaign did and found."""

    door: str
    first_seed: int
    conversations: int = 0
    inputs: int = 0
    fresh_clients: int = 0
    seconds: float = 0.0
    finds: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    censuses: list[Census] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Resident memory at the end, less that after a tenth of the checks, when the process is warm."""
        if not self.censuses:
            return 0.0
        return self.censuses[-1].rss_mb - self.censuses[len(self.censuses) // 10].rss_mb

    def summary(self) -> dict[str, Any]:
        """The report as JSON, without the checks in between."""
        shown = asdict(self)
        shown["censuses"] = shown["censuses"][:1] + shown["censuses"][-1:]
        return {**shown, "growth_mb": round(self.growth_mb, 1), "seconds": round(self.seconds, 1)}


async def run(door: Door, first_seed: int, count: int, *, talkative: bool = False) -> Report:
    """Plays conversations from `first_seed` on until `count` inputs are reached."""
    report = Report(door.name, first_seed)
    began = time.monotonic()
    await door.open()
    try:
        while report.inputs < count and len(report.finds) < MAX_FINDS:
            talk = conversation(
                first_seed + report.conversations, settings.MAX_FRAME_BYTES, settings.MAX_DEPTH
            )
            before = report.inputs // CHECK_EVERY
            await _one(door, talk, report)
            if report.inputs // CHECK_EVERY > before:
                await _check(door, report)
                if talkative and report.fresh_clients % 50 == 0:
                    print(f"{door.name}: {report.inputs} inputs, {report.censuses[-1]}", flush=True)
        await _check(door, report)
        _flat(report)
    finally:
        await door.close()
        report.seconds = time.monotonic() - began
    return report


async def _one(door: Door, talk: Conversation, report: Report) -> None:
    inputs = talk.inputs
    try:
        inputs = await door.converse(talk)
    except Find as find:
        replay = f"python -m tests.hostile --over {door.name} --seed {talk.seed} --count 1"
        report.finds.append(f"seed {talk.seed} ({talk.kind}): {find}\n    replay: {replay}")
    report.conversations += 1
    report.inputs += inputs
    report.kinds[talk.kind] = report.kinds.get(talk.kind, 0) + 1


async def _check(door: Door, report: Report) -> None:
    try:
        await door.fresh_client()
        report.fresh_clients += 1
    except Find as find:
        report.finds.append(f"after {report.inputs} inputs a fresh client was not served: {find}")
    report.censuses.append(await door.census())


def _flat(report: Report) -> None:
    """Nothing of the clients that are gone may be left."""
    first, last = report.censuses[0], report.censuses[-1]
    for name in ("connections", "feeds", "tasks"):
        if getattr(last, name) > getattr(first, name):
            report.finds.append(f"{name} grew from {getattr(first, name)} to {getattr(last, name)}")
    if last.descriptors > first.descriptors + 4:
        report.finds.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
    if report.growth_mb > MAX_GROWTH_MB:
        report.finds.append(f"memory grew by {report.growth_mb:.1f} MB, more than {MAX_GROWTH_MB:g}")
