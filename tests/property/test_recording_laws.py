"""Laws G1 and G2 of recordings."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.recording import (
    RecordedStep,
    Recording,
    RecordingError,
    join_steps,
    parse_movement_file,
    parse_recording,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
activities = texts.filter(lambda text: "@" not in text)
movements = st.fixed_dictionaries(
    {
        "movement": st.lists(st.integers(-999, 999), min_size=2, max_size=2),
        "pronunciatio": texts,
        "description": st.tuples(activities, activities).map(" @ ".join),
        "chat": st.none() | st.lists(st.lists(texts, min_size=2, max_size=2), max_size=3),
    }
)
recordings = st.dictionaries(
    st.integers(0, 99_999), st.dictionaries(texts, movements, max_size=3), max_size=8
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["0", "7", "persona", "meta", "movement", "description", "chat", "curr_time"])
            | texts,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(plain=recordings, order=st.randoms(use_true_random=False))
def test_law_g1_a_recording_holds_what_the_bytes_hold(plain: dict[int, dict[str, dict]], order) -> None:
    """Law G1: steps ascend, nothing is left out or added, whatever the order of the keys."""
    keys = list(plain)
    order.shuffle(keys)
    recording = parse_recording(json.dumps({str(key): plain[key] for key in keys}))
    assert [step.step for step in recording.steps] == sorted(plain)
    for step in recording.steps:
        assert list(step.agents) == list(plain[step.step])
        for name, movement in step.agents.items():
            raw = plain[step.step][name]
            assert list(movement.position) == raw["movement"]
            assert movement.emoji == raw["pronunciatio"]
            assert movement.activity == raw["description"].partition(" @ ")[0]
            chat = movement.chat if movement.chat is None else [list(pair) for pair in movement.chat]
            assert chat == raw["chat"]
    assert recording.update_count == sum(map(len, plain.values()))
    assert set(recording.agents) == {name for agents in plain.values() for name in agents}


@given(plain=recordings)
def test_law_g1_both_forms_say_the_same(plain: dict[int, dict[str, dict]]) -> None:
    """Law G1: a recording split into a file a step is the same recording."""
    whole = parse_recording(json.dumps(plain))
    parts = [parse_movement_file(step, json.dumps({"persona": agents})) for step, agents in plain.items()]
    assert join_steps(parts) == whole


def read(content: str | bytes) -> list[Recording | RecordedStep]:
    """What either reader makes of it; RecordingError is the only error that may come."""
    results: list[Recording | RecordedStep] = []
    refusals: list[str] = []
    for parse in (parse_recording, lambda data, source: parse_movement_file(3, data, source)):
        try:
            results.append(parse(content, "the source"))
        except RecordingError as error:
            refusals.append(str(error))
    assert all(text.startswith("the source") and len(text) < 500 for text in refusals)
    return results


@given(content=st.binary(max_size=60) | st.text(max_size=60))
def test_law_g2_any_bytes_are_read_or_refused(content: str | bytes) -> None:
    """Law G2: no other error gets out."""
    read(content)


@given(value=json_values)
def test_law_g2_any_json_is_read_or_refused(value: object) -> None:
    """Law G2: also where it looks almost right."""
    read(msgspec.json.encode(value))
    read(msgspec.json.encode({"1": {"Ann": value}}))
    read(msgspec.json.encode({"persona": {"Ann": {"movement": [1, 2], "chat": value}}, "meta": value}))
