"""Linear finite elements on triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.sparse import SparseMatrix

__all__ = ["Mesh", "lattice_mesh"]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles in the plane, and linear elements on them.

    Parameters
    ----------
    points : ndarray, (n_points, 2)
        (y, x) in metres.
    triangles : ndarray of int, (n_triangles, 3)
        Corners, either way round.

    Examples
    --------
    >>> corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> square = Mesh(corners, np.array([[0, 1, 2], [3, 2, 1]]))
    >>> square.stiffness().toarray()[0].tolist(), square.areas().sum().item()
    ([1.0, -0.5, -0.5, 0.0], 1.0)
    """

    points: NDArray[np.float64]
    triangles: NDArray[np.int64]

    def areas(self) -> NDArray[np.float64]:
        """Return the area of each triangle in m^2."""
        p, q, r = (self.points[self.triangles[:, i]] for i in range(3))
        cross = (q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]
        return np.asarray(0.5 * np.abs(cross))

    def stiffness(self) -> SparseMatrix:
        """Assemble K_ij = integral of grad phi_i . grad phi_j, (n_points, n_points) CSR.

        phi_i falls from 1 at corner i to 0 along the opposite edge e_i, so that on a triangle of
        area T the integral is e_i . e_j / (4 T).
        """
        corners = self.points[self.triangles]
        edges = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)
        local = np.einsum("tid,tjd->tij", edges, edges) / (4 * self.areas())[:, None, None]
        return self._assemble(local)

    def mass(self) -> SparseMatrix:
        """Assemble M_ij = integral of phi_i phi_j: a twelfth of the area, twice that for i = j."""
        local = self.areas()[:, None, None] / 12 * (np.ones((3, 3)) + np.eye(3))
        return self._assemble(local)

    def _assemble(self, local: NDArray[np.float64]) -> SparseMatrix:
        from scipy import sparse

        rows = np.repeat(self.triangles, 3, axis=1).ravel()
        columns = np.tile(self.triangles, (1, 3)).ravel()
        n = len(self.points)
        return sparse.coo_array((local.ravel(), (rows, columns)), shape=(n, n)).tocsr()


def lattice_mesh(
    shape: tuple[int, ...],
    lengths: tuple[float, ...],
    distortion: float = 0.2,
    hole: NDArray[np.bool_] | None = None,
) -> Mesh:
    """Cut a rectangle into triangles, its inner points moved about to make the mesh irregular.

    Parameters
    ----------
    shape : tuple of int
        Points along y and x, those on the sides included.
    lengths : tuple of float
        Sides in metres; the corner is at the origin.
    distortion : float
        How far a point is moved at most along each axis, in units of the spacing; below 1/4 no
        triangle turns over. The moves are always the same.
    hole : ndarray of bool, (n_y - 1, n_x - 1), optional
        Cells to leave out; the points round them are not moved, those within them are left out.

    Returns
    -------
    Mesh
        Points in row-major order of the lattice, two triangles a cell.

    Raises
    ------
    ParameterError
        If `distortion` is not in [0, 1/4).

    Examples
    --------
    >>> mesh = lattice_mesh((4, 5), (1.0, 2.0))
    >>> len(mesh.points), len(mesh.triangles), round(float(mesh.areas().sum()), 12)
    (20, 24, 2.0)
    """
    if not 0 <= distortion < 0.25:
        raise ParameterError(f"a mesh expected a distortion from 0 to below 1/4, got {distortion}")
    n_y, n_x = shape
    i, j = np.meshgrid(np.arange(n_y), np.arange(n_x), indexing="ij")
    kept = np.ones((n_y - 1, n_x - 1), bool) if hole is None else ~hole
    around = np.pad(kept, 1)
    inner = around[:-1, :-1] & around[:-1, 1:] & around[1:, :-1] & around[1:, 1:]
    # Sines at incommensurate rates scatter evenly and are the same everywhere.
    moves = [np.sin(12.9898 * i + 78.233 * j), np.sin(39.3467 * i + 11.135 * j)]
    points = [
        (at + distortion * inner * move) * length / (n - 1)  # in this order 1 m is exactly 1.0
        for length, n, at, move in zip(lengths, shape, (i, j), moves, strict=True)
    ]
    corner = (i * n_x + j)[:-1, :-1][kept]
    right, below, across = corner + 1, corner + n_x, corner + n_x + 1
    triangles = np.concatenate(
        (np.stack((corner, right, across), 1), np.stack((corner, across, below), 1))
    )
    used, renumbered = np.unique(triangles, return_inverse=True)
    every = np.stack([p.ravel() for p in points], axis=1)
    return Mesh(every[used], renumbered.reshape(-1, 3).astype(np.int64))
