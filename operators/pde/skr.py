"""The Darcy and Helmholtz problems that sorting and Krylov recycling were published with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, PowerLaw
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator

__all__ = ["SKRDarcy", "SKRHelmholtz", "skr_operator"]


def skr_operator(
    a: torch.Tensor, wave_number: torch.Tensor | float = 0.0, *, index_shift: bool = True
) -> StencilOperator:
    """Make the published matrix: 4 a_i - (h k)^2 on the diagonal, -a_j for each neighbour j.

    With k = 0 and no index shift this is L diag(a), the five-point Laplacian of the product a u:
    not symmetric, and solved by u = (L^-1 b) / a.

    Parameters
    ----------
    a : Tensor, (n_samples, n_y + 2, n_x + 2)
        The medium with a rim one point wide.
    wave_number : Tensor, (n_samples,), or float
        k in 1/m; h = 1 / (n_x - 1) m.
    index_shift : bool
        Take the coefficient of the neighbour one row before from two points earlier in row-major
        order, as the published matrices do.

    Returns
    -------
    StencilOperator
        On (n_samples, n_y, n_x).
    """
    at = a[:, 1:-1, 1:-1]
    before, after = a[:, :-2, 1:-1], a[:, 2:, 1:-1]
    if index_shift:
        before = before.flatten(1).roll(2, dims=1).reshape(before.shape)
    h = 1.0 / (at.shape[2] - 1)
    k = torch.as_tensor(wave_number, dtype=a.dtype, device=a.device).reshape(-1, 1, 1)
    parts = [4 * at - (h * k) ** 2, -before, -after, -a[:, 1:-1, :-2], -a[:, 1:-1, 2:]]
    offsets = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    return StencilOperator(offsets, torch.stack(parts, dim=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Grid and medium of the two problems.

    Parameters
    ----------
    index_shift : bool
        As of `skr_operator`.
    """

    index_shift: bool = True

    name: ClassVar[str]
    boundary: ClassVar[str] = "u = 0 on the rim"
    unknown: ClassVar[Quantity] = Quantity("solution", "u", "1")
    n_steps: ClassVar[int] = 1

    @property
    def stencil(self) -> str:
        """The discretisation in words."""
        shifted = ", one diagonal shifted by two points" if self.index_shift else ""
        return f"five points, the coefficient taken at the neighbour{shifted}"

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return the points of the unit square, the rim included: 52 x 52 for 2500 unknowns."""
        if len(shape) != 2 or min(shape) < 4:
            raise ParameterError(f"{self.name} expected two axes of 4 points or more, got {shape}")
        return Grid(shape)

    def _medium(self, grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
        field = GaussianField(PowerLaw(alpha=2.5, tau=7.0), boundary="periodic", zero_mean=True)
        return np.asarray(np.exp(field.sample(grid, rng)))

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the problem is steady."""

    def _systems(
        self, a: NDArray[np.float64], wave_number: NDArray[np.float64] | float
    ) -> LinearSystems:
        operator = skr_operator(
            torch.as_tensor(a), torch.as_tensor(wave_number), index_shift=self.index_shift
        )
        _, n_y, n_x = operator.domain.shape
        # b = h^2 f with f = 1 and the published h.
        rhs = torch.full((a.shape[0], n_y, n_x), (n_x - 1.0) ** -2, dtype=torch.float64)
        return LinearSystems(operator, rhs, operator.matrix, rim=1)


@register("skr_darcy")
@dataclass(frozen=True, slots=True, kw_only=True)
class SKRDarcy(_Published):
    """The published "Darcy" problem as it was: -laplacian(a u) = 1, not -div(a grad u) = 1.

    a = exp(g) with a periodic Gaussian field g ~ N(0, 7^3 (-Laplacian + 49)^-5/2) of mean zero.
    The diagonal is 4 a_i and the entry of a neighbour j is -a_j. One diagonal is two points out of
    step, which changes the matrix by about a per cent; `index_shift=False` mends it. For Darcy's
    equation proper see `darcy`.

    Parameters
    ----------
    index_shift : bool
        Keep the shift.

    References
    ----------
    Wang et al. 2024, arXiv:2401.09516, and the code published with it

    Examples
    --------
    >>> family = SKRDarcy()
    >>> grid = family.grid((52, 52))
    >>> a = family.draw(grid, np.random.default_rng(0))["coefficient"]
    >>> family.systems(grid, {"coefficient": a[None]}).matrix(0).shape
    (2500, 2500)
    """

    name: ClassVar[str] = "skr_darcy"
    equation: ClassVar[str] = "-laplacian(a u) = 1"
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("coefficient", "a", "1"),)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the coefficient of one sample."""
        return {"coefficient": self._medium(grid, rng)}

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the matrix of each sample; there is one step."""
        del grid, state, step
        return self._systems(parameters["coefficient"], 0.0)


@register("skr_helmholtz")
@dataclass(frozen=True, slots=True, kw_only=True)
class SKRHelmholtz(_Published):
    """The published "Helmholtz" problem as it was: -laplacian(a u) - k^2 u = 1, k in (0, 1).

    The matrix of `SKRDarcy` less (h k)^2 on the diagonal, k uniform. As k^2 < 1 while the smallest
    eigenvalue of the Laplacian is 2 pi^2, nothing oscillates and the matrix is hardly changed. For
    waves see `helmholtz`.

    Parameters
    ----------
    index_shift : bool
        As in `SKRDarcy`.

    References
    ----------
    Wang et al. 2024, arXiv:2401.09516, and the code published with it

    Examples
    --------
    >>> family = SKRHelmholtz()
    >>> drawn = family.draw(family.grid((52, 52)), np.random.default_rng(0))
    >>> {name: array.shape for name, array in drawn.items()}
    {'coefficient': (52, 52), 'wave_number': ()}
    """

    name: ClassVar[str] = "skr_helmholtz"
    equation: ClassVar[str] = "-laplacian(a u) - k^2 u = 1"
    parameters: ClassVar[tuple[Quantity, ...]] = (
        Quantity("coefficient", "a", "1"),
        Quantity("wave_number", "k", "1/m"),
    )

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the coefficient and then the wave number of one sample."""
        return {"coefficient": self._medium(grid, rng), "wave_number": np.array(rng.uniform())}

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the matrix of each sample; there is one step."""
        del grid, state, step
        return self._systems(parameters["coefficient"], parameters["wave_number"])
