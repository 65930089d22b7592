"""Every strategy by its name."""

from __future__ import annotations

from inverse.pde import direct, iterative, sequential
from inverse.pde.strategies import STRATEGIES, applicable

__all__ = ["STRATEGIES", "applicable", "direct", "iterative", "sequential"]
