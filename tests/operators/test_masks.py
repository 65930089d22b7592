"""Sampling masks: realised rates, calibration centres, densities, distances, determinism."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from operators import ParameterError, ShapeError
from operators.mri import (
    fastmri_equispaced,
    fastmri_random,
    gaussian_1d,
    gaussian_2d,
    poisson_disc,
)
from operators.mri.poisson_disc import throw_darts

Make = Callable[[tuple[int, ...], float, float, np.random.Generator], NDArray[np.bool_]]

LINES: list[Make] = [fastmri_random, fastmri_equispaced, gaussian_1d]
ALL: list[Make] = [
    *LINES,
    gaussian_2d,
    lambda shape, r, c, g: poisson_disc(shape, r, (round(c * shape[0]), round(c * shape[1])), g),
]
NAMES = ["random", "equispaced", "gaussian-1d", "gaussian-2d", "poisson-disc"]
every_mask = pytest.mark.parametrize("make", ALL, ids=NAMES)
every_line_mask = pytest.mark.parametrize("make", LINES, ids=NAMES[:3])


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@every_mask
@pytest.mark.parametrize("acceleration", [1.0, 2.0, 4.0, 6.5])
@pytest.mark.parametrize("shape", [(256, 256), (181, 217)])
def test_realised_acceleration_is_the_one_asked_for(
    make: Make, acceleration: float, shape: tuple[int, int]
) -> None:
    mask = make(shape, acceleration, 0.08, seeded())
    assert mask.shape == shape
    assert mask.dtype == bool
    limit = 0.05 if make is fastmri_equispaced else 0.02  # whole lines: one in fifty
    assert mask.size / mask.sum() == pytest.approx(acceleration, rel=limit)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("acceleration", [3.0, 4.0, 8.0, 12.0])
def test_point_masks_realise_the_acceleration_to_one_point(acceleration: float, seed: int) -> None:
    shape = (128, 96)
    for mask in (
        gaussian_2d(shape, acceleration, 0.06, seeded(seed)),
        poisson_disc(shape, acceleration, (10, 12), seeded(seed)),
    ):
        assert mask.sum() == round(mask.size / acceleration)


@every_mask
def test_same_generator_same_mask_and_another_seed_another(make: Make) -> None:
    first = make((64, 48), 4, 0.1, seeded(3))
    assert (first == make((64, 48), 4, 0.1, seeded(3))).all()
    others = [make((64, 48), 4, 0.1, seeded(s)) for s in range(4, 10)]
    assert any((first != other).any() for other in others)


@every_mask
@pytest.mark.parametrize("shape", [(64, 64), (63, 65)])
def test_centre_is_fully_sampled_about_the_origin(make: Make, shape: tuple[int, int]) -> None:
    mask = make(shape, 4, 0.125, seeded(1))
    rows = slice(shape[0] // 2 - 4, shape[0] // 2 + 4)
    columns = slice(shape[1] // 2 - 4, shape[1] // 2 + 4)
    assert mask[rows, columns].all()


@every_line_mask
def test_line_masks_are_constant_along_the_readout_and_in_volumes(make: Make) -> None:
    mask = make((6, 32, 5), 2, 0.1, seeded())
    assert (mask == mask[:1, :, :1]).all()
    assert mask[0, :, 0].any()
    assert not mask[0, :, 0].all()
    mask.fill(True)  # writable: not a broadcast view


def test_phase_encoding_along_another_axis() -> None:
    mask = fastmri_random((5, 32), 2, 0.1, seeded(), axis=-1)
    assert (mask == mask[:1]).all()
    turned = gaussian_2d((24, 32, 4), 4, 0.1, seeded(), axes=(1, 0))
    assert (turned == turned[..., :1]).all()
    assert turned[11:13, 15:17].all()


def test_random_lines_are_uniform_outside_the_centre() -> None:
    drawn = sum(fastmri_random((64, 1), 4, 0.125, seeded(s))[:, 0].astype(int) for s in range(2000))
    outside = np.delete(drawn, np.arange(28, 36)) / 2000
    expected = 8 / 56
    assert np.abs(outside - expected).max() < 5 * np.sqrt(expected * (1 - expected) / 2000)


def test_equispaced_lines_are_equally_spaced_outside_the_centre() -> None:
    mask = fastmri_equispaced((240, 1), 4, 0.1, seeded())[:, 0]
    spacing = 4 * (24 - 240) / (24 * 4 - 240)
    gaps = np.diff(np.flatnonzero(np.where(np.abs(np.arange(240) - 120) > 13, mask, False)))
    away = gaps[gaps < 2 * spacing - 1]
    assert set(away) <= {np.floor(spacing), np.ceil(spacing)}
    offsets = {
        int(np.flatnonzero(fastmri_equispaced((240, 1), 4, 0.1, seeded(s))[:, 0])[0])
        for s in range(60)
    }
    assert offsets == set(range(round(spacing)))


def test_gaussian_density_has_the_published_width() -> None:
    n = 256
    drawn = [gaussian_1d((n, 1), 64, 0.0, seeded(s))[:, 0] for s in range(3000)]
    lines = np.concatenate([np.flatnonzero(mask) for mask in drawn]) - n // 2
    # Four of 256 lines: drawing without replacement widens the density by less than 2 %.
    assert lines.std() == pytest.approx(n * 15 / 128, rel=0.03)
    assert abs(lines.mean()) < 1.0
    points = np.argwhere(gaussian_2d((n, n), 200, 0.0, seeded())) - n // 2
    assert points.std(axis=0) == pytest.approx([n * np.sqrt(1.5 / 128)] * 2, rel=0.1)


@pytest.mark.parametrize("growth", [0.0, 2.0])
@pytest.mark.parametrize("acceleration", [2.5, 4.0, 8.0])
def test_poisson_disc_keeps_its_distance(acceleration: float, growth: float) -> None:
    """Neighbours lie farther apart than in random masks, and farther the farther out they are.

    Where a share s of the points is sampled, darts that no longer fit keep about 0.83 / sqrt(s)
    between them; dropped surplus and lattice steps take some of it.
    """
    shape, calibration = (128, 128), (12, 12)
    mask = poisson_disc(shape, acceleration, calibration, seeded(), growth=growth)
    mask[58:70, 58:70] = False
    points = np.argwhere(mask)
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    radius = 1 + growth * np.hypot(*((points - 64) / 64).T)
    everywhere = 1 + growth * np.hypot(*np.meshgrid(*[(np.arange(128) - 64) / 64] * 2))
    scale = np.sqrt((everywhere**-2.0).sum() / mask.sum())
    assert (nearest >= 0.7 * 0.83 * scale * radius).mean() > 0.98


def test_darts_keep_the_larger_of_both_radii_and_leave_no_gap() -> None:
    n = 64
    y, x = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    radius = 1.5 + np.hypot(y - 32, x - 32) / 10
    order = seeded(5).permutation(n * n)
    accepted = throw_darts(radius, order)
    points = np.stack(np.divmod(accepted, n), axis=1).astype(float)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    own = radius.ravel()[accepted]
    assert (distance >= np.maximum(own[:, None], own[None])).all()
    rejected = np.setdiff1d(order, accepted)
    away = np.stack(np.divmod(rejected, n), axis=1)[:, None] - points[None]
    reach = np.maximum(radius.ravel()[rejected][:, None], own[None])
    assert (np.linalg.norm(away, axis=-1) < reach).any(axis=1).all()


def test_poisson_disc_is_denser_in_the_middle() -> None:
    mask = poisson_disc((128, 128), 8, (0, 0), seeded(), growth=2.0)
    assert mask[48:80, 48:80].mean() > 3 * mask[:16].mean()


def test_poisson_disc_takes_less_than_a_second() -> None:
    start = time.process_time()
    poisson_disc((256, 256), 6, (24, 24), seeded())
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("acceleration", [1.0, 100.0])
def test_poisson_disc_at_the_limits(acceleration: float) -> None:
    mask = poisson_disc((40, 40), acceleration, (4, 4), seeded())
    assert mask.sum() == round(1600 / acceleration)


@every_mask
def test_impossible_accelerations_are_refused(make: Make) -> None:
    for wrong in (0.5, 0.0, -2.0, float("nan")):
        with pytest.raises(ParameterError, match=r"acceleration >= 1, got"):
            make((32, 32), wrong, 0.1, seeded())
    with pytest.raises(ParameterError, match=r"at least its centre of \d+, got acceleration 16"):
        make((32, 32), 16, 0.5, seeded())


def test_other_wrong_arguments_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"growth >= 0, got -1"):
        poisson_disc((32, 32), 4, (4, 4), seeded(), growth=-1)
    with pytest.raises(ShapeError, match="different axes between -1 and 0"):
        fastmri_random((32,), 4, 0.1, seeded())
