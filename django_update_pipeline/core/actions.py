"""What a client may ask for, as data: a name, a schema, who may, how often, and the function that does it.

    class Move(msgspec.Struct, forbid_unknown_fields=True):
        location: Literal["pool", "bar"]

    Action("move", move, params=Move, permission="shop.move_orders", rate_per_s=2.0)

Everything but the handler is settled before the handler runs. Here are the values; `plugins.access` asks and calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..exceptions import ActionRefused, ConfigurationError
from .messages import JSONObject
from .names import reflected


@dataclass(frozen=True, slots=True)
class Action:
    """One registered action.

    Args:
        name: what clients send as `action`: 1 to 90 characters.
        handler: `handler(client, agent_id, params)`. A plain function runs in Django's thread and may use the ORM,
            a coroutine function on the pipeline's loop; both within `hook_timeout_s`. Returning is success;
            `ActionRefused("why")` tells the client no. The priority of what it queues is its own choice.
        params: a msgspec Struct; the handler gets an instance. None: the action takes none, the handler gets None.
        permission: a Django permission (`"shop.move_orders"`), or `permission(client, agent_id)` returning True or
            False, run as the handler is. None: authenticated users may. The local operator has every permission that
            is a name. `authorize_action` hooks are asked, too, and any plain no wins.
        rate_per_s: how often one user may, on average; None is as often as frames may come. An anonymous client
            counts by its connection, and the local operator is not limited.
        burst: how often at once.
    """

    name: str
    handler: Callable[..., Any]
    params: type[msgspec.Struct] | None = None
    permission: str | Callable[..., Any] | None = None
    rate_per_s: float | None = None
    burst: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 90:
            raise ConfigurationError(
                f"action name {self.name!r:.120} is not 1 to 90 characters", path="plugins"
            )
        if not callable(self.handler):
            raise ConfigurationError(f"the handler of action {self.name!r} can't be called", path="plugins")
        if self.params is not None and not (
            isinstance(self.params, type) and issubclass(self.params, msgspec.Struct)
        ):
            raise ConfigurationError(
                f"params of action {self.name!r} is {self.params!r:.80}: give a msgspec.Struct, or None",
                path="plugins",
            )
        if self.permission is not None and not (
            isinstance(self.permission, str) or callable(self.permission)
        ):
            raise ConfigurationError(
                f"permission of action {self.name!r} is neither a name nor a function", path="plugins"
            )
        if self.rate_per_s is not None and not (self.rate_per_s > 0 and self.burst >= 1):
            raise ConfigurationError(
                f"action {self.name!r} has rate_per_s {self.rate_per_s!r} and burst {self.burst!r}: both must be "
                "above 0; for no limit leave them out",
                path="plugins",
            )

    def read(self, params: JSONObject) -> msgspec.Struct | None:
        """The client's params as the handler gets them.

        Raises:
            ActionRefused: with code `invalid_field`; the text names the path.
        """
        if self.params is None:
            if params:
                raise ActionRefused(f"params: {reflected(self.name)} takes none", code="invalid_field")
            return None
        try:
            return msgspec.convert(params, self.params, strict=True)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at ")
            where = "params" + path.strip("`").removeprefix("$")
            raise ActionRefused(f"{reflected(where)}: {reflected(text)}", code="invalid_field") from error


def action_table(actions: Iterable[Any]) -> Mapping[str, Action]:
    """Actions by name.

    Raises:
        ConfigurationError: two have one name, or something is no `Action`.
    """
    table: dict[str, Action] = {}
    for action in actions:
        if not isinstance(action, Action):
            raise ConfigurationError(
                f"provide_actions returned {action!r:.120}: return django_update_pipeline.Action objects",
                path="plugins",
            )
        if action.name in table:
            raise ConfigurationError(
                f"two actions are called {action.name!r}: a name belongs to one plugin", path="plugins"
            )
        table[action.name] = action
    return table
