"""System checks: each finding of the catalogue, what brings it about, and what mends it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import get_commands

from django_update_pipeline import checks, service
from tests.docs.markdown import ROOT

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CROSSING = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": []}}}
PICKLE = "project.serializers.PickleSerializer"
REDIS_CACHE = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://x"}}


def found(*, deploy: bool = False) -> dict[str, CheckMessage]:
    """Our findings by their number."""
    prefix = f"{checks.TAG}."
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=deploy)
    return {str(one.id).removeprefix(prefix): one for one in messages if str(one.id).startswith(prefix)}


#: What brings each finding about: settings (environment in capitals with a $), and a word of its text.
CAUSES: dict[str, tuple[dict[str, Any], str]] = {
    "E001": ({"UPDATE_PIPELINE": {"BATCHING": {"max_batch_size": "5"}}}, "batching.max_batch_size"),
    "E002": ({"UPDATE_PIPELINE": {"PLUGINS": ["no.such"]}}, "no.such"),
    "E003": ({"UPDATE_PIPELINE": {"TRANSPORT": "channels", "CHANNEL_LAYER": "nowhere"}}, "'nowhere'"),
    "E004": ({"SESSION_SERIALIZER": PICKLE}, PICKLE),
    "W001": ({"UPDATE_PIPELINE": {"CONNECTIONS": {"allowed_origins": ["example.com"]}}}, "'example.com'"),
    "W002": ({"$WEB_CONCURRENCY": "4", "UPDATE_PIPELINE": {}}, "4 server processes"),
    "W003": ({"UPDATE_PIPELINE": {"TRANSPORT": "memory"}}, "own process"),
    "W006": ({"UPDATE_PIPELINE": {"TRANSPORT": "channels"}, "CHANNEL_LAYERS": IN_MEMORY}, "in-memory"),
    "W007": (
        {"SESSION_ENGINE": "django.contrib.sessions.backends.cached_db", "CACHES": REDIS_CACHE},
        "CACHES['default']",
    ),
    "W008": ({"ALLOWED_HOSTS": [], "DEBUG": False}, "ALLOWED_HOSTS"),
}


def put(settings: Any, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name.startswith("$"):
            monkeypatch.setenv(name[1:], value)
        else:
            setattr(settings, name, value)


def needs_channels(number: str) -> Any:
    return pytest.param(number, marks=[pytest.mark.channels]) if number in ("E003", "W006") else number


@pytest.mark.parametrize("number", [needs_channels(number) for number in CAUSES])
def test_each_finding_has_its_cause_its_value_and_a_mend(
    number: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, word = CAUSES[number]
    deploy = checks.CATALOGUE[number].deploy
    assert number not in found(), "it is not found where nothing is wrong"
    put(settings, monkeypatch, values)
    message = found(deploy=deploy)[number]
    assert word in message.msg
    assert message.hint
    assert message.is_serious() == number.startswith("E")
    assert (number in found()) is not deploy


def test_every_finding_of_the_catalogue_is_brought_about_here() -> None:
    elsewhere = {"W004", "W005"}  # the tests of runserver below
    assert CAUSES.keys() | elsewhere == checks.CATALOGUE.keys()


@pytest.mark.channels
def test_a_layer_that_crosses_processes_is_no_finding(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "channels"}
    settings.CHANNEL_LAYERS = CROSSING
    monkeypatch.setenv(checks.WORKERS_VARIABLE, "4")
    assert found(deploy=True) == {}


@pytest.mark.parametrize("workers", ["", "1", "many", "-2", "²"])
def test_one_worker_or_none_asked_for_is_no_finding(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(checks.WORKERS_VARIABLE, workers)
    assert "W002" not in found()


def test_a_layer_that_is_named_must_be_there_also_with_auto(settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"CHANNEL_LAYER": "live"}
    assert "E003" in found()


def test_without_channels_its_transport_is_an_error(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "channels"}
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert "pip install" in str(found()["E003"].hint)


@pytest.mark.parametrize("option", ["serializer_format", "serializer"])
def test_a_layer_that_pickles_is_an_error(settings: Any, option: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {**CROSSING["default"], "CONFIG": {option: PICKLE}}}
    assert option in found()["E004"].msg


@pytest.mark.parametrize(
    "caches",
    [
        {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        {"default": {**REDIS_CACHE["default"], "OPTIONS": {"serializer": "project.JSONSerializer"}}},
    ],
)
def test_a_session_cache_nobody_else_writes_or_that_holds_json_is_no_finding(
    settings: Any, caches: Any
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.CACHES = caches
    assert "W007" not in found(deploy=True)


def test_a_debug_server_may_use_memory(settings: Any) -> None:
    settings.DEBUG = True
    assert "W003" not in found(deploy=True)


def test_a_silenced_finding_can_be_named_as_the_hint_says(settings: Any) -> None:
    assert f"'{checks.TAG}.W003'" in str(found(deploy=True)["W003"].hint)


# runserver


@pytest.fixture
def fresh_commands() -> Iterator[None]:
    get_commands.cache_clear()
    yield
    get_commands.cache_clear()


def test_djangos_own_runserver_opens_no_socket(fresh_commands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "W004" not in found(), "only where runserver runs"
    monkeypatch.setattr(sys, "argv", ["manage.py", "runserver"])
    assert "WSGI" in found()["W004"].msg


PROJECT = """
import sys
from django.conf import settings
settings.configure(
    DEBUG=True, SECRET_KEY="x", ROOT_URLCONF="p", ASGI_APPLICATION="django_update_pipeline.asgi.application",
    STATIC_URL="/static/", INSTALLED_APPS={apps!r},
)
urlpatterns = []
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "check", "--tag", "django_update_pipeline"])
"""


@pytest.mark.channels
@pytest.mark.parametrize(
    ("apps", "is_found"),
    [
        (["daphne", "django.contrib.staticfiles", "django_update_pipeline"], False),
        (["django.contrib.staticfiles", "daphne", "django_update_pipeline"], True),
    ],
)
def test_daphne_must_be_first(apps: list[str], is_found: bool, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PROJECT.format(apps=apps))
    result = subprocess.run(
        [sys.executable, "p.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert (f"{checks.TAG}.W005" in result.stderr) is is_found
    assert ("Put 'daphne' first" in result.stderr) is is_found


def test_checks_make_no_pipeline_of_the_process() -> None:
    service.reset_update_pipeline()
    found(deploy=True)
    assert service._pipeline is None
