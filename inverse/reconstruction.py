"""The reconstruction: an image, where it is, how far to trust it, and how it was made."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.posterior import Posterior, dispersion, share_of, undetermined
from inverse.problem import Problem

__all__ = ["Diagnostics", "Reconstruction", "centre_crop", "finish"]

_LARGE_RESIDUAL = 1.15
_SMALL_RESIDUAL = 0.5


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What the solver did and how well the image explains the data.

    Parameters
    ----------
    residual_std : float
        Root mean square of the real and imaginary parts of y - A x over the measured samples.
    noise_std : float
        What it should be: the noise level of the problem, in the same units.
    status : str
        Why the iteration stopped, in words.
    iterations, n_operator, n_denoiser : int
        Outer iterations; applications of A^H A (or of A and A^H); prior evaluations.
    seconds : mapping of str to float
        Wall time by stage.
    history : tuple of float
        Residual or objective by iteration, for the convergence plot.
    warnings : tuple of str
        What the person should know before trusting the image.
    noise_to_peak : float
        Noise level of the problem, whose image has a peak of about one: free of units.
    """

    residual_std: float = math.nan
    noise_std: float = math.nan
    status: str = ""
    iterations: int = 0
    n_operator: int = 0
    n_denoiser: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    history: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    noise_to_peak: float = math.nan

    @property
    def residual_to_noise(self) -> float:
        """1 when the image explains the data exactly to within their noise; NaN without noise."""
        return self.residual_std / self.noise_std if self.noise_std > 0 else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """A finished image.

    Parameters
    ----------
    image : (z, y, x), complex64
        In the units of the file.
    grid : Grid
        Where its voxels are.
    method : str
        Name of the method that made it.
    settings : mapping
        Every setting the method ran with, chosen automatically or not.
    diagnostics : Diagnostics
    baseline : (z, y, x), complex64
        Zero-filled image of the same data, for comparison.
    reference : (z, y, x), optional
        Ground truth, when the file held one.
    details : mapping of str to array
        Coil maps, mask ... as in `Problem`.
    provenance : mapping
        JSON-ready record: inputs' sha256, versions, command, seed, preparation, settings, timings.
    posterior : Posterior, optional
        When several samples were drawn; `image` is then their mean.
    """

    image: NDArray[np.complex64]
    grid: Grid
    method: str
    settings: Mapping[str, object]
    diagnostics: Diagnostics
    baseline: NDArray[np.complex64]
    reference: NDArray[np.generic] | None = None
    details: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    posterior: Posterior | None = None

    def __repr__(self) -> str:
        size = " x ".join(str(n) for n in self.image.shape)
        ratio = self.diagnostics.residual_to_noise
        return f"<Reconstruction {self.method} {size}, residual {ratio:.2f} x noise>"

    def save(self, path: str | Path) -> list[Path]:
        """Write the image in the format of the name's ending and its provenance beside it.

        Parameters
        ----------
        path : str or Path
            ``.nii``, ``.nii.gz`` (magnitude), ``.h5``, ``.npz`` (complex), or a folder's name for
            a DICOM series.

        Returns
        -------
        list of Path
            Every file written.

        Raises
        ------
        UsageError
            If the ending is none of these.
        ResourceError
            If the disk is full or not writable; what was there before stays.
        """
        from inverse.io import save

        return save(self, Path(path))

    def report(self, path: str | Path) -> Path:
        """Write the self-contained HTML report and return its path."""
        from inverse.report import write_report

        return write_report(self, Path(path))


