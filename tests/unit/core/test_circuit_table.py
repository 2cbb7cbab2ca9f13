"""The breaker's table: complete, and with the cells that matter spelled out."""

from __future__ import annotations

import itertools

import pytest

from django_update_pipeline.core.circuit_table import TABLE, BreakerEvent, CircuitState, Effect

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def test_the_table_has_a_cell_for_every_state_with_every_event():
    assert set(TABLE) == set(itertools.product(CircuitState, BreakerEvent))


def test_every_effect_is_used():
    assert {cell.effect for cell in TABLE.values()} == set(Effect)


def test_the_table_can_not_be_changed():
    with pytest.raises(TypeError):
        TABLE[CLOSED, BreakerEvent.SUCCESS] = TABLE[OPEN, BreakerEvent.SUCCESS]  # type: ignore[index]


def test_the_moves_between_states_are_exactly_these():
    moves = {
        (before, event, cell.after) for (before, event), cell in TABLE.items() if before is not cell.after
    }
    assert moves == {
        (CLOSED, BreakerEvent.THRESHOLD_REACHED, OPEN),
        (OPEN, BreakerEvent.RECOVERY_DUE, HALF_OPEN),
        (HALF_OPEN, BreakerEvent.FAILURE, OPEN),
        (HALF_OPEN, BreakerEvent.TRIALS_PASSED, CLOSED),
        (CLOSED, BreakerEvent.FORCED_OPEN, OPEN),
        (HALF_OPEN, BreakerEvent.FORCED_OPEN, OPEN),
        (OPEN, BreakerEvent.FORCED_CLOSED, CLOSED),
        (HALF_OPEN, BreakerEvent.FORCED_CLOSED, CLOSED),
        (CLOSED, BreakerEvent.ASSIGNED_OPEN, OPEN),
        (CLOSED, BreakerEvent.ASSIGNED_HALF_OPEN, HALF_OPEN),
        (OPEN, BreakerEvent.ASSIGNED_CLOSED, CLOSED),
        (OPEN, BreakerEvent.ASSIGNED_HALF_OPEN, HALF_OPEN),
        (HALF_OPEN, BreakerEvent.ASSIGNED_CLOSED, CLOSED),
        (HALF_OPEN, BreakerEvent.ASSIGNED_OPEN, OPEN),
    }


def test_the_gaps_are_exactly_these():
    gaps = {key for key, cell in TABLE.items() if cell.effect is Effect.IMPOSSIBLE}
    assert gaps == {
        (CLOSED, BreakerEvent.RECOVERY_DUE),
        (CLOSED, BreakerEvent.TRIALS_PASSED),
        (OPEN, BreakerEvent.THRESHOLD_REACHED),
        (OPEN, BreakerEvent.TRIALS_PASSED),
        (HALF_OPEN, BreakerEvent.THRESHOLD_REACHED),
        (HALF_OPEN, BreakerEvent.RECOVERY_DUE),
    }
    assert all(TABLE[key].after is key[0] for key in gaps)


@pytest.mark.parametrize("event", [BreakerEvent.SUCCESS, BreakerEvent.FAILURE])
def test_a_late_result_is_counted_apart(event):
    assert TABLE[OPEN, event].effect is Effect.COUNT_LATE
