"""How grid axes lie in memory while A^H A is applied, and in which blocks it is applied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = ["HybridLayout", "blocks", "constant_axes"]


def constant_axes(mask: torch.Tensor, ndim: int) -> tuple[tuple[int, ...], torch.Tensor]:
    """Find the last `ndim` axes along which a mask does not change, and shrink it to 1 there.

    Returns
    -------
    axes : tuple of int
        Those axes, counted from the first of the `ndim`.
    reduced : Tensor, bool
        The mask with size 1 on those axes.
    """
    found = []
    for axis in range(ndim):
        first = mask.narrow(axis - ndim, 0, 1)
        if bool((mask == first).all()):
            mask = first
            found.append(axis)
    return tuple(found), mask


@dataclass(frozen=True, slots=True)
class HybridLayout:
    """Grid axes reordered: the untransformed ones first, merged to rows, the transformed ones last.

    An array (..., *grid) is arranged as (..., rows, *inner). With nothing to transform the last
    grid axis is the inner one all the same.

    Parameters
    ----------
    grid : tuple of int
        Shape of the grid.
    constant : tuple of int
        Its axes along which the mask does not change, counted from the front.
    """

    grid: tuple[int, ...]
    constant: tuple[int, ...]

    @property
    def transformed(self) -> tuple[int, ...]:
        """Grid axes that A^H A has to transform."""
        return tuple(a for a in range(len(self.grid)) if a not in self.constant)

    @property
    def order(self) -> tuple[int, ...]:
        """Grid axes in the order in which they lie in memory."""
        return (*self.constant, *self.transformed)

    @property
    def ordered(self) -> tuple[int, ...]:
        """Shape of the grid in that order."""
        return tuple(self.grid[axis] for axis in self.order)

    @property
    def inner(self) -> tuple[int, ...]:
        """Sizes of the inner axes."""
        return self.ordered[-max(1, len(self.transformed)) :]

    @property
    def rows(self) -> int:
        """Number of points on the axes before the inner ones."""
        return math.prod(self.grid) // max(1, math.prod(self.inner))

    def view(self, x: torch.Tensor) -> torch.Tensor:
        """View (..., *grid) as (..., *ordered)."""
        lead = x.ndim - len(self.grid)
        return x.permute(*range(lead), *(lead + axis for axis in self.order))

    def arrange(self, x: torch.Tensor) -> torch.Tensor:
        """Copy (..., *grid) to a contiguous (..., rows, *inner); a view where that is possible."""
        return self.merge_rows(self.view(x).contiguous())

    def split_rows(self, x: torch.Tensor) -> torch.Tensor:
        """View a contiguous (..., rows, *inner) as (..., *ordered)."""
        return x.view(*x.shape[: x.ndim - 1 - len(self.inner)], *self.ordered)

    def merge_rows(self, x: torch.Tensor) -> torch.Tensor:
        """View a contiguous (..., *ordered) as (..., rows, *inner); undoes `split_rows`."""
        return x.view(*x.shape[: x.ndim - len(self.grid)], self.rows, *self.inner)

    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., rows, *inner) as (..., *grid); undoes `arrange`."""
        x = self.split_rows(x)
        lead = x.ndim - len(self.grid)
        back = (lead + self.order.index(axis) for axis in range(len(self.grid)))
        return x.permute(*range(lead), *back)


def blocks(
    n_slices: int, n_coils: int, n_rows: int, *, row_size: int, budget: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut (slices, coils, rows) into blocks of at most `budget` elements, at least one row each.

    Rows are cut before coils, so that a sum over coils is finished within one block where possible.

    Parameters
    ----------
    n_slices, n_coils, n_rows : int
        What there is.
    row_size : int
        Elements of one row of one coil.
    budget : int
        Most elements of a block.

    Yields
    ------
    slices, coils, rows : slice

    Examples
    --------
    >>> list(blocks(1, 8, 4, row_size=10, budget=160))
    [(slice(0, 1, None), slice(0, 8, None), slice(0, 2, None)), \
(slice(0, 1, None), slice(0, 8, None), slice(2, 4, None))]
    """
    if not row_size:  # an empty batch
        return
    slice_step = max(1, budget // max(1, n_coils * n_rows * row_size))
    row_step = max(1, budget // max(1, n_coils * row_size))
    coil_step = max(1, budget // row_size)
    for s in range(0, n_slices, slice_step):
        for r in range(0, n_rows, row_step):
            for c in range(0, n_coils, coil_step):
                yield (
                    slice(s, min(s + slice_step, n_slices)),
                    slice(c, min(c + coil_step, n_coils)),
                    slice(r, min(r + row_step, n_rows)),
                )
