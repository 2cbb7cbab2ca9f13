"""One slow reader delays nobody, costs no memory, and gets the newest states and every event, or a warning."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tracemalloc
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline, UpdatePriority
from django_update_pipeline.core.codes import SERVER_STOPPING
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.connection import MAX_REPLIES, TURN_CHARS
from django_update_pipeline.runtime.turns import SHARE_S
from django_update_pipeline.testing import RecordingSocket, in_virtual_time

from .conftest import MakePipeline, settled


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_blocked_socket_delays_no_other(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    blocked, others = RecordingSocket(), [RecordingSocket() for _ in range(10)]
    async with pipeline:
        await pipeline.register_websocket("blocked", blocked)
        for number, socket in enumerate(others):
            await pipeline.register_websocket(f"c{number}", socket)
        blocked.block()
        for n in range(100):
            await pipeline.publish("a", "said", {"n": n}, UpdatePriority.CRITICAL)
        for socket in others:
            await socket.until(lambda socket=socket: len(socket.events) == 100)
        assert blocked.events == []
        blocked.unblock()
        await blocked.until(lambda: len(blocked.events) == 100)
        assert [frame["data"]["n"] for frame in blocked.events] == list(range(100))


async def test_ten_thousand_updates_pass_a_blocked_socket_at_no_cost(make_pipeline: MakePipeline) -> None:
    """What it missed is the changes since its position, not a queue: memory is the same with and without it."""

    async def memory_of(blocked_count: int) -> tuple[int, list[RecordingSocket]]:
        pipeline = make_pipeline(store={"max_events": 100}, queue={"max_events": 100_000})
        sockets = [RecordingSocket() for _ in range(blocked_count)]
        async with pipeline:
            for number, socket in enumerate(sockets):
                await pipeline.register_websocket(f"c{number}", socket)
                socket.block()
            padding = "x" * 300
            for n in range(500):
                pipeline.queue_agent_update(f"a{n % 25}", "state_change", {"n": n, "padding": padding})
            await settled(pipeline)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for n in range(500, 10_500):
                pipeline.queue_agent_update(f"a{n % 25}", "state_change", {"n": n, "padding": padding})
                if n % 10 == 0:
                    await asyncio.sleep(0)
            await settled(pipeline)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            for socket in sockets:
                socket.unblock()
                await socket.until(lambda socket=socket: socket.states.get("a24", {}).get("n") == 10_499)
                assert {a: s["n"] for a, s in socket.states.items()} == {
                    f"a{i}": 10_475 + i for i in range(25)
                }
                assert len(socket.frames) < 200, "newest states only"
        return grown, sockets

    alone, _ = await memory_of(0)
    with_twenty, _ = await memory_of(20)
    assert with_twenty - alone < 20 * 16 * 1024


async def test_events_beyond_the_ring_are_told_as_missed(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline(store={"max_events": 50})
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        await pipeline.publish("a", "said", {"n": -1})
        await socket.until(lambda: len(socket.events) == 1)
        socket.block()
        for n in range(200):
            await pipeline.publish("a", "said", {"n": n}, UpdatePriority.CRITICAL)
        socket.unblock()
        await socket.until(lambda: socket.events[-1]["data"]["n"] == 199)
        got = [frame["data"]["n"] for frame in socket.events]
        warnings = [frame for frame in socket.notifications if frame["level"] == "warning"]
        missed = sum(int(frame["message"].split()[0]) for frame in warnings)
        assert got == sorted(set(got)), "once each, in order"
        assert len(got) + missed == 201
        assert missed > 0


async def test_a_socket_that_fails_is_dropped_alone(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    bad, good = RecordingSocket(), RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("bad", bad)
        await pipeline.register_websocket("good", good)
        bad.fail(ConnectionResetError("gone"))
        await pipeline.publish("a", "said", {"n": 1})
        await good.until(lambda: len(good.events) == 1)
        await turns()
        assert list(pipeline.websocket_manager.connections) == ["good"]
        assert pipeline.circuit_breaker.failure_count == 0, "a client's failure is never the breaker's"
        assert pipeline.websocket_manager.send_failures == 1


async def test_the_same_id_again_takes_the_place_of_the_first_even_if_that_is_blocked(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()
    first, second = RecordingSocket(), RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", first)
        await pipeline.publish("a", "state_change", {"n": 1})
        first.block()
        await pipeline.publish("a", "state_change", {"n": 2})
        await first.blocked.wait()
        assert await pipeline.register_websocket("one", second)
        await second.until(lambda: second.states == {"a": {"n": 2}})
        first.unblock()
        await pipeline.publish("a", "state_change", {"n": 3})
        await second.until(lambda: second.states == {"a": {"n": 3}})
        assert first.states == {"a": {"n": 1}}
        assert pipeline.websocket_manager.get_connection_count() == 1


async def test_unregistering_while_writing_ends_the_writer(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    socket = RecordingSocket()
    tasks = asyncio.all_tasks()
    async with pipeline:
        running = asyncio.all_tasks()
        await pipeline.register_websocket("one", socket)
        socket.block()
        await pipeline.publish("a", "state_change", {"n": 1})
        await socket.blocked.wait()
        assert await pipeline.unregister_websocket("one")
        assert not await pipeline.unregister_websocket("one")
        assert asyncio.all_tasks() == running
        assert not socket.is_closed, "its socket is the caller's"
        assert pipeline.websocket_manager._feeds == {}
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("how", ["blocked", "hangs on close", "both"])
@in_virtual_time
async def test_a_socket_that_hangs_does_not_hold_up_the_stop(make_pipeline: MakePipeline, how: str) -> None:
    pipeline = make_pipeline(clock="loop", connections={"close_timeout_s": 0.5})
    bad, good = RecordingSocket(), RecordingSocket()
    before = asyncio.all_tasks()
    await pipeline.start()
    await pipeline.register_websocket("bad", bad)
    await pipeline.register_websocket("good", good)
    if how != "hangs on close":
        bad.block()
    if how != "blocked":
        bad.hang_on_close()
    await pipeline.publish("a", "state_change", {"n": 1})
    began = asyncio.get_running_loop().time()
    await pipeline.stop()
    assert asyncio.get_running_loop().time() - began < 4
    assert good.is_closed
    assert good.states == {"a": {"n": 1}}
    assert asyncio.all_tasks() == before
    assert pipeline.websocket_manager.get_connection_count() == 0


async def test_anything_with_send_may_be_registered(make_pipeline: MakePipeline) -> None:
    """Founding clients: sync or async, with a third argument or not, and what can't send is refused."""

    class Plain:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def send(self, text: str) -> None:
            self.texts.append(text)

    pipeline = make_pipeline(connections={"max_connections": 2})
    plain, chosen = Plain(), RecordingSocket()
    async with pipeline:
        assert await pipeline.register_websocket("plain", plain)
        assert not await pipeline.register_websocket("nothing", object())
        assert await pipeline.register_websocket("chosen", chosen, {"room_1", "room_2"})
        assert not await pipeline.register_websocket("one too many", RecordingSocket())
        await pipeline.publish("a", "said", {"n": 1})
        await pipeline.publish("b", "said", {"n": 2}, channels=["room_1", "room_2"])
        await chosen.until(lambda: len(chosen.events) == 1)
        assert [json.loads(text)["agent_id"] for text in plain.texts] == ["a"]
        assert [frame["agent_id"] for frame in chosen.events] == ["b"], "once, although it is on both"


