"""Recordings by example; laws in tests/property/test_recording_laws.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from django_update_pipeline.core.recording import (
    AgentMovement,
    Place,
    RecordedStep,
    Recording,
    RecordingError,
    join_steps,
    parse_movement_file,
    parse_place,
    parse_recording,
)
from django_update_pipeline.exceptions import UpdatePipelineError

ISABELLA = {
    "movement": [73, 14],
    "pronunciatio": "\N{HOT BEVERAGE}",
    "description": "opening the cafe @ the Ville:Hobbs Cafe:cafe:behind the counter",
    "chat": None,
}
MARIA = {
    "movement": [76, 20],
    "pronunciatio": "\N{SPEECH BALLOON}",
    "description": "conversing about lunch @ noon @ <persona> Isabella Rodriguez",
    "chat": [["Maria Lopez", "Good morning!"], ["Isabella Rodriguez", "Hi, Maria."]],
}


def test_the_one_file_form_is_read():
    content = json.dumps({"10": {"Maria Lopez": MARIA}, "0": {"Isabella Rodriguez": ISABELLA}, "2": {}})
    recording = parse_recording(content, "demo.json")
    assert [step.step for step in recording.steps] == [0, 2, 10]
    assert recording.steps[0] == RecordedStep(
        0,
        {
            "Isabella Rodriguez": AgentMovement(
                (73, 14),
                "\N{HOT BEVERAGE}",
                "opening the cafe",
                Place("the Ville", "Hobbs Cafe", "cafe", "behind the counter"),
                None,
            )
        },
    )
    assert recording.steps[1].agents == {}
    maria = recording.steps[2].agents["Maria Lopez"]
    assert maria.activity == "conversing about lunch @ noon"
    assert maria.place == Place(with_agent="Isabella Rodriguez")
    assert maria.chat == (("Maria Lopez", "Good morning!"), ("Isabella Rodriguez", "Hi, Maria."))
    assert recording.agents == ("Isabella Rodriguez", "Maria Lopez")
    assert recording.update_count == 2
    assert recording.source == "demo.json"


def test_an_empty_recording_has_no_steps():
    assert parse_recording(b"{}") == Recording(())


def test_the_one_file_a_step_form_is_read():
    meta = {"curr_time": "February 13, 2023, 00:00:10"}
    content = json.dumps({"persona": {"Maria Lopez": MARIA}, "meta": meta})
    step = parse_movement_file(7, content.encode())
    assert step.step == 7
    assert step.simulated_time == "February 13, 2023, 00:00:10"
    assert step.agents["Maria Lopez"].position == (76, 20)


def test_a_step_file_that_is_no_object_is_refused_as_a_whole():
    with pytest.raises(
        RecordingError, match=r"^movement/7\.json, step 7: must be an object, found a list$"
    ) as caught:
        parse_movement_file(7, b"[]", "movement/7.json")
    assert (caught.value.step, caught.value.field) == (7, ""), "no field of it is to blame"


@pytest.mark.parametrize("meta", [{}, {"meta": {}}, {"meta": None}, {"meta": {"curr_time": None}}])
def test_the_meta_part_may_be_missing(meta):
    assert parse_movement_file(0, json.dumps({"persona": {}, **meta})).simulated_time == ""


def test_only_the_position_is_required():
    step = parse_movement_file(0, b'{"persona": {"a": {"movement": [1.5, -2]}}}')
    assert step.agents == {"a": AgentMovement((1.5, -2))}


def test_steps_in_any_order_are_joined():
    first, second = (parse_movement_file(n, b'{"persona": {}}') for n in (1, 2))
    assert join_steps([second, first], "movement/").steps == (first, second)
    with pytest.raises(RecordingError, match=r"^movement/, step 2: the step occurs twice$"):
        join_steps([second, first, second], "movement/")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("the Ville:Hobbs Cafe:cafe:piano", Place("the Ville", "Hobbs Cafe", "cafe", "piano")),
        ("the Ville:Oak Hill College:hallway:<random>", Place("the Ville", "Oak Hill College", "hallway")),
        ("the Ville:Johnson Park", Place("the Ville", "Johnson Park")),
        ("a:b:c:d:e", Place("a", "b", "c", "d:e")),
        ("<persona> Klaus Mueller", Place(with_agent="Klaus Mueller")),
        ("<waiting> 12 34", Place()),
        ("", Place()),
    ],
)
def test_an_address_is_taken_apart(address, place):
    assert parse_place(address) == place


def test_a_description_without_a_place_is_the_activity():
    step = parse_movement_file(0, b'{"persona": {"a": {"movement": [1, 2], "description": "idle"}}}')
    assert (step.agents["a"].activity, step.agents["a"].place) == ("idle", Place())


def agent(**fields: object) -> dict[str, object]:
    return {"5": {"Ann": {"movement": [1, 2], **fields}}}


@pytest.mark.parametrize(
    ("value", "step", "field", "problem"),
    [
        ([], None, "", "must be an object, found a list"),
        (None, None, "", "must be an object, found null"),
        ({"one": {}}, None, "", "the top level must map step numbers to agents, found the key 'one'"),
        ({"-1": {}}, None, "", "found the key '-1'"),
        ({"٣": {}}, None, "", "the top level must map step numbers"),
        ({"1\n": {}}, None, "", "the top level must map step numbers"),
        ({"persona": {}}, None, "", "one file a step is read with parse_movement_file"),
        ({"5": {}, "05": {}}, 5, "", "the step occurs twice, the second time as '05'"),
        ({"5": 3}, 5, "", "must be an object, found the number 3"),
        ({"5": {"Ann": "x"}}, 5, "Ann", "must be an object, found the text 'x'"),
        ({"5": {"Ann": {}}}, 5, "Ann", "the key 'movement' is missing; an agent's step has movement, "),
        (
            agent(movement=[1]),
            5,
            "Ann.movement",
            "must be two numbers [x, y] of at most a billion, found [1]",
        ),
        (agent(movement=[10**400, 2]), 5, "Ann.movement", "must be two numbers"),
        (agent(movement=[1, -1.1e9]), 5, "Ann.movement", "found [1, -1100000000.0]"),
        (agent(movement=[True, 2]), 5, "Ann.movement", "found [True, 2]"),
        (agent(movement="1,2"), 5, "Ann.movement", "found the text '1,2'"),
        (agent(pronunciatio=1.5), 5, "Ann.pronunciatio", "must be a text or null, found the number 1.5"),
        (agent(description=False), 5, "Ann.description", "found false"),
        (agent(description=True), 5, "Ann.description", "found true"),
        (agent(chat="hi"), 5, "Ann.chat", "must be null or a list of [speaker, line] pairs, found the text"),
        (agent(chat={}), 5, "Ann.chat", "found an object"),
        (agent(chat=[["a", "b"], ["a"]]), 5, "Ann.chat[1]", "must be a [speaker, line] pair of texts"),
        (agent(chat=[["a", 1]]), 5, "Ann.chat[0]", "found ['a', 1]"),
    ],
)
def test_an_error_names_source_step_and_field(value, step, field, problem):
    with pytest.raises(RecordingError) as caught:
        parse_recording(json.dumps(value), "demo.json")
    assert (caught.value.source, caught.value.step, caught.value.field) == ("demo.json", step, field)
    where = ", ".join(part for part in ("demo.json", step is not None and f"step {step}", field) if part)
    assert str(caught.value).startswith(f"{where}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"0": ', "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b'"\\ud800"', "no valid JSON"),
        ("\ud800", "no valid JSON"),
        (b"NaN", "no valid JSON"),
        (b"", "no valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(content, problem):
    with pytest.raises(RecordingError, match=f"^demo.json: {problem}"):
        parse_recording(content, "demo.json")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{}", "file 3, step 3: the key 'persona' is missing"),
        (b'{"0": {}}', "a file with all steps is read with parse_recording"),
        (b'{"persona": []}', "file 3, step 3: must be an object, found a list"),
        (b'{"persona": {}, "meta": 1}', "file 3, step 3, meta: must be an object"),
        (b'{"persona": {}, "meta": {"curr_time": 1}}', "file 3, step 3, meta.curr_time: must be a text"),
        (b"{", "file 3, step 3: no valid JSON"),
    ],
)
def test_a_wrong_movement_file_is_refused(content, problem):
    with pytest.raises(RecordingError) as caught:
        parse_movement_file(3, content, "file 3")
    assert problem in str(caught.value)


def test_the_error_is_one_of_ours_and_a_value_error():
    assert issubclass(RecordingError, UpdatePipelineError)
    assert issubclass(RecordingError, ValueError)


def recorded_file() -> Path | None:
    """The Smallville recording, which the project does not contain."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("UPDATE_PIPELINE_DATA", beside))
    path = folder / "smallville_movement.json"
    return path if path.is_file() else None


