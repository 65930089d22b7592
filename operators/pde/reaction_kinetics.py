"""Rates at which reacting species are made."""

from __future__ import annotations

import torch

__all__ = ["fisher_rate", "fitzhugh_nagumo_rates", "gray_scott_rates"]


def fisher_rate(u: torch.Tensor, growth: float) -> torch.Tensor:
    """Compute R = r u (1 - u).

    Parameters
    ----------
    u : Tensor
        Fraction of the largest population.
    growth : float
        r in 1/s.

    References
    ----------
    Fisher 1937, doi:10.1111/j.1469-1809.1937.tb02153.x

    Examples
    --------
    >>> fisher_rate(torch.tensor([0.0, 0.5, 1.0]), 2.0).tolist()
    [0.0, 0.5, 0.0]
    """
    return growth * u * (1 - u)


def gray_scott_rates(state: torch.Tensor, feed: float, kill: float) -> torch.Tensor:
    """Compute R = (-u v^2 + F (1 - u), u v^2 - (F + k) v).

    Parameters
    ----------
    state : Tensor, (n_samples, 2, *grid)
        u and v, fractions of the concentration that is fed.
    feed, kill : float
        F and k in 1/s.

    References
    ----------
    Pearson 1993, doi:10.1126/science.261.5118.189

    Examples
    --------
    >>> gray_scott_rates(torch.tensor([[[1.0, 0.5], [0.0, 2.0]]]), 0.5, 1.0).tolist()
    [[[0.0, -1.75], [0.0, -1.0]]]
    """
    u, v = state.unbind(1)
    made = u * v**2
    return torch.stack((feed * (1 - u) - made, made - (feed + kill) * v), dim=1)


def fitzhugh_nagumo_rates(state: torch.Tensor, threshold: float) -> torch.Tensor:
    """Compute R = (u - u^3 - k - v, u - v).

    Parameters
    ----------
    state : Tensor, (n_samples, 2, *grid)
        Activator u and inhibitor v.
    threshold : float
        k.

    References
    ----------
    Takamoto et al. 2022, arXiv:2210.07182 (PDEBench), two-dimensional diffusion-reaction

    Examples
    --------
    >>> fitzhugh_nagumo_rates(torch.tensor([[[2.0], [1.0]]]), 0.5).tolist()
    [[[-7.5], [1.0]]]
    """
    u, v = state.unbind(1)
    return torch.stack((u - u**3 - threshold - v, u - v), dim=1)
