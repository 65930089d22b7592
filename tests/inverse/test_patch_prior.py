"""The patch prior: patches averaged rightly, files round trip, the embedded one denoises."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import ndimage
from skimage import data

from inverse.errors import DataError, UsageError
from inverse.priors import LowRankMixture, PatchPrior, denoise_complex, load_prior, smooth_phase


def shrinking(size: int = 4) -> LowRankMixture:
    """A single white component of variance 1: E[x0|x] = x / (1 + sigma^2)."""
    d = size**2
    return LowRankMixture(
        torch.zeros(1),
        torch.zeros(1, d),
        torch.eye(d)[None, :, :1],
        torch.zeros(1, 1),
        torch.ones(1),
    )


def camera(noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    clean = torch.from_numpy(data.camera()[::2, ::2] / 255.0).float()
    draw = torch.Generator().manual_seed(seed)
    return clean, clean + noise * torch.randn(clean.shape, generator=draw)


@pytest.mark.parametrize("shape", [(12, 16), (13, 7), (3, 5), (2, 9, 10)])
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_patches_are_averaged_with_equal_weight(shape: tuple[int, ...], stride: int) -> None:
    """White patches shrink towards their means: with stride 1 that is a box filter."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    out = PatchPrior(shrinking(), 4, stride).denoise(x, 1.0)
    assert out.shape == x.shape
    if stride == 1 and min(shape[-2:]) >= 4:
        image = x.numpy().astype(float)
        box = (0,) * (x.ndim - 2) + (4, 4)
        means = ndimage.uniform_filter(image, [s or 1 for s in box], mode="wrap", origin=0)
        forth = ndimage.uniform_filter(
            means, [s or 1 for s in box], mode="wrap", origin=[0 if not s else -1 for s in box]
        )
        torch.testing.assert_close(
            out, torch.from_numpy(0.5 * image + 0.5 * forth).float(), rtol=0, atol=1e-5
        )


def test_no_noise_leaves_the_image_alone() -> None:
    clean, _ = camera(0.0)
    torch.testing.assert_close(load_prior(None).denoise(clean, 1e-6), clean, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("sigma", "gain_db"), [(0.05, 4.0), (0.1, 5.5), (0.2, 7.5)])
def test_embedded_prior_denoises_better_than_a_gaussian_filter(
    sigma: float, gain_db: float
) -> None:
    clean, noisy = camera(sigma)
    error = (load_prior("natural").denoise(noisy, sigma) - clean).square().mean()
    filters = [
        (torch.from_numpy(ndimage.gaussian_filter(noisy.numpy(), width)) - clean).square().mean()
        for width in (0.5, 0.7, 1.0, 1.4)
    ]
    assert float(error) < 0.9 * float(min(filters))
    assert float(10 * torch.log10(sigma**2 / error)) > gain_db


def test_embedded_prior_is_small_and_loads_quickly() -> None:
    path = Path(__import__("inverse.priors").priors.__file__).parent / "weights"
    assert (path / "natural.safetensors").stat().st_size <= 2**20
    assert (path / "natural.md").is_file()
    started = time.process_time()
    load_prior(None)
    assert time.process_time() - started < 2.0


def test_file_round_trip_keeps_the_denoiser(tmp_path: Path) -> None:
    prior = load_prior(None)
    assert isinstance(prior, PatchPrior)
    replace(prior, name="mine").save(tmp_path / "p.safetensors")
    again = load_prior(tmp_path / "p.safetensors")
    _, noisy = camera(0.1)
    assert again.name == "mine"
    assert torch.equal(again.denoise(noisy, 0.1), prior.denoise(noisy, 0.1))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a prior at all")
    with pytest.raises(DataError, match=r"damaged\.safetensors is damaged"):
        load_prior(damaged)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(1)}, foreign)
    with pytest.raises(DataError, match="expected 'inverse-suite patch prior 1'"):
        load_prior(foreign)
    with pytest.raises(UsageError, match="there is no prior 'nowhere'"):
        load_prior("nowhere")


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="expected vectors of length 25"):
        PatchPrior(shrinking(4), 5)
    with pytest.raises(DataError, match="stride expected 1 to 4"):
        PatchPrior(shrinking(4), 4, stride=5)


def test_complex_image_is_denoised_at_its_own_phase() -> None:
    """A constant phase must not change what comes out, up to that phase."""
    clean, noisy = camera(0.1)
    prior = load_prior(None)
    turn = torch.polar(torch.ones(()), torch.tensor(1.1))
    image = torch.complex(noisy, torch.zeros_like(noisy)) * turn
    phase = smooth_phase(torch.complex(clean, torch.zeros_like(clean)) * turn)
    out = denoise_complex(prior, image, 0.1, phase)
    torch.testing.assert_close((out / turn).real, prior.denoise(noisy, 0.1), rtol=0, atol=1e-4)
    assert float((out / turn).imag.abs().max()) < 1e-4


def test_smooth_phase_is_a_phasor_even_where_the_image_is_zero() -> None:
    image = torch.zeros(16, 16, dtype=torch.complex64)
    assert torch.equal(smooth_phase(image), torch.ones_like(image))
