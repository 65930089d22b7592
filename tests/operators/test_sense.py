"""SENSE beyond the registry: what it transforms, what it allocates, limits and messages."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from operators import DeviceError, DtypeError, ParameterError, Sense, ShapeError
from operators.mri.layout import blocks
from tests.operators.registry import lines, points, random_complex


class Recorder(TorchDispatchMode):
    """Notes every torch operation and the largest memory that one newly takes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.most_bytes = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        del types
        out = func(*args, **(kwargs or {}))
        self.calls.append((func.overloadpacket.__name__, args))
        known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known:
            self.most_bytes = max(self.most_bytes, out.untyped_storage().nbytes())
        return out

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [args for found, args in self.calls if found == name]


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(random_complex(shape, seed)).to(torch.complex64)


def image(op: Sense) -> torch.Tensor:
    return maps(*op.domain.shape, seed=9)


@pytest.mark.parametrize(
    ("mask", "grid_ndim", "transformed"),
    [
        (torch.from_numpy(lines(6, 0))[:, None], 2, ("y",)),
        (torch.from_numpy(lines(6, 0))[:, None].expand(6, 4), 2, ("y",)),
        (torch.from_numpy(lines(4, 0)).expand(6, 4), 2, ("x",)),
        (torch.from_numpy(points((6, 4), 0)), 2, ("y", "x")),
        (torch.ones(6, 4, dtype=torch.bool), 2, ()),
        (torch.from_numpy(points((5, 6, 1), 0)), 3, ("z", "y")),
        (torch.from_numpy(points((5, 6, 1), 0)).expand(5, 6, 4), 3, ("z", "y")),
        (torch.from_numpy(lines(6, 0))[None, :, None], 3, ("y",)),
        (torch.from_numpy(lines(5, 0))[:, None, None], 3, ("z",)),
    ],
)
def test_normal_transforms_the_undersampled_axes_and_shifts_nothing(
    mask: torch.Tensor, grid_ndim: int, transformed: tuple[str, ...]
) -> None:
    op = Sense(maps(3, *(5, 6, 4)[-grid_ndim:]), mask, grid_ndim=grid_ndim)
    assert op.transformed_axes == transformed
    with Recorder() as recorder:
        op.normal(image(op))
    transforms = recorder.named("_fft_c2c")
    assert {len(args[1]) for args in transforms} == ({len(transformed)} if transformed else set())
    for args in transforms:
        last = range(args[0].ndim - len(transformed), args[0].ndim)
        assert sorted(axis % args[0].ndim for axis in args[1]) == list(last)
        assert args[0].is_contiguous()
    assert not recorder.named("roll")


def test_mask_that_is_constant_only_in_some_slices_is_not_decoupled() -> None:
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, ::2] = True
    mask[1, 1, 3] = True
    op = Sense(maps(2, 3, 4, 6), mask)
    assert op.transformed_axes == ("y", "x")
    torch.testing.assert_close(op.normal(image(op)), op.adjoint(op(image(op))))


def test_unsampled_kspace_is_exactly_zero_and_ignored() -> None:
    mask = torch.from_numpy(points((6, 4), 1))
    op = Sense(maps(3, 6, 4), mask)
    y = op(image(op))
    assert not y[:, ~mask].any()
    assert (y[:, mask] != 0).all()
    spoilt = y.clone()
    spoilt[:, ~mask] = 1e6
    torch.testing.assert_close(op.adjoint(spoilt), op.adjoint(y), rtol=0, atol=0)


@pytest.mark.parametrize(("grid", "mask_shape"), [((64, 48), (64, 1)), ((64, 48), (64, 48))])
def test_normal_allocates_no_more_than_its_budget(
    grid: tuple[int, int], mask_shape: tuple[int, int]
) -> None:
    budget = 2 * 64 * 48 * 8
    mask = torch.from_numpy(points(mask_shape, 2))
    op = Sense(maps(8, *grid), mask, max_coil_bytes=budget)
    generous = Sense(maps(8, *grid), mask)
    for name, argument in (("normal", image(op)), ("adjoint", op(image(op)))):
        with Recorder() as recorder:
            frugal = getattr(op, name)(argument)
        assert recorder.most_bytes <= budget
        with Recorder() as recorder:
            lavish = getattr(generous, name)(argument)
        assert recorder.most_bytes > budget
        torch.testing.assert_close(frugal, lavish)


def test_maps_are_kept_without_a_copy_where_the_layout_suits() -> None:
    csm = maps(3, 6, 4)
    by_column = Sense(csm, torch.from_numpy(lines(4, 0))[None])
    assert by_column.csm.data_ptr() == csm.data_ptr()
    for op in (by_column, Sense(csm, torch.from_numpy(lines(6, 0))[:, None])):
        torch.testing.assert_close(op.csm, csm, rtol=0, atol=0)
        assert op.csm.shape == csm.shape


