"""Which channels an update goes to: those its caller names, those the router says, or the default one.

It runs in the thread of whoever queues.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isawaitable
from threading import get_ident

from ..core.messages import Channels
from ..core.names import error_text, valid_channel_name
from ..core.ports import Clock, Router
from ..core.session import SYSTEM_CHANNEL
from ..exceptions import InvalidUpdate
from .boundary import discard
from .containment import Containment


class Unroutable(tuple[str, ...]):
    """The channels of an update whose router failed: none, and why."""

    cause: str

    @classmethod
    def because(cls, cause: str) -> Unroutable:
        """No channels, for this reason."""
        nowhere = cls()
        nowhere.cause = cause
        return nowhere


class Addressing:
    """Finds the channels of updates. Any thread."""

    def __init__(
        self, router: Router | None, default_channel: str, containment: Containment, clock: Clock
    ) -> None:
        self.default_channels: Channels = (default_channel,)
        self.route = router.route if router is not None else None
        self._router = containment.of_part("router", router) if router is not None else None
        self._calls = containment.blame.calls
        self._monotonic = clock.monotonic
        self._known: dict[Channels, Channels] = {}

    def channels(self, agent_id: str, update_type: str, channels: Iterable[str] | None) -> Channels:
        """The channels a caller names; where that is None, what the router says, else the default one.

        Raises:
            InvalidUpdate: a name is not valid.
        """
        if channels is None:
            return self.default_channels if self.route is None else self._routed(agent_id, update_type)
        try:
            names = (channels,) if isinstance(channels, str) else tuple(channels)
            known = self._known.get(names)
        except TypeError:
            raise InvalidUpdate(
                f"channels {channels!r:.120} is not valid: give names of channels, or None", agent_id=agent_id
            ) from None
        if known is not None:
            return known
        for name in names:
            if not valid_channel_name(name) or name == SYSTEM_CHANNEL:
                raise InvalidUpdate(
                    f"channel {name!r:.120} is not valid: give 1 to 90 of A-Z a-z 0-9 . _ -",
                    agent_id=agent_id,
                )
        result = tuple(sorted(set(names)))  # in whatever order they are named, they conflate
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[names] = result
        return result

    def _routed(self, agent_id: str, update_type: str) -> Channels:
        """Where the router sends an update; nowhere where it fails, and the update dies of it, seen by all.

        `Boundary.ask`, written out: it is on the way of each call.
        """
        route, boundary = self.route, self._router
        assert route is not None
        assert boundary is not None
        if boundary.is_off:
            return Unroutable.because(f"{boundary} is switched off: {boundary.off_because}")
        calls, thread = self._calls, get_ident()
        before = calls.get(thread)
        if before is not None and before[0] is boundary:
            return self._not_routed(
                RecursionError("it queued an update that it is to route itself"), agent_id
            )
        began = self._monotonic()
        calls[thread] = (boundary, began)
        try:
            routed = route(agent_id, update_type)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the router is a plugin's: its failure is not the caller's
            return self._not_routed(error, agent_id)
        finally:
            if before is None:
                del calls[thread]
            else:
                calls[thread] = before
            took = self._monotonic() - began
            if took >= boundary.notable_s:
                boundary.took(began, took)
        if routed is None:
            channels = self.default_channels
        else:
            try:
                if type(routed) is not tuple and isawaitable(routed):
                    discard(routed)
                    raise TypeError("it returned an awaitable: it must be a plain function")
                channels = self.channels(agent_id, update_type, routed)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # what it returned has code of its own
                return self._not_routed(error, agent_id)
        if boundary.failures_in_row:
            boundary.passed()
        return channels

    def _not_routed(self, error: BaseException, agent_id: str) -> Unroutable:
        boundary = self._router
        assert boundary is not None
        boundary.failed(error, agent_id)
        return Unroutable.because(f"{boundary.part}: {error_text(error)}")
