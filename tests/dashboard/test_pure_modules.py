"""The modules of the page that need no browser, in Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import django_update_pipeline

MODULES = Path(django_update_pipeline.__file__).parent / "static" / "django_update_pipeline" / "dashboard"
PROGRAM = Path(__file__).with_name("pure.mjs")


def test_the_pure_modules_do_what_they_say(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the PATH (Debian: apt-get install --no-install-recommends nodejs)")
    for module in MODULES.glob("*.js"):
        shutil.copy(module, tmp_path)
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    done = subprocess.run([node, PROGRAM.name], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok: ") == PROGRAM.read_text(encoding="utf-8").count('"() {')
