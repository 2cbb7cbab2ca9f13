"""The site: the same markdown that reads well on a plain git host, built by Sphinx.

    tox run -e docs        warnings are errors; the result is in docs/_build/html

Pages hold no directives in sight. What only the site can show stands in a comment:

    <!-- site
    ```{eval-rst}
    .. autoclass:: django_update_pipeline.UpdatePipeline
    ```
    -->
    <!-- site: ../CHANGELOG.md -->     the file, without its title

The navigation is made from the folders (docs/drawing/pages.py), so a new page needs no entry anywhere.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django
from drawing import docstrings, pages

import django_update_pipeline

django.setup()

project = "django-update-pipeline"
author = "django-update-pipeline contributors"
version = release = django_update_pipeline.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "changelog.d"]
highlight_language = "text"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "html_image"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_use_ivar = True
# Public names of ours must resolve, wherever a page or a docstring points at them. Types of the inner rooms in
# signatures need not have an entry; those of Python and Django are not looked up: the build needs no network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!django_update_pipeline\.).*"),
    (r"py:.*", r"django_update_pipeline\.(core|runtime|plugins|testing)\..*"),
]

html_theme = "furo"
html_title = "django-update-pipeline"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp"

_SITE_ONLY = re.compile(r"<!-- site\n(.*?)-->", re.DOTALL)
_WHOLE_FILE = re.compile(r"<!-- site: (\S+) -->")
_FILE = re.compile(
    r"^(?P<indent> *)<!-- (?:whole )?file: (?P<file>\S+) -->\n *```(?P<language>\w+)\n", re.MULTILINE
)
_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def _toctree(caption: str, names: list[str]) -> str:
    entries = "\n".join(names)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n:maxdepth: 1\n\n{entries}\n```\n"


def _links(text: str, written_in: Path, shown_in: Path) -> str:
    """The text with its links as they are from another folder; one that leads out of the site is only its words."""

    def link(found: re.Match[str]) -> str:
        target = (written_in / found[2]).resolve()
        if not target.is_relative_to(DOCS) or target.parent.name == "changelog.d":
            return found[1]
        return f"[{found[1]}]({os.path.relpath(target, shown_in)}{found[3] or ''})"

    return _LINK.sub(link, text)


def _whole_file(path: Path, shown_in: Path) -> str:
    """A file of the repository without its title."""
    text = path.read_text(encoding="utf-8")
    return _links(text.split("\n", 1)[1] if text.startswith("# ") else text, path.parent, shown_in)


def on_source_read(app: Any, docname: str, source: list[str]) -> None:
    """What a page has in the site and not on a git host: navigation, site-only parts, names of files."""
    folder = (DOCS / docname).parent
    text = _links(_SITE_ONLY.sub(r"\1", source[0]), folder, folder)
    text = _WHOLE_FILE.sub(lambda found: _whole_file((folder / found[1]).resolve(), folder), text)
    text = _FILE.sub(
        lambda found: (
            f"{found['indent']}```{{code-block}} {found['language']}\n{found['indent']}:caption: {found['file']}\n\n"
        ),
        text,
    )
    if docname == "index":
        text += "".join(_toctree(caption, names) for caption, names in pages.sections())
    if docname == "changelog":
        fragments = sorted(set((DOCS / "changelog.d").glob("*.md")) - {DOCS / "changelog.d" / "README.md"})
        text += "".join("\n" + _whole_file(path, folder) for path in fragments)
    source[0] = text


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", on_source_read)
    app.connect("autodoc-process-docstring", docstrings.as_restructured_text, priority=400)
