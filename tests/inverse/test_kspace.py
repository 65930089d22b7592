"""What a measurement may be: every contradiction within it is refused when it is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.mri.kspace import KSpace


def _kspace(*, is_3d: bool = False, **changes: object) -> KSpace:
    """Undersampled noise: three slices of 6 by 8, or a volume of the same size."""
    shape = (1, 2, 3, 6, 8) if is_3d else (3, 2, 6, 8)
    parts = np.random.default_rng(0).standard_normal((2, *shape))
    mask = np.zeros((1, *shape[2:]), dtype=bool)
    mask[..., ::2, :] = True
    return KSpace(
        **{
            "samples": ((parts[0] + 1j * parts[1]) * mask[:, None]).astype(np.complex64),
            "mask": mask,
            "grid": Grid((3, 6, 8), (4.0, 1.5, 1.25)),
            **changes,
        }
    )


@pytest.mark.parametrize("is_3d", [False, True])
@pytest.mark.parametrize("wanted", [(3, 6, 9), (3, 7, 8), (4, 6, 8), (0, 6, 8), (3, 6)])
def test_an_image_larger_than_what_was_encoded_is_refused(
    wanted: tuple[int, ...], is_3d: bool
) -> None:
    with pytest.raises(DataError, match=r"recon_shape expected .* encoded grid \(3, 6, 8\), got"):
        _kspace(is_3d=is_3d, recon_shape=wanted)


@pytest.mark.parametrize("is_3d", [False, True])
def test_a_reference_has_the_shape_of_the_cropped_image(is_3d: bool) -> None:
    small = np.ones((3, 6, 4), np.float32)
    cropped = _kspace(is_3d=is_3d, recon_shape=(3, 6, 4), reference=small)
    assert cropped.reference is small
    with pytest.raises(DataError, match=r"expected the shape \(3, 6, 8\) .* got \(3, 6, 4\)"):
        replace(cropped, recon_shape=None)
    with pytest.raises(DataError, match=r"expected the shape \(3, 6, 4\) .* got \(3, 6, 8\)"):
        replace(cropped, reference=np.ones((3, 6, 8), np.float32))


def test_samples_in_double_precision_and_masks_of_numbers_are_refused() -> None:
    good = _kspace()
    with pytest.raises(DataError, match=r"complex64 samples, got complex128; convert"):
        replace(good, samples=good.samples.astype(np.complex128))
    with pytest.raises(DataError, match=r"mask of booleans, got float32; convert"):
        replace(good, mask=good.mask.astype(np.float32))


@pytest.mark.parametrize("is_3d", [False, True])
def test_samples_outside_the_mask_are_refused(is_3d: bool) -> None:
    good = _kspace(is_3d=is_3d)
    stray = good.samples.copy()
    stray[-1, 1, ..., 1, 3] = 1e-30
    with pytest.raises(DataError, match=r"zeros where the mask says not sampled.*samples \* mask"):
        replace(good, samples=stray)
    assert replace(good, samples=stray * good.mask[:, None]).acceleration == 2


def test_each_slice_is_held_against_its_own_mask() -> None:
    good = _kspace()
    masks = np.repeat(good.mask, 3, axis=0)
    masks[2, 0] = False
    with pytest.raises(DataError, match="in slice 2; "):
        replace(good, mask=masks)
    replace(good, mask=masks, samples=good.samples * masks[:, None])
