"""The pipeline under the application's own name; everything comes from `django_update_pipeline`."""

from __future__ import annotations

from django_update_pipeline import (
    CircuitState,
    UpdateMessage,
    UpdatePipeline,
    UpdatePriority,
    get_update_pipeline,
    setup_update_pipeline_integration,
    start_update_pipeline_service,
)

__all__ = [
    "CircuitState",
    "UpdateMessage",
    "UpdatePipeline",
    "UpdatePriority",
    "get_update_pipeline",
    "setup_update_pipeline_integration",
    "start_update_pipeline_service",
]
