"""The villa's grounds: its places, where one can stand in them, and the paths between. Pure values.

Map units are drawn units, 1000 wide and 700 high, the same that the page's drawing uses; in an agent's
state a position is given in percent of the map's width and height, so that a page may draw it at any size.
"""

from __future__ import annotations

import heapq
import math
import zlib
from dataclasses import dataclass

Point = tuple[float, float]

WIDTH = 1000.0
HEIGHT = 700.0


@dataclass(frozen=True)
class Place:
    """A place agents go to.

    Attributes:
        key: its name in an agent's `location`, like "fire_pit".
        label: what people call it, with its article: "the fire pit".
        preposition: how one is there: "at" or "in".
        door: the waypoint where the paths reach it.
        spots: where one can stand, in map units; more spots than one, so that people do not stack.
        activities: what one does there.
    """

    key: str
    label: str
    preposition: str
    door: str
    spots: tuple[Point, ...]
    activities: tuple[str, ...]


def _ring(x: float, y: float, rx: float, ry: float, count: int, start_deg: float = 0.0) -> tuple[Point, ...]:
    turns = (math.radians(start_deg + 360 * index / count) for index in range(count))
    return tuple((round(x + rx * math.cos(turn), 1), round(y + ry * math.sin(turn), 1)) for turn in turns)


PLACES: dict[str, Place] = {
    place.key: place
    for place in (
        Place(
            "bedroom",
            "the bedroom",
            "in",
            "bedroom",
            ((105, 115), (185, 115), (105, 185), (185, 185), (145, 150), (145, 215)),
            ("taking a nap", "trying on three shirts", "writing a diary", "whispering about last night"),
        ),
        Place(
            "lounge",
            "the lounge",
            "in",
            "lounge",
            ((255, 120), (345, 120), (255, 190), (345, 190), (300, 105), (300, 215)),
            ("choosing a record", "sunk into the sofa", "playing cards", "reading the same page again"),
        ),
        Place(
            "kitchen",
            "the kitchen",
            "in",
            "kitchen",
            ((408, 150), (496, 150), (410, 222), (498, 222), (452, 118)),
            ("making pancakes", "brewing coffee", "cutting a melon", "tasting the sauce"),
        ),
        Place(
            "terrace",
            "the terrace",
            "on",
            "terrace_mid",
            ((110, 300), (180, 310), (250, 300), (350, 310), (410, 300), (490, 308)),
            ("watching the sky", "playing the guitar", "having a late breakfast", "watering the lemon tree"),
        ),
        Place(
            "pool",
            "the pool",
            "at",
            "pool_north",
            ((220, 440), (300, 430), (385, 450), (250, 500), (340, 505), (415, 400), (190, 395), (300, 545)),
            ("swimming laps", "floating on the flamingo", "dangling feet in the water", "diving for a coin"),
        ),
        Place(
            "gym",
            "the gym deck",
            "on",
            "gym",
            ((62, 445), (104, 470), (62, 510), (108, 528)),
            ("lifting weights", "stretching", "skipping rope", "holding a very long plank"),
        ),
        Place(
            "bar",
            "the bar",
            "at",
            "bar",
            ((535, 405), (572, 448), (628, 448), (668, 405), (690, 350)),
            ("mixing a mocktail", "polishing a glass", "telling a long story", "waiting for ice"),
        ),
        Place(
            "garden",
            "the garden",
            "in",
            "garden",
            ((700, 130), (775, 105), (850, 130), (700, 215), (780, 195), (865, 215)),
            ("picking figs", "lying in the hammock", "smelling the jasmine", "doing yoga on the grass"),
        ),
        Place(
            "fire_pit",
            "the fire pit",
            "at",
            "fire_pit",
            _ring(800, 420, 112, 88, 12, start_deg=15),
            ("feeding the fire", "staring into the flames", "toasting marshmallows", "humming an old song"),
        ),
        Place(
            "beach",
            "the beach",
            "on",
            "beach",
            ((180, 625), (265, 640), (350, 628), (435, 642), (520, 628), (605, 640)),
            ("collecting shells", "walking along the waves", "building a crooked castle", "counting sails"),
        ),
        Place(
            "hideaway",
            "the hideaway",
            "in",
            "hideaway",
            ((850, 590), (915, 590), (862, 630), (925, 632)),
            ("lighting candles", "hiding from everyone", "listening to the sea", "writing a poem"),
        ),
    )
}
"""Every place of the villa by its key."""

