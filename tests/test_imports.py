"""Importing is cheap, every public name is documented, and an impostor package is named."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("operators", "solvers", "inverse")
HEAVY = {
    "cupy", "h5py", "jinja2", "matplotlib", "nibabel", "PIL", "pydicom", "pywt", "scipy",
    "skimage", "torch",
}  # fmt: skip


def run_python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter; `path` comes before everything else on sys.path."""
    repository = str(Path(__file__).parents[1])
    search = os.pathsep.join([*([str(path)] if path else []), repository])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=path,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


def modules_of(package: str) -> list[str]:
    root = importlib.import_module(package)
    found = pkgutil.walk_packages(root.__path__, prefix=f"{package}.")
    return [package, *(module.name for module in found if not module.name.endswith("__main__"))]


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("inverse", set()),
        ("inverse.cli", set()),
        ("inverse.errors", set()),
        ("inverse.io", {"h5py"}),
        ("solvers", {"torch"}),
        ("operators", {"torch"}),
    ],
)
def test_import_is_light(module: str, allowed: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= allowed


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_documented(package: str) -> None:
    undocumented = []
    for name in modules_of(package):
        module = importlib.import_module(name)
        assert inspect.getdoc(module), f"{name} has no docstring"
        public = getattr(module, "__all__", [])
        assert sorted(public) == sorted(set(public)), f"{name}.__all__ repeats a name"
        for item in public:
            thing = getattr(module, item)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and not inspect.getdoc(thing):
                undocumented.append(f"{name}.{item}")
    assert not undocumented


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package: str) -> None:
    assert importlib.import_module(package).__all__


@pytest.mark.parametrize("package", [*PACKAGES, "data_manifests"])
def test_package_declares_its_types(repository: Path, package: str) -> None:
    assert (repository / package / "py.typed").is_file()


@pytest.mark.parametrize("package", ["operators", "solvers"])
@pytest.mark.parametrize("is_package", [True, False])
def test_impostor_is_named(tmp_path: Path, package: str, is_package: bool) -> None:
    impostor = tmp_path / (f"{package}/__init__.py" if is_package else f"{package}.py")
    impostor.parent.mkdir(exist_ok=True)
    impostor.write_text("version = '1.0'\n")
    done = run_python("import inverse; inverse.load", path=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(impostor) in last
    assert "inverse-suite" in last
