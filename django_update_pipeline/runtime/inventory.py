"""The parts of a pipeline in flow order: what each is, which plugin provides it, and how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..core.names import reflected

if TYPE_CHECKING:
    from .boundary import Boundary
    from .pipeline import UpdatePipeline

BUILT_IN: Final = "django_update_pipeline.plugins.defaults"

#: Hooks that are asked or told, in the order of the flow, and what a part of that kind is called.
CALLED_HOOKS: Final = {
    "authorize_subscribe": "access hook",
    "authorize_action": "access hook",
    "handle_action": "access hook",
    "observe_started": "observer",
    "observe_stopped": "observer",
    "observe_batch_delivered": "observer",
    "observe_dead_lettered": "observer",
    "observe_breaker_changed": "observer",
    "observe_part_switched": "observer",
    "observe_connection_opened": "observer",
    "observe_connection_closed": "observer",
    "observe_operator_command": "observer",
}


def inventory(pipeline: UpdatePipeline) -> dict[str, Any]:
    """`get_plugins`: `parts` in flow order, and the names of the `plugins` in the order in which they are asked."""
    parts = pipeline.parts
    rows = [
        *(_row(pipeline, "source", one) for one in parts.sources),
        *([_row(pipeline, "router", parts.router)] if parts.router is not None else []),
        _row(pipeline, "queue", pipeline.batch_processor.queue),
        _row(pipeline, "batching policy", parts.batching),
        *(_row(pipeline, "transformer", one) for one in parts.transformers),
        _row(pipeline, "circuit breaker", parts.circuit_breaker),
        _row(pipeline, "retry policy", parts.retry),
        _row(pipeline, "transport", parts.transport),
        _row(pipeline, "store", pipeline.store),
    ]
    plugins = pipeline.plugins
    if plugins is None:
        return {"parts": rows, "plugins": []}
    checks = [_row(pipeline, "health check", one) for one in parts.health_checks]
    for hook, kind in CALLED_HOOKS.items():
        rows += [
            _record(kind, hook, hook, plugin, pipeline.containment.boundary(plugin, kind, hook))
            for plugin in plugins.implementers(hook)
        ]
    for name, action in getattr(pipeline.access, "actions", {}).items():
        rows.append(_action(pipeline, name, action))
    return {"parts": rows + checks, "plugins": plugins.names()}


def _action(pipeline: UpdatePipeline, name: str, action: Any) -> dict[str, Any]:
    provider = pipeline.containment.providers.get(id(action))
    plugin = action.handler.__module__ if provider is None else provider[1]
    boundary = pipeline.containment.boundary(plugin, "access hook", f"action {name}")
    return _record("action", reflected(name)[1:-1], "provide_actions", plugin, boundary)


def _row(pipeline: UpdatePipeline, kind: str, part: object) -> dict[str, Any]:
    cls = type(part)
    dotted = f"{cls.__module__}.{cls.__qualname__}"
    name = getattr(part, "name", None)
    boundary = pipeline.containment.known(part)
    provider = pipeline.containment.providers.get(id(part))
    if provider is not None:
        plugin = provider[1]
    else:
        plugin = BUILT_IN if cls.__module__.startswith("django_update_pipeline.") else cls.__module__
    shown = reflected(name)[1:-1] if isinstance(name, str) and name else cls.__qualname__
    return _record(kind, shown, dotted, plugin, boundary)


def _record(kind: str, name: str, dotted: str, plugin: str, boundary: Boundary | None) -> dict[str, Any]:
    record: dict[str, Any] = {} if boundary is None else boundary.report()
    return {
        "kind": kind,
        "name": name,
        "class": dotted,
        "plugin": plugin,
        "is_off": record.get("is_off", False),
        "off_because": record.get("off_because", ""),
        "failures": record.get("failures", 0),
        "last_error": record.get("last_error", ""),
    }
