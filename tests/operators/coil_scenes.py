"""Objects under smooth coils, with their k-space, in plain NumPy: truth for calibration tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Bool = NDArray[np.bool_]


def fft(images: Complex) -> Complex:
    """Centred orthonormal transform of (C, *grid) images to k-space."""
    axes = tuple(range(1, images.ndim))
    shifted = np.fft.ifftshift(images, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def coordinates(shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Position of every voxel on every axis, in fields of view, from -1/2 to 1/2."""
    return list(np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij"))


def smooth_coils(shape: tuple[int, ...], n_coils: int, *, extent: float = 1.0) -> Complex:
    """Coils on a circle about the axis through the middle, of Gaussian reach and linear phase."""
    *_, y, x = where = coordinates(shape)
    z = where[0] if len(shape) == 3 else np.zeros(shape)
    coils = []
    for angle in np.arange(n_coils) * 2 * np.pi / n_coils + 0.3:
        dy, dx = y * extent - 0.7 * np.sin(angle), x * extent - 0.7 * np.cos(angle)
        reach = np.exp(-(dy**2 + dx**2 + (z - 0.2 * np.sin(3 * angle)) ** 2) / 0.6)
        coils.append(reach * np.exp(1j * (angle + 1.5 * dy * np.cos(angle) - dx * z)))
    return np.stack(coils)


def disc(shape: tuple[int, ...], radius: float) -> Bool:
    """Voxels within a radius, in fields of view."""
    return sum(axis**2 for axis in coordinates(shape)) < radius**2


def texture(shape: tuple[int, ...]) -> Complex:
    """Image content: a positive pattern with a smooth phase."""
    *_, y, x = coordinates(shape)
    pattern = 1 + 0.5 * np.cos(23 * y + 5 * x) * np.sin(17 * x) + 0.3 * (x > 0.05)
    return pattern * np.exp(1j * (2 * y - 3 * x * y))


@dataclass(frozen=True, slots=True)
class Scene:
    """An object seen by coils: unit-norm maps (C, *grid), images (C, *grid), where it is."""

    maps: Complex
    images: Complex
    inside: Bool

    def calibration(self, width: int) -> torch.Tensor:
        """Central k-space samples (C, width, ...)."""
        kspace = fft(self.images)
        centre = tuple(
            slice(n // 2 - width // 2, n // 2 - width // 2 + width) for n in kspace.shape[1:]
        )
        return torch.from_numpy(kspace[(slice(None), *centre)])


def make_scene(shape: tuple[int, ...], n_coils: int, radius: float = 0.4) -> Scene:
    """One object well within the field of view."""
    coils, inside = smooth_coils(shape, n_coils), disc(shape, radius)
    maps = coils / np.linalg.norm(coils, axis=0)
    return Scene(maps, coils * texture(shape) * inside, inside)


def outside_span(images: Complex, csm: Complex) -> float:
    """||(I - S S^H) images|| / ||images|| for unit-norm, mutually orthogonal maps (M, C, n)."""
    explained = np.einsum("mcn,mdn,dn->cn", csm, csm.conj(), images)
    return float(np.linalg.norm(images - explained) / np.linalg.norm(images))