def test_a_real_recording_is_read_whole():
    path = recorded_file()
    if path is None:
        pytest.skip("needs ../shared/data/smallville_movement.json, or UPDATE_PIPELINE_DATA with its folder")
    recording = parse_recording(path.read_bytes(), path.name)
    assert len(recording.steps) == 8655
    assert recording.update_count == 4532
    assert recording.agents == ("Klaus Mueller", "Isabella Rodriguez", "Maria Lopez")
    movements = [movement for step in recording.steps for movement in step.agents.values()]
    assert sum(movement.chat is not None for movement in movements) == 80
    assert all(movement.activity and movement.emoji for movement in movements)
    assert {movement.place.world for movement in movements if not movement.place.with_agent} == {"the Ville"}


def test_joined_steps_say_where_they_come_from():
    assert join_steps([], "movement/").source == "movement/"
    assert join_steps([]).source == "recording"


def test_what_is_no_place_has_none_whatever_follows():
    assert parse_place("<waiting> 12:34") == Place()


TOP = "the top level must map step numbers to agents, found the key"


@pytest.mark.parametrize(
    ("read", "message", "step"),
    [
        (
            lambda: parse_recording('{"persona": {}}', "r.json"),
            f"r.json: {TOP} 'persona'; one file a step is read with parse_movement_file",
            None,
        ),
        (
            lambda: parse_recording('{"meta": {}}'),
            f"recording: {TOP} 'meta'; one file a step is read with parse_movement_file",
            None,
        ),
        (lambda: parse_recording('{"other": {}}'), f"recording: {TOP} 'other'", None),
        (
            lambda: parse_movement_file(3, '{"1": {}}'),
            "movement file, step 3: the key 'persona' is missing; a file with all steps is read with parse_recording",
            3,
        ),
        (
            lambda: parse_movement_file(3, '{"other": {}}', "3.json"),
            "3.json, step 3: the key 'persona' is missing",
            3,
        ),
        (
            lambda: parse_movement_file(3, "[]", "3.json"),
            "3.json, step 3: must be an object, found a list",
            3,
        ),
        (lambda: parse_movement_file(3, "[" * 100_000), "movement file, step 3: nested too deeply", 3),
        (
            lambda: parse_movement_file(3, '{"persona": {"%s": 3}}' % ("x" * 200)),
            f"movement file, step 3, {'x' * 120}: must be an object, found the number 3",
            3,
        ),
    ],
)
def test_what_is_told_of_a_file_that_is_no_recording(read, message, step):
    """Word for word: the source, the step, the place and the mend."""
    with pytest.raises(RecordingError) as caught:
        read()
    assert str(caught.value) == message
    assert caught.value.step == step


@pytest.mark.parametrize(("x", "is_taken"), [(1e9, True), (-1e9, True), (1e9 + 1, False)])
def test_the_farthest_tile_is_still_a_place(x, is_taken):
    text = f'{{"persona": {{"a": {{"movement": [{x!r}, 0], "pronunciatio": "", "description": "", "chat": null}}}}}}'
    if is_taken:
        assert parse_movement_file(1, text).agents
    else:
        with pytest.raises(RecordingError, match="movement"):
            parse_movement_file(1, text)
