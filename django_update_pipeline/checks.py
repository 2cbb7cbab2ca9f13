"""System checks: what is wrong with the settings, before anything runs. Ids are stable.

`CATALOGUE` has every id with its meaning; the documents' table is drawn from it. `manage.py check --deploy` runs those
that only a deployment needs. Nothing here connects, imports the project's ASGI application, or starts anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.checks import register as register_check
from django.core.management import get_commands

from .conf import SETTING, read_settings
from .core.config import PipelineConfig
from .core.origin import valid_allowed_origin
from .exceptions import ConfigurationError, PluginError

TAG: Final = "django_update_pipeline"

#: What says how many processes a server starts: uvicorn, gunicorn and hypercorn read it.
WORKERS_VARIABLE: Final = "WEB_CONCURRENCY"


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of finding. `deploy`: only `check --deploy` looks for it."""

    meaning: str
    deploy: bool = False


CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "E001": Entry("a setting is unknown or wrong; the text gives its path"),
        "E002": Entry("a plugin can't be loaded, or names a hook that does not exist"),
        "E003": Entry("the transport is `channels`, but Channels or the layer it names is missing"),
        "E004": Entry(
            "pickle is the serializer of sessions or of a channel layer: who can write there can run code"
        ),
        "W001": Entry("an entry of `allowed_origins` matches nothing"),
        "W002": Entry("several server processes are asked for, and the transport reaches only its own"),
        "W003": Entry("the transport reaches only its own process, outside of `DEBUG`", deploy=True),
        "W004": Entry("`runserver` here is Django's own: it speaks WSGI and opens no socket"),
        "W005": Entry("`daphne` stands behind another app whose `runserver` takes its place"),
        "W006": Entry("the transport is `channels`, on a layer that reaches only its own process"),
        "W007": Entry("sessions are kept in a cache that pickles them", deploy=True),
        "W008": Entry("`ALLOWED_HOSTS` is empty outside of `DEBUG`, so every socket is refused"),
    }
)
"""Every id, errors first."""


def register() -> None:
    """Registers every check of this module."""
    register_check(check_settings, TAG)
    register_check(check_transport, TAG)
    register_check(check_server, TAG)
    register_check(check_pickle, TAG)
    register_check(check_deployment, TAG, deploy=True)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E001, E002, W001: the settings themselves, and the plugins they name."""
    try:
        config = read_settings()
    except ConfigurationError as error:
        return [_error("E001", str(error), "See the settings reference for names, units and ranges.")]
    found: list[CheckMessage] = []
    from .assembly import build_pipeline

    try:
        build_pipeline(config)
    except PluginError as error:
        found.append(
            _error(
                "E002", str(error), f"Correct {SETTING}['PLUGINS'], or the name of the hook in the plugin."
            )
        )
    except ConfigurationError as error:
        found.append(_error("E001", str(error), f"Correct {SETTING} at {error.path}."))
    found += [
        _warning(
            "W001",
            f"allowed_origins has {origin!r}, which matches nothing.",
            "Write https://app.example.com or https://*.example.com.",
        )
        for origin in config.connections.allowed_origins
        if not valid_allowed_origin(origin)
    ]
    return found


def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E003, W002, W006: whether the transport can be there, and whom it reaches."""
    config = _config()
    if config is None:
        return []
    if config.transport == "channels":
        if problem := _missing_layer(config.channel_layer):
            return [_error("E003", *problem)]
        if not _layer_crosses(config.channel_layer):
            return [
                _warning(
                    "W006",
                    f"TRANSPORT is 'channels', and CHANNEL_LAYERS[{config.channel_layer!r}] is Channels' in-memory "
                    "layer: it reaches only its own process, and drops what is over its capacity.",
                    'Set TRANSPORT to "memory" for one process, or configure channels_redis for several.',
                )
            ]
    elif config.transport == "auto" and config.channel_layer != "default":
        # Whoever names a layer wants it; without one `auto` would take memory without a word.
        problem = _missing_layer(config.channel_layer)
        if problem:
            return [_error("E003", *problem)]
    workers = os.environ.get(WORKERS_VARIABLE, "")
    if _reaches_itself_only(config) and workers.isdecimal() and int(workers) > 1:
        return [
            _warning(
                "W002",
                f"{WORKERS_VARIABLE} asks for {workers[:9]} server processes, and the transport reaches only its own: "
                "viewers of one process don't see what is queued in another.",
                "Run one process, or configure a channel layer that crosses processes (channels_redis).",
            )
        ]
    return []


