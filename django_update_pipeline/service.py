"""This process's one pipeline: made from the settings, at first use. The only global state we own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from django.core.signals import setting_changed
from django.db import transaction

from . import metrics
from .assembly import build_pipeline
from .conf import SETTING, read_settings
from .control import ControlServer, project_key
from .core.commands import ADMIN_SOCKET_ONLY, COMMANDS, checked_params
from .core.config import PipelineConfig
from .core.messages import UpdatePriority
from .exceptions import ActionRefused
from .runtime.complaints import complain
from .runtime.operations import carry_out
from .runtime.pipeline import UpdatePipeline
from .runtime.socket import SocketClient
from .runtime.termination import Termination
from .runtime.unheard import Unheard
from .sessions import in_database_thread

#: So many addresses of this process are remembered.
MAX_ADDRESSES = 8

#: Where `manage.py pipeline_doctor` has an update sent to its own socket.
PROBE_CHANNEL = "update_pipeline.probe"

logger = logging.getLogger(__name__)

_lock = threading.RLock()
_pipeline: UpdatePipeline | None = None
_starting: set[asyncio.Future[None]] = set()
_addresses: set[tuple[str, int, str]] = set()
_control: WeakKeyDictionary[UpdatePipeline, ControlServer] = WeakKeyDictionary()
_terminations: WeakKeyDictionary[UpdatePipeline, Termination] = WeakKeyDictionary()
#: Where this is set, Django lets synchronous database code run on an event loop's thread.
ASYNC_UNSAFE = "DJANGO_ALLOW_ASYNC_UNSAFE"
#: `os.environ`, asked for each update: without its conversions, which cost more than queueing does, where it lets us.
_environ: Any = getattr(os.environ, "_data", os.environ)
_async_unsafe: Any = ASYNC_UNSAFE if _environ is os.environ else os.environ.encodekey(ASYNC_UNSAFE)

_unheard = Unheard(lambda: _pipeline, time.monotonic)


def get_update_pipeline() -> UpdatePipeline:
    """The process's pipeline, made from `settings.UPDATE_PIPELINE` at the first call. Starts nothing. Any thread.

    Raises:
        ConfigurationError: the settings are wrong, or a plugin can't be loaded.
    """
    global _pipeline
    pipeline = _pipeline
    if pipeline is None:
        with _lock:
            if _pipeline is None:
                _pipeline = _build()
            pipeline = _pipeline
    return pipeline


def _build(into: UpdatePipeline | None = None) -> UpdatePipeline:
    config = read_settings()
    pipeline = build_pipeline(config, run_sync=in_database_thread, defer=_deferral(config), into=into)
    metrics.follow(pipeline, current_pipeline)
    return pipeline


def setup_update_pipeline_integration() -> UpdatePipeline:
    """The founding name: the process's pipeline, its sources and adapter joined to it. Sync, idempotent."""
    return get_update_pipeline()


async def start_update_pipeline_service() -> UpdatePipeline:
    """The process's pipeline, started on the running loop."""
    pipeline = get_update_pipeline()
    await pipeline.start()
    return pipeline


async def start_serving(pipeline: UpdatePipeline, *, has_lifespan: bool = False) -> None:
    """Starts a pipeline in a process that serves clients, with its control socket. Idempotent, cheap when it runs.

    `has_lifespan` says that the server will call for `stop_serving` by itself.
    """
    if is_ending(pipeline):
        return
    was_running = (
        pipeline.is_running
    )  # perhaps by `start_update_pipeline_service`, which opens no control socket
    if not was_running:
        # In a task of its own: a handshake that gives up must not take back a start that is a little slower.
        starting = asyncio.ensure_future(pipeline.start())
        _starting.add(starting)
        starting.add_done_callback(_starting.discard)
        await asyncio.shield(starting)
    pipeline.live.start()
    _hear_sigterm(pipeline, has_lifespan)
    if not pipeline.config.control or pipeline is not _pipeline:
        return
    server = _control.get(pipeline)
    if server is None:
        server = _control[pipeline] = ControlServer(project_key(), control_handlers(pipeline))
        pipeline.control_problem = functools.partial(getattr, server, "problem")
    elif was_running:
        return  # it listens, or has said why it can't
    await server.start()


def served_at(server: tuple[str, int | None] | None, path: str) -> None:
    """Remembers where this process was reached: ASGI's `scope["server"]`, and the path of the classic socket there."""
    if server and server[1] is not None and len(_addresses) < MAX_ADDRESSES:
        _addresses.add((str(server[0]), int(server[1]), path))


async def stop_serving(pipeline: UpdatePipeline) -> None:
    """The opposite: drains and stops."""
    termination = _terminations.get(pipeline)
    if termination is not None and not termination.has_begun:
        del _terminations[pipeline]
        termination.remove()
    server = _control.pop(pipeline, None)
    if server is not None:
        await server.stop()
    await pipeline.stop()


def is_ending(pipeline: UpdatePipeline) -> bool:
    """Whether the process was told to end: its doors let nobody in any more, and nothing is started again."""
    termination = _terminations.get(pipeline)
    return termination is not None and termination.has_begun


