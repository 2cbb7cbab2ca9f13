"""Atheris (libFuzzer) on the two doors' readers of raw bytes: the frame decoder and the handshake's judge.

    python -m tests.fuzz decoder                          until something is found, or Ctrl-C
    python -m tests.fuzz handshake -max_total_time=60     libFuzzer's own options after the target's name

New inputs go to a folder of the caller's (`--into DIR`), else to one that is deleted; the seeds are in `corpus/`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["django_update_pipeline"]):
    from django_update_pipeline.core import codes, frames, names, origin, wire  # noqa: F401

from . import targets

CORPUS = Path(__file__).with_name("corpus")


def main(arguments: list[str]) -> None:
    """Fuzzes one target; ends the process, with a code other than 0 if something was found."""
    if not arguments or arguments[0] not in targets.TARGETS:
        sys.exit(
            f"usage: python -m tests.fuzz {{{','.join(targets.TARGETS)}}} [--into DIR] [libFuzzer options]"
        )
    name, options = arguments[0], arguments[1:]
    into = tempfile.mkdtemp()
    if options[:1] == ["--into"]:
        into, options = options[1], options[2:]
    dictionary = f"-dict={CORPUS / name}.dict"
    artifacts = f"-artifact_prefix={into}/"
    atheris.Setup(
        [sys.argv[0], dictionary, artifacts, "-max_len=4096", *options, into, str(CORPUS / name)],
        targets.TARGETS[name],
    )
    atheris.Fuzz()


main(sys.argv[1:])
