"""The XML header of ISMRMRD: matrix, field of view, limits and a few facts of the sequence.

Reference: ismrmrd.xsd of the ISMRMRD standard. Nothing about the patient is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from inverse.errors import DataError
from inverse.io.untrusted import reading

__all__ = ["SIMULATED", "Encoding", "Header", "parse_header"]

_LARGEST_MATRIX = 65535
_HZ_PER_TESLA = 42.577478518e6
"""Gyromagnetic ratio of the proton over 2 pi, CODATA 2018."""
_SEQUENCE = {
    "TR": "repetition_time_ms",
    "TE": "echo_time_ms",
    "TI": "inversion_time_ms",
    "flipAngle_deg": "flip_angle_deg",
}
SIMULATED = "SIMULATED"
"""The systemVendor of a file that no scanner made."""
_POSITIONS = {"HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL"}

Triple = tuple[float, float, float]
Matrix = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding space; every triple is in z, y, x order.

    Parameters
    ----------
    trajectory : str
        "cartesian" is the one that is read.
    matrix, recon_matrix : (nz, ny, nx)
        Encoded and intended image size.
    fov_mm, recon_fov_mm : (z, y, x)
        Their extents; 0 where the header does not say.
    centre_y, centre_z : int or None
        Encoding step that passes k = 0.
    """

    trajectory: str
    matrix: Matrix
    fov_mm: Triple
    recon_matrix: Matrix
    recon_fov_mm: Triple
    centre_y: int | None = None
    centre_z: int | None = None

    @property
    def spacing_mm(self) -> Triple:
        """(dz, dy, dx) of the encoded matrix; 1 mm where the header does not say."""
        z, y, x = (f / n if f > 0 else 1.0 for f, n in zip(self.fov_mm, self.matrix, strict=True))
        return z, y, x

    def recon_size(self) -> Matrix:
        """Voxels of the encoded size that cover the intended field of view, at most the matrix."""
        sizes = [
            min(n, max(1, round(wanted * n / fov))) if fov > 0 and wanted > 0 else min(n, fallback)
            for n, fov, wanted, fallback in zip(
                self.matrix, self.fov_mm, self.recon_fov_mm, self.recon_matrix, strict=True
            )
        ]
        return sizes[0], sizes[1], sizes[2]


@dataclass(frozen=True, slots=True)
class Header:
    """What the reader needs of the header.

    Parameters
    ----------
    encodings : tuple of Encoding
    acquisition : dict
        Allow-listed facts: field_t, echo_time_ms, repetition_time_ms, inversion_time_ms,
        flip_angle_deg, patient_position, source ("simulation").
    vendor_is_siemens : bool
    calibration_mode : str
        Of parallel imaging: "embedded", "interleaved", "separate", "external", "other" or "".
    noise_bandwidth : float
        Relative receiver noise bandwidth, 1 where the header does not say.
    """

    encodings: tuple[Encoding, ...]
    acquisition: dict[str, float | str] = field(default_factory=dict)
    vendor_is_siemens: bool = False
    calibration_mode: str = ""
    noise_bandwidth: float = 1.0


def parse_header(xml: str, path: Path) -> Header:
    """Parse the XML header.

    Parameters
    ----------
    xml : str
    path : Path
        The file that holds it, for messages.

    Raises
    ------
    DataError
        If it is not XML, declares a document type or entities, or lacks a needed number; the
        message names the element.
    """
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise DataError(f"{path}: the XML header declares a document type; that is refused")
    with reading(path, "XML header"):
        root = ElementTree.fromstring(xml)  # noqa: S314 - document types are refused above
    for node in root.iter():
        node.tag = str(node.tag).rpartition("}")[2]
    if root.tag != "ismrmrdHeader":
        raise DataError(f"{path}: the XML header is not an ismrmrdHeader")
    encodings = tuple(_encoding(node, path) for node in root.findall("encoding"))
    if not encodings:
        raise DataError(f"{path}: the XML header has no element 'encoding'")
    vendor = (root.findtext("acquisitionSystemInformation/systemVendor") or "").lower()
    modes = {node.text or "" for node in root.iter("calibrationMode")}
    bandwidth = _number(
        root, "acquisitionSystemInformation/relativeReceiverNoiseBandwidth", path, 1.0
    )
    return Header(
        encodings=encodings,
        acquisition=_acquisition(root, path),
        vendor_is_siemens="siemens" in vendor,
        calibration_mode=modes.pop().strip().lower() if len(modes) == 1 else "",
        noise_bandwidth=bandwidth if bandwidth > 0 else 1.0,
    )


def _encoding(node: ElementTree.Element, path: Path) -> Encoding:
    matrix = _matrix(node, "encodedSpace", path)
    has_recon = node.find("reconSpace") is not None
    fov = _fov(node, "encodedSpace", path)
    return Encoding(
        trajectory=(node.findtext("trajectory") or "").strip().lower(),
        matrix=matrix,
        fov_mm=fov,
        recon_matrix=_matrix(node, "reconSpace", path) if has_recon else matrix,
        recon_fov_mm=_fov(node, "reconSpace", path) if has_recon else fov,
        centre_y=_centre(node, 1, path),
        centre_z=_centre(node, 2, path),
    )


def _matrix(node: ElementTree.Element, space: str, path: Path) -> Matrix:
    sizes = [int(_number(node, f"{space}/matrixSize/{axis}", path)) for axis in "zyx"]
    if min(sizes) < 1 or max(sizes) > _LARGEST_MATRIX:
        raise DataError(
            f"{path}: {space}/matrixSize expected sizes from 1 to {_LARGEST_MATRIX}, got {sizes}"
        )
    return sizes[0], sizes[1], sizes[2]


def _fov(node: ElementTree.Element, space: str, path: Path) -> Triple:
    z, y, x = (_number(node, f"{space}/fieldOfView_mm/{axis}", path, 0.0) for axis in "zyx")
    return z, y, x


def _centre(node: ElementTree.Element, step: int, path: Path) -> int | None:
    name = f"encodingLimits/kspace_encoding_step_{step}"
    return None if node.find(name) is None else int(_number(node, f"{name}/center", path))


def _number(
    node: ElementTree.Element, name: str, path: Path, default: float | None = None
) -> float:
    found = node.findtext(name)
    if found is None:
        if default is None:
            raise DataError(f"{path}: the XML header has no element '{name}'")
        return default
    with reading(path, f"header element '{name}'"):
        value = float(found)
    if not math.isfinite(value):
        raise DataError(f"{path}: the header element '{name}' is not a finite number")
    return value


def _acquisition(root: ElementTree.Element, path: Path) -> dict[str, float | str]:
    facts: dict[str, float | str] = {}
    tesla = _number(root, "acquisitionSystemInformation/systemFieldStrength_T", path, 0.0)
    hertz = _number(root, "experimentalConditions/H1resonanceFrequency_Hz", path, 0.0)
    if tesla > 0 or hertz > 0:
        facts["field_t"] = tesla if tesla > 0 else hertz / _HZ_PER_TESLA
    for name, fact in _SEQUENCE.items():
        value = _number(root, f"sequenceParameters/{name}", path, 0.0)
        if value > 0:
            facts[fact] = value
    position = (root.findtext("measurementInformation/patientPosition") or "").strip()
    if position in _POSITIONS:
        facts["patient_position"] = position
    if root.findtext("acquisitionSystemInformation/systemVendor") == SIMULATED:
        facts["source"] = "simulation"
    return facts
