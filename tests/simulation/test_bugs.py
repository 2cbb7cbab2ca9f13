"""Planted bugs: the simulation has to notice each within some histories, else it proves little."""

from __future__ import annotations

import pytest

from .bugs import BUGS, Bug, caught_after, planted
from .world import run_seed

#: Those that are noticed soon; the environment `long` plants all.
SOON = (
    "the tombstone of a field is lost",
    "what the ring let go of is not counted",
    "a conflated update is counted twice",
    "a part moves the position",
    "credit leaks with each acknowledgement",
)


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in SOON], ids=lambda bug: bug.name)
def test_a_planted_bug_is_noticed_soon(bug: Bug) -> None:
    assert caught_after(bug, 30) is not None
    run_seed(0)  # and it is taken out again


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name not in SOON], ids=lambda bug: bug.name)
def test_every_planted_bug_is_noticed(bug: Bug) -> None:
    assert caught_after(bug, 500) is not None


def test_there_are_ten_bugs_and_more() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) > 10
    assert set(SOON) <= {bug.name for bug in BUGS}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_is_in_the_code_where_it_says(bug: Bug) -> None:
    with planted(bug):
        pass
