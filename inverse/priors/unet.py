"""Networks as priors: any diffusers `UNet2DModel` folder is a denoiser at any noise level."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from inverse.errors import DataError, UsageError
from inverse.priors.diffusers_folder import pipeline_folder, read_card, read_network
from inverse.priors.noise_schedule import read_parametrisation
from inverse.priors.parametrisation import Parametrisation

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

__all__ = ["UNetPrior", "bfloat16_is_fast"]

# Image channels, and whether positions follow them, by (in_channels, out_channels). Networks with
# twice as many outputs as images predict a variance too (improved DDPM), which is left aside.
_LAYOUTS = {
    (1, 1): (1, False),
    (1, 2): (1, False),
    (2, 2): (2, False),
    (2, 4): (2, False),
    (3, 1): (1, True),
    (4, 2): (2, True),
}
# Bytes of one layer at full resolution: bounds memory at some ten times as much.
_BLOCK_BYTES = {"cpu": 2**26}
_BLOCK_BYTES_ON_A_DEVICE = 2**29


@dataclass(frozen=True, slots=True, eq=False)
class UNetPrior:
    """D(x; sigma) = (c_skip u + c_out F(c_in u; label) - offset) / scale,  u = scale x + offset.

    The coefficients belong to the parametrisation at the network's noise level scale sigma.

    Images of any size: they are mirrored beyond the lower and right edge up to the multiple that
    the network's levels need. A network with two more inputs than images is given, for each pixel,
    its place y and x in the whole image, -1 to 1 (a prior of patches that knows where they lie).

    Parameters
    ----------
    network : UNet2DModel
        F, evaluated as it is: in evaluation mode, without gradients of its weights.
    parametrisation : Parametrisation
        What F predicts and at which noise levels.
    name : str
        What the report calls it.
    units : str
        Of the images, for people.
    scale, offset : float
        From image units (peak about one) to the network's; see `inverse.priors.Card`.
    autocast : bool
        Compute in bfloat16 where torch finds it safe. Measured with a network of 3.4 million
        weights on a processor that has such arithmetic: 1.9 times as fast; the result moves by
        0.022 sigma (root mean square) at sigma = 0.005 and 0.004 sigma at 0.1, and loses 0.005 dB.
        Off by default: results then do not depend on the processor or on the size of a batch.

    Raises
    ------
    DataError
        If the network's channels are none of: 1 or 2 images; the same and a variance each; the
        same and two positions.

    References
    ----------
    Karras et al. 2022, arXiv 2206.00364, eq. 7; Hu et al. 2024, arXiv 2406.02462 (positions)
    """

    network: UNet2DModel
    parametrisation: Parametrisation
    name: str = "unet"
    units: str = ""
    scale: float = 1.0
    offset: float = 0.0
    autocast: bool = False

    def __post_init__(self) -> None:
        config = self.network.config
        channels = config["in_channels"], config["out_channels"]
        if channels not in _LAYOUTS:
            raise DataError(
                "the network expected 1 or 2 image channels, alone, with variances or with two "
                f"positions, got {channels[0]} inputs and {channels[1]} outputs"
            )

    @classmethod
    def load(
        cls, folder: Path | str, *, dtype: torch.dtype = torch.float32, autocast: bool = False
    ) -> UNetPrior:
        """Read a diffusers folder: ``unet``, ``scheduler`` and, if there is one, ``prior.json``.

        Nothing is fetched and nothing is unpickled.

        Parameters
        ----------
        folder : Path
            The pipeline's folder, or ``unet`` in it; or one that holds the network, the
            scheduler's configuration and the card side by side.
        dtype : dtype
            Of the weights in memory, whatever they are in the file.
        autocast : bool
            As for the class.

        Raises
        ------
        DataError
            If a part is missing, damaged or not supported.
        """
        folder = pipeline_folder(Path(folder))
        card = read_card(folder)
        network = read_network(folder, dtype)
        parametrisation = read_parametrisation(folder, network)
        try:
            return cls(
                network, parametrisation, card.name, card.units, card.scale, card.offset, autocast
            )
        except DataError as error:
            raise DataError(f"{folder}: {error}") from error

    @property
    def n_channels(self) -> int:
        """Return 1 for a network of real images, 2 for (real, imaginary) of complex ones."""
        return self._layout[0]

    @property
    def max_shift(self) -> int:
        """Return 0: a network has no grid, and may know where things are."""
        return 0

    @property
    def largest_sigma(self) -> float:
        """Largest trained noise level in image units."""
        return self.parametrisation.sigma_max / self.scale

    @property
    def smallest_sigma(self) -> float:
        """Smallest trained noise level in image units."""
        return self.parametrisation.sigma_min / self.scale

    @property
    def precision(self) -> str:
        """Of the network's arithmetic; on a GPU torch may round float32 convolutions to TF32."""
        return "bfloat16" if self.autocast else str(self.network.dtype).removeprefix("torch.")

    @property
    def n_parameters(self) -> int:
        """How many weights the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x], as the network learned it; differentiable in x.

        Parameters
        ----------
        x : Tensor, (*batch, y, x) or, for complex images, (*batch, 2, y, x); real
            Image with a peak of about one plus white noise.
        sigma : float
            Standard deviation of that noise; clipped to the trained range.

        Returns
        -------
        Tensor, as x

        Raises
        ------
        UsageError
            If the shape does not fit or the noise level is negative or not a number.
        """
        self._check(x, sigma)
        at = self.parametrisation.coefficients(self.scale * sigma)
        inputs = (self.scale * x + self.offset).reshape(-1, self.n_channels, *x.shape[-2:])
        pixel = self.network.config["block_out_channels"][0] * self.network.dtype.itemsize
        limit = _BLOCK_BYTES.get(x.device.type, _BLOCK_BYTES_ON_A_DEVICE)
        at_once = max(1, limit // (pixel * math.prod(x.shape[-2:])))
        if self.autocast and x.device.type == "cpu":
            # Rounding to bfloat16 would let an image depend on the others in its batch.
            at_once = 1
        blocks = inputs.split(at_once)
        outputs = torch.cat([self._evaluate(at.scale * block, at.label) for block in blocks])
        clean = at.skip * inputs + at.out * outputs
        return ((clean - self.offset) / self.scale).reshape(x.shape)

    def to(self, device: torch.device | str) -> UNetPrior:
        """Return the prior on another device; this one stays where it is."""
        if self.network.device == torch.empty(0, device=device).device:
            return self
        network = copy.deepcopy(self.network)
        torch.nn.Module.to(network, device)
        return replace(self, network=network)

    @property
    def _layout(self) -> tuple[int, bool]:
        return _LAYOUTS[self.network.config["in_channels"], self.network.config["out_channels"]]

    def _evaluate(self, images: torch.Tensor, label: float) -> torch.Tensor:
        """F(images; label), (n, c, y, x) to the same, at the precision of the network."""
        n_channels, positioned = self._layout
        n, _, ny, nx = images.shape
        network = self.network
        # Every level but the last halves the image.
        multiple = 2 ** (len(network.config["block_out_channels"]) - 1)
        inputs = _continued(images.to(network.dtype), -ny % multiple, -nx % multiple)
        if positioned:
            places = _places(ny, nx, inputs)
            inputs = torch.cat([inputs, places.expand(n, -1, -1, -1)], 1)
        # As a tensor of its own type: diffusers would cut a Python number to an integer.
        learned = network.config["time_embedding_type"] == "learned"
        labels = torch.full((n,), label, dtype=torch.long if learned else torch.float32)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            outputs: torch.Tensor = network(
                inputs.contiguous(memory_format=torch.channels_last), labels.to(images.device)
            ).sample
        return outputs[:, :n_channels, :ny, :nx].to(images.dtype)

    def _check(self, x: torch.Tensor, sigma: float) -> None:
        shape = "(*batch, 2, y, x)" if self.n_channels == 2 else "(*batch, y, x)"
        fits = x.ndim >= 2 and (self.n_channels == 1 or (x.ndim >= 3 and x.shape[-3] == 2))
        if x.is_complex() or not fits:
            raise UsageError(
                f"the prior '{self.name}' expected real images of shape {shape}, got {x.dtype} of "
                f"shape {tuple(x.shape)}; `denoise_complex` takes complex ones"
            )
        if not sigma >= 0:
            raise UsageError(f"sigma expected a noise level of 0 or more, got {sigma}")


def bfloat16_is_fast() -> bool:
    """Return whether this machine's processor has instructions for bfloat16."""
    # Names without a promise: one that a later torch has dropped counts as no.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def _continued(images: torch.Tensor, below: int, right: int) -> torch.Tensor:
    """Continue images beyond the lower and the right edge: mirrored, constant if very small."""
    if not (below or right):
        return images
    mirrored = below < images.shape[-2] and right < images.shape[-1]
    return pad(images, (0, right, 0, below), mode="reflect" if mirrored else "replicate")


def _places(ny: int, nx: int, like: torch.Tensor) -> torch.Tensor:
    """Return y and x of every pixel, -1 to 1 over (ny, nx) and on beyond it; (2, *like[-2:])."""
    # In single precision: half of it does not hold every pixel's number.
    axes = [
        2 * torch.arange(padded, dtype=torch.float32, device=like.device) / max(n - 1, 1) - 1
        for n, padded in zip((ny, nx), like.shape[-2:], strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).to(like.dtype)
