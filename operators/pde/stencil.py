"""Matrices whose rows are stencils on a grid, one matrix a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
import torch

from operators.errors import ParameterError, ShapeError
from operators.linear import LinearOperator, Tag
from operators.pde.sparse import SparseMatrix
from operators.space import Space, grid_names, with_precision_of

__all__ = ["StencilOperator"]


@final
class StencilOperator(LinearOperator):
    """One stencil matrix a sample: (A u)[i] = sum_o c_o[i] u[i + o].

    Beyond an end of the grid u is zero, or wraps round along the `periodic` axes. A vector-valued
    unknown has its components as the first axis of the grid; an offset may point from one
    component to another.

    Parameters
    ----------
    offsets : sequence of tuple of int
        One entry an axis of the grid; all different.
    coefficients : Tensor, (n_samples, n_offsets, *grid)
        c_o[i], real or complex; entries that point beyond an end are ignored. One matrix for all
        samples may be given as an expanded view.
    periodic : sequence of int
        Axes of the grid that wrap.
    axes : sequence of str, optional
        Names of the grid's axes; the last of z, y, x by default.
    tags : iterable of Tag
        What the caller knows of every one of the matrices.

    Raises
    ------
    ShapeError
        If coefficients and offsets do not fit together, or an offset is as long as the grid.
    ParameterError
        If an offset comes twice.

    Examples
    --------
    >>> second_difference = torch.tensor([[-1.0], [2.0], [-1.0]]).expand(3, 4)[None]
    >>> A = StencilOperator([(-1,), (0,), (1,)], second_difference, tags=[Tag.SELF_ADJOINT])
    >>> A(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    tensor([[0., 0., 0., 5.]])
    """

    def __init__(
        self,
        offsets: Sequence[tuple[int, ...]],
        coefficients: torch.Tensor,
        *,
        periodic: Sequence[int] = (),
        axes: Sequence[str] | None = None,
        tags: Sequence[Tag] = (),
    ) -> None:
        self.offsets = tuple(tuple(int(step) for step in offset) for offset in offsets)
        grid = tuple(coefficients.shape[2:])
        _check_stencil(self.offsets, coefficients)
        self.coefficients = coefficients
        self.periodic = tuple(sorted(periodic))
        names = grid_names(len(grid)) if axes is None else tuple(axes)
        space = Space((coefficients.shape[0], *grid), coefficients.dtype, ("sample", *names))
        super().__init__(space, space, device=coefficients.device, tags=tags)
        # Slicing costs as much as the arithmetic on a single small grid: it is done here, once.
        self._terms = tuple(
            (here, there, c[here])
            for c, offset in zip(coefficients.unbind(1), self.offsets, strict=True)
            if any(offset)
            for here, there in self._pieces(offset)
        )
        self._centre = self._find_centre()

    @property
    def n_samples(self) -> int:
        """Number of matrices."""
        return self.domain.shape[0]

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x) if self._centre is None else self._centre * x
        for here, there, c in self._terms:
            y[here].addcmul_(c, x[there])
        return y

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        if Tag.SELF_ADJOINT in self.tags:
            return self._forward(y)
        x = torch.zeros_like(y) if self._centre is None else self._centre.conj() * y
        for here, there, c in self._terms:
            x[there].addcmul_(c.conj(), y[here])
        return x

    def _find_centre(self) -> torch.Tensor | None:
        centre = (0,) * len(self.offsets[0])
        if centre not in self.offsets:
            return None
        return self.coefficients[:, self.offsets.index(centre)]

    def _pieces(self, offset: tuple[int, ...]) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """Return pairs of index boxes: rows i and the columns i + o that they read."""
        pieces: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [((...,), (...,))]
        for axis, (step, n) in enumerate(zip(offset, self.domain.shape[1:], strict=True)):
            inside = (slice(max(0, -step), n - max(0, step)), slice(max(0, step), n + min(0, step)))
            spans = [inside]
            if step and axis in self.periodic:
                low, high = slice(0, abs(step)), slice(n - abs(step), n)
                spans.append((high, low) if step > 0 else (low, high))
            pieces = [((*i, a), (*j, b)) for i, j in pieces for a, b in spans]
        return pieces

    def matrix(self, sample: int) -> SparseMatrix:
        """Return one of the matrices as a SciPy CSR array, rows and columns in row-major order.

        Parameters
        ----------
        sample : int
            Which one.
        """
        from scipy import sparse

        shape = self.domain.shape[1:]
        # SciPy's direct solvers want 32-bit indices and copy others.
        number = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        values = self.coefficients[sample].detach().cpu().resolve_conj().numpy()
        rows, columns, entries = [], [], []
        for c, offset in zip(values, self.offsets, strict=True):
            for here, there in self._pieces(offset):
                rows.append(number[here[1:]].ravel())
                columns.append(number[there[1:]].ravel())
                entries.append(c[here[1:]].ravel())
        where = (np.concatenate(rows), np.concatenate(columns))
        matrix = sparse.csr_array(
            (np.concatenate(entries), where), shape=(number.size, number.size)
        )
        matrix.eliminate_zeros()
        return matrix

    def sample(self, start: int, stop: int) -> StencilOperator:
        """Return the operator of some consecutive samples; it shares their memory."""
        return type(self)(
            self.offsets,
            self.coefficients[start:stop],
            periodic=self.periodic,
            axes=self.domain.axes[1:],
            tags=tuple(self.tags),
        )

    def diagonal(self) -> torch.Tensor:
        """Return the diagonals, (n_samples, *grid)."""
        if self._centre is None:
            return torch.zeros_like(self.coefficients[:, 0])
        return self._centre

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator on another device or at another precision."""
        wanted = self.domain.dtype if dtype is None else with_precision_of(self.domain.dtype, dtype)
        coefficients = self.coefficients
        if coefficients.stride(0) == 0:  # one matrix that all samples share stays one
            moved = coefficients[:1].to(device=device, dtype=wanted).expand_as(coefficients)
        else:
            moved = coefficients.to(device=device, dtype=wanted)
        return type(self)(
            self.offsets,
            moved,
            periodic=self.periodic,
            axes=self.domain.axes[1:],
            tags=tuple(self.tags),
        )


def _check_stencil(offsets: tuple[tuple[int, ...], ...], coefficients: torch.Tensor) -> None:
    grid = tuple(coefficients.shape[2:])
    if coefficients.ndim < 3 or coefficients.shape[1] != len(offsets) or not offsets:
        raise ShapeError(
            f"a stencil of {len(offsets)} offsets expected coefficients "
            f"(n_samples, {len(offsets)}, *grid), got {tuple(coefficients.shape)}"
        )
    if len(set(offsets)) != len(offsets):
        raise ParameterError(f"a stencil expected different offsets, got {offsets}")
    for offset in offsets:
        if len(offset) != len(grid) or any(
            abs(step) >= n for step, n in zip(offset, grid, strict=True)
        ):
            raise ShapeError(f"offset {offset} does not fit a grid of shape {grid}")
