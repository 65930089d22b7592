"""Singular value decompositions of forward operators, where they are at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from inverse.errors import UsageError
from operators import Fourier, LinearOperator, Sense, fft_centred, ifft_centred

__all__ = ["DenseSvd", "FourierSvd", "Svd", "svd_of"]

_LARGEST_DOMAIN = 4096
_LARGEST_MATRIX = 2**26  # elements, half a gibibyte in single precision
_CONSTANT = 1e-4  # relative; estimated maps of one coil are scaled to unit modulus


class Svd(Protocol):
    """A = U diag(d) V^H, applied without storing more than it must.

    Coefficients have one axis layout, the spectrum, with as many elements as the image: directions
    that A does not see have d = 0.
    """

    @property
    def singular_values(self) -> torch.Tensor:
        """d >= 0 of shape (*spectrum), real."""

    def image_coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """V^H x, (*batch, *spectrum)."""

    def data_coefficients(self, y: torch.Tensor) -> torch.Tensor:
        """U^H y, (*batch, *spectrum); of no meaning where d = 0."""

    def image(self, coefficients: torch.Tensor) -> torch.Tensor:
        """V c, (*batch, *domain.shape)."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseSvd:
    """The decomposition of a small operator, from its matrix; one for each independent system.

    Parameters
    ----------
    image_shape, data_shape : tuple of int
        Of one system.
    left : Tensor, (*systems, m, k)
        U; k is at least the smaller of the sizes m of the data and n of the image.
    singular_values : Tensor, (*systems, n), real
        d, zero beyond the rank.
    right : Tensor, (*systems, n, n)
        V^H.
    """

    image_shape: tuple[int, ...]
    data_shape: tuple[int, ...]
    left: torch.Tensor
    singular_values: torch.Tensor
    right: torch.Tensor

    @classmethod
    def of(
        cls,
        operator: LinearOperator,
        n_batch_axes: int = 0,
        *,
        device: torch.device | str | None = None,
    ) -> DenseSvd:
        """Decompose the matrix that an operator makes of the identity.

        Parameters
        ----------
        operator : LinearOperator
            Small: the matrix is stored.
        n_batch_axes : int
            Leading axes of its domain and range that count independent systems.
        device : torch.device, optional
            Of the decomposition, for an operator that has none of its own.
        """
        domain = operator.domain
        systems, shape = domain.shape[:n_batch_axes], domain.shape[n_batch_axes:]
        n = math.prod(shape)
        identity = torch.eye(n, dtype=domain.dtype, device=operator.device or device)
        units = identity.reshape(n, *(1 for _ in systems), *shape).expand(n, *domain.shape)
        matrix = operator(units).reshape(n, *systems, -1).movedim(0, -1)
        # Of a wide matrix all right singular vectors are wanted: the null space is sampled too.
        wide = matrix.shape[-2] < n
        left, found, right = torch.linalg.svd(matrix, full_matrices=wide)
        epsilon = max(matrix.shape[-2:]) * torch.finfo(found.dtype).eps
        negligible = found.amax(-1, keepdim=True) * epsilon
        values = torch.where(found > negligible, found, 0.0)
        missing = n - found.shape[-1]
        padded = torch.nn.functional.pad(values, (0, missing))
        return cls(shape, operator.range.shape[n_batch_axes:], left, padded, right)

    def image_coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """V^H x; see `Svd`."""
        flat = x.flatten(x.ndim - len(self.image_shape))
        return torch.einsum("...ij,...j->...i", self.right, flat)

    def data_coefficients(self, y: torch.Tensor) -> torch.Tensor:
        """U^H y; see `Svd`."""
        flat = y.flatten(y.ndim - len(self.data_shape))
        found = torch.einsum("...ji,...j->...i", self.left.conj(), flat)
        return torch.nn.functional.pad(found, (0, self.right.shape[-1] - found.shape[-1]))

    def image(self, coefficients: torch.Tensor) -> torch.Tensor:
        """V c; see `Svd`."""
        found = torch.einsum("...ji,...j->...i", self.right.conj(), coefficients)
        return found.reshape(*found.shape[:-1], *self.image_shape)


