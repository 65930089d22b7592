"""Velocities through the faces of a grid that neither make nor lose mass."""

from __future__ import annotations

import torch

from operators.errors import ShapeError
from operators.pde.grid import Grid

__all__ = ["curl_wind", "uniform_wind"]

_Z, _Y, _X = range(3)
_CURL = {
    _X: ((_Y, _Z, 1.0), (_Z, _Y, -1.0)),
    _Y: ((_Z, _X, 1.0), (_X, _Z, -1.0)),
    _Z: ((_X, _Y, 1.0), (_Y, _X, -1.0)),
}
"""w_a = the sum of sign d psi_c / d b over these (b, c, sign)."""


def curl_wind(psi: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, ...]:
    """Compute the wind w = curl psi through every face.

    In two dimensions psi is the stream function, w = (w_y, w_x) = (-d psi / dx, d psi / dy); in
    three the vector potential with components (z, y, x). psi is interpolated from the cells to
    their edges (extrapolated to those on a wall) and the circulation round a face is the flow
    through it, so that the flows out of every cell sum to zero up to rounding.

    Parameters
    ----------
    psi : Tensor, (n_samples, *grid) in two dimensions, (n_samples, 3, *grid) in three
        At the centres of the cells, in m^2/s.
    grid : Grid
        Of cells, in two or three dimensions.

    Returns
    -------
    tuple of Tensor
        Normal velocity in m/s, one an axis: (n_samples, *grid) with n + 1 faces along that axis.

    Raises
    ------
    ShapeError
        If `psi` does not fit the grid.

    References
    ----------
    Yee 1966, doi:10.1109/TAP.1966.1138693 (the staggered curl)

    Examples
    --------
    >>> grid = Grid((2, 2), (2.0, 2.0))
    >>> w_y, w_x = curl_wind(torch.tensor([[[0.0, 3.0], [0.0, 3.0]]]), grid)
    >>> w_y.unique().tolist(), w_x.unique().tolist()
    ([-3.0], [0.0])
    """
    wanted = grid.shape if grid.ndim == 2 else (3, *grid.shape)
    if grid.ndim == 1 or tuple(psi.shape[1:]) != wanted:
        raise ShapeError(
            f"the wind of a grid of shape {grid.shape} expected psi (n_samples, *{wanted}) "
            f"in two or three dimensions, got {tuple(psi.shape)}"
        )
    missing = 3 - grid.ndim  # axes of z, y, x that the grid lacks
    components = {_Z: psi} if missing else dict(enumerate(psi.unbind(1)))
    wind = []
    for axis in range(grid.ndim):
        flow: torch.Tensor | float = 0.0
        for b, c, sign in _CURL[axis + missing]:
            if c in components and b >= missing:
                edges = _on_edges(components[c], (axis + 1, b - missing + 1))
                flow = flow + (sign / grid.spacing[b - missing]) * edges.diff(dim=b - missing + 1)
        wind.append(torch.as_tensor(flow))
    return tuple(wind)


def uniform_wind(velocity: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, ...]:
    """Return the same wind through every face.

    Parameters
    ----------
    velocity : Tensor, (n_samples, ndim)
        Components along the grid's axes, in m/s.
    grid : Grid

    Returns
    -------
    tuple of Tensor
        As of `curl_wind`; views of `velocity`.
    """
    if velocity.ndim != 2 or velocity.shape[1] != grid.ndim:
        raise ShapeError(
            f"a uniform wind on a grid of {grid.ndim} axes expected velocities "
            f"(n_samples, {grid.ndim}), got {tuple(velocity.shape)}"
        )
    return tuple(
        component.reshape(-1, *(1,) * grid.ndim).expand(
            -1, *(n + (d == axis) for d, n in enumerate(grid.shape))
        )
        for axis, component in enumerate(velocity.unbind(1))
    )


def _on_edges(psi: torch.Tensor, axes: tuple[int, int]) -> torch.Tensor:
    """Interpolate linearly from cells to the ends of the cells along two axes."""
    for axis in axes:
        n = psi.shape[axis]
        first, last = psi.narrow(axis, 0, 2), psi.narrow(axis, n - 2, 2)
        low = 1.5 * first.narrow(axis, 0, 1) - 0.5 * first.narrow(axis, 1, 1)
        high = 1.5 * last.narrow(axis, 1, 1) - 0.5 * last.narrow(axis, 0, 1)
        inner = 0.5 * (psi.narrow(axis, 0, n - 1) + psi.narrow(axis, 1, n - 1))
        psi = torch.cat((low, inner, high), dim=axis)
    return psi
