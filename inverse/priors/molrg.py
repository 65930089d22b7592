"""Patches of images as a mixture of low-rank Gaussians: the prior that ships with the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.nn.functional import fold, unfold

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import existing_file, reading
from inverse.priors.diffusers_folder import check_name, printable
from inverse.priors.mixture import LowRankMixture
from inverse.priors.weight_files import write_tensors

__all__ = ["PatchPrior"]

_FORMAT = "inverse-suite patch prior 1"
_TENSORS = ("log_weights", "means", "bases", "variances", "floors")
_HALF = ("means", "bases")
_LARGEST_FILE = 2**28
_PATCHES_AT_ONCE = 2**16  # bounds the memory of a volume: about 100 MB at 128 components
_LARGEST_SHIFT = 64


@dataclass(frozen=True, slots=True, eq=False)
class PatchPrior:
    """MoLRG over patches: every patch is denoised exactly, overlapping patches are averaged.

    A patch is its mean plus a vector of the mixture. The mean is left as it is: its noise is
    `size` times smaller than a pixel's. Images are taken to repeat beyond their edges, as they do
    under a Fourier transform; samplers shift them at random between calls, so that a stride of
    half a patch loses little.

    Parameters
    ----------
    mixture : LowRankMixture
        Over mean-free patches, D = size^2, row-major (y, x).
    size : int
        Edge of a patch in pixels.
    stride : int
        Distance between patches, at most `size`.
    name : str
        What the report calls it.
    card : mapping of str to str
        What is known of its fit, see `inverse.priors.fit.fit_prior`.

    Raises
    ------
    DataError
        If the mixture's vectors are not patches of that size, or the stride leaves gaps.

    References
    ----------
    Wang et al. 2024, arXiv 2409.02426 (mixture of low-rank Gaussians as a diffusion model);
    Hu et al. 2024, arXiv 2406.02462 (patches with random offsets in a diffusion sampler)
    """

    mixture: LowRankMixture
    size: int
    stride: int = 4
    name: str = "patches"
    card: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 1 or self.mixture.dimension != self.size**2:
            raise DataError(
                f"a patch prior of {self.size}x{self.size} pixels expected vectors of length "
                f"{self.size**2}, got {self.mixture.dimension}"
            )
        if not 1 <= self.stride <= self.size:
            raise DataError(f"stride expected 1 to {self.size}, got {self.stride}")

    @property
    def n_channels(self) -> int:
        """Return 1: patches of real images."""
        return 1

    @property
    def max_shift(self) -> int:
        """How far the image is rolled at random between calls, so that the grid does not show."""
        return _LARGEST_SHIFT

    @property
    def largest_sigma(self) -> float:
        """Without limit: every patch is denoised exactly at any noise level."""
        return math.inf

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x] patch by patch, averaged where patches overlap.

        Parameters
        ----------
        x : Tensor, (*batch, y, x), real
            Image with a peak of about one plus white noise.
        sigma : float
            Standard deviation of that noise.

        Returns
        -------
        Tensor, as x; computed at the precision of the mixture

        Raises
        ------
        UsageError
            If the image is complex, or the noise level is negative or not a number.
        """
        if x.is_complex() or x.ndim < 2:
            raise UsageError(
                f"the prior '{self.name}' expected real images of shape (*batch, y, x), got "
                f"{x.dtype} of shape {tuple(x.shape)}; `denoise_complex` takes complex ones"
            )
        if not sigma >= 0:
            raise UsageError(f"sigma expected a noise level of 0 or more, got {sigma}")
        ny, nx = x.shape[-2:]
        images = x.reshape(-1, 1, ny, nx).to(self.mixture.means.dtype)
        n_patches = -(-ny // self.stride) * -(-nx // self.stride)
        blocks = images.split(max(1, _PATCHES_AT_ONCE // n_patches))
        clean = torch.cat([self._denoise(block, sigma) for block in blocks])
        return clean.reshape(x.shape).to(x.dtype)

    def _denoise(self, images: torch.Tensor, sigma: float) -> torch.Tensor:
        """Denoise (n, 1, y, x)."""
        ny, nx = images.shape[-2:]
        size, stride = self.size, self.stride
        reach = [(-n % stride) + max(size - stride, 0) for n in (ny, nx)]
        padded = _wrap(images, *reach)
        patches = unfold(padded, size, stride=stride)
        n, d, count = patches.shape
        vectors = patches.transpose(1, 2).reshape(-1, d)
        mean = vectors.mean(1, keepdim=True)
        clean = self.mixture.denoise(vectors - mean, sigma) + mean
        shape = (padded.shape[-2], padded.shape[-1])
        total = fold(clean.reshape(n, count, d).transpose(1, 2), shape, size, stride=stride)
        weight = fold(torch.ones_like(patches[:1]), shape, size, stride=stride)
        return _unwrap(total, ny, nx) / _unwrap(weight, ny, nx)

    def to(self, device: torch.device | str) -> PatchPrior:
        """Return the prior on another device."""
        return replace(self, mixture=self.mixture.to(device))

    def save(self, path: Path | str) -> None:
        """Write the prior as safetensors, atomically: means and bases in half precision.

        Parameters
        ----------
        path : Path
            Ends in ``.safetensors``.

        Raises
        ------
        UsageError
            If the prior's name is no printable line of at most 100 characters.
        ResourceError
            If the disk is full or the folder cannot be written; what was there is kept.
        """
        # Variances span more orders of magnitude than half precision has.
        types = {key: torch.float16 if key in _HALF else torch.float32 for key in _TENSORS}
        tensors = {key: getattr(self.mixture, key).to(dtype) for key, dtype in types.items()}
        about = {**self.card, "format": _FORMAT, "name": check_name(self.name)}
        about |= {"size": str(self.size), "stride": str(self.stride)}
        write_tensors(Path(path), tensors, about)

    @classmethod
    def load(cls, path: Path | str) -> PatchPrior:
        """Read what `save` wrote.

        Parameters
        ----------
        path : Path
            The file may come from anyone: nothing in it is run, and texts are made printable.

        Raises
        ------
        DataError
            If the file is no such prior, or is damaged.
        """
        from safetensors import safe_open

        path = existing_file(Path(path))
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"{path}: expected a prior of at most {_LARGEST_FILE} bytes")
        with reading(path, "patch prior"):
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                about = {key: printable(metadata[key]) for key in sorted(metadata)}
                if about.get("format") != _FORMAT:
                    raise DataError(
                        f"expected '{_FORMAT}', got '{about.get('format', 'no format')[:60]}'"
                    )
                tensors = {key: file.get_tensor(key).float() for key in _TENSORS}
            size, stride, name = int(about["size"]), int(about["stride"]), about["name"]
            return cls(LowRankMixture(**tensors), size, stride, name, about)


def _wrap(images: torch.Tensor, below: int, right: int) -> torch.Tensor:
    """Continue images periodically, as often as needed, below and to the right."""
    for dim, extra in ((-2, below), (-1, right)):
        n = images.shape[dim]
        index = torch.arange(n + extra, device=images.device) % n
        images = images.index_select(dim, index)
    return images


def _unwrap(padded: torch.Tensor, ny: int, nx: int) -> torch.Tensor:
    """Add what lies beyond the edges back to where it came from: the adjoint of `_wrap`."""
    for dim, n in ((-2, ny), (-1, nx)):
        index = torch.arange(padded.shape[dim], device=padded.device) % n
        shape = list(padded.shape)
        shape[dim] = n
        padded = padded.new_zeros(shape).index_add(dim, index, padded)
    return padded
