"""The error tree.

    UpdatePipelineError
    ├─ ConfigurationError          a setting or part is wrong; a retry does not help
    │  └─ PluginError              a plugin can't be loaded, or misspells a hook
    ├─ UpdateRefused               this update can't be taken; nothing else is affected
    │  ├─ InvalidUpdate            its fields or data are not valid; a retry does not help
    │  └─ PipelineFull             a bound is reached; a retry may help later
    ├─ UpdateNotDelivered          `publish()` waited for an update that was cleared or dead-lettered
    ├─ TransportError              the transport could not take a publication
    │  ├─ TransportUnavailable     an outage: the batch stays and is tried again
    │  └─ UpdatesRejected          some updates of the batch were refused for what they are
    ├─ WrongLoop                   the pipeline runs on another event loop
    └─ ActionRefused               an action handler says no; the client is told why

Each class says in its first line whether a retry can help. Errors carry fields; their text gives the
value, the limit and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping


class UpdatePipelineError(Exception):
    """The root of every error this package raises."""


class ConfigurationError(UpdatePipelineError):
    """A setting or a part is wrong; mend the configuration, a retry does not help."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class PluginError(ConfigurationError):
    """A plugin can't be loaded or names a hook that does not exist; a retry does not help."""


class UpdateRefused(UpdatePipelineError):
    """An update was refused at the call; nothing was queued."""


class InvalidUpdate(UpdateRefused, ValueError):
    """An update's fields or data are not valid; a retry with the same values does not help.

    `agent_id` is the agent as far as known, `path` where the bad value sits (`data.mood[2]`).
    """

    def __init__(self, message: str, *, agent_id: object = None, path: str = "") -> None:
        super().__init__(message)
        self.agent_id = agent_id
        self.path = path


class PipelineFull(UpdateRefused):
    """A bound of the pipeline is reached; a retry helps once what waits has been delivered.

    `limit` is the bound's name in the settings, `value` its value, `retry_after_s` a guess.
    """

    def __init__(self, message: str, *, limit: str, value: int, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.limit = limit
        self.value = value
        self.retry_after_s = retry_after_s


class UpdateNotDelivered(UpdatePipelineError):
    """An update that `publish()` waited for ended otherwise; `outcome` is `cleared` or `dead_lettered`."""

    def __init__(self, message: str, *, outcome: str, reason: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.reason = reason


class TransportError(UpdatePipelineError):
    """A transport could not take a publication."""


class TransportUnavailable(TransportError):
    """The transport is down; the batch stays and the circuit breaker decides when to try again."""


class UpdatesRejected(TransportError):
    """Some updates of a publication were refused for what they are; the others were applied.

    `reasons` maps the index in the publication to the reason. Those updates spend a retry.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} update(s) rejected: {sorted(set(reasons.values()))}")
        self.reasons = dict(reasons)


class WrongLoop(UpdatePipelineError, RuntimeError):
    """The pipeline runs on another event loop; call it from there, or stop it first."""


class ActionRefused(UpdatePipelineError):
    """A `handle_action` hook refuses an action; its text is sent to the client as an `error`."""

    def __init__(self, message: str, *, code: str = "action_refused") -> None:
        super().__init__(message)
        self.code = code
