"""The tables of codes hold what the protocol lets them hold."""

from __future__ import annotations

import re

from django_update_pipeline.core.codes import CLOSE_CODES, CODES


def test_close_codes_are_applications_own_and_each_is_there_once():
    """RFC 6455 section 7.4.2 leaves 4000 to 4999 to applications."""
    assert all(4000 <= close.code <= 4999 for close in CLOSE_CODES)
    assert (
        len({close.code for close in CLOSE_CODES})
        == len({close.name for close in CLOSE_CODES})
        == len(CLOSE_CODES)
    )


def test_a_close_reason_fits_a_control_frame():
    """RFC 6455 section 5.5: 125 bytes, two of them the code."""
    assert all(0 < len(close.reason.encode()) <= 123 for close in CLOSE_CODES)


def test_the_codes_the_protocol_names_mean_what_it_says():
    by_code = {close.code: close for close in CLOSE_CODES}
    assert by_code[4008].name == "rate_limited"
    assert not by_code[4403].reconnect
    assert by_code[4010].reconnect
    assert {"rate_limited", "invalid_json", "frame_too_large", "unknown_type", "invalid_field"} <= set(CODES)


def test_error_codes_are_words_and_each_has_its_sentence():
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", code)
        assert meaning.endswith(".")
