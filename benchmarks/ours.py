"""The package under test, called through its public names, numpy in and numpy out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from operators.mri import Sense, espirit
from solvers import cg

__all__ = ["our_cg", "our_espirit"]

Array = NDArray[np.complex64]


def our_cg(
    kspace: Array, maps: Array, mask: NDArray[np.bool_], weight: float, iterations: int
) -> Array:
    """CG on (A^H A + weight I) x = A^H y, operator construction included."""
    grid_ndim = maps.ndim - 1
    op = Sense(torch.from_numpy(maps), torch.from_numpy(mask), grid_ndim=grid_ndim)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return op.normal(x).add_(x, alpha=weight)

    found = cg(normal, op.adjoint(torch.from_numpy(kspace)), rtol=0.0, maxiter=iterations)
    return np.asarray(found.x)


def our_espirit(kspace: Array, calibration: int = 24, kernel: int = 6) -> Array:
    """One set of maps from the central calibration square, no cropping."""
    centre = tuple(
        slice(n // 2 - calibration // 2, n // 2 + calibration // 2) for n in kspace.shape[1:]
    )
    calib = torch.from_numpy(np.ascontiguousarray(kspace[(slice(None), *centre)]))
    return np.asarray(espirit(calib, kspace.shape[1:], kernel=kernel, crop=0.0).csm[0])
