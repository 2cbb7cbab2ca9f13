"""runtime.blame: which plugin's part has a thread, and which had it for long."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from django_update_pipeline.runtime.blame import KEPT, Blame, PluginCall
from django_update_pipeline.testing import ManualClock


class Call:
    """One call as a `Boundary` makes it."""

    def __init__(self, blame: Blame, who: object) -> None:
        self.blame = blame
        self.who = who
        self.thread = threading.get_ident()
        self.before = blame.calls.get(self.thread)
        self.began = blame.monotonic()
        blame.calls[self.thread] = (who, self.began)

    def end(self) -> float:
        if self.before is None:
            del self.blame.calls[self.thread]
        else:
            self.blame.calls[self.thread] = self.before
        took = self.blame.monotonic() - self.began
        if took >= self.blame.long_s:
            self.blame.was_long(self.who, self.began, took)
        return took


OUTER = SimpleNamespace(plugin="villa", part="source Villa")
INNER = SimpleNamespace(plugin="shop", part="router Shop")


def test_a_call_is_named_while_it_is_going_on_from_any_thread() -> None:
    clock = ManualClock()
    blame = Blame(clock.monotonic)
    token = Call(blame, OUTER)
    clock.advance(2.0)
    seen: list[PluginCall | None] = []
    here = threading.get_ident()
    looker = threading.Thread(target=lambda: seen.extend([blame.current(), blame.current(here)]))
    looker.start()
    looker.join()
    for call in seen:
        assert call is not None
        assert (call.plugin, call.part, call.thread) == ("villa", "source Villa", here)
        assert call.lasted_s(clock.monotonic()) == 2.0
        assert str(call) == "source Villa of plugin villa"
    assert token.end() == 2.0
    assert blame.current() is None


def test_calls_nest_and_the_innermost_is_named() -> None:
    clock = ManualClock()
    blame = Blame(clock.monotonic)
    outer = Call(blame, OUTER)
    inner = Call(blame, INNER)
    assert blame.is_inside(INNER)
    assert not blame.is_inside(OUTER), "only the innermost"
    current = blame.current(threading.get_ident())
    assert current is not None
    assert current.plugin == "shop"
    inner.end()
    assert blame.is_inside(OUTER)
    outer.end()
    assert not blame.is_inside(OUTER)
    assert blame.current(threading.get_ident()) is None


def test_the_worst_of_late_is_known_after_it_ended() -> None:
    clock = ManualClock()
    blame = Blame(clock.monotonic, long_s=0.5)
    for who, seconds in ((OUTER, 0.7), (INNER, 3.0), (OUTER, 0.1)):
        token = Call(blame, who)
        clock.advance(seconds)
        token.end()
    worst = blame.worst_since(clock.monotonic() - 60)
    assert worst is not None
    assert (worst.plugin, worst.lasted_s(clock.monotonic())) == ("shop", 3.0)
    assert blame.worst_since(clock.monotonic()) is None, "none since"
    assert blame.worst_since(clock.monotonic() - 60, thread=-1) is None, "none in that thread"
    token = Call(blame, OUTER)
    clock.advance(9.0)
    worst = blame.worst_since(clock.monotonic() - 1)
    assert worst is not None
    assert (worst.plugin, worst.ended) == ("villa", None), "one that is going on counts, too"
    token.end()


def test_what_is_remembered_is_bounded() -> None:
    clock = ManualClock()
    blame = Blame(clock.monotonic, long_s=0.0)
    for _ in range(3 * KEPT):
        Call(blame, OUTER).end()
    assert len(blame._long) == KEPT
