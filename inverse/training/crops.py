"""Training batches: which crops of which images, at which noise levels; a function of the step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.training.image_sets import ImageSet
from inverse.training.plan import TrainingPlan

__all__ = ["Batch", "batches", "draw_batch", "large_images"]

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Clean crops (n, c, y, x), whose channels after the first are positions; sigma (n,); noise."""


def large_images(images: ImageSet, plan: TrainingPlan) -> list[NDArray[np.float32]]:
    """Return the images that a crop fits into.

    Raises
    ------
    DataError
        If there is none.
    """
    large = [image for image in images.images if min(image.shape) >= plan.patch]
    if not large:
        ny, nx = max((image.shape for image in images.images), key=min)
        raise DataError(
            f"no image is as large as a crop of {plan.patch}x{plan.patch} pixels, the largest has "
            f"{ny}x{nx}; choose a smaller patch"
        )
    return large


def draw_batch(images: ImageSet, plan: TrainingPlan, step: int, part: int, n_parts: int) -> Batch:
    """Draw the crops, noise levels and noise of one step.

    Nothing is remembered between steps: batch `step` depends on the seed and on `step` alone, which
    is what lets a killed run go on with the same bits.

    Parameters
    ----------
    images : ImageSet
    plan : TrainingPlan
    step : int
    part, n_parts : int
        Which process of how many; each gets its share of the batch.

    Returns
    -------
    Batch

    Raises
    ------
    DataError
        If no image is as large as a crop.
    """
    random = np.random.default_rng([plan.seed, step])
    large = large_images(images, plan)
    chosen = random.integers(0, len(large), plan.batch)
    crops = np.stack([_crop(large[index], plan, random) for index in chosen])
    # One noise level from each of n equal shares of the distribution: less scatter from batch to
    # batch than independent draws, with the same expectation.
    shares = (np.arange(plan.batch) + random.random()) / plan.batch
    normal = torch.special.ndtri(torch.from_numpy(random.permutation(shares)))
    sigma = torch.exp(plan.log_sigma_mean + plan.log_sigma_std * normal.clamp(-5, 5)).float()
    noise = random.standard_normal((plan.batch, 1, plan.patch, plan.patch), dtype=np.float32)
    mine = slice(part, None, n_parts)
    return torch.from_numpy(crops)[mine], sigma[mine], torch.from_numpy(noise)[mine]


def batches(
    images: ImageSet, plan: TrainingPlan, steps: range, part: int, n_parts: int
) -> Iterator[Batch]:
    """Draw the batches of some steps, each while the one before it is in use.

    Parameters
    ----------
    images : ImageSet
    plan : TrainingPlan
    steps : range
    part, n_parts : int
        As `draw_batch` has them.

    Yields
    ------
    Batch
    """
    with ThreadPoolExecutor(max_workers=1) as ahead:
        drawn = (ahead.submit(draw_batch, images, plan, step, part, n_parts) for step in steps)
        waiting = next(drawn, None)
        while waiting is not None:
            batch = waiting.result()
            waiting = next(drawn, None)
            yield batch


def _crop(
    image: NDArray[np.float32], plan: TrainingPlan, random: np.random.Generator
) -> NDArray[np.float32]:
    """Cut one crop in one of the square symmetries (with positions: only mirrored along x)."""
    y, x = (int(random.integers(0, n - plan.patch + 1)) for n in image.shape)
    window = (slice(y, y + plan.patch), slice(x, x + plan.patch))
    crop = image[window] * np.float32(np.exp(plan.gain * random.uniform(-1, 1)))
    mirrored, quarters = random.random() < 0.5, int(random.integers(0, 4))
    if not plan.position:
        crop = np.rot90(crop[:, ::-1] if mirrored else crop, quarters)
        return np.ascontiguousarray(crop)[None]
    axes = (np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape)
    layers = np.stack([crop, *(grid[window] for grid in np.meshgrid(*axes, indexing="ij"))])
    if mirrored:  # the body is roughly symmetric: mirrored anatomy at the mirrored place
        layers = layers[:, :, ::-1] * np.array([1, 1, -1], np.float32)[:, None, None]
    return np.ascontiguousarray(layers)
