"""Slices of those who catch up: a share of each turn of the loop, in order, whatever becomes of who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

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


def is_let_on(turns: Turns) -> bool:
    """Whether a slice may begin at once. Who may not is gone again."""
    asking = turns.take()
    try:
        asking.send(None)
    except StopIteration:
        return True
    asking.close()
    return False


async def test_what_was_spent_is_there_again_in_the_next_turn() -> None:
    turns = Turns()
    await turns.take()
    turns.spent(2 * SHARE_S)
    assert not is_let_on(turns)
    for _ in range(2):
        await asyncio.sleep(0)
    assert is_let_on(turns)


async def test_it_is_there_again_though_nobody_waited_for_it() -> None:
    turns = Turns()
    await turns.take()
    turns.spent(SHARE_S)
    for _ in range(2):
        await asyncio.sleep(0)
    assert is_let_on(turns)


@pytest.mark.parametrize("later", range(1, 8))
async def test_who_asks_while_others_wait_comes_after_them(later: int) -> None:
    """Also in the moment in which a new turn has its whole share, and the first of them has not begun yet."""
    turns, began = Turns(), list[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(greedy(turns, str(number), began, 1, 2 * SHARE_S))
        for _ in range(later):
            await asyncio.sleep(0)
        group.create_task(greedy(turns, "late", began, 1, 2 * SHARE_S))
    assert began[-1] == "late"


async def test_slices_that_become_long_begin_one_a_turn_again() -> None:
    turns, began = Turns(), list[str]()

    async def first_short_then_long() -> None:
        await greedy(turns, "short", began, 20, SHARE_S / 100)
        await greedy(turns, "long", began, 20, 2 * SHARE_S)

    counts = []
    tasks = [asyncio.create_task(first_short_then_long()) for _ in range(50)]
    while not all(task.done() for task in tasks):
        before = len(began)
        await asyncio.sleep(0)
        if began[before:].count("long"):
            counts.append(len(began) - before)
    assert max(counts[-500:]) == 1


async def test_many_who_are_gone_cost_nobody_a_turn() -> None:
    turns, began = Turns(), list[str]()
    tasks = [asyncio.create_task(greedy(turns, str(number), began, 1, 2 * SHARE_S)) for number in range(100)]
    await asyncio.sleep(0)
    for task in tasks[1:-1]:
        task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert began == ["0", "99"]
    await asyncio.wait(tasks)


@pytest.mark.parametrize("later", range(1, 8))
async def test_who_goes_when_it_was_let_on_keeps_nobody_from_it(later: int) -> None:
    """Nothing is spent then, so nothing but the turn itself lets the next one on."""
    turns, began = Turns(), list[str]()
    tasks = [asyncio.create_task(greedy(turns, str(number), began, 1, 2 * SHARE_S)) for number in range(4)]
    for _ in range(later):
        await asyncio.sleep(0)
    for task in tasks[1:3]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(tasks)
    assert began[-1] == "3"


def test_who_waited_on_a_loop_that_was_closed_is_forgotten() -> None:
    """Its futures can't be touched any more, its turn will not come, and its share is not ours."""
    turns = Turns()

    left: list[Coroutine[asyncio.Future[None], None, None]] = []

    async def leave_some_waiting() -> None:
        await turns.take()
        turns.spent(2 * SHARE_S)
        for _ in range(2):
            left.append(turns.take())
            left[-1].send(None).add_done_callback(lambda _: None)
        asyncio.get_running_loop().stop()

    async def go_on() -> None:
        assert is_let_on(turns)
        began: list[str] = []
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for name in "xy":
                group.create_task(greedy(turns, name, began, 3, 2 * SHARE_S))
        assert sorted(began) == list("xxxyyy")

    old = asyncio.new_event_loop()
    old.create_task(leave_some_waiting())  # noqa: RUF006 - done when the loop stops
    old.run_forever()
    old.close()
    asyncio.run(go_on())
    for asking in left:
        asking.close()
