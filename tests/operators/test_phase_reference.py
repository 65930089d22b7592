"""The phase of coil maps: no winding in the object, even if the strongest coil has a null."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from operators.mri import (
    espirit,
    estimate_noise_covariance,
    find_calibration_region,
    whiten,
    whitening_matrix,
)
from operators.mri.phase_reference import rotate_phase, virtual_coil
from tests.operators.coil_scenes import Complex, coordinates, disc


def null_in_the_middle() -> Complex:
    """Two coils: the strong one vanishes at the centre and turns about it, the weak one is flat."""
    y, x = coordinates((33, 33))
    inside = disc((33, 33), 0.45)
    return np.stack([x + 1j * y, np.full_like(x, 0.2) + 0j]) * inside


def test_the_strongest_combination_would_have_a_null_and_is_avoided() -> None:
    images = null_in_the_middle()
    inside = np.abs(images[1]) > 0
    seen = images[:, inside]
    unit = seen / np.linalg.norm(seen, axis=0)
    principal = np.linalg.eigh(seen @ seen.conj().T)[1][:, -1]
    assert np.abs(principal.conj() @ unit).min() < 1e-6
    chosen = virtual_coil(torch.from_numpy(images)).numpy()
    assert abs(np.linalg.norm(chosen) - 1) < 1e-12
    # by symmetry the best is the flat coil, weakest at the rim: 0.2 / |(0.2, 0.45)|
    best = np.abs(unit[1]).min()
    assert 0.9 * best < np.abs(chosen.conj() @ unit).min() <= best * (1 + 1e-6)


def test_one_coil_that_sees_everything_is_found_among_local_ones() -> None:
    y, x = coordinates((24, 24))
    local = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 0.02) for a, b in ((0.2, 0), (-0.2, 0.1))]
    images = np.stack([*local, 0.3 + 0 * y]) * disc((24, 24), 0.4) + 0j
    chosen = virtual_coil(torch.from_numpy(images).to(torch.complex64))
    assert chosen.dtype == torch.complex64
    assert float(chosen[2].abs()) > 0.5


def test_images_of_zeros_are_no_obstacle() -> None:
    chosen = virtual_coil(torch.zeros(3, 4, 4, dtype=torch.complex64))
    assert abs(float(torch.linalg.vector_norm(chosen)) - 1) < 1e-6


@pytest.mark.realdata
def test_a_real_whitened_brain_has_no_phase_winding(real_mri: Path) -> None:
    with np.load(real_mri / "brain_8ch_poisson_undersampled.npz") as file:
        kspace, mask = torch.from_numpy(file["kspace"]), torch.from_numpy(file["mask"])
    white = whiten(kspace, whitening_matrix(estimate_noise_covariance(kspace, mask)))
    calibration = white[(slice(None), *find_calibration_region(mask, max_width=24))]
    csm = espirit(calibration, (230, 180)).csm[0].numpy()
    y, x = coordinates((230, 180))
    head = (y / 0.38) ** 2 + (x / 0.36) ** 2 < 1  # of the slice, by eye
    for axis in (0, 1):
        step = (np.roll(csm, -1, axis + 1) * csm.conj()).sum(0)
        both = head & np.roll(head, -1, axis)
        # about a winding neighbours differ by up to pi; smooth maps turn slowly
        assert np.abs(np.angle(step[both])).max() < 0.3


@pytest.mark.parametrize("coil_axis", [0, 1])
def test_the_virtual_coil_becomes_real_and_nothing_else_changes(coil_axis: int) -> None:
    rng = torch.Generator().manual_seed(1)
    csm = torch.randn(3, 3, 5, dtype=torch.complex128, generator=rng)
    reference = torch.randn(3, dtype=torch.complex128, generator=rng)
    turned = rotate_phase(csm, reference, coil_axis)
    virtual = torch.tensordot(reference.conj(), turned, dims=([0], [coil_axis]))
    assert bool((virtual.real > 0).all())
    assert float(virtual.imag.abs().max()) < 1e-12
    ratio = turned / csm
    torch.testing.assert_close(
        ratio, ratio.select(coil_axis, 0).unsqueeze(coil_axis).expand(3, 3, 5)
    )


def test_a_voxel_the_virtual_coil_does_not_see_keeps_its_phase() -> None:
    csm = torch.tensor([[0.0, 1j]])
    assert torch.equal(rotate_phase(csm, torch.tensor([1.0 + 0j, 0.0]), coil_axis=1), csm)
