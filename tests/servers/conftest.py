"""One server of each kind for most of the tests; those that end one start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .kinds import KINDS, ServerKind
from .running import Running, make_people, serve

People = tuple[Path, dict[str, str]]


def each(kinds: tuple[ServerKind, ...]) -> list[Any]:
    """Parameters that keep a server's tests on one worker of pytest-xdist (`--dist loadgroup`)."""
    return [pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.name)) for kind in kinds]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return make_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module", params=each(KINDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, people: People
) -> Iterator[Running]:
    """A server that several tests use, one after the other: each takes agents of its own names."""
    with serve(request.param, tmp_path_factory.mktemp("served"), people) as running:
        yield running
