"""The discrepancy stop of CG on normal equations, against data residuals computed in double."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import Discrepancy, SolverError, Status, cg

Array = NDArray[np.generic]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


class Experiment:
    """y = A x + noise with a decaying spectrum: small residuals need many iterations."""

    def __init__(self, rng: np.random.Generator, dtype: type, noise: float) -> None:
        shape = (80, 40)
        is_complex = np.issubdtype(dtype, np.complexfloating)

        def draw(*size: int) -> Array:
            return rng.normal(size=size) + (1j * rng.normal(size=size) if is_complex else 0)

        u, _ = np.linalg.qr(draw(*shape))
        w, _ = np.linalg.qr(draw(40, 40))
        self.A = ((u * np.geomspace(1, 1e-3, 40)) @ w.conj().T).astype(dtype)
        clean = self.A.astype(np.complex128) @ draw(40)
        error = draw(80)
        error *= noise * np.linalg.norm(clean) / np.linalg.norm(error)
        self.y = (clean if is_complex else clean.real) + error
        self.y = self.y.astype(dtype)
        self.data_norm = float(np.linalg.norm(self.y.astype(np.complex128)))
        self.noise_norm = float(np.linalg.norm(error))
        self.gram = (self.A.conj().T @ self.A).astype(dtype)
        self.b = (self.A.conj().T @ self.y).astype(dtype)

    def misfit(self, x: Array) -> float:
        """||y - A x|| in double precision."""
        wide = np.complex128
        return float(np.linalg.norm(self.y.astype(wide) - self.A.astype(wide) @ x.astype(wide)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [0.3, 0.03, 0.01])
def test_stops_at_the_first_iterate_that_explains_the_data(
    library: SimpleNamespace, rng: np.random.Generator, dtype: type, noise: float
) -> None:
    e = Experiment(rng, dtype, noise)
    misfits = [e.data_norm]
    solution = cg(
        library.array(e.gram),
        library.array(e.b),
        rtol=0.0,
        maxiter=200,
        discrepancy=Discrepancy(e.data_norm, e.noise_norm),
        callback=lambda _, x: misfits.append(e.misfit(library.numpy(x))),
    )
    assert solution.status == (Status.DISCREPANCY,)
    assert solution.converged
    # In single precision the squared misfit is known to a few eps ||y||^2.
    slack = 1 + 8 * float(np.finfo(dtype).eps) * (e.data_norm / e.noise_norm) ** 2
    assert misfits[-1] <= e.noise_norm * slack
    assert misfits[-2] > e.noise_norm / slack
    assert solution.data_residual_norm[0] == pytest.approx(misfits[-1], rel=slack - 1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8])
def test_units_do_not_matter(rng: np.random.Generator, scale: float) -> None:
    e = Experiment(rng, np.complex64, 0.05)
    plain = cg(e.gram, e.b, rtol=0.0, discrepancy=Discrepancy(e.data_norm, e.noise_norm))
    scaled = cg(
        e.gram,
        (scale * e.b).astype(np.complex64),
        rtol=0.0,
        discrepancy=Discrepancy(scale * e.data_norm, scale * e.noise_norm),
    )
    assert abs(scaled.iterations[0] - plain.iterations[0]) <= 1  # rounding is not the same
    assert scaled.status == (Status.DISCREPANCY,)
    assert scaled.data_residual_norm[0] == pytest.approx(
        scale * plain.data_residual_norm[0], rel=0.05
    )


def test_holds_from_any_start(library: SimpleNamespace, rng: np.random.Generator) -> None:
    e = Experiment(rng, np.complex128, 0.02)
    x0 = rng.normal(size=40) + 1j * rng.normal(size=40)
    solution = cg(
        library.array(e.gram),
        library.array(e.b),
        x0=library.array(x0),
        rtol=0.0,
        discrepancy=Discrepancy(e.data_norm, e.noise_norm),
    )
    exact = e.misfit(library.numpy(solution.x))
    assert solution.status == (Status.DISCREPANCY,)
    assert exact <= e.noise_norm * (1 + 1e-9)
    assert solution.data_residual_norm[0] == pytest.approx(exact, rel=1e-9)


def test_holds_with_a_preconditioner(rng: np.random.Generator) -> None:
    e = Experiment(rng, np.complex128, 0.02)
    M = np.linalg.inv(e.gram + 0.1 * np.eye(40))
    misfits = [e.data_norm]
    solution = cg(
        e.gram,
        e.b,
        M=(M + M.conj().T) / 2,
        rtol=0.0,
        discrepancy=Discrepancy(e.data_norm, e.noise_norm),
        callback=lambda _, x: misfits.append(e.misfit(x)),
    )
    assert solution.status == (Status.DISCREPANCY,)
    assert misfits[-1] <= e.noise_norm < misfits[-2]


def test_a_weight_is_part_of_what_is_compared(rng: np.random.Generator) -> None:
    e = Experiment(rng, np.complex128, 0.05)
    weight = 1e-3
    solution = cg(
        e.gram + weight * np.eye(40),
        e.b,
        rtol=1e-12,
        discrepancy=Discrepancy(e.data_norm, 0.2 * e.data_norm),
    )
    penalised = math.hypot(e.misfit(solution.x), math.sqrt(weight) * np.linalg.norm(solution.x))
    assert solution.data_residual_norm[0] == pytest.approx(penalised, rel=1e-9)


def test_each_system_has_its_own_noise(library: SimpleNamespace, rng: np.random.Generator) -> None:
    levels = (0.3, 0.05, 0.01)
    systems = [Experiment(rng, np.complex128, noise) for noise in levels]
    solution = cg(
        library.array(np.stack([e.gram for e in systems])),
        library.array(np.stack([e.b for e in systems])),
        rtol=0.0,
        n_batch_axes=1,
        discrepancy=Discrepancy(
            np.array([e.data_norm for e in systems]), np.array([e.noise_norm for e in systems])
        ),
    )
    assert solution.status == (Status.DISCREPANCY,) * 3
    assert len(set(solution.iterations)) == 3
    for i, e in enumerate(systems):
        alone = cg(e.gram, e.b, rtol=0.0, discrepancy=Discrepancy(e.data_norm, e.noise_norm))
        assert solution.iterations[i] == alone.iterations[0]
        assert e.misfit(library.numpy(solution.x)[i]) <= e.noise_norm * (1 + 1e-9)


def test_pure_noise_needs_no_iteration(library: SimpleNamespace) -> None:
    solution = cg(
        lambda x: 2.0 * x,
        library.array(np.ones(3)),
        discrepancy=Discrepancy(data_norm=1.0, noise_norm=1.1),
    )
    assert solution.status == (Status.DISCREPANCY,)
    assert solution.iterations == (0,)
    assert library.numpy(solution.x).tolist() == [0.0] * 3
    assert solution.data_residual_norm == (1.0,)


def test_noise_below_rounding_never_stops_the_iteration(rng: np.random.Generator) -> None:
    """1e-4 of the data cannot be seen in single precision: an honest run ends elsewhere."""
    e = Experiment(rng, np.complex64, 1e-4)
    solution = cg(e.gram, e.b, rtol=1e-3, discrepancy=Discrepancy(e.data_norm, 10 * e.noise_norm))
    assert solution.status == (Status.CONVERGED,)


@pytest.mark.parametrize(
    ("data_norm", "noise_norm", "message"),
    [
        (-1.0, 1.0, "data_norm expected finite numbers >= 0, got -1.0"),
        (1.0, np.nan, "noise_norm expected finite numbers >= 0, got nan"),
        (1.0, np.ones(2), r"noise_norm expected one number or one a system \(\), got \(2,\)"),
    ],
)
def test_messages(data_norm: float, noise_norm: float, message: str) -> None:
    with pytest.raises(SolverError, match=message):
        cg(lambda x: x, np.ones(3), discrepancy=Discrepancy(data_norm, noise_norm))
