"""Random numbers of a sampler: one stream for every sample of every independent system."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inverse.errors import UsageError

__all__ = ["Generators", "Streams"]

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator, one for each independent system of the problem (slice), or none: seed 0."""

_SEEDS = 2**62


class Streams:
    """White noise that does not depend on what else is in the batch.

    Each system has its generator, each of its samples a stream seeded from it. So a system gets
    the same noise alone as among others (when its generator is the same), sample j is the same
    whether four or forty are drawn, and a seed means the same on every device.

    Parameters
    ----------
    generator : Generator, sequence of Generator or None
        On the CPU. One generator for several systems is the source of a seed for each.
    n_samples : int
    n_systems : int

    Raises
    ------
    UsageError
        If a sequence of generators has another length than there are systems.

    Examples
    --------
    >>> both = Streams([torch.Generator().manual_seed(n) for n in (5, 7)], 1, 2)
    >>> alone = Streams(torch.Generator().manual_seed(7), 1, 1)
    >>> like = torch.empty(1, 2, 3)
    >>> torch.equal(both.white_noise(like)[:, 1], alone.white_noise(like[:, :1])[:, 0])
    True
    """

    def __init__(self, generator: Generators, n_samples: int, n_systems: int) -> None:
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        if isinstance(generator, torch.Generator):
            generator = [generator] if n_systems == 1 else _spawn(generator, n_systems)
        if len(generator) != n_systems:
            raise UsageError(
                f"generators expected one, or one for each of the {n_systems} independent systems "
                f"of the problem; got {len(generator)}"
            )
        by_system = [_spawn(source, n_samples) for source in generator]
        self._streams = [[samples[j] for samples in by_system] for j in range(n_samples)]

    def white_noise(self, like: torch.Tensor) -> torch.Tensor:
        """White noise of unit standard deviation in each real component.

        Parameters
        ----------
        like : Tensor, (n_samples, *systems, ...)
            Whose shape, dtype and device are wanted; its systems are taken in row-major order.
        """
        n_samples, n_systems = len(self._streams), len(self._streams[0])
        real = torch.view_as_real(like) if like.is_complex() else like
        shape = (real.numel() // (n_samples * n_systems),)
        noise = torch.stack(
            [
                torch.randn(shape, generator=stream, dtype=real.dtype)
                for sample in self._streams
                for stream in sample
            ]
        )
        drawn = noise.reshape(real.shape).to(like.device)
        return torch.view_as_complex(drawn) if like.is_complex() else drawn


def _spawn(source: torch.Generator, n: int) -> list[torch.Generator]:
    # One at a time: the first seeds do not depend on how many are drawn.
    seeds = [int(torch.randint(_SEEDS, (), generator=source)) for _ in range(n)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]
