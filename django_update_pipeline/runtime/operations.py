"""Carries out the operators' commands (`core.commands`), whoever asks: the admin socket or another process.

On the pipeline's loop. Answers are plain JSON values and bounded, so that each fits into a line of the control socket;
nothing here knows who may ask what. A command that changes something leaves a line in this module's log (who, what,
what became of it; never an update's data), tells `observe_operator_command`, and whoever watches.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..core.codec import encode_value
from ..core.codes import CLOSED_BY_OPERATOR
from ..core.commands import (
    COMMANDS,
    CommandError,
    GetHistory,
    Hold,
    ListConnections,
    ListDeadLetters,
    OneConnection,
    OneDeadLetter,
    OnePlugin,
    Params,
    SomeDeadLetters,
)
from ..core.dead_letters import DeadLetter
from ..core.messages import UpdateMessage
from ..core.names import one_line, reflected
from ..exceptions import PipelineFull, PluginError
from .inventory import inventory
from .live import connection_summary

if TYPE_CHECKING:
    from .connection import Connection
    from .pipeline import UpdatePipeline

logger = logging.getLogger(__name__)

#: A list in an answer ends before it has more bytes; a line of the control socket may have twice that.
MAX_LIST_BYTES: Final = 512 * 1024

#: So many numbers of dead letters, or channels of a connection, are named; the counts are of all.
MAX_NUMBERS: Final = 1000
MAX_CHANNELS: Final = 20

#: A cause is what somebody's error says, which may be no valid Unicode.
MAX_CAUSE_CHARS: Final = 500


def carry_out(pipeline: UpdatePipeline, command: str, params: Params, *, by: str) -> dict[str, Any]:
    """Carries out one command with its checked parameters.

    Args:
        by: who asks, for the log: `user 7`, `local-operator`.

    Raises:
        CommandError: it is one that belongs to a socket (`watch`), or what it names is not there.
    """
    operation = _OPERATIONS.get(command)
    if operation is None:
        raise CommandError("unknown_command", f"{command} is for the admin socket only")
    if not COMMANDS[command].changes:
        return operation(pipeline, params)
    asked = {name: value for name, value in msgspec.structs.asdict(params).items() if value}
    shown = _brief(asked)
    try:
        result = operation(pipeline, params)
    except CommandError as error:
        logger.warning("operator %s: %s %s was not carried out: %s", by, command, shown, error.code)
        raise
    logger.warning("operator %s: %s %s: %s", by, command, shown, _brief(result))
    pipeline.live.happened("operator_acted", {"operator": by, "command": command, "result": _brief(result)})
    observers = pipeline.parts.observers
    if observers.operator_command:
        observers.tell(observers.operator_command, operator=by, command=command, params=asked, result=result)
    return result


def _brief(values: dict[str, Any]) -> str:
    """An answer or parameters in one line of a log: counts for lists, strings quoted and short."""
    parts = []
    for name, value in values.items():
        if value in (None, "", []) or f"{name}_count" in values:
            continue
        if isinstance(value, (list, tuple)):
            few = len(value) <= 5 and all(isinstance(one, int) for one in value)
            value = ",".join(map(str, value)) if few else f"{len(value)} of them"
        elif isinstance(value, dict):
            value = value.get("state", "...")
        elif isinstance(value, str):
            value = reflected(value)
        parts.append(f"{name}={value}")
    return " ".join(parts) or "-"


# what there is to see


def _health(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return pipeline.get_health_status()


def _metrics(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return pipeline.get_performance_metrics()


def _status(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return {
        "process": {
            "pid": os.getpid(),
            # Read, not imported: the package's front door knows Django's side, this room does not.
            "version": sys.modules["django_update_pipeline"].__version__,
            "python": platform.python_version(),
            "node_id": pipeline.node_id,
            "epoch": pipeline.store.epoch,
            "offset": pipeline.store.head,
        },
        "health": pipeline.get_health_status(),
        "metrics": pipeline.get_performance_metrics(),
        "circuit_breaker": pipeline.circuit_breaker.get_state(),
        "connections": connection_summary(pipeline),
        **inventory(pipeline),
    }


def _history(pipeline: UpdatePipeline, params: GetHistory) -> dict[str, Any]:
    return pipeline.live.history.as_dict(pipeline.clock.time() - params.seconds)


def _connections(pipeline: UpdatePipeline, params: ListConnections) -> dict[str, Any]:
    now, head = pipeline.clock.time(), pipeline.store.head
    found = list(pipeline.websocket_manager.connections.values())[params.skip :][: params.limit]
    rows, is_cut = _fitting(_connection(one, now, head) for one in found)
    end = params.skip + len(rows)
    is_more = is_cut or end < pipeline.websocket_manager.get_connection_count()
    return {**connection_summary(pipeline), "connections": rows, "next_skip": end if is_more else None}


def _connection(connection: Connection, now: float, head: int) -> dict[str, Any]:
    session, channels = connection.session, connection.channels
    key = getattr(getattr(connection.client, "user", None), "pk", None)  # never a name
    return {
        "connection_id": connection.connection_id,
        "user_id": None if key is None else one_line(str(key), 80),
        "kind": connection.kind,
        "channels": list(channels[:MAX_CHANNELS]),
        "channel_count": len(channels),
        "connected_s": round(now - connection.connected_at, 3),
        "behind": head - session.position if session is not None and session.has_news() else 0,
        "waiting_answers": len(connection.replies),
        "is_closing": connection.is_closing,
    }


def _plugins(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    return inventory(pipeline)


def _enable_plugin(pipeline: UpdatePipeline, params: OnePlugin) -> dict[str, Any]:
    try:
        return {"name": params.name, "enabled": pipeline.enable_plugin(params.name)}
    except PluginError as error:
        raise CommandError("not_found", str(error)) from None


def _fitting(rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """As many rows as fit into an answer, at least one; and whether some did not."""
    fitting: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        size += len(encode_value(row)) + 1
        if fitting and size > MAX_LIST_BYTES:
            return fitting, True
        fitting.append(row)
    return fitting, False


# breaker and connections


def _reset_breaker(pipeline: UpdatePipeline, params: Params) -> dict[str, Any]:
    before = pipeline.circuit_breaker.get_state()
    pipeline.reset_circuit_breaker()
    return {"before": before, "after": pipeline.circuit_breaker.get_state()}


def _hold_breaker(pipeline: UpdatePipeline, params: Hold) -> dict[str, Any]:
    breaker: Any = pipeline.circuit_breaker
    if not hasattr(breaker, "force_open"):
        raise CommandError("unknown_command", f"the breaker {type(breaker).__name__} can't be held open")
    before = breaker.get_state()
    breaker.force_open(one_line(params.reason, 200))
    return {"before": before, "after": breaker.get_state()}


def _close_connection(pipeline: UpdatePipeline, params: OneConnection) -> dict[str, Any]:
    connection = pipeline.websocket_manager.connections.get(params.connection_id)
    if connection is None:
        raise CommandError("not_found", "there is no connection of this id: list those that are there")
    # After the answer: the operator may close the socket that this came over.
    asyncio.get_running_loop().call_soon(connection.close, CLOSED_BY_OPERATOR)
    return {"connection_id": connection.connection_id, "code": CLOSED_BY_OPERATOR.code}


# dead letters


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "agent_id": letter.agent_id,
        "update_type": letter.update_type,
        "kind": letter.kind.name.lower(),
        "priority": letter.priority.label,
        "channels": list(letter.channels[:MAX_CHANNELS]),
        "bytes": len(letter.payload),
        "reason": letter.reason,
        "cause": one_line(letter.cause, MAX_CAUSE_CHARS),
        "queued_at": letter.queued_at,
        "died_at": letter.died_at,
        "is_replayable": letter.is_replayable,
    }


def _list_letters(pipeline: UpdatePipeline, params: ListDeadLetters) -> dict[str, Any]:
    letters = pipeline.dead_letters
    kept = letters.list()
    found = [
        letter
        for letter in reversed(kept)
        if (params.before is None or letter.number < params.before)
        and (params.reason is None or letter.reason == params.reason)
    ]
    rows, _ = _fitting(_summary(letter) for letter in found[: params.limit])
    return {
        "kept": len(kept),
        "total": letters.total,
        "let_go": letters.let_go,
        "matching": len(found),
        "letters": rows,
        "next_before": rows[-1]["number"] if len(rows) < len(found) else None,
    }


def _show_letter(pipeline: UpdatePipeline, params: OneDeadLetter) -> dict[str, Any]:
    letter = pipeline.dead_letters.get(params.number)
    if letter is None:
        raise CommandError("not_found", f"there is no dead letter {params.number}: list those that are kept")
    if len(letter.payload) > MAX_LIST_BYTES:
        return {**_summary(letter), "data": None, "is_data_too_large": True}
    data = UpdateMessage(letter.agent_id, payload=letter.payload).data
    return {**_summary(letter), "data": data, "is_data_too_large": False}


def _numbers(pipeline: UpdatePipeline, params: SomeDeadLetters) -> tuple[int, ...]:
    if not params.all:
        return params.numbers
    letters = pipeline.dead_letters.list()
    return tuple(one.number for one in letters if params.reason in (None, one.reason))


def _replay_letters(pipeline: UpdatePipeline, params: SomeDeadLetters) -> dict[str, Any]:
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
    return {**_done("replayed", replayed, skipped, pipeline), "problem": problem}


def _discard_letters(pipeline: UpdatePipeline, params: SomeDeadLetters) -> dict[str, Any]:
    discarded: list[int] = []
    skipped: list[int] = []
    for number in _numbers(pipeline, params):
        (skipped if pipeline.dead_letters.discard(number) is None else discarded).append(number)
    return _done("discarded", discarded, skipped, pipeline)


def _done(what: str, done: list[int], skipped: list[int], pipeline: UpdatePipeline) -> dict[str, Any]:
    return {
        what: done[:MAX_NUMBERS],
        f"{what}_count": len(done),
        "skipped": skipped[:MAX_NUMBERS],
        "skipped_count": len(skipped),
        "kept": len(pipeline.dead_letters),
    }


_OPERATIONS: dict[str, Callable[[UpdatePipeline, Any], dict[str, Any]]] = {
    "get_health": _health,
    "get_metrics": _metrics,
    "get_connections": _connections,
    "get_status": _status,
    "get_history": _history,
    "get_plugins": _plugins,
    "enable_plugin": _enable_plugin,
    "list_dead_letters": _list_letters,
    "show_dead_letter": _show_letter,
    "reset_circuit_breaker": _reset_breaker,
    "hold_circuit_breaker": _hold_breaker,
    "close_connection": _close_connection,
    "replay_dead_letters": _replay_letters,
    "discard_dead_letters": _discard_letters,
}
