"""Time PETSc's GMRES(40) on the systems of an npz file; run by a Python that has petsc4py.

    python3 pde_petsc.py SYSTEMS.npz RTOL PRECONDITIONER...

Prints JSON. Needs no other module of this package.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # the number of threads is read here


def main(path: str, rtol: float, names: list[str]) -> None:
    import petsc4py

    petsc4py.init([])
    from petsc4py import PETSc

    with np.load(path) as file:
        systems = [
            tuple(file[f"{part}{i}"] for part in ("indptr", "indices", "data", "b"))
            for i in range(len(file.files) // 4)
        ]
    if np.iscomplexobj(systems[0][3]) and PETSc.ScalarType is not np.complex128:
        sys.exit("this PETSc is built for real numbers")
    found = {}
    for name in names:
        seconds, iterations, worst = [], [], 0.0
        for indptr, indices, data, b in systems:
            n = len(b)
            A = PETSc.Mat().createAIJ((n, n), csr=(indptr, indices, data))
            rhs, x = PETSc.Vec().createWithArray(b), PETSc.Vec().createSeq(n)
            start = time.process_time()
            solver = PETSc.KSP().create()
            solver.setOperators(A)
            solver.setType("gmres")
            solver.setGMRESRestart(40)
            solver.setPCSide(PETSc.PC.Side.RIGHT)  # stops by the true residual
            solver.getPC().setType(name)
            solver.setTolerances(rtol=rtol, max_it=20_000)
            solver.solve(rhs, x)
            seconds.append(time.process_time() - start)
            iterations.append(solver.getIterationNumber())
            rest = A.createVecLeft()
            A.mult(x, rest)
            worst = max(worst, float(np.linalg.norm(b - rest.getArray()) / np.linalg.norm(b)))
        found[name] = {
            "ms": 1e3 * float(np.median(seconds)),
            "iterations": float(np.mean(iterations)),
            "residual": worst,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
