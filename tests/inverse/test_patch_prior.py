"""The patch prior: patches averaged rightly, files round trip, the embedded one denoises."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import ndimage
from skimage import data

from inverse.errors import DataError, ResourceError, UsageError
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
    with pytest.raises(DataError, match=r"damaged\.safetensors: the patch prior is .* damaged"):
        load_prior(damaged)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(1)}, foreign)
    with pytest.raises(DataError, match="expected 'inverse-suite patch prior 1'"):
        load_prior(foreign)
    with pytest.raises(UsageError, match="there is no prior 'nowhere'"):
        load_prior("nowhere")


@pytest.mark.parametrize(
    ("changes", "texts", "message"),
    [
        ({"means": torch.zeros(16)}, {}, r"means expected shape \(K, D\)"),
        ({"variances": torch.zeros(())}, {}, r"means expected shape \(K, D\)"),
        ({"means": torch.zeros(0, 16)}, {}, "none of K and D zero"),
        ({"bases": torch.zeros(1, 16, 2)}, {}, r"bases expected shape \(1, 16, 1\)"),
        ({"floors": torch.tensor([torch.nan])}, {}, "floors holds NaN"),
        ({}, {"stride": "0"}, "stride expected 1 to 4, got 0"),
        ({}, {"size": "-4"}, "expected vectors of length 16"),
        ({}, {"size": "many"}, "not understood"),
    ],
)
def test_hostile_files_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, torch.Tensor], texts: dict[str, str], message: str
) -> None:
    from safetensors.torch import load_file, save_file

    file = tmp_path / "p.safetensors"
    PatchPrior(shrinking(), 4).save(file)
    about = {"format": "inverse-suite patch prior 1", "size": "4", "stride": "4", "name": "p"}
    save_file({**load_file(file), **changes}, file, metadata={**about, **texts})
    with pytest.raises(DataError, match=message) as caught:
        load_prior(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_texts_of_a_file_cannot_command_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "p.safetensors"
    PatchPrior(shrinking(), 4, card={"data": "\x1b[2Jmine"}).save(file)
    assert PatchPrior.load(file).card["data"] == "?[2Jmine"
    with pytest.raises(UsageError, match="printable line of at most 100"):
        PatchPrior(shrinking(), 4, name="\x1b[2J").save(file)


def test_pickled_checkpoints_are_sent_to_the_converter(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "net.pt")
    (tmp_path / "weights").write_bytes((tmp_path / "net.pt").read_bytes())
    (tmp_path / "old.PT").write_bytes(b"")
    (tmp_path / "edm").write_bytes(pickle.dumps({"a": 1}))
    for name in ("net.pt", "weights", "old.PT", "edm"):
        with pytest.raises(DataError, match=r"a pickle may run code .* `inverse prior convert`"):
            load_prior(tmp_path / name)


def test_the_same_prior_is_the_same_bytes_and_its_card_in_order(tmp_path: Path) -> None:
    card = {f"key {n}": str(n) for n in range(12)}
    for name in ("a", "b"):
        PatchPrior(shrinking(), 4, name="mine", card=card).save(tmp_path / f"{name}.safetensors")
    a, b = (tmp_path / f"{name}.safetensors" for name in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    found = list(PatchPrior.load(a).card)
    assert found == sorted(found)
    assert len(found) >= 12


def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "p.safetensors"
    PatchPrior(shrinking(), 4, name="old").save(file)
    before = file.read_bytes()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ResourceError, match=r"No space left .* is kept; free some space"):
            PatchPrior(shrinking(), 4, name="new").save(file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(ResourceError, match="File too large; what was there is kept"):
            PatchPrior(shrinking(), 4, name="new").save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_prior_is_readable_by_whom_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    PatchPrior(shrinking(), 4).save(str(tmp_path / "p.safetensors"))
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_of_another_precision_keep_theirs(dtype: torch.dtype) -> None:
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    prior = PatchPrior(shrinking(), 4, stride=2)
    found = prior.denoise(x, 0.5)
    assert found.dtype == dtype
    torch.testing.assert_close(found, prior.denoise(x.float(), 0.5).to(dtype))


def test_what_is_no_noisy_image_is_refused() -> None:
    prior = PatchPrior(shrinking(), 4)
    with pytest.raises(UsageError, match=r"expected real images .* `denoise_complex` takes"):
        prior.denoise(torch.zeros(8, 8, dtype=torch.complex64), 0.1)
    with pytest.raises(UsageError, match="expected real images"):
        prior.denoise(torch.zeros(8), 0.1)
    for sigma in (-0.1, float("nan")):
        with pytest.raises(UsageError, match="sigma expected a noise level of 0 or more"):
            prior.denoise(torch.zeros(8, 8), sigma)


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
