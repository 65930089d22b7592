"""One version, said the same everywhere."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import inverse


def declared_version(repository: Path) -> str:
    with (repository / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def test_version_is_the_installed_one(repository: Path) -> None:
    assert importlib.metadata.version("inverse-suite") == declared_version(repository)
    assert inverse.__version__ == declared_version(repository)


def test_citation_and_changelog_know_the_version(repository: Path) -> None:
    version = re.escape(declared_version(repository))
    assert re.search(rf"^version: {version}$", (repository / "CITATION.cff").read_text(), re.M)
    assert re.search(rf"^## \[{version}\]", (repository / "CHANGELOG.md").read_text(), re.M)