def check_server(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005, W008: whether what serves the project can open sockets."""
    found: list[CheckMessage] = []
    served_by = get_commands().get("runserver", "django.core")
    provider = served_by if isinstance(served_by, str) else served_by.name
    names = [app.name for app in apps.get_app_configs()]
    if "daphne" in names and provider != "daphne":
        found.append(
            _warning(
                "W005",
                f"'daphne' stands behind {provider!r} in INSTALLED_APPS, whose runserver takes its place.",
                "Put 'daphne' first in INSTALLED_APPS.",
            )
        )
    elif provider in ("django.core", "django.contrib.staticfiles") and sys.argv[1:2] == ["runserver"]:
        found.append(
            _warning(
                "W004",
                "runserver is Django's own: it speaks WSGI, so no browser can open a socket.",
                "Put 'daphne' first in INSTALLED_APPS (pip install \"django-update-pipeline[channels]\") and set "
                "ASGI_APPLICATION, or run an ASGI server such as uvicorn.",
            )
        )
    if not settings.ALLOWED_HOSTS and not settings.DEBUG:
        found.append(
            _warning(
                "W008",
                "ALLOWED_HOSTS is empty and DEBUG is off, so every socket is refused (and every page).",
                "List the host names by which the site is reached.",
            )
        )
    return found


def check_pickle(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: pickle where a stranger's bytes may come to be read."""
    places = [("SESSION_SERIALIZER", getattr(settings, "SESSION_SERIALIZER", ""))]
    for alias, layer in getattr(settings, "CHANNEL_LAYERS", {}).items():
        options = layer.get("CONFIG", {}) if isinstance(layer, Mapping) else {}
        for option in ("serializer_format", "serializer", "serializer_class"):
            if isinstance(options, Mapping) and option in options:
                places.append((f"CHANNEL_LAYERS[{alias!r}]['CONFIG'][{option!r}]", options[option]))
    return [
        _error(
            "E004",
            f"{place} is {_shown(value)}: who can write there can run code in this process.",
            "Use JSON or msgpack: django.contrib.sessions.serializers.JSONSerializer, serializer_format 'msgpack'.",
        )
        for place, value in places
        if "pickle" in _shown(value).lower()
    ]


def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W003, W007: what is right on a desk and doubtful in production."""
    found: list[CheckMessage] = []
    config = _config()
    if config is not None and not settings.DEBUG and _reaches_itself_only(config):
        found.append(
            _warning(
                "W003",
                "The transport reaches only its own process. That is right for exactly one server process, and "
                "commands or tasks in other processes reach no viewer.",
                "Configure a channel layer that crosses processes (channels_redis); if one process is meant, add "
                f"'{TAG}.W003' to SILENCED_SYSTEM_CHECKS.",
            )
        )
    if apps.is_installed("django.contrib.sessions") and (alias := _pickling_session_cache()):
        found.append(
            _warning(
                "W007",
                f"Sessions are kept in CACHES[{alias!r}], which pickles them: who can write to that cache can run code "
                "in this process when a socket's user is looked up.",
                "Use the session engine django.contrib.sessions.backends.db, or keep the cache server private and "
                f"add '{TAG}.W007' to SILENCED_SYSTEM_CHECKS.",
            )
        )
    return found


def _config() -> PipelineConfig | None:
    """The configuration; None where E001 speaks of it already."""
    try:
        return read_settings()
    except ConfigurationError:
        return None


def _reaches_itself_only(config: PipelineConfig) -> bool:
    return config.transport == "memory" or (
        config.transport in ("auto", "channels") and not _layer_crosses(config.channel_layer)
    )


def _layer_crosses(alias: str) -> bool:
    from .transports.channels import crosses_processes

    return crosses_processes(alias)


def _missing_layer(alias: str) -> tuple[str, str] | None:
    """What is missing for a channel layer, and the mend."""
    if find_spec("channels") is None:
        return (
            "TRANSPORT asks for a channel layer, and Channels is not installed.",
            'pip install "django-update-pipeline[channels,redis]", or set TRANSPORT to "memory".',
        )
    if alias not in getattr(settings, "CHANNEL_LAYERS", {}):
        return (
            f"CHANNEL_LAYERS has no {alias!r}, which TRANSPORT asks for.",
            f"Configure it, or correct {SETTING}['CHANNEL_LAYER'].",
        )
    return None


def _pickling_session_cache() -> str | None:
    """The alias of a cache that other programs can write to and that holds pickled sessions."""
    if not str(getattr(settings, "SESSION_ENGINE", "")).endswith((".cache", ".cached_db")):
        return None
    alias = str(getattr(settings, "SESSION_CACHE_ALIAS", "default"))
    cache = getattr(settings, "CACHES", {}).get(alias, {})
    backend = str(cache.get("BACKEND", ""))
    own_memory = backend.endswith((".LocMemCache", ".DummyCache"))
    options = cache.get("OPTIONS", {})
    serializer = _shown(options.get("SERIALIZER") or options.get("serializer") or "pickle").lower()
    return alias if backend and not own_memory and "pickle" in serializer else None


def _shown(value: object) -> str:
    """A setting's value as a dotted path, or as it is."""
    if isinstance(value, type) or callable(value):
        return (
            f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        )
    return str(value)


def _error(number: str, text: str, hint: str) -> CheckMessage:
    return Error(text, hint=hint, id=f"{TAG}.{number}")


def _warning(number: str, text: str, hint: str) -> CheckMessage:
    return Warning(text, hint=hint, id=f"{TAG}.{number}")


def catalogue() -> Iterator[tuple[str, str, str]]:
    """Rows of the documents' table: id, meaning, when it is looked for."""
    for number, entry in CATALOGUE.items():
        yield f"{TAG}.{number}", entry.meaning, "`check --deploy`" if entry.deploy else "always"
