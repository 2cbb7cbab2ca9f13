"""The permissions `view_pipeline` and `operate_pipeline`. No table is made: the model that carries them has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar[Sequence[tuple[str, str]]] = []
    operations = [
        migrations.CreateModel(
            name="Pipeline",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "update pipeline",
                "verbose_name_plural": "update pipeline",
                "permissions": (
                    (
                        "view_pipeline",
                        "Can watch the update pipeline: health, metrics, connections, dead letters",
                    ),
                    (
                        "operate_pipeline",
                        "Can operate the update pipeline: reset its breaker, replay and discard dead letters",
                    ),
                ),
                "managed": False,
                "default_permissions": (),
                "base_manager_name": "objects",
            },
        ),
    ]
