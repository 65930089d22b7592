"""Cartesian SENSE: coil-weighted, undersampled Fourier encoding, blocked to stay in cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self, TypeAlias, final

import torch

from operators.errors import DeviceError, DtypeError, ParameterError, ShapeError
from operators.fourier import centring_phase
from operators.linear import LinearOperator
from operators.mri.layout import HybridLayout, blocks, constant_axes
from operators.space import Space, grid_names, with_precision_of

__all__ = ["Sense"]

# Working set of one block on one CPU core. Measured: 512 KiB stays in the second-level cache; with
# blocks of 1 MiB and more the same work takes up to three times as long.
_CACHE_BYTES = 2**19

_Block: TypeAlias = tuple[slice, slice, slice]  # slices, coils, rows


@final
class Sense(LinearOperator):
    """Coil-weighted, undersampled Fourier encoding of an image.

    y_c = P F sum_m (s_mc * x_m),  c = 1..C

    with F the centred orthonormal Fourier transform of the grid, P the sampling mask and m the sets
    of coil maps (one, unless `soft`). `forward` and `adjoint` speak centred k-space over the whole
    grid, zero where nothing was sampled.

    `normal` is where iterative reconstruction spends its time:

    - An axis along which the mask does not change needs no transform in A^H A, where P and F_a
      commute. Only the others are transformed: one of two for a phase-encode mask, two of three in
      a volume. They lie last in memory, where transforms are fast.
    - The centring of the image cancels between F and F^H; that of k-space is folded into the mask.
    - sum_c conj(s_c) F^H v_c = conj(sum_c s_c F conj(v_c)), and conj(P v) is one real
      multiplication with signs: no conjugated maps, no conjugated copies.

    Parameters
    ----------
    csm : Tensor, (*slices, C, *grid), complex
        Coil sensitivity maps, dimensionless; (*slices, M, C, *grid) if `soft`. Not copied if its
        layout already suits: do not write to it afterwards.
    mask : Tensor, broadcasting to (*slices, *grid), bool
        True where k-space was sampled, with the origin at n // 2.
    grid_ndim : int
        Number of image axes: 2 for slices (y, x), 3 for volumes (z, y, x).
    soft : bool
        Whether `csm` holds M sets of maps, each with an image of its own.
    max_coil_bytes : int
        Most memory that one block of coil images may take, though never less than one coil's row
        of transformed axes. On a CPU blocks are smaller still, to stay in cache.

    Raises
    ------
    ShapeError
        If `csm` has too few axes, or `mask` does not broadcast to its slices and grid.
    DtypeError
        If `csm` is not complex, or `mask` not bool.
    DeviceError
        If `csm` and `mask` live on different devices.
    ParameterError
        If `grid_ndim` or `max_coil_bytes` is not positive.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241, eq. 1; several sets of maps: Uecker et al. 2014,
    doi:10.1002/mrm.24751

    Examples
    --------
    >>> csm = torch.full((4, 8, 6), 0.5, dtype=torch.complex64)
    >>> A = Sense(csm, mask=torch.arange(8)[:, None] % 2 == 0)
    >>> A
    Sense(<y:8 x:6 complex64> -> <coil:4 ky:8 kx:6 complex64>)
    >>> A.transformed_axes
    ('y',)
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
        _check_arguments(csm, mask, grid_ndim=grid_ndim, soft=soft, max_coil_bytes=max_coil_bytes)
        n_lead = csm.ndim - grid_ndim - 1 - soft
        lead, maps = csm.shape[:n_lead], csm.shape[n_lead : n_lead + soft]
        coils, grid = csm.shape[-grid_ndim - 1], csm.shape[-grid_ndim:]
        lead_names = ("slice",) if n_lead == 1 else tuple(f"slice{i}" for i in range(n_lead))
        names = grid_names(grid_ndim)
        domain_names = (*lead_names, *(("map",) if soft else ()), *names)
        range_names = (*lead_names, "coil", *(f"k{name}" for name in names))
        super().__init__(
            Space((*lead, *maps, *grid), csm.dtype, domain_names),
            Space((*lead, coils, *grid), csm.dtype, range_names),
            device=csm.device,
        )
        self.mask = mask
        self.grid_ndim = grid_ndim
        self.soft = soft
        self.max_coil_bytes = max_coil_bytes
        self._slices = math.prod(lead)

        constant, sampled = constant_axes(mask, grid_ndim)
        self._layout = HybridLayout(tuple(grid), constant)
        if sampled.ndim > grid_ndim:  # one mask a slice
            sampled = sampled.expand(*lead, *sampled.shape[-grid_ndim:])
        sampled = self._layout.view(sampled.reshape(-1, *sampled.shape[-grid_ndim:]))
        # (slices or 1, coil 1, *ordered), 1 on constant axes: for forward and adjoint.
        self._sampled = sampled[:, None].to(csm.dtype)
        # (slices, maps, coils, rows, *inner) and the mask that goes with it: for normal.
        self._csm = self._layout.arrange(csm.reshape(self._slices, -1, coils, *grid))
        self._weights = self._fold(sampled)

    def _fold(self, sampled: torch.Tensor) -> torch.Tensor:
        """Lay the mask out so that one real multiplication masks, scales, unshifts and conjugates.

        The result, (slices or 1, coil 1, row 1, *inner, 2), multiplies a complex array seen as
        pairs of real numbers: the real parts by +w, the imaginary parts by -w.
        """
        inner = self._layout.inner
        weights = sampled.reshape(sampled.shape[0], 1, 1, *sampled.shape[-len(inner) :])
        weights = weights.expand(-1, 1, 1, *inner).to(self.domain.dtype.to_real())
        if self._layout.transformed:
            axes = tuple(range(-len(inner), 0))
            weights = torch.fft.ifftshift(weights, dim=axes) / math.prod(inner)
        return torch.stack((weights, -weights), dim=-1)

    @property
    def csm(self) -> torch.Tensor:
        """Coil sensitivity maps, (*slices, [M,] C, *grid)."""
        n_lead = len(self.domain.shape) - self.grid_ndim
        shape = (*self.domain.shape[:n_lead], *self.range.shape[-self.grid_ndim - 1 :])
        return self._layout.restore(self._csm).reshape(shape)

    @property
    def transformed_axes(self) -> tuple[str, ...]:
        """Names of the grid axes that `normal` transforms."""
        return tuple(self.domain.axes[axis - self.grid_ndim] for axis in self._layout.transformed)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        phase, weights = self._centring()
        images = self._images(x) * phase
        y = x.new_empty((*self.domain.batch_shape(x), *self.range.shape))
        blocked = self._layout.view(self._by_coil(y))
        for where in self._blocks(images.shape[0], whole_grid=True):
            z = self._layout.split_rows(self._weighted(images, where))
            z = torch.fft.fftn(z, dim=self._grid_axes, norm="ortho")
            blocked[:, where[0], where[1]] = z.mul_(_of_slices(weights, where[0]))
        return y

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        phase, weights = self._centring()
        weights = weights.conj_physical()
        blocked = self._layout.view(self._by_coil(y))
        batch = self.range.batch_shape(y)
        total = self._images(y.new_zeros((*batch, *self.domain.shape)))
        for where in self._blocks(total.shape[0], whole_grid=True):
            z = blocked[:, where[0], where[1]].contiguous() * _of_slices(weights, where[0])
            z = torch.fft.fftn(z.conj_physical_(), dim=self._grid_axes, norm="ortho")
            self._add_combined(total, self._layout.merge_rows(z), where)
        total = total.mul_(phase).conj_physical_()
        return self._layout.restore(total).reshape(*batch, *self.domain.shape).contiguous()

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        images = self._images(x)
        total = torch.zeros_like(images)
        for where in self._blocks(images.shape[0], whole_grid=False):
            z = self._transform(self._weighted(images, where))
            torch.view_as_real(z).mul_(_of_slices(self._weights, where[0]))
            self._add_combined(total, self._transform(z), where)
        return self._layout.restore(total.conj_physical_()).reshape(x.shape).contiguous()

    @property
    def _grid_axes(self) -> tuple[int, ...]:
        return tuple(range(-self.grid_ndim, 0))

    def _transform(self, z: torch.Tensor) -> torch.Tensor:
        """Compute the plain, unscaled FFT over the undersampled axes; z if there are none."""
        n = len(self._layout.transformed)
        return torch.fft.fftn(z, dim=tuple(range(-n, 0))) if n else z

    def _centring(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the phases that centre the FFT, and apply the mask to the second.

        Shapes (rows, *inner) for the image and (slices or 1, coil 1, *ordered) for k-space.
        """
        ordered = self._layout.ordered
        axes = range(len(ordered))
        phase, constant = centring_phase(ordered, axes, self.domain.dtype, self.device)
        return self._layout.merge_rows(phase), phase * constant * self._sampled

    def _by_coil(self, y: torch.Tensor) -> torch.Tensor:
        """View k-space as (batch, slices, coils, *grid)."""
        n_batch = math.prod(self.range.batch_shape(y))
        return y.reshape(n_batch, self._slices, *self.range.shape[-self.grid_ndim - 1 :])

    def _images(self, x: torch.Tensor) -> torch.Tensor:
        """Arrange images as (batch, slices, maps, rows, *inner)."""
        n_batch, n_maps = math.prod(self.domain.batch_shape(x)), self._csm.shape[1]
        return self._layout.arrange(x.reshape(n_batch, self._slices, n_maps, *self._layout.grid))

    def _blocks(self, n_batch: int, *, whole_grid: bool) -> Iterator[_Block]:
        """Cut slices, coils and rows into blocks that fit the memory and, on a CPU, the cache."""
        most_bytes = self.max_coil_bytes
        if self._csm.device.type == "cpu":
            most_bytes = min(most_bytes, _CACHE_BYTES * torch.get_num_threads())
        n_slices, _, n_coils, n_rows, *inner = self._csm.shape
        row_size = n_batch * math.prod(inner)
        budget = most_bytes // self._csm.element_size()
        if whole_grid:
            found = blocks(n_slices, n_coils, 1, row_size=row_size * n_rows, budget=budget)
            return ((s, c, slice(None)) for s, c, _ in found)
        return blocks(n_slices, n_coils, n_rows, row_size=row_size, budget=budget)

    def _weighted(self, x: torch.Tensor, where: _Block) -> torch.Tensor:
        """Compute sum_m s_mc x_m of a block: (batch, slices, coils, rows, *inner)."""
        s, c, r = where
        z = self._csm[s, 0, c, r] * x[:, s, 0, None, r]
        for m in range(1, self._csm.shape[1]):
            z.addcmul_(self._csm[s, m, c, r], x[:, s, m, None, r])
        return z

    def _add_combined(self, total: torch.Tensor, z: torch.Tensor, where: _Block) -> None:
        """Add sum_c s_mc z_c of a block to total, (batch, slices, maps, rows, *inner); spends z."""
        s, c, r = where
        last = self._csm.shape[1] - 1
        for m in range(last):
            total[:, s, m, r].add_((self._csm[s, m, c, r] * z).sum(2))
        total[:, s, last, r].add_(z.mul_(self._csm[s, last, c, r]).sum(2))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator with its maps and mask on another device or at another precision."""
        dtype = None if dtype is None else with_precision_of(self.domain.dtype, dtype)
        return type(self)(
            self.csm.to(device=device, dtype=dtype),
            self.mask.to(device=device),
            grid_ndim=self.grid_ndim,
            soft=self.soft,
            max_coil_bytes=self.max_coil_bytes,
        )


def _of_slices(shared: torch.Tensor, where: slice) -> torch.Tensor:
    """Take the slices of a per-slice array; one that all slices share is taken whole."""
    return shared[where] if shared.shape[0] > 1 else shared


def _check_arguments(
    csm: torch.Tensor, mask: torch.Tensor, *, grid_ndim: int, soft: bool, max_coil_bytes: int
) -> None:
    if grid_ndim < 1 or max_coil_bytes < 1:
        raise ParameterError(
            f"Sense expected grid_ndim >= 1 and max_coil_bytes >= 1, got {grid_ndim} and "
            f"{max_coil_bytes}"
        )
    needed = ("map, " if soft else "") + "coil, " + ", ".join(grid_names(grid_ndim))
    if csm.ndim < grid_ndim + 1 + soft:
        raise ShapeError(
            f"Sense expected csm with axes (*slices, {needed}), got shape {tuple(csm.shape)}. "
            f"Check grid_ndim and soft."
        )
    if not csm.dtype.is_complex:
        raise DtypeError(f"Sense expected complex csm, got {csm.dtype}. Convert to complex64.")
    if not isinstance(mask, torch.Tensor):
        raise DtypeError(
            f"Sense expected a mask of type torch.Tensor, got {type(mask).__name__}. "
            f"Use torch.from_numpy(mask)."
        )
    if mask.dtype != torch.bool:
        raise DtypeError(f"Sense expected a mask of dtype bool, got {mask.dtype}. Use mask != 0.")
    if csm.device != mask.device:
        raise DeviceError(
            f"Sense expected one device, got csm on {csm.device}, mask on {mask.device}"
        )
    n_lead = csm.ndim - grid_ndim - 1 - soft
    full = (*csm.shape[:n_lead], *csm.shape[-grid_ndim:])
    fits = grid_ndim <= mask.ndim <= len(full) and all(
        have in {1, want} for have, want in zip(mask.shape[::-1], full[::-1], strict=False)
    )
    if not fits:
        shapes = str(full[n_lead:]) + (f" or {full}" if n_lead else "")
        raise ShapeError(
            f"Sense expected a mask of shape {shapes} (axes of size 1 broadcast) for csm of shape "
            f"{tuple(csm.shape)}, got {tuple(mask.shape)}. Give the mask every grid axis."
        )
