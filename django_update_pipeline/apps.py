"""The Django app: `ready()` registers checks; it starts no task, thread or query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from .runtime.pipeline import UpdatePipeline


class UpdatePipelineConfig(AppConfig):
    """`INSTALLED_APPS = [..., "django_update_pipeline"]`."""

    name = "django_update_pipeline"
    label = "django_update_pipeline"
    verbose_name = "Update pipeline"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the system checks and, where prometheus_client is installed, the metrics."""
        from . import checks, metrics

        checks.register()
        metrics.register(_current_pipeline)


def _current_pipeline() -> UpdatePipeline | None:
    """The process's pipeline as it is when somebody scrapes; a scrape makes none."""
    from .service import current_pipeline

    return current_pipeline()
