"""Covariance of complex noise among which some samples carry signal."""

from __future__ import annotations

import torch

from operators.errors import ShapeError

__all__ = ["concentrated_covariance"]

_CLEAN_SHARE = 0.5
_MAX_STEPS = 50


def concentrated_covariance(samples: torch.Tensor) -> torch.Tensor:
    """Estimate the covariance of zero-mean complex noise from its quieter half.

    Psi = a/h sum_{t in H} z_t z_t^H,  H = the h samples of least z^H Psi^-1 z,  h = n/2

    The energy z^H Psi^-1 z of noise is Gamma(C) distributed, so the factor

    a = (h/n) / P(C + 1, P^-1(C, h/n)),  P = regularised lower incomplete gamma function,

    undoes the loss of variance by the selection. H and Psi are iterated until H stands still.

    Parameters
    ----------
    samples : Tensor, (C, n), complex
        Noise, up to half of it contaminated; no channel is zero in most samples.

    Returns
    -------
    Tensor, (C, C), complex128
        Psi, Hermitian.

    Raises
    ------
    ShapeError
        If there are not more than twice as many samples as coils.

    References
    ----------
    Rousseeuw and Van Driessen 1999, doi:10.1080/00401706.1999.10485670, section 3 (concentration);
    Croux and Haesbroeck 1999, doi:10.1006/jmva.1999.1839, section 2 (consistency factor)

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> noise = torch.randn(2, 20000, dtype=torch.complex64, generator=rng)
    >>> noise[:, :2000] *= 30
    >>> bool(abs(concentrated_covariance(noise) - torch.eye(2)).max() < 0.2)
    True
    """
    from scipy.special import gammainc, gammaincinv  # keeps the package quick to import

    n_coils, n = samples.shape
    if n <= 2 * n_coils:
        raise ShapeError(
            f"a robust covariance of {n_coils} channels needs more than {2 * n_coils} samples, "
            f"got {n}"
        )
    samples = samples.to(torch.complex128)
    n_clean = round(_CLEAN_SHARE * n)
    share = n_clean / n
    factor = share / float(gammainc(n_coils + 1, gammaincinv(n_coils, share)))
    power = samples.abs().square()
    # |z|^2 of noise is exponentially distributed: its median is log 2 of its mean
    variance = power.median(dim=1).values / torch.log(power.new_tensor(2.0))
    covariance = torch.diag(variance).to(samples.dtype)
    chosen = torch.empty(0, dtype=torch.long, device=samples.device)
    for _ in range(_MAX_STEPS):
        energy = _mahalanobis(samples, covariance)
        previous, chosen = chosen, energy.topk(n_clean, largest=False).indices.sort().values
        if torch.equal(previous, chosen):
            break
        clean = samples[:, chosen]
        covariance = clean @ clean.mH * (factor / n_clean)
    return covariance


def _mahalanobis(samples: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """z^H Psi^-1 z of every sample (n,); coils that copy each other do not stop it."""
    gain = covariance.diagonal().real.rsqrt().to(covariance.dtype)
    identity = torch.eye(len(gain), dtype=gain.dtype, device=gain.device)
    correlation = gain[:, None] * covariance * gain + 1e-12 * identity
    scaled = gain[:, None] * samples
    energy: torch.Tensor = (scaled.conj() * torch.linalg.solve(correlation, scaled)).real.sum(0)
    return energy
