"""Several measurements of one instrument as one problem: y_i = A x_i + n_i, i = 1..n."""

from __future__ import annotations

from typing import Self, final

import torch

from inverse.errors import UsageError
from inverse.grid import Grid
from inverse.problem import Problem
from inverse.settings import number
from operators import LinearOperator, Space

__all__ = ["Repeated", "batched_problem"]


@final
class Repeated(LinearOperator):
    """The same operator for each of n unknowns: (x_1, ..., x_n) -> (A x_1, ..., A x_n).

    Parameters
    ----------
    inner : LinearOperator
        A.
    n : int

    Examples
    --------
    >>> from operators import Identity
    >>> Repeated(Identity(Space((4,), torch.float32, ("x",))), 3).domain
    <system:3 x:4 float32>
    """

    def __init__(self, inner: LinearOperator, n: int) -> None:
        spaces = (inner.domain, inner.range)
        domain, range_ = (Space((n, *s.shape), s.dtype, ("system", *s.axes)) for s in spaces)
        super().__init__(domain, range_, device=inner.device, tags=inner.tags)
        self.inner = inner

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.forward(x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner.adjoint(y)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.normal(x)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator on another device or at another precision."""
        return type(self)(self.inner.to(device, dtype), self.domain.shape[0])


def batched_problem(
    measurement: torch.Tensor, operator: LinearOperator, noise_std: float
) -> Problem:
    """Return the problem of independent measurements by one operator, its batch axes as one.

    Parameters
    ----------
    measurement : Tensor, (*batch, *operator.range.shape)
        Zero where nothing was sampled.
    operator : LinearOperator
        Of one measurement; its last domain axes are y and x.
    noise_std : float
        As in `Problem`.

    Returns
    -------
    Problem
        With one batch axis, of length 1 where the measurement has none. Where its images are in a
        patient is not known, and its grid holds one slice.

    Raises
    ------
    UsageError
        If the shapes do not fit, or the noise level is out of range.
    """
    wanted = operator.range.shape
    if tuple(measurement.shape[-len(wanted) :]) != wanted or measurement.numel() == 0:
        sizes = ", ".join(["*batch", *map(str, wanted)])
        raise UsageError(
            f"measurement expected the shape ({sizes}) of the operator's range, got "
            f"{tuple(measurement.shape)}"
        )
    if len(operator.domain.shape) < 2:
        raise UsageError(f"operator expected images (..., y, x), got the domain {operator.domain}")
    data = measurement.reshape(-1, *wanted)
    ny, nx = operator.domain.shape[-2:]
    return Problem(
        operator=Repeated(operator, len(data)),
        data=data,
        noise_std=number("noise_std", noise_std),
        n_samples=tuple(torch.count_nonzero(data.flatten(1), 1).clamp_min(1).tolist()),
        grid=Grid((1, ny, nx), (1.0, 1.0, 1.0), is_nominal=True),
        n_batch_axes=1,
    )
