"""Making updates ready: states are loaded, transformers run, the result is encoded.

It runs on the pipeline's loop, once per update and flush. What a plugin does here harms no other update: what it
raises is that update's outcome, and one that makes a batch wait is left behind. The batch goes on without it, its
agent is held, and its outcome is used when it is there.

Nothing is sent past a transformer or load that is switched off: the updates that need it wait, and spend no retry.
Each `retry_after_s` one batch is tried; if any update of it comes through, the part is on again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from ..core.codec import encode_object, join_fields, split_object
from ..core.messages import JSONObject, Load, UpdateKind, UpdateMessage
from ..core.ports import Transformer
from ..core.session import SYSTEM_EVENT
from ..exceptions import InvalidUpdate
from .boundary import Boundary, PartFailed
from .containment import Containment, plugin_of

#: A batch waits so long for asynchronous transformers and loads; what needs longer is left behind.
PATIENCE_S = 0.01

#: So many updates may be left behind at a time; with more, a batch waits for its own.
MAX_LEFT_BEHIND = 1000

#: What an update becomes: its text and the fields it removes, None if a part swallows it, or which part failed how.
Made = tuple[bytes, tuple[str, ...]] | None | PartFailed


class LeftBehind:
    """An outcome that is not there yet."""


class Waits:
    """A part that this update needs is switched off."""


LEFT_BEHIND: Final = LeftBehind()
WAITS: Final = Waits()

Outcome = Made | LeftBehind | Waits

#: The parts that an update came through, each with what it returned.
Stages = list[tuple[Boundary, Any]]


class Maker:
    """Makes batches ready.

    Args:
        returned: told when an update that was left behind may be taken again; on the loop.
    """

    def __init__(
        self,
        transformers: Sequence[Transformer],
        *,
        containment: Containment,
        hook_timeout_s: float,
        max_update_bytes: int,
        returned: Callable[[UpdateMessage], None],
    ) -> None:
        self.transformers = tuple(
            (containment.of_part("transformer", one), one.transform) for one in transformers
        )
        self.hook_timeout_s = hook_timeout_s
        self.max_update_bytes = max_update_bytes
        self._containment = containment
        self._chances: set[Boundary] = set()  # parts that are off and may be tried with this batch
        self._returned = returned
        # By agent: an update that was left behind, its content then, and what became of it.
        self._outcomes: dict[str, tuple[UpdateMessage, Any, Made]] = {}
        self._left_behind: dict[str, tuple[UpdateMessage, asyncio.Task[Made]]] = {}

    @property
    def _own(self) -> Boundary:
        """For what no plugin's part did."""
        return self._containment.boundary("django_update_pipeline", "load", "of our own")

    @property
    def left_behind(self) -> list[UpdateMessage]:
        """What is being made outside of any batch."""
        return [update for update, _ in list(self._left_behind.values())]

    def is_busy(self, agent_id: str) -> bool:
        """Whether an update of this agent was left behind."""
        return agent_id in self._left_behind

    async def make(self, batch: list[UpdateMessage]) -> list[Outcome]:
        """Each update's outcome. Cancelled, nothing of it goes on."""
        self._chances.clear()
        begun = [self._begin(update) for update in batch]
        tasks = [one for one in begun if isinstance(one, asyncio.Task)]
        if tasks:
            try:
                has_room = len(self._left_behind) + len(tasks) <= MAX_LEFT_BEHIND
                await asyncio.wait(tasks, timeout=PATIENCE_S if has_room else None)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                raise
        outcomes: list[Outcome] = []
        for update, one in zip(batch, begun, strict=True):
            if not isinstance(one, asyncio.Task):
                outcomes.append(one)
            elif one.done():
                outcomes.append(_outcome(one))
            elif update.agent_id in self._left_behind:
                one.cancel()  # an earlier one of this agent goes first, and this one begins anew
                outcomes.append(LEFT_BEHIND)
            else:
                self._leave_behind(update, one)
                outcomes.append(LEFT_BEHIND)
        # A part that is off by now, whoever's failure it was that switched it off: what it failed on waits, too.
        return [WAITS if isinstance(one, PartFailed) and one.boundary.is_off else one for one in outcomes]

    def _begin(self, update: UpdateMessage) -> Made | Waits | asyncio.Task[Made]:
        """An update's outcome, or the task that makes it."""
        kept = self._outcomes.pop(update.agent_id, None) if self._outcomes else None
        if kept is not None and kept[0] is update and kept[1] == _content(update):
            return kept[2]
        if update.kind is UpdateKind.REMOVE:
            return b"{}", ()
        transformers = () if update.update_type == SYSTEM_EVENT else self.transformers
        if update.payload is not None and update.fields is None and not transformers:
            return update.payload, ()
        load = update.load
        loader = None if load is None else self._loader(load)
        for boundary, _ in transformers:
            if boundary.is_off and not self._may_try(boundary, update):
                return WAITS
        if load is None or loader is None:
            return self._made_at_once(update, None, None)
        if loader.is_off and not self._may_try(loader, update):
            return WAITS
        try:
            loaded = loader.ask(load, update.agent_id)
        except PartFailed as error:
            return self._failed(error, loader, update)
        if inspect.isawaitable(loaded):
            return asyncio.ensure_future(self._load(update, loader, loaded))
        return self._made_at_once(update, loader, loaded)

    def _may_try(self, boundary: Boundary, update: UpdateMessage) -> bool:
        """Whether a part that is off may be tried with this update."""
        if boundary in self._chances or boundary.may_try(update.agent_id):
            return True
        if not boundary.has_another_chance(self._containment.blame.monotonic()):
            return False
        self._chances.add(boundary)
        return True

    def _loader(self, load: Load) -> Boundary:
        name = getattr(load, "__qualname__", None) or type(load).__qualname__
        return self._containment.boundary(plugin_of(load), "load", str(name)[:100])

    def _failed(self, error: Exception, boundary: Boundary, update: UpdateMessage) -> PartFailed:
        failure = error if isinstance(error, PartFailed) else PartFailed(boundary, error)
        failure.boundary.failed(failure.error, update.agent_id, is_retry=update.retry_count > 0)
        return failure

    def _made_at_once(
        self, update: UpdateMessage, boundary: Boundary | None, loaded: Any
    ) -> Made | asyncio.Task[Made]:
        try:
            return self._transformed(update, boundary, loaded)
        except Exception as error:  # a part's, if any had to do with it; else it is the queue's own
            return self._failed(error, boundary or self._own, update)

    async def _load(self, update: UpdateMessage, loader: Boundary, loading: Awaitable[Any]) -> Made:
        try:
            result = self._transformed(update, loader, await loader.in_time(loading, self.hook_timeout_s))
        except Exception as error:
            return self._failed(error, loader, update)
        return await result if isinstance(result, asyncio.Task) else result

    def _transformed(
        self, update: UpdateMessage, loader: Boundary | None, loaded: Any
    ) -> Made | asyncio.Task[Made]:
        unset: tuple[str, ...] = ()
        text = update.payload
        if loader is not None:
            if loaded is None:
                loader.passed()
                return None
            text = self._encoded([(loader, loaded)], update)
            if update.fields:
                fields = split_object(text) | {k: v for k, v in update.fields.items() if v is not None}
                text = join_fields({k: v for k, v in fields.items() if update.fields.get(k, b"") is not None})
        elif update.fields is not None:
            text = join_fields({k: v for k, v in update.fields.items() if v is not None})
            if update.kind is UpdateKind.MERGE:
                unset = tuple(k for k, v in update.fields.items() if v is None)
        assert text is not None
        if not self.transformers or update.update_type == SYSTEM_EVENT:
            return text, unset
        data: Any = UpdateMessage(update.agent_id, payload=text).data
        stages: Stages = []
        for index, (boundary, transform) in enumerate(self.transformers):
            changed = boundary.ask(transform, update.agent_id, update.update_type, data)
            if type(changed) is not dict:  # the common answer is looked at no further
                if inspect.isawaitable(changed):
                    return asyncio.ensure_future(self._rest(update, changed, index, unset, stages))
                if changed is None:
                    boundary.passed()
                    return None
                _checked(boundary, changed)
            data = changed
            stages.append((boundary, data))
        return self._encoded(stages, update), unset

    async def _rest(
        self,
        update: UpdateMessage,
        waiting: Awaitable[JSONObject | None],
        index: int,
        unset: tuple[str, ...],
        stages: Stages,
    ) -> Made:
        """The way from transformer `index` on, which answers later."""
        boundary, _ = self.transformers[index]
        try:
            changed: Any = await boundary.in_time(waiting, self.hook_timeout_s)
            for following, transform in self.transformers[index + 1 :]:
                if changed is None:
                    break
                stages.append((boundary, _checked(boundary, changed)))
                boundary = following
                changed = boundary.ask(transform, update.agent_id, update.update_type, changed)
                if inspect.isawaitable(changed):
                    changed = await boundary.in_time(changed, self.hook_timeout_s)
            if changed is None:
                boundary.passed()
                return None
            stages.append((boundary, _checked(boundary, changed)))
            return self._encoded(stages, update), unset
        except Exception as error:
            return self._failed(error, boundary, update)

    def _encoded(self, stages: Stages, update: UpdateMessage) -> bytes:
        """What the last part returned, as text within the bound; then all of them did as they should."""
        try:
            text = self._text(stages[-1][1], update)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's own objects are asked for their content
            raise PartFailed(self._culprit(stages, update), error) from error
        for boundary, _ in stages:
            if boundary.failures_in_row:
                boundary.passed()
        return text

    def _text(self, data: Any, update: UpdateMessage) -> bytes:
        text = encode_object(data, update.agent_id)
        if len(text) > self.max_update_bytes:
            raise InvalidUpdate(
                f"data of agent {update.agent_id!r} became {len(text)} bytes, more than QUEUE max_update_bytes = "
                f"{self.max_update_bytes}: make it smaller, or raise it",
                agent_id=update.agent_id,
                path="data",
            )
        return text

    def _culprit(self, stages: Stages, update: UpdateMessage) -> Boundary:
        """The first part whose answer can't be sent: the last one may only have passed it on."""
        for boundary, data in stages[:-1]:
            try:
                self._text(data, update)
            except KeyboardInterrupt:
                raise
            except BaseException:  # as above
                return boundary
        return stages[-1][0]

    # what was left behind

    def _leave_behind(self, update: UpdateMessage, task: asyncio.Task[Made]) -> None:
        self._left_behind[update.agent_id] = (update, task)
        task.add_done_callback(lambda done: self._arrived(update, done))

    def _arrived(self, update: UpdateMessage, task: asyncio.Task[Made]) -> None:
        left = self._left_behind.get(update.agent_id)
        if left is None or left[1] is not task:
            return  # given up meanwhile
        del self._left_behind[update.agent_id]
        outcome = _outcome(task)
        if not isinstance(outcome, Waits):
            self._outcomes[update.agent_id] = (update, _content(update), outcome)
        if len(self._outcomes) > MAX_LEFT_BEHIND:
            del self._outcomes[next(iter(self._outcomes))]
        self._returned(update)

    def forget(self, update: UpdateMessage) -> None:
        """An update that was left behind goes back to the queue by other means, and begins anew another time."""
        left = self._left_behind.get(update.agent_id)
        if left is not None and left[0] is update:
            del self._left_behind[update.agent_id]
            left[1].cancel()

    def give_up(self) -> None:
        """The pipeline stops, or its loop is gone: what was left behind begins anew another time."""
        left_behind, self._left_behind = self._left_behind, {}
        for update, task in left_behind.values():
            if not task.get_loop().is_closed():
                task.cancel()
            self._returned(update)


def _content(update: UpdateMessage) -> tuple[Any, ...]:
    """What an outcome was made from. A newer state that was laid over it meanwhile brought its own times."""
    fields = None if update.fields is None else dict(update.fields)
    return update.kind, update.payload, update.load, fields, update.timestamp, update.accepted_at


def _outcome(task: asyncio.Task[Made]) -> Made | Waits:
    """What came of it; if somebody cancelled the task, the update begins anew another time."""
    return WAITS if task.cancelled() else task.result()


def _checked(boundary: Boundary, data: Any) -> Any:
    """What a part returned, before another one sees it."""
    if not isinstance(data, Mapping):
        raise PartFailed(boundary, TypeError(f"it returned {type(data).__name__}: return a dict, or None"))
    return data
