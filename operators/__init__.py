"""Forward models y = A x: linear operators on torch tensors, with exact adjoints."""

from operators.algebra import Identity, Zero, vstack
from operators.errors import (
    CalibrationError,
    DeviceError,
    DtypeError,
    OperatorError,
    ParameterError,
    ShapeError,
)
from operators.finite_difference import FiniteDifference
from operators.fourier import Fourier, fft_centred, ifft_centred
from operators.linear import LinearOperator, Tag
from operators.mri.sense import Sense
from operators.space import Space

__suite__ = "inverse-suite"

__all__ = [
    "CalibrationError",
    "DeviceError",
    "DtypeError",
    "FiniteDifference",
    "Fourier",
    "Identity",
    "LinearOperator",
    "OperatorError",
    "ParameterError",
    "Sense",
    "ShapeError",
    "Space",
    "Tag",
    "Zero",
    "fft_centred",
    "ifft_centred",
    "vstack",
]
