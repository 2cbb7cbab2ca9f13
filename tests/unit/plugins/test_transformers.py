"""The transformers that come with the package."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline.plugins.transformers import (
    FieldFilterTransformer,
    FrontendStateAdapterTransformer,
)


class Adapter:
    def get_agent_for_frontend(self, agent_id: str) -> dict[str, Any] | None:
        return {"of": agent_id} if agent_id == "known" else None


@pytest.mark.parametrize(
    ("agent_id", "update_type", "expected"),
    [
        ("known", "state_change", {"of": "known"}),
        ("unknown", "state_change", {"n": 1}),
        ("known", "said", {"n": 1}),
        ("known", "state_patch", {"n": 1}),
    ],
)
def test_the_adapter_replaces_full_states_of_agents_it_knows(
    agent_id: str, update_type: str, expected: dict[str, Any]
) -> None:
    assert FrontendStateAdapterTransformer(Adapter()).transform(agent_id, update_type, {"n": 1}) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"a": 1, "b": 2, "c": 3}),
        ({"keep": ["a", "z"]}, {"a": 1}),
        ({"drop": ["a"]}, {"b": 2, "c": 3}),
        ({"keep": ["a", "b"], "drop": ["a"]}, {"b": 2}),
        ({"keep": []}, {}),
        ({"drop": ["a"], "update_types": ["said"]}, {"a": 1, "b": 2, "c": 3}),
        ({"drop": ["a"], "update_types": ["state_change"]}, {"b": 2, "c": 3}),
    ],
)
def test_a_field_filter_keeps_and_drops(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    transformer = FieldFilterTransformer(**arguments)
    assert transformer.transform("agent", "state_change", {"a": 1, "b": 2, "c": 3}) == expected
