"""Draws of an auxiliary image that split the likelihood of the data without changing it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from inverse.samplers.run import Run
from solvers import power_iteration

__all__ = ["exact_split", "root_of_remainder", "squared_norm"]

_TERMS = 8
_LADDER = 8  # rungs an octave
_POWER_RTOL = 0.05
_POWER_LIMIT = 30


def squared_norm(run: Run) -> float:
    """Bound ||A||^2 from above, by at most a tenth too much where power iteration converges.

    One bound for all systems, of the largest: rho is one number. Rounded up to a ladder of eight
    values an octave, of which one is 1.04, so that slices whose norms differ a little get the same
    bound together and apart, as those with coil maps of unit norm do. A system whose norm is a rung
    or more below another's gets a smaller rho in its company than alone.

    Parameters
    ----------
    run : Run
    """
    image = run.backprojection[0]
    n_axes = run.problem.n_batch_axes
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(image.shape[n_axes:], generator=generator, dtype=image.real.dtype)
    found = power_iteration(
        run.problem.operator.normal,
        start.to(image).expand_as(image).contiguous(),
        rtol=_POWER_RTOL,
        maxiter=_POWER_LIMIT,
        n_batch_axes=n_axes,
    )
    run.n_operator += max(found.iterations)
    largest = max(found.upper_bound)
    if not largest > 0:
        return 1.0
    return float(2 ** ((math.ceil(_LADDER * math.log2(largest) - 0.5) + 0.5) / _LADDER))


def exact_split(run: Run, x: torch.Tensor, rho: float, bound: float) -> torch.Tensor:
    """Draw z given x and y in the model z = x + rho n, y = A z + e, e ~ N(0, S).

    S = t^2 I - rho^2 A A^H,   t = max(s, rho sqrt(bound))
    z ~ N( x + c A^H (y - A x), rho^2 (I - c A^H A) ),   c = rho^2 / t^2

    With S so, integrating z out leaves y | x ~ N(A x, t^2 I): for rho <= s / ||A|| exactly the
    likelihood of the data. (With e ~ N(0, s^2 I), the usual split, rho^2 A A^H is added to it.)
    And there is nothing to solve.

    Parameters
    ----------
    run : Run
    x : Tensor
    rho : float
        In image units.
    bound : float
        Of ||A||^2, from above.
    """
    normal = run.problem.operator.normal
    c = 1 / max((run.problem.noise_std / rho) ** 2, bound)
    noise = root_of_remainder(normal, run.white_noise(), c, _TERMS)
    run.n_operator += 1 + _TERMS
    return x + c * (run.backprojection - normal(x)) + rho * noise


def root_of_remainder(
    normal: Callable[[torch.Tensor], torch.Tensor], n: torch.Tensor, c: float, terms: int
) -> torch.Tensor:
    """Compute (I - c A^H A)^(1/2) n by a Chebyshev series, for spectra of c A^H A within 0..1.

    sqrt(1 - t) = 2/pi - 4/pi sum_k T_k(2 t - 1) / (4 k^2 - 1),    k = 1, 2, ...

    (with 2 t - 1 = cos a this is the Fourier series of sin(a / 2)). What is left out after K terms
    is at most 1 / (pi K), reached only at t = 1, where the root is 0.

    Parameters
    ----------
    normal : function
        A^H A.
    n : Tensor
    c : float
    terms : int
        K >= 1, as many applications of `normal`.

    Examples
    --------
    >>> root = root_of_remainder(lambda v: v, torch.tensor([1.0], dtype=torch.float64), 0.75, 20)
    >>> round(root.item(), 3)
    0.5
    """

    def shifted(v: torch.Tensor) -> torch.Tensor:
        return 2 * c * normal(v) - v

    before, now = n, shifted(n)
    total = 2 / math.pi * n - 4 / (3 * math.pi) * now
    for k in range(2, terms + 1):
        before, now = now, 2 * shifted(now) - before
        total = total - 4 / math.pi / (4 * k**2 - 1) * now
    return total
