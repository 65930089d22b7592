"""Denoisers that know the data: gradients of a likelihood through the prior's denoiser."""

from __future__ import annotations

from collections.abc import Callable

import torch

from inverse.errors import UsageError
from inverse.samplers.run import Run

__all__ = ["each_system", "pull_back", "residual_gradient"]


def pull_back(
    run: Run, x: torch.Tensor, sigma: float, direction: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return D(x) and J^H v, with J = dD/dx and v = direction(D(x)).

    One call of the prior and one backward pass through it. The memory for the backward pass is
    that of all activations of the prior for every image and sample at once.

    Parameters
    ----------
    run : Run
    x : Tensor
    sigma : float
    direction : function
        Gives v, like D(x); it is not differentiated.

    Raises
    ------
    UsageError
        If the prior's denoiser cannot be differentiated.

    References
    ----------
    For the exact denoiser, sigma^2 J is the covariance of x0 given x: Meng et al. 2021,
    arXiv 2111.04726, theorem 1.
    """
    with torch.enable_grad():
        variable = x.detach().requires_grad_()
        clean = run.denoise(variable, sigma)
    if not clean.requires_grad:
        raise UsageError(
            f"the prior '{run.prior.name}' expected a denoiser that torch can differentiate, got "
            f"one without gradients; use a sampler that needs none, such as diffpir or pnp_dm"
        )
    v = direction(clean.detach())
    (pulled,) = torch.autograd.grad(clean, variable, v)
    return clean.detach(), pulled


def residual_gradient(
    run: Run, x: torch.Tensor, sigma: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return D(x), the gradient of ||y - A D(x)||^2, and that squared norm for each system.

    The gradient of a real function of complex x is d/d Re x + i d/d Im x.

    Parameters
    ----------
    run : Run
    x : Tensor
    sigma : float

    Returns
    -------
    clean, gradient : Tensor, as x
    squared : Tensor, (n_samples, *systems, 1, ...)
        Broadcasts against x.
    """
    squared = x.new_zeros((), dtype=x.real.dtype)

    def direction(clean: torch.Tensor) -> torch.Tensor:
        nonlocal squared
        residual = run.problem.data - run.problem.operator.forward(clean)
        squared = each_system(run, residual, x)
        run.n_operator += 1
        return -2 * run.problem.operator.adjoint(residual)

    clean, gradient = pull_back(run, x, sigma, direction)
    return clean, gradient, squared


def each_system(run: Run, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """||values||^2 of each system, shaped to broadcast against `like`.

    Parameters
    ----------
    run : Run
    values : Tensor, (n_samples, *systems, ...)
        Images or data.
    like : Tensor, (n_samples, *systems, ...)
    """
    n_axes = 1 + run.problem.n_batch_axes
    squared = values.abs().square().flatten(n_axes).sum(-1)
    return squared.reshape(squared.shape + (1,) * (like.ndim - n_axes))
