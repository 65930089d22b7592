"""Finite volumes of transport by a wind and by diffusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from operators.errors import ParameterError
from operators.pde.fluxes import flux_operator
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator

__all__ = ["transport_operator"]

_WEIGHTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "upwind": torch.ones_like,
    "central": lambda peclet: 1 - 0.5 * peclet,
    # The clamp keeps 0 / 0 away; the weight is 1 - P/2 + ... there.
    "exponential": lambda peclet: peclet.clamp_min(1e-12) / torch.expm1(peclet.clamp_min(1e-12)),
}
"""Patankar's A(|P|) by the name of the flux."""


def transport_operator(
    wind: tuple[torch.Tensor, ...],
    diffusivity: float,
    grid: Grid,
    *,
    flux: Literal["upwind", "central", "exponential"] = "exponential",
    walls: Literal["dirichlet", "outflow"] = "outflow",
) -> StencilOperator:
    """Discretise div(w u - D grad u) by finite volumes.

    The flux through the face between the cells i and i + 1, spaced h apart, is

    F = D / h ((A(|P|) + max(P, 0)) u_i - (A(|P|) + max(-P, 0)) u_{i+1}),   P = w h / D

    with A = 1 (upwind), 1 - |P| / 2 (central) or |P| / (exp|P| - 1) (exponential fitting, named
    after Scharfetter and Gummel: exact in one dimension where w and F are constant). u = 0 half a
    cell beyond the last one at a wall, or, with `walls="outflow"`, only where the wind enters;
    where it leaves, the diffusive flux is zero and F = w u_i.

    Parameters
    ----------
    wind : tuple of Tensor
        Normal velocities at the faces in m/s, as `curl_wind` returns them.
    diffusivity : float
        D > 0 in m^2/s.
    grid : Grid
        Of cells.
    flux : {"upwind", "central", "exponential"}
        First order and monotone; second order, and oscillating where |P| > 2; second order while
        |P| is small, and always monotone.
    walls : {"dirichlet", "outflow"}
        See above.

    Raises
    ------
    ParameterError
        If `flux` or `walls` is unknown.

    References
    ----------
    Patankar 1980, Numerical Heat Transfer and Fluid Flow, section 5.2-7 (the weights A)
    Scharfetter, Gummel 1969, doi:10.1109/T-ED.1969.16566

    Examples
    --------
    >>> grid, calm = Grid((3,), (3.0,)), (torch.zeros(1, 4),)
    >>> transport_operator(calm, 1.0, grid, walls="dirichlet").diagonal().tolist()
    [[3.0, 2.0, 3.0]]
    """
    if flux not in _WEIGHTS or walls not in {"dirichlet", "outflow"}:
        raise ParameterError(
            f"expected flux 'upwind', 'central' or 'exponential' and walls 'dirichlet' or "
            f"'outflow', got {flux!r} and {walls!r}"
        )
    forth, back = [], []
    for axis, (w, h) in enumerate(zip(wind, grid.spacing, strict=True), start=1):
        n = w.shape[axis] - 1
        distance = w.new_full((n + 1,), h)
        distance[0] = distance[n] = h / 2
        distance = distance.reshape(-1, *(1,) * (grid.ndim - axis))
        peclet = w * distance / diffusivity
        weight = _WEIGHTS[flux](peclet.abs())
        conductance = diffusivity / (h * distance)
        left = conductance * (weight + peclet.clamp_min(0))
        right = conductance * (weight + (-peclet).clamp_min(0))
        if walls == "outflow":
            _open_walls(left.narrow(axis, n, 1), w.narrow(axis, n, 1) / h)
            _open_walls(right.narrow(axis, 0, 1), -w.narrow(axis, 0, 1) / h)
        forth.append(left)
        back.append(right)
    return flux_operator(forth, back)


def _open_walls(coefficient: torch.Tensor, outwards: torch.Tensor) -> None:
    """Where the wind leaves, or there is none, let it carry u_i and nothing diffuse; in place."""
    coefficient.copy_(torch.where(outwards >= 0, outwards, coefficient))
