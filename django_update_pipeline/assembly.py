"""Joins the parts: the whole arrow, readable in one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .core.config import PipelineConfig
from .core.ports import Clock
from .plugins.access import HookAccess, RunSync, in_a_thread
from .plugins.manager import Plugins
from .runtime.clock import SystemClock
from .runtime.containment import Containment
from .runtime.parts import Parts
from .runtime.pipeline import UpdatePipeline


def build_pipeline(
    config: PipelineConfig,
    *,
    extra_plugins: Iterable[object] = (),
    clock: Clock | None = None,
    run_sync: RunSync = in_a_thread,
    defer: Callable[[Callable[[], None]], bool] | None = None,
    into: UpdatePipeline | None = None,
) -> UpdatePipeline:
    """Builds a pipeline from the configuration and the plugins it names. Nothing is started.

    With `into` no new object is made: that pipeline begins afresh, with new parts, locks and an empty queue.

    Raises:
        PluginError: a plugin can't be loaded or misspells a hook.
        ConfigurationError: no plugin provides the transport that is asked for.
    """
    clock = clock or SystemClock()
    containment = Containment(config.containment, clock.monotonic)
    plugins = Plugins(
        config.plugins, entry_points=config.entry_points, extra=extra_plugins, containment=containment
    )
    parts = Parts(
        sources=plugins.all("provide_sources", config),
        router=plugins.first("provide_router", config),
        batching=plugins.first("provide_batching_policy", config),
        transformers=plugins.all("provide_transformers", config),
        frontend_adapter=plugins.first("provide_frontend_adapter", config),
        circuit_breaker=plugins.first("provide_circuit_breaker", config),
        retry=plugins.first("provide_retry_policy", config),
        transport=plugins.first("provide_transport", config),
        access=HookAccess(plugins, config, run_sync),
        observers=plugins.observers(),
        health_checks=plugins.all("provide_health_checks", config),
        containment=containment,
    )
    if into is None:
        pipeline = UpdatePipeline(config, parts=parts, clock=clock, defer=defer)
    else:
        pipeline = into
        # It is in its caller's hands already, so it is made whole in place, which a type checker takes for a mistake.
        pipeline.__init__(config, parts=parts, clock=clock, defer=defer)  # type: ignore[misc]
    pipeline.plugins = plugins
    return pipeline
