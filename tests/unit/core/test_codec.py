"""Encoding: what goes in comes out of JSON.parse, or is refused with its place."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.codec import encode_object, encode_value, join_fields, split_object
from django_update_pipeline.exceptions import InvalidUpdate

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.just("null"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)


@given(objects)
def test_what_is_encoded_is_what_python_reads_back(data):
    """Promise 4: compact JSON, equal after parsing, whatever strings and nulls it holds."""
    text = encode_object(data, "a")
    assert json.loads(text) == data
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode() or any(
        mark in text for mark in (b"e", b"E", b"\\")
    )


@given(objects)
def test_split_and_join_are_inverse(data):
    text = encode_object(data, "a")
    fields = split_object(text)
    assert list(fields) == list(data)
    assert join_fields(fields) == text
    assert all(type(value) is bytes for value in fields.values())


@given(objects, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_a_number_that_browsers_cannot_parse_is_refused_wherever_it_is(data, bad, draw):
    """Promise 4: the encoder writes null for it, and nothing else would tell."""
    spot = data
    path = "data"
    while True:
        inner = [key for key, value in spot.items() if isinstance(value, dict)]
        if not inner or draw.draw(st.booleans()):
            break
        key = draw.draw(st.sampled_from(inner))
        spot, path = spot[key], f"{path}.{key}"
    spot["bad number"] = draw.draw(st.sampled_from([bad, [bad], (1, bad)]))
    with pytest.raises(InvalidUpdate) as caught:
        encode_object(data, "agent_001")
    assert caught.value.path.startswith(f"{path}.bad number")
    assert "agent_001" in str(caught.value)
    assert caught.value.agent_id == "agent_001"


class Number(float): ...


class Text(str):
    __slots__ = ()


class Whole(int): ...


class Colour(enum.Enum):
    RED = "red"
    NONE = math.nan


@dataclasses.dataclass
class Place:
    x: float


class Spot(msgspec.Struct):
    x: float


class Array:
    """Stands for a numpy array or scalar."""

    def __init__(self, value):
        self.value = value

    def tolist(self):
        return self.value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Number(1.5), b"1.5"),
        (Text("x"), b'"x"'),
        (Whole(3), b"3"),
        (Colour.RED, b'"red"'),
        (Place(1.5), b'{"x":1.5}'),
        (Spot(1.5), b'{"x":1.5}'),
        (Array([1, 2.5]), b"[1,2.5]"),
        (collections.UserDict(a=None), b'{"a":null}'),
        (collections.OrderedDict(a=1), b'{"a":1}'),
        ((1, None), b"[1,null]"),
        ({1}, b"[1]"),
        (datetime.date(2026, 1, 2), b'"2026-01-02"'),
        (decimal.Decimal("1.50"), b'"1.50"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (2**53 + 1, b"9007199254740993"),
        (2**64, b"18446744073709551616"),
        ("null", b'"null"'),
        ("\u2028</script>", '"\u2028</script>"'.encode()),
    ],
)
def test_values_beyond_plain_json_that_are_taken(value, text):
    assert encode_object({"f": value}, "a") == b'{"f":' + text + b"}"


@pytest.mark.parametrize(
    "value", [Number("nan"), Place(math.nan), Spot(math.inf), Array([math.nan]), Colour.NONE]
)
def test_not_a_number_is_found_in_values_beyond_plain_json(value):
    with pytest.raises(InvalidUpdate, match=r"data\.f"):
        encode_object({"f": value}, "a")


def test_null_beside_a_value_that_is_unlike_all_others_is_taken():
    assert encode_object({"n": None, "d": datetime.date(2026, 1, 2), "b": b"x"}, "a")


@pytest.mark.parametrize("data", [None, [], "text", 1, b"{}", [("a", 1)], {1, 2}])
def test_data_that_is_no_object_is_refused(data):
    with pytest.raises(InvalidUpdate, match="not a dict") as caught:
        encode_object(data, "agent_001")
    assert caught.value.path == "data"


class Hostile(collections.abc.Mapping):
    """A mapping that fails at a chosen step."""

    def __init__(self, step):
        self.step = step

    def __getitem__(self, key):
        raise ZeroDivisionError("no value")

    def __iter__(self):
        if self.step == "iter":
            raise ZeroDivisionError("no keys")
        return iter(["key"])

    def __len__(self):
        return 1


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"a": object()}, "data.a"),
        ({"a": [1, {"b": object()}]}, "data.a[1].b"),
        ({"a": {"b": "\ud800"}}, "data.a.b"),
        ({"\ud800": 1}, "data (key '\\ud800')"),
        ({"a": {(1, 2): 1}}, "data.a (key (1, 2))"),
        ({"a": {None: 1}}, "data.a (key None)"),
        ({"a": (x for x in [1])}, "data.a"),
        (Hostile("iter"), "data"),
        (Hostile("value"), "data"),
        ({"a": Hostile("iter")}, "data.a"),
        ({"a": Hostile("value")}, "data.a"),
        ({"a": 1 + 2j}, "data.a"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_its_path(data, path):
    """Promise 4: whatever the data's own objects raise comes as InvalidUpdate."""
    with pytest.raises(InvalidUpdate) as caught:
        encode_object(data, "agent_001")
    assert caught.value.path == path
    assert "agent_001" in str(caught.value)
    assert path in str(caught.value)


