"""The client's own tests, which Node runs: a scripted socket, a clock that stands until it is moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import JS, Node

SUITES = sorted(path.name for path in (JS / "test").glob("*.test.mjs"))


@pytest.mark.parametrize("name", SUITES)
def test_the_clients_logic(node: Node, name: str) -> None:
    printed = node("--test", "--test-reporter=tap", f"test/{name}")
    counts = dict(line[2:].rsplit(" ", 1) for line in printed.splitlines() if line.startswith("# "))
    assert int(counts["pass"]) > 0
    assert counts["pass"] == counts["tests"]
    assert counts["skipped"] == counts["todo"] == "0"


def test_the_sources_pass_the_compiler(client_folder: Path, node: Node) -> None:
    """Strict, and the declarations that the npm package ships."""
    node("node_modules/typescript/bin/tsc", "-p", "tsconfig.json")
    assert (client_folder / "dist" / "mirror.d.ts").exists()
