"""The public names, as a file: adding one is a decision, losing one breaks somebody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import django_update_pipeline

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = Path(__file__).with_name("public_api.txt")


def test_the_public_names_are_those_of_the_snapshot() -> None:
    """After a deliberate change, write the new list, one name a line and sorted, to the file."""
    assert sorted(django_update_pipeline.__all__) == SHIPPED.read_text(encoding="utf-8").split()


def test_every_public_name_resolves() -> None:
    """The lazy ones too: what a type checker sees exists at run time."""
    for name in django_update_pipeline.__all__:
        assert getattr(django_update_pipeline, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy front door must answer hasattr() and a misspelt import in the usual way."""
    assert not hasattr(django_update_pipeline, "update_pipelin")


def test_the_package_is_typed() -> None:
    assert (ROOT / "django_update_pipeline" / "py.typed").exists()


def test_star_import_works_without_django_settings() -> None:
    program = "from django_update_pipeline import *; print(UpdatePipeline.__name__)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert result.stdout.strip() == "UpdatePipeline", result.stderr
