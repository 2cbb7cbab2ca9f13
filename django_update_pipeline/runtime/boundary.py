"""One part of a plugin, as the pipeline calls it: what it does wrong is contained, named and counted.

What a part raises becomes `PartFailed`; what an asynchronous one does not answer in time is left behind; how long it
holds its thread is on record (`blame`); a part that fails or blocks again and again is switched off.

KeyboardInterrupt passes through every boundary: it is the operator's, whoever's code it interrupts. So does a
cancellation that is really ours. SystemExit, GeneratorExit and a CancelledError that a part raises of itself are
failures of that part.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..core.names import error_text, one_line
from ..core.part_kinds import PartKind
from ..core.repeats import Repeats
from .complaints import place_of

if TYPE_CHECKING:
    from .containment import Containment

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: What `enter` returns and `leave` takes back: the thread, what had it before, and when this call began.
Token = tuple[int, tuple[Any, float] | None, float]

#: A part that has not blocked the loop for so long is taken to be well: what it did before counts no more. A machine
#: that was overloaded now and then must not switch a good part off in the course of a year.
BLOCK_FORGOTTEN_S = 600.0

#: A cancelled call may take so long to clean up before it is left behind.
GRACE_S: Final = 0.1

CANCELLATIONS: Final = 5

#: With so many calls left behind that never ended, a part is asked no more until one of them ends.
MAX_STUCK: Final = 10


class PartFailed(Exception):
    """A plugin's part failed; `error` is what it raised, or what says what is wrong with its answer."""

    def __init__(self, boundary: Boundary, error: BaseException) -> None:
        super().__init__(f"{boundary}: {error_text(error)}")
        self.boundary = boundary
        self.error = error