def test_a_cycle_is_refused():
    data: dict[str, object] = {}
    data["self"] = [data]
    with pytest.raises(InvalidUpdate, match=r"data\.self"):
        encode_object(data, "a")


def nested(depth: int, leaf: object) -> dict[str, object]:
    for _ in range(depth):
        leaf = [leaf]
    return {"deep": leaf}


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 985, 5000])
@pytest.mark.parametrize("leaf", [1, None, object()])
def test_deep_nesting_is_taken_or_refused_but_breaks_nothing(depth, leaf):
    """Near the recursion limit the walk for the bad value may fail where the encoder did not."""
    with contextlib.suppress(InvalidUpdate):
        assert encode_object(nested(depth, leaf), "a").count(b"[") == depth


def test_a_key_that_is_not_a_number_is_found():
    with pytest.raises(InvalidUpdate, match="a key"):
        encode_object({"f": None, math.nan: 1}, "a")


def test_the_agent_is_named_as_it_is_given():
    with pytest.raises(InvalidUpdate, match="12"):
        encode_object(None, 12)


def test_encode_value_takes_any_value():
    assert encode_value([1, "a", None]) == b'[1,"a",null]'


def test_fields_keep_odd_names():
    fields = {'a"b': b"1", "\u00e9\n": b'"x"'}
    assert split_object(join_fields(fields)) == fields


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        (
            [1],
            "data",
            'data of agent \'a\' is list, not a dict: give a JSON object such as {"mood": "happy"}',
        ),
        (
            {"f": object()},
            "data.f",
            "data of agent 'a' can't be encoded as JSON at data.f: objects of type object can't be encoded as JSON",
        ),
        (
            {"f": [math.inf]},
            "data.f[0]",
            "data of agent 'a' holds inf at data.f[0]: browsers can't parse it, send None or leave it out",
        ),
    ],
)
def test_what_the_caller_is_told(data, path, message):
    """Word for word, with the agent and the path as fields."""
    with pytest.raises(InvalidUpdate) as caught:
        encode_object(data, "a")
    assert str(caught.value) == message
    assert (caught.value.agent_id, caught.value.path) == ("a", path)


def test_a_number_in_a_struct_s_own_kind_of_object_is_found():
    """A Struct's fields are looked through as they are encoded, subclasses of float included."""

    class Holder(msgspec.Struct):
        inner: object

    with pytest.raises(InvalidUpdate) as caught:
        encode_object({"f": Holder(Number("nan"))}, "a")
    assert caught.value.path == "data.f.inner"


def test_where_the_walk_itself_gives_up_the_data_is_refused_with_that_word(monkeypatch):
    from django_update_pipeline.core import codec

    def gives_up(value, path):
        raise RecursionError

    monkeypatch.setattr(codec, "_not_finite", gives_up)
    with pytest.raises(InvalidUpdate) as caught:
        encode_object({"f": None}, "a")
    assert str(caught.value) == "data of agent 'a' is nested too deeply: lay it out flatter"
    assert (caught.value.agent_id, caught.value.path) == ("a", "data")


def test_the_search_for_the_bad_value_ends_after_forty_levels():
    data: object = object()
    for _ in range(60):
        data = [data]
    with pytest.raises(InvalidUpdate) as caught:
        encode_object({"f": data}, "a")
    assert caught.value.path == "data.f" + "[0]" * 40


def test_any_mapping_is_an_object():
    assert encode_object(collections.UserDict(a=1), "a") == b'{"a":1}'
