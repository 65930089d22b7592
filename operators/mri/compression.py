"""Fewer virtual coils that keep most of the signal."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from operators.errors import DtypeError, ShapeError
from operators.fourier import fft_centred, ifft_centred
from operators.mri.whitening import whiten

__all__ = ["CompressedCoils", "compress", "compress_geometric"]


@dataclass(frozen=True, slots=True, eq=False)
class CompressedCoils:
    """Virtual coils and how they were made.

    Parameters
    ----------
    kspace : Tensor, (V, *grid), complex
        Data of the virtual coils.
    matrix : Tensor, (V, C) or, for geometric compression, (n_readout, V, C), complex
        Orthonormal rows, so white noise stays white. Geometric matrices act on data that were
        Fourier transformed to image space along the readout.
    energy_kept : float
        Share of the energy of the original data, in [0, 1].
    """

    kspace: torch.Tensor
    matrix: torch.Tensor
    energy_kept: float


def compress(
    kspace: torch.Tensor, n_virtual: int, *, calibration: torch.Tensor | None = None
) -> CompressedCoils:
    """Compress coils by the singular value decomposition of the data.

    y' = U_V^H y,  sum_k y_k y_k^H = U diag(l) U^H

    Parameters
    ----------
    kspace : Tensor, (C, *grid), complex
        Whitened k-space (or coil images).
    n_virtual : int
        V, number of virtual coils, 1 <= V <= C; C gives a unitary transform.
    calibration : Tensor, (C, ...), complex, optional
        Data that decide the matrix; by default `kspace` itself.

    Returns
    -------
    CompressedCoils
        Virtual coils in descending order of energy.

    Raises
    ------
    ShapeError
        If `n_virtual` is out of range or `calibration` has another number of coils.
    DtypeError
        If `kspace` is not complex.

    References
    ----------
    Buehrer et al. 2007, doi:10.1002/mrm.21237; Huang et al. 2008, doi:10.1016/j.mri.2007.04.010

    Examples
    --------
    >>> kspace = torch.ones(4, 8, 8, dtype=torch.complex64)
    >>> round(compress(kspace, 1).energy_kept, 6)
    1.0
    """
    _check(kspace, n_virtual)
    samples = kspace if calibration is None else calibration
    if len(samples) != len(kspace):
        raise ShapeError(f"calibration data of {len(samples)} coils do not fit {len(kspace)} coils")
    matrix = _principal_rows(samples.flatten(1), n_virtual).to(kspace.dtype)
    virtual = whiten(kspace, matrix)
    return CompressedCoils(virtual, matrix, _energy_ratio(virtual, kspace))


def compress_geometric(
    kspace: torch.Tensor, n_virtual: int, *, readout_axis: int = -1
) -> CompressedCoils:
    """Compress coils separately at every position along a fully sampled readout.

    y'(x) = P(x) A(x) y(x),  A(x) = first V principal rows of the coil data at x

    The unitary P(x) = V U^H, from the singular value decomposition of A(x) B(x-1)^H = U S V^H
    with B = P A, aligns the virtual coils with their neighbours, so that their sensitivities stay
    smooth along x.

    Parameters
    ----------
    kspace : Tensor, (C, *grid), complex
        Whitened k-space.
    n_virtual : int
        V, number of virtual coils.
    readout_axis : int
        Fully sampled axis of `kspace`, not 0.

    Returns
    -------
    CompressedCoils
        k-space of the virtual coils and the aligned matrices B(x).

    Raises
    ------
    ShapeError
        If `n_virtual` is out of range or the readout axis is the coil axis.
    DtypeError
        If `kspace` is not complex.

    References
    ----------
    Zhang et al. 2013, doi:10.1002/mrm.24267, eqs. 5-9

    Examples
    --------
    >>> kspace = torch.randn(4, 8, 8, dtype=torch.complex64)
    >>> compress_geometric(kspace, 2).matrix.shape
    torch.Size([8, 2, 4])
    """
    _check(kspace, n_virtual)
    axis = readout_axis % kspace.ndim
    if axis == 0:
        raise ShapeError("readout_axis must be an image axis, got the coil axis 0")
    hybrid = ifft_centred(kspace, (axis,)).movedim(axis, 0)  # (x, C, ...)
    matrices = _aligned(_principal_rows(hybrid.flatten(2), n_virtual)).to(kspace.dtype)
    virtual = (matrices @ hybrid.flatten(2)).reshape(len(hybrid), n_virtual, *hybrid.shape[2:])
    compressed = fft_centred(virtual.movedim(0, axis), (axis,))
    return CompressedCoils(compressed, matrices, _energy_ratio(compressed, kspace))


def _check(kspace: torch.Tensor, n_virtual: int) -> None:
    if not kspace.dtype.is_complex:
        raise DtypeError(f"coil compression expected complex data, got {kspace.dtype}")
    if not 1 <= n_virtual <= len(kspace):
        raise ShapeError(
            f"{len(kspace)} coils compress to 1 to {len(kspace)} virtual ones, got {n_virtual}"
        )


def _principal_rows(samples: torch.Tensor, n_virtual: int) -> torch.Tensor:
    """Conjugated leading eigenvectors of sum_k y_k y_k^H: (..., C, n) -> (..., V, C), double."""
    wide = samples.to(torch.complex128)
    rows: torch.Tensor = torch.linalg.eigh(wide @ wide.mH)[1].flip(-1)[..., :n_virtual].mH
    return rows.resolve_conj()  # NumPy refuses lazily conjugated tensors


def _aligned(rows: torch.Tensor) -> torch.Tensor:
    """Rotate the virtual coils of each position onto those of its neighbour nearer the middle."""
    aligned = rows.clone()
    middle = len(rows) // 2
    steps = [(x, x - 1) for x in range(middle + 1, len(rows))]
    steps += [(x, x + 1) for x in reversed(range(middle))]
    for x, neighbour in steps:
        u, _, vh = torch.linalg.svd(rows[x] @ aligned[neighbour].mH)
        aligned[x] = (u @ vh).mH @ rows[x]
    return aligned


def _energy_ratio(virtual: torch.Tensor, kspace: torch.Tensor) -> float:
    # single-precision sums over a whole k-space lose the third digit
    kept, whole = (
        float(torch.linalg.vector_norm(data, dtype=torch.complex128)) for data in (virtual, kspace)
    )
    return (kept / whole) ** 2 if whole > 0 else 1.0
