"""The phase of coil maps: relative to one virtual coil that sees the whole object."""

from __future__ import annotations

import math

import torch

__all__ = ["rotate_phase", "virtual_coil"]

_DARK = 1e-2
_MAX_VOXELS = 1000
_N_STEPS = 200


def virtual_coil(images: torch.Tensor) -> torch.Tensor:
    """Find a fixed combination of the coils that vanishes nowhere in the object.

    r = argmax_{||r|| = 1} min_q |r^H u(q)|,  u(q) = x(q)/||x(q)|| over voxels q of the object

    Where r^H u = 0 a phase relative to r winds around that voxel in every map, and so does the
    image. The strongest combination, the first principal component, has such zeros inside the
    object for some arrays. The search starts from the best of: that component, the coils as seen
    by each voxel, and their phases alone; it then climbs the smallest |r^H u| by subgradient steps.

    Parameters
    ----------
    images : Tensor, (C, *grid), complex
        Coil images; a low resolution suffices, as long as the coils hardly change between
        neighbouring voxels. Voxels below 1 % of the largest energy do not count.

    Returns
    -------
    Tensor, (C,), dtype of `images`
        r, of unit norm.

    References
    ----------
    Parker et al. 2014, doi:10.1002/mrm.24932 (matched phases of one voxel as virtual coil)

    Examples
    --------
    >>> images = torch.tensor([[[1.0, 1j, 1.0]], [[1j, 1.0, -1j]]])
    >>> virtual_coil(images).shape
    torch.Size([2])
    """
    # hundreds of tiny steps: quickest on the host
    samples = images.flatten(1).to("cpu", torch.complex128)
    energy = samples.abs().square().sum(0)
    bright = samples[:, energy > _DARK * energy.max()]
    principal: torch.Tensor = torch.linalg.eigh(samples @ samples.mH)[1][:, -1:]
    if bright.shape[1] == 0:  # images of zeros: any combination will do
        return principal[:, 0].to(images.device, images.dtype)
    bright = bright[:, :: math.ceil(bright.shape[1] / _MAX_VOXELS)]
    seen = bright / torch.linalg.vector_norm(bright, dim=0)
    phases = torch.sgn(seen) / math.sqrt(len(seen))
    candidates = torch.cat([principal, seen, phases], dim=1)
    weakest = (candidates.mH @ seen).abs().amin(dim=1)
    start = candidates[:, weakest.argmax()]
    return _lift_weakest(start, seen).to(images.device, images.dtype)


def _lift_weakest(start: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Turn r towards the voxel that it sees least, in shrinking steps; return the best r met."""
    best, best_value = start, -1.0
    weights = start
    for step in range(_N_STEPS):
        response = weights @ seen.conj()  # (r^H u)^*
        weakest = int(response.abs().argmin())
        value = float(response[weakest].abs())
        if value > best_value:
            best, best_value = weights, value
        # the subgradient of |r^H u| is u in phase with r
        weights = weights + 0.5 / (step + 2) ** 0.7 * seen[:, weakest] * response[weakest].sgn()
        weights = weights / torch.linalg.vector_norm(weights)
    return best


def rotate_phase(csm: torch.Tensor, reference: torch.Tensor, coil_axis: int) -> torch.Tensor:
    """Make the virtual coil r^H s real and nonnegative in every voxel.

    s'(x) = s(x) exp(-i arg(r^H s(x)))

    An eigenvector has no phase of its own; this gives maps the phase that they have relative to
    one fixed combination of the coils, smooth wherever that combination sees signal.

    Parameters
    ----------
    csm : Tensor, complex
        Coil maps.
    reference : Tensor, (C,), complex
        r, the weights of the virtual coil.
    coil_axis : int
        Axis of `csm` that counts coils.

    Returns
    -------
    Tensor, shape of `csm`
        Maps; voxels where r^H s = 0 keep their phase.

    Examples
    --------
    >>> csm = torch.tensor([[1j], [0.0]])
    >>> rotate_phase(csm, torch.tensor([1.0 + 0j, 0.0]), coil_axis=0)
    tensor([[1.+0.j],
            [0.+0.j]])
    """
    virtual = torch.tensordot(csm, reference.conj(), dims=([coil_axis], [0]))
    phase = torch.where(virtual == 0, torch.ones_like(virtual), torch.sgn(virtual))
    return csm * phase.conj().unsqueeze(coil_axis)
