"""Operators made of operators: adjoint, product, sum, multiple, stack."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Self, final

import torch

from operators.errors import DeviceError, DtypeError, ShapeError
from operators.linear import LinearOperator, Tag
from operators.space import Space

__all__ = ["Adjoint", "Gram", "Identity", "Zero", "add", "compose", "scale", "vstack"]

_SYMMETRY = frozenset({Tag.SELF_ADJOINT, Tag.POSITIVE_SEMIDEFINITE})


def _common_device(operators: Sequence[LinearOperator]) -> torch.device | None:
    devices = {op.device for op in operators if op.device is not None}
    if len(devices) > 1:
        raise DeviceError(f"operators to be combined live on {sorted(map(str, devices))}")
    return next(iter(devices), None)


def _same(found: Space, wanted: Space, what: str) -> None:
    """Refuse spaces that differ in shape or dtype; names may differ, they are for people."""
    if found.shape != wanted.shape:
        raise ShapeError(f"{what}: expected {wanted}, got {found}")
    if found.dtype != wanted.dtype:
        raise DtypeError(f"{what}: expected {wanted.dtype}, got {found.dtype}")


def _total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return functools.reduce(torch.add, terms)


@final
class Identity(LinearOperator):
    """I x = x.

    Examples
    --------
    >>> Identity(Space((2,), torch.float32, ("x",)))(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, domain: Space) -> None:
        super().__init__(domain, domain, tags=(*_SYMMETRY, Tag.ISOMETRY))

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y.clone()

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the identity at another precision."""
        del device
        return type(self)(self.domain.to(dtype))


@final
class Zero(LinearOperator):
    """0 x = 0, between any two spaces."""

    def __init__(self, domain: Space, range_: Space) -> None:
        tags = _SYMMETRY if domain == range_ else frozenset()
        super().__init__(domain, range_, tags=tags)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*self.domain.batch_shape(x), *self.range.shape)
        return x.new_zeros(shape, dtype=self.range.dtype)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        shape = (*self.range.batch_shape(y), *self.domain.shape)
        return y.new_zeros(shape, dtype=self.domain.dtype)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the zero operator at another precision."""
        del device
        return type(self)(self.domain.to(dtype), self.range.to(dtype))


@final
class Adjoint(LinearOperator):
    """A^H; `Adjoint(A).H` is A itself."""

    def __init__(self, inner: LinearOperator) -> None:
        # A square isometry is unitary, and so is its adjoint; a tall one's adjoint is none.
        is_square = inner.domain.size == inner.range.size
        kept = inner.tags & (_SYMMETRY | {Tag.ISOMETRY} if is_square else _SYMMETRY)
        super().__init__(inner.range, inner.domain, device=inner.device, tags=kept)
        self.inner = inner

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The operator whose adjoint this is."""
        return self.inner

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner._adjoint(x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._forward(y)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the adjoint of the converted operator."""
        return type(self)(self.inner.to(device, dtype))


