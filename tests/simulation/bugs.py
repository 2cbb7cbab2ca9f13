"""Bugs planted on purpose: each changes one line of the package, and the simulation has to notice within some seeds.

python -m tests.simulation --bugs
"""

from __future__ import annotations
import __future__

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from .world import run_seed

PACKAGE = "django_update_pipeline"


class Bug(NamedTuple):
    """One line of one function that says something else. `where` is `module:Class.method` inside the package."""

    name: str
    where: str
    right: str
    wrong: str


BUGS = (
    Bug(
        "an offset off by one loses an event",
        "core.store:ChannelStore.events_between",
        "bisect_right(offsets, position, self._first)",
        "bisect_right(offsets, position + 1, self._first)",
    ),
    Bug(
        "an offset off by one loses a state",
        "core.store:ChannelStore.agents_changed_since",
        "if agent.changed <= position:",
        "if agent.changed <= position + 1:",
    ),
    Bug(
        "the tombstone of a field is lost",
        "core.store:ChannelStore._set",
        "agent.unset[key] = offset",
        "agent.unset[key] = 0",
    ),
    Bug(
        "compaction does not raise the floor",
        "core.store:ChannelStore.compact",
        "self.floor = max(self.floor, floor)",
        "self.floor = max(self.floor, 0)",
    ),
    Bug(
        "a batch whose answer was lost is applied again",
        "core.store:Store.apply",
        "if done is _ALL or",
        "if",
    ),
    Bug(
        "what the ring let go of is not counted",
        "core.store:ChannelStore._append_event",
        "self.event_count += 1",
        "self.event_count = len(self._events) - self._first",
    ),
    Bug(
        "a conflated update is counted twice",
        "core.priority_queue:PriorityQueue._conflate",
        "CONFLATED] += 1",
        "CONFLATED] += 2",
    ),
    Bug(
        "a patch in the place of another forgets what that unset",
        "core.priority_queue:overlay",
        "older.fields.update(newer.fields)",
        "older.fields = dict(newer.fields)",
    ),
    Bug(
        "a shared frame serves one that is behind it",
        "core.sync_live:SyncRenderer.live",
        "all(mine >= theirs for mine, theirs in zip(positions, base, strict=True))",
        "True",
    ),
    Bug(
        "a shared frame is changed by the first who sends it",
        "core.sync_session:SyncSession.sent",
        "if count:\n        told",
        "if count and live.frames.pop():\n        told",
    ),
    Bug(
        "of a state and events of two channels the state is told last",
        "core.sync_live:SyncRenderer._render",
        "elif len(recent) > 1 and",
        "elif len(recent) > 2 and",
    ),
    Bug(
        "a part moves the position",
        "core.sync_session:SyncSession._part",
        "builder, self.positions[place], more",
        "builder, catch_up.target, more",
    ),
    Bug(
        "a position of another epoch is taken for one of this",
        "core.sync_session:SyncSession.subscribe",
        "and since[0] == self.store.epoch",
        "and since[0]",
    ),
    Bug(
        "a channel that is left goes on while the client catches up",
        "core.sync_session:SyncSession.unsubscribe",
        "if turn.view.channel not in gone)",
        ")",
    ),
    Bug(
        "urgent parts tell what changed of an agent, not that it was removed",
        "core.sync_session:SyncSession._tell_urgent",
        "if channel.removed.get(one, 0) > self._events_after(catch_up, place)",
        "if channel.removed.get(one, 0) > self.store.head",
    ),
    Bug(
        "an urgent event comes again in its turn",
        "testing.mirror:Mirror._take_events",
        "if offset > self._urgent.get(agent_id, 0):",
        "if offset > 0:",
    ),
    Bug(
        "credit is given back for frames that are still under way",
        "core.credit:Credit.acknowledged",
        "self.bytes_in_flight -= self._before_bytes\n    self.frames_in_flight -= self._before_frames",
        "self.bytes_in_flight = self.frames_in_flight = 0",
    ),
    Bug(
        "credit leaks with each acknowledgement",
        "core.credit:Credit.acknowledged",
        "self.bytes_in_flight -= self._before_bytes\n    self.frames_in_flight -= self._before_frames",
        "pass",
    ),
    Bug(
        "an acknowledgement wakes nobody",
        "runtime.sync_socket:SyncSocket._acknowledge",
        "self.connection.has_room()",
        "pass",
    ),
    Bug(
        "those on several channels are not woken",
        "runtime.connections:WebSocketManager.wake",
        "not f.channels.isdisjoint(channels)",
        "f.channels <= channels",
    ),
    Bug(
        "frames in hand are sent though the subscription has changed",
        "core.sync_session:SyncSession.sent",
        "self.fall_behind()  # what was not written is told anew, newest",
        "self.position = live.to",
    ),
)


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The package with the bug in it."""
    module_name, _, path = bug.where.partition(":")
    module = importlib.import_module(f"{PACKAGE}.{module_name}")
    *owners, name = path.split(".")
    owner = module
    for one in owners:
        owner = getattr(owner, one)
    original = vars(owner)[name]
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(bug.right) == 1, f"{bug.where} has no such line (any more): {bug.right}"
    code = compile(
        source.replace(bug.right, bug.wrong),
        f"<{bug.name}>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    made: dict[str, object] = {}
    exec(code, vars(module), made)
    replaced = {
        one: value
        for one, value in vars(module).items()
        if value is original  # a function of the module itself
    }
    setattr(owner, name, made[name])
    for one in replaced:
        setattr(module, one, made[name])
    try:
        yield
    finally:
        setattr(owner, name, original)


def caught_after(bug: Bug, seeds: int, first: int = 0) -> tuple[int, str] | None:
    """How many histories it took until the bug was noticed, and as what; None: it was not."""
    with planted(bug):
        for seed in range(first, first + seeds):
            try:
                run_seed(seed)
            except Exception as error:
                return seed - first + 1, str(error)
    return None


def report(seeds: int) -> int:
    """Plants each bug, and prints when it was caught."""
    missed = 0
    for bug in BUGS:
        caught = caught_after(bug, seeds)
        missed += caught is None
        told = "NOT CAUGHT" if caught is None else f"history {caught[0]:4}: {caught[1]:.110}"
        print(f"{bug.name:64} {told}", flush=True)
    return 1 if missed else 0
