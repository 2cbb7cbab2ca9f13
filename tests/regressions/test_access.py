"""An answer that is no answer opens nothing."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline import PipelineConfig, hookimpl
from django_update_pipeline.assembly import build_pipeline
from django_update_pipeline.runtime.socket import SocketClient


class Answers:
    """A plugin that answers by what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> Any:
        return self.answer() if callable(self.answer) else self.answer


async def later_no() -> bool:
    return False


async def later_yes() -> bool:
    return True


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        pytest.param(True, True, id="True"),
        pytest.param(False, False, id="False"),
        pytest.param(None, False, id="no opinion"),
        pytest.param(later_yes, True, id="a coroutine that says True"),
        pytest.param(later_no, False, id="a coroutine that says False"),
        pytest.param("no", False, id="a text"),
        pytest.param(object(), False, id="an object"),
        pytest.param(1, False, id="a number"),
    ],
)
async def test_only_true_is_a_yes(answer: Any, allowed: bool) -> None:
    """A coroutine that nobody awaited, and any other object that is not empty, once let clients in."""
    pipeline = build_pipeline(PipelineConfig(entry_points=False), extra_plugins=[Answers(answer)])
    assert await pipeline.access.may_subscribe(SocketClient("one"), "secret") is allowed


async def test_a_hook_that_fails_is_named_and_counted_and_does_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = build_pipeline(PipelineConfig(entry_points=False), extra_plugins=[Answers(lambda: 1 / 0)])
    for _ in range(100):
        assert not await pipeline.access.may_subscribe(SocketClient("one"), "secret")
    assert pipeline.access.failures == {"authorize_subscribe": 100}  # type: ignore[attr-defined]
    complaints = [r for r in caplog.records if "ZeroDivisionError" in r.getMessage()]
    assert len(complaints) == 7
