"""The Django app: `ready()` registers checks; it starts no task, thread or query."""

from __future__ import annotations

from django.apps import AppConfig


class UpdatePipelineConfig(AppConfig):
    """`INSTALLED_APPS = [..., "django_update_pipeline"]`."""

    name = "django_update_pipeline"
    label = "django_update_pipeline"
    verbose_name = "Update pipeline"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the system checks."""
        from . import checks

        checks.register()