_WAYPOINTS: dict[str, Point] = {
    "bedroom": (145, 240),
    "lounge": (300, 240),
    "kitchen": (452, 240),
    "terrace_west": (145, 285),
    "terrace_mid": (300, 285),
    "terrace_east": (452, 285),
    "steps": (560, 310),
    "pool_northwest": (150, 365),
    "pool_north": (300, 357),
    "pool_northeast": (480, 375),
    "pool_west": (140, 460),
    "pool_southwest": (160, 560),
    "pool_south": (310, 580),
    "pool_southeast": (470, 560),
    "gym": (112, 475),
    "bar": (600, 445),
    "gate": (640, 300),
    "garden": (770, 165),
    "lawn": (680, 470),
    "fire_pit": (716, 452),
    "grove": (770, 545),
    "beach": (400, 620),
    "beach_east": (640, 610),
    "hideaway": (840, 605),
}

_PATHS: tuple[tuple[str, str], ...] = (
    ("bedroom", "terrace_west"),
    ("lounge", "terrace_mid"),
    ("kitchen", "terrace_east"),
    ("terrace_west", "terrace_mid"),
    ("terrace_mid", "terrace_east"),
    ("terrace_east", "steps"),
    ("terrace_west", "pool_northwest"),
    ("terrace_mid", "pool_north"),
    ("terrace_east", "pool_northeast"),
    ("pool_northwest", "pool_north"),
    ("pool_north", "pool_northeast"),
    ("pool_northwest", "pool_west"),
    ("pool_west", "pool_southwest"),
    ("pool_west", "gym"),
    ("pool_southwest", "pool_south"),
    ("pool_south", "pool_southeast"),
    ("pool_southeast", "pool_northeast"),
    ("pool_northeast", "bar"),
    ("steps", "bar"),
    ("steps", "gate"),
    ("gate", "garden"),
    ("gate", "lawn"),
    ("bar", "lawn"),
    ("lawn", "fire_pit"),
    ("fire_pit", "grove"),
    ("lawn", "grove"),
    ("grove", "hideaway"),
    ("grove", "beach_east"),
    ("hideaway", "beach_east"),
    ("beach_east", "beach"),
    ("pool_south", "beach"),
    ("pool_southeast", "beach"),
    ("pool_southeast", "lawn"),
)

_NEIGHBOURS: dict[str, tuple[tuple[str, float], ...]] = {
    name: tuple(
        (b if a == name else a, math.dist(_WAYPOINTS[a], _WAYPOINTS[b])) for a, b in _PATHS if name in (a, b)
    )
    for name in _WAYPOINTS
}


def label_of(place_key: str) -> str:
    """What people call a place; a place nobody built is called by its name."""
    place = PLACES.get(place_key)
    return place.label if place is not None else place_key.replace("_", " ")


def there(place_key: str) -> str:
    """Where one is, in words: "at the fire pit"."""
    place = PLACES[place_key]
    return f"{place.preposition} {place.label}"


def percent(point: Point) -> Point:
    """A point in map units as percent of the map's width and height, to a tenth."""
    return round(100 * point[0] / WIDTH, 1), round(100 * point[1] / HEIGHT, 1)


def standing_point(agent_id: str, place_key: str) -> Point:
    """Where an agent stands in a place when nobody says more, in percent: always the same for the two names.

    A place nobody built lies somewhere on the lawn.
    """
    place = PLACES.get(place_key)
    if place is not None:
        # crc32, not hash(): the same spot in every process.
        return percent(place.spots[zlib.crc32(agent_id.encode()) % len(place.spots)])
    seed = zlib.crc32(f"{place_key}/{agent_id}".encode())
    return percent((560 + seed % 340, 260 + (seed >> 12) % 80))


def route(start: Point, start_place: str | None, end: Point, end_place: str) -> list[Point]:
    """The points to walk through from `start` to `end` along the paths, `end` last.

    Within one place one walks straight. `start_place` None means somewhere on the way: the nearest
    waypoint is taken first. Dijkstra on some twenty points, a few tens of microseconds.
    """
    if start_place == end_place:
        return [end]
    source = PLACES[start_place].door if start_place in PLACES else nearest_waypoint(start)
    target = PLACES[end_place].door
    best: dict[str, tuple[float, str | None]] = {source: (0.0, None)}
    heap = [(0.0, source)]
    while heap:
        walked, name = heapq.heappop(heap)
        if name == target:
            break
        if walked > best[name][0]:
            continue
        for neighbour, length in _NEIGHBOURS[name]:
            total = walked + length
            if neighbour not in best or total < best[neighbour][0]:
                best[neighbour] = (total, name)
                heapq.heappush(heap, (total, neighbour))
    points = [end]
    step: str | None = target
    while step is not None:
        points.append(_WAYPOINTS[step])
        step = best[step][1]
    return points[::-1]


def nearest_waypoint(point: Point) -> str:
    """The waypoint nearest to a point in map units."""
    return min(_WAYPOINTS, key=lambda name: math.dist(point, _WAYPOINTS[name]))
