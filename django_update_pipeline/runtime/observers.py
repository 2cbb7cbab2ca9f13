"""Who is told afterwards. What an observer does wrong goes no further, and in the end it is told no more."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ..core.names import error_text
from ..core.repeats import Repeats
from .boundary import Boundary, PartFailed, discard

logger = logging.getLogger(__name__)


class Observer:
    """One plugin's implementation of one notice."""

    __slots__ = ("_boundary", "_call")

    def __init__(self, boundary: Boundary, call: Callable[..., Any]) -> None:
        self._boundary = boundary
        self._call = call

    def __call__(self, **values: Any) -> None:
        """Tells it, unless it is switched off. One that causes its own notice is not told of that from inside."""
        boundary = self._boundary
        if boundary.is_off:
            return
        if boundary.is_inside():
            boundary.failed(RecursionError("it caused what it is told of, and was not told of that"))
            return
        try:
            boundary.ask_plainly(self._call, **values)
        except PartFailed as failure:
            boundary.failed(failure.error)
        else:
            if boundary.failures_in_row:
                boundary.passed()


class Observers:
    """Each notice is a tuple of callables, empty by default, so that nobody costs nothing."""

    def __init__(self) -> None:
        self.started: Sequence[Any] = ()
        self.stopped: Sequence[Any] = ()
        self.batch_delivered: Sequence[Any] = ()
        self.dead_lettered: Sequence[Any] = ()
        self.breaker_changed: Sequence[Any] = ()
        self.part_switched: Sequence[Any] = ()
        self.connection_opened: Sequence[Any] = ()
        self.connection_closed: Sequence[Any] = ()
        self.operator_command: Sequence[Any] = ()
        self._complaints = Repeats()

    @staticmethod
    def notices() -> tuple[str, ...]:
        """The notices' names."""
        return tuple(name for name in vars(Observers()) if not name.startswith("_"))

    def tell(self, notice: Sequence[Any], **values: Any) -> None:
        """Tells each observer. A callable that is no `Observer` (a bare pipeline's) is contained here."""
        for observer in notice:
            if type(observer) is Observer:
                observer(**values)
                continue
            try:
                answer = observer(**values)
                if inspect.isawaitable(answer):
                    discard(answer)
                    raise TypeError("it returned an awaitable: it must be a plain function")
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # told afterwards: nothing depends on it
                if count := self._complaints.add():
                    logger.warning("an observer failed (%d time(s)): %s", count, error_text(error))
