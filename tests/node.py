"""Node for tests: npm packages, installed once in a cache outside of the clone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_S = 200
NODE_MIN = 20


def installed(project: Path) -> Path:
    """`node_modules` with what a folder's package.json names, by its lock file if it has one.

    They stay in `~/.cache` (or XDG_CACHE_HOME), one for each content of these files and version of Node. Skips the
    test, with what mends it, where there is no Node or no registry.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(
            "no node or no npm on the PATH (Debian: apt-get install --no-install-recommends nodejs npm)"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
    if int(re.findall(r"\d+", version)[0]) < NODE_MIN:
        pytest.skip(
            f"node is {version}, {NODE_MIN} or newer is needed: install it from nodejs.org or a newer Debian"
        )
    names = ("package.json", "package-lock.json", ".npmrc")
    files = {name: (project / name).read_bytes() for name in names if (project / name).exists()}
    wanted = hashlib.sha256(b"\0".join(files.values()) + version.encode()).hexdigest()[:16]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "django-update-pipeline"
    cached = caches / f"npm-{wanted}"
    if not cached.exists():
        caches.mkdir(parents=True, exist_ok=True)
        # Installed beside and moved into place, so that two test runs at once don't meet in half a folder.
        fresh = Path(tempfile.mkdtemp(dir=caches, prefix="installing-"))
        try:
            for name, content in files.items():
                (fresh / name).write_bytes(content)
            how = "ci" if "package-lock.json" in files else "install"
            command = [npm, how, "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_S)
            if done.returncode:
                pytest.skip(f"npm {how} failed; is a registry reachable? Try it in {project}:\n{done.stderr}")
            try:
                fresh.rename(cached)
            except OSError:
                assert cached.exists()  # the other test run was quicker
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return cached / "node_modules"
