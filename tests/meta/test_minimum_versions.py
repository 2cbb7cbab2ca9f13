"""The versions we ask for leave out those with known holes that a server of sockets meets.

What is newer than this table knows `tox -e audit`.
"""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

#: A package, versions that must not be taken, the first good one, and what was wrong.
HOLES = [
    (
        "django",
        ["5.2", "5.2.13", "6.0.4"],
        "5.2.14",
        "CVE-2026-33034, CVE-2026-5766: limits of a body passed by",
    ),
    ("django", ["6.0", "6.0.1", "6.0.3"], "6.0.5", "CVE-2026-3902: headers forged by underscores"),
    ("django", ["5.2.1", "5.2.5"], "6.1", "CVE-2025-14550 repeated headers, CVE-2025-48432 forged log lines"),
    (
        "daphne",
        ["4.1.2", "4.2.1"],
        "4.2.2",
        "CVE-2026-44545 frames without limit, CVE-2026-44546 forged headers",
    ),
    ("autobahn", ["24.4.2", "26.6.2"], "26.10.1", "GHSA-hxp9-w8x3-p566: inflated size not limited"),
    ("autobahn", ["26.7.1"], "26.10.2", "CVE-2026-116579: the same for brotli"),
    ("granian", ["2.7.3"], "2.7.4", "CVE-2026-42544: a subprotocol ends the worker"),
    ("channels", ["3.0.2"], "4.2", "CVE-2020-35681: one socket's scope in another's"),
    ("uvicorn", ["0.11.6"], "0.34", "CVE-2020-7694, CVE-2020-7695: forged log lines and headers"),
    (
        "redis",
        ["4.5.3"],
        "5.0",
        "CVE-2023-28858, CVE-2023-28859: another user's reply after a cancelled command",
    ),
    ("websockets", ["4.0", "9.0"], "15.0", "CVE-2018-1000518, CVE-2021-33880"),
]


def requirements() -> dict[str, list[Requirement]]:
    """Everything the project and its groups ask for, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    for group in project["dependency-groups"].values():
        lines += [line for line in group if isinstance(line, str)]
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        requirement = Requirement(line)
        found.setdefault(requirement.name.lower(), []).append(requirement)
    return found


@pytest.mark.parametrize(
    ("name", "bad", "good", "hole"), HOLES, ids=[f"{hole[0]}-{hole[2]}" for hole in HOLES]
)
def test_no_version_with_a_known_hole_is_asked_for(name: str, bad: list[str], good: str, hole: str) -> None:
    asked = requirements()[name]
    for requirement in asked:
        for version in bad:
            assert version not in requirement.specifier, f"{requirement} takes {version}: {hole}"
        assert good in requirement.specifier, f"{requirement} refuses {good}"


def test_the_table_holds_every_package_a_deployment_gets_from_us() -> None:
    """What is asked for and not in the table has no hole on record that concerns us, and says so here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {Requirement(line).name.lower() for line in lines}
    without = {"pluggy", "msgspec", "channels-redis", "django-prometheus", "rich", "django-update-pipeline"}
    assert names - {name for name, *_ in HOLES} <= without | {"django-health-check", "prometheus-client"}
