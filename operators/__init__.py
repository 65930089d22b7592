"""Forward models y = A x: linear operators on torch tensors, with exact adjoints."""

from operators.algebra import Identity, Zero, vstack
from operators.errors import DeviceError, DtypeError, OperatorError, ShapeError
from operators.linear import LinearOperator, Tag
from operators.space import Space

__suite__ = "inverse-suite"

__all__ = [
    "DeviceError",
    "DtypeError",
    "Identity",
    "LinearOperator",
    "OperatorError",
    "ShapeError",
    "Space",
    "Tag",
    "Zero",
    "vstack",
]
