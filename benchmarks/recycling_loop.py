"""Recycling in the data steps of a diffusion sampler: CT with 30 views, and MRI.

    python -m benchmarks.recycling_loop [--quick]

DDS's data step (I + gamma A^H A) x = z + gamma A^H y, started at the denoised image z, where A^H A
is scaled to norm one: 25 steps with a network, on real slices. The same right-hand sides are solved
by plain CG and by CG that starts from the directions of earlier steps (`RecycleSpace` with
`target="largest"` and one operator). The iterates of five plain steps drive the loop, so that
both see the same sequence.

Residuals are ||b - (I + gamma A^H A) x|| / ||b||, means over steps 6 to 25. The CT operator is a
sparse matrix of parallel beams, sampled along each beam with linear weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import sparse

from benchmarks.diffusion_oracles import rate_sweep
from benchmarks.measure import Table, one_thread
from benchmarks.our_images import chain
from benchmarks.phantom import data_folder
from inverse.priors import Prior, denoise_complex, load_prior
from operators.pde import SparseOperator
from solvers import RecycleSpace, cg, power_iteration

N_STEPS, SETTLED = 25, 5
VIEWS, EDGE, NOISE = 30, 128, 0.01
KEPT = 20
Image = torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """One problem: A^H A of norm one, A^H y on the same scale, and the network's denoiser."""

    name: str
    gamma: float
    normal: Callable[[Image], Image]
    back: Image
    denoise: Callable[[Image, float], Image]

    def system(self, x: Image) -> Image:
        """Compute (I + gamma A^H A) x."""
        return x + self.gamma * self.normal(x)


def parallel_beams(edge: int, n_views: int) -> sparse.csr_array:
    """Return the matrix of line integrals, in units of the pixel."""
    grid = np.arange(edge) - (edge - 1) / 2
    t = np.arange(-0.75 * edge, 0.75 * edge, 0.5)
    rows, columns, weights = [], [], []
    for view, angle in enumerate(np.pi * np.arange(n_views) / n_views):
        c, s = np.cos(angle), np.sin(angle)
        x = grid[:, None] * c - t * s - grid[0]
        y = grid[:, None] * s + t * c - grid[0]
        beam = np.broadcast_to(view * edge + np.arange(edge)[:, None], x.shape)
        for dy in (0, 1):
            for dx in (0, 1):
                i, j = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
                w = 0.5 * (1 - np.abs(y - i)) * (1 - np.abs(x - j))
                inside = (i >= 0) & (i < edge) & (j >= 0) & (j < edge)
                rows.append(beam[inside])
                columns.append((i * edge + j)[inside])
                weights.append(w[inside])
    parts = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(weights), parts), shape=(n_views * edge, edge * edge))


def ct_loops(gammas: list[float], indices: list[int]) -> list[Loop]:
    """Return the loops of slices of a real chest scan, binned to 128 x 128."""
    A = SparseOperator.from_scipy(parallel_beams(EDGE, VIEWS).astype(np.float32))
    norm2 = power_iteration(A.normal, torch.ones(EDGE**2)).value[0]
    volume = np.load(data_folder().parent / "ct" / "volume_chest_abdomen_256.npz")["hu"]
    prior = load_prior("ct")
    loops = []
    for index in indices:
        hu = volume[index].astype(np.float32).reshape(EDGE, 2, EDGE, 2).mean((1, 3))
        truth = torch.from_numpy(1 + hu / 1000)
        y = A.forward(truth.reshape(-1))
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
        y = y + NOISE * float(y.abs().max()) * noise
        back = A.adjoint(y) / norm2
        loops += [
            Loop(
                f"CT, slice {index}",
                gamma,
                lambda x: A.normal(x) / norm2,
                back,
                partial(_denoise_flat, prior),
            )
            for gamma in gammas
        ]
    return loops


def _denoise_flat(prior: Prior, x: Image, sigma: float) -> Image:
    return prior.denoise(x.reshape(1, EDGE, EDGE), sigma).reshape(-1)


def mri_loops(gammas: list[float], *, quick: bool) -> list[Loop]:
    """Return the loops of brain slices, 8 coils, R = 4, through the whole preparation."""
    prior = load_prior("brain")
    loops = []
    wanted = [s for s in rate_sweep(quick=quick) if s.seed == 0 and s.rate == 4]
    for setting in wanted[: 1 if quick else 2]:
        case = setting.case()
        problem = chain(case.kspace, case.mask, case.noise_scan).problem
        operator, data = problem.operator, problem.data
        back = operator.adjoint(data)
        norm2 = power_iteration(operator.normal, torch.ones_like(back)).value[0]
        phase = torch.exp(1j * back.angle())
        loops += [
            Loop(
                f"MRI, slice {setting.slice_index}",
                gamma,
                lambda x, normal=operator.normal, norm2=norm2: normal(x) / norm2,
                back / norm2,
                lambda x, sigma, phase=phase: denoise_complex(prior, x, sigma, phase),
            )
            for gamma in gammas
        ]
    return loops


def follow(loop: Loop) -> dict[str, float]:
    """Run one loop; return mean relative residuals by what solved the data steps."""
    contenders: dict[str, tuple[int, RecycleSpace | None]] = {"plain 5": (5, None)}
    for n in (1, 2, 3, 5):
        space = RecycleSpace(KEPT, target="largest", same_operator=True)
        contenders[f"recycled {n}"] = (n, space)
    residuals: dict[str, list[float]] = {name: [] for name in contenders}
    x = loop.back
    generator = torch.Generator().manual_seed(0)
    for sigma in np.geomspace(1.0, 0.02, N_STEPS).tolist():
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        z = loop.denoise(x + sigma * noise, sigma)
        b = z + loop.gamma * loop.back
        for name, (n, space) in contenders.items():
            found = cg(loop.system, b, x0=z, rtol=0.0, maxiter=n, recycle=space)
            residuals[name].append(found.relative_residual[0])
            if space is None:
                x = found.x
    return {name: float(np.mean(values[SETTLED:])) for name, values in residuals.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one slice each; not written")
    quick = parser.parse_args().quick
    loops = [
        *ct_loops([100.0, 1e4], [50] if quick else [20, 50, 80]),
        *mri_loops([5.0, 100.0], quick=quick),
    ]
    names = ("plain 5", "recycled 1", "recycled 2", "recycled 3", "recycled 5")
    table = Table(
        "recycling_loop",
        f"Data steps of DDS with directions of earlier steps, {KEPT} kept",
        ("problem", "gamma", *names),
        f"Mean relative residual over steps {SETTLED + 1} to {N_STEPS}; the number is of CG steps. "
        f"CT: {VIEWS} views, {EDGE} x {EDGE}, prior ct; MRI: 8 coils, R = 4, prior brain.",
    )
    for loop in loops:
        found = follow(loop)
        table.add(loop.name, loop.gamma, *(found[name] for name in names))
        print(loop.name, loop.gamma, found, flush=True)
        if loop.name.startswith("CT") and loop.gamma == 100:
            ratio = found["recycled 3"] / found["plain 5"]
            table.judge(f"{loop.name}: 3 recycled steps over 5 plain ones", ratio, 1.0)
        if loop.name.startswith("MRI"):
            ratio = found["recycled 5"] / found["plain 5"]
            table.judge(f"{loop.name}, gamma {loop.gamma:g}: 5 over 5", ratio, 1.0)
    if quick:
        print(table.markdown())
    else:
        table.write()


if __name__ == "__main__":
    one_thread()
    main()
