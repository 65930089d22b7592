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
smartquotes = False  # solver="auto" is code wherever it stands
highlight_language = "none"  # an indented block in a docstring is an equation
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

# Types in docstrings are words: a shape (n_samples,) is no reference, and `Grid` is two classes.
suppress_warnings = ["ref.python"]

_LITERAL = re.compile(r"(``.+?``|`[^`]+`)")
_MARKUP = re.compile(r"([*|]|_(?=\W|$))")
_EQUATION_INDENT = " " * 4


def _as_written(_app: Sphinx, *args: object) -> None:
    """Docstrings are written to be read in a terminal.

    `*batch` and `|x|` are not markup, and what is indented in running text is an equation.
    """
    lines = args[-1]
    if not isinstance(lines, list):
        return
    out: list[str] = []
    in_text, in_equation = True, False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"}:
            in_text = line == "Notes"
        if in_text and line.startswith(_EQUATION_INDENT):
            out += [line] if in_equation else ["", "::", "", line]
            in_equation = True
            continue
        if in_equation and line:
            out.append("")
            in_equation = False
        out.append(_escaped(line))
    lines[:] = out


def _escaped(line: str) -> str:
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = _LITERAL.split(line)
    parts[::2] = [_MARKUP.sub(r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _with_results(_app: Sphinx, page: str, source: list[str]) -> None:
    """Show every result on the page of the benchmarks."""
    if page == "benchmarks":
        results = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
        include = "\n```{{include}} ../benchmarks/results/{}\n:heading-offset: 1\n```\n"
        source[0] += "".join(include.format(path.name) for path in results)


def setup(app: Sphinx) -> None:
    app.connect("source-read", _with_results)
    app.connect("autodoc-process-docstring", _as_written, priority=400)
