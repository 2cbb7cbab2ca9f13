"""settings.UPDATE_PIPELINE -> PipelineConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from .core.config import PipelineConfig, config_from_mapping
from .exceptions import ConfigurationError

SETTING = "UPDATE_PIPELINE"


def read_settings() -> PipelineConfig:
    """The configuration of this project; without a TRANSPORT it is `auto`.

    Raises:
        ConfigurationError: an unknown or mistyped setting; the text names its path.
    """
    values: Any = getattr(settings, SETTING, {})
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{SETTING} is {type(values).__name__}, not a dict", path=SETTING)
    return config_from_mapping({"transport": "auto", **{_lower(key): value for key, value in values.items()}})


def _lower(key: Any) -> Any:
    return key.lower() if isinstance(key, str) else key