def test_two_sets_of_maps_add_up() -> None:
    csm, mask = maps(2, 3, 6, 4), torch.from_numpy(lines(6, 3))[:, None]
    soft, first, second = Sense(csm, mask, soft=True), Sense(csm[0], mask), Sense(csm[1], mask)
    assert soft.domain.axes == ("map", "y", "x")
    x = image(soft)
    torch.testing.assert_close(soft(x), first(x[0]) + second(x[1]))
    y = maps(3, 6, 4, seed=5)
    torch.testing.assert_close(soft.adjoint(y), torch.stack([first.adjoint(y), second.adjoint(y)]))


def test_unit_norm_maps_keep_the_spectrum_between_zero_and_one() -> None:
    csm = maps(4, 6, 5).to(torch.complex128)
    csm /= torch.linalg.vector_norm(csm, dim=0)
    op = Sense(csm, torch.from_numpy(lines(6, 4))[:, None])
    columns = op.normal(torch.eye(30, dtype=torch.complex128).reshape(30, 6, 5))
    values = torch.linalg.eigvalsh(columns.reshape(30, 30).T)
    assert values.min() > -1e-14
    assert values.max() < 1 + 1e-14
    full = Sense(csm, torch.ones(6, 5, dtype=torch.bool))
    x = maps(6, 5).to(torch.complex128)
    torch.testing.assert_close(full.normal(x), x)


def test_names_of_the_axes() -> None:
    mask = torch.ones(4, 5, dtype=torch.bool)
    assert Sense(maps(2, 4, 5), mask).range.axes == ("coil", "ky", "kx")
    assert Sense(maps(3, 2, 4, 5), mask).domain.axes == ("slice", "y", "x")
    assert Sense(maps(3, 3, 2, 4, 5), mask).domain.axes == ("slice0", "slice1", "y", "x")
    volume = Sense(maps(2, 3, 4, 5), mask[None], grid_ndim=3)
    assert volume.range.axes == ("coil", "kz", "ky", "kx")


@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 50),
    st.integers(1, 3000),
)
def test_blocks_cover_everything_once_within_the_budget(
    n_slices: int, n_coils: int, n_rows: int, row_size: int, budget: int
) -> None:
    count = torch.zeros(n_slices, n_coils, n_rows, dtype=torch.int)
    for where in blocks(n_slices, n_coils, n_rows, row_size=row_size, budget=budget):
        count[where] += 1
        shape = count[where].shape
        assert math.prod(shape) * row_size <= max(budget, row_size)
        assert shape[1] == n_coils or shape[2] == 1
    assert (count == 1).all()
    assert not list(blocks(n_slices, n_coils, n_rows, row_size=0, budget=budget))


@pytest.mark.parametrize(
    ("mask_shape", "shown"),
    [((4, 5), r"\(4, 5\)"), ((6, 5, 1), r"\(6, 5, 1\)"), ((6,), r"\(6,\)"), ((3, 6, 4), "3, 6, 4")],
)
def test_masks_that_do_not_fit_are_refused(mask_shape: tuple[int, ...], shown: str) -> None:
    mask = torch.ones(mask_shape, dtype=torch.bool)
    with pytest.raises(ShapeError, match=rf"mask of shape \(6, 4\) \(axes of.*got .*{shown}"):
        Sense(maps(3, 6, 4), mask)


def test_wrong_arguments_are_refused() -> None:
    csm, mask = maps(3, 6, 4), torch.ones(6, 4, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"axes \(\*slices, coil, y, x\), got shape \(6, 4\)"):
        Sense(csm[0], mask)
    with pytest.raises(
        ShapeError, match=r"map, coil, y, x\), got shape .* Check grid_ndim and soft"
    ):
        Sense(csm, mask, soft=True)
    with pytest.raises(DtypeError, match=r"complex csm, got torch.float32"):
        Sense(csm.real, mask)
    with pytest.raises(DtypeError, match=r"dtype bool, got torch.float32. Use mask != 0"):
        Sense(csm, mask.float())
    with pytest.raises(DeviceError, match=r"one device, got csm on cpu, mask on meta"):
        Sense(csm, mask.to("meta"))
    with pytest.raises(ParameterError, match=r"grid_ndim >= 1 .* got 0"):
        Sense(csm, mask, grid_ndim=0)
    with pytest.raises(ParameterError, match=r"max_coil_bytes >= 1, got 2 and 0"):
        Sense(csm, mask, max_coil_bytes=0)
