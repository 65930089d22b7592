"""Which samples follow one another: the cut of a data set into chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.pde.drawing import feature_blocks

if TYPE_CHECKING:
    from inverse.pde.plan import Plan

__all__ = ["chains_of", "order_of"]


def order_of(plan: Plan) -> NDArray[np.int64]:
    """Return the samples in the order in which they are to be solved, (n_samples,).

    Depends on the plan alone.
    """
    if plan.sort == "none":
        return np.arange(plan.n_samples, dtype=np.int64)
    from solvers.ordering import order_fields

    found = order_fields(feature_blocks(plan), method=plan.sort, chain_length=plan.chain_length)
    return np.asarray(found.permutation, dtype=np.int64)


def chains_of(plan: Plan, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut an order into chains of the plan's length; the last may be shorter."""
    return [
        order[start : start + plan.chain_length]
        for start in range(0, plan.n_samples, plan.chain_length)
    ]
