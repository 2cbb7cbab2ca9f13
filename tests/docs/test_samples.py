"""Every Python sample of the README and the documents runs, page by page, in the order of the page."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline.core.config import config_from_mapping
from tests.docs.markdown import PAGES, ROOT, Block, blocks

#: Pages whose files are followed by a test of their own.
FOLLOWED = {
    ROOT / "docs" / "quickstart.md": "test_quickstart.py",
    ROOT / "docs" / "tutorial" / "two-browsers.md": "test_tutorial.py",
    ROOT / "docs" / "tutorial" / "a-plugin.md": "test_tutorial.py",
}


def page_parameters() -> Iterator[Any]:
    for page in PAGES:
        if blocks(page, "python") and page not in FOLLOWED:
            needs_channels = any("channels" in imported(block) for block in blocks(page, "python"))
            marks = [pytest.mark.channels] if needs_channels else []
            yield pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


def imported(block: Block) -> set[str]:
    """The top-level packages that a block imports."""
    names = set()
    for node in ast.walk(parsed(block)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def parsed(block: Block) -> ast.Module:
    tree = compile(block.code, block.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    return tree


@pytest.fixture
def _own_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page's files are importable, and leave nothing behind; so does the process's pipeline."""
    from django_update_pipeline.service import reset_update_pipeline

    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    reset_update_pipeline()
    yield
    reset_update_pipeline()
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


@pytest.mark.usefixtures("_own_pipeline")
@pytest.mark.parametrize("document", list(page_parameters()))
async def test_the_samples_of_a_page_run(document: Path, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "sample"}
    for block in blocks(document, "python"):
        code = compile(block.code, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if block.is_sketch or (block.file or "").startswith("mysite/"):
            continue
        if block.file:
            (tmp_path / block.file).write_text(block.code, encoding="utf-8")
            continue
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
        if "UPDATE_PIPELINE" in namespace:  # a settings sample: its names and values are valid
            config_from_mapping(namespace.pop("UPDATE_PIPELINE"))


def test_the_readme_says_what_the_quickstart_says() -> None:
    """The README's settings are the quickstart's, which a test follows on real servers."""
    readme = [block.code for block in blocks(ROOT / "README.md", "python") if block.file]
    quickstart = [block.code for block in blocks(ROOT / "docs" / "quickstart.md", "python") if block.file]
    assert readme == quickstart[:1]


def test_few_samples_are_only_sketches() -> None:
    """A sketch is a sample that nobody runs: those that need a second process or a project of the reader's."""
    sketches = [block.name for page in PAGES for block in blocks(page, "python") if block.is_sketch]
    assert len(sketches) <= 3, sketches
