"""Vector operations in place on torch tensors.

On the CPU the scalars of a recurrence are NumPy arrays, which cost a fraction of a torch call; on a
device they stay there. Complex tensors are seen as real ones of twice the length, since every
factor of a Hermitian recurrence is real and real kernels are the faster ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import array_api_compat.numpy
import array_api_compat.torch
import numpy as np
import torch
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.vectors import STRETCH, Scalars, Vectors, wide_vecdot

__all__ = ["TorchVectors"]


def _is_host(device: torch.device) -> bool:
    """Tell whether reading a number from the device costs no wait."""
    return device.type == "cpu"


def _wide_dot(u: NDArray[np.floating[Any]], w: NDArray[np.floating[Any]]) -> np.float64:
    """Compute `wide_vecdot` of one pair of real vectors with less ado."""
    starts = range(0, u.size, STRETCH)
    return np.float64(sum([float(np.dot(u[i : i + STRETCH], w[i : i + STRETCH])) for i in starts]))


@final
class TorchVectors(Vectors):
    """Vectors of torch; every update is in place.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> TorchVectors(x, 1).norm(x).tolist()
    [5.0, 2.0]
    """

    def __init__(self, like: torch.Tensor, n_batch_axes: int) -> None:
        super().__init__(like, n_batch_axes)
        if like.device.type == "mps":
            raise SolverError(
                "solvers keep their scalars in double precision, which the device 'mps' lacks. "
                "Move the operator and the data to the CPU."
            )
        self._device = like.device
        self._on_cpu = _is_host(like.device)
        self._is_single = self._on_cpu and self.n_systems == 1
        self._real_dtype = like.dtype.to_real()
        self.scalars = array_api_compat.numpy if self._on_cpu else array_api_compat.torch

    def _reals(self, x: torch.Tensor) -> torch.Tensor:
        """See x as real numbers."""
        return torch.view_as_real(x.resolve_conj()) if self.is_complex else x.resolve_neg()

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        """See x as (n_systems, reals); shares memory with x when x is contiguous."""
        return self._reals(x).reshape(self.n_systems, -1)

    def _natural(self, rows: torch.Tensor) -> torch.Tensor:
        if self.is_complex:
            return torch.view_as_complex(rows.reshape(*self.shape, 2))
        return rows.reshape(self.shape)

    def _column(self, a: Scalars) -> torch.Tensor:
        column: torch.Tensor = torch.as_tensor(a).to(self._real_dtype).reshape(-1, 1)
        return column

    def _mask(self, systems: Scalars) -> torch.Tensor:
        mask: torch.Tensor = torch.as_tensor(
            np.asarray(systems) if self._on_cpu else systems
        ).reshape(-1, 1)
        return mask

    def _as_float(self, a: float | Scalars) -> float | None:
        """Return the factor as a number where that needs no wait for the device."""
        if isinstance(a, float):
            return a
        return float(a) if self._is_single else None

    def scalars_of(self, values: float | NDArray[np.generic]) -> Scalars:  # noqa: D102
        wide = self._one_a_system(values)
        wide = wide.astype(np.bool_ if wide.dtype == np.bool_ else np.float64)
        return wide if self._on_cpu else torch.as_tensor(np.asarray(wide), device=self._device)

    def host(self, values: Scalars) -> NDArray[Any]:  # noqa: D102
        return np.asarray(values if self._on_cpu else values.cpu().numpy()).reshape(-1)

    def where(self, systems: Scalars, a: Scalars, b: Scalars) -> Scalars:  # noqa: D102
        if self._is_single:
            return a if systems else b  # ten times faster than where() of one number
        return self.scalars.where(systems, a, b)

    @contextmanager
    def quiet(self) -> Iterator[None]:  # noqa: D102
        with np.errstate(all="ignore"), torch.no_grad():
            yield

    def zeros(self) -> torch.Tensor:  # noqa: D102
        return torch.zeros(self.shape, dtype=self.dtype, device=self._device)

    def copy(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return x.detach().resolve_conj().clone(memory_format=torch.contiguous_format)

    def dot(self, x: torch.Tensor, y: torch.Tensor) -> Scalars:  # noqa: D102
        if self._is_single:
            u = self._reals(x).detach().numpy().reshape(-1)
            w = u if y is x else self._reals(y).detach().numpy().reshape(-1)
            return _wide_dot(u, w)
        rows_x, rows_y = self._rows(x), self._rows(y)
        if self._on_cpu:
            return wide_vecdot(self.scalars, rows_x.detach().numpy(), rows_y.detach().numpy())
        # A sum, not a matrix product: the latter may round to 10 bits (TF32).
        sums = torch.sum(rows_x * rows_y, dim=1, dtype=torch.float64)
        return sums if self.n_systems > 1 else sums[0]

    def vdot(self, x: torch.Tensor, y: torch.Tensor) -> Scalars:  # noqa: D102
        rows_x = x.detach().resolve_conj().reshape(self.n_systems, -1)
        rows_y = y.detach().resolve_conj().reshape(self.n_systems, -1)
        if self._on_cpu:
            sums = wide_vecdot(self.scalars, rows_x.numpy(), rows_y.numpy())
        else:
            wide = torch.complex128 if self.is_complex else torch.float64
            sums = torch.sum(rows_x.conj() * rows_y, dim=1, dtype=wide)
        return sums if self.n_systems > 1 else sums[0]

    def peak(self, x: torch.Tensor) -> NDArray[np.float64]:  # noqa: D102
        rows = self._rows(x)
        peak = torch.maximum(-rows.amin(dim=1), rows.amax(dim=1))
        return np.asarray(peak.double().cpu().numpy())

    def scale(self, a: float | Scalars, y: torch.Tensor) -> torch.Tensor:  # noqa: D102
        number = self._as_float(a)
        if number is None:
            self._rows(y).mul_(self._column(a))
            return y
        return y.mul_(number)

    def axpy(  # noqa: D102
        self, a: float | Scalars, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        number = self._as_float(a)
        if number is None:
            self._rows(y).addcmul_(self._rows(x), self._column(a))
            return y
        self._reals(y).add_(self._reals(x), alpha=number)
        return y

    def xpby(  # noqa: D102
        self, x: torch.Tensor, b: float | Scalars, y: torch.Tensor
    ) -> torch.Tensor:
        number = self._as_float(b)
        if number is None:
            rows = self._rows(y)
            torch.addcmul(self._rows(x), rows, self._column(b), out=rows)
            return y
        reals = self._reals(y)
        torch.add(self._reals(x), reals, alpha=number, out=reals)
        return y

    def fill(self, systems: Scalars, value: float, y: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self._natural(self._rows(y).masked_fill(self._mask(systems), value))

    def select(  # noqa: D102
        self, systems: Scalars, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        return self._natural(torch.where(self._mask(systems), self._rows(x), self._rows(y)))
