"""System checks: what is wrong with the settings, before anything runs. Ids are stable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.checks import register as register_check

from .conf import read_settings
from .core.origin import valid_allowed_origin
from .exceptions import ConfigurationError, PluginError


def register() -> None:
    """Registers every check of this module."""
    register_check(check_settings, "django_update_pipeline")


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001: a setting is unknown or wrong. E002: a plugin can't be loaded or misspells a hook. W001: an origin."""
    from .assembly import build_pipeline

    try:
        config = read_settings()
    except ConfigurationError as error:
        return [
            Error(
                str(error),
                hint="See the settings reference for names, units and ranges.",
                id="django_update_pipeline.E001",
            )
        ]
    found: list[CheckMessage] = []
    try:
        build_pipeline(config)
    except PluginError as error:
        found.append(
            Error(
                str(error),
                hint="Correct UPDATE_PIPELINE['PLUGINS'], or the name of the hook in the plugin.",
                id="django_update_pipeline.E002",
            )
        )
    except ConfigurationError as error:
        found.append(
            Error(
                str(error), hint=f"Correct UPDATE_PIPELINE at {error.path}.", id="django_update_pipeline.E001"
            )
        )
    for origin in config.connections.allowed_origins:
        if not valid_allowed_origin(origin):
            found.append(
                Warning(
                    f"allowed_origins has {origin!r}, which matches nothing.",
                    hint="Write https://app.example.com or https://*.example.com.",
                    id="django_update_pipeline.W001",
                )
            )
    return found
