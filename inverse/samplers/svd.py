"""Singular value decompositions of forward operators, where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from inverse.errors import UsageError
from operators import Fourier, LinearOperator, Sense, Space, fft_centred, ifft_centred

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
    """The decomposition of a small operator, from its matrix.

    Parameters
    ----------
    domain, range_ : Space
        Of the operator.
    left : Tensor, (range.size, k)
        U; k is at least the smaller of the two sizes.
    singular_values : Tensor, (domain.size,), real
        d, zero beyond the rank.
    right : Tensor, (domain.size, domain.size)
        V^H.
    """

    domain: Space
    range_: Space
    left: torch.Tensor
    singular_values: torch.Tensor
    right: torch.Tensor

    @classmethod
    def of(cls, operator: LinearOperator) -> DenseSvd:
        """Decompose the matrix that an operator makes of the identity.

        Parameters
        ----------
        operator : LinearOperator
            Small: the matrix is stored.
        """
        domain, range_ = operator.domain, operator.range
        identity = torch.eye(domain.size, dtype=domain.dtype, device=operator.device)
        columns = operator(identity.reshape(domain.size, *domain.shape))
        matrix = range_.flatten(columns).mT
        # Of a wide matrix all right singular vectors are wanted: the null space is sampled too.
        wide = range_.size < domain.size
        left, found, right = torch.linalg.svd(matrix, full_matrices=wide)
        negligible = found.max() * max(matrix.shape) * torch.finfo(found.dtype).eps
        values = torch.zeros(domain.size, dtype=found.dtype, device=found.device)
        values[: len(found)] = torch.where(found > negligible, found, 0.0)
        return cls(domain, range_, left, values, right)

    def image_coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """V^H x; see `Svd`."""
        return self.domain.flatten(x) @ self.right.mT

    def data_coefficients(self, y: torch.Tensor) -> torch.Tensor:
        """U^H y; see `Svd`."""
        found = self.range_.flatten(y) @ self.left.conj()
        missing = self.domain.size - found.shape[-1]
        return torch.nn.functional.pad(found, (0, missing))

    def image(self, coefficients: torch.Tensor) -> torch.Tensor:
        """V c; see `Svd`."""
        found = coefficients @ self.right.conj()
        return found.reshape(*found.shape[:-1], *self.domain.shape)


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


def svd_of(operator: LinearOperator) -> Svd:
    """Return the singular value decomposition of an operator that has one at hand.

    Those are the Fourier transform, single-coil `Sense` whose map has constant modulus, and
    whatever is small enough for a dense matrix.

    Parameters
    ----------
    operator : LinearOperator

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
        ones = torch.ones(operator.domain.shape, dtype=operator.domain.dtype.to_real())
        return FourierSvd(torch.ones((), dtype=operator.domain.dtype), ones, operator.axes, False)
    if isinstance(operator, Sense):
        found = _single_coil(operator)
        if found is not None:
            return found
    domain, range_ = operator.domain, operator.range
    if domain.size <= _LARGEST_DOMAIN and domain.size * range_.size <= _LARGEST_MATRIX:
        return DenseSvd.of(operator)
    raise UsageError(
        f"{operator!r} has no singular value decomposition at hand: expected a Fourier transform, "
        f"one coil of constant modulus, or at most {_LARGEST_DOMAIN} unknowns, got {domain.size}. "
        f"Use ddnm, diffpir or dds, which need none."
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
