"""All boundaries of one pipeline: who is off, who fails, who blocks, and how a plugin is switched on again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..core.config import ContainmentConfig
from ..core.health import PluginCheck
from ..core.names import error_text, one_line
from ..core.part_kinds import KINDS
from ..core.ports import HealthCheck
from .blame import Blame
from .boundary import Boundary, PartFailed

#: So many boundaries are kept; what comes later shares one for each kind.
MAX_BOUNDARIES: Final = 1000


class Containment:
    """All boundaries of one pipeline, and what there is to say about them.

    Args:
        monotonic: monotonic clock, seconds.
    """

    def __init__(self, config: ContainmentConfig, monotonic: Callable[[], float]) -> None:
        self.config = config
        self.blame = Blame(monotonic)
        self.loop_thread = 0
        #: Told after a part was switched off or on; in any thread.
        self.on_switched: Callable[[Boundary], None] = lambda boundary: None
        self._boundaries: dict[tuple[str, str, str], Boundary] = {}
        self._parts: dict[int, tuple[object, Boundary]] = {}
        self.providers: dict[int, tuple[object, str]] = {}  # by a part's identity: the part, and its plugin

    def boundary(self, plugin: str, kind: str, title: str = "") -> Boundary:
        """The boundary of a part, the same one for the same names."""
        key = (plugin, kind, title)
        found = self._boundaries.get(key)
        if found is None:
            if len(self._boundaries) >= MAX_BOUNDARIES:
                key = ("others", kind, "")
            found = self._boundaries.setdefault(key, Boundary(self, key[0], KINDS[kind], key[2]))
        return found

    def of_part(self, kind: str, part: object) -> Boundary:
        """The boundary of an object that a plugin handed over: its own, also beside others of its class."""
        known = self._parts.get(id(part))
        if known is not None and known[1].kind is KINDS[kind]:
            return known[1]
        provider = self.providers.get(id(part))
        plugin = plugin_of(part) if provider is None else provider[1]
        title = title_of(part)
        same = sum(
            one.plugin == plugin and one.kind.name == kind and one.title.partition("#")[0] == title
            for one in self.boundaries()
        )
        boundary = self.boundary(plugin, kind, f"{title}#{same + 1}" if same else title)
        self._parts[id(part)] = part, boundary
        return boundary

    def known(self, part: object) -> Boundary | None:
        """The boundary of a part that has one."""
        found = self._parts.get(id(part))
        return None if found is None else found[1]

    def boundaries(self) -> list[Boundary]:
        """All of them, in the order in which they were made."""
        return list(self._boundaries.values())

    def tell(self, boundary: Boundary) -> None:
        """A part was switched: the part's own owner is told first, then everybody."""
        boundary.switched(boundary)
        self.on_switched(boundary)

    def enable(self, plugin: str) -> list[str]:
        """Switches a plugin's parts on again; the names of those that were off. Any thread.

        Raises:
            KeyError: no part of such a plugin has been used.
        """
        mine = [boundary for boundary in self.boundaries() if boundary.plugin == plugin]
        if not mine:
            raise KeyError(plugin)
        off = [boundary for boundary in mine if boundary.is_off]
        for boundary in off:
            boundary.switch_on("an operator did it")
        return [boundary.part for boundary in off]

    def report(self) -> list[dict[str, Any]]:
        """Each part's record, as plain values."""
        return [boundary.report() for boundary in self.boundaries()]

    def failures(self) -> dict[str, int]:
        """How often each plugin failed."""
        found: dict[str, int] = {}
        for boundary in self.boundaries():
            if boundary.failure_count:
                found[boundary.plugin] = found.get(boundary.plugin, 0) + boundary.failure_count
        return found

    # what health says

    def verdict(self, check: HealthCheck) -> PluginCheck:
        """A plugin's own check; what goes wrong in it is an issue of that plugin."""
        boundary = self.of_part("health check", check)
        if boundary.is_off:
            return PluginCheck(boundary.title, is_ok=True)  # that it is off is an issue of its own
        try:
            if boundary.is_inside():
                raise PartFailed(boundary, RecursionError("it asked for the report that it is part of"))
            issue: object = boundary.ask_plainly(check.check)
            if issue is not None and not isinstance(issue, str):
                raise PartFailed(
                    boundary, TypeError(f"it returned {type(issue).__name__}: return a sentence or None")
                )
        except PartFailed as failure:
            boundary.failed(failure.error)
            return PluginCheck(
                boundary.title, is_ok=False, issue=f"the check itself failed: {error_text(failure.error)}"
            )
        boundary.passed()
        return PluginCheck(boundary.title, issue is None, one_line(issue or ""))

    def switched_off(self) -> tuple[str, ...]:
        """A sentence with its mend for each part that is off."""
        return tuple(boundary.mend() for boundary in self.boundaries() if boundary.is_off)

    def failing(self) -> tuple[str, ...]:
        """A sentence for each part whose last answer was a failure."""
        return tuple(
            f"{boundary} fails ({boundary.failures_in_row} time(s) in a row): {boundary.last_error}. Mend it; the "
            "log at DEBUG has the traceback."
            for boundary in self.boundaries()
            if boundary.failures_in_row and not boundary.is_off
        )

    def blocking(self) -> tuple[str, ...]:
        """A sentence for each call that holds a thread for longer than `max_block_s` at this moment."""
        now = self.blame.monotonic()
        return tuple(
            f"{call} has held {'the event loop' if call.thread == self.loop_thread else 'a thread'} for "
            f"{call.lasted_s(now):.1f} s: make it quicker, asynchronous, or move its work to a thread."
            for call in self.blame.all_current()
            if call.lasted_s(now) > self.config.max_block_s
        )


def title_of(part: object) -> str:
    """What one part is called beside others of its kind: its `name`, or its class's."""
    try:
        name = getattr(part, "name", None)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a property of a plugin's class
        name = None
    return one_line(name, 100) if isinstance(name, str) and name else type(part).__qualname__


def plugin_of(part: object) -> str:
    """The plugin of a part that was handed in without one: the module of its class or function."""
    module = getattr(part, "__module__", None) if callable(part) else None
    return str(module or type(part).__module__)
