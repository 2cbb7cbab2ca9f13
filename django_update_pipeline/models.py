"""No table: only what the pipeline's permissions belong to. The rules that ask for them are in `permissions`."""

from __future__ import annotations

from typing import Any

from django.db import models


class NoRows(models.Manager["Pipeline"]):
    """Finds nothing and asks no database, so that `dumpdata` meets no missing table."""

    def get_queryset(self) -> Any:
        return super().get_queryset().none()


class Pipeline(models.Model):
    """Carries `view_pipeline` and `operate_pipeline`; it has no table and no rows."""

    objects = NoRows()

    class Meta:
        """No table, no default permissions: two of its own."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ()
        permissions = (
            ("view_pipeline", "Can watch the update pipeline: health, metrics, connections, dead letters"),
            (
                "operate_pipeline",
                "Can operate the update pipeline: reset its breaker, replay and discard dead letters",
            ),
        )
        verbose_name = "update pipeline"
        verbose_name_plural = "update pipeline"

    def __str__(self) -> str:
        return "update pipeline"
