"""Sources that come with the package: an agent manager, Django models, a recording."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.messages import JSONObject, UpdatePriority
from ..core.names import error_text, one_line
from ..core.ports import MaybeAwaitable, Sink
from ..core.recording import AgentMovement, Recording, join_steps, parse_movement_file, parse_recording
from ..core.repeats import Repeats
from ..exceptions import UpdatePipelineError

logger = logging.getLogger(__name__)


class Complaints:
    """What one source could not queue: told less and less often, and to the pipeline where it is the source's fault."""

    def __init__(self, source: object) -> None:
        self.repeats = Repeats()
        self._source = source

    def not_queued(self, sink: Sink, what: str, error: Exception, subject: str | None = None) -> None:
        """A change could not be queued. That the pipeline refused it (it is full, say) is not the source's failure."""
        if count := self.repeats.add():
            logger.warning(
                "a change of %s could not be queued (%d so far): %s", one_line(what), count, error_text(error)
            )
            logger.debug("it could not be queued here", exc_info=error)
        failed = getattr(sink, "source_failed", None)
        if failed is not None and not isinstance(error, UpdatePipelineError):
            failed(self._source, error, subject)

    def queued(self, sink: Sink) -> None:
        """A change was queued: failures before it were not in a row."""
        passed = getattr(sink, "source_passed", None)
        if self.repeats.total and passed is not None:
            passed(self._source)


class UnifiedAgentManagerSource:
    """Follows any object with `add_update_listener(listener)`.

    The listener is called with `(event_type, agent_id, state)`: `agent_registered`, `agent_updated`, and
    `batch_update`, where `agent_id` is a mapping of agent ids. It may be called in any thread, and says only that
    an agent changed: the adapter is asked for the state at the flush, once for however many changes.

    Args:
        manager: the object that is followed.
        adapter: has `get_agent_for_frontend(agent_id) -> dict | None`; without one the manager's own
            `get_agent_state(agent_id)` is sent.
        priority: of its state updates.
    """

    name = "agent_manager"

    def __init__(
        self, manager: Any, adapter: Any = None, *, priority: UpdatePriority = UpdatePriority.NORMAL
    ) -> None:
        self.manager = manager
        self.load: Callable[[str], JSONObject | None] = (
            adapter.get_agent_for_frontend if adapter is not None else manager.get_agent_state
        )
        self.priority = priority
        self._complaints = Complaints(self)
        self._sink: Sink | None = None

    @property
    def failures(self) -> int:
        """Changes that could not be queued."""
        return self._complaints.repeats.total

    def start(self, pipeline: Sink) -> None:
        """Begins to listen, and queues every agent that is there."""
        self._sink = pipeline
        self.manager.add_update_listener(self._changed)
        everybody = getattr(self.manager, "get_all_agents_state", None)
        if everybody is not None:
            for agent_id in everybody():
                self._queue(agent_id)

    def stop(self) -> None:
        """Listens no more."""
        remove = getattr(self.manager, "remove_update_listener", None)
        if remove is not None:
            remove(self._changed)
        self._sink = None

    def _changed(self, event_type: str, agent_id: Any, state: Any) -> None:
        for one in agent_id if isinstance(agent_id, Mapping) else (agent_id,):
            self._queue(one, is_removed=event_type == "agent_removed")

    def _queue(self, agent_id: Any, *, is_removed: bool = False) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            if is_removed:
                sink.queue_agent_update(str(agent_id), "state_removed", {}, self.priority)
            else:
                sink.queue_agent_changed(str(agent_id), self.load, self.priority)
        except (
            Exception
        ) as error:  # our listener's boundary: the manager's work goes on, and so do its other agents
            self._complaints.not_queued(sink, f"agent {agent_id!r:.200}", error)
        else:
            self._complaints.queued(sink)


