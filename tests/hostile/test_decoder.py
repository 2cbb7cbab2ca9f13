"""The strict decoder against the oracle, which reads frames with Python's `json`: one verdict, one value."""

from __future__ import annotations

import random
from collections import Counter

from django_update_pipeline.core.codes import CODES
from django_update_pipeline.core.wire import (
    AgentAction,
    FrameError,
    FrameLimits,
    Ping,
    Subscribe,
    Unsubscribe,
    decode_client_frame,
)

from . import frames, oracle

MAX_BYTES, MAX_DEPTH = 2048, 32
FRAMES = 20_000
#: The codes by which the decoder refuses; the others of the table are the door's.
DECODERS = {
    "frame_too_large",
    "invalid_utf8",
    "invalid_json",
    "too_deep",
    "duplicate_key",
    "number_out_of_range",
    "invalid_frame",
    "unknown_type",
    "unknown_command",
    "invalid_field",
    "too_many_channels",
}


def test_the_decoder_and_the_oracle_agree_on_every_frame() -> None:
    """What one accepts the other accepts, as the same value; what one refuses the other refuses, with its reason."""
    limits, same = FrameLimits(MAX_BYTES, MAX_DEPTH), oracle.Limits(MAX_BYTES, MAX_DEPTH)
    seen: Counter[str] = Counter()
    for seed in range(FRAMES):
        data = frames.frame(random.Random(seed), MAX_BYTES, MAX_DEPTH)
        verdict = oracle.read(data, same)
        code, frame = "accepted", None
        try:
            frame = decode_client_frame(data, limits)
        except FrameError as error:
            code = error.code
        seen[code] += 1
        match frame:
            case None:
                assert "error" in verdict.types, (seed, data, code)
                assert verdict.codes is None or code in verdict.codes, (seed, data, code, verdict)
            case Ping(timestamp):
                assert verdict.types == {"pong"}, (seed, data)
                expected = verdict.value.get("timestamp")
                assert (type(timestamp), timestamp) == (type(expected), expected), (seed, data)
            case Subscribe(channels, malformed) | Unsubscribe(channels, malformed):
                assert verdict.types & {"subscription_confirmed", "unsubscription_confirmed"}, (seed, data)
                assert sorted({*channels, *malformed}) == sorted(set(verdict.value["channels"])), (seed, data)
            case AgentAction(agent_id, action, params):
                expected = verdict.value
                assert (agent_id, action, params) == (
                    expected["agent_id"],
                    expected["action"],
                    expected.get("params", {}),
                ), (seed, data)
            case _:
                assert verdict.codes is not None, (seed, data)
                assert verdict.codes & {"unknown_command", "unknown_type"}, (seed, data)
    assert set(seen) - {"accepted"} == DECODERS
    assert set(CODES) >= DECODERS
    assert min(seen[code] for code in ("accepted", "invalid_json", "invalid_utf8")) > FRAMES / 50
