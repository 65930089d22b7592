"""What a network predicts, turned into the one thing samplers ask for: E[x0 | x0 + sigma n = x].

Every parametrisation in use is linear in the noisy image x and in the network's output, so that
one form holds them all (Karras et al. 2022, arXiv 2206.00364, eq. 7):

    D(x; sigma) = c_skip x + c_out F(c_in x; label)

They differ in the four coefficients, which each class below gives as functions of sigma. Noise
levels outside the range a network was trained on are clipped to it: the network would otherwise be
asked what it has never seen, and below the range the difference is less than the smallest noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError

__all__ = [
    "Coefficients",
    "Edm",
    "FlowMatching",
    "Parametrisation",
    "VarianceExploding",
    "VariancePreserving",
]


class Coefficients(NamedTuple):
    """D(x) = skip x + out F(scale x; label).

    Parameters
    ----------
    skip, out, scale : float
    label : float
        What the network is told about the noise: a time step or a function of sigma.
    """

    skip: float
    out: float
    scale: float
    label: float


class Parametrisation(Protocol):
    """How a network is called at a noise level, and what its output means."""

    @property
    def sigma_min(self) -> float:
        """Smallest noise level it was trained on, in the network's units."""

    @property
    def sigma_max(self) -> float:
        """Largest noise level it was trained on, in the network's units."""

    def coefficients(self, sigma: float) -> Coefficients:
        """Return the four coefficients at a noise level, clipped to the trained range."""