async def test_a_new_client_gets_every_agents_newest_state_and_no_old_events(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()
    async with pipeline:
        for n in range(300):
            pipeline.queue_agent_update(f"a{n}", "state_change", {"n": n})
        await pipeline.publish("a0", "said", {})
        await pipeline.publish("a1", "state_removed", {})
        socket = RecordingSocket()
        await pipeline.register_websocket("late", socket)
        await socket.until(lambda: len(socket.states) == 299)
        await turns()
        assert "a1" not in socket.states
        assert socket.events == []
        assert len(socket.frames) == 299


async def test_a_slow_reader_never_sees_a_field_go_back(make_pipeline: MakePipeline) -> None:
    """Law C1, also while what it is sent changes under its hands."""
    pipeline = make_pipeline()
    chance = random.Random(3)

    class Slow(RecordingSocket):
        async def send(self, text: str) -> None:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            await super().send(text)

    sockets = [Slow() for _ in range(5)]
    async with pipeline:
        for number, socket in enumerate(sockets):
            await pipeline.register_websocket(f"c{number}", socket)
        for n in range(600):
            pipeline.queue_agent_update(f"a{n % 9}", "state_patch", {f"f{n % 3}": n})
            if n % 7 == 0:
                pipeline.queue_agent_update(f"a{n % 9}", "said", {"n": n})
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        await settled(pipeline)
        final = {a: json.loads(text) for a, text in pipeline.store.states("updates").items()}
        for socket in sockets:
            await socket.until(lambda socket=socket: socket.states == final and len(socket.events) == 86)
            seen: dict[tuple[str, str], int] = {}
            for frame in socket.frames:
                if frame["update_type"] == "said":
                    continue
                for field, value in frame["data"].items():
                    assert value >= seen.get((frame["agent_id"], field), 0)
                    seen[frame["agent_id"], field] = value
            said = [frame["data"]["n"] for frame in socket.events]
            for agent in range(9):
                own = [n for n in said if n % 9 == agent]
                assert own == sorted(set(own))


@pytest.mark.parametrize("seed", range(12))
async def test_random_readers_channels_and_updates_end_with_what_was_delivered(
    make_pipeline: MakePipeline, seed: int
) -> None:
    """Promise 2 through the real writers: block, unblock, subscribe, unsubscribe, come, go; then look."""
    chance = random.Random(seed)
    names = ("updates", "north", "south")
    homes = (("updates",), ("north",), ("south",), ("updates", "north"), ("north", "south"), names)
    pipeline = make_pipeline(store={"max_events": 30})
    async with pipeline:
        sockets: dict[str, RecordingSocket] = {}
        for n in range(300):
            roll = chance.random()
            if roll < 0.55:
                agent = chance.randrange(6)
                kind = chance.choices(("state_change", "state_patch", "said", "state_removed"), (6, 3, 3, 1))[
                    0
                ]
                data = {} if kind == "state_removed" else {f"f{chance.randrange(3)}": n, "n": n}
                # An agent's state has its channels; patched differently in each, it would be several.
                channels = chance.sample(names, chance.randint(1, 2)) if kind == "said" else homes[agent]
                pipeline.queue_agent_update(f"a{agent}", kind, data, channels=channels)
            elif roll < 0.65:
                await asyncio.sleep(0)
            elif roll < 0.72 and len(sockets) < 6:
                name = f"c{n}"
                sockets[name] = RecordingSocket()
                await pipeline.register_websocket(name, sockets[name], chance.sample(names, 2))
            elif sockets:
                name = chance.choice(list(sockets))
                socket = sockets[name]
                connection = pipeline.websocket_manager.connections[name]
                session = connection.session
                assert session is not None
                if roll < 0.78:
                    socket.block()
                elif roll < 0.86:
                    socket.unblock()
                elif roll < 0.91:
                    session.subscribe((chance.choice(names),))
                    connection.follow()
                    connection.reply('{"type":"subscription_confirmed"}')
                elif roll < 0.96:
                    gone = chance.choice(names)
                    session.unsubscribe((gone,))
                    connection.follow()
                    connection.reply('{"type":"unsubscription_confirmed"}')
                else:
                    await pipeline.unregister_websocket(name)
                    socket.unblock()
                    del sockets[name]
        await settled(pipeline)
        for name, socket in sockets.items():
            socket.unblock()
            connection = pipeline.websocket_manager.connections[name]
            session = connection.session
            assert session is not None
            async with asyncio.timeout(5):
                while session.has_news() or connection.replies or socket.blocked.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await turns()
            newest: dict[str, tuple[int, Any]] = {}
            for channel in connection.channels:
                for agent in pipeline.store.channel(channel).agents.values():
                    if agent.changed >= newest.get(agent.agent_id, (0, None))[0]:
                        newest[agent.agent_id] = (agent.changed, json.loads(agent.text()))
            for agent_id, (_, state) in newest.items():
                assert socket.states.get(agent_id) == state, (name, agent_id)
            said = [(frame["agent_id"], frame["data"]["n"]) for frame in socket.events]
            assert len(said) == len(set(said)), "no event twice"


async def test_a_flood_of_answers_is_written_before_more_is_read(make_pipeline: MakePipeline) -> None:
    """Back-pressure: who does not read its answers is not read."""
    pipeline = make_pipeline()
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        connection = pipeline.websocket_manager.connections["one"]
        socket.block()
        for n in range(MAX_REPLIES + 10):
            connection.reply(json.dumps({"type": "pong", "n": n}))
        waiting = asyncio.create_task(connection.drained())
        await turns()
        assert not waiting.done()
        socket.unblock()
        await waiting
        await socket.until(lambda: len(socket.frames) == MAX_REPLIES + 10)
        assert [frame["n"] for frame in socket.frames] == list(range(MAX_REPLIES + 10))


@pytest.mark.parametrize("end", ["fails", "unregistered", "stopped"])
async def test_whoever_waits_for_answers_to_be_written_is_freed_when_the_writer_ends(
    make_pipeline: MakePipeline, end: str
) -> None:
    pipeline = make_pipeline(connections={"close_timeout_s": 0.05})
    socket = RecordingSocket()
    socket.hang_on_close()
    await pipeline.start()
    await pipeline.register_websocket("one", socket)
    connection = pipeline.websocket_manager.connections["one"]
    socket.block()
    for n in range(MAX_REPLIES + 10):
        connection.reply(json.dumps({"type": "pong", "n": n}))
    waiting = asyncio.create_task(connection.drained())
    await socket.blocked.wait()
    if end == "fails":
        socket.fail(ConnectionResetError())
    elif end == "unregistered":
        await pipeline.unregister_websocket("one")
    else:
        connection.close(SERVER_STOPPING)
        await pipeline.stop(timeout_s=0.05)
    async with asyncio.timeout(2):
        await waiting
    await pipeline.stop()


async def test_a_connection_made_before_start_or_on_an_old_loop_is_not_kept_for_another(
    make_pipeline: MakePipeline,
) -> None:
    pipeline = make_pipeline()

    def other_loop() -> None:
        async def register() -> None:
            await pipeline.register_websocket("old", RecordingSocket())

        asyncio.run(register())

    await asyncio.to_thread(other_loop)
    async with pipeline:
        assert "old" not in pipeline.websocket_manager.connections
        socket = RecordingSocket()
        await pipeline.register_websocket("new", socket)
        await pipeline.publish("a", "said", {"n": 1})
        await socket.until(lambda: len(socket.events) == 1)


async def test_observers_are_told_of_connections_and_may_fail(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    told: list[tuple[str, str]] = []
    pipeline.parts.observers.connection_opened = (
        lambda connection_id: told.append(("opened", connection_id)),
    )
    pipeline.parts.observers.connection_closed = (
        lambda connection_id: told.append(("closed", connection_id)),
    )
    async with pipeline:
        await pipeline.register_websocket("one", RecordingSocket())
        await pipeline.register_websocket("one", RecordingSocket())
    assert told == [("opened", "one"), ("closed", "one")] * 2


# many who catch up at once


async def most_in_a_turn(pipeline: UpdatePipeline, agents: int) -> tuple[int, int]:
    """How many frames, and how many characters, twenty that catch up are told between two turns of another task."""
    sockets = [RecordingSocket() for _ in range(20)]
    for number, socket in enumerate(sockets):
        await pipeline.register_websocket(f"c{number}", socket)
    frames = chars = 0
    async with asyncio.timeout(60):
        while any(len(socket.states) < agents for socket in sockets):
            before = [len(socket.texts) for socket in sockets]
            await asyncio.sleep(0)
            new = [
                text for socket, count in zip(sockets, before, strict=True) for text in socket.texts[count:]
            ]
            frames, chars = max(frames, len(new)), max(chars, sum(map(len, new)))
    return frames, chars


class SlowClock(SystemClock):
    """A clock by which each look at it takes as long as a turn may."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic() + self.looks * SHARE_S


async def test_however_many_catch_up_they_share_the_turns_of_the_loop(make_pipeline: MakePipeline) -> None:
    """Else whoever keeps up would wait until all of them were told all: here 8 MB."""
    pipeline = make_pipeline()
    size, agents = 20_000, 20
    async with pipeline:
        for number in range(agents):
            pipeline.queue_agent_update(f"a{number}", "state_change", {"text": "x" * size})
        await settled(pipeline)
        _, chars = await most_in_a_turn(pipeline, agents)
    assert chars <= 2 * (TURN_CHARS + size + 1000)


async def test_a_slice_ends_when_its_time_is_over_however_little_it_told(make_pipeline: MakePipeline) -> None:
    pipeline = make_pipeline()
    agents = 60
    async with pipeline:
        for number in range(agents):
            pipeline.queue_agent_update(f"a{number}", "state_change", {"n": number})
        await settled(pipeline)
        pipeline.websocket_manager.clock = SlowClock()
        frames, _ = await most_in_a_turn(pipeline, agents)
    assert frames <= 8
