"""Each notebook runs from top to bottom, keeps to the public names and stays short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))
FORBIDDEN = {"urllib", "requests", "pooch"}

pytestmark = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.slow
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    target = tmp_path / f"{notebook.stem}.ipynb"
    jupytext.write(jupytext.read(notebook), target)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["--nbmake", "--nbmake-timeout=600", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, target.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_notebook_imports_public_names_and_downloads_nothing(notebook: Path) -> None:
    for node in ast.walk(ast.parse(notebook.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        else:
            continue
        parts = {part for name in imported for part in name.split(".")}
        assert not [part for part in parts if part.startswith("_")]
        assert not parts & FORBIDDEN


def test_notebook_defines_no_long_function(notebook: Path) -> None:
    for node in ast.walk(ast.parse(notebook.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 10, node.name


def test_notebook_begins_with_words_and_ends_with_a_check(notebook: Path) -> None:
    cells = jupytext.read(notebook).cells
    assert cells[0].cell_type == "markdown"
    assert "$$" in cells[0].source
    assert cells[-1].source.startswith("assert ")
