"""The linear operator: declared spaces, checked arguments, adjoint as the derivative."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import Enum
from typing import Any, Self, cast

import torch

from operators.errors import DeviceError, DtypeError, ShapeError
from operators.space import Space

__all__ = ["LinearOperator", "Tag"]


class Tag(Enum):
    """What a solver may rely on."""

    SELF_ADJOINT = "A = A^H"
    POSITIVE_SEMIDEFINITE = "<x, A x> >= 0; implies self-adjoint"
    ISOMETRY = "A^H A = I"


class _Apply(torch.autograd.Function):
    """Apply a linear map; its derivative is itself forward, its adjoint backward.

    `rule` and `transposed` name methods of the operator, so that one function serves forward,
    adjoint and normal, and can be differentiated any number of times. Under `torch.func.vmap` the
    mapped axis becomes a batch axis.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(x: torch.Tensor, operator: LinearOperator, rule: str, _t: str) -> torch.Tensor:
        return cast("torch.Tensor", getattr(operator, rule)(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        del output
        _, ctx.operator, ctx.rule, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[torch.Tensor, None, None, None]:
        grad = _Apply.apply(grad_outputs[0], ctx.operator, ctx.transposed, ctx.rule)
        return cast("torch.Tensor", grad), None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> torch.Tensor:
        out = _Apply.apply(grad_inputs[0], ctx.operator, ctx.rule, ctx.transposed)
        return cast("torch.Tensor", out)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[torch.Tensor, int]:
        del info
        x, operator, rule, transposed = inputs
        out = _Apply.apply(x.movedim(in_dims[0], 0), operator, rule, transposed)
        return cast("torch.Tensor", out), 0


class LinearOperator(ABC):
    """A linear map y = A x between two declared spaces.

    Concrete operators implement `_forward`, `_adjoint`, `to`, and `_normal` where a form faster
    than adjoint(forward(x)) exists. Those see checked arguments of shape (*batch, *space.shape),
    never mix batch elements and never write to their argument. The adjoint is the Hermitian one for
    <u, v> = sum conj(u) v. Operators are immutable.

    Parameters
    ----------
    domain, range_ : Space
        What `forward` takes and returns, without batch axes.
    device : torch.device, optional
        Where the operator's own tensors live; None when it has none and takes any device.
    tags : iterable of Tag
        Properties that solvers may rely on.
    """

    def __init__(
        self,
        domain: Space,
        range_: Space,
        *,
        device: torch.device | None = None,
        tags: Iterable[Tag] = (),
    ) -> None:
        self.domain = domain
        self.range = range_
        self.device = device
        self.tags = frozenset(tags)
        if Tag.POSITIVE_SEMIDEFINITE in self.tags:
            self.tags |= {Tag.SELF_ADJOINT}

    @abstractmethod
    def _forward(self, x: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _adjoint(self, y: torch.Tensor) -> torch.Tensor: ...

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return self._adjoint(self._forward(x))

    @abstractmethod
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this operator on another device or at another precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute A x.

        Parameters
        ----------
        x : Tensor, (*batch, *domain.shape), domain.dtype

        Returns
        -------
        Tensor, (*batch, *range.shape), range.dtype

        Raises
        ------
        ShapeError, DtypeError, DeviceError
            If `x` is not what `domain` declares.
        """
        self._check(x, self.domain, "forward")
        return cast("torch.Tensor", _Apply.apply(x, self, "_forward", "_adjoint"))

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Compute A^H y; shapes and errors as `forward`, with domain and range exchanged."""
        self._check(y, self.range, "adjoint")
        return cast("torch.Tensor", _Apply.apply(y, self, "_adjoint", "_forward"))

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Compute A^H A x; shapes and errors as `forward`."""
        self._check(x, self.domain, "normal")
        return cast("torch.Tensor", _Apply.apply(x, self, "_normal", "_normal"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute A x."""
        return self.forward(x)

    @property
    def H(self) -> LinearOperator:  # noqa: N802 -- the field's notation
        """The adjoint as an operator; a self-adjoint operator is its own."""
        from operators.algebra import Adjoint  # the algebra imports this class

        return self if Tag.SELF_ADJOINT in self.tags else Adjoint(self)

    @property
    def gram(self) -> LinearOperator:
        """A^H A as an operator."""
        from operators.algebra import Gram

        return Gram(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        from operators.algebra import compose

        return compose(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        from operators.algebra import add

        return add(self, other)

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return self + (-1.0) * other

    def __rmul__(self, factor: complex) -> LinearOperator:
        from operators.algebra import scale

        return scale(factor, self)

    def __neg__(self) -> LinearOperator:
        return (-1.0) * self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.domain} -> {self.range})"

    def _check(self, x: torch.Tensor, space: Space, verb: str) -> None:
        ndim = len(space.shape)
        name = f"{type(self).__name__}.{verb}"
        if x.ndim < ndim or tuple(x.shape[x.ndim - ndim :]) != space.shape:
            wanted = ", ".join(["*batch", *(str(size) for size in space.shape)])
            raise ShapeError(
                f"{name} expected an array of shape ({wanted}) with axes {space.axes}, "
                f"got {tuple(x.shape)}. Reshape the array, or rebuild the operator on its grid."
            )
        if x.dtype != space.dtype:
            raise DtypeError(
                f"{name} expected {space.dtype}, got {x.dtype}. "
                f"Convert the array, or the operator with .to(dtype=...)."
            )
        if self.device is not None and x.device != self.device:
            raise DeviceError(
                f"{name} expected an array on {self.device}, got {x.device}. "
                f"Move the array, or the operator with .to(device=...)."
            )
