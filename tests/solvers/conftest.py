"""The array libraries that every solver is tested on, and systems with a known answer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

Array = NDArray[np.generic]


def _on_cuda(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).cuda()


def _libraries() -> list[SimpleNamespace]:
    """Each with a name, a way in from NumPy and a way out; devices where there is one."""
    found = [
        SimpleNamespace(name="numpy", array=np.array, numpy=np.asarray),
        SimpleNamespace(
            name="torch", array=lambda a: torch.from_numpy(np.array(a)), numpy=torch.Tensor.numpy
        ),
        SimpleNamespace(
            name="strict", array=lambda a: array_api_strict.asarray(np.array(a)), numpy=np.asarray
        ),
    ]
    # The path of a device, without one: scalars stay in torch tensors and nothing is read early.
    found.append(SimpleNamespace(name="deferred", array=found[1].array, numpy=found[1].numpy))
    if not torch.cuda.is_available():
        return found
    found.append(SimpleNamespace(name="cuda", array=_on_cuda, numpy=lambda a: a.cpu().numpy()))
    if importlib.util.find_spec("cupy") is not None:
        import cupy

        found.append(SimpleNamespace(name="cupy", array=cupy.asarray, numpy=cupy.asnumpy))
    return found


@pytest.fixture(params=_libraries(), ids=lambda library: library.name)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Each array library of this machine: `name`, `array` (from NumPy), `numpy` (back)."""
    chosen: SimpleNamespace = request.param
    if chosen.name == "deferred":
        monkeypatch.setattr("solvers.torch_vectors._is_host", lambda _: False)
    return chosen


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240917)


@pytest.fixture
def definite() -> Callable[..., Array]:
    """Return a function that makes a Hermitian matrix of given eigenvalues."""

    def make(
        rng: np.random.Generator,
        eigenvalues: NDArray[np.float64],
        dtype: type = np.complex128,
    ) -> Array:
        n = len(eigenvalues)
        shape = (n, n)
        entries = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        q, _ = np.linalg.qr(entries if np.issubdtype(dtype, np.complexfloating) else entries.real)
        return (q * eigenvalues @ q.conj().T).astype(dtype)

    return make
