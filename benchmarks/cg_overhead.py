"""What the generic `solvers.cg` costs over a hand-written in-place torch loop: CPU time, complex64.

Ours includes its set-up (checks, scaling) and the true residual at the end, one more application of
A; the loop has neither, nor any test for convergence, failure or finite numbers.

    python -m benchmarks.cg_overhead
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Contender, Table, one_thread, race, relative_error
from solvers import cg

SIZES = (65_536, 262_144, 1_048_576)
ITERATIONS = 60
TARGET = 1.15

Apply = Callable[[torch.Tensor], torch.Tensor]


def hand_written(apply: Apply, b: torch.Tensor) -> torch.Tensor:
    """Take fixed steps of conjugate gradients, as one would write them for this case alone."""
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rho = torch.vdot(r, r).real.item()
    for _ in range(ITERATIONS):
        q = apply(p)
        alpha = rho / torch.vdot(p, q).real.item()
        x.add_(p, alpha=alpha)
        r.add_(q, alpha=-alpha)
        rho_old, rho = rho, torch.vdot(r, r).real.item()
        p.mul_(rho / rho_old).add_(r)
    return x


def ours(apply: Apply, b: torch.Tensor) -> torch.Tensor:
    """Take the same steps by `solvers.cg`."""
    solution: torch.Tensor = cg(apply, b, rtol=0.0, maxiter=ITERATIONS).x
    return solution


def operators(n: int, generator: torch.Generator) -> dict[str, Apply]:
    """Return the cheapest operator there is, and one of the price of an image's encoding."""
    diagonal = torch.logspace(-4, 0, n)
    out = torch.empty(n, dtype=torch.complex64)
    side = round(n**0.5)
    weights = 0.01 + torch.rand(side, side, generator=generator)

    def filtered(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(weights * torch.fft.fft2(x.view(side, side))).view(-1)

    return {"diagonal": lambda x: torch.mul(diagonal, x, out=out), "one FFT pair": filtered}


def main() -> None:
    table = Table(
        name="cg_overhead",
        title=f"Generic CG against a hand-written torch loop, complex64, {ITERATIONS} iterations",
        columns=("unknowns", "operator", "loop, us/it", "ours, us/it", "ratio", "difference"),
        note="CPU time of one thread, least of several rounds; ours with set-up and final check.",
    )
    generator = torch.Generator().manual_seed(0)
    for n in SIZES:
        b = torch.randn(n, dtype=torch.complex64, generator=generator)
        for name, apply in operators(n, generator).items():

            def answer(
                solve: Callable[[Apply, torch.Tensor], torch.Tensor],
                apply: Apply = apply,
                b: torch.Tensor = b,
            ) -> NDArray[np.generic]:
                return solve(apply, b).numpy()

            timings = race(
                [
                    Contender("loop", lambda answer=answer: answer(hand_written)),
                    Contender("ours", lambda answer=answer: answer(ours)),
                ],
                repeats=12 if n < 500_000 else 5,
            )
            loop, mine = timings["loop"], timings["ours"]
            ratio = mine.seconds / loop.seconds
            table.add(
                n,
                name,
                1e6 * loop.seconds / ITERATIONS,
                1e6 * mine.seconds / ITERATIONS,
                ratio,
                relative_error(mine.answer, loop.answer),
            )
            table.judge(f"{name}, n = {n}, time over the loop's", ratio, TARGET)
    table.write()


if __name__ == "__main__":
    one_thread()
    main()
