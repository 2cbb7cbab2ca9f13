"""The distributions: what the wheel and the sdist hold, and a program run from the wheel alone, elsewhere.

Run by ``tox -e wheel``; the build uses the environment's own setuptools, the installation its package index.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "django_update_pipeline"

PROGRAM = """
import asyncio, pathlib, sys
import django_update_pipeline
from django_update_pipeline import UpdatePipeline, UpdatePriority

home = pathlib.Path(django_update_pipeline.__file__).resolve()
assert home.is_relative_to(pathlib.Path(sys.prefix).resolve()), home
assert "django" not in sys.modules

class Socket:
    def __init__(self):
        self.frames = []
    async def send(self, text):
        self.frames.append(text)

async def main():
    socket = Socket()
    async with UpdatePipeline() as pipeline:
        assert await pipeline.register_websocket("c1", socket)
        pipeline.queue_agent_update(
            agent_id="agent_001",
            update_type="state_change",
            data={"mood": 0.5},
            priority=UpdatePriority.NORMAL,
        )
        async with asyncio.timeout(10):
            while not any("agent_001" in frame for frame in socket.frames):
                await asyncio.sleep(0.01)

asyncio.run(main())
print("delivered")
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run ``command`` without this environment's Python variables; its output, or a failure that shows it."""
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "DJANGO", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist; the wheel is built from the sdist, as an index's users get it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def source_files() -> set[str]:
    """Every file of the package in the clone that users must get, as paths below the clone."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    """A template or static file that no pattern of setup.cfg matches would be missing only for users."""
    with zipfile.ZipFile(distributions[0]) as archive:
        names = set(archive.namelist())
    ours = {name for name in names if name.startswith(f"{PACKAGE}/")}
    assert ours == source_files()
    assert f"{PACKAGE}/py.typed" in ours
    # The list is the tree's own; that the tree has each kind of file is said here.
    for kind in (".py", ".html", ".js", ".css"):
        assert any(name.endswith(kind) for name in ours), kind
    assert f"{PACKAGE}/migrations/__init__.py" in ours
    assert all(".dist-info/" in name for name in names - ours)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_states_its_licence_python_and_extras(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    assert "License-Expression: MIT" in lines
    assert "Requires-Python: >=3.11" in lines
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra: ")}
    assert extras == {"channels", "redis", "prometheus", "uvicorn", "all"}
    required = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    core = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in required if "extra ==" not in line}
    assert core == {"Django", "pluggy", "msgspec"}


def test_an_index_would_take_both(distributions: tuple[Path, Path]) -> None:
    """The metadata is whole and the description renders."""
    said = run(
        sys.executable, "-m", "twine", "check", "--strict", *distributions, cwd=distributions[0].parent
    )
    assert said.count("PASSED") == 2, said


def test_the_sdist_holds_the_tests_the_example_and_the_benchmarks(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert source_files() <= names
    for wanted in (
        "tests/conftest.py",
        "benchmarks/yardstick_app.py",
        "tox.ini",
        "setup.cfg",
        "LICENSE",
        "dev.py",
        "example_project/manage.py",
        "tests/fuzz/corpus/decoder/ping",
        "tests/mutation/survivors.toml",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".sqlite3")]


def test_a_program_runs_from_the_wheel_in_an_empty_folder(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    """Core dependencies only, a virtual environment of its own, nothing of the clone in reach."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        distributions[0],
        cwd=tmp_path,
    )
    work = tmp_path / "empty"
    work.mkdir()
    (work / "program.py").write_text(PROGRAM, encoding="utf-8")
    assert run(python, "-W", "error", "program.py", cwd=work).strip().endswith("delivered")
    installed = run(python, "-m", "pip", "list", "--format=freeze", cwd=work).lower()
    assert "channels" not in installed


VIEWER = """
import asyncio, json, sys
import websockets

async def main(port):
    for _ in range(300):
        try:
            async with websockets.connect(f"ws://127.0.0.1:{port}/ws/dating_show/") as ws:
                kinds = [json.loads(await ws.recv())["type"] for _ in range(5)]
                print(" ".join(kinds))
                return
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("the demo does not serve")

asyncio.run(main(int(sys.argv[1])))
"""


def test_the_demo_of_the_sdist_runs_on_the_installed_wheel(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    """As the README says, but with the wheel in place of the clone: a viewer is shown the villa."""
    with tarfile.open(distributions[1]) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 has it
        archive.extractall(tmp_path / "sdist", **safely)
    (root,) = (tmp_path / "sdist").iterdir()
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(
        python,
        *install,
        f"django-update-pipeline[channels,uvicorn] @ {distributions[0].as_uri()}",
        cwd=tmp_path,
    )
    demo = tmp_path / "demo"  # away from the package's sources
    (root / "example_project").rename(demo)
    where = run(python, "-c", "import django_update_pipeline as p; print(p.__file__)", cwd=demo)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv"), where
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "DJANGO", "VIRTUAL_ENV"))
    }
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [python, "-m", "uvicorn", "dating_show.asgi:application", "--port", port],
            cwd=demo,
            env={**env, "DATING_SHOW_DATABASE": str(tmp_path / "db.sqlite3")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        seen = run(python, "-c", VIEWER, port, cwd=tmp_path)
    finally:
        server.terminate()
        server.wait(30)
    output = (tmp_path / "server.log").read_text(errors="replace")
    assert seen.split()[0] == "connection_established", output
    assert "agent_update" in seen, output
    assert "Traceback" not in output
