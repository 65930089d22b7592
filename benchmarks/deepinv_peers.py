"""deepinv's samplers on our operator and our denoiser, everything they use counted.

deepinv's images are real, (batch, channel, y, x), with values in 0 to 1. A complex unknown becomes
two channels, after its smooth phase has been turned away as our samplers do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch

from benchmarks.import_deepinv import import_deepinv
from inverse import Problem
from inverse.mri.stopping import least_squares
from inverse.priors import Prior, smooth_phase
from operators import LinearOperator, Space

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Channels", "CountedOperator", "CountedPrior", "RealUnknown", "Spent", "diffpir", "dps"]


@dataclass(slots=True)
class Spent:
    """What a run has used: calls of the denoiser, applications of A^H A (a half each way)."""

    n_denoiser: int = 0
    n_operator: float = 0.0


class CountedOperator(LinearOperator):
    """The operator of a problem, counting its applications, also those of backpropagation."""

    def __init__(self, inner: LinearOperator, spent: Spent) -> None:
        super().__init__(inner.domain, inner.range, device=inner.device, tags=inner.tags)
        self.inner = inner
        self.spent = spent

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        self.spent.n_operator += 0.5
        return self.inner._forward(x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        self.spent.n_operator += 0.5
        return self.inner._adjoint(y)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        self.spent.n_operator += 1
        return self.inner._normal(x)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator elsewhere, with the same counter."""
        return type(self)(self.inner.to(device, dtype), self.spent)


class RealUnknown(LinearOperator):
    """An operator restricted to real images, its complex data taken as pairs of real numbers.

    y = (Re A x, Im A x), x real; its adjoint is Re A^H.
    """

    def __init__(self, inner: LinearOperator) -> None:
        domain, complete = inner.domain, inner.range
        real = torch.float32
        super().__init__(
            Space(domain.shape, real, domain.axes),
            Space((*complete.shape, 2), real, (*complete.axes, "part")),
            device=inner.device,
        )
        self.inner = inner

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(self.inner._forward(x.to(self.inner.domain.dtype)))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._adjoint(torch.view_as_complex(y.contiguous())).real

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner._normal(x.to(self.inner.domain.dtype)).real

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the operator elsewhere."""
        return type(self)(self.inner.to(device, dtype))


@dataclass(frozen=True, slots=True, eq=False)
class CountedPrior:
    """A prior that counts the calls of its denoiser."""

    prior: Prior
    spent: Spent
    name: str = field(init=False)
    n_channels: int = field(init=False)
    max_shift: int = field(init=False)
    largest_sigma: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("name", "n_channels", "max_shift", "largest_sigma"):
            object.__setattr__(self, name, getattr(self.prior, name))

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x], counted."""
        self.spent.n_denoiser += 1
        return self.prior.denoise(x, sigma)

    def to(self, device: torch.device | str) -> CountedPrior:
        """Return the prior on another device, with the same counter."""
        return CountedPrior(self.prior.to(device), self.spent)


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """How the unknown of a problem of one slice is written as deepinv's channels.

    Parameters
    ----------
    phase : Tensor, (1, y, x), complex, optional
        Turned away from a complex unknown; none for a real one.
    """

    phase: torch.Tensor | None

    @classmethod
    def of(cls, problem: Problem) -> Channels:
        """Estimate the phase of a complex problem as our samplers do: from ten steps of CG."""
        if not problem.operator.domain.dtype.is_complex:
            return cls(None)
        return cls(smooth_phase(least_squares(problem, 1e-2, 10).x))

    @property
    def count(self) -> int:
        """1 or 2."""
        return 1 if self.phase is None else 2

    def unknown(self, x: torch.Tensor) -> torch.Tensor:
        """(1, channel, y, x) to (1, y, x)."""
        if self.phase is None:
            return x[:, 0]
        return torch.complex(x[:, 0], x[:, 1]) * self.phase

    def written(self, unknown: torch.Tensor) -> torch.Tensor:
        """(1, y, x) to (1, channel, y, x)."""
        if self.phase is None:
            return unknown[:, None]
        turned = unknown * self.phase.conj()
        return torch.stack([turned.real, turned.imag], 1)


