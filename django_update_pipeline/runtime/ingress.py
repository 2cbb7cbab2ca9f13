"""The one door from any thread into the queue.

Law Q6 (door): a caller encodes, appends, and *tries* the lock: the holder drains, and looks again after
releasing it. Nobody waits, so a caller may be a signal handler that interrupted the holder.

Whatever changes the queue passes here: updates, and commands (callables without arguments).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..core.messages import UpdateMessage
from ..core.repeats import Repeats
from ..exceptions import UpdatePipelineError
from .complaints import complain

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
Command = Callable[[], object]


class Ingress:
    """An inbox, and the lock that guards the queue behind it."""

    def __init__(self, accept: Callable[[UpdateMessage], bool]) -> None:
        self._accept = accept
        #: Called with the door open again, when something may be due earlier; True: commands were carried out, so
        #: anything may have changed. In any thread.
        self.after: Callable[[bool], object] = lambda commands: None
        #: Whether the caller is a part that is asked about what enters: what it put in would ask it again, for ever.
        self.is_barred: Callable[[], bool] = lambda: False
        self._inbox: deque[UpdateMessage | Command] = deque()
        self._lock = threading.Lock()
        self._complaints = Repeats()

    def put(self, item: UpdateMessage | Command) -> None:
        """Hands in an update or a command. It is done on return, unless another thread holds the door: then
        that thread does it right after. Any thread.

        Raises:
            UpdatePipelineError: the caller is barred.
        """
        if self.is_barred():
            raise UpdatePipelineError(
                "a batching policy can't queue updates: it is asked about each one that is queued"
            )
        self._inbox.append(item)
        self.after(self.drain())

    def put_update(self, update: UpdateMessage) -> bool:
        """`put` for an update, on a short path where nobody else is at the door. False: nothing became due earlier."""
        lock = self._lock
        if self._inbox or not lock.acquire(False):
            self.put(update)
            return True
        try:
            news = self._accept(update)
        finally:
            lock.release()
        if self._inbox:
            self.after(self.drain())
            return True
        return news

    def drain(self) -> bool:
        """Does what is in the inbox, if nobody else is at it. True: there were commands."""
        inbox = self._inbox
        lock = self._lock
        commands = False
        while inbox and lock.acquire(False):
            try:
                commands |= self._empty(inbox)
            finally:
                lock.release()
        return commands

    def _empty(self, inbox: deque[UpdateMessage | Command]) -> bool:
        accept = self._accept
        commands = False
        while inbox:
            try:
                item = inbox.popleft()
            except IndexError:  # a signal handler's drain came between
                return commands
            try:
                if isinstance(item, UpdateMessage):
                    accept(item)
                else:
                    commands = True
                    item()
            except (
                Exception
            ) as error:  # who is at the door may be somebody else's caller, and others' items follow
                complain(logger, error, "the queue failed on an item", repeats=self._complaints)
        return commands

    def try_run(self, command: Callable[[], _T]) -> tuple[bool, _T | None]:
        """Empties the inbox, runs a command and returns its result; `(False, None)` if the door is held."""
        if not self._lock.acquire(False):
            return False, None
        try:
            self._empty(self._inbox)
            result = command()
        finally:
            self._lock.release()
        if self._inbox:
            self.after(self.drain())
        return True, result

    def waiting(self) -> int:
        """How many items are in the inbox; 0 unless another thread is at the door."""
        return len(self._inbox)
