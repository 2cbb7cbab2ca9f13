"""Live copies of server-side state in every browser: nothing lost, nothing stale, most urgent first.

Importing this package imports neither Django nor Channels; `get_update_pipeline`,
`setup_update_pipeline_integration` and `start_update_pipeline_service` reach for Django when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .core.actions import Action
from .core.circuit_breaker import CircuitState
from .core.config import PipelineConfig
from .core.messages import UNSET, UpdateMessage, UpdatePriority
from .core.view import Fields
from .exceptions import ActionRefused, InvalidUpdate, PipelineFull, UpdatePipelineError
from .hookspecs import hookimpl
from .runtime.life import StopReport
from .runtime.pipeline import UpdatePipeline

if TYPE_CHECKING:
    from .service import get_update_pipeline, setup_update_pipeline_integration, start_update_pipeline_service
    from .sessions import permission_changed

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "Action",
    "ActionRefused",
    "CircuitState",
    "Fields",
    "InvalidUpdate",
    "PipelineConfig",
    "PipelineFull",
    "StopReport",
    "UpdateMessage",
    "UpdatePipeline",
    "UpdatePipelineError",
    "UpdatePriority",
    "get_update_pipeline",
    "hookimpl",
    "permission_changed",
    "setup_update_pipeline_integration",
    "start_update_pipeline_service",
]

_SERVICE = ("get_update_pipeline", "setup_update_pipeline_integration", "start_update_pipeline_service")


def __getattr__(name: str) -> Any:
    if name in _SERVICE:
        from . import service

        return getattr(service, name)
    if name == "permission_changed":
        from .sessions import permission_changed

        return permission_changed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
