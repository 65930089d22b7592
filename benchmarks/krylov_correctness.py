"""Krylov solvers on the matrices that come with pyamg: the residual claimed, and the true one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyamg
import scipy.sparse
from pyamg.gallery import load_example

from benchmarks.measure import Table, one_thread
from solvers import IncompleteLU, Solution, cg, gcrodr, gmres, minres

RTOL = 1e-8
MAXITER = 4000
MATRICES = ("airfoil", "bar", "unit_square", "knot", "recirc_flow", "helmholtz_2D")
ANY: dict[str, Callable[..., Solution]] = {
    "gmres(40)": partial(gmres, restart=40),
    "gcrodr(40, 20)": partial(gcrodr, m=40, k=20),
}
HERMITIAN: dict[str, Callable[..., Solution]] = {"cg": cg, "minres": minres}


def _is_hermitian(A: scipy.sparse.csr_array) -> bool:
    return bool(abs(A - A.conj().T).max() <= 1e-12 * abs(A).max())


def main() -> None:
    one_thread()
    table = Table(
        name="krylov_correctness",
        title=f"Krylov solvers on the matrices of pyamg {pyamg.__version__}, to {RTOL:g}",
        columns=("matrix", "n", "kind", "solver", "M", "status", "applications", "claimed", "true"),
        note=f"Right-hand side: A times a random vector. At most {MAXITER} iterations. Claimed is "
        "the residual that the solver reports, true the one recomputed in double precision; who "
        "does not converge must say so.",
    )
    worst = 0.0
    for name in MATRICES:
        A = scipy.sparse.csr_array(load_example(name)["A"])
        is_hermitian = _is_hermitian(A)
        kind = f"{'complex' if np.iscomplexobj(A.data) else 'real'}" + ", Hermitian" * is_hermitian
        rng = np.random.default_rng(0)
        b = A @ rng.normal(size=A.shape[0])
        for words, M in (("none", None), ("ILU", IncompleteLU(A))):
            chosen = {**ANY, **(HERMITIAN if is_hermitian and M is None else {})}
            for solver, solve in chosen.items():
                found = solve(A, b, M=M, rtol=RTOL, maxiter=MAXITER)
                true = float(np.linalg.norm(b - A @ found.x) / np.linalg.norm(b))
                claimed = found.relative_residual[0]
                if found.converged:
                    worst = max(worst, true)
                status = found.status[0].name.lower()
                table.add(
                    name, len(b), kind, solver, words, status, found.n_operator, claimed, true
                )
    table.judge("largest true residual of those that say they converged", worst, 1.01 * RTOL)
    table.write()


if __name__ == "__main__":
    main()
