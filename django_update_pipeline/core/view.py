"""What a client sees of a channel, and what an authorization hook leaves of what was asked for.

    asked for ──▶ `Fields` and yes or no of each hook ──▶ `allowed` ──▶ the view that is sent

A view is the unit of authorization, and a position is valid for one view: another one begins with a reset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from .names import unsafe_text
from .store import ChannelStore, Event

#: A field's name in a projection has at most so many characters.
MAX_FIELD_CHARS: Final = 100

#: What the name of a view ends with that has no events: no field is called so, since none is empty.
_NO_EVENTS = ",,no-events"


def valid_field_name(name: object) -> bool:
    """True for what a projection may name: 1 to 100 characters, no control characters, no comma."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_FIELD_CHARS
        and not unsafe_text(name)
        and "," not in name
    )


class Fields:
    """What `authorize_subscribe` answers to show a part of a channel: these top-level fields and no other.

        return Fields("x", "y")                  # positions; no events
        return Fields("x", "y", events=True)     # and the channel's events, whatever is in their data

    Events are held back unless `events` says otherwise: their data may have what the fields hide.

    Raises:
        ValueError: no name, or one that no projection can have (1 to 100 characters, no comma).
    """

    __slots__ = ("events", "names")

    def __init__(self, *names: str, events: bool = False) -> None:
        if not names:
            raise ValueError("Fields() shows nothing: name the fields that may be seen, or answer False")
        for name in names:
            if not valid_field_name(name):
                raise ValueError(
                    f"Fields has {name!r:.120}: a name has 1 to {MAX_FIELD_CHARS} characters and no comma"
                )
        self.names = frozenset(names)
        self.events = events

    def __repr__(self) -> str:
        return f"Fields({', '.join(map(repr, sorted(self.names)))}, events={self.events})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and (self.names, self.events) == (other.names, other.events)

    def __hash__(self) -> int:
        return hash((self.names, self.events))


class View(NamedTuple):
    """All of a channel, or a projection to some top-level fields (sorted names), with its events or without."""

    channel: str
    fields: tuple[str, ...] | None = None
    has_events: bool = True

    @property
    def name(self) -> str:
        """The view's name in frames and positions; empty for the whole channel. To a client it is opaque."""
        return ("" if self.fields is None else ",".join(self.fields)) + (
            "" if self.has_events else _NO_EVENTS
        )

    def narrowed(self, to: Fields) -> View | None:
        """This view without what `to` does not show; None if nothing is left."""
        fields = to.names if self.fields is None else to.names.intersection(self.fields)
        return View(self.channel, tuple(sorted(fields)), self.has_events and to.events) if fields else None

    # the channel's events, as far as they are in this view

    def events_between(self, channel: ChannelStore, after: int, to: int) -> list[Event]:
        """The ring's events above `after` and up to `to`, in order."""
        return channel.events_between(after, to) if self.has_events else []

    def next_event(self, channel: ChannelStore, after: int) -> Event | None:
        """The first event of the ring above `after`."""
        return channel.next_event(after) if self.has_events else None

    def events_until(self, channel: ChannelStore, at: int) -> int:
        """How many events there ever were up to an offset: 0 where none are shown."""
        return channel.events_until(at) if self.has_events else 0

    def event_count(self, channel: ChannelStore) -> int:
        """How many events there ever were: 0 where none are shown."""
        return channel.event_count if self.has_events else 0

    def last_evicted(self, channel: ChannelStore) -> int:
        """The offset of the last event that the ring let go of."""
        return channel.last_evicted if self.has_events else 0


def allowed(wanted: View, opinions: Iterable[bool | Fields], *, is_open: bool) -> View | None:
    """What hooks leave of a view; None if nothing.

    One False wins. Several `Fields` leave what all of them show. Without an opinion all is seen where `is_open`.
    """
    said = list(opinions)
    if not said:
        return wanted if is_open else None
    view: View | None = wanted
    for opinion in said:
        if opinion is False:
            return None
        if isinstance(opinion, Fields) and view is not None:
            view = view.narrowed(opinion)
    return view
