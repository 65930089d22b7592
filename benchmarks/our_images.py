"""Images of the package under test: k-space -> prepare -> reconstruct, no parameter given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import inverse
from benchmarks.phantom import fft, unit_norm
from benchmarks.semi_real import Case
from inverse import Grid, KSpace, Problem
from operators.mri import Sense, whitening_matrix

__all__ = ["METHODS", "PRIOR_METHODS", "Chain", "case_problem", "chain", "our_tv"]

Array = NDArray[np.complex64]
PRIOR_METHODS = ("pnp_hqs", "dds")
METHODS = ("zero_filled", "cg_sense", "l1_wavelet", "tv", *PRIOR_METHODS)
PEAK_QUANTILE = 0.995  # as `KSpace.prepare` scales


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """One measurement prepared, ready for any method.

    Parameters
    ----------
    problem : Problem
    csm : (coil, y, x), complex64
        The maps that were found, over the raw channels, of norm 1; zero where cropped. Raw coil
        images are csm * image.
    """

    problem: Problem
    csm: Array

    def image(self, method: str) -> Array:
        """Reconstruct with a method, (y, x)."""
        return inverse.reconstruct(self.problem, method=method, seed=0).image[0]

    def predict(self, image: Array) -> Array:
        """Return all of k-space that the image implies, (coil, y, x)."""
        return fft(self.csm * image)


def chain(
    samples: Array, mask: NDArray[np.bool_], noise: NDArray[np.complex64] | None = None
) -> Chain:
    """Prepare k-space (coil, y, x) as if it had come from a file."""
    shape = samples.shape[1:]
    kspace = KSpace(
        samples=np.ascontiguousarray(samples[None]),
        mask=np.broadcast_to(mask, shape)[None].copy(),
        grid=Grid((1, *shape), (1.0, 1.0, 1.0)),
        noise=noise,
    )
    problem = kspace.prepare()
    covariance = torch.from_numpy(np.asarray(problem.details["noise_covariance"]))
    unwhiten = torch.linalg.inv(whitening_matrix(covariance, loading=1e-6)).numpy()
    csm = np.tensordot(unwhiten, problem.details["csm"][0, 0], 1).astype(np.complex64)
    return Chain(problem, unit_norm(csm))


def case_problem(case: Case) -> Problem:
    """Build the problem of a semi-real case by hand, from the true maps and covariance."""
    data, maps = case.whitened()
    gain = np.linalg.norm(maps, axis=0)
    mask = np.broadcast_to(case.mask, gain.shape).copy()
    op = Sense(torch.from_numpy(maps / gain)[None], torch.from_numpy(mask))
    y = torch.from_numpy(data)[None]
    scale = float(torch.quantile(op.adjoint(y).abs(), PEAK_QUANTILE))
    return Problem(
        operator=op,
        data=y / scale,
        noise_std=case.noise_std / scale,
        n_samples=int(mask.sum()) * len(data),
        grid=Grid((1, *gain.shape), (1.0, 1.0, 1.0)),
        n_batch_axes=1,
        scale=scale,
        intensity=1 / gain[None],
    )


def our_tv(case: Case, weight: float) -> Array:
    """Total variation at a given weight, in the units of the case."""
    problem = case_problem(case)
    in_its_units = weight / problem.scale
    return inverse.reconstruct(problem, method="tv", weight=in_its_units).image[0]
