"""Slices of those who catch up: a share of each turn of the loop, in order, whatever becomes of who waits."""

from __future__ import annotations

import asyncio

from django_update_pipeline.runtime.turns import MAX_GRANTS, SHARE_S, Turns


async def greedy(turns: Turns, name: str, began: list[str], slices: int, cost_s: float) -> None:
    for _ in range(slices):
        await turns.take()
        began.append(name)
        turns.spent(cost_s)


async def most_in_a_turn(turns: Turns, cost_s: float, clients: int = 50) -> int:
    """How many slices began between two turns of somebody who keeps up, once they are under way."""
    began: list[str] = []
    tasks = [asyncio.create_task(greedy(turns, str(n), began, 20, cost_s)) for n in range(clients)]
    counts = []
    while not all(task.done() for task in tasks):
        before = len(began)
        await asyncio.sleep(0)
        counts.append(len(began) - before)
    assert len(began) == 20 * clients
    return max(counts[5:])


async def test_long_slices_begin_one_a_turn_however_many_ask() -> None:
    assert await most_in_a_turn(Turns(), 2 * SHARE_S) == 1


async def test_short_slices_begin_together() -> None:
    assert 4 < await most_in_a_turn(Turns(), SHARE_S / 100) <= 100 + MAX_GRANTS


async def test_who_asked_first_goes_first() -> None:
    turns, began = Turns(), list[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(greedy(turns, str(number), began, 3, 2 * SHARE_S))
    assert "".join(began) == "0" + "01234" + "01234" + "1234"


async def test_one_alone_does_not_wait() -> None:
    turns = Turns()
    taken = asyncio.ensure_future(turns.take())
    await asyncio.sleep(0)
    assert taken.done()


async def test_who_is_gone_is_passed_over() -> None:
    turns, began = Turns(), list[str]()
    tasks = [asyncio.create_task(greedy(turns, str(number), began, 2, 2 * SHARE_S)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert began.count("3") == 2


def test_another_loop_begins_afresh() -> None:
    turns = Turns()

    async def leave_some_waiting() -> None:
        tasks = [asyncio.create_task(greedy(turns, "old", [], 5, 2 * SHARE_S)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    async def go_on() -> None:
        began: list[str] = []
        async with asyncio.timeout(5):
            await greedy(turns, "new", began, 5, 2 * SHARE_S)
        assert began == ["new"] * 5

    asyncio.run(leave_some_waiting())
    asyncio.run(go_on())
