"""Whether a converted guided-diffusion network computes what the original does, at full size.

The networks have the two shapes that DDS published (Chung, Lee and Ye 2024), 256 channels wide,
with random weights. The original is `tests.inverse.adm_reference`, written from the paper; the
converted one is read back from its folder by diffusers.

    python -m benchmarks.adm_conversion

Takes 3.5 GiB of memory, 4 GB of disk for temporary files and about three minutes of CPU time.
"""

from __future__ import annotations

import gc
import resource
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from benchmarks.measure import Table, cpu_seconds, one_thread
from inverse.priors.convert import convert
from tests.inverse.adm_reference import AdmOptions, random_adm

TARGET = 1e-5
STEP = 321

CT = AdmOptions(in_channels=1, out_channels=2, width=256, attention_at=(16,))
# "Attention at 16" of 320 pixels is a factor of 20 to guided-diffusion, and no level has it.
MRI = AdmOptions(in_channels=2, out_channels=4, width=256, attention_at=(20,))

# The order of the attention's rows does not depend on the image, so that "new" is shown on a
# smaller one, which also affords the wrong order.
CASES: tuple[tuple[str, AdmOptions, int, Literal["legacy", "new"]], ...] = (
    ("CT, attention at 16 and in the middle", CT, 256, "legacy"),
    ("MRI, attention in the middle", MRI, 320, "legacy"),
    ("CT, attention at 16 and in the middle", CT, 64, "new"),
    ("MRI, attention in the middle", MRI, 64, "new"),
)


def original(options: AdmOptions, x: torch.Tensor, checkpoint: Path) -> tuple[torch.Tensor, int]:
    """Save a random network; return its output and its number of parameters."""
    network = random_adm(options)
    torch.save(network.state_dict(), checkpoint)
    with torch.no_grad():
        output = network(x, torch.tensor([float(STEP)]))
    return output, sum(parameter.numel() for parameter in network.parameters())


def converted(
    checkpoint: Path, folder: Path, qkv: Literal["legacy", "new"], x: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Convert, read back; return the output and the number of parameters."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    convert(checkpoint, folder, qkv=qkv)
    gc.collect()
    network = UNet2DModel.from_pretrained(folder / "unet", local_files_only=True)
    with torch.no_grad():
        output = network(x, STEP).sample
    return output, sum(parameter.numel() for parameter in network.parameters())


def difference(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def main() -> None:
    one_thread()
    table = Table(
        "adm_conversion",
        "guided-diffusion (ADM) networks in the shapes of DDS, converted to diffusers",
        (
            "network",
            "image",
            "qkv order",
            "parameters",
            "after conversion",
            "relative difference of the outputs",
            "with the wrong qkv order",
            "CPU seconds",
        ),
        "Random weights, 256 channels wide, float32, one call each at step "
        f"{STEP} of 1000. ||converted - original|| / ||original||. diffusers "
        f"{version('diffusers')}.",
    )
    for name, options, size, qkv in CASES:
        start = cpu_seconds()
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(1, options.in_channels, size, size, generator=generator)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, prior = Path(folder) / "net.pt", Path(folder) / "prior"
            truth, n_before = original(replace(options, qkv=qkv), x, checkpoint)
            gc.collect()
            found, n_after = converted(checkpoint, prior, qkv, x)
            wrong = (
                difference(converted(checkpoint, prior, "legacy", x)[0], truth)
                if qkv == "new"
                else "not run"
            )
        error = difference(found, truth)
        seconds = cpu_seconds() - start
        image = f"{size} x {size} x {options.in_channels}"
        table.add(name, image, qkv, f"{n_before:,}", f"{n_after:,}", error, wrong, seconds)
        table.judge(f"{image}, {qkv}", error, TARGET)
        print(table.rows[-1], flush=True)
        assert n_before == n_after
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table.note += f" Peak memory {peak:.1f} GiB."
    table.write()


if __name__ == "__main__":
    main()
