"""The fully sampled centre of k-space that calibration reads."""

from __future__ import annotations

import math

import torch

from operators.errors import CalibrationError, DtypeError

__all__ = ["find_calibration_region"]


def find_calibration_region(
    mask: torch.Tensor, *, max_width: int | None = None
) -> tuple[slice, ...]:
    """Find the largest fully sampled rectangle (box in 3-D) about the centre of k-space.

    A centred range of width w on an axis of n samples is [n//2 - w//2, n//2 - w//2 + w): cropping
    to it keeps the zero frequency at index w//2. "Largest" counts samples after each width has
    been limited to `max_width`, so that one long line does not beat a square that a convolution
    kernel fits into.

    Parameters
    ----------
    mask : Tensor, (*grid), bool
        True where k-space was sampled.
    max_width : int, optional
        Largest width on any axis, in samples.

    Returns
    -------
    tuple of slice
        One slice a grid axis; ``kspace[:, *region]`` is the calibration data.

    Raises
    ------
    CalibrationError
        If the centre of k-space itself was not sampled.
    DtypeError
        If `mask` is not boolean.

    Examples
    --------
    >>> mask = torch.zeros(16, 16, dtype=torch.bool)
    >>> mask[5:11, :] = True
    >>> find_calibration_region(mask, max_width=8)
    (slice(5, 11, None), slice(4, 12, None))
    """
    if mask.dtype != torch.bool:
        raise DtypeError(f"a sampling mask must be boolean, got {mask.dtype}. Use mask != 0.")
    centre = tuple(n // 2 for n in mask.shape)
    if not bool(mask[centre]):
        raise CalibrationError(
            f"calibration needs a fully sampled centre of k-space, but the sample at {centre} of "
            f"the {tuple(mask.shape)} mask is missing. Provide calibration data or coil maps."
        )
    limits = [n if max_width is None else min(n, max_width) for n in mask.shape]
    # the search is a chain of tiny reductions: on the host they cost no kernel launches
    widths = _largest_box(mask.cpu(), limits)
    return tuple(_centred(n, w) for n, w in zip(mask.shape, widths, strict=True))


def _centred(n: int, width: int) -> slice:
    start = n // 2 - width // 2
    return slice(start, start + width)


def _nested_indices(n: int, limit: int) -> list[int]:
    """List the indices that widths 1, 2, ..., limit add one at a time to a centred range."""
    return [n // 2 + (w // 2 if w % 2 else -(w // 2)) for w in range(1, limit + 1)]


def _largest_box(mask: torch.Tensor, limits: list[int]) -> list[int]:
    """Widths of the largest centred box of True, growing the first axis one index at a time."""
    order = _nested_indices(mask.shape[0], limits[0])
    grown = mask[order].cumprod(dim=0, dtype=torch.uint8).bool()  # [w - 1]: all of the first w
    if mask.ndim == 1:
        return [int(grown.sum())]
    best = [0] * mask.ndim
    inner_centre = tuple(n // 2 for n in mask.shape[1:])
    for width, common in enumerate(grown, start=1):
        if not bool(common[inner_centre]):
            break
        if width * math.prod(limits[1:]) <= math.prod(best):
            continue
        candidate = [width, *_largest_box(common, limits[1:])]
        if math.prod(candidate) > math.prod(best):
            best = candidate
    return best
