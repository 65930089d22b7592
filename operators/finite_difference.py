"""Forward differences along chosen axes: the gradient that total variation penalises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, final

import torch

from operators.errors import ParameterError
from operators.linear import LinearOperator
from operators.space import Space, grid_names, positive_axes

__all__ = ["FiniteDifference"]


@final
class FiniteDifference(LinearOperator):
    """Forward differences: (D x)_a[i] = x[i + e_a] - x[i] for each chosen axis a.

    At the last sample of an axis, `boundary="periodic"` wraps (x[n] = x[0]) and `"neumann"` gives
    zero (x[n] = x[n-1]). D^H D is minus the discrete Laplacian with that boundary, and
    ||D||^2 <= 4 len(axes). Differences are per sample: divide by the spacing for a derivative.

    Parameters
    ----------
    shape : sequence of int
        Shape of the image, without batch axes.
    axes : sequence of int, optional
        Axes of `shape` to difference; all by default.
    boundary : {"periodic", "neumann"}
        See above.
    dtype : torch.dtype
        Real or complex, single or double.
    names : sequence of str, optional
        Axis names of the image; by default the last of z, y, x for up to three axes.

    Raises
    ------
    ShapeError
        If an axis is out of range or given twice, or the names do not fit the shape.
    ParameterError
        If `boundary` is neither of the two.

    References
    ----------
    Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e, section 2 (gradient and divergence with
    the Neumann boundary)

    Examples
    --------
    >>> D = FiniteDifference((3,), boundary="neumann", dtype=torch.float32)
    >>> D(torch.tensor([1.0, 4.0, 9.0]))
    tensor([[3., 5., 0.]])
    >>> D.range
    <direction:1 x:3 float32>
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        axes: Sequence[int] | None = None,
        boundary: Literal["periodic", "neumann"] = "periodic",
        dtype: torch.dtype = torch.complex64,
        names: Sequence[str] | None = None,
    ) -> None:
        if boundary not in {"periodic", "neumann"}:
            raise ParameterError(f"expected boundary 'periodic' or 'neumann', got {boundary!r}")
        shape = tuple(shape)
        chosen = positive_axes(axes, len(shape))
        domain = Space(shape, dtype, grid_names(len(shape)) if names is None else tuple(names))
        range_ = Space((len(chosen), *shape), dtype, ("direction", *domain.axes))
        super().__init__(domain, range_)
        self.axes = tuple(axis - len(shape) for axis in chosen)
        self.boundary = boundary

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.new_empty((*self.domain.batch_shape(x), *self.range.shape))
        for i, axis in enumerate(self.axes):
            # Axes are counted from the back and `direction` lies in front: they keep their number.
            component = y.select(-len(self.range.shape), i)
            before, after, last = self._split(x, axis)
            torch.sub(after, before, out=component.narrow(axis, 0, before.shape[axis]))
            edge = component.narrow(axis, -1, 1)
            if self.boundary == "periodic":
                torch.sub(x.narrow(axis, 0, 1), last, out=edge)
            else:
                edge.zero_()
        return y

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        x = y.new_zeros((*self.range.batch_shape(y), *self.domain.shape))
        for i, axis in enumerate(self.axes):
            before, _, last = self._split(y.select(-len(self.range.shape), i), axis)
            self._add_transposed(x, before, last, axis)
        return x

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x)
        for axis in self.axes:
            before, after, last = self._split(x, axis)
            self._add_transposed(total, after - before, x.narrow(axis, 0, 1) - last, axis)
        return total

    @staticmethod
    def _split(x: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """View x as all but the last sample, all but the first, and the last."""
        n = x.shape[axis]
        return x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)

    def _add_transposed(
        self, x: torch.Tensor, interior: torch.Tensor, edge: torch.Tensor, axis: int
    ) -> None:
        """Add D_a^H (interior, edge) to x: each difference goes back with -1 and +1."""
        n = x.shape[axis]
        x.narrow(axis, 0, n - 1).sub_(interior)
        x.narrow(axis, 1, n - 1).add_(interior)
        if self.boundary == "periodic":
            x.narrow(axis, n - 1, 1).sub_(edge)
            x.narrow(axis, 0, 1).add_(edge)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the differences at another precision; they hold no tensors to move."""
        del device
        domain = self.domain.to(dtype)
        return type(self)(
            domain.shape,
            axes=self.axes,
            boundary=self.boundary,
            dtype=domain.dtype,
            names=domain.axes,
        )
