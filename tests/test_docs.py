"""The documentation builds without a warning, and what it shows runs."""

from __future__ import annotations

import html
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block marked `python` or `sh` is run; one marked `py` or `text` is only shown.
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[str]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [line.split("  #")[0] for line in lines if line.startswith("inverse ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder that holds scan.h5 and is the current one."""
    shutil.copy(ROOT / "inverse" / "demo" / "brain.h5", tmp_path / "scan.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "operators.mri.Sense" in (tmp_path / "html" / "api.html").read_text()
    shown = html.unescape((tmp_path / "html" / "benchmarks.html").read_text())
    for result in (ROOT / "benchmarks" / "results").glob("*.md"):
        title = result.read_text().splitlines()[0].removeprefix("# ")
        assert title in shown


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_python_on_the_page_runs(folder: Path, page: Path) -> None:
    script = folder / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    runpy.run_path(str(script))


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.stem)
def test_commands_on_the_page_run(folder: Path, page: Path) -> None:
    program = shutil.which("inverse", path=str(Path(sys.executable).parent))
    assert program, "install the project into this environment: make test does"
    for command in commands(page):
        done = subprocess.run(
            [program, *shlex.split(command)[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
