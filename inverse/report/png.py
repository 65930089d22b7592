"""PNG files without an imaging library: 8-bit grey or colour, as bytes or as a data address."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["data_address", "encode"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file.

    Parameters
    ----------
    pixels : (y, x) or (y, x, 3), uint8
        Grey or red, green, blue.

    Returns
    -------
    bytes

    References
    ----------
    ISO/IEC 15948:2004, sections 9 (filter 0) and 11

    Examples
    --------
    >>> encode(np.zeros((2, 3), np.uint8))[1:4]
    b'PNG'
    """
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = zlib.compress(unfiltered.tobytes(), 9)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def data_address(pixels: NDArray[np.uint8]) -> str:
    """Return the PNG as a ``data:`` address for the src of an image element."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode("ascii")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + payload))
    return struct.pack(">I", len(payload)) + kind + payload + checksum
