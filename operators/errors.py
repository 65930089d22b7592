"""What an operator refuses, each also the builtin a caller would guess."""

__all__ = [
    "CalibrationError",
    "DeviceError",
    "DtypeError",
    "OperatorError",
    "ParameterError",
    "ShapeError",
]


class OperatorError(Exception):
    """Root of every deliberate error of this package."""


class ParameterError(OperatorError, ValueError):
    """A number or choice lies outside what an operator or mask can be made with."""


class ShapeError(OperatorError, ValueError):
    """An array does not have the shape that the operator declares."""


class DtypeError(OperatorError, TypeError):
    """An array does not have the dtype that the operator declares."""


class DeviceError(OperatorError, ValueError):
    """An array lives on another device than the operator's own tensors."""


class CalibrationError(OperatorError, ValueError):
    """The data given cannot support the calibration that was asked of them."""
