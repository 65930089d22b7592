"""The layer rule is a contract, and the contract notices a wrong import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("operators", "solvers", "inverse", "data_manifests")
LAYERS = "inverse stands on operators and solvers, which do not know each other"
NO_FILES = "forward models and solvers know no file format and no terminal"
IO = "readers and writers need no torch"
CLI = "nothing imports the command line"


def check_contracts(folder: Path) -> tuple[int, str]:
    command = "from importlinter.cli import lint_imports_command as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(repository: Path) -> None:
    code, output = check_contracts(repository)
    assert code == 0, output
    assert "0 broken" in output


@pytest.mark.parametrize(
    ("module", "wrong_import", "contract"),
    [
        ("operators/space.py", "import solvers", LAYERS),
        ("operators/mri/__init__.py", "import inverse.errors", LAYERS),
        ("solvers/solution.py", "import operators", LAYERS),
        ("solvers/solution.py", "from inverse import errors", LAYERS),
        ("operators/space.py", "import h5py", NO_FILES),
        ("inverse/io/__init__.py", "import torch", IO),
        ("inverse/io/__init__.py", "import inverse.problem", IO),
        ("inverse/errors.py", "import inverse.cli", CLI),
    ],
)
def test_planted_import_breaks_contract(
    copy: Path, module: str, wrong_import: str, contract: str
) -> None:
    path = copy / module
    path.write_text(f"{path.read_text()}\n{wrong_import}\n")
    code, output = check_contracts(copy)
    assert code == 1, output
    assert f"{contract} BROKEN" in output


@pytest.mark.parametrize("package", PACKAGES[:3])
def test_no_module_is_a_drawer(repository: Path, package: str) -> None:
    names = {path.stem for path in (repository / package).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
