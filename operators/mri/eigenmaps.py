"""Leading eigenvectors of many small Hermitian matrices: one matrix a voxel, one vector a map."""

from __future__ import annotations

import torch

__all__ = ["leading_eigenvectors"]

_N_SQUARINGS = 6
_N_STEPS = 1
_TOLERANCE = 1e-4


def leading_eigenvectors(matrices: torch.Tensor, n_maps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the largest eigenvalues and their eigenvectors, voxel by voxel.

    G v_m = l_m v_m,  l_1 >= l_2 >= ... >= l_{n_maps}

    A single vector is found by power iteration with G^64 and judged by ||G v - l v|| / l; voxels
    that miss 1e-4, and all voxels when more vectors are wanted, get a dense eigendecomposition.

    Parameters
    ----------
    matrices : Tensor, (n, C, C), complex
        Hermitian, positive semidefinite.
    n_maps : int
        How many eigenvectors, 1 <= n_maps <= C.

    Returns
    -------
    vectors : Tensor, (n, C, n_maps)
        Of unit norm; zero where the matrix is zero.
    values : Tensor, (n, n_maps), real
        In descending order.

    Examples
    --------
    >>> G = torch.diag(torch.tensor([1.0, 3.0])).to(torch.complex64)[None]
    >>> leading_eigenvectors(G, 1)[1]
    tensor([[3.]])
    """
    if n_maps > 1:
        return _dense(matrices, n_maps)
    vectors, values, converged = _power_iteration(matrices)
    if not bool(converged.all()):
        vectors[~converged], values[~converged] = _dense(matrices[~converged], 1)
    return vectors, values


def _dense(matrices: torch.Tensor, n_maps: int) -> tuple[torch.Tensor, torch.Tensor]:
    values, vectors = torch.linalg.eigh(matrices)
    values, vectors = values.flip(-1)[:, :n_maps], vectors.flip(-1)[..., :n_maps]
    return vectors * (values[:, None, :] > 0), values


def _power_iteration(
    matrices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return vectors (n, C, 1), values (n, 1) and whether each met the tolerance (n,)."""
    n, n_coils, _ = matrices.shape
    tiny = torch.finfo(matrices.dtype).tiny
    power = matrices
    for _ in range(_N_SQUARINGS):
        power = _unit_trace(power)
        power = power @ power
    # the column of the largest diagonal entry is never orthogonal to a dominant eigenvector v:
    # there |v_c|^2 >= 1/C
    strongest = _diagonal(power).argmax(-1)
    index = strongest[:, None, None].expand(n, n_coils, 1)
    vectors = _normalised(power.gather(-1, index), tiny)
    for _ in range(_N_STEPS):
        vectors = _normalised(power @ vectors, tiny)
    image = matrices @ vectors
    values = (vectors.conj() * image).real.sum(-2)
    residual = _norms(image - values[:, None, :] * vectors)[:, 0, 0]
    return vectors, values, residual <= _TOLERANCE * values[:, 0]


def _diagonal(matrices: torch.Tensor) -> torch.Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).real


def _unit_trace(matrices: torch.Tensor) -> torch.Tensor:
    """Scale so that the largest eigenvalue lies in [1/C, 1] and its square cannot underflow."""
    trace = _diagonal(matrices).sum(-1).clamp_min(torch.finfo(matrices.dtype).tiny)
    # on real and imaginary parts: torch divides complex by real as if both were complex
    parts = torch.view_as_real(matrices) * trace.reciprocal()[:, None, None, None]
    return torch.view_as_complex(parts)


def _normalised(vectors: torch.Tensor, tiny: float) -> torch.Tensor:
    return vectors / _norms(vectors).clamp_min(tiny)


def _norms(vectors: torch.Tensor) -> torch.Tensor:
    # several times faster than linalg.vector_norm along an axis this short
    return torch.view_as_real(vectors).square().sum((-3, -1)).sqrt()[:, None, :]
