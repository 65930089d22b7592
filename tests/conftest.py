"""What all tests share: one thread, fixed random examples, and where the real measurements are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=40, database=None)
settings.load_profile("fixed")


def _measurements() -> Path | None:
    """Folder of the real measurements: INVERSE_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INVERSE_DATA", beside)) / "mri"
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with its reason, what this machine cannot run."""
    missing = {
        "realdata": None if _measurements() else "set INVERSE_DATA to the real measurements",
        "gpu": None if torch.cuda.is_available() else "there is no CUDA device",
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_mri() -> Path:
    """Folder of the real MRI measurements."""
    folder = _measurements()
    if folder is None:
        pytest.skip("set INVERSE_DATA to the real measurements")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).parents[1]
