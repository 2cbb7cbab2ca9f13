"""docs/reference/asyncapi.json against a real server: each frame of each kind is valid, and broken ones are not."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from django_update_pipeline.core.frame_types import PROTOCOLS
from tests.docs.markdown import ROOT
from tests.servers.kinds import KINDS
from tests.servers.running import make_people, serve

from .conversations import PIPELINE, Record, record

DOCUMENT = json.loads((ROOT / "docs" / "reference" / "asyncapi.json").read_text(encoding="utf-8"))
URI = "urn:asyncapi"
REGISTRY: Any = Registry().with_resource(URI, DRAFT7.create_resource(DOCUMENT))

MEND = "describe it in django_update_pipeline/core/frame_types, then run: python docs/tables.py --write"

#: Errors that the conversations ask for are in the log, and no trouble.
KIND = dataclasses.replace(
    KINDS[0], noise=((r"^ERROR django_update_pipeline[^\n]*", "plugins fail on purpose"),)
)


def resolved(value: Any) -> Any:
    """What a reference within the document points at."""
    while isinstance(value, dict) and "$ref" in value:
        target: Any = DOCUMENT
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        value = target
    return value


def validator(schema: dict[str, Any]) -> Draft7Validator:
    """Of a schema in the document: its references lead into the document."""
    absolute = json.loads(json.dumps(schema).replace('"$ref": "#', f'"$ref": "{URI}#'))
    return Draft7Validator(absolute, registry=REGISTRY)


def message(protocol: str, kind: str) -> dict[str, Any] | None:
    messages = DOCUMENT["channels"][protocol]["messages"]
    found: dict[str, Any] | None = resolved(messages[kind]) if kind in messages else None
    return found


def faults(one: Record, frame: Any = None) -> list[str]:
    """Why a frame is not what the document says."""
    described = message(one.protocol, one.kind)
    if described is None:
        return [f"no message {one.kind} on {one.protocol}: {MEND}"]
    errors = validator(described["payload"]).iter_errors(one.frame if frame is None else frame)
    found = [
        f"{one.protocol}.{one.kind} at {error.json_path}: {error.message[:300]}; {MEND}" for error in errors
    ]
    if "headers" in described:
        found += [error.message for error in validator(described["headers"]).iter_errors(one.fields)]
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    people = make_people(tmp_path_factory.mktemp("people"))
    with serve(KIND, tmp_path_factory.mktemp("served"), people, pipeline=PIPELINE) as running:
        return asyncio.run(record(running))


@pytest.mark.parametrize("protocol", [protocol.name for protocol in PROTOCOLS])
def test_every_frame_is_what_the_document_says(records: list[Record], protocol: str) -> None:
    found = [
        fault for one in records if one.protocol == protocol and not one.is_wrong for fault in faults(one)
    ]
    assert not found, "\n".join(dict.fromkeys(found))


def test_what_a_client_says_wrong_the_document_does_not_allow(records: list[Record]) -> None:
    wrong = [one for one in records if one.is_wrong]
    assert {one.protocol for one in wrong} == {"classic", "sync", "admin"}
    assert [one.frame for one in wrong if not faults(one)] == []


@pytest.mark.parametrize("is_of_client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_the_kinds_met_are_those_of_the_document(
    records: list[Record], protocol: Any, is_of_client: bool
) -> None:
    met = {
        one.kind
        for one in records
        if one.protocol == protocol.name and one.is_of_client == is_of_client and not one.is_wrong
    }
    operations = [
        one for one in DOCUMENT["operations"].values() if one["channel"]["$ref"].endswith(f"/{protocol.name}")
    ]
    taken = {
        ref["$ref"].rsplit("/", 1)[1]
        for one in operations
        if one["action"] == "receive"
        for ref in one["messages"]
    }
    told = set(DOCUMENT["channels"][protocol.name]["messages"]) - taken
    assert met == (taken if is_of_client else told)


def properties(schema: Any, value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The schemas' properties that a valid value has, as (schema, property)."""
    schema = resolved(schema)
    name = schema.get("title", name)
    for branch in schema.get("anyOf", ()):
        if validator(branch).is_valid(value):
            yield from properties(branch, value, name)
            return
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for key, one in value.items():
            if key in known:
                yield name, key
                yield from properties(known[key], one, f"{name}.{key}")
            elif isinstance(schema.get("additionalProperties"), dict):
                yield from properties(schema["additionalProperties"], one, name)
    elif isinstance(value, list):
        for one in value:
            yield from properties(schema.get("items", {}), one, name)


def test_every_field_that_the_server_may_send_was_seen(records: list[Record]) -> None:
    """So the document promises no field that is not there, and the conversations leave no case out."""
    seen: set[tuple[str, str]] = set()
    for one in records:
        if not one.is_of_client:
            described = message(one.protocol, one.kind)
            assert described is not None
            seen.update(properties(described["payload"], one.frame))
    reached = {name for name, _ in seen}
    declared = {
        (name, key)
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if name in reached
        for key in schema.get("properties", {})
    }
    assert declared - seen == NOT_SEEN


#: What no conversation brings about, each with the reason.
NOT_SEEN: set[tuple[str, str]] = {
    ("StreamSync", "urgent"),  # a stream waits for no acknowledgement, so its parts are written in one go
}


def mutants(frame: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server's frame with one thing wrong: a field missing, unknown, or of another type; and in what it holds."""
    for key in schema["required"]:
        yield f"without {key}", {name: one for name, one in frame.items() if name != key}
    yield "with a field that is not described", {**frame, "surprise": 1}
    for key, one in frame.items():
        yield f"with another type of {key}", {**frame, key: [[]] if isinstance(one, dict) else {"a": []}}
    for key, held in (
        ("check", frame.get("check")),
        ("agents", frame.get("agents")),
        ("events", frame.get("events")),
    ):
        inner = copy.deepcopy(held)
        if inner:
            target = inner if key == "check" else inner[0] if key == "events" else next(iter(inner.values()))
            target["surprise"] = 1
            yield f"with a field that is not described in {key}", {**frame, key: inner}


def test_broken_frames_of_a_server_are_not_what_the_document_says(records: list[Record]) -> None:
    by_kind: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for one in records:
        if not one.is_of_client:
            by_kind[one.protocol, one.kind].append(one)
    count = 0
    for (protocol, kind), several in by_kind.items():
        described = message(protocol, kind)
        assert described is not None
        largest = max(several, key=lambda one: len(one.frame))
        for what, frame in mutants(largest.frame, resolved(described["payload"])):
            count += 1
            assert faults(largest, frame), f"{protocol}.{kind} {what} passes"
    assert count > 200
