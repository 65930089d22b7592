"""A space that is carried from one linear system to the next."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, final

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.ritz import Target, require_target
from solvers.vectors import Array, Vectors

__all__ = ["RecycleSpace", "principal_angle"]

_FORMAT = "inverse-suite recycle space 1"
_TRIAL = 4
_PATIENCE = 2
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_IMAGES = ("images", "conjugate_images", "plain_images")
_ARRAYS = ("vectors", *_IMAGES, "preimages")


@final
class RecycleSpace:
    """What `solvers.gcrodr` and `solvers.cg` keep of a solve for the next one.

    Holds vectors U of the space of x. A new operator A needs their images A U again: one
    application a vector, which solvers count. Where every solve has the same operator
    (`same_operator`), the images are kept as well and cost nothing.

    The space gives itself up when it costs more than it saves. The rule counts applications of A: a
    trial is 4 converged solves that start from the space, images included. It fails when their mean
    is above that of the last 4 solves that started without by more than the scatter of the trial
    explains, s sqrt(1/n_with + 1/n_without) with s its standard deviation; one more solve then
    starts without, so that the comparison does not rest on the first system alone. After two trials
    in a row that fail even so the space is emptied and `disabled_because` says why; `reset` begins
    anew. Solves with the same operator pay nothing for their images and are not judged.

    Parameters
    ----------
    k : int
        Largest number of vectors.
    target : "smallest", "largest" or "both"
        Which end of the spectrum slows the solver down: the smallest for discretised differential
        equations, the largest for I + gamma A^H A with few measurements.
    max_bytes : int, optional
        Limit on the memory of all that is kept between solves; lowers k.
    same_operator : bool
        Every solve until `forget_images` has the same operator.
    gives_up : bool
        Whether the rule applies; without, the space goes on whatever it costs.

    Attributes
    ----------
    disabled_because : str or None
        Why the space gave itself up.

    Raises
    ------
    SolverError
        If an argument is out of range.

    References
    ----------
    Parks, de Sturler, Mackey, Johnson and Maiti 2006, doi:10.1137/040607277.

    Examples
    --------
    >>> RecycleSpace(4)
    RecycleSpace(0 of 4, smallest)
    """

    def __init__(
        self,
        k: int = 20,
        *,
        target: Target = "smallest",
        max_bytes: int | None = None,
        same_operator: bool = False,
        gives_up: bool = True,
    ) -> None:
        if k < 1:
            raise SolverError(f"k expected a number of vectors >= 1, got {k}")
        if max_bytes is not None and max_bytes < 0:
            raise SolverError(f"max_bytes expected a number >= 0, got {max_bytes}")
        self.k = k
        self.target: Target = require_target(target)
        self.max_bytes = max_bytes
        self.same_operator = same_operator
        self.gives_up = gives_up
        self.reset()

    def __repr__(self) -> str:
        state = "" if self.disabled_because is None else f", disabled: {self.disabled_because}"
        return f"RecycleSpace({self.dim} of {self.k}, {self.target}{state})"

    def reset(self) -> None:
        """Forget everything, the costs measured so far included."""
        self.disabled_because: str | None = None
        self._shape: tuple[int, ...] = ()
        self._n_batch_axes = 0
        self._kept: dict[str, Array] = {}
        self._cold: list[int] = []
        self._warm: list[int] = []
        self._n_failed = 0
        self._is_confirming = False

    def forget_images(self) -> None:
        """Say that the next solve has another operator than those before."""
        for name in _IMAGES:
            self._kept.pop(name, None)

    def shift(self, delta: float) -> None:
        """Say that the next operator is the last one plus `delta` times the identity.

        Of directions that `solvers.cg` keeps, A W + delta W costs no application. Images that
        `solvers.gcrodr` keeps are forgotten.

        Parameters
        ----------
        delta : float
            0 changes nothing.
        """
        if delta == 0:
            return
        conjugate = self._kept.pop("conjugate_images", None)
        plain = self._kept.pop("plain_images", None)
        self.forget_images()
        images = plain if conjugate is None else conjugate
        if images is not None:
            self._kept["plain_images"] = images + delta * self._kept["vectors"]

    @property
    def dim(self) -> int:
        """How many vectors are held."""
        return int(self._kept["vectors"].shape[0]) if self._kept else 0

    @property
    def n_bytes(self) -> int:
        """Memory of all that is held."""
        return sum(_on_host(kept).nbytes for kept in self._kept.values())

    def columns(self, system: int = 0) -> NDArray[Any]:
        """Return the vectors of one system as the columns of a NumPy matrix (size, dim)."""
        if not self._kept:
            return np.zeros((0, 0))
        held = _on_host(self._kept["vectors"])[:, system, :]
        columns: NDArray[Any] = held[np.abs(held).max(axis=1) > 0].T.copy()
        return columns

    @property
    def starts_warm(self) -> bool:
        """Whether the next solve is to start from the space."""
        return bool(self._kept) and self.disabled_because is None and not self._is_confirming

    def capacity(self, v: Vectors, n_blocks: int = 1) -> int:
        """Return how many vectors may be held of systems like `v`, 0 when disabled.

        Parameters
        ----------
        v : Vectors
        n_blocks : int
            Arrays that are kept for each vector: itself, its image, its preimage.

        Raises
        ------
        SolverError
            If vectors of another shape or kind are held.
        """
        if self._kept:
            held = self._kept["vectors"]
            kind = str(held.dtype).rsplit(".", maxsplit=1)[-1]
            expected = str(v.dtype).rsplit(".", maxsplit=1)[-1]
            if (self._shape, self._n_batch_axes, kind) != (v.shape, v.n_batch_axes, expected):
                raise SolverError(
                    f"the recycle space holds vectors {self._shape} of {kind}, "
                    f"got a system {v.shape} of {expected}. Use one space for each, or reset it."
                )
        if self.disabled_because is not None:
            return 0
        if self.max_bytes is None:
            return self.k
        entry = (4 if v.eps > 1e-10 else 8) * (2 if v.is_complex else 1)
        return min(self.k, self.max_bytes // (n_blocks * v.n_systems * v.size * entry))

    def kept(self, name: str) -> Array | None:
        """Return the rows (dim, n_systems, size) of what is held under a name, None if nothing.

        "vectors" are those of x. "images" are A times them, orthonormal; "conjugate_images" the
        same where the vectors are A-orthonormal instead; "plain_images" where they are neither.
        "preimages" are M^-1 times them.
        """
        return self._kept.get(name)

    def keep(self, v: Vectors, **rows: Array) -> None:
        """Hold copies of vectors and of what belongs to them; images only of one operator."""
        if self.disabled_because is not None or rows["vectors"].shape[0] == 0:
            return
        self._shape, self._n_batch_axes = v.shape, v.n_batch_axes
        self._kept = {
            name: array_api_compat.array_namespace(held).asarray(held, copy=True)
            for name, held in rows.items()
            if self.same_operator or name not in _IMAGES
        }

    def judge(self, cost: int, *, was_warm: bool) -> None:
        """Note the applications of A of a converged solve and decide whether to go on."""
        if self.same_operator or not self.gives_up or self.disabled_because is not None:
            return
        if was_warm:
            self._warm.append(cost)
        else:
            self._cold = [*self._cold, cost][-_TRIAL:]
        if not self._cold or len(self._warm) < _TRIAL:
            return
        warm, cold = float(np.mean(self._warm)), float(np.mean(self._cold))
        scatter = float(np.std(self._warm)) * (1 / len(self._warm) + 1 / len(self._cold)) ** 0.5
        has_failed = warm - cold > scatter
        if has_failed and not self._is_confirming:
            self._is_confirming = True
            return
        self._n_failed = self._n_failed + 1 if has_failed else 0
        self._warm, self._is_confirming = [], False
        if self._n_failed == _PATIENCE:
            self.reset()
            self.disabled_because = (
                f"solves from the space took {warm:.4g} applications of A, "
                f"solves without it {cold:.4g}"
            )

    def save(self, path: str | Path) -> None:
        """Write everything to one .npz file, which replaces an older one only when complete."""
        target = Path(path)
        state = {
            "format": _FORMAT,
            "k": self.k,
            "target": self.target,
            "max_bytes": self.max_bytes,
            "same_operator": self.same_operator,
            "gives_up": self.gives_up,
            "shape": self._shape,
            "n_batch_axes": self._n_batch_axes,
            "cold": self._cold,
            "warm": self._warm,
            "n_failed": self._n_failed,
            "is_confirming": self._is_confirming,
            "disabled_because": self.disabled_because,
        }
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                arrays = {name: _on_host(kept) for name, kept in self._kept.items()}
                arrays["state"] = np.array(json.dumps(state))
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> RecycleSpace:
        """Read a space that `save` wrote; images too, which hold for the same operator only.

        Raises
        ------
        SolverError
            If the file is not such a space, or damaged.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as members:
                state = json.loads(str(members["state"]))
                arrays = {name: members[name] for name in _ARRAYS if name in members}
            return cls._restored(state, arrays)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise SolverError(
                f"{path} expected a recycle space written by save, got a file that is damaged or "
                f"something else. Start with an empty RecycleSpace."
            ) from error

    @classmethod
    def _restored(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> RecycleSpace:
        if state["format"] != _FORMAT:
            raise ValueError(state["format"])
        space = cls(
            state["k"],
            target=state["target"],
            max_bytes=state["max_bytes"],
            same_operator=state["same_operator"],
            gives_up=state["gives_up"],
        )
        space._shape, space._n_batch_axes = tuple(state["shape"]), state["n_batch_axes"]
        n_systems = int(np.prod(space._shape[: space._n_batch_axes], dtype=np.int64))
        size = int(np.prod(space._shape[space._n_batch_axes :], dtype=np.int64))
        for held in arrays.values():
            if held.shape[1:] != (n_systems, size) or not np.isfinite(held).all():
                raise ValueError(held.shape)
        space._kept = dict(arrays)
        space._cold, space._warm = state["cold"], state["warm"]
        space._n_failed = state["n_failed"]
        space._is_confirming = state["is_confirming"]
        space.disabled_because = state["disabled_because"]
        return space


def _on_host(rows: Array) -> NDArray[Any]:
    if array_api_compat.is_cupy_array(rows):
        return np.asarray(rows.get())
    if array_api_compat.is_torch_array(rows):
        return np.asarray(rows.detach().resolve_conj().cpu().numpy())
    return np.asarray(rows)


def principal_angle(C: NDArray[Any], Q: NDArray[Any]) -> float:
    """Compute the sine of the largest principal angle from span(Q) to span(C).

    delta = ||(I - P_C) P_Q||_2: 0 when C contains all of Q, 1 when some direction of Q is
    orthogonal to C. It tells how much of a wanted invariant space Q a recycled space C holds.

    Parameters
    ----------
    C, Q : (n, n_columns)
        Columns spanning each space; they need not be orthonormal.

    Raises
    ------
    SolverError
        If the columns differ in length.

    References
    ----------
    Bjorck and Golub 1973, doi:10.1090/S0025-5718-1973-0348991-3; Wang, Hao et al. 2024,
    arXiv 2401.09516, section 4.

    Examples
    --------
    >>> e = np.eye(3)
    >>> principal_angle(e[:, :2], e[:, :1]), principal_angle(e[:, :2], e[:, 1:])
    (0.0, 1.0)
    """
    if C.ndim != 2 or Q.ndim != 2 or len(C) != len(Q):
        raise SolverError(
            f"principal_angle expected two matrices of columns of one length, "
            f"got {C.shape} and {Q.shape}"
        )
    if Q.shape[1] == 0:
        return 0.0
    if C.shape[1] == 0:
        return 1.0
    c, q = _range(C), _range(Q)
    outside = q - c @ (c.conj().T @ q)
    return min(1.0, float(np.linalg.norm(outside, 2)))


def _range(columns: NDArray[Any]) -> NDArray[Any]:
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    kept: NDArray[Any] = left[:, singular > 1e-12 * singular.max(initial=0.0)]
    return kept
