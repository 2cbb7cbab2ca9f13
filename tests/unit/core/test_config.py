"""Configuration: defaults, and errors that name the path and the mend."""

from __future__ import annotations

import msgspec
import pytest

from django_update_pipeline.core.config import (
    BatchingConfig,
    CircuitBreakerConfig,
    PipelineConfig,
    QueueConfig,
    config_from_mapping,
)
from django_update_pipeline.exceptions import ConfigurationError


def test_an_empty_mapping_is_the_default_configuration():
    assert config_from_mapping({}) == PipelineConfig()


def test_the_defaults_are_those_of_the_contract():
    config = PipelineConfig()
    assert (config.batching.max_batch_size, config.batching.batch_timeout_ms) == (50, 20.0)
    assert config.circuit_breaker == CircuitBreakerConfig(
        failure_threshold=5, recovery_timeout=30.0, half_open_max_calls=3
    )
    assert config.retry.max_retries == 3
    assert (config.queue.max_events, config.queue.overflow) == (10_000, "reject")
    assert (config.queue.max_agents, config.queue.max_update_bytes) == (100_000, 1024 * 1024)
    assert config.store.max_events == 10_000
    limits = config.connections
    assert (limits.max_frame_bytes, limits.max_depth, limits.max_subscriptions) == (64 * 1024, 32, 100)
    assert (limits.messages_per_s, limits.burst, limits.max_rate_limited) == (100.0, 200, 100)


def test_section_names_may_be_written_in_capitals_as_settings_are():
    config = config_from_mapping(
        {"BATCHING": {"batch_timeout_ms": 5}, "PLUGINS": ["a.b"], "TRANSPORT": "memory"}
    )
    assert config.batching == BatchingConfig(batch_timeout_ms=5.0)
    assert config.plugins == ("a.b",)


def test_a_section_can_be_built_by_itself():
    assert config_from_mapping({"max_events": 1}, QueueConfig) == QueueConfig(max_events=1)


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"BATCHNG": {}}, "the top level", "known names there: batching"),
        ({"BATCHING": {"max_size": 1}}, "batching", "max_size"),
        ({"BATCHING": {"max_batch_size": 0}}, "batching.max_batch_size", ">= 1"),
        ({"BATCHING": {"max_batch_size": True}}, "batching.max_batch_size", "bool"),
        ({"BATCHING": {"max_batch_size": "50"}}, "batching.max_batch_size", "str"),
        ({"BATCHING": {"batch_timeout_ms": -1}}, "batching.batch_timeout_ms", ">= 0"),
        ({"BATCHING": {"batch_timeout_ms": float("nan")}}, "batching.batch_timeout_ms", ""),
        ({"CIRCUIT_BREAKER": {"recovery_timeout": 0}}, "circuit_breaker.recovery_timeout", "> 0"),
        ({"CIRCUIT_BREAKER": {"recovery_timeout": float("nan")}}, "circuit_breaker.recovery_timeout", "> 0"),
        ({"RETRY": {"max_retries": -1}}, "retry.max_retries", ">= 0"),
        ({"QUEUE": {"overflow": "block"}}, "queue.overflow", "block"),
        ({"DEFAULT_CHANNEL": "a b"}, "default_channel", "regex"),
        ({"DEFAULT_CHANNEL": "a\n"}, "default_channel", "regex"),
        ({"OPEN_CHANNELS": ["ok", "x" * 91]}, "open_channels[1]", "regex"),
        ({"BATCHING": None}, "batching", "null"),
        ({1: 2}, "1", "not a string"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_path(values, path, words):
    with pytest.raises(ConfigurationError) as caught:
        config_from_mapping(values)
    assert caught.value.path == path
    assert words in str(caught.value)


def test_one_name_in_two_spellings_is_refused():
    """Otherwise one of them would win in silence."""
    with pytest.raises(ConfigurationError, match="twice"):
        config_from_mapping({"BATCHING": {"max_batch_size": 1}, "batching": {"max_batch_size": 2}})


def test_a_configuration_is_frozen():
    with pytest.raises(AttributeError):
        PipelineConfig().transport = "redis"  # type: ignore[misc]


def test_every_number_has_a_lower_bound():
    """Everything is bounded: no limit may be switched to a negative number by accident."""
    for section in msgspec.structs.fields(PipelineConfig):
        if not isinstance(section.default, msgspec.Struct):
            continue
        kind = type(section.default)
        for field in msgspec.structs.fields(kind):
            if type(field.default) in (int, float):
                with pytest.raises(ConfigurationError):
                    config_from_mapping({field.name: type(field.default)(-1)}, kind)


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        (
            {"BATCHING": {"max_batch_size": "50"}},
            "batching.max_batch_size",
            "UPDATE_PIPELINE is wrong at batching.max_batch_size: Expected `int`, got `str`",
        ),
        (
            {"BATCHING": {}, "batching": {}},
            "batching",
            "UPDATE_PIPELINE has 'batching' twice, in two spellings: keep one",
        ),
        ({1: 2}, "1", "setting name 1 is not a string"),
    ],
)
def test_what_is_told_of_a_wrong_setting(values, path, message):
    """Word for word, with the path as a field."""
    with pytest.raises(ConfigurationError) as caught:
        config_from_mapping(values)
    assert (str(caught.value), caught.value.path) == (message, path)


def test_an_unknown_name_at_the_top_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError) as caught:
        config_from_mapping({"TRANSPROT": "memory"})
    known = ", ".join(sorted(field.name for field in msgspec.structs.fields(PipelineConfig)))
    assert str(caught.value) == (
        "UPDATE_PIPELINE is wrong at the top level: Object contains unknown field `transprot`; "
        f"known names there: {known}"
    )
    assert caught.value.path == "the top level"
    with pytest.raises(ConfigurationError) as caught:
        config_from_mapping({"BATCHING": {"max_batch": 1}})
    assert "known names there" not in str(caught.value)


def test_names_inside_a_section_are_written_in_small_letters():
    with pytest.raises(ConfigurationError):
        config_from_mapping({"BATCHING": {"MAX_BATCH_SIZE": 1}})


def test_nothing_is_taken_for_what_it_is_not():
    """A text that looks like a number is a text."""
    for values in ({"STOP_TIMEOUT_S": "1"}, {"ON_COMMIT": 1}, {"ON_COMMIT": "true"}):
        with pytest.raises(ConfigurationError):
            config_from_mapping(values)


def test_a_section_by_itself_takes_its_names_as_they_are():
    assert config_from_mapping({"max_batch_size": 7}, BatchingConfig).max_batch_size == 7
    with pytest.raises(ConfigurationError, match="MAX_BATCH_SIZE"):
        config_from_mapping({"MAX_BATCH_SIZE": 7}, BatchingConfig)
