#!/usr/bin/env python3
"""The two commands of a fresh clone; needs Python 3.11 or newer and git, nothing else.

    python3 dev.py run [--port 8001]     the example, live, on http://127.0.0.1:8001/
    python3 dev.py test [TOX OPTIONS]    lint, types, layers and all tests this machine can run

Each makes its own virtual environment in the clone (`.venv-run`, `.venv-tox`) and installs into it only when the
packaging files have changed since the last time. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
# Newest first: the newest Python found is tried with the newest Django, the running one with the LTS.
NEWEST = {"3.14": "py314-dj61-quick", "3.13": "py313-dj61-quick", "3.12": "py312-dj61-quick"}
LTS = {"3.11": "py311-dj52", "3.12": "py312-dj52", "3.13": "py313-dj52", "3.14": "py314-dj52"}


def fail(message: str) -> None:
    """End with ``message`` on stderr and exit code 1."""
    sys.exit(f"dev.py: {message}")


def environment(name: str, packages: list[str]) -> Path:
    """The bin folder of virtual environment ``name``, made and filled if it is missing or out of date."""
    folder = ROOT / name
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    facts = [sys.version, str(ROOT), *packages]
    facts += [(ROOT / file).read_text(encoding="utf-8") for file in ("pyproject.toml", "setup.cfg")]
    stamp, wanted = folder / "installed", hashlib.sha256("\n".join(facts).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return scripts
    print(f"Preparing {name} (once; up to a minute) ...", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True, cwd=ROOT)
    except subprocess.CalledProcessError as error:
        fail(
            f"{' '.join(map(str, error.cmd))} failed. Without the venv module: install your system's package "
            "for it (Debian: python3-venv). Without a network: pip needs its package index or a mirror."
        )
    stamp.write_text(wanted)
    return scripts


def run(arguments: list[str]) -> None:
    """Serve the example until interrupted."""
    parser = argparse.ArgumentParser(prog="dev.py run", description="Serve the example.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    options = parser.parse_args(arguments)
    with socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            where = f"{options.host}:{options.port}"
            fail(f"cannot listen on {where} ({error.strerror}). Choose a port: dev.py run --port 8011")
    # Not .venv: tox keeps a file of that name.
    scripts = environment(".venv-run", ["--editable", ".[channels,uvicorn]"])
    # A key for this run, which only this terminal shows: it opens the pipeline's page for staff.
    key = os.environ.setdefault("DATING_SHOW_OPERATOR_KEY", secrets.token_urlsafe(16))
    site = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{options.port}/"
    print(f"The villa opens on {site} (Ctrl-C closes it)", flush=True)
    print(f"Its staff page:    {site}operator/{key}/", flush=True)
    command = [str(scripts / "python"), "-m", "uvicorn", "dating_show.asgi:application"]
    command += ["--host", options.host, "--port", str(options.port), "--log-level", "warning"]
    # Deflate would compress every frame once per client; a browser tab left open must not hold up Ctrl-C.
    command += ["--ws-per-message-deflate", "false", "--timeout-graceful-shutdown", "3"]
    os.chdir(ROOT / "example_project")
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


def pythons() -> list[str]:
    """The supported interpreters that tox can find, as "3.11"; pyenv's are put on the PATH first."""
    pyenv = shutil.which("pyenv")
    roots = [os.environ.get("PYENV_ROOT"), Path(pyenv).resolve().parents[1] if pyenv else None]
    folders = [
        str(f) for r in (*roots, Path.home() / ".pyenv") if r for f in Path(r).glob("versions/3.1[1-9]*/bin")
    ]
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}"}
    for version in LTS:
        for folder in os.environ["PATH"].split(os.pathsep):
            program = Path(folder) / f"python{version}"
            if program.exists() and subprocess.run([program, "-c", ""], capture_output=True).returncode == 0:
                found.add(version)
                break
    return sorted(found, key=lambda version: int(version.split(".")[1]))


def test(arguments: list[str]) -> None:
    """Run tox: what ``arguments`` say, or the set of environments that this machine can run."""
    # No interpreter is downloaded behind the user's back, and the system's certificates are trusted.
    os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
    os.environ.setdefault("UV_SYSTEM_CERTS", "true")
    found = pythons()
    scripts = environment(".venv-tox", ["tox>=4.30", "tox-uv>=1.28"])
    if not any(option.startswith(("-e", "-m", "--")) for option in arguments):
        chosen = ["lint", "types", LTS.get(found[0], "nochannels")]
        chosen += [NEWEST[v] for v in reversed(found) if v in NEWEST][:1]
        chosen += ["nochannels", "servers", "docs", "wheel", "e2e"]
        # mutmut forks, which Windows can't.
        chosen += [] if os.name == "nt" else ["mutation-shard"]
        arguments = ["-e", ",".join(chosen), *arguments]
    print(f"Pythons found: {', '.join(found)}; tox run {' '.join(arguments)}", flush=True)
    sys.exit(subprocess.run([str(scripts / "tox"), "run", *arguments], cwd=ROOT).returncode)


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        fail(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}")
    commands = {"run": run, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    commands[sys.argv[1]](sys.argv[2:])