def diffpir(
    problem: Problem, prior: Prior, channels: Channels, weight: float, steps: int
) -> torch.Tensor:
    """deepinv's DiffPIR with its own settings but `lambda_` and the number of steps.

    Parameters
    ----------
    problem : Problem
        One slice, in units where the image's maximum is one: DiffPIR clamps to 0..1.
    prior : Prior
    channels : Channels
    weight : float
        `lambda_`.
    steps : int
        Calls of the denoiser.

    Returns
    -------
    Tensor, (1, y, x)
    """
    deepinv = import_deepinv()
    sampler = deepinv.sampling.DiffPIR(
        model=_denoiser(deepinv, prior),
        data_fidelity=deepinv.optim.data_fidelity.L2(),
        sigma=problem.noise_std,
        max_iter=steps,
        lambda_=weight,
    )
    with torch.random.fork_rng():
        # The seed of its own argument is not honoured when it is 0.
        torch.manual_seed(0)
        found = sampler(_data(problem), _physics(deepinv, problem, channels))
    return channels.unknown(found)


def dps(
    problem: Problem, prior: Prior, channels: Channels, weight: float, steps: int, guidance: str
) -> torch.Tensor:
    """deepinv's DPS, its own settings but weight, guidance and the number of steps.

    Parameters
    ----------
    problem, prior, channels
        As for `diffpir`.
    weight : float
    steps : int
    guidance : {"norm", "annealed"}

    Returns
    -------
    Tensor, (1, y, x)
    """
    deepinv = import_deepinv()
    sampler = deepinv.sampling.DPS(
        _denoiser(deepinv, prior),
        num_steps=steps,
        weight=weight,
        guidance=guidance,
        rng=torch.Generator().manual_seed(0),
    )
    shape = (1, channels.count, *problem.operator.domain.shape[-2:])
    with torch.no_grad():  # it enables gradients itself where it needs them
        found = sampler(_data(problem), _physics(deepinv, problem, channels), x_init=shape)
    return channels.unknown(found.float())


def _data(problem: Problem) -> torch.Tensor:
    return torch.view_as_real(problem.data) if problem.data.is_complex() else problem.data


def _denoiser(deepinv: Any, prior: Prior) -> Any:  # noqa: ANN401 -- deepinv is not typed
    """Return the prior as deepinv's Denoiser.

    Its samplers begin at noise levels of about 80, where nothing of an image is left. A network
    that knows less noise is shown the input scaled down to what it knows: as empty of an image, and
    better than what it would make of a noise level that it has never seen.
    """

    class OurDenoiser(deepinv.models.Denoiser):  # type: ignore[misc]
        def forward(self, x: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
            level = float(torch.as_tensor(sigma).reshape(-1)[0])
            known = min(level, prior.largest_sigma)
            images = x.reshape(-1, *x.shape[-2:]) * (known / level)
            return prior.denoise(images.float(), known).reshape(x.shape)

    return OurDenoiser()


def _physics(deepinv: Any, problem: Problem, channels: Channels) -> Any:  # noqa: ANN401
    """Return the problem's operator as deepinv's LinearPhysics, its fast normal operator too."""
    operator = problem.operator
    is_complex = operator.range.dtype.is_complex
    to_real: Callable[[torch.Tensor], torch.Tensor]
    to_real = torch.view_as_real if is_complex else lambda y: y

    class OurPhysics(deepinv.physics.LinearPhysics):  # type: ignore[misc]
        def A(self, x: torch.Tensor, **_: object) -> torch.Tensor:  # noqa: N802 -- its name
            return to_real(operator(channels.unknown(x)))

        def A_adjoint(self, y: torch.Tensor, **_: object) -> torch.Tensor:  # noqa: N802
            data = torch.view_as_complex(y.contiguous()) if is_complex else y
            return channels.written(operator.adjoint(data))

        def A_adjoint_A(self, x: torch.Tensor, **_: object) -> torch.Tensor:  # noqa: N802
            return channels.written(operator.normal(channels.unknown(x)))

    noise = deepinv.physics.GaussianNoise(sigma=problem.noise_std)
    return OurPhysics(noise_model=noise)
