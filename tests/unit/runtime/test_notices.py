"""What the pipeline tells, and that no two notices send each other round for ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, cast

import pytest

from django_update_pipeline.core.messages import UpdateMessage
from django_update_pipeline.runtime.live import Live
from django_update_pipeline.runtime.notices import MAX_BREAKER_ROUNDS, MAX_OBITUARIES, Notices
from django_update_pipeline.runtime.observers import Observers


@dataclass
class Watched:
    """Stands for the operators' live view."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    letters: int = 0

    def happened(self, kind: str, data: dict[str, Any]) -> None:
        self.seen.append((kind, dict(data)))

    def letters_added(self) -> None:
        self.letters += 1


class State(Enum):
    OPEN = "open"
    CLOSED = "closed"


def move(number: int = 1) -> Any:
    return SimpleNamespace(before=State.CLOSED, after=State.OPEN, cause=f"failure {number}\nforged line")


@pytest.fixture
def live() -> Watched:
    return Watched()


@pytest.fixture
def observers() -> Observers:
    return Observers()


@pytest.fixture
def notices(observers: Observers, live: Watched) -> Notices:
    return Notices(observers, cast(Live, live))


def test_the_dead_are_told_of_once_each_and_in_order(
    notices: Notices, observers: Observers, live: Watched
) -> None:
    told: list[str] = []
    observers.dead_lettered = [
        lambda update, reason, cause: told.append(f"{update.agent_id} {reason} {cause}")
    ]
    for name in "ab":
        notices.obituaries.append((UpdateMessage(name, "said", b"{}"), "failed", "no"))
    notices.tell_of_the_dead()
    notices.tell_of_the_dead()
    assert told == ["a failed no", "b failed no"]
    assert live.letters == 2


def test_an_observer_by_which_others_die_is_told_of_these_in_the_next_round(
    notices: Notices, observers: Observers
) -> None:
    told: list[str] = []

    def kills_another(update: UpdateMessage, reason: str, cause: str) -> None:
        told.append(update.agent_id)
        notices.obituaries.append((UpdateMessage(f"{update.agent_id}'", "said", b"{}"), "failed", ""))
        notices.tell_of_the_dead()  # as the door does after what the observer queued

    observers.dead_lettered = [kills_another]
    notices.obituaries.append((UpdateMessage("a", "said", b"{}"), "failed", ""))
    notices.tell_of_the_dead()
    assert told == ["a"]
    notices.tell_of_the_dead()
    assert told == ["a", "a'"]


def test_obituaries_are_bounded(notices: Notices) -> None:
    for number in range(MAX_OBITUARIES + 5):
        notices.obituaries.append((UpdateMessage(f"a{number}", "said", b"{}"), "failed", ""))
    assert len(notices.obituaries) == MAX_OBITUARIES
    assert notices.obituaries[0][0].agent_id == "a5"


def test_a_breakers_move_goes_to_observers_the_live_view_and_the_log(
    notices: Notices, observers: Observers, live: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    observers.breaker_changed = [lambda change: told.append(change)]
    event = move()
    waiting = [[event], []]
    notices.breaker_changed(lambda: waiting.pop(0))
    assert told == [event]
    assert live.seen == [
        ("circuit_breaker_changed", {"before": "closed", "after": "open", "cause": "failure 1\nforged line"})
    ]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("circuit breaker: closed -> open (failure 1")
    assert "\n" not in line


def test_an_observer_that_moves_the_breaker_is_told_of_that_by_the_round_that_runs(
    notices: Notices, observers: Observers
) -> None:
    waiting = [[move(1)], [move(2)], []]
    told: list[str] = []

    def moves_it(change: Any) -> None:
        told.append(change.cause)
        before = len(told)
        notices.breaker_changed(lambda: waiting.pop(0))  # as the breaker's `on_change` does
        assert len(told) == before, "not from inside"

    observers.breaker_changed = [moves_it]
    notices.breaker_changed(lambda: waiting.pop(0))
    assert [cause[:9] for cause in told] == ["failure 1", "failure 2"]


def test_an_observer_that_moves_the_breaker_for_ever_does_not_hold_the_loop(
    notices: Notices, observers: Observers
) -> None:
    told: list[Any] = []
    observers.breaker_changed = [lambda change: told.append(change)]
    notices.breaker_changed(lambda: [move(len(told))])
    assert len(told) == MAX_BREAKER_ROUNDS
    notices.breaker_changed(list)  # and the next time it is told again
    notices.breaker_changed(lambda: [move()] if len(told) == MAX_BREAKER_ROUNDS else [])
    assert len(told) == MAX_BREAKER_ROUNDS + 1


def test_a_switched_part_goes_to_observers_and_the_live_view(
    notices: Notices, observers: Observers, live: Watched
) -> None:
    told: list[dict[str, Any]] = []
    observers.part_switched = [lambda **news: told.append(news)]
    notices.part_switched(
        cast(Any, SimpleNamespace(plugin="p", part="source s", is_off=True, off_because="it failed"))
    )
    news = {"plugin": "p", "part": "source s", "is_on": False, "cause": "it failed"}
    assert told == [news]
    assert live.seen == [("part_switched", news)]


def test_connections_and_batches_are_told_of(notices: Notices, observers: Observers) -> None:
    told: list[Any] = []
    observers.connection_opened = [lambda connection_id: told.append(("opened", connection_id))]
    observers.connection_closed = [lambda connection_id: told.append(("closed", connection_id))]
    observers.batch_delivered = [lambda size, duration_s: told.append((size, duration_s))]
    one = SimpleNamespace(connection_id="c1")
    notices.connection_opened(one)
    notices.connection_closed(one)
    notices.batch_delivered(3, 0.5)
    assert told == [("opened", "c1"), ("closed", "c1"), (3, 0.5)]
