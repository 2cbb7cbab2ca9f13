"""A short run of atheris on each target, and the seeds without it; `tox -e fuzz` runs for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import atheris  # noqa: F401 - where it is not to be had, this module is left out
import pytest

from . import targets

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_ten_thousand_mutations_of_the_seeds_find_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--into", str(tmp_path), "-runs=10000", "-seed=1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=110
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert "Done 10000 runs" in done.stderr + done.stdout


@pytest.mark.parametrize(
    "seed", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_each_seed_by_itself(seed: Path) -> None:
    targets.TARGETS[seed.parent.name](seed.read_bytes())


def test_a_decoder_that_lets_a_byte_order_mark_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets do judge: a decoder that is kinder than the page says does not pass."""
    kind = targets.decode_client_frame
    monkeypatch.setattr(
        targets, "decode_client_frame", lambda data, limits: kind(data.removeprefix(b"\xef\xbb\xbf"), limits)
    )
    with pytest.raises(AssertionError):
        targets.decoder(b'\xef\xbb\xbf{"type":"ping"}')


def test_a_judge_that_lets_everybody_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "check_handshake", lambda *_: targets.Allowed(None))
    for seed in ("two", "broken", "null"):
        with pytest.raises(AssertionError):
            targets.handshake((CORPUS / "handshake" / seed).read_bytes())
