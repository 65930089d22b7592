"""A series of classic MR Image Storage objects, one file per slice, with exact geometry.

References: DICOM PS3.3 C.7.6.2 (image plane), C.8.3.1 (MR image). Pixel values are unsigned
16-bit; the factor back to image units stands in a private element, because Rescale Slope is no
attribute of this class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.grid import Grid
from inverse.io.atomic import replacing_folder

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PRIVATE_CREATOR", "Series", "check_folder", "write"]

PRIVATE_CREATOR = "INVERSE-SUITE"
_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_FULL_SCALE = 32767
"""Half of the unsigned range: many readers take 16-bit pixels as signed."""
_ASSUMED = "; place assumed"
_ASSUMED_COMMENT = " Orientation and position in this header are assumed, not measured."
_OURS = re.compile(r"slice_\d{4,}\.dcm")


@dataclass(frozen=True, slots=True)
class Series:
    """What the headers say besides the geometry.

    Parameters
    ----------
    description : str
        Series description, at most 64 characters; of a nominal grid it ends in "; place assumed".
    comment : str
        How the image was made and what it is not for.
    acquisition : mapping
        Allow-listed facts as in `KSpace.acquisition`.
    """

    description: str
    comment: str
    acquisition: Mapping[str, object] = field(default_factory=dict)


def write(image: NDArray[np.float32], grid: Grid, folder: Path, series: Series) -> float:
    """Write a magnitude image as a new study with one series.

    Parameters
    ----------
    image : (z, y, x), float32, >= 0
    grid : Grid
        Positions are obligatory in this class, so those of a nominal grid are written too; the
        description and the comments then say that they are assumed.
    folder : Path
        New, empty, or holding an earlier series of ours, which is replaced as a whole.
    series : Series

    Returns
    -------
    float
        Image units per pixel value.

    Raises
    ------
    UsageError
        If the folder holds other files.
    ResourceError
        If the folder cannot be written.
    """
    from pydicom.uid import generate_uid

    check_folder(folder)
    peak = float(image.max(initial=0.0))
    factor = peak / _FULL_SCALE if peak > 0 else 1.0
    pixels = np.rint(image / factor).astype("<u2")
    uids = [generate_uid(prefix=None) for _ in range(3)]
    window = float(np.percentile(pixels, 99.5)) or 1.0
    with replacing_folder(folder) as part:
        for index, plane in enumerate(pixels):
            dataset = _common(series, uids)
            _describe_series(dataset, series, is_nominal=grid.is_nominal)
            _describe_plane(dataset, grid, index)
            _set_pixels(dataset, plane, window, factor)
            dataset.save_as(part / f"slice_{index + 1:04d}.dcm", enforce_file_format=True)
    return factor


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier series of ours.

    Raises
    ------
    UsageError
        If it does, or is no folder.
    """
    if folder.is_dir() and all(_OURS.fullmatch(file.name) for file in folder.iterdir()):
        return
    if folder.exists():
        raise UsageError(
            f"{folder}: expected a new folder or one with an earlier series only, "
            f"it holds other files; choose another name"
        )


def _common(series: Series, uids: Sequence[str]) -> Dataset:
    """Patient, study, series, equipment and MR attributes; type 2 patient fields stay empty."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "ReferringPhysicianName", "StudyID", "AccessionNumber", "Manufacturer",
        "PositionReferenceIndicator", "ScanOptions", "MRAcquisitionType",
    ):  # fmt: skip
        setattr(dataset, keyword, "")
    # Empty says unknown, as the body part is; with a body part that has no sides it must be absent.
    dataset.Laterality = ""
    dataset.SOPClassUID = _MR_IMAGE_STORAGE
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uids
    dataset.Modality = "MR"
    dataset.SeriesNumber = 1
    dataset.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    dataset.ContentQualification = "RESEARCH"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "only geometry and sequence parameters were copied"
    dataset.BurnedInAnnotation = "NO"
    dataset.SequenceVariant = "NONE"
    dataset.EchoTrainLength = None
    _set_acquisition(dataset, series.acquisition)
    return dataset


def _describe_series(dataset: Dataset, series: Series, *, is_nominal: bool) -> None:
    """Say what the series is; what is not known about its geometry must not be cut off."""
    ending, comment = (_ASSUMED, _ASSUMED_COMMENT) if is_nominal else ("", "")
    dataset.SeriesDescription = series.description[: 64 - len(ending)] + ending
    dataset.ImageComments = series.comment[: 10240 - len(comment)] + comment
    dataset.DerivationDescription = series.comment[: 1024 - len(comment)] + comment


def _set_acquisition(dataset: Dataset, facts: Mapping[str, object]) -> None:
    from pydicom.valuerep import DSfloat

    dataset.PatientPosition = str(facts.get("patient_position", ""))
    names = {
        "RepetitionTime": "repetition_time_ms",
        "EchoTime": "echo_time_ms",
        "InversionTime": "inversion_time_ms",
        "FlipAngle": "flip_angle_deg",
        "MagneticFieldStrength": "field_t",
    }
    dataset.RepetitionTime = dataset.EchoTime = None
    # RM says that the pulse sequence is not known; IR may be said, and must be with a TI.
    dataset.ScanningSequence = ["RM", "IR"] if "inversion_time_ms" in facts else "RM"
    for keyword, fact in names.items():
        value = facts.get(fact)
        if isinstance(value, int | float) and np.isfinite(value):
            setattr(dataset, keyword, DSfloat(float(value), auto_format=True))


def _describe_plane(dataset: Dataset, grid: Grid, index: int) -> None:
    from pydicom.valuerep import DSfloat

    def decimal(values: NDArray[np.float64] | list[float]) -> list[DSfloat]:
        return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]

    first = grid.position_mm((index, 0, 0))
    directions = grid.directions
    normal = np.cross(directions[:, 0], directions[:, 1])
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = decimal(first)
    dataset.ImageOrientationPatient = decimal([*grid.x_direction, *grid.y_direction])
    dataset.PixelSpacing = decimal([grid.spacing_mm[1], grid.spacing_mm[2]])
    dz = grid.spacing_mm[0]
    dataset.SliceThickness, dataset.SpacingBetweenSlices, dataset.SliceLocation = decimal(
        [grid.slice_thickness_mm or dz, dz, float(first @ normal)]
    )


def _set_pixels(dataset: Dataset, plane: NDArray[np.uint16], window: float, factor: float) -> None:
    from pydicom.valuerep import DSfloat

    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = DSfloat(window / 2, auto_format=True)
    dataset.WindowWidth = DSfloat(max(window, 1.0), auto_format=True)
    dataset.PixelData = plane.tobytes()
    block = dataset.private_block(0x0077, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "FD", factor)