def _hear_sigterm(pipeline: UpdatePipeline, has_lifespan: bool) -> None:
    """Tells the clients as soon as the process is told to end, and drains where no lifespan would."""
    if pipeline in _terminations or pipeline is not _pipeline or not pipeline.config.stop_on_sigterm:
        return

    async def wind_up() -> None:
        if has_lifespan:
            await pipeline.see_off()
        else:
            await stop_serving(pipeline)

    _terminations[pipeline] = Termination(wind_up, comes_first=not has_lifespan)
    _terminations[pipeline].install()


def control_handlers(pipeline: UpdatePipeline) -> dict[str, Callable[..., Awaitable[Any]]]:
    """What a management command in another process can ask of this one, by command."""
    operator = SocketClient("local-operator", None, is_local_operator=True)

    def operation(command: str) -> Callable[..., Awaitable[Any]]:
        async def answer(**params: Any) -> Any:
            return carry_out(pipeline, command, checked_params(command, params), by=operator.connection_id)

        return answer

    async def action(agent_id: str, action: str, params: dict[str, Any] | None = None) -> dict[str, bool]:
        if not await pipeline.access.may_act(operator, agent_id, action, params or {}):
            raise ActionRefused("the application does not allow this action", code="forbidden")
        return {"handled": await pipeline.access.act(operator, agent_id, action, params or {})}

    async def states(channel: str | None = None) -> dict[str, Any]:
        name = channel or pipeline.config.default_channel
        texts = pipeline.store.states(name)
        return {
            "epoch": pipeline.store.epoch,
            "offset": pipeline.store.head,
            "states": {agent_id: msgspec.json.decode(text) for agent_id, text in texts.items()},
        }

    async def addresses() -> dict[str, Any]:
        return {"addresses": sorted(_addresses)}

    async def probe(connection_id: str) -> dict[str, bool]:
        """Sends an update through everything to one connection, on a channel that nobody else is on."""
        connection = pipeline.websocket_manager.connections.get(connection_id)
        if connection is None or connection.session is None:
            return {"found": False}
        connection.session.begin(PROBE_CHANNEL)
        connection.follow()
        await pipeline.publish(
            "pipeline_doctor", "pipeline_probe", {}, UpdatePriority.CRITICAL, channels=(PROBE_CHANNEL,)
        )
        return {"found": True}

    commands = [name for name in COMMANDS if name not in ADMIN_SOCKET_ONLY]
    return {
        **{name: operation(name) for name in commands},
        "action": action,
        "get_states": states,
        "get_addresses": addresses,
        "probe": probe,
    }


def current_pipeline() -> UpdatePipeline | None:
    """The process's pipeline if there is one; makes none. For whoever only looks: metrics, probes. Any thread."""
    return _pipeline


def reset_update_pipeline() -> None:
    """Forgets the process's pipeline, so that the next use makes a new one: for tests, and after a fork."""
    global _pipeline
    with _lock:
        forgotten, _pipeline = _pipeline, None
    if forgotten is not None:
        metrics.forgotten(forgotten)


def _deferral(config: PipelineConfig) -> Callable[[Callable[[], None]], bool] | None:
    """Inside `transaction.atomic()` an update waits for the commit; a rollback sends nothing."""
    if not config.on_commit:
        return None
    alias = config.database
    get_connection = transaction.get_connection

    def defer(go_on: Callable[[], None]) -> bool:
        if _unheard.is_watching:
            _unheard.queued()
        if asyncio._get_running_loop() is not None and not _environ.get(_async_unsafe):
            return False  # Django lets no transaction begin here, and asking it costs as much as all the rest
        if not get_connection(alias).in_atomic_block:
            return False
        transaction.on_commit(go_on, using=alias, robust=True)
        return True

    return defer


def _after_fork_in_child() -> None:
    """The parent's loop, sockets, threads and locks are not ours; what it had queued is its own to deliver.

    The object stays: modules keep it by name from before the fork (gunicorn's preload), and what is queued through
    it here must not end in a copy of the parent's queue, whose door a thread that is not here may hold for ever.
    """
    global _lock, _pipeline, _unheard
    _lock = threading.RLock()
    _unheard = Unheard(lambda: _pipeline, time.monotonic)
    _starting.clear()
    _terminations.clear()
    inherited, _pipeline = _pipeline, None
    if inherited is None:
        return
    waiting = 0 if inherited.is_running else sum(inherited.batch_processor.get_pending_count().values())
    try:
        _pipeline = _build(into=inherited)
    except Exception as error:  # the next use raises it, to somebody who can see it
        complain(logger, error, "after a fork the pipeline could not be made anew")
    if waiting:
        logger.warning(
            "%d update(s) were queued before the process forked, and stay with the parent, which does not run its "
            "pipeline: queue them once the server has started (a source's start, or the hook observe_started)",
            waiting,
        )


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        reset_update_pipeline()


atexit.register(lambda: _unheard.process_ends())
os.register_at_fork(after_in_child=_after_fork_in_child)
setting_changed.connect(_on_setting_changed, dispatch_uid="django_update_pipeline.service")
