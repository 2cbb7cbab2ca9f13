"""docs/reference/asyncapi.json is a valid AsyncAPI 3.0 document, and complete in what the code has tables of."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from django_update_pipeline.core.codes import CLOSE_CODES, CODES
from django_update_pipeline.core.frame_types import PROTOCOLS
from django_update_pipeline.core.sync_wire import SUBPROTOCOL
from tests.docs.markdown import ROOT
from tests.node import installed

DOCUMENT: dict[str, Any] = json.loads(
    (ROOT / "docs" / "reference" / "asyncapi.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def specification() -> Draft7Validator:
    """AsyncAPI's own schema of a document: from npm, by tests/meta/asyncapi/package.json."""
    modules = installed(Path(__file__).parent / "asyncapi")
    schema = json.loads(
        (modules / "@asyncapi" / "specs" / "schemas" / "3.0.0.json").read_text(encoding="utf-8")
    )
    return Draft7Validator(schema)


def test_the_document_is_what_asyncapi_asks_for(specification: Draft7Validator) -> None:
    found = [f"{error.json_path}: {error.message[:200]}" for error in specification.iter_errors(DOCUMENT)]
    assert found == []


def test_asyncapis_schema_sees_what_is_wrong(specification: Draft7Validator) -> None:
    for path, wrong in ((("channels", "sync", "adress"), "x"), (("operations", "sync.ack", "action"), "get")):
        broken = copy.deepcopy(DOCUMENT)
        target: Any = broken
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = wrong
        assert not specification.is_valid(broken)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [one for key, item in value.items() if key != "$ref" for one in references(item)]
    return [one for item in value for one in references(item)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        target: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]
    for section, parts in DOCUMENT["components"].items():
        for name in parts:
            assert f"#/components/{section}/{name}" in found, name


def test_each_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
        assert schema["description"], schema["title"]


def test_it_has_the_codes_and_the_protocols() -> None:
    assert DOCUMENT["info"]["x-error-codes"] == dict(CODES)
    assert [one["code"] for one in DOCUMENT["info"]["x-close-codes"]] == [one.code for one in CLOSE_CODES]
    assert list(DOCUMENT["channels"]) == [protocol.name for protocol in PROTOCOLS]
    headers = DOCUMENT["channels"]["sync"]["bindings"]["ws"]["headers"]
    assert headers["properties"]["Sec-WebSocket-Protocol"] == {"const": SUBPROTOCOL}


def test_what_the_server_sends_is_closed() -> None:
    """So that a field that is not described is seen."""
    for protocol in PROTOCOLS:
        for shape in protocol.sent.values():
            schema = DOCUMENT["components"]["schemas"][shape.__name__]
            assert schema["additionalProperties"] is False, shape.__name__
