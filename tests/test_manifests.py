"""Every data set says what it is and under which terms, and the files are those it names."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "data_manifests"
MANIFESTS = sorted(path.stem for path in FOLDER.glob("*.toml"))
TEXTS = {"title", "source", "licence", "terms", "citation", "split"}


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def check_files(name: str, root: Path) -> None:
    for file in read(name)["files"]:
        content = (root / file["path"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_complete(name: str) -> None:
    manifest = read(name)
    assert set(manifest) == TEXTS | {"files"}
    assert all(isinstance(manifest[key], str) for key in TEXTS)
    assert all(manifest[key] for key in TEXTS - {"citation"})
    assert manifest["files"]
    assert all(set(file) == {"path", "sha256", "bytes", "content"} for file in manifest["files"])


@pytest.mark.parametrize("name", [name for name in MANIFESTS if name.startswith("inverse_")])
def test_shipped_files_are_those_of_the_manifest(repository: Path, name: str) -> None:
    check_files(name, repository)


@pytest.mark.realdata
@pytest.mark.parametrize("name", [name for name in MANIFESTS if name.startswith("mri_")])
def test_measurements_are_those_of_the_manifest(real_mri: Path, name: str) -> None:
    check_files(name, real_mri.parent)


def test_nothing_large_is_shipped_without_a_manifest(repository: Path) -> None:
    known = {file["path"] for name in MANIFESTS for file in read(name)["files"]}
    binary = {".h5", ".npz", ".npy", ".safetensors", ".nii", ".gz", ".cfl", ".pt"}
    shipped = {
        str(path.relative_to(repository))
        for package in ("operators", "solvers", "inverse", "data_manifests")
        for path in (repository / package).rglob("*")
        if path.suffix in binary
    }
    assert shipped <= known
