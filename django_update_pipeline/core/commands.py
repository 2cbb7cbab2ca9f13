"""The operators' commands: their names, what they take, and the type of the frame that answers each.

One table for the admin socket, the control socket and the management commands; `runtime.operations` carries them out.

    {"command": "list_dead_letters", "params": {"limit": 20}, "id": 7}

Parameters are checked against a Struct before anything runs. `id` is the client's own and comes back in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ..exceptions import UpdatePipelineError
from .names import reflected


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a command takes. A misspelt parameter is an error: a destructive command must not guess."""


class NoParams(Params, frozen=True):
    """Nothing."""


class ListConnections(Params, frozen=True):
    """Oldest first: at most `limit` connections after the first `skip`."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    skip: Annotated[int, Meta(ge=0)] = 0


class OneConnection(Params, frozen=True):
    """The connection of this id."""

    connection_id: Annotated[str, Meta(min_length=1, max_length=200)]


class GetHistory(Params, frozen=True):
    """What lies back at most so many seconds."""

    seconds: Annotated[int, Meta(ge=1, le=300)] = 300


class Hold(Params, frozen=True):
    """Why, for the log and those who watch."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class OnePlugin(Params, frozen=True):
    """The plugin's name, as `get_plugins` has it."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]


class ListDeadLetters(Params, frozen=True):
    """Newest first: at most `limit`, those with a number below `before`, of one `reason`."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    before: Annotated[int, Meta(ge=1)] | None = None
    reason: Annotated[str, Meta(max_length=100)] | None = None


class OneDeadLetter(Params, frozen=True):
    """The letter of this number."""

    number: Annotated[int, Meta(ge=1)]


class SomeDeadLetters(Params, frozen=True):
    """Letters by number, or all that are kept (`all`), perhaps only those of one `reason`."""

    numbers: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(max_length=1000)] = ()
    all: bool = False
    reason: Annotated[str, Meta(max_length=100)] | None = None

    def __post_init__(self) -> None:
        if self.all == bool(self.numbers):
            raise ValueError('give either "numbers" or "all": true')
        if self.numbers and self.reason is not None:
            raise ValueError('"reason" goes with "all": true')


class Watch(Params, frozen=True):
    """Reports that come by themselves every `interval_s` seconds, and what happens in between, until `unwatch`."""

    interval_s: Annotated[float, Meta(ge=0.2, le=60.0)] = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the type of its answer, its parameters, and whether it changes anything.

    `shows_data`: its answer holds what an application queued.
    """

    reply: str
    params: type[Params]
    changes: bool
    meaning: str
    shows_data: bool = False

    @property
    def needs_operator(self) -> bool:
        """Whether it asks for `operate_pipeline`; else `view_pipeline` is enough."""
        return self.changes or self.shows_data


class CommandError(UpdatePipelineError):
    """A command that can't be carried out as it was asked for; `code` is one of CODES. A retry does not help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "get_health": Command(
            "health_status", NoParams, False, "Score, status, and issues with their mends."
        ),
        "get_metrics": Command(
            "performance_metrics", NoParams, False, "Counters, latencies and the account."
        ),
        "get_status": Command(
            "status", NoParams, False, "Everything of one process at once, as a screen shows it."
        ),
        "get_connections": Command(
            "connection_info", ListConnections, False, "Who is connected, and to what."
        ),
        "get_history": Command(
            "history", GetHistory, False, "A sample for each of the last seconds, and what happened."
        ),
        "get_plugins": Command(
            "plugin_info", NoParams, False, "The parts in flow order, and who provides each."
        ),
        "list_dead_letters": Command(
            "dead_letters", ListDeadLetters, False, "What could not be delivered, and why."
        ),
        "show_dead_letter": Command(
            "dead_letter", OneDeadLetter, False, "One dead letter with its data.", shows_data=True
        ),
        "reset_circuit_breaker": Command(
            "circuit_breaker_reset", NoParams, True, "Closes the breaker; what waits is tried at once."
        ),
        "hold_circuit_breaker": Command(
            "circuit_breaker_held",
            Hold,
            True,
            "Opens the breaker until it is reset: updates wait, conflated.",
        ),
        "close_connection": Command(
            "connection_closed", OneConnection, True, "Closes one connection with code 4002."
        ),
        "replay_dead_letters": Command(
            "dead_letters_replayed", SomeDeadLetters, True, "Queues dead events again; dead state can't be."
        ),
        "discard_dead_letters": Command(
            "dead_letters_discarded", SomeDeadLetters, True, "Lets dead letters go for good."
        ),
        "enable_plugin": Command(
            "plugin_enabled",
            OnePlugin,
            True,
            "Switches the parts of a plugin on again that were switched off.",
        ),
        "watch": Command(
            "watching", Watch, False, "Has reports sent by themselves; on the admin socket only."
        ),
        "unwatch": Command("watching", NoParams, False, "Ends it."),
    }
)
"""Every command, reading ones first. The documents' table is drawn from it."""


ADMIN_SOCKET_ONLY: Final = frozenset({"watch", "unwatch"})
"""Commands that concern the socket they come over."""

LIVE_REPORTS: Final = ("health_status", "performance_metrics", "connection_info")
"""What `watch` has sent at each interval, in this order."""

LIVE_EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "circuit_breaker_changed": "The breaker changed its state, or an operator's order was carried out.",
        "dead_letters_added": "Updates died; at most one such event a second, with their count.",
        "part_switched": "A plugin's part was switched off, because it failed or blocked too often, or on again.",
        "operator_acted": "An operator's command that changes something was carried out.",
    }
)
"""What `watch` has sent at once when it happens, and `get_history` lists."""


def checked_params(name: str, params: Any) -> Params:
    """A command's parameters, checked.

    Raises:
        CommandError: no such command, or parameters it does not take; the text names the path.
    """
    command = COMMANDS.get(name)
    if command is None:
        raise CommandError(
            "unknown_command", f"command {reflected(name)} is not known: send one of {', '.join(COMMANDS)}"
        )
    try:
        return msgspec.convert({} if params is None else params, command.params, strict=True)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(command.params)) or "none"
        raise CommandError(
            "invalid_field", f"params of {name}: {reflected(str(error))}; it takes {known}"
        ) from error
