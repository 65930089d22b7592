"""Small dense problems of recycling, on the host: which directions to keep, and how to whiten."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError

__all__ = ["TARGETS", "Target", "harmonic_space", "require_target", "ritz_space", "whitening"]

Matrix = NDArray[Any]
Target = Literal["smallest", "largest", "both"]
TARGETS: tuple[Target, ...] = ("smallest", "largest", "both")
"""Which end of the spectrum a recycled space is to hold."""


def whitening(gram: Matrix, eps: float) -> Matrix:
    """Return T with conj(T) G T^T = I from the Gram matrix G_ij = <c_i, d_j> of the rows of c, d.

    Rows are scaled to one length first; combinations whose share in G is below 100 eps are dropped,
    so T has as many rows as G has numerical rank.

    Parameters
    ----------
    gram : (k, k)
        Hermitian, positive semidefinite to rounding.
    eps : float
        Unit round-off of the vectors it came from.

    Examples
    --------
    >>> whitening(np.array([[4.0, 8.0], [8.0, 16.0]]), 1e-16).shape
    (1, 2)
    """
    diagonal = np.real(np.diag(gram))
    is_usable = np.isfinite(diagonal) & (diagonal > 0)
    length = np.where(is_usable, 1.0 / np.sqrt(np.where(is_usable, diagonal, 1.0)), 0.0)
    scaled = np.where(length[:, None] * length > 0, gram, 0.0) * length[:, None] * length
    if not np.isfinite(scaled).all():
        return np.zeros((0, len(gram)), gram.dtype)
    values, vectors = np.linalg.eigh((scaled + scaled.conj().T) / 2)
    kept = values > 100 * eps * max(values.max(initial=0.0), 0.0)
    whitened: Matrix = (vectors[:, kept] / np.sqrt(values[kept])).T * length
    return whitened


def harmonic_space(G: Matrix, F: Matrix, k: int, target: Target) -> tuple[Matrix, Matrix]:
    """Choose k harmonic Ritz vectors from A V = W G with orthonormal W and F = W^H V.

    G^H G z = theta G^H F z. With G = Q R and w = R z these are the eigenvectors of Q^H F R^-1,
    whose eigenvalues are 1 / theta. Their invariant space is returned with an orthonormal basis S,
    so the images W Q S are orthonormal too. Complex pairs of real matrices stay together.

    Returns
    -------
    images : (n_rows, k)
        Q S: coordinates in W of the chosen images.
    vectors : (n_columns, k)
        R^-1 S: coordinates in V of the chosen vectors; A V R^-1 S = W Q S.

    References
    ----------
    Morgan 1995, doi:10.1016/0024-3795(93)00127-Y; Parks et al. 2006, doi:10.1137/040607277,
    eq. 2.13 and the appendix.

    Examples
    --------
    >>> A = np.diag([4.0, 1.0, 3.0])
    >>> images, vectors = harmonic_space(A, np.eye(3), 1, "smallest")
    >>> abs(vectors[:, 0]).round(12).tolist()
    [0.0, 1.0, 0.0]
    """
    q, r = np.linalg.qr(G)
    diagonal = np.abs(np.diag(r))
    if not (np.isfinite(G).all() and np.isfinite(F).all()) or (
        diagonal.min(initial=np.inf) <= 1e-14 * diagonal.max(initial=0.0)
    ):
        return np.zeros((len(G), 0), G.dtype), np.zeros((G.shape[1], 0), G.dtype)
    inverse = np.linalg.solve(r, np.eye(len(r)))
    values, w = np.linalg.eig(q.conj().T @ F @ inverse)
    basis = _basis_of(values, w, k, target, is_real=not np.iscomplexobj(G))
    return q @ basis, inverse @ basis


def ritz_space(images: Matrix, k: int, target: Target) -> Matrix:
    """Choose k harmonic Ritz vectors of a Hermitian A from Z with Z^H A Z = I.

    (A Z)^H A Z y = theta y.

    Parameters
    ----------
    images : (n, n)
        Gram matrix (A Z)^H (A Z).

    Returns
    -------
    (n, k)
        Orthonormal coordinates in Z, so that Z y stays A-orthonormal.

    Examples
    --------
    >>> ritz_space(np.diag([4.0, 1.0, 3.0]), 1, "largest").ravel().tolist()
    [1.0, 0.0, 0.0]
    """
    values, vectors = np.linalg.eigh((images + images.conj().T) / 2)
    chosen: Matrix = vectors[:, _chosen(len(values), k, target)]
    return chosen


def _chosen(n: int, k: int, target: Target) -> NDArray[np.int64]:
    """Return which k of n ascending values to keep, the most wanted first."""
    ascending = np.arange(n)
    if target == "both":
        return np.stack([ascending, ascending[::-1]], axis=1).ravel()[: min(n, k)]
    return (ascending if target == "smallest" else ascending[::-1])[:k]


def _basis_of(inverse_theta: Matrix, w: Matrix, k: int, target: Target, *, is_real: bool) -> Matrix:
    """Return an orthonormal basis of at most k chosen eigenvectors."""
    ascending = np.argsort(-np.abs(inverse_theta), kind="stable")
    order = ascending[_chosen(len(ascending), k, target)]
    if not (is_real and np.iscomplexobj(w)):
        return _orthonormal(w[:, order])
    columns: list[Matrix] = []
    done: set[int] = set()
    for i in order.tolist():
        # LAPACK puts the two of a pair side by side, the positive imaginary part first.
        partner = i + int(np.sign(inverse_theta[i].imag))
        if i not in done and len(columns) + (1 if partner == i else 2) <= k:
            columns += [w[:, i].real] if partner == i else [w[:, i].real, w[:, i].imag]
        done |= {i, partner}
    return _orthonormal(np.stack(columns, axis=1)) if columns else np.zeros((len(w), 0))


def _orthonormal(columns: Matrix) -> Matrix:
    """Return an orthonormal basis of the columns' span; dependent ones are dropped."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    kept: Matrix = left[:, singular > 1e-10 * singular.max(initial=0.0)]
    return kept


def require_target(target: str) -> Target:
    """Return the target if it is one.

    Raises
    ------
    SolverError
        If it is not in `TARGETS`.
    """
    for known in TARGETS:
        if target == known:
            return known
    raise SolverError(f"target expected one of {', '.join(TARGETS)}, got {target!r}")