def finish(
    problem: Problem,
    x: torch.Tensor,
    *,
    method: str,
    settings: Mapping[str, object],
    diagnostics: Diagnostics | None = None,
) -> Reconstruction:
    """Turn the unknown of a problem into a reconstruction: maps joined, cropped, rescaled, checked.

    Parameters
    ----------
    problem : Problem
    x : Tensor, (*problem.operator.domain.shape) or (n, *problem.operator.domain.shape)
        What a method found; several are samples of a posterior, and their mean is the image.
    method : str
        Its name.
    settings : mapping
        Its settings.
    diagnostics : Diagnostics, optional
        Counts and history; the residual in it is recomputed here from `x`, and what the maps of a
        posterior cost is added.
    """
    posterior, spent = None, diagnostics or Diagnostics()
    if x.ndim > len(problem.operator.domain.shape):
        if len(x) > 1:
            posterior, spent = _posterior(problem, x.detach(), spent)
        x = x.mean(0)
    checked = replace(
        spent,
        residual_std=problem.residual_std(x) * problem.scale,
        noise_std=problem.noise_std * problem.scale,
        noise_to_peak=problem.noise_std,
    )
    # The zero-filled image solves nothing: its misfit says nothing about data or maps.
    misfit = () if method == "zero_filled" else _misfit(checked)
    checked = replace(checked, warnings=(*problem.warnings, *checked.warnings, *misfit))
    return Reconstruction(
        image=_as_image(problem, x),
        grid=problem.grid,
        method=method,
        settings=dict(settings),
        diagnostics=checked,
        baseline=_as_image(problem, problem.operator.adjoint(problem.data)),
        reference=problem.reference,
        details=problem.details,
        provenance={
            "inputs": dict(problem.origin),
            "acquisition": dict(problem.acquisition),
            "preparation": dict(problem.notes),
        },
        posterior=posterior,
    )


def _posterior(
    problem: Problem, samples: torch.Tensor, spent: Diagnostics
) -> tuple[Posterior, Diagnostics]:
    started = time.perf_counter()
    mean = samples.mean(0)
    part, n_operator = undetermined(problem, mean)
    images = np.stack([_as_image(problem, sample) for sample in samples])
    found = Posterior(
        images if samples.is_complex() else images.real.copy(),
        share_of(_as_image(problem, part), _as_image(problem, mean)),
        dispersion(problem, samples),
    )
    took = time.perf_counter() - started
    return found, replace(
        spent,
        n_operator=spent.n_operator + n_operator + len(samples),
        seconds={**spent.seconds, "posterior_maps": took},
    )


def _misfit(diagnostics: Diagnostics) -> tuple[str, ...]:
    """Warn of an image that leaves much more, or much less, unexplained than noise would."""
    ratio = diagnostics.residual_to_noise
    if ratio < _SMALL_RESIDUAL:
        return (
            f"The image explains the data to {ratio:.2f} times their noise, far less than noise "
            f"leaves: the noise was overestimated (a noise scan of other data?) or fitted.",
        )
    if not ratio > _LARGE_RESIDUAL:
        return ()
    return (
        f"The image explains the data only to {ratio:.2f} times their noise: too few iterations, "
        f"motion, poor coil maps, or an object larger than the field of view (try --maps 2).",
    )


def _as_image(problem: Problem, x: torch.Tensor) -> NDArray[np.complex64]:
    axes = problem.operator.domain.axes
    image = x.detach()
    if "map" in axes:
        dim = axes.index("map") - len(axes)
        # Soft-SENSE images share one object: magnitudes add in quadrature, the first map's phase
        # leads.
        magnitude = torch.linalg.vector_norm(image, dim=dim)
        image = torch.polar(magnitude, image.select(dim, 0).angle())
    volume = image.cpu().numpy().reshape((-1, *image.shape[-2:])) * problem.scale
    if problem.intensity is not None:
        volume = volume * problem.intensity
    return np.ascontiguousarray(centre_crop(volume, problem.grid.shape), dtype=np.complex64)


def centre_crop(volume: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Cut `volume` to `shape` so that index n//2 of every axis stays index n//2.

    Parameters
    ----------
    volume : (..., *any)
        At least as large as `shape` along its last axes.
    shape : tuple of int
        Wanted sizes of the last axes.

    Raises
    ------
    DataError
        If a wanted size is larger than there is.
    """
    have = volume.shape[volume.ndim - len(shape) :]
    if any(want > size for size, want in zip(have, shape, strict=True)):
        raise DataError(f"a crop expected sizes up to {have}, got {shape}")
    window = tuple(
        slice(have // 2 - want // 2, have // 2 - want // 2 + want)
        for have, want in zip(volume.shape[volume.ndim - len(shape) :], shape, strict=True)
    )
    index: tuple[slice | EllipsisType, ...] = (..., *window)
    return volume[index]
