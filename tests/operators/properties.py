"""What must hold for every operator: each check takes the operator, its truth and a generator.

Checks raise AssertionError. Tolerances are relative to norms, never to an inner product that may
vanish by chance; single precision 1e-6 and double 1e-13 for the adjoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.autograd import forward_ad

from operators import DtypeError, LinearOperator, ShapeError, Space, Tag
from tests.operators.registry import Array, Truth

Check = Callable[[LinearOperator, Truth, torch.Generator], None]


def draw(space: Space, generator: torch.Generator, batch: tuple[int, ...] = ()) -> torch.Tensor:
    return torch.randn((*batch, *space.shape), dtype=space.dtype, generator=generator)


def adjoint_tolerance(space: Space) -> float:
    return 1e-13 if space.dtype.to_real() == torch.float64 else 1e-6


def tolerance(space: Space) -> float:
    return 1e-12 if space.dtype.to_real() == torch.float64 else 1e-5


def assert_close(found: torch.Tensor, wanted: torch.Tensor, limit: float) -> None:
    assert found.shape == wanted.shape, f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
    assert found.dtype == wanted.dtype, f"dtype {found.dtype}, not {wanted.dtype}"
    error = torch.linalg.vector_norm(found - wanted)
    scale = torch.linalg.vector_norm(wanted)
    assert error <= limit * scale, f"relative error {error / scale:.2e} > {limit:.0e}"


def double(x: torch.Tensor) -> Array:
    return x.detach().numpy().astype(np.complex128)


def check_shapes(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for batch in ((), (2,), (2, 3), (0,)):
        x, y = draw(op.domain, generator, batch), draw(op.range, generator, batch)
        for found, space in (
            (op(x), op.range),
            (op.adjoint(y), op.domain),
            (op.normal(x), op.domain),
        ):
            assert tuple(found.shape) == (*batch, *space.shape)
            assert found.dtype == space.dtype


def check_truth(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    x = draw(op.domain, generator)
    wanted = torch.from_numpy(np.asarray(truth(double(x)), dtype=np.complex128))
    assert_close(op(x).to(torch.complex128), wanted, tolerance(op.domain))


def check_adjoint(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for _ in range(3):
        x, y = draw(op.domain, generator), draw(op.range, generator)
        ax, ahy = op(x), op.adjoint(y)
        assert ax.shape == y.shape
        assert ahy.shape == x.shape
        gap = np.vdot(double(ax), double(y)) - np.vdot(double(x), double(ahy))
        scale = np.linalg.norm(double(ax)) * np.linalg.norm(double(y))
        assert abs(gap) <= adjoint_tolerance(op.domain) * scale, f"{abs(gap) / scale:.2e}"


def check_linearity(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    a, b = (-0.7 + 0.4j, 1.3 - 2.1j) if op.domain.dtype.is_complex else (-0.7, 1.3)
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u, v = draw(space, generator), draw(space, generator)
        assert_close(rule(a * u + b * v), a * rule(u) + b * rule(v), tolerance(space))


def check_normal(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    x = draw(op.domain, generator, (2,))
    assert_close(op.normal(x), op.adjoint(op(x)), tolerance(op.domain))


def check_batch(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u = draw(space, generator, (2, 2))
        singly = torch.stack([torch.stack([rule(u[i, j]) for j in range(2)]) for i in range(2)])
        assert_close(rule(u), singly, tolerance(space))


def check_argument_kept(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u = draw(space, generator, (2,))
        before = u.clone()
        found = rule(u)
        assert torch.equal(u, before), f"{rule.__name__} wrote to its argument"
        found.zero_()
        assert torch.equal(u, before), f"{rule.__name__} returned its argument's memory"


def check_strided(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """Arguments that are views (transposed, sliced, conjugated) give what their copies give."""
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        stored = draw(Space(space.shape[::-1], space.dtype, space.axes), generator, (4,))
        view = stored[::2].permute(0, *range(stored.ndim - 1, 0, -1)).conj()
        assert_close(rule(view), rule(view.resolve_conj().contiguous()), tolerance(space))


def check_backward(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """The gradient of Re <y, A x> is A^H y, of Re <x, A^H y> is A x, of Re <v, N x> is N v."""
    del truth
    for rule, transposed, space, image in (
        (op.forward, op.adjoint, op.domain, op.range),
        (op.adjoint, op.forward, op.range, op.domain),
        (op.normal, op.normal, op.domain, op.domain),
    ):
        u, v = draw(space, generator, (2,)).requires_grad_(), draw(image, generator, (2,))
        out = rule(u)
        assert out.requires_grad, f"{rule.__name__} is cut off from autograd"
        (grad,) = torch.autograd.grad(out, u, v)
        assert_close(grad, transposed(v), tolerance(space))


def check_forward_mode(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u, tangent = draw(space, generator), draw(space, generator)
        with forward_ad.dual_level():
            primal, derivative = forward_ad.unpack_dual(rule(forward_ad.make_dual(u, tangent)))
        assert derivative is not None
        assert_close(primal, rule(u), tolerance(space))
        assert_close(derivative, rule(tangent), tolerance(space))


def check_gradients(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """Finite differences agree, backwards, forwards and twice; meaningful in double only."""
    del truth
    if adjoint_tolerance(op.domain) > 1e-12:
        return
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u = draw(space, generator).requires_grad_()
        assert torch.autograd.gradcheck(
            rule, u, fast_mode=True, check_forward_ad=True, raise_exception=False
        )
        assert torch.autograd.gradgradcheck(rule, u, fast_mode=True, raise_exception=False)


def check_vmap(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        u = draw(space, generator, (3,))
        mapped = torch.func.vmap(rule, in_dims=1)(u.movedim(0, 1))
        assert_close(mapped, rule(u), tolerance(space))


def check_moves(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """`.to` changes precision and device, nothing else, and leaves the operator as it was."""
    del truth
    for precision in (torch.float32, torch.complex128):
        moved = op.to(dtype=precision)
        assert type(moved) is type(op)
        assert moved.domain == op.domain.to(precision)
        assert moved.range == op.range.to(precision)
        assert moved.tags == op.tags
        x, y = draw(op.domain, generator), draw(op.range, generator)
        for old, new, u, source, image in (
            (op.forward, moved.forward, x, moved.domain, moved.range),
            (op.adjoint, moved.adjoint, y, moved.range, moved.domain),
            (op.normal, moved.normal, x, moved.domain, moved.domain),
        ):
            assert_close(new(u.to(source.dtype)), old(u).to(image.dtype), 1e-5)
    x = draw(op.domain, generator)
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        assert_close(op.to(device)(x.to(device)).cpu(), op(x), tolerance(op.domain))


def check_tags(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """Tags are true, and a tag that a random vector would betray is not missing its parent."""
    del truth
    x, z = draw(op.domain, generator), draw(op.domain, generator)
    scale = np.linalg.norm(double(x)) * np.linalg.norm(double(z))
    if Tag.ISOMETRY in op.tags:
        assert_close(op.normal(x), x, tolerance(op.domain))
        assert_close(op.adjoint(op(x)), x, tolerance(op.domain))
    if Tag.SELF_ADJOINT in op.tags:
        assert op.domain.shape == op.range.shape
        assert_close(op.adjoint(x), op(x), tolerance(op.domain))
    if Tag.POSITIVE_SEMIDEFINITE in op.tags:
        assert Tag.SELF_ADJOINT in op.tags
        power = np.vdot(double(x), double(op(x)))
        assert power.real >= -tolerance(op.domain) * scale
        assert abs(power.imag) <= tolerance(op.domain) * scale


def check_refusals(op: LinearOperator, truth: Truth, generator: torch.Generator) -> None:
    """Wrong shapes and dtypes are refused by name, with what was expected and what came."""
    del truth
    for rule, space in ((op.forward, op.domain), (op.adjoint, op.range), (op.normal, op.domain)):
        good = draw(space, generator)
        for bad in _misshapen(good):
            message = _message_of(rule, bad, ShapeError)
            assert str(tuple(bad.shape)) in message
            assert all(str(size) in message for size in space.shape)
        for dtype in (torch.float16, torch.int64, _other(space.dtype)):
            message = _message_of(rule, good.real.to(dtype), DtypeError)
            assert str(space.dtype) in message
            assert str(dtype) in message
        message = _message_of(rule, good.to("meta"), ValueError) if op.device else "meta"
        assert "meta" in message


def _misshapen(good: torch.Tensor) -> Iterator[torch.Tensor]:
    """Every axis one too long, one axis missing, and ones that only broadcasting would forgive."""
    for axis in range(good.ndim):
        yield torch.cat([good, good.narrow(axis, 0, 1)], dim=axis)
        if good.shape[axis] > 1:
            yield good.narrow(axis, 0, 1)
    yield good[0]
    yield good.new_zeros(())


def _other(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.to_real() == torch.float32 else torch.float32


def _message_of(
    rule: Callable[[torch.Tensor], torch.Tensor], bad: torch.Tensor, kind: type[Exception]
) -> str:
    try:
        rule(bad)
    except kind as error:
        return str(error)
    except RuntimeError as error:  # from inside the computation: too late, and in other words
        raise AssertionError(f"{rule.__name__} let {tuple(bad.shape)} {bad.dtype} in") from error
    raise AssertionError(f"{rule.__name__} accepted {tuple(bad.shape)} {bad.dtype} {bad.device}")


CHECKS: dict[str, Check] = {
    name.removeprefix("check_"): check
    for name, check in globals().items()
    if name.startswith("check_")
}