class ModelSource:
    """Follows Django models by their signals; inside a transaction the update waits for the commit.

    What goes wrong here (a `serialize` that raises, a pipeline that is full) is logged: a `save()` never fails of it.

    Bulk operations (`bulk_create`, `QuerySet.update`) send no signals in Django, so they are not seen here.

    Args:
        models: model classes.
        serialize: instance to the JSON object that is sent.
        agent_id: instance to its id; `app_label.model.pk` by default.
        priority: of its state updates.
        existing: also queue the rows that are there when the pipeline starts, so that a restart shows them at once.
            All of them are read, twice or more, within the `hook_timeout_s` of a start.
    """

    name = "models"

    def __init__(
        self,
        models: Iterable[type[Any]],
        serialize: Callable[[Any], JSONObject],
        agent_id: Callable[[Any], str] | None = None,
        *,
        priority: UpdatePriority = UpdatePriority.NORMAL,
        existing: bool = False,
    ) -> None:
        self.models = tuple(models)
        self.serialize = serialize
        self.agent_id = agent_id or (lambda instance: f"{instance._meta.label_lower}.{instance.pk}")
        self.priority = priority
        self.existing = existing
        self._complaints = Complaints(self)
        self._sink: Sink | None = None

    def start(self, pipeline: Sink) -> MaybeAwaitable[None]:
        """Connects the signals; what there is to await is the reading of existing rows."""
        from django.db.models.signals import post_delete, post_save

        self._sink = pipeline
        for model in self.models:
            post_save.connect(self._saved, sender=model, weak=False, dispatch_uid=(id(self), "saved", model))
            post_delete.connect(
                self._deleted, sender=model, weak=False, dispatch_uid=(id(self), "deleted", model)
            )
        return self._queue_existing(pipeline) if self.existing else None

    async def _queue_existing(self, sink: Sink) -> None:
        """Queues the rows, and looks again until nothing differs from what was queued.

        A row may be saved by another thread after it was read and before it is queued: then the newer state was queued
        first, and the older one would stay. The second look sees the newer row and says it again.
        """
        from asgiref.sync import sync_to_async

        said: dict[str, JSONObject] = {}
        while self._sink is sink:
            now = await sync_to_async(self._read)()
            changed = {agent_id: data for agent_id, data in now.items() if said.get(agent_id) != data}
            gone = said.keys() - now.keys()
            for agent_id, data in changed.items():
                sink.queue_agent_update(agent_id, "state_change", data, self.priority)
            for agent_id in gone:
                sink.queue_agent_update(agent_id, "state_removed", {}, self.priority)
            if not changed and not gone:
                return
            said = now

    def _read(self) -> dict[str, JSONObject]:
        """Agent ids to states of all rows; one that can't be serialized is left out, the first is logged."""
        states: dict[str, JSONObject] = {}
        failures = 0
        for model in self.models:
            for instance in model._default_manager.iterator():
                try:
                    states[self.agent_id(instance)] = self.serialize(instance)
                except Exception as error:  # the application's code: one row keeps no other from being shown
                    failures += 1
                    if failures == 1:
                        logger.error(
                            "%s %s could not be serialized: %s",
                            instance._meta.label,
                            one_line(str(instance.pk), 100),
                            error_text(error),
                        )
                        logger.debug("it could not be serialized here", exc_info=error)
        if failures > 1:
            logger.error("%d rows in all could not be serialized", failures)
        return states

    def stop(self) -> None:
        """Disconnects them."""
        from django.db.models.signals import post_delete, post_save

        for model in self.models:
            post_save.disconnect(sender=model, dispatch_uid=(id(self), "saved", model))
            post_delete.disconnect(sender=model, dispatch_uid=(id(self), "deleted", model))
        self._sink = None

    def _saved(self, instance: Any, using: str, raw: bool = False, **_: Any) -> None:
        if not raw:
            self._queue(instance, "state_change", self.serialize, using)

    def _deleted(self, instance: Any, using: str, **_: Any) -> None:
        self._queue(instance, "state_removed", lambda instance: {}, using)

    def _queue(
        self, instance: Any, update_type: str, serialize: Callable[[Any], JSONObject], using: str
    ) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            agent_id, data = (
                self.agent_id(instance),
                serialize(instance),
            )  # now: both may change until the commit
            queue = functools.partial(sink.queue_agent_update, agent_id, update_type, data, self.priority)
            if self._waits_itself(using):
                queue()
            else:
                self._on_commit(queue, using)
        except Exception as error:  # our receiver's boundary: the application's save goes on
            label = instance._meta.label
            self._complaints.not_queued(sink, label, error, f"{label} {getattr(instance, 'pk', None)!r:.100}")
        else:
            self._complaints.queued(sink)

    def _waits_itself(self, using: str) -> bool:
        """Whether the pipeline's own waiting for the commit is for this database."""
        config = getattr(self._sink, "config", None)
        return (
            getattr(self._sink, "defer", None) is not None and config is not None and config.database == using
        )

    @staticmethod
    def _on_commit(queue: Callable[[], None], using: str) -> None:
        from django.db import transaction

        if transaction.get_connection(using).in_atomic_block:
            transaction.on_commit(queue, using=using, robust=True)
        else:
            queue()


