"""The problem that every method solves: y = A x + n."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from operators import LinearOperator

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A linear operator, whitened data and their noise level.

    y = A x + n, with n white: real and imaginary part of each sample have standard deviation
    `noise_std`, so the expected squared residual is 2 m noise_std^2 for m complex samples. (Real
    data have m components of that standard deviation.)

    Parameters
    ----------
    operator : LinearOperator
        A; its leading `n_batch_axes` domain axes are independent unknowns (slices).
    data : Tensor, (*operator.range.shape)
        y, zero where nothing was sampled.
    noise_std : float
        See above; in the units of `data`, which are those of x for a unitary A.
    n_samples : int or tuple of int
        m, how many samples of y were measured (masked ones do not count) for each independent
        system; one number if they all have the same.
    grid : Grid
        Geometry of the finished image (z, y, x).
    n_batch_axes : int
        Leading axes of x that are independent of each other.
    scale : float
        y was divided by this; `finish` multiplies it back, so images are in the file's units.
    reference : (z, y, x), optional
        Ground truth on `grid` in the file's units.
    details : mapping of str to array
        What the report shows of the preparation: "csm", "mask", "noise_covariance" ...
    notes : mapping of str to str, number
        What preparation chose and why, for the provenance.
    intensity : (slice or z, y, x), optional
        What the voxels of x are multiplied by besides `scale`: coil maps of whitened data have unit
        norm in units of the noise, and this turns the image back to that of the raw channels.
    origin, acquisition : mapping
        From the measurement: inputs' sha256 and format; allow-listed facts for image headers.
    recipe : mapping
        Arguments that preparation ran with, to repeat it.
    seconds : mapping of str to float
        Wall time of reading and preparation.
    warnings : tuple of str
        What a person should know before trusting any image of it.
    """

    operator: LinearOperator
    data: torch.Tensor
    noise_std: float
    n_samples: int | tuple[int, ...]
    grid: Grid
    n_batch_axes: int = 0
    scale: float = 1.0
    reference: NDArray[np.generic] | None = None
    details: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)
    intensity: NDArray[np.floating] | None = None
    origin: Mapping[str, object] = field(default_factory=dict)
    acquisition: Mapping[str, float | str] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.operator.range.shape:
            raise DataError(
                f"a problem's data expected shape {self.operator.range.shape}, "
                f"got {tuple(self.data.shape)}"
            )
        batch = tuple(self.data.shape[: self.n_batch_axes])
        if np.ndim(self.n_samples) and np.shape(self.n_samples) != batch:
            raise DataError(
                f"a problem's n_samples expected one number a system, {batch}, "
                f"got {np.shape(self.n_samples)}"
            )
        if not self.noise_std >= 0:
            raise DataError(f"a problem's noise_std expected a number >= 0, got {self.noise_std}")

    def __repr__(self) -> str:
        return f"<Problem {self.operator!r}, noise {self.noise_std:.3g}>"

    def norms(self, y: torch.Tensor) -> NDArray[np.float64]:
        """||y|| of each independent system, in double precision.

        torch's single-precision norm is off by up to a thousandth, more than the noise's share of
        good data.

        Parameters
        ----------
        y : Tensor, (*operator.range.shape)
        """
        wide = torch.complex128 if y.is_complex() else torch.float64
        rows = y.reshape(*y.shape[: self.n_batch_axes], -1)
        return np.asarray(torch.linalg.vector_norm(rows, dim=-1, dtype=wide).cpu().numpy())

    @property
    def n_components(self) -> NDArray[np.int64]:
        """Real numbers measured for each system: two a complex sample; shape of the batch axes."""
        batch = tuple(self.data.shape[: self.n_batch_axes])
        each = np.broadcast_to(np.asarray(self.n_samples, dtype=np.int64), batch)
        return each * (2 if self.data.is_complex() else 1)

    def residual_std(self, x: torch.Tensor) -> float:
        """Root mean square of the measured components of y - A x, to compare with `noise_std`."""
        norms = self.norms(self.data - self.operator(x))
        return float(np.linalg.norm(norms)) / math.sqrt(float(self.n_components.sum()))
