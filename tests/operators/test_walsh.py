"""Adaptive combination against a direct window-by-window computation and known maps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from operators import DtypeError, ShapeError
from operators.mri import walsh
from tests.operators.coil_scenes import Complex, make_scene


def leading_vectors_of_windows(images: Complex, window: int) -> Complex:
    """Principal left singular vector of the coil samples in the box about every voxel."""
    csm = np.zeros_like(images)
    half = window // 2
    for voxel in itertools.product(*(range(n) for n in images.shape[1:])):
        box = tuple(slice(max(0, v - half), v + half + 1) for v in voxel)
        samples = images[(slice(None), *box)].reshape(len(images), -1)
        csm[(slice(None), *voxel)] = np.linalg.svd(samples)[0][:, 0]
    return csm


@pytest.mark.parametrize(("shape", "window"), [((13, 10), 3), ((9, 12), 7), ((5, 6, 4), 3)])
def test_it_is_the_principal_vector_of_every_window(shape: tuple[int, ...], window: int) -> None:
    rng = np.random.default_rng(0)
    images = make_scene(shape, 4, radius=1.0).images
    images = images + 0.1 * (rng.normal(size=images.shape) + 1j * rng.normal(size=images.shape))
    csm = walsh(torch.from_numpy(images), window=window).numpy()
    overlap = np.abs((csm.conj() * leading_vectors_of_windows(images, window)).sum(0))
    np.testing.assert_allclose(overlap, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((64, 48), torch.complex64), ((20, 24, 22), torch.complex128)]
)
def test_known_maps_are_recovered(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    scene = make_scene(shape, 6)
    csm = walsh(torch.from_numpy(scene.images).to(dtype), window=5)
    assert csm.dtype == dtype
    overlap = np.abs((csm.numpy().conj() * scene.maps).sum(0))[scene.inside]
    assert overlap.min() > 0.99
    assert overlap.mean() > 0.999


def test_where_no_coil_sees_anything_maps_are_zero() -> None:
    scene = make_scene((40, 40), 4, radius=0.2)
    csm = walsh(torch.from_numpy(scene.images), window=3)
    norm = torch.linalg.vector_norm(csm, dim=0).numpy()
    assert norm[0, 0] == 0
    np.testing.assert_allclose(norm[scene.inside], 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("images", "window", "error", "match"),
    [
        (torch.ones(4, 8) + 0j, 3, ShapeError, r"\(coil, y, x\).*got \(4, 8\)"),
        (torch.ones(4, 8, 8) + 0j, 4, ShapeError, "odd window.*got 4"),
        (torch.ones(4, 8, 8), 3, DtypeError, "complex images, got torch.float32"),
    ],
)
def test_unfit_arguments_are_refused(
    images: torch.Tensor, window: int, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        walsh(images, window=window)
