"""The orthonormal modes of the second difference along one axis: sines, cosines or both.

Every transform is real and orthogonal, x_hat = Q x and x = Q^T x_hat, so that one code serves all
boundaries. Along a short axis it is a product with the matrix Q, which beats a fast transform
there; along a longer one it is a fast transform: SciPy's in the main memory, the FFT of the odd or
even extension elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.vectors import Array

__all__ = ["AxisTransform", "Boundary", "Centring"]

Boundary: TypeAlias = Literal["dirichlet", "neumann", "periodic"]
"""Value zero or flux zero beyond both ends of an axis, or joined ends."""

Centring: TypeAlias = Literal["cells", "nodes"]
"""Whether a wall lies half a spacing beyond the last point or a whole one."""

_KINDS = {
    ("dirichlet", "cells"): "DST-II",
    ("dirichlet", "nodes"): "DST-I",
    ("neumann", "cells"): "DCT-II",
    ("periodic", "cells"): "DHT",
    ("periodic", "nodes"): "DHT",
}


@dataclass(frozen=True, slots=True)
class AxisTransform:
    """Modes of the second difference of n points along an axis.

    DST-II:  q_kj = w_k sin(pi k (j + 1/2) / n),      k = 1..n,    lambda_k = 4 sin^2(pi k / 2n)
    DST-I:   q_kj = w sin(pi k (j + 1) / (n + 1)),    k = 1..n,    lambda_k = 4 sin^2(pi k / (2n+2))
    DCT-II:  q_kj = w_k cos(pi k (j + 1/2) / n),      k = 0..n-1,  lambda_k = 4 sin^2(pi k / 2n)
    DHT:     q_kj = w (cos + sin)(2 pi k j / n),      k = 0..n-1,  lambda_k = 4 sin^2(pi k / n)

    with the weights w that make Q orthogonal (DHT is the discrete Hartley transform).

    Parameters
    ----------
    n : int
        Points.
    boundary : {"dirichlet", "neumann", "periodic"}
    centring : {"cells", "nodes"}

    Raises
    ------
    SolverError
        If there is no such transform.

    References
    ----------
    Strang 1999, doi:10.1137/S0036144598336745 (which boundary has which transform); Bracewell 1983,
    doi:10.1364/JOSA.73.001832 (Hartley)

    Examples
    --------
    >>> axis = AxisTransform(2, "dirichlet", "cells")
    >>> axis.matrix().round(4).tolist(), axis.eigenvalues().round(4).tolist()
    ([[0.7071, 0.7071], [0.7071, -0.7071]], [2.0, 4.0])
    """

    n: int
    boundary: Boundary
    centring: Centring

    def __post_init__(self) -> None:
        if (self.boundary, self.centring) not in _KINDS:
            raise SolverError(
                f"no fast transform for the boundary {self.boundary!r} of points at "
                f"{self.centring!r}; there are {', '.join('/'.join(key) for key in _KINDS)}"
            )

    @property
    def kind(self) -> str:
        """Name of the transform."""
        return _KINDS[self.boundary, self.centring]

    def eigenvalues(self) -> NDArray[np.float64]:
        """Return the eigenvalues of the negative second difference for spacing one, (n,)."""
        k, n = self._mode_numbers(), self.n
        angle = {"DST-II": k / (2 * n), "DST-I": k / (2 * n + 2), "DCT-II": k / (2 * n)}
        return np.asarray(4 * np.sin(math.pi * angle.get(self.kind, k / n)) ** 2)

    def matrix(self) -> NDArray[np.float64]:
        """Return Q with a mode a row, (n, n)."""
        k, j, n = self._mode_numbers()[:, None], np.arange(self.n)[None, :], self.n
        if self.kind == "DST-I":
            modes = np.sin(math.pi * (k * (j + 1) % (2 * n + 2)) / (n + 1))
        elif self.kind == "DHT":
            angle = 2 * math.pi * (k * j % n) / n
            modes = np.cos(angle) + np.sin(angle)
        else:
            angle = math.pi * (k * (2 * j + 1) % (4 * n)) / (2 * n)
            modes = np.sin(angle) if self.kind == "DST-II" else np.cos(angle)
        return np.asarray(modes * self._weights()[:, None])

    def host(self, x: NDArray[Any], axis: int, *, inverse: bool) -> NDArray[Any]:
        """Transform a NumPy array along an axis by SciPy's fast transforms.

        Parameters
        ----------
        x : ndarray, real
        axis : int
        inverse : bool
            Compute Q^T x instead of Q x.
        """
        from scipy import fft

        if self.kind == "DHT":
            return np.asarray(self._hartley(array_api_compat.numpy, fft, x, axis))
        function = {"S": (fft.dst, fft.idst), "C": (fft.dct, fft.idct)}[self.kind[1]][inverse]
        order = 1 if self.kind == "DST-I" else 2
        return np.asarray(function(x, type=order, axis=axis, norm="ortho", workers=1))

    def device(self, xp: Any, x: Array, *, inverse: bool) -> Array:
        """Transform an array of any library along its last axis by the FFT of its extension.

        Parameters
        ----------
        xp : module
            Namespace of x with the FFT extension.
        x : array, real
        inverse : bool
            Compute Q^T x instead of Q x.
        """
        if self.kind == "DHT":
            return self._hartley(xp, xp.fft, x, -1)
        return self._synthesis(xp, x) if inverse else self._analysis(xp, x)

    def _mode_numbers(self) -> NDArray[np.int64]:
        first = 1 if self.boundary == "dirichlet" else 0
        return np.arange(first, first + self.n)

    def _weights(self) -> NDArray[np.float64]:
        """Return w_k."""
        n = self.n
        if self.kind == "DST-I":
            return np.full(n, math.sqrt(2 / (n + 1)))
        weights = np.full(n, math.sqrt(2 / n))
        if self.kind == "DHT":
            return weights / math.sqrt(2)
        weights[n - 1 if self.kind == "DST-II" else 0] = math.sqrt(1 / n)
        return weights

    def _hartley(self, xp: Any, fft: Any, x: Array, axis: int) -> Array:
        """Compute Re F x - Im F x from the half spectrum of real x; it is its own inverse."""
        half = fft.rfft(x, axis=axis, norm="ortho")
        re, im = xp.real(half), xp.imag(half)
        mirrored = [slice(None)] * x.ndim
        # k = n - 1, ..., n // 2 + 1 are the mirror images of k = 1, 2, ...
        mirrored[axis] = slice(1, (self.n - 1) // 2 + 1)
        return xp.concat([re - im, xp.flip((re + im)[tuple(mirrored)], axis=axis)], axis=axis)

    def _analysis(self, xp: Any, x: Array) -> Array:
        """Compute Q x from the spectrum of the extension, which is the sums times a phase."""
        phase, weights = self._tables(xp, x)
        mirror = xp.flip(x, axis=-1)
        if self.kind == "DST-I":
            wall = xp.zeros_like(x[..., :1])
            extension = xp.concat([wall, x, wall, -mirror], axis=-1)
        else:
            extension = xp.concat([x, -mirror if self.kind == "DST-II" else mirror], axis=-1)
        first = 0 if self.kind == "DCT-II" else 1
        spectrum = xp.fft.rfft(extension, axis=-1)[..., first : first + self.n]
        return weights * xp.real(xp.conj(phase) * spectrum)

    def _synthesis(self, xp: Any, x: Array) -> Array:
        """Compute Q^T x: build the spectrum of the extension and transform it back."""
        phase, weights = self._tables(xp, x)
        spectrum = phase * xp.astype(x / weights, phase.dtype)
        wall = xp.zeros_like(spectrum[..., :1])
        if self.kind == "DST-I":
            spectrum = xp.concat([wall, spectrum, wall], axis=-1)
            return xp.fft.irfft(spectrum, n=2 * self.n + 2, axis=-1)[..., 1 : self.n + 1]
        parts = [spectrum, wall] if self.kind == "DCT-II" else [wall, spectrum]
        extension = xp.fft.irfft(xp.concat(parts, axis=-1), n=2 * self.n, axis=-1)
        return extension[..., : self.n]

    def _tables(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """Return the phases p_k and w_k / 2: spectrum of the extension = 2 p_k sum_j q_kj / w_k."""
        k = self._mode_numbers()
        turn = {"DST-II": -1j, "DST-I": -1j, "DCT-II": 1}[self.kind]
        shift = np.zeros(self.n) if self.kind == "DST-I" else math.pi * k / (2 * self.n)
        is_single = str(x.dtype).endswith("float32")
        wide = xp.complex64 if is_single else xp.complex128
        phase = (turn * np.exp(1j * shift)).tolist()
        return (
            xp.asarray(phase, dtype=wide, device=array_api_compat.device(x)),
            xp.asarray(
                (self._weights() / 2).tolist(), dtype=x.dtype, device=array_api_compat.device(x)
            ),
        )