def read_recording(path: str | Path) -> Recording:
    """Reads a Generative Agents recording: one file, or a folder with `movement/<n>.json`.

    Raises:
        RecordingError: it is not of that format; the text names file, step and field.
        OSError: it can't be read.
    """
    path = Path(path)
    if path.is_dir():
        folder = path / "movement" if (path / "movement").is_dir() else path
        files = sorted((int(f.stem), f) for f in folder.glob("*.json") if f.stem.isdigit())
        if not files:
            raise FileNotFoundError(f"{folder} holds no <step>.json files")
        return join_steps((parse_movement_file(n, f.read_bytes(), f.name) for n, f in files), str(folder))
    return parse_recording(path.read_bytes(), path.name)


def movement_state(movement: AgentMovement) -> JSONObject:
    """One recorded movement as a state: `position`, `activity`, `emoji`, `place` and `chat` (lines, or None)."""
    place = movement.place
    return {
        "position": {"x": movement.position[0], "y": movement.position[1]},
        "activity": movement.activity,
        "emoji": movement.emoji,
        "place": {"sector": place.sector, "arena": place.arena, "object": place.object_name},
        "chat": None
        if movement.chat is None
        else [{"speaker": who, "line": line} for who, line in movement.chat],
    }


class ReplaySource:
    """Plays a recording into the pipeline, or into a manager.

    Args:
        recording: what `read_recording` returned.
        steps_per_s: 0 plays as fast as the loop allows.
        apply: called with `(agent_id, state)` for each recorded change; by default it queues a `state_change`.
    """

    name = "replay"

    def __init__(
        self,
        recording: Recording,
        *,
        steps_per_s: float = 0.0,
        apply: Callable[[str, JSONObject], object] | None = None,
    ) -> None:
        self.recording = recording
        self.steps_per_s = steps_per_s
        self._apply = apply
        self._task: asyncio.Task[None] | None = None
        self.finished = False

    async def start(self, pipeline: Sink) -> None:
        """Begins to play."""
        apply = self._apply or (lambda agent_id, state: pipeline.queue_agent_update(agent_id, data=state))
        self._task = asyncio.create_task(self._play(apply), name="update-pipeline-replay")

    async def stop(self) -> None:
        """Stops playing."""
        task, self._task = self._task, None
        if task is not None and not task.done():  # done: also where its loop is gone
            task.cancel()
            await asyncio.wait([task])

    async def _play(self, apply: Callable[[str, JSONObject], object]) -> None:
        try:
            await self._play_steps(apply)
        except Exception as error:  # nobody awaits this task
            logger.error("the recording could not be played to its end: %s", error_text(error))
            logger.debug("it ended here", exc_info=error)

    async def _play_steps(self, apply: Callable[[str, JSONObject], object]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, step in enumerate(self.recording.steps):
            for name, movement in step.agents.items():
                apply(name, movement_state(movement))
            if self.steps_per_s:
                await asyncio.sleep(max(0.0, began + (number + 1) / self.steps_per_s - loop.time()))
            else:
                await asyncio.sleep(0)
        self.finished = True
