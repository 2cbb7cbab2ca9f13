"""Importing the package costs no framework: a plain script and a worker that only publishes stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "django",
    "channels",
    "daphne",
    "twisted",
    "asgiref",
    "redis",
    "uvicorn",
    "prometheus_client",
    "rich",
)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after ``statement``."""
    program = (
        f"import sys; before = set(sys.modules); {statement}; import json; "
        "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_importing_the_package_imports_neither_django_nor_channels() -> None:
    assert not loaded_by("import django_update_pipeline") & set(HEAVY)


def test_touching_every_name_that_needs_no_settings_imports_no_django() -> None:
    names = "UpdatePipeline, UpdateMessage, UpdatePriority, CircuitState, hookimpl"
    assert not loaded_by(f"from django_update_pipeline import {names}") & set(HEAVY)


def test_a_bare_pipeline_is_built_without_django() -> None:
    assert not loaded_by("from django_update_pipeline import UpdatePipeline; UpdatePipeline()") & set(HEAVY)


@pytest.mark.parametrize("module", ["core", "exceptions", "runtime", "transports", "plugins"])
def test_the_lower_floors_import_no_framework(module: str) -> None:
    assert not loaded_by(f"import django_update_pipeline.{module}") & set(HEAVY)
