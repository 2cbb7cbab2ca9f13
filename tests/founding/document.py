"""Finds the samples of the founding document, which lies beside the checkout (`../shared/founding-document.md`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .serving import ROOT

PATH = Path(ROOT.parent / "shared" / "founding-document.md")

Key = tuple[str, int]
"""A sample's heading, and which one under that heading and of its language it is, from 1."""


@dataclass(frozen=True)
class Sample:
    """One fenced block of the document."""

    heading: str
    index: int
    language: str
    text: str

    @property
    def key(self) -> Key:
        return self.heading, self.index


def read_samples(text: str) -> list[Sample]:
    """All fenced blocks that name a language, in the document's order."""
    samples: list[Sample] = []
    counts: dict[tuple[str, str], int] = {}
    heading, fence, language, lines = "", "", "", list[str]()
    for line in text.splitlines():
        if fence:
            if line.strip() == fence:
                if language:
                    counts[heading, language] = index = counts.get((heading, language), 0) + 1
                    samples.append(Sample(heading, index, language, "\n".join(lines) + "\n"))
                fence = ""
            else:
                lines.append(line)
        elif opening := re.fullmatch(r"\s*(`{3,})(\w*)\s*", line):
            fence, language, lines = opening[1], opening[2], []
        elif title := re.fullmatch(r"#+\s+(.*\S)\s*", line):
            heading = title[1]
    return samples


def samples(*languages: str) -> list[Sample]:
    """The samples in these languages; none where the document is not beside the checkout."""
    if not PATH.exists():
        return []
    return [
        sample for sample in read_samples(PATH.read_text(encoding="utf-8")) if sample.language in languages
    ]


def in_both_words(ours: str, heading: str, index: int = 1) -> list[Any]:
    """Parameters for a test of one sample: our own words, and the document's where it is at hand."""
    found = [s for s in samples("python", "javascript", "jsx") if s.key == (heading, index)]
    return [pytest.param(ours, id="our-words"), *(pytest.param(s.text, id="document") for s in found)]
