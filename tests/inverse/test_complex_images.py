"""Complex images under priors of real and of complex images, and priors made of functions."""

from __future__ import annotations

import math

import pytest
import torch

from inverse.errors import UsageError
from inverse.priors import CallablePrior, Prior, denoise_complex, load_prior, smooth_phase

SHAPE = (3, 12, 10)


def image(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(shape or SHAPE, generator=draw, dtype=torch.complex128)


def dense_prior(covariance: torch.Tensor) -> CallablePrior:
    """(real, imaginary) of every pixel ~ N(0, covariance): a 2x2 Wiener filter."""

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(2).double())
        return torch.einsum("ij,...jyx->...iyx", gain, x)

    return CallablePrior(denoise, name="pair", n_channels=2)


def test_real_prior_denoises_both_parts_at_the_phase() -> None:
    """Independent Gaussian parts in the rotated frame: the posterior mean, pixel by pixel."""
    prior = CallablePrior(lambda x, sigma: x / (1 + 4 * sigma**2))
    x, phase = image(), torch.sgn(image(12, 10).roll(3, -1))
    torch.testing.assert_close(denoise_complex(prior, x, 0.5, phase), x / 2)

    soft = CallablePrior(lambda x, sigma: torch.sgn(x) * (x.abs() - sigma).clamp_min(0))
    out = denoise_complex(soft, x, 0.3, phase)
    for index in ((0, 0, 0), (1, 5, 7), (2, 11, 9)):
        turned = complex(x[index]) / complex(phase[index[1:]])
        parts = [math.copysign(max(abs(p) - 0.3, 0), p) for p in (turned.real, turned.imag)]
        assert complex(out[index]) == pytest.approx(complex(*parts) * complex(phase[index[1:]]))


def test_complex_prior_sees_both_parts_together_and_unturned() -> None:
    """Parts that are correlated: only a prior that takes them together finds the mean."""
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    x, sigma = image(), 0.7
    out = denoise_complex(dense_prior(covariance), x, sigma, torch.sgn(image()))
    y = torch.stack([x.real.flatten(), x.imag.flatten()])
    mean = covariance @ torch.linalg.solve(covariance + sigma**2 * torch.eye(2).double(), y)
    torch.testing.assert_close(out.flatten(), torch.complex(mean[0], mean[1]))


@pytest.mark.parametrize("n_channels", [1, 2])
def test_gradients_pass(n_channels: int) -> None:
    prior = CallablePrior(lambda x, sigma: torch.tanh(x) / (1 + sigma), n_channels=n_channels)
    x = image(4, 3).requires_grad_()
    phase = torch.sgn(image(4, 3)).detach()
    assert torch.autograd.gradcheck(lambda v: denoise_complex(prior, v, 0.3, phase), (x,))


def test_gradients_pass_through_the_embedded_prior() -> None:
    """Jacobian times a vector against a central difference."""
    prior, x = load_prior(None), image(16, 16).to(torch.complex64)
    v, phase = image(16, 16).roll(5, 0).to(torch.complex64), smooth_phase(x)
    _, slope = torch.autograd.functional.jvp(lambda z: denoise_complex(prior, z, 0.3, phase), x, v)
    step = 1e-2
    above, below = (denoise_complex(prior, x + s * v, 0.3, phase) for s in (step, -step))
    error = torch.linalg.vector_norm(slope - (above - below) / (2 * step))
    assert float(error / torch.linalg.vector_norm(slope)) < 1e-2


@pytest.mark.parametrize("in_channels", [1, 2, 3, 4])
def test_networks_of_every_layout_denoise_complex_images(in_channels: int) -> None:
    """Against the same network called by hand on the two parts."""
    from diffusers import UNet2DModel

    from inverse.priors import UNetPrior
    from inverse.priors.parametrisation import Edm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet2DModel(
            in_channels=in_channels,
            out_channels=2 if in_channels in (2, 4) else 1,
            layers_per_block=1,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
            add_attention=False,
            norm_num_groups=4,
        ).eval()
    prior = UNetPrior(net, Edm(0.5, 0.002, 80.0))
    x = image(12, 10).to(torch.complex64).requires_grad_()
    phase = torch.sgn(image(12, 10)).to(torch.complex64)
    out = denoise_complex(prior, x, 0.3, phase)

    def call(*channels: torch.Tensor) -> torch.Tensor:
        axes = torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 10), indexing="ij")
        places = axes if in_channels > 2 else ()
        total = 0.3**2 + 0.5**2
        inputs = torch.stack([*(c / math.sqrt(total) for c in channels), *places])[None]
        residual = net(inputs, torch.tensor([math.log(0.3) / 4])).sample[0]
        return 0.25 / total * torch.stack(channels) + 0.15 / math.sqrt(total) * residual

    if prior.n_channels == 2:
        expected = torch.complex(*call(x.real, x.imag))
    else:
        turned = x * phase.conj()
        expected = torch.complex(call(turned.real)[0], call(turned.imag)[0]) * phase
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    out.abs().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().min()) > 0


def test_real_images_need_a_prior_of_real_images() -> None:
    x = image().real
    halving = CallablePrior(lambda v, _: v / 2)
    assert torch.equal(denoise_complex(halving, x, 0.1, torch.ones_like(x)), x / 2)
    with pytest.raises(UsageError, match=r"'pair' is of complex images .* choose a prior of real"):
        denoise_complex(dense_prior(torch.eye(2).double()), x, 0.1, torch.ones_like(x))


def test_functions_are_priors() -> None:
    prior = CallablePrior(lambda x, sigma: x * sigma, name="mine", max_shift=4, largest_sigma=2.0)
    assert isinstance(prior, Prior)
    assert load_prior(prior) is prior
    assert prior.to("cpu") is prior
    assert (prior.name, prior.n_channels, prior.max_shift, prior.largest_sigma) == ("mine", 1, 4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, "expected a function of an image and a noise level, got int"),
        ({"n_channels": 3}, "n_channels expected 1 or 2, got 3"),
        ({"max_shift": -1}, "expected max_shift >= 0"),
        ({"largest_sigma": math.nan}, "expected max_shift >= 0 and largest_sigma > 0"),
    ],
)
def test_wrong_settings_of_a_function_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        CallablePrior(**{"function": lambda x, _: x, **arguments})  # type: ignore[arg-type]


def test_a_function_that_returns_an_array_is_told_how_to_make_a_tensor() -> None:
    prior = CallablePrior(lambda x, _: x.numpy() / 2, name="numpy")  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match=r"return a torch\.Tensor, got ndarray; .*from_numpy"):
        prior.denoise(torch.ones(4, 4), 0.1)


def test_a_function_that_changes_the_shape_is_refused() -> None:
    prior = CallablePrior(lambda x, _: x[..., 1:], name="cropping")
    with pytest.raises(UsageError, match=r"'cropping' expected to return shape \(4, 4\), got"):
        prior.denoise(torch.ones(4, 4), 0.1)
