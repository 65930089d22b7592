"""Cartesian SENSE: coil-weighted, undersampled Fourier encoding, blocked to stay in cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self, final

import torch

from operators.errors import DeviceError, DtypeError, ParameterError, ShapeError
from operators.fourier import centring_phase
from operators.linear import LinearOperator
from operators.space import Space, grid_names

__all__ = ["Sense"]

# Working set of one block on a CPU core. Measured: 512 KiB stays in the second-level cache; at 1 MiB
# the same work takes up to three times as long.
_CACHE_BYTES = 2**19


@final
class Sense(LinearOperator):
    """Coil-combined, undersampled Fourier encoding of an image.

    y_c = P F sum_m (s_mc * x_m),  c = 1..C

    with F the centred orthonormal Fourier transform of the grid, P the sampling mask and m the sets
    of coil maps (one, unless `soft`). `forward` and `adjoint` speak centred k-space over the whole
    grid, zero where nothing was sampled.

    `normal` is where iterative reconstruction spends its time. Axes along which the mask does not
    change need no transform at all, since F_a^H P F_a = P there, so only the undersampled ones are
    transformed: one of two for a phase-encode mask, two of three in a volume. Those stand last
    inside, where transforms are contiguous. The centring of the image cancels between F and F^H and
    that of k-space is folded into the mask, so nothing is shifted. As
    sum_c conj(s_c) F^H v_c = conj(sum_c s_c F conj(v_c)) for the transposition-symmetric F, the
    conjugation is folded into the mask too, and no conjugate of the maps is made.

    Parameters
    ----------
    csm : Tensor, (*slices, C, *grid), complex
        Coil sensitivity maps, dimensionless; (*slices, M, C, *grid) if `soft`. Not copied when
        its layout suits; do not write to it afterwards.
    mask : Tensor, broadcasting to (*slices, *grid), bool
        True where k-space was sampled, the origin at n // 2.
    grid_ndim : int
        Number of image axes: 2 for slices (y, x), 3 for volumes (z, y, x).
    soft : bool
        Whether `csm` has an axis of M sets of maps, each with an image of its own (soft SENSE).
    max_coil_bytes : int
        Most memory that one block of coil images may take (never less than one coil image over the
        undersampled axes). On a CPU blocks are smaller still, to stay in cache.

    Raises
    ------
    ShapeError
        If `csm` has too few axes or `mask` does not broadcast to its slices and grid.
    DtypeError
        If `csm` is not complex or `mask` not bool.
    DeviceError
        If `csm` and `mask` live on different devices.
    ParameterError
        If `grid_ndim` or `max_coil_bytes` is not positive.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241, eq. 1; for M > 1 Uecker et al. 2014,
    doi:10.1002/mrm.24751, eq. 9

    Examples
    --------
    >>> csm = torch.ones(4, 8, 6, dtype=torch.complex64) / 2
    >>> mask = torch.arange(8)[:, None] % 2 == 0
    >>> A = Sense(csm, mask)
    >>> A
    Sense(<y:8 x:6 complex64> -> <coil:4 ky:8 kx:6 complex64>)
    >>> A.transformed_axes  # the readout needs no transform in A^H A
    (-2,)
    """

    def __init__(
        self,
        csm: torch.Tensor,
        mask: torch.Tensor,
        *,
        grid_ndim: int = 2,
        soft: bool = False,
        max_coil_bytes: int = 2**28,
    ) -> None:
        n_slice_axes = _check(csm, mask, grid_ndim, soft, max_coil_bytes)
        slices, grid = tuple(csm.shape[:n_slice_axes]), tuple(csm.shape[-grid_ndim:])
        maps = tuple(csm.shape[n_slice_axes:][:1]) if soft else ()
        coils = csm.shape[-grid_ndim - 1]
        slice_names = tuple(
            "slice" if n_slice_axes == 1 else f"slice{i}" for i in range(n_slice_axes)
        )
        names = grid_names(grid_ndim)
        super().__init__(
            Space(
                (*slices, *maps, *grid),
                csm.dtype,
                (*slice_names, *(["map"] if soft else []), *names),
            ),
            Space(
                (*slices, coils, *grid),
                csm.dtype,
                (*slice_names, "coil", *(f"k{n}" for n in names)),
            ),
            device=csm.device,
        )
        self.mask = mask
        self.grid_ndim = grid_ndim
        self.soft = soft
        self.max_coil_bytes = max_coil_bytes
        self.grid = grid

        sampling = _constant_axes_to_one(mask.expand(*mask.shape), grid_ndim)
        sampling = sampling.reshape(
            [1] * (n_slice_axes + grid_ndim - sampling.ndim) + list(sampling.shape)
        )
        ...
