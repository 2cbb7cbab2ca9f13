"""Every extension point, in the order data flows through them.

The verb is the calling rule. `provide_*` is asked once, when the pipeline is assembled, and hands over parts that
obey a protocol of `core.ports`; `authorize_*` is a question in which any plain no wins and silence means the safe
default; `handle_*` is asked until one answers; `observe_*` is told afterwards, and what it raises is logged,
counted and goes no further. All hooks are synchronous functions, and none is called for each update: the hot path
calls the objects they handed over.

A plugin is any module or object with functions marked by `hookimpl`, named in `UPDATE_PIPELINE["PLUGINS"]` or
offered through the entry-point group `django_update_pipeline`:

    from django_update_pipeline import hookimpl

    @hookimpl
    def provide_transformers(config):
        return [MyTransformer()]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from .core.actions import Action
    from .core.batching import BatchingPolicy
    from .core.circuit_breaker import BreakerChanged
    from .core.config import PipelineConfig
    from .core.messages import JSONObject, UpdateMessage
    from .core.ports import Breaker, Client, HealthCheck, RetryPolicy, Router, Source, Transformer, Transport
    from .core.view import Fields

PROJECT = "django_update_pipeline"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# parts, asked once at assembly


@hookspec
def provide_sources(config: PipelineConfig) -> list[Source]:
    """Returns sources of updates. All plugins' are used; they are started in the order of the settings."""
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def provide_router(config: PipelineConfig) -> Router | None:
    """Returns the object that says which channels an update goes to. The first answer is used.

    Its `route(agent_id, update_type)` runs in the queueing thread for each update: keep it cheap.
    """


@hookspec(firstresult=True)
def provide_batching_policy(config: PipelineConfig) -> BatchingPolicy | None:
    """Returns what decides when a batch is due and how large it is. The first answer is used."""


@hookspec
def provide_transformers(config: PipelineConfig) -> list[Transformer]:
    """Returns transformers. All plugins' run, in the order of the settings, after conflation."""
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def provide_frontend_adapter(config: PipelineConfig) -> Any:
    """Returns what `pipeline.frontend_adapter` is. The pipeline itself does not use it; sources may."""


@hookspec(firstresult=True)
def provide_circuit_breaker(config: PipelineConfig) -> Breaker | None:
    """Returns the breaker around the transport. The first answer is used."""


@hookspec(firstresult=True)
def provide_retry_policy(config: PipelineConfig) -> RetryPolicy | None:
    """Returns how long a failed update waits before its next try. The first answer is used."""


@hookspec(firstresult=True)
def provide_transport(config: PipelineConfig) -> Transport | None:
    """Returns the transport if `config.transport` names yours, else None. The first answer is used."""


@hookspec
def provide_health_checks(config: PipelineConfig) -> list[HealthCheck]:
    """Returns checks whose issues are part of the health report. They run when it is asked for."""
    raise AssertionError("a specification is never called")


# decisions


@hookspec
def authorize_subscribe(client: Client, channel: str, fields: frozenset[str] | None) -> bool | Fields | None:
    """May this client subscribe to this channel, and what of it may it see?

    `fields` are the top-level fields that it asks for, None for all. The answer is True or False, `Fields("x", "y")` to
    show no other fields (and events only with `events=True`), or None for no opinion. One False wins; of several
    `Fields` a client sees what all of them show. Without any opinion only the default channel and OPEN_CHANNELS are
    allowed. The classic protocol has no views: there a channel that may be seen in part is refused.

    Runs in Django's thread, so the ORM may be used; no answer within `hook_timeout_s`, or an exception, is a no.
    Arguments that an implementation does not name are not handed to it.

    It is asked at the handshake (for the default channel), at each subscription, and again for what the client is on:
    within a second when its user changed or `permission_changed()` was called, and else within `recheck_s`. A no takes
    the channel away, other fields begin the view anew. There no answer is asked for again, and is a no once it has been
    missing for `recheck_s`.
    """


@hookspec
def authorize_action(client: Client, agent_id: str, action: str, params: JSONObject) -> bool | None:
    """May this client do this? As `authorize_subscribe`; without any opinion authenticated users may.

    The user was read from the database just before. An action's own `permission` is asked after the hooks.
    """


@hookspec
def provide_actions(config: PipelineConfig) -> list[Action]:
    """Returns the actions clients may ask for, each with its schema, permission, rate and handler.

    Asked once, at assembly. A client's params are checked against the schema, and its right to the action, before
    the handler runs; wrong params are answered `invalid_field` with their path. Two actions of one name are an error.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def handle_action(client: Client, agent_id: str, action: str, params: JSONObject) -> Any:
    """Carries out an action that was authorized and that no `provide_actions` registered.

    The first answer that is not None means it is handled. `params` are as the client sent them: check them.
    Raise `ActionRefused("why")` to tell the client no. Runs in Django's thread.
    """


# notices


@hookspec
def observe_started(pipeline: Any) -> None:
    """The pipeline runs; called on its loop."""


@hookspec
def observe_stopped(pipeline: Any, report: Any) -> None:
    """The pipeline stopped; `report` says what became of all updates."""


@hookspec
def observe_batch_delivered(size: int, duration_s: float) -> None:
    """Updates were delivered to the connections that were ready, in `duration_s` seconds: `size` of them, of a batch or
    of several that went together. On the loop.
    """


@hookspec
def observe_dead_lettered(update: UpdateMessage, reason: str, cause: str) -> None:
    """An update went to the dead letters. In any thread; be quick."""


@hookspec
def observe_breaker_changed(change: BreakerChanged) -> None:
    """The circuit breaker changed its state. In any thread; be quick."""


@hookspec
def observe_part_switched(plugin: str, part: str, is_on: bool, cause: str) -> None:
    """A plugin's part was switched off, because it failed or blocked the loop too often, or on again.

    `cause` says why it is off. In any thread; be quick.
    """


@hookspec
def observe_connection_opened(connection_id: str) -> None:
    """A connection was registered. On the loop."""


@hookspec
def observe_connection_closed(connection_id: str) -> None:
    """A connection is gone. On the loop."""


@hookspec
def observe_operator_command(
    operator: str, command: str, params: dict[str, Any], result: dict[str, Any]
) -> None:
    """An operator's command that changes something was carried out: for an audit trail of your own.

    `operator` is `user <primary key>` for the admin socket, `local-operator` for a management command. On the
    loop; be quick.
    """
