"""Every property on every operator of the registry, in single and double precision."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
import torch

import operators
from operators import LinearOperator
from tests.operators.properties import CHECKS, Check
from tests.operators.registry import ROWS, Row

# torch's own forward-mode rules are still compiled with a deprecated call.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=["single", "double"])
def test_property(row: Row, check: Check, dtype: torch.dtype) -> None:
    check(row.make(dtype), row.truth, torch.Generator().manual_seed(0))


def concrete_operators() -> Iterator[type[LinearOperator]]:
    for module in pkgutil.walk_packages(operators.__path__, "operators."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(found, LinearOperator) and not inspect.isabstract(found):
                yield found


def test_every_operator_class_has_a_row() -> None:
    covered = {type(row.make(torch.complex64)) for row in ROWS}
    classes = set(concrete_operators())
    assert {operators.Fourier, operators.Sense, operators.FiniteDifference} <= classes
    assert not {cls.__name__ for cls in classes - covered}


def test_row_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