@dataclass(frozen=True, slots=True, eq=False)
class FourierSvd:
    """The decomposition of y = d F (phase * x): U = 1, V^H = F phase, d = modulus * mask.

    Parameters
    ----------
    phase : Tensor, broadcasting to the image
        Of unit modulus.
    singular_values : Tensor, (*domain.shape), real
        d over k-space.
    axes : tuple of int
        Axes that are transformed, from the end.
    has_coil_axis : bool
        Whether the data have an axis of one coil before `axes`.
    """

    phase: torch.Tensor
    singular_values: torch.Tensor
    axes: tuple[int, ...]
    has_coil_axis: bool

    def image_coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """V^H x; see `Svd`."""
        return fft_centred(self.phase * x, self.axes)

    def data_coefficients(self, y: torch.Tensor) -> torch.Tensor:
        """U^H y; see `Svd`."""
        return y.squeeze(min(self.axes) - 1) if self.has_coil_axis else y

    def image(self, coefficients: torch.Tensor) -> torch.Tensor:
        """V c; see `Svd`."""
        return self.phase.conj() * ifft_centred(coefficients, self.axes)


def svd_of(
    operator: LinearOperator, n_batch_axes: int = 0, *, device: torch.device | str | None = None
) -> Svd:
    """Return the singular value decomposition of an operator that has one at hand.

    Those are the Fourier transform, single-coil `Sense` whose map has constant modulus, and
    whatever is small enough for a dense matrix of each independent system.

    Parameters
    ----------
    operator : LinearOperator
    n_batch_axes : int
        Leading axes of its domain and range that count independent systems.
    device : torch.device, optional
        Where the data are, for an operator without tensors, which takes any.

    Raises
    ------
    UsageError
        If it is none of these.

    Examples
    --------
    >>> mask = torch.arange(8)[:, None] % 2 == 0
    >>> svd = svd_of(Sense(torch.ones(1, 8, 6, dtype=torch.complex64), mask))
    >>> svd.singular_values[:, 0].tolist()
    [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    """
    if isinstance(operator, Fourier):
        dtype = operator.domain.dtype
        ones = torch.ones(operator.domain.shape, dtype=dtype.to_real(), device=device)
        return FourierSvd(torch.ones((), dtype=dtype, device=device), ones, operator.axes, False)
    if isinstance(operator, Sense):
        found = _single_coil(operator)
        if found is not None:
            return found
    n_systems = math.prod(operator.domain.shape[:n_batch_axes])
    n_unknowns = operator.domain.size // n_systems
    if n_unknowns <= _LARGEST_DOMAIN and n_unknowns * operator.range.size <= _LARGEST_MATRIX:
        return DenseSvd.of(operator, n_batch_axes, device=device)
    raise UsageError(
        f"{operator!r} has no singular value decomposition at hand: expected a Fourier transform, "
        f"one coil of constant modulus, or at most {_LARGEST_DOMAIN} unknowns a slice and "
        f"{_LARGEST_MATRIX} matrix elements; got {n_unknowns} and "
        f"{n_unknowns * operator.range.size}. Use ddnm, diffpir or dds, which need none."
    )


def _single_coil(operator: Sense) -> FourierSvd | None:
    """Return the decomposition if there is one coil and its map has the same modulus everywhere."""
    csm = operator.csm
    if operator.soft or csm.shape[-operator.grid_ndim - 1] != 1:
        return None
    csm = csm.squeeze(-operator.grid_ndim - 1)
    modulus = csm.abs()
    typical = modulus.mean()
    if not (typical > 0 and (modulus - typical).abs().max() <= _CONSTANT * typical):
        return None
    values = (typical * operator.mask).expand(operator.domain.shape)
    axes = tuple(range(-operator.grid_ndim, 0))
    return FourierSvd(torch.sgn(csm), values, axes, has_coil_axis=True)
