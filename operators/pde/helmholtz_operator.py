"""The Helmholtz equation on cells, with walls that let waves out."""

from __future__ import annotations

import math
from typing import Literal

import torch

from operators.errors import ParameterError
from operators.pde.fluxes import flux_operator
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator

__all__ = ["absorbing_stretch", "helmholtz_operator", "points_per_wavelength"]

_REFLECTION = 1e-4
"""Amplitude that a layer sends back at normal incidence before discretisation."""


def points_per_wavelength(largest_wave_number: float, grid: Grid) -> float:
    """Return how many spacings the shortest wavelength 2 pi / k has.

    Examples
    --------
    >>> points_per_wavelength(2 * math.pi, Grid((10, 20)))
    10.0
    """
    return 2 * math.pi / largest_wave_number / max(grid.spacing)


def absorbing_stretch(
    positions: torch.Tensor, length: float, layer: float, wave_number: float
) -> torch.Tensor:
    """Compute ds/dx of the stretched coordinate of a perfectly matched layer at both ends.

    s' = 1 + i sigma(x) / k,   sigma = 3 ln(1 / R) / (2 w) (depth / w)^2,

    with which exp(i k s) is damped by sqrt(R) on the way to the wall; R = 1e-4.

    Parameters
    ----------
    positions : Tensor
        x in metres, real.
    length : float
        Of the side of the box, in metres.
    layer : float
        Width w of each layer in metres.
    wave_number : float
        k in rad/m of the waves that the layer is made for.

    References
    ----------
    Chew, Weedon 1994, doi:10.1002/mop.4650071304 (stretched coordinates)
    Collino, Monk 1998, doi:10.1016/S0045-7825(98)00052-8 (the quadratic profile)
    """
    depth = torch.maximum(layer - positions, positions - (length - layer)).clamp_min(0)
    sigma = 1.5 * math.log(1 / _REFLECTION) / layer * (depth / layer) ** 2
    return torch.complex(torch.ones_like(sigma), sigma / wave_number)


def helmholtz_operator(
    wave_number: torch.Tensor,
    grid: Grid,
    *,
    walls: Literal["sommerfeld", "layer"] = "sommerfeld",
    layer: float = 0.0,
    reference: float = 1.0,
) -> tuple[StencilOperator, torch.Tensor]:
    """Discretise -lap u - k(x)^2 u = f by finite volumes, time running as exp(-i omega t).

    With `walls="sommerfeld"`, du/dn = i k u at the walls, taken half-way between the last cell and
    its image beyond the wall: second order, and exact to leave for waves that meet the wall at a
    right angle only. With `"layer"`, the coordinates are stretched near the walls
    (`absorbing_stretch`), u = 0 on them, and each equation is multiplied by J = prod_a s'_a:

    -sum_a d/da (J / s'_a^2 du/da) - J k^2 u = J f

    Either way A = A^T, which is neither Hermitian nor definite.

    Parameters
    ----------
    wave_number : Tensor, (n_samples, *grid), real
        k in rad/m.
    grid : Grid
        Of cells.
    walls : {"sommerfeld", "layer"}
        See above.
    layer : float
        Width of the layers inside the box in metres.
    reference : float
        Wave number in rad/m that the layers are made for.

    Returns
    -------
    operator : StencilOperator
        Complex.
    weight : Tensor, (*grid), complex
        J, by which f has to be multiplied; one outside the layers.

    Raises
    ------
    ParameterError
        If `walls` is unknown, or the layers do not leave half of the box free.
    """
    if walls == "sommerfeld":
        return _with_radiating_walls(wave_number, grid), torch.ones(
            grid.shape, dtype=torch.complex128, device=wave_number.device
        )
    if walls != "layer":
        raise ParameterError(f"expected walls 'sommerfeld' or 'layer', got {walls!r}")
    if not 0 < layer <= min(grid.lengths) / 4:
        raise ParameterError(
            f"absorbing layers expected a width up to a quarter of the box of {grid.lengths} m, "
            f"got {layer:.3g} m. Raise the wave number, or make the layers thinner."
        )
    return _with_layers(wave_number, grid, layer, reference)


def _with_radiating_walls(k: torch.Tensor, grid: Grid) -> StencilOperator:
    faces = []
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True), start=1):
        shape = (*k.shape[:axis], n + 1, *k.shape[axis + 1 :])
        t = torch.full(shape, 1 / h**2, dtype=torch.complex128, device=k.device)
        for face, cell in ((0, 0), (n, n - 1)):
            ikh = 1j * h * k.narrow(axis, cell, 1)
            # The image beyond the wall is u (1 + ikh / 2) / (1 - ikh / 2).
            t.narrow(axis, face, 1).copy_(-ikh / (1 - 0.5 * ikh) / h**2)
        faces.append(t)
    return flux_operator(faces, faces, -(k**2).to(torch.complex128))


def _with_layers(
    k: torch.Tensor, grid: Grid, layer: float, reference: float
) -> tuple[StencilOperator, torch.Tensor]:
    at_cells: list[torch.Tensor] = []
    at_faces: list[torch.Tensor] = []
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        column = (-1, *(1,) * (grid.ndim - axis - 1))
        faces = h * torch.arange(n + 1, dtype=torch.float64, device=k.device)
        for x, stretches in ((faces[:-1] + h / 2, at_cells), (faces, at_faces)):
            stretch = absorbing_stretch(x, grid.lengths[axis], layer, reference)
            stretches.append(stretch.reshape(column))
    weight = at_cells[0].expand(grid.shape)
    for stretch in at_cells[1:]:
        weight = weight * stretch
    coefficients = []
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        t = 1 / (h**2 * at_faces[axis])
        t[0], t[n] = 2 * t[0], 2 * t[n]  # the wall is half a cell away
        for other, stretch in enumerate(at_cells):
            t = t if other == axis else t * stretch
        coefficients.append(t.expand(k.shape[0], *t.shape))
    return flux_operator(coefficients, coefficients, -weight * k**2), weight
