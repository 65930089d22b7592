"""What a person, a file or a machine can do wrong; the CLI makes each one line and a code."""

__all__ = ["ConvergenceError", "DataError", "InverseError", "ResourceError", "UsageError"]


class InverseError(Exception):
    """Root of every deliberate error of this package."""

    exit_code = 2


class UsageError(InverseError, ValueError):
    """An argument names something that does not exist or does not fit."""

    exit_code = 2


class DataError(InverseError, ValueError):
    """A file or array is damaged, unsupported or inconsistent."""

    exit_code = 3


class ConvergenceError(InverseError, ArithmeticError):
    """A solver returned no usable image."""

    exit_code = 4


class ResourceError(InverseError, OSError):
    """Memory, disk or a device is missing."""

    exit_code = 5