@final
class Gram(LinearOperator):
    """A^H A, self-adjoint and positive semidefinite; applied with `A.normal`."""

    def __init__(self, inner: LinearOperator) -> None:
        super().__init__(inner.domain, inner.domain, device=inner.device, tags=_SYMMETRY)
        self.inner = inner

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner._normal(x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._normal(y)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the Gram operator of the converted operator."""
        return type(self)(self.inner.to(device, dtype))


@final
class Product(LinearOperator):
    """(A B) x = A (B x); its normal operator keeps A's fast one."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        _same(inner.range, outer.domain, f"product of {outer!r} and {inner!r}")
        isometry = outer.tags & inner.tags & {Tag.ISOMETRY}
        device = _common_device((outer, inner))
        super().__init__(inner.domain, outer.range, device=device, tags=isometry)
        self.outer, self.inner = outer, inner

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer._forward(self.inner._forward(x))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._adjoint(self.outer._adjoint(y))

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        if Tag.ISOMETRY in self.outer.tags:
            return self.inner._normal(x)
        return self.inner._adjoint(self.outer._normal(self.inner._forward(x)))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the product of the converted operators."""
        return type(self)(self.outer.to(device, dtype), self.inner.to(device, dtype))


@final
class Sum(LinearOperator):
    """(A + B + ...) x = A x + B x + ..."""

    def __init__(self, terms: Sequence[LinearOperator]) -> None:
        first = terms[0]
        for term in terms[1:]:
            _same(term.domain, first.domain, "domain of a term of a sum")
            _same(term.range, first.range, "range of a term of a sum")
        tags = frozenset.intersection(*(term.tags for term in terms)) & _SYMMETRY
        super().__init__(first.domain, first.range, device=_common_device(terms), tags=tags)
        self.terms = tuple(terms)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return _total(term._forward(x) for term in self.terms)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return _total(term._adjoint(y) for term in self.terms)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the sum of the converted operators."""
        return type(self)([term.to(device, dtype) for term in self.terms])


@final
class Multiple(LinearOperator):
    """(a A) x = a (A x); its adjoint is conj(a) A^H."""

    def __init__(self, factor: complex, inner: LinearOperator) -> None:
        factor = complex(factor)
        if factor.imag and not (inner.range.dtype.is_complex and inner.domain.dtype.is_complex):
            raise DtypeError(f"a complex factor {factor} needs complex spaces, got {inner!r}")
        kept = set()
        if not factor.imag:
            kept.add(Tag.SELF_ADJOINT)
            if factor.real >= 0:
                kept.add(Tag.POSITIVE_SEMIDEFINITE)
        if abs(factor) == 1.0:
            kept.add(Tag.ISOMETRY)
        tags = inner.tags & kept
        super().__init__(inner.domain, inner.range, device=inner.device, tags=tags)
        self.factor, self.inner = factor, inner

    def _scaled(self, x: torch.Tensor, factor: complex) -> torch.Tensor:
        return x * (factor if factor.imag else factor.real)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._scaled(self.inner._forward(x), self.factor)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._scaled(self.inner._adjoint(y), self.factor.conjugate())

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return self._scaled(self.inner._normal(x), abs(self.factor) ** 2)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the multiple of the converted operator."""
        return type(self)(self.factor, self.inner.to(device, dtype))


@final
class Stack(LinearOperator):
    """x -> (A x, B x, ...), each flattened and laid end to end along one axis."""

    def __init__(self, blocks: Sequence[LinearOperator]) -> None:
        first = blocks[0]
        for block in blocks[1:]:
            _same(block.domain, first.domain, "domain of a block of a stack")
            if block.range.dtype != first.range.dtype:
                raise DtypeError(
                    f"stacked ranges must share a dtype, got {block.range} and {first.range}"
                )
        length = sum(block.range.size for block in blocks)
        range_ = Space((length,), first.range.dtype, ("stacked",))
        super().__init__(first.domain, range_, device=_common_device(blocks))
        self.blocks = tuple(blocks)

    def split(self, y: torch.Tensor) -> list[torch.Tensor]:
        """Cut a stacked array (*batch, length) into the blocks' (*batch, *range.shape)."""
        parts = torch.split(y, [block.range.size for block in self.blocks], dim=-1)
        return [
            part.reshape(*part.shape[:-1], *block.range.shape)
            for part, block in zip(parts, self.blocks, strict=True)
        ]

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([b.range.flatten(b._forward(x)) for b in self.blocks], dim=-1)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        parts = zip(self.blocks, self.split(y), strict=True)
        return _total(block._adjoint(part) for block, part in parts)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return _total(block._normal(x) for block in self.blocks)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the stack of the converted operators."""
        return type(self)([block.to(device, dtype) for block in self.blocks])


def compose(outer: LinearOperator, inner: LinearOperator) -> LinearOperator:
    """Return A B, dropping identities and collapsing zeros.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the range of `inner` is not the domain of `outer`, or their devices differ.
    """
    product = Product(outer, inner)
    if isinstance(outer, Identity):
        return inner
    if isinstance(inner, Identity):
        return outer
    if isinstance(outer, Zero) or isinstance(inner, Zero):
        return Zero(product.domain, product.range)
    return product


def add(left: LinearOperator, right: LinearOperator) -> LinearOperator:
    """Return A + B as one flat sum without zeros; raises as `compose`."""
    flat: list[LinearOperator] = []
    for term in (left, right):
        flat.extend(term.terms if isinstance(term, Sum) else (term,))
    total = Sum(flat)
    kept = [term for term in flat if not isinstance(term, Zero)]
    if not kept:
        return flat[0]
    return kept[0] if len(kept) == 1 else total if len(kept) == len(flat) else Sum(kept)


def scale(factor: complex, operator: LinearOperator) -> LinearOperator:
    """Return a A; nested factors merge, 1 and 0 simplify.

    Raises
    ------
    DtypeError
        If the factor is complex and the operator's spaces are real.
    """
    if isinstance(operator, Multiple):
        factor, operator = complex(factor) * operator.factor, operator.inner
    multiple = Multiple(factor, operator)
    if factor == 1:
        return operator
    if factor == 0:
        return Zero(operator.domain, operator.range)
    return multiple


def vstack(*blocks: LinearOperator) -> LinearOperator:
    """Return x -> (A x, B x, ...), flattened and concatenated; one block is returned as it is.

    Parameters
    ----------
    *blocks : LinearOperator
        Operators of one domain and one range dtype.

    Raises
    ------
    ShapeError, DtypeError, DeviceError
        If the blocks' domains, dtypes or devices differ, or there is no block.
    """
    if not blocks:
        raise ShapeError("vstack expected at least one operator, got none")
    return blocks[0] if len(blocks) == 1 else Stack(blocks)
