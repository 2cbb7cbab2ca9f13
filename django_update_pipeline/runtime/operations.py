"""Carries out the operators' commands (`core.commands`), whoever asks: the admin socket or another process.

On the pipeline's loop. Answers are plain JSON values; nothing here knows who may ask what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.commands import (
    CommandError,
    ListConnections,
    ListDeadLetters,
    OneDeadLetter,
    Params,
    SomeDeadLetters,
)
from ..core.dead_letters import DeadLetter
from ..core.messages import UpdateMessage
from ..exceptions import PipelineFull

if TYPE_CHECKING:
    from .pipeline import UpdatePipeline


def carry_out(pipeline: UpdatePipeline, command: str, params: Params) -> dict[str, Any]:
    """Carries out one command with its checked parameters.

    Raises:
        CommandError: it is one that belongs to a socket (`watch`), or what it names is not there.
    """
    operation = _OPERATIONS.get(command)
    if operation is None:
        raise CommandError("unknown_command", f"{command} is for the admin socket only")
    return operation(pipeline, params)


def _health(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return pipeline.get_health_status()


def _metrics(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return pipeline.get_performance_metrics()


def _connections(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    assert isinstance(params, ListConnections)
    manager = pipeline.websocket_manager
    now = pipeline.clock.time()
    return {
        "count": manager.get_connection_count(),
        "behind": manager.behind_count(),
        "connections": [
            {
                "connection_id": c.connection_id,
                "channels": list(c.channels),
                "connected_s": round(now - c.connected_at, 3),
            }
            for c in list(manager.connections.values())[: params.limit]
        ],
    }


def _plugins(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    plugins = pipeline.plugins
    return {"plugins": plugins.names() if plugins is not None else []}


def _reset_breaker(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    before = pipeline.circuit_breaker.get_state()
    pipeline.reset_circuit_breaker()
    return {"before": before, "after": pipeline.circuit_breaker.get_state()}


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "agent_id": letter.agent_id,
        "update_type": letter.update_type,
        "kind": letter.kind.name.lower(),
        "priority": letter.priority.label,
        "channels": list(letter.channels),
        "bytes": len(letter.payload),
        "reason": letter.reason,
        "cause": letter.cause,
        "queued_at": letter.queued_at,
        "died_at": letter.died_at,
        "is_replayable": letter.is_replayable,
    }


def _list_letters(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    assert isinstance(params, ListDeadLetters)
    letters = pipeline.dead_letters
    found = [
        letter
        for letter in reversed(letters.list())
        if (params.before is None or letter.number < params.before)
        and (params.reason is None or letter.reason == params.reason)
    ]
    return {
        "kept": len(letters),
        "total": letters.total,
        "let_go": letters.let_go,
        "matching": len(found),
        "letters": [_summary(letter) for letter in found[: params.limit]],
    }


def _show_letter(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    assert isinstance(params, OneDeadLetter)
    for letter in pipeline.dead_letters.list():
        if letter.number == params.number:
            return {**_summary(letter), "data": UpdateMessage(letter.agent_id, payload=letter.payload).data}
    raise CommandError("not_found", f"there is no dead letter {params.number}: list those that are kept")


def _numbers(pipeline: UpdatePipeline, params: Params) -> tuple[int, ...]:
    assert isinstance(params, SomeDeadLetters)
    return tuple(letter.number for letter in pipeline.dead_letters.list()) if params.all else params.numbers


def _replay_letters(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    replayed: list[int] = []
    skipped: list[int] = []
    problem: str | None = None
    numbers = _numbers(pipeline, params)
    for place, number in enumerate(numbers):
        try:
            (replayed if pipeline.replay_dead_letter(number) else skipped).append(number)
        except PipelineFull as error:  # the rest is kept, and said
            problem = str(error)
            skipped += numbers[place:]
            break
    return {"replayed": replayed, "skipped": skipped, "problem": problem, "kept": len(pipeline.dead_letters)}


def _discard_letters(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    discarded: list[int] = []
    skipped: list[int] = []
    for number in _numbers(pipeline, params):
        (skipped if pipeline.dead_letters.discard(number) is None else discarded).append(number)
    return {"discarded": discarded, "skipped": skipped, "kept": len(pipeline.dead_letters)}


_OPERATIONS: dict[str, Callable[[UpdatePipeline, Any], dict[str, Any]]] = {
    "get_health": _health,
    "get_metrics": _metrics,
    "get_connections": _connections,
    "get_plugins": _plugins,
    "list_dead_letters": _list_letters,
    "show_dead_letter": _show_letter,
    "reset_circuit_breaker": _reset_breaker,
    "replay_dead_letters": _replay_letters,
    "discard_dead_letters": _discard_letters,
}
