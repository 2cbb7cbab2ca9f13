"""This process's one pipeline: made from the settings, at first use. The only global state we own."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.signals import setting_changed
from django.db import transaction

from .assembly import build_pipeline
from .conf import SETTING, read_settings
from .core.config import PipelineConfig
from .runtime.pipeline import UpdatePipeline

_lock = threading.RLock()
_pipeline: UpdatePipeline | None = None


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
                config = read_settings()
                _pipeline = build_pipeline(config, run_sync=_in_django_thread, defer=_deferral(config))
            pipeline = _pipeline
    return pipeline


def setup_update_pipeline_integration() -> UpdatePipeline:
    """The founding name: the process's pipeline, its sources and adapter joined to it. Sync, idempotent."""
    return get_update_pipeline()


async def start_update_pipeline_service() -> UpdatePipeline:
    """The process's pipeline, started on the running loop."""
    pipeline = get_update_pipeline()
    await pipeline.start()
    return pipeline


async def start_serving(pipeline: UpdatePipeline) -> None:
    """Starts a pipeline in a process that serves clients, with its control socket. Idempotent, cheap when it runs."""
    if pipeline.is_running:
        return
    await pipeline.start()


async def stop_serving(pipeline: UpdatePipeline) -> None:
    """The opposite: drains and stops."""
    await pipeline.stop()


def reset_update_pipeline() -> None:
    """Forgets the process's pipeline, so that the next use makes a new one: for tests, and after a fork."""
    global _pipeline
    with _lock:
        _pipeline = None


def _in_django_thread(call: Callable[[], Any]) -> Awaitable[Any]:
    return sync_to_async(call, thread_sensitive=True)()


def _deferral(config: PipelineConfig) -> Callable[[Callable[[], None]], bool] | None:
    """Inside `transaction.atomic()` an update waits for the commit; a rollback sends nothing."""
    if not config.on_commit:
        return None
    alias = config.database
    get_connection = transaction.get_connection

    def defer(go_on: Callable[[], None]) -> bool:
        if not get_connection(alias).in_atomic_block:
            return False
        transaction.on_commit(go_on, using=alias, robust=True)
        return True

    return defer


def _after_fork_in_child() -> None:
    # The parent's loop, sockets and locks are not ours; what it had queued is its own to deliver.
    global _lock, _pipeline
    _lock = threading.RLock()
    _pipeline = None


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        reset_update_pipeline()


os.register_at_fork(after_in_child=_after_fork_in_child)
setting_changed.connect(_on_setting_changed, dispatch_uid="django_update_pipeline.service")
