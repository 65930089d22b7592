"""How the documentation is built: `make docs`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "inverse"
author = "The inverse authors"
copyright = "the inverse authors"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
default_role = "literal"
html_theme = "alabaster"
html_theme_options = {
    "description": "From a measurement file to an image you can trust.",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "sidebar_width": "230px",
}
html_static_path: list[str] = []
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give shapes and units beside the types
napoleon_google_docstring = False
napoleon_use_rtype = False

_LITERAL = re.compile(r"(``.+?``|`[^`]+`)")


def _as_plain_text(_app: Sphinx, *args: object) -> None:
    """Docstrings are written to be read in a terminal: `*batch` and `|x|` are not markup."""
    lines = args[-1]
    if not isinstance(lines, list):
        return
    for number, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = _LITERAL.split(line)
        parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _as_plain_text, priority=400)
