"""Stalls of a loop by example; laws in tests/property/test_liveness_laws.py."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.liveness import NO_STALL, AwakeClock, Stall, StallMeter


def test_time_goes_on_while_the_thread_ticks():
    clock = AwakeClock(0.25, 100.0, 5.0)
    for tick in range(1, 9):
        clock.tick(100.0 + tick / 4, 5.0)
    assert clock.read(102.0, 5.0) == pytest.approx(2.0)
    assert clock.read(102.2, 5.0) == pytest.approx(2.2)


def test_a_jump_without_work_is_a_process_that_stood_still():
    clock = AwakeClock(0.25, 100.0, 5.0)
    assert clock.read(160.0, 5.001) == pytest.approx(0.375)
    clock.tick(160.0, 5.001)
    assert clock.read(160.1, 5.001) == pytest.approx(0.475)


def test_a_jump_full_of_work_is_a_call_that_lets_no_other_thread_run():
    clock = AwakeClock(0.25, 100.0, 5.0)
    assert clock.read(103.0, 7.9) == pytest.approx(2.9)
    assert clock.read(103.0, 99.0) == pytest.approx(3.0)  # several threads use more than one processor


def test_what_comes_round_in_time_is_no_stall():
    meter = StallMeter(1.0, 60.0)
    meter.ask(10.0)
    assert meter.is_asked
    assert meter.answer(10.9) == NO_STALL
    assert not meter.is_asked
    assert (meter.count, meter.worst(11.0)) == (0, NO_STALL)
    assert meter.lag_s == pytest.approx(0.9)


def test_a_stall_is_told_while_it_is_on_and_a_minute_longer():
    meter = StallMeter(1.0, 60.0)
    meter.ask(10.0)
    meter.saw("radio.py:3 in tune")
    assert meter.worst(10.9) == NO_STALL
    assert meter.worst(12.0) == Stall(2.0, "radio.py:3 in tune", is_on=True)
    assert meter.answer(15.0) == Stall(5.0, "radio.py:3 in tune")
    assert meter.worst(75.0) == Stall(5.0, "radio.py:3 in tune")
    assert meter.worst(75.1) == NO_STALL
    assert (meter.count, meter.total_s) == (1, 5.0)


def test_the_worst_of_several_is_told():
    meter = StallMeter(1.0, 60.0)
    for begun, took in ((0.0, 2.0), (10.0, 4.0), (20.0, 3.0)):
        meter.ask(begun)
        meter.answer(begun + took)
    assert meter.worst(30.0).seconds == 4.0
    meter.ask(30.0)
    assert meter.worst(33.0) == Stall(4.0)
    assert meter.worst(35.0) == Stall(5.0, is_on=True)


def test_the_place_of_an_earlier_stall_is_not_told_of_the_next():
    meter = StallMeter(1.0, 60.0)
    meter.ask(0.0)
    meter.saw("radio.py:3 in tune")
    assert meter.where == "radio.py:3 in tune"
    meter.answer(0.5)
    meter.ask(1.0)
    assert meter.answer(5.0).where == ""


def test_a_question_to_a_loop_that_ended_is_forgotten():
    meter = StallMeter(1.0, 60.0)
    meter.ask(0.0)
    meter.forget()
    assert meter.waits_s(99.0) == 0.0
    assert meter.worst(99.0) == NO_STALL


def test_a_new_meter_has_nothing_to_tell():
    meter = StallMeter(1.0, 60.0)
    assert (meter.count, meter.total_s, meter.lag_s, meter.where, meter.is_asked) == (0, 0.0, 0.0, "", False)
    assert meter.worst(0.0) == NO_STALL


def test_what_reaches_the_limit_is_a_stall():
    meter = StallMeter(1.0, 60.0)
    meter.ask(10.0)
    assert meter.worst(11.0) == Stall(1.0, is_on=True)
    assert meter.answer(11.0) == Stall(1.0)
    meter.ask(20.0)
    meter.answer(22.5)
    assert (meter.count, meter.total_s, meter.lag_s) == (2, 3.5, 2.5)


def test_so_many_stalls_are_kept_and_no_more():
    meter = StallMeter(1.0, 1e9)
    for number in range(64):
        meter.ask(100.0 * number)
        meter.answer(100.0 * number + 64.0 - number / 2)
    assert meter.worst(1e4) == Stall(64.0)
    meter.ask(1e4)
    meter.answer(1e4 + 1.0)
    assert meter.worst(1e4 + 1.0) == Stall(63.5), "the oldest made room"
