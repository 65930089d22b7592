"""Solvers that a user of Python would pick for one sparse system after another.

Each takes a SciPy matrix and a right-hand side and is as fast as its documentation lets it be; set-
up is inside, nothing is kept from one system to the next.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, splu

__all__ = ["PEERS", "Peer", "System", "petsc"]

_PETSC_PYTHON = Path("/usr/bin/python3")
_PETSC_PACKAGES = "*/*-real/lib/python3/dist-packages"
_PETSC_SCRIPT = Path(__file__).parent / "pde_petsc.py"


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """A x = b as a CSR matrix and a vector."""

    A: Any
    b: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """A named solver, and which systems it is for."""

    name: str
    solve: Callable[[System, float], NDArray[Any]]
    is_for_definite_only: bool
    is_for_real_only: bool


def superlu(system: System, rtol: float) -> NDArray[Any]:
    """Factorise with the ordering and the pivoting that suit a symmetric pattern."""
    del rtol
    factors = splu(
        system.A.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.01,
        options={"SymmetricMode": True},
    )
    return np.asarray(factors.solve(system.b))


@functools.cache
def _pardiso() -> Any:  # noqa: ANN401 -- pypardiso declares no types
    pypardiso: Any = importlib.import_module("pypardiso")

    return pypardiso.PyPardisoSolver()


def pardiso(system: System, rtol: float) -> NDArray[Any]:
    """Analyse, factorise and solve with MKL's PARDISO, unsymmetric, as pypardiso does."""
    del rtol
    solver = _pardiso()
    solution = np.asarray(solver.solve(system.A, system.b))
    solver.free_memory()
    return solution


def cg_jacobi(system: System, rtol: float) -> NDArray[Any]:
    """Run SciPy's CG with the inverse diagonal."""
    inverse = 1 / system.A.diagonal()
    M = LinearOperator(system.A.shape, matvec=lambda r: inverse * r, dtype=system.b.dtype)
    return np.asarray(cg(system.A, system.b, rtol=rtol, maxiter=10_000, M=M)[0])


def amg(system: System, rtol: float) -> NDArray[Any]:
    """Run CG preconditioned by a classical algebraic multigrid hierarchy; zero where it fails."""
    import pyamg

    hierarchy = pyamg.ruge_stuben_solver(system.A)
    try:
        return np.asarray(hierarchy.solve(system.b, tol=rtol, accel="cg", maxiter=200))
    except ValueError:  # its coarse matrices overflow on elasticity
        return np.zeros_like(system.b)


PEERS = (
    Peer("SuperLU", superlu, False, False),
    Peer("PARDISO", pardiso, False, True),
    Peer("SciPy CG + Jacobi", cg_jacobi, True, True),
    Peer("pyamg RS + CG", amg, True, True),
)


def petsc(
    systems: Sequence[System], rtol: float, preconditioners: Sequence[str]
) -> dict[str, dict[str, float]] | str:
    """Time PETSc's GMRES(40) on some systems in a process of the system's own Python.

    Returns
    -------
    dict or str
        By preconditioner: CPU milliseconds, iterations and largest true residual; or why there are
        none.
    """
    if not _PETSC_PYTHON.exists():
        return f"{_PETSC_PYTHON} does not exist"
    with tempfile.TemporaryDirectory() as folder:
        arrays: dict[str, Any] = {}
        for i, system in enumerate(systems):
            A = sparse.csr_array(system.A)
            parts = {"data": A.data, "indices": A.indices, "indptr": A.indptr, "b": system.b}
            arrays |= {f"{name}{i}": part for name, part in parts.items()}
        path = Path(folder) / "systems.npz"
        np.savez(path, **arrays)
        command = [str(_PETSC_PYTHON), str(_PETSC_SCRIPT), str(path), str(rtol), *preconditioners]
        # Debian keeps one build of PETSc beside another, none of them where Python looks.
        builds = sorted(str(path) for path in Path("/usr/lib/petscdir").glob(_PETSC_PACKAGES))
        paths = {"PYTHONPATH": os.pathsep.join(builds)}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=os.environ | paths,
        )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
