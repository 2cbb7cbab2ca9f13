"""What acknowledgements say of ages is held between what is known, and counted by priority."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.ages import Ages
from django_update_pipeline.core.credit import Asked

#: Sent 2 s after its CRITICAL change was queued, and 1 s after its LOW one; acknowledged 0.5 s later.
ASKED = Asked("villa", 7, at=10.0, oldest=1000.0, queued=((0, 1000.0), (3, 1001.0)))
NOW, TIME = 10.5, 1002.5


def figures(ages: Ages, what: str) -> dict[str, float]:
    """By priority, the largest in seconds; those without a sample are left out."""
    rows = getattr(ages, what).snapshot_ms()["by_priority"]
    return {label: row["max_latency_ms"] / 1000.0 for label, row in rows.items() if row["count"]}


@pytest.mark.parametrize(
    ("said_ms", "applied_s"),
    [
        (2200.0, 2.2),  # honest
        (0.0, 2.0),  # before it was sent
        (1999.0, 2.0),
        (2600.0, 2.5),  # after the acknowledgement came
        (1.7e308, 2.5),
    ],
)
def test_an_age_lies_between_sent_and_acknowledged(said_ms: float, applied_s: float) -> None:
    ages = Ages()
    ages.heard(ASKED, said_ms, NOW, TIME)
    assert figures(ages, "applied") == pytest.approx({"critical": applied_s, "low": applied_s - 1.0})
    assert figures(ages, "acknowledged") == pytest.approx({"critical": 2.5, "low": 1.5})


def test_without_an_age_there_is_the_upper_bound_alone() -> None:
    ages = Ages()
    ages.heard(ASKED, None, NOW, TIME)
    assert figures(ages, "applied") == {}
    assert figures(ages, "acknowledged") == pytest.approx({"critical": 2.5, "low": 1.5})


def test_what_is_no_sample_counts_nothing() -> None:
    ages = Ages()
    ages.heard(Asked("villa", 7, 10.0, 1000.0), 5.0, NOW, TIME)
    ages.heard(Asked("villa", 7, 10.0, 1000.0), None, NOW, TIME)
    assert figures(ages, "applied") == figures(ages, "acknowledged") == {}


@pytest.mark.parametrize("said_ms", [0.0, None])
def test_another_node_s_clock_that_is_ahead_makes_new_things_no_younger_than_new(
    said_ms: float | None,
) -> None:
    ages = Ages()
    ages.heard(Asked("villa", 7, 10.0, 1009.0, ((1, 1009.0),)), said_ms, NOW, TIME)
    assert figures(ages, "acknowledged") == {"high": 0.0}
    assert figures(ages, "applied") == ({} if said_ms is None else {"high": 0.0})


def test_windows_end_together_and_totals_do_not() -> None:
    ages = Ages()
    assert (ages.repaired_of_late(), ages.repaired_count) == (0, 0)
    ages.heard(ASKED, 2200.0, NOW, TIME)
    ages.repaired(2)
    ages.rotate()
    ages.repaired(1)
    assert figures(ages, "applied").keys() == figures(ages, "acknowledged").keys() == {"critical", "low"}
    assert ages.repaired_of_late() == 3
    ages.rotate()
    assert figures(ages, "applied") == figures(ages, "acknowledged") == {}
    assert (ages.repaired_of_late(), ages.repaired_count) == (1, 3)
    ages.rotate()
    assert (ages.repaired_of_late(), ages.repaired_count) == (0, 3)
    assert ages.applied.totals()["critical"].count == ages.acknowledged.totals()["low"].count == 1
