"""An update queued in a transaction waits for its commit (F44)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.plugins.sources import ModelSource
from django_update_pipeline.testing import RecordingSocket

pytestmark = pytest.mark.django_db(transaction=True)


class RolledBack(Exception):
    """Ends a transaction."""


@contextlib.contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or savepoint, that fails at its end."""
    with contextlib.suppress(RolledBack), transaction.atomic():
        yield
        raise RolledBack


def events(pipeline: UpdatePipeline) -> list[int]:
    waiting = [u for view in pipeline.batch_processor.pending_updates.values() for u in view]
    return [u.data["n"] for u in waiting]


def accepted(pipeline: UpdatePipeline) -> int:
    count: int = pipeline.get_performance_metrics()["accepted"]
    return count


def say(pipeline: UpdatePipeline, n: int) -> None:
    pipeline.queue_agent_update("a", "said", {"n": n})


@pytest.mark.fault("F44", "a rollback sends nothing of what was queued in its transaction")
async def test_a_commit_sends_and_a_rollback_does_not(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=True)

    def use() -> None:
        say(running, 0)
        assert events(running) == [0], "outside of a transaction at once"
        with transaction.atomic():
            say(running, 1)
            assert (running.total_updates, accepted(running)) == (2, 1)
        assert events(running) == [0, 1]
        with rolled_back():
            say(running, 2)
        assert events(running) == [0, 1]
        assert (running.total_updates, accepted(running)) == (3, 2)

    await sync_to_async(use)()


@pytest.mark.fault("F44", "a savepoint's rollback takes along what was queued inside it, and only that")
async def test_a_savepoint_that_is_rolled_back_takes_its_updates_along(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=True)

    def use() -> None:
        with transaction.atomic():
            say(running, 1)
            with rolled_back():
                say(running, 2)
                with transaction.atomic():
                    say(running, 3)
            with transaction.atomic():
                say(running, 4)
            assert events(running) == []
        assert events(running) == [1, 4]
        assert (running.total_updates, accepted(running)) == (4, 2)

    await sync_to_async(use)()


async def test_on_commit_can_be_switched_off(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=False)

    def use() -> None:
        with transaction.atomic():
            say(running, 1)
            assert events(running) == [1]

    await sync_to_async(use)()


async def test_the_data_is_that_of_the_call_and_the_latency_begins_at_the_commit(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=True)

    def use() -> None:
        data = {"n": 1}
        with transaction.atomic():
            running.queue_agent_update("a", "said", data)
            data["n"] = 2
            before = running.clock.monotonic()
        (update,) = [u for view in running.batch_processor.pending_updates.values() for u in view]
        assert update.data == {"n": 1}
        assert update.accepted_at >= before

    await sync_to_async(use)()


async def test_a_transaction_on_the_loops_own_thread_is_waited_for_where_django_allows_one(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable (notebooks set it) Django refuses one there, so none is looked for."""
    running = pipeline(ON_COMMIT=True)
    with pytest.raises(SynchronousOnlyOperation), transaction.atomic():
        pass
    say(running, 0)
    assert accepted(running) == 1
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    try:
        with transaction.atomic():
            say(running, 1)
            assert accepted(running) == 1
        assert accepted(running) == 2
    finally:
        raw, connection.connection = connection.connection, None
        raw.close()  # Django's own close() leaves a database in memory open


async def test_a_refusal_comes_at_the_call_not_at_the_commit(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=True)

    def use() -> None:
        with transaction.atomic(), pytest.raises(ValueError, match=r"nan at data\.n"):
            running.queue_agent_update("a", "said", {"n": float("nan")})

    await sync_to_async(use)()


# models


def serialize(group: Any) -> dict[str, Any]:
    if group.name == "broken":
        raise RuntimeError("a bug in the application")
    return {"name": group.name}


async def test_models_are_followed_through_commit_rollback_and_deletion(pipeline: Any) -> None:
    running = pipeline(ON_COMMIT=True)
    running.parts.sources = [ModelSource([Group], serialize)]
    socket = RecordingSocket()
    async with running:
        await running.register_websocket("one", socket)

        def use() -> Group:
            with transaction.atomic():
                group = Group.objects.create(name="islanders")
                group.name = "finalists"
                group.save()
            with rolled_back():
                Group.objects.create(name="nobody")
            return group

        group = await sync_to_async(use)()
        agent_id = f"auth.group.{group.pk}"
        await socket.until(lambda: socket.states == {agent_id: {"name": "finalists"}})
        await sync_to_async(group.delete)()
        await socket.until(lambda: not socket.states)
        broken = await sync_to_async(Group.objects.create)(name="broken")
        assert broken.pk, "the application's save goes on"
    await sync_to_async(Group.objects.create)(name="after stop")
    assert running.get_performance_metrics()["pending"] == 0


async def test_a_model_waits_for_the_commit_on_a_bare_pipeline_too() -> None:
    bare = UpdatePipeline()
    source = ModelSource([Group], serialize, lambda group: group.name)
    bare.parts.sources = [source]
    async with bare:

        def use() -> None:
            with transaction.atomic():
                Group.objects.create(name="late")
                assert bare.total_updates == 0
            assert bare.total_updates == 1
            with rolled_back():
                Group.objects.create(name="never")

        await sync_to_async(use)()
    assert {a: json.loads(s) for a, s in bare.store.states("updates").items()} == {"late": {"name": "late"}}


async def test_existing_rows_are_shown_at_the_start_and_a_broken_one_hides_no_other() -> None:
    names = ("islanders", "broken", "finalists")
    await sync_to_async(lambda: [Group.objects.create(name=name) for name in names])()
    bare = UpdatePipeline()
    bare.parts.sources = [ModelSource([Group], serialize, lambda group: group.name, existing=True)]
    async with bare:
        socket = RecordingSocket()
        await bare.register_websocket("one", socket)
        await socket.until(lambda: len(socket.states) == 2)
        await sync_to_async(Group.objects.create)(name="late")
        await socket.until(lambda: "late" in socket.states)
    assert set(socket.states) == {"islanders", "finalists", "late"}


async def test_a_row_saved_or_deleted_while_existing_rows_are_read_is_not_overtaken_by_the_old_one() -> None:
    """The other thread's update is queued before the older state that was read: the second look mends it."""
    kept, gone = await sync_to_async(lambda: [Group.objects.create(name=name) for name in "ab"])()
    bare = UpdatePipeline()
    source = ModelSource([Group], serialize, existing=True)
    read, reads = source._read, 0

    def read_and_be_late() -> dict[str, Any]:
        nonlocal reads
        states = read()
        reads += 1
        if reads == 1:
            kept.name = "newer"
            kept.save()
            gone.delete()
        return states

    source._read = read_and_be_late  # type: ignore[method-assign]
    kept_id = source.agent_id(kept)
    bare.parts.sources = [source]
    async with bare:
        pass
    assert reads == 3, "found, changed, found unchanged"
    assert {a: json.loads(s) for a, s in bare.store.states("updates").items()} == {kept_id: {"name": "newer"}}