@dataclass(frozen=True, slots=True, eq=False)
class VariancePreserving:
    """DDPM: x_t = sqrt(a_t) x0 + sqrt(1 - a_t) n, the schedule a table over integer times.

    x_t = x / sqrt(1 + sigma^2)  with  sigma_t = sqrt((1 - a_t) / a_t), and

    ============  ==============================  ==============  =========================
    prediction    network output                  c_skip          c_out
    ============  ==============================  ==============  =========================
    epsilon       n                               1               -sigma
    v_prediction  sqrt(a_t) n - sqrt(1 - a_t) x0  1/(1+sigma^2)   -sigma / sqrt(1+sigma^2)
    sample        x0                              0               1
    ============  ==============================  ==============  =========================

    Between integer times the time is interpolated linearly in ln(sigma); at integer times it is
    exact. A network with a table of learned times (`fractional` False) gets the nearest integer,
    and is used at that time's noise level. Entries with a_t = 0 (zero terminal signal) have no
    finite noise level and are left out.

    Parameters
    ----------
    alphas_cumprod : tuple of float
        a_t for t = 0, 1, ...; falling.
    prediction : {"epsilon", "v_prediction", "sample"}
    fractional : bool
        Whether the network takes times between the integers.

    Raises
    ------
    DataError
        If the schedule does not fall from below one, or the prediction is another.

    References
    ----------
    Ho et al. 2020, arXiv 2006.11239, eq. 4 and 15 (epsilon); Salimans and Ho 2022,
    arXiv 2202.00512, section 4 and appendix D (v, x0); Song et al. 2021, arXiv 2010.02502,
    section 4.3 (the change to the variance-exploding scale)

    Examples
    --------
    >>> ddpm = VariancePreserving((0.8, 0.5, 0.2), "epsilon")
    >>> ddpm.coefficients(1.0).label
    1.0
    """

    alphas_cumprod: tuple[float, ...] = field(repr=False)
    prediction: str
    fractional: bool = True
    _log_sigmas: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise DataError(
                "prediction_type expected 'epsilon', 'v_prediction' or 'sample', "
                f"got {self.prediction!r:.40}"
            )
        alphas = np.asarray(self.alphas_cumprod, np.float64)
        alphas = alphas[: len(alphas) - int(len(alphas) > 0 and alphas[-1] == 0)]
        if len(alphas) < 2 or not (
            alphas[0] < 1 and alphas[-1] > 0 and (np.diff(alphas) < 0).all()
        ):
            raise DataError(
                "the noise schedule expected a cumulative product that falls from below 1 to above "
                "0 over two time steps or more"
            )
        object.__setattr__(self, "_log_sigmas", np.log((1 - alphas) / alphas) / 2)

    @property
    def sigma_min(self) -> float:
        """Noise level of the first time."""
        return math.exp(self._log_sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Noise level of the last time with a finite one."""
        return math.exp(self._log_sigmas[-1])

    def coefficients(self, sigma: float) -> Coefficients:
        """Return the coefficients of the table above; `label` is the time."""
        sigma = _clipped(sigma, self)
        times = np.arange(len(self._log_sigmas))
        time = float(np.interp(math.log(sigma), self._log_sigmas, times))
        if not self.fractional:
            time = round(time)
            sigma = math.exp(self._log_sigmas[time])
        scale = 1 / math.sqrt(1 + sigma**2)
        skip, out = {
            "epsilon": (1.0, -sigma),
            "v_prediction": (scale**2, -sigma * scale),
            "sample": (0.0, 1.0),
        }[self.prediction]
        return Coefficients(skip, out, scale, time)


@dataclass(frozen=True, slots=True)
class Edm:
    """Preconditioning of EDM: unit variance at the input and at the training target.

    c_in = 1 / sqrt(s^2 + d^2);  c_skip = d^2 / (s^2 + d^2);  c_out = s d / sqrt(s^2 + d^2);
    label = ln(s) / 4, with s = sigma and d = sigma_data

    In diffusers this is the prediction "epsilon" of the EDM schedulers, although the network
    predicts noise only where sigma is large; their "v_prediction" is the same with the sign of
    c_out turned.

    Parameters
    ----------
    sigma_data : float
        Standard deviation of the training images.
    sigma_min, sigma_max : float
        Trained range.
    prediction : {"epsilon", "v_prediction"}

    Raises
    ------
    DataError
        If a number is not positive, or the prediction is another.

    References
    ----------
    Karras et al. 2022, arXiv 2206.00364, table 1 and appendix B.6
    """

    sigma_data: float
    sigma_min: float
    sigma_max: float
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        _check_range(self)
        if not 0 < self.sigma_data < math.inf:
            raise DataError(f"sigma_data expected a positive number, got {self.sigma_data}")
        if self.prediction not in ("epsilon", "v_prediction"):
            raise DataError(
                "prediction_type of an EDM network expected 'epsilon' or 'v_prediction', "
                f"got {self.prediction!r:.40}"
            )

    def coefficients(self, sigma: float) -> Coefficients:
        """Return the coefficients above."""
        sigma = _clipped(sigma, self)
        total = sigma**2 + self.sigma_data**2
        out = sigma * self.sigma_data / math.sqrt(total)
        sign = 1 if self.prediction == "epsilon" else -1
        return Coefficients(
            self.sigma_data**2 / total, sign * out, 1 / math.sqrt(total), math.log(sigma) / 4
        )


@dataclass(frozen=True, slots=True)
class VarianceExploding:
    """Score network of a variance-exploding process: F(x; sigma) = grad log p_sigma(x).

    D(x) = x + sigma^2 F(x; sigma)  (Tweedie's formula), so c_skip = c_in = 1, c_out = sigma^2.

    Parameters
    ----------
    sigma_min, sigma_max : float
        Trained range.

    Raises
    ------
    DataError
        If the range is empty.

    References
    ----------
    Song et al. 2021, arXiv 2011.13456, eq. 7 and 9; Robbins 1956 (Tweedie's formula)
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        _check_range(self)

    def coefficients(self, sigma: float) -> Coefficients:
        """Return the coefficients above; `label` is sigma itself."""
        sigma = _clipped(sigma, self)
        return Coefficients(1.0, sigma**2, 1.0, sigma)


@dataclass(frozen=True, slots=True)
class FlowMatching:
    """Straight paths from image to noise: x_s = (1 - s) x0 + s n, output the velocity n - x0.

    sigma = s / (1 - s);  x_s = x / (1 + sigma);  D(x) = x_s - s F(x_s; N s), so
    c_skip = c_in = 1 / (1 + sigma), c_out = -sigma / (1 + sigma), label = N sigma / (1 + sigma)

    A scheduler's `shift` moves the noise levels that its own sampler visits, and with them the
    smallest trained one; s and the label belong together as above whatever the shift.

    Parameters
    ----------
    n_times : int
        N, `num_train_timesteps`. Trained on s = 1/N to 1; s = 1 is noise alone, and its neighbour
        is the largest noise level.
    shift : float

    Raises
    ------
    DataError
        If there are fewer than three times or the shift is not positive.

    References
    ----------
    Lipman et al. 2023, arXiv 2210.02747, section 4.1; Esser et al. 2024, arXiv 2403.03206,
    eq. 13 (velocity) and 23 (shift)
    """

    n_times: int
    shift: float = 1.0

    def __post_init__(self) -> None:
        if not (self.n_times >= 3 and 0 < self.shift < math.inf):
            raise DataError(
                "flow matching expected three time steps or more and a positive shift, got "
                f"{self.n_times} and {self.shift}"
            )

    @property
    def sigma_min(self) -> float:
        """Noise level of the first time: shift / (N - 1)."""
        return self.shift / (self.n_times - 1)

    @property
    def sigma_max(self) -> float:
        """Noise level of the last time but one: shift (N - 1)."""
        return self.shift * (self.n_times - 1)

    def coefficients(self, sigma: float) -> Coefficients:
        """Return the coefficients above."""
        sigma = _clipped(sigma, self)
        rest = 1 / (1 + sigma)
        return Coefficients(rest, -sigma * rest, rest, self.n_times * sigma * rest)


def _clipped(sigma: float, trained: Parametrisation) -> float:
    return min(max(sigma, trained.sigma_min), trained.sigma_max)


def _check_range(trained: Parametrisation) -> None:
    if not 0 < trained.sigma_min < trained.sigma_max < math.inf:
        raise DataError(
            "the range of noise levels expected 0 < sigma_min < sigma_max, got "
            f"{trained.sigma_min} and {trained.sigma_max}"
        )
