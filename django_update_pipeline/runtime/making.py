"""Making updates ready: states are loaded, transformers run, the result is encoded.

It runs on the pipeline's loop, once per update and flush. What a plugin does here harms no other update: what it
raises is that update's outcome, and one that makes a batch wait is left behind. The batch goes on without it, its
agent is held, and its outcome is used when it is there.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from ..core.codec import encode_object, join_fields, split_object
from ..core.messages import JSONObject, UpdateKind, UpdateMessage
from ..core.ports import Transformer
from ..core.session import SYSTEM_EVENT
from ..exceptions import InvalidUpdate

logger = logging.getLogger(__name__)

#: A batch waits so long for asynchronous transformers and loads; what needs longer is left behind.
PATIENCE_S = 0.01

#: So many updates may be left behind at a time; with more, a batch waits for its own.
MAX_LEFT_BEHIND = 1000

#: What an update becomes: its text and the fields it removes, None if a part swallows it, or what went wrong.
Made = tuple[bytes, tuple[str, ...]] | None | BaseException


class LeftBehind:
    """An outcome that is not there yet."""


LEFT_BEHIND: Final = LeftBehind()


class Maker:
    """Makes batches ready.

    Args:
        returned: told when an update that was left behind may be taken again; on the loop.
    """

    def __init__(
        self,
        transformers: Sequence[Transformer],
        *,
        hook_timeout_s: float,
        max_update_bytes: int,
        returned: Callable[[UpdateMessage], None],
    ) -> None:
        self.transformers = tuple(transformers)
        self.hook_timeout_s = hook_timeout_s
        self.max_update_bytes = max_update_bytes
        self._returned = returned
        # By agent: an update that was left behind, its content then, and what became of it.
        self._outcomes: dict[str, tuple[UpdateMessage, Any, Made]] = {}
        self._left_behind: dict[str, tuple[UpdateMessage, asyncio.Task[Made]]] = {}

    @property
    def left_behind(self) -> list[UpdateMessage]:
        """What is being made outside of any batch."""
        return [update for update, _ in self._left_behind.values()]

    def is_busy(self, agent_id: str) -> bool:
        """Whether an update of this agent was left behind."""
        return agent_id in self._left_behind

    async def make(self, batch: list[UpdateMessage]) -> list[Made | LeftBehind]:
        """Each update's outcome. Cancelled, nothing of it goes on."""
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
        outcomes: list[Made | LeftBehind] = []
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
        return outcomes

    def _begin(self, update: UpdateMessage) -> Made | asyncio.Task[Made]:
        """An update's outcome, or the task that makes it."""
        kept = self._outcomes.pop(update.agent_id, None) if self._outcomes else None
        if kept is not None and kept[0] is update and kept[1] == _content(update):
            return kept[2]
        if update.kind is UpdateKind.REMOVE:
            return b"{}", ()
        if (
            update.payload is not None
            and update.fields is None
            and (not self.transformers or update.update_type == SYSTEM_EVENT)
        ):
            return update.payload, ()
        try:
            if update.load is not None:
                loaded = update.load(update.agent_id)
                if inspect.isawaitable(loaded):
                    return asyncio.ensure_future(self._load(update, loaded))
                return self._transformed(update, loaded)
            return self._transformed(update, None)
        except BaseException as error:  # a plugin's boundary; nothing was awaited, so no cancellation is ours
            return _contained(error)

    async def _load(self, update: UpdateMessage, loading: Awaitable[Any]) -> Made:
        result = self._transformed(update, await self._in_time(loading))
        return await result if isinstance(result, asyncio.Task) else result

    def _transformed(self, update: UpdateMessage, loaded: Any) -> Made | asyncio.Task[Made]:
        unset: tuple[str, ...] = ()
        text = update.payload
        if update.load is not None:
            if loaded is None:
                return None
            text = encode_object(loaded, update.agent_id)
            if update.fields:
                fields = split_object(text) | {k: v for k, v in update.fields.items() if v is not None}
                text = join_fields({k: v for k, v in fields.items() if update.fields.get(k, b"") is not None})
        elif update.fields is not None:
            text = join_fields({k: v for k, v in update.fields.items() if v is not None})
            if update.kind is UpdateKind.MERGE:
                unset = tuple(k for k, v in update.fields.items() if v is None)
        assert text is not None
        if not self.transformers or update.update_type == SYSTEM_EVENT:
            return self._checked(update, text), unset
        data = UpdateMessage(update.agent_id, payload=text).data
        for index, transformer in enumerate(self.transformers):
            changed = transformer.transform(update.agent_id, update.update_type, data)
            if inspect.isawaitable(changed):
                return asyncio.ensure_future(self._rest(update, changed, index, unset))
            if changed is None:
                return None
            data = changed
        return self._checked(update, encode_object(data, update.agent_id)), unset

    async def _rest(
        self, update: UpdateMessage, waiting: Awaitable[JSONObject | None], index: int, unset: tuple[str, ...]
    ) -> Made:
        """The way from transformer `index` on, which answers later."""
        data = await self._in_time(waiting)
        for transformer in self.transformers[index + 1 :]:
            if data is None:
                return None
            changed = transformer.transform(update.agent_id, update.update_type, data)
            data = await self._in_time(changed) if inspect.isawaitable(changed) else changed
        if data is None:
            return None
        return self._checked(update, encode_object(data, update.agent_id)), unset

    async def _in_time(self, waiting: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self.hook_timeout_s):
                return await waiting
        except TimeoutError as error:
            raise TimeoutError(f"no answer within hook_timeout_s = {self.hook_timeout_s:g}") from error

    def _checked(self, update: UpdateMessage, text: bytes) -> bytes:
        if len(text) > self.max_update_bytes:
            raise InvalidUpdate(
                f"data of agent {update.agent_id!r} became {len(text)} bytes, more than QUEUE max_update_bytes = "
                f"{self.max_update_bytes}: make it smaller, or raise it",
                agent_id=update.agent_id,
                path="data",
            )
        return text

    # what was left behind

    def _leave_behind(self, update: UpdateMessage, task: asyncio.Task[Made]) -> None:
        self._left_behind[update.agent_id] = (update, task)
        task.add_done_callback(lambda done: self._arrived(update, done))

    def _arrived(self, update: UpdateMessage, task: asyncio.Task[Made]) -> None:
        outcome = _outcome(task)
        left = self._left_behind.get(update.agent_id)
        if left is None or left[1] is not task:
            return  # given up meanwhile
        del self._left_behind[update.agent_id]
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


def _outcome(task: asyncio.Task[Made]) -> Made:
    if task.cancelled():
        return RuntimeError("a transformer or load was cancelled")
    error = task.exception()
    return task.result() if error is None else _contained(error)


def _contained(error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error
