"""The tutorial's projects, made once for all who follow it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.project import manage, write

TUTORIAL = ROOT / "docs" / "tutorial"


def follow(folder: Path, page: str) -> None:
    for block in blocks(TUTORIAL / f"{page}.md"):
        if block.file:
            write(folder, block)


@pytest.fixture(scope="session")
def _cafe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cafe")
    manage(folder, "-m", "django", "startproject", "mysite", ".")
    manage(folder, "manage.py", "startapp", "board")
    follow(folder, "two-browsers")
    manage(folder, "manage.py", "makemigrations", "board")
    manage(folder, "manage.py", "migrate", "--verbosity", "0")
    return folder


@pytest.fixture
def first_part(_cafe: Path, tmp_path: Path) -> Path:
    """The project at the end of the first part, with an empty database."""
    return shutil.copytree(_cafe, tmp_path / "cafe")


@pytest.fixture
def second_part(first_part: Path) -> Path:
    """The project at the end of the second part, with an empty database."""
    follow(first_part, "a-plugin")
    return first_part