class Boundary:
    """One part of one plugin, as the pipeline calls it. Counters are read from any thread.

    Args:
        plugin: who provides the part.
        kind: what it is.
        title: which one of that kind, where a plugin has several.
    """

    __slots__ = (
        "_calls",
        "_containment",
        "_monotonic",
        "notable_s",
        "_repeats",
        "_stuck",
        "_subjects",
        "_blocked_at",
        "block_count",
        "failure_count",
        "failures_in_row",
        "is_off",
        "kind",
        "last_error",
        "longest_block_s",
        "max_block_s",
        "max_stuck",
        "off_because",
        "off_by_blocking",
        "part",
        "plugin",
        "retry_at",
        "switched",
        "title",
    )

    def __init__(self, containment: Containment, plugin: str, kind: PartKind, title: str) -> None:
        self._containment = containment
        self.plugin = plugin
        self.kind = kind
        self.title = title
        self.part = f"{kind.name} {title}" if title else kind.name
        self.max_block_s = containment.config.max_block_s
        blame = containment.blame
        self._calls = blame.calls
        self._monotonic = blame.monotonic
        self.notable_s = min(blame.long_s, self.max_block_s)
        self.max_stuck = MAX_STUCK
        self.failure_count = 0
        self.failures_in_row = 0
        self.block_count = 0  # since it was switched on, or had been well for so long
        self._blocked_at = -BLOCK_FORGOTTEN_S
        self.longest_block_s = 0.0
        self.last_error = ""
        self.is_off = False
        self.off_because = ""
        self.off_by_blocking = False
        self.retry_at = 0.0
        #: Told when it is switched off or on; on the thread that caused it.
        self.switched: Callable[[Boundary], None] = lambda boundary: None
        self._subjects: set[str] = set()  # what the failures in a row were about
        self._repeats = Repeats()
        self._stuck: set[asyncio.Future[Any]] = set()

    def __str__(self) -> str:
        return f"{self.part} of plugin {self.plugin}"

    # calling

    def is_inside(self) -> bool:
        """Whether this thread is in a call of this very part."""
        return self._containment.blame.is_inside(self)

    def enter(self) -> Token:
        """The part is about to be called in this thread; give the token to `leave`."""
        calls, thread = self._calls, get_ident()
        before = calls.get(thread)
        began = self._monotonic()
        calls[thread] = (self, began)
        return thread, before, began

    def leave(self, token: Token) -> None:
        """It returned."""
        thread, before, began = token
        if before is None:
            del self._calls[thread]
        else:
            self._calls[thread] = before
        took = self._monotonic() - began
        if took >= self.notable_s:
            self.took(began, took)

    def ask(self, function: Callable[..., _T], *args: Any) -> _T:
        """Calls the part.

        Raises:
            PartFailed: it raised.
        """
        # `enter` and `leave`, written out: it is once for each update.
        calls, thread = self._calls, get_ident()
        before = calls.get(thread)
        began = self._monotonic()
        calls[thread] = (self, began)
        try:
            return function(*args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the boundary
            raise PartFailed(self, error) from error
        finally:
            if before is None:
                del calls[thread]
            else:
                calls[thread] = before
            took = self._monotonic() - began
            if took >= self.notable_s:
                self.took(began, took)

    def ask_plainly(self, function: Callable[..., _T], *args: Any, **named: Any) -> _T:
        """`ask` for what must be a plain function: a coroutine is no answer."""
        answer = self.ask(functools.partial(function, *args, **named))
        if inspect.isawaitable(answer):
            discard(answer)
            raise PartFailed(self, TypeError("it returned an awaitable: it must be a plain function"))
        return answer

    async def in_time(self, waiting: Awaitable[_T], timeout_s: float, name: str = "hook_timeout_s") -> _T:
        """Awaits what the part returned, at most so long. One that ignores its cancellation is left behind.

        Raises:
            PartFailed: it raised, or did not answer in time.
        """
        if self._stuck:  # those of a loop that was closed are over
            self._stuck = {one for one in self._stuck if not one.get_loop().is_closed()}
        if len(self._stuck) >= self.max_stuck:
            discard(waiting)
            raise PartFailed(
                self, RuntimeError(f"{len(self._stuck)} calls of it hang and ignore their cancellation")
            )
        task = asyncio.ensure_future(self.outcome(waiting))
        try:
            await asyncio.wait((task,), timeout=timeout_s)
        except asyncio.CancelledError:
            await self._end(task)
            if task.done() and inspect.iscoroutine(waiting):
                waiting.close()  # it had not even begun
            raise
        if not task.done():
            await self._end(task)
            raise PartFailed(self, TimeoutError(f"no answer within {name} = {timeout_s:g}"))
        if task.cancelled():
            raise PartFailed(self, RuntimeError("it cancelled the task that it was called in"))
        outcome = task.result()
        if outcome[0] is not None:
            raise PartFailed(self, outcome[0]) from outcome[0]
        return outcome[1]

    async def outcome(self, waiting: Awaitable[_T]) -> tuple[BaseException, None] | tuple[None, _T]:
        """What came of it. Nothing but our own cancellation and KeyboardInterrupt leaves this task as an error:
        asyncio ends the loop for a task that raises SystemExit.
        """
        try:
            return None, await (_Watched(self, waiting) if inspect.iscoroutine(waiting) else waiting)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error, None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the boundary
            return error, None

    async def _end(self, task: asyncio.Task[Any]) -> None:
        """Cancels a call, again and again because it may swallow that, and leaves it behind if it goes on."""
        try:
            for _ in range(CANCELLATIONS):
                task.cancel()
                await asyncio.wait((task,), timeout=GRACE_S / CANCELLATIONS)
                if task.done():
                    return
        finally:
            if not task.done():
                self._stuck.add(task)
                task.add_done_callback(lambda done: self._stuck.discard(done))

    # counting

    def passed(self) -> None:
        """It answered as it should: the failures before were not in a row."""
        if self.failures_in_row:
            self.failures_in_row = 0
            self._subjects.clear()
            if self.is_off and not self.off_by_blocking:
                self.switch_on("it works again")

    def failed(
        self,
        error: BaseException,
        subject: str | None = None,
        *,
        is_retry: bool = False,
        is_told: bool = False,
    ) -> None:
        """It failed.

        Args:
            subject: what it was about, an agent say.
            is_retry: it failed on the same before, which says nothing new of the part: not one more in a row.
            is_told: the caller logs it.
        """
        if isinstance(error, PartFailed):
            error = error.error
        limit = self._containment.config.max_failures
        self.failure_count += 1
        self.last_error = error_text(error)
        if not is_retry:
            self.failures_in_row += 1
        if subject is not None and len(self._subjects) < limit:
            self._subjects.add(subject)
        if not is_told and (count := self._repeats.add()):
            about = "" if subject is None else f" for {one_line(subject, 200)!r}"
            logger.warning(
                "%s failed%s (%d time(s)): %s%s", self, about, count, self.last_error, place_of(error)
            )
            logger.debug("%s failed here", self, exc_info=error)
        if self.kind.by_failures and limit and self.failures_in_row >= limit and not self.is_off:
            self.switch_off(f"it failed {self.failures_in_row} times in a row, last with {self.last_error}")

    def took(self, began: float, took: float) -> None:
        """A call is over that took at least `notable_s`."""
        blame = self._containment.blame
        if took >= blame.long_s:
            blame.was_long(self, began, took)
        if took > self.max_block_s:
            self._blocked(took)

    def _blocked(self, took: float) -> None:
        if threading.get_ident() != self._containment.loop_thread:
            return  # it held up its own caller only
        now = self._containment.blame.monotonic()
        if now - self._blocked_at > BLOCK_FORGOTTEN_S:
            self.block_count = 0
        self._blocked_at = now
        self.block_count += 1
        self.longest_block_s = max(self.longest_block_s, took)
        limits = self._containment.config
        if count := self._repeats.add("blocked"):
            logger.warning(
                "%s blocked the event loop for %.1f s (%d time(s), CONTAINMENT max_block_s is %g)",
                self,
                took,
                count,
                self.max_block_s,
            )
        if (
            self.kind.by_blocking
            and limits.max_blocks
            and self.block_count >= limits.max_blocks
            and not self.is_off
        ):
            self.off_by_blocking = True
            self.switch_off(
                f"it blocked the event loop {self.block_count} times for more than {self.max_block_s:g} s"
            )

    # off and on

    def switch_off(self, because: str) -> None:
        """The part is not called any more."""
        self.is_off = True
        self.off_because = because
        self.retry_at = self._containment.blame.monotonic() + self._containment.config.retry_after_s
        logger.error("%s is switched off: %s; %s", self, because, self.kind.off_means)
        self._containment.tell(self)

    def switch_on(self, because: str) -> None:
        """The part is called again, and begins with a clean record."""
        was_off, self.is_off = self.is_off, False
        self.off_because = ""
        self.off_by_blocking = False
        self.failures_in_row = self.block_count = 0
        self._subjects.clear()
        self._repeats.forget()
        self._repeats.forget("blocked")
        if was_off:
            logger.warning("%s is switched on: %s", self, because)
            self._containment.tell(self)

    def may_try(self, subject: str) -> bool:
        """Whether a part that is off may be asked about this all the same.

        What it has not failed on yet may be well: one agent's data must not hold up the others. But where it failed
        on `max_failures` different ones it is the part.
        """
        subjects = self._subjects
        return (
            not self.off_by_blocking
            and subject not in subjects
            and len(subjects) < self._containment.config.max_failures
        )

    def has_another_chance(self, now: float) -> bool:
        """Whether a part that is off may be tried once more: each `retry_after_s`, unless it blocked the loop."""
        pause = self._containment.config.retry_after_s
        if self.off_by_blocking or not pause or now < self.retry_at:
            return False
        self.retry_at = now + pause
        return True

    def mend(self) -> str:
        """What health says of a part that is off."""
        return (
            f"{self} is switched off, because {self.off_because}; {self.kind.off_means}. Mend it, then restart or "
            f"switch it on: enable_plugin {self.plugin}."
        )

    def report(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "plugin": self.plugin,
            "part": self.part,
            "kind": self.kind.name,
            "is_off": self.is_off,
            "off_because": self.off_because,
            "failures": self.failure_count,
            "failures_in_row": self.failures_in_row,
            "last_error": self.last_error,
            "blocks": self.block_count,
            "longest_block_s": self.longest_block_s,
            "stuck": len(self._stuck),
        }


class _Watched:
    """Awaits a coroutine with each of its steps on record: an asynchronous part may block, too."""

    __slots__ = ("_boundary", "_coroutine")

    def __init__(self, boundary: Boundary, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._boundary = boundary
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        boundary, coroutine = self._boundary, self._coroutine
        error: BaseException | None = None
        while True:
            token = boundary.enter()
            try:
                step = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                boundary.leave(token)
            error = None
            try:
                yield step
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as thrown:  # a cancellation, most often: it is the coroutine's to meet
                error = thrown


def discard(answer: Any) -> None:
    """Lets go of an awaitable that nobody awaits, without Python's warning about that."""
    for name in ("close", "cancel"):
        end = getattr(answer, name, None)
        if callable(end):
            try:
                end()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a coroutine that refuses to be closed
                logger.debug("%s of an awaitable that nobody awaits: %r", name, error)
            return
