"""The wheel holds what it should, installs in a clean environment and works from an empty folder.

The clean environment sees the wheel and exactly the distributions that the wheel requires, linked
from the environment that runs the tests, so that nothing undeclared is leaned on.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow
PACKAGES = {"operators", "solvers", "inverse", "data_manifests"}


def run(*command: str | Path, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "COV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=repository)
    (built,) = folder.glob("inverse_suite-*.whl")
    return built


def required_distributions(wheel: Path) -> set[str]:
    """Names of everything that the wheel requires without extras, directly or not."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    start = "Requires-Dist: "
    waiting = [line.removeprefix(start) for line in lines if line.startswith(start)]
    found: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if name not in found:
            found.add(name)
            waiting.extend(importlib.metadata.requires(name) or [])
    return found


def link(name: str, target: Path) -> None:
    """Link the top-level files of an installed distribution into `target`."""
    distribution = importlib.metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        if not (target / top).exists():
            (target / top).symlink_to(str(distribution.locate_file(top)))


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that holds the wheel and what it requires."""
    root = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", root / "env", cwd=root)
    python = root / "env" / "bin" / "python"
    required = root / "required"
    required.mkdir()
    for distribution in required_distributions(wheel):
        link(distribution, required)
    (site,) = (root / "env" / "lib").glob("python*/site-packages")
    (site / "required.pth").write_text(f"{required}\n")
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=root)
    return python


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or "test" in Path(name).name]


def test_wheel_holds_the_demo_and_the_prior_and_stays_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    assert any(name.startswith("inverse/demo/") and name.endswith(".h5") for name in sizes)
    assert weights
    assert sum(weights.values()) <= 16_600_000
    assert wheel.stat().st_size <= 20_000_000


def test_few_direct_dependencies() -> None:
    requires = importlib.metadata.requires("inverse-suite") or []
    assert len([line for line in requires if "extra ==" not in line]) <= 16


def test_installed_package_is_the_wheel(clean_python: Path, tmp_path: Path) -> None:
    code = "import inverse, operators, solvers; print(inverse.__file__, operators.__file__)"
    for file in run(clean_python, "-c", code, cwd=tmp_path).split():
        assert file.startswith(str(clean_python.parents[1]))


def test_command_says_its_version(clean_python: Path, tmp_path: Path) -> None:
    output = run(clean_python.parent / "inverse", "--version", cwd=tmp_path)
    assert importlib.metadata.version("inverse-suite") in output


def test_reconstruction_from_an_empty_folder(clean_python: Path, tmp_path: Path) -> None:
    code = (
        "import inverse, inverse.demo\n"
        "problem = inverse.demo.measurement().prepare()\n"
        "r = inverse.reconstruct(problem, method='auto')\n"
        "r.save('out.nii.gz'); r.save('series'); r.report('out.html')\n"
    )
    run(clean_python, "-c", code, cwd=tmp_path)
    assert (tmp_path / "out.nii.gz").stat().st_size > 10_000
    assert list((tmp_path / "series").glob("*.dcm"))
    assert "<html" in (tmp_path / "out.html").read_text()
