"""The peers' reconstructions, each called as its own documentation calls it."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bart import bart, from_bart, to_bart

__all__ = [
    "bart_pics",
    "import_mrpro",
    "mirtorch_cg",
    "mrpro_cg",
    "sigpy_cg",
    "sigpy_espirit",
    "sigpy_l1_wavelet",
    "sigpy_tv",
]

Array = NDArray[np.complex64]
Mask = NDArray[np.bool_]


def sigpy_cg(kspace: Array, maps: Array, weight: float, iterations: int) -> Array:
    """SenseRecon: CG on (A^H A + weight I) x = A^H y."""
    from sigpy.mri.app import SenseRecon

    app = SenseRecon(kspace, maps, lamda=weight, max_iter=iterations, show_pbar=False)
    return np.asarray(app.run())


def sigpy_l1_wavelet(kspace: Array, maps: Array, weight: float, iterations: int = 100) -> Array:
    """FISTA with an l1 penalty on db4 coefficients."""
    from sigpy.mri.app import L1WaveletRecon

    app = L1WaveletRecon(kspace, maps, weight, max_iter=iterations, show_pbar=False)
    return np.asarray(app.run())


def sigpy_tv(kspace: Array, maps: Array, weight: float, iterations: int = 100) -> Array:
    """Primal-dual hybrid gradient with anisotropic total variation."""
    from sigpy.mri.app import TotalVariationRecon

    app = TotalVariationRecon(kspace, maps, weight, max_iter=iterations, show_pbar=False)
    return np.asarray(app.run())


def sigpy_espirit(
    kspace: Array, calibration: int = 24, kernel: int = 6, crop: float = 0.0
) -> Array:
    """One set of maps, cropped where the eigenvalue is below `crop`; 100 power iterations."""
    from sigpy.mri.app import EspiritCalib

    app = EspiritCalib(
        kspace, calib_width=calibration, kernel_width=kernel, crop=crop, show_pbar=False
    )
    return np.asarray(app.run())


def mirtorch_cg(kspace: Array, maps: Array, mask: Mask, weight: float, iterations: int) -> Array:
    """MIRTorch's Sense and CG on the regularised normal equations."""
    from mirtorch.alg.cg import CG
    from mirtorch.linear import Identity, Sense

    csm = torch.from_numpy(maps)
    sampled = torch.from_numpy(np.broadcast_to(mask, maps.shape[1:]).astype(np.float32))
    op = Sense(csm, sampled, batchmode=False)
    normal = op.H * op + weight * Identity(op.size_in)
    rhs = op.H * torch.from_numpy(kspace)
    found = CG(normal, max_iter=iterations, tol=0).run(torch.zeros_like(rhs), rhs)
    return np.asarray(found)


def import_mrpro() -> ModuleType:
    """Import mrpro without torchvision, which only its BrainWeb phantom uses."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        parent, _, child = name.rpartition(".")
        module = sys.modules.setdefault(name, ModuleType(name))
        if parent:
            setattr(sys.modules[parent], child, module)
    import mrpro

    return mrpro


def mrpro_cg(kspace: Array, maps: Array, mask: Mask, weight: float, iterations: int) -> Array:
    """Sensitivity and Fourier operators, gram and cg of mrpro."""
    mrpro = import_mrpro()
    fourier = mrpro.operators.FastFourierOp(dim=(-2, -1))
    coils = mrpro.operators.SensitivityOp(torch.from_numpy(maps)[:, None])
    sampled = torch.from_numpy(np.broadcast_to(mask, maps.shape[1:]).astype(np.float32))
    op = sampled * (fourier @ coils)
    (rhs,) = op.H(torch.from_numpy(kspace)[:, None])
    normal = op.gram + torch.tensor(weight)
    with torch.no_grad():
        (found,) = mrpro.algorithms.optimizers.cg(
            normal, rhs, max_iterations=iterations, tolerance=0.0
        )
    return np.squeeze(np.asarray(found))


def bart_pics(kspace: Array, maps: Array, *options: str) -> Array:
    """`bart pics` with the given options; `-w 1` keeps the data in their own units."""
    (image,) = bart("pics", *options, to_bart(kspace), to_bart(maps))
    return from_bart(image)
