"""What this process can see of a project: settings, versions, the ASGI application, the host's limits."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final

from django.conf import settings
from django.core.checks import run_checks
from django.utils.module_loading import import_string

from ...checks import TAG
from ...conf import read_settings
from ...doors import WebSocketDoor
from ...exceptions import ConfigurationError
from ...routing import UpdatePipelineApplication
from .findings import Finding

MINIMUM_VERSIONS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "Django": (("5.2.14", "CVE-2026-3902, CVE-2026-33034, CVE-2026-5766"), ("6.0.5", "the same")),
        "channels": (("3.0.3", "CVE-2020-35681"),),
        "daphne": (("4.2.2", "CVE-2026-44545, CVE-2026-44546"),),
        "granian": (("2.7.4", "CVE-2026-42544"),),
        "uvicorn": (("0.11.7", "CVE-2020-7694, CVE-2020-7695"),),
        "websockets": (("9.1", "CVE-2021-33880"),),
        "redis": (("4.5.4", "CVE-2023-28858, CVE-2023-28859"),),
    }
)
"""First versions of what serves us without a known hole of theirs, one for each line of releases."""

#: Descriptors a process needs beside its sockets: databases, logs, static files.
SPARE_FILES: Final = 200

_EXTRAS = (
    "channels",
    "channels-redis",
    "daphne",
    "uvicorn",
    "granian",
    "hypercorn",
    "gunicorn",
    "websockets",
    "redis",
)


def system_checks() -> Iterator[Finding]:
    """Every finding of `check --deploy` that concerns us."""
    count = 0
    for message in run_checks(include_deployment_checks=True):
        number = str(message.id)
        if not number.startswith((f"{TAG}.", "daphne.")) or message.is_silenced():
            continue
        count += 1
        yield Finding(
            "error" if message.is_serious() else "warning", f"{number}: {message.msg}", message.hint or ""
        )
    if not count:
        yield Finding("good", "the settings have no complaints")


def versions() -> Iterator[Finding]:
    """What is installed, and what of it has a known hole."""
    here = ", ".join(
        f"{name} {found}"
        for name in ("django-update-pipeline", "Django", *_EXTRAS)
        if (found := _installed(name))
    )
    yield Finding("good", f"Python {sys.version.split()[0]}, {here}")
    for name, lines in MINIMUM_VERSIONS.items():
        found = _installed(name)
        if found and (missing := _below(found, lines)):
            minimum, holes = missing
            yield Finding("error", f"{name} {found} has known holes: {holes}", f"Install {name}>={minimum}.")


def application() -> Iterator[Finding]:
    """Whether the project's ASGI application has a door of ours."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        yield Finding(
            "warning",
            "ASGI_APPLICATION is not set: runserver and daphne don't know what to serve.",
            'Set ASGI_APPLICATION = "django_update_pipeline.asgi.application", or name your own.',
        )
        return
    doors = sorted(find_doors(import_string(path)))
    if doors:
        yield Finding("good", f"{path} opens sockets at {', '.join(doors)}")
    else:
        yield Finding(
            "warning",
            f"no socket of the pipeline was found in {path}.",
            "Wrap it: application = with_update_pipeline(get_asgi_application()). If a middleware of yours hides it "
            "from this look, the round trips below say whether it is there.",
        )


def find_doors(app: Any, depth: int = 8) -> set[str]:
    """The paths of our sockets in an ASGI application, as far as its parts can be seen through."""
    if depth <= 0 or app is None:
        return set()
    if isinstance(app, UpdatePipelineApplication):
        return set(app.doors) | find_doors(app.app, depth - 1) | find_doors(app.websocket, depth - 1)
    if isinstance(app, WebSocketDoor) or _is_consumer(app):
        return {"(a path of yours)"}
    found: set[str] = set()
    parts = getattr(app, "application_mapping", None)  # Channels' ProtocolTypeRouter
    if isinstance(parts, Mapping):
        for part in parts.values():
            found |= find_doors(part, depth - 1)
    for route in getattr(app, "routes", None) or ():  # Channels' URLRouter
        below = find_doors(getattr(route, "callback", None), depth - 1)
        found |= {f"/{route.pattern}" if door.startswith("(") else door for door in below}
    for name in ("inner", "application", "app"):  # what middlewares call what they wrap
        found |= find_doors(getattr(app, name, None), depth - 1)
    return found


def _is_consumer(app: Any) -> bool:
    kind = getattr(app, "consumer_class", None)  # of what `as_asgi()` returns
    return isinstance(kind, type) and any(
        base.__module__ == "django_update_pipeline.consumers" for base in kind.__mro__
    )


def host_limits() -> Iterator[Finding]:
    """Open files against the connections that are allowed."""
    try:
        import resource

        config = read_settings()
    except (ImportError, ConfigurationError):  # not a POSIX system; the settings are told of already
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.connections.max_connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield Finding(
            "good", f"{soft} files may be open, enough for {config.connections.max_connections} connections"
        )
        return
    yield Finding(
        "note",
        f"this shell may open {soft} files (up to {hard} with ulimit -n), and max_connections is "
        f"{config.connections.max_connections}: where a server has the same limit, it is reached first.",
        f"Raise the server's limit to {wanted}, or lower CONNECTIONS max_connections to {max(1, soft - SPARE_FILES)}.",
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _below(found: str, lines: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """The line of releases that a version is too old for: that of its own major version, or the first."""
    numbers = _numbers(found)
    own = [line for line in lines if _numbers(line[0])[0] == numbers[0]]
    for minimum, holes in own or lines[:1]:
        if numbers < _numbers(minimum):
            return minimum, holes
    return None


def _numbers(text: str) -> tuple[int, ...]:
    """The release numbers at the front of a version; (0,) where there are none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)
