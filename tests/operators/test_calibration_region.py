"""The calibration region against a search over every box."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from operators import CalibrationError, DtypeError
from operators.mri import find_calibration_region


def centred(n: int, width: int) -> slice:
    return slice(n // 2 - width // 2, n // 2 - width // 2 + width)


def largest_by_trying_all(mask: torch.Tensor, limit: int) -> int:
    """Number of samples in the largest centred box of True."""
    sizes = []
    for widths in itertools.product(*(range(1, min(n, limit) + 1) for n in mask.shape)):
        box = mask[tuple(centred(n, w) for n, w in zip(mask.shape, widths, strict=True))]
        sizes.append(box.numel() if box.all() else 0)
    return max(sizes)


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    ),
    limit=st.integers(1, 9),
    share=st.floats(0.5, 1),
    seed=st.integers(0, 1000),
)
def test_no_larger_centred_box_is_sampled(
    shape: tuple[int, ...], limit: int, share: float, seed: int
) -> None:
    mask = torch.from_numpy(np.random.default_rng(seed).random(shape) < share)
    mask[tuple(n // 2 for n in shape)] = True
    region = find_calibration_region(mask, max_width=limit)
    assert mask[region].all()
    widths = [r.stop - r.start for r in region]
    assert region == tuple(centred(n, w) for n, w in zip(shape, widths, strict=True))
    assert max(widths) <= limit
    assert mask[region].numel() == largest_by_trying_all(mask, limit)


def test_a_square_beats_a_long_line_when_widths_are_limited() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[31:33] = True
    mask[27:37, 27:37] = True
    assert find_calibration_region(mask) == (slice(31, 33), slice(0, 64))
    assert find_calibration_region(mask, max_width=24) == (slice(27, 37), slice(27, 37))


@pytest.mark.realdata
def test_a_real_scan_has_its_24_lines(real_mri: Path) -> None:
    with np.load(real_mri / "brain_8ch_poisson_undersampled.npz") as file:
        mask = torch.from_numpy(file["mask"])
    assert find_calibration_region(mask) == (slice(103, 127), slice(78, 102))


def test_a_missing_centre_is_an_error() -> None:
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[4, 4] = False
    with pytest.raises(CalibrationError, match=r"sample at \(4, 4\) of the \(8, 8\) mask is miss"):
        find_calibration_region(mask)


def test_a_mask_must_be_boolean() -> None:
    with pytest.raises(DtypeError, match=r"boolean, got torch\.float32"):
        find_calibration_region(torch.ones(8, 8))
