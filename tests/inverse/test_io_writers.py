"""Images on disk: judged by nibabel, pydicom, dcm2niix and dciodvfy, not by our own readers."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inverse.errors import DataError, ResourceError, UsageError
from inverse.grid import Grid
from inverse.io import describe, read_image, save
from inverse.io.atomic import replacing, replacing_folder
from inverse.metrics import compare
from inverse.reconstruction import Diagnostics, Reconstruction

_AXIAL = np.eye(3)
_CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
_OBLIQUE = Rotation.from_euler("zyx", [25.0, -40.0, 15.0], degrees=True).as_matrix()
_ORIENTATIONS = {
    "axial": _AXIAL,
    "coronal": _CORONAL,
    "sagittal": _SAGITTAL,
    "double-oblique": _OBLIQUE,
    "left-handed": _OBLIQUE * [1, 1, -1],
}
_SIZES = {"multi-slice": (5, 16, 13), "volume": (12, 15, 18)}


def _grid(directions: NDArray[np.float64], shape: tuple[int, int, int]) -> Grid:
    x, y, z = (tuple(column) for column in directions.T.tolist())
    return Grid(shape, (4.7, 1.3, 0.9), (12.3, -45.6, 78.9), x, y, z)


def _reconstruction(grid: Grid, **changes: object) -> Reconstruction:
    rng = np.random.default_rng(7)
    parts = rng.standard_normal((2, *grid.shape))
    image = (parts[0] + 1j * parts[1]).astype(np.complex64) * 1e-4
    return Reconstruction(
        **{
            "image": image,
            "grid": grid,
            "method": "tv",
            "settings": {"weight": np.float32(0.5), "prior": None},
            "diagnostics": Diagnostics(1.0, 1.0),
            "baseline": image * 2,
            "provenance": {"seed": 3, "acquisition": {"echo_time_ms": 12.5}},
            **changes,
        }
    )


def _assert_same_world(
    values: NDArray[np.floating],
    affine: NDArray[np.float64],
    image: NDArray[np.float32],
    grid: Grid,
) -> None:
    """Every voxel of (values, affine) lies on one of ours, within 1 um, and has its value."""
    indices = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    world = nibabel.affines.apply_affine(affine, indices.reshape(-1, 3))
    ours = nibabel.affines.apply_affine(np.linalg.inv(grid.affine), world)
    nearest = np.rint(ours).astype(int)
    error_mm = np.linalg.norm(
        nibabel.affines.apply_affine(grid.affine, nearest) - world, axis=1
    ).max()
    assert error_mm <= 1e-3
    assert len(np.unique(nearest, axis=0)) == image.size == values.size
    x, y, z = nearest.T
    np.testing.assert_array_equal(image[z, y, x], values.ravel())


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("orientation", _ORIENTATIONS)
def test_dicom_and_nifti_agree_in_the_scanner(tmp_path: Path, orientation: str, size: str) -> None:
    grid = _grid(_ORIENTATIONS[orientation], _SIZES[size])
    reconstruction = _reconstruction(grid)
    magnitude = np.abs(reconstruction.image)
    save(reconstruction, tmp_path / "out.nii.gz")
    save(reconstruction, tmp_path / "dicom")

    volume = nibabel.load(tmp_path / "out.nii.gz")
    assert int(volume.header["qform_code"]) == int(volume.header["sform_code"]) == 1
    assert volume.header.get_xyzt_units()[0] == "mm"
    for affine in (volume.get_sform(), volume.get_qform()):
        _assert_same_world(np.asarray(volume.dataobj), affine, magnitude, grid)

    files = sorted((tmp_path / "dicom").iterdir())
    assert len(files) == grid.shape[0]
    factor = json.loads((tmp_path / "dicom.json").read_text())["output"][
        "dicom_units_per_pixel_value"
    ]
    for index, file in enumerate(files):
        dataset = pydicom.dcmread(file)
        assert dataset.private_block(0x0077, "INVERSE-SUITE")[0x01].value == factor
        np.testing.assert_allclose(
            dataset.pixel_array * factor, magnitude[index], atol=0.51 * factor
        )
        # PS3.3 C.7.6.2.1.1: the world position of pixel (row, column).
        first = np.array(dataset.ImagePositionPatient, dtype=float)
        along, down = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        dy, dx = (float(s) for s in dataset.PixelSpacing)
        for row, column in ((0, 0), (3, 0), (2, 7), (grid.shape[1] - 1, grid.shape[2] - 1)):
            position = first + along * dx * column + down * dy * row
            np.testing.assert_allclose(position, grid.position_mm((index, row, column)), atol=1e-6)


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("orientation", _ORIENTATIONS)
def test_dcm2niix_finds_the_same_voxels(tmp_path: Path, orientation: str, size: str) -> None:
    grid = _grid(_ORIENTATIONS[orientation], _SIZES[size])
    reconstruction = _reconstruction(grid)
    save(reconstruction, tmp_path / "dicom")
    factor = json.loads((tmp_path / "dicom.json").read_text())["output"][
        "dicom_units_per_pixel_value"
    ]
    subprocess.run(
        ["dcm2niix", "-b", "n", "-z", "n", "-f", "out", "-o", tmp_path, tmp_path / "dicom"],
        check=True,
        capture_output=True,
    )
    [found] = tmp_path.glob("out*.nii")
    volume = nibabel.load(found)
    pixels = np.rint(np.abs(reconstruction.image) / factor)
    _assert_same_world(np.asarray(volume.dataobj), volume.affine, pixels, grid)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools is not installed")
@pytest.mark.parametrize(
    "acquisition",
    [
        {},
        {
            "echo_time_ms": 12.5, "repetition_time_ms": 500.0, "inversion_time_ms": 100.0,
            "flip_angle_deg": 70.0, "field_t": 2.89362, "patient_position": "HFS",
        },
    ],
)  # fmt: skip
def test_dciodvfy_finds_no_error(tmp_path: Path, acquisition: dict[str, object]) -> None:
    for number, orientation in enumerate(_ORIENTATIONS.values()):
        reconstruction = _reconstruction(
            _grid(orientation, (2, 6, 5)), provenance={"acquisition": acquisition}
        )
        *files, _ = save(reconstruction, tmp_path / f"series{number}")
        for file in files:
            run = subprocess.run(["dciodvfy", file], check=False, capture_output=True, text=True)
            report = run.stdout + run.stderr
            assert "MRImage" in report
            assert not [line for line in report.splitlines() if line.startswith("Error")], report


def test_a_dicom_series_says_what_it_is_and_nothing_of_the_patient(tmp_path: Path) -> None:
    reconstruction = _reconstruction(
        Grid((2, 6, 5), (1.0, 1.0, 1.0), is_nominal=True),
        method="dds",
        provenance={
            "recipe": {"prior": "molrg"},
            "acquisition": {
                "echo_time_ms": 12.5,
                "source": "simulation",
                "patient_name": "JANE DOE",
            },
        },
    )
    save(reconstruction, tmp_path / "s")
    first, second = (pydicom.dcmread(f) for f in sorted((tmp_path / "s").iterdir()))
    assert first.ImageType[:2] == ["DERIVED", "PRIMARY"]
    assert "NOT FOR DIAGNOSIS" in first.ImageComments
    assert "learned prior" in first.ImageComments
    assert "Simulated data" in first.ImageComments
    assert "left and right are not known" in first.ImageComments
    assert "not for diagnosis" in first.SeriesDescription
    assert first["Laterality"].is_empty
    assert "BodyPartExamined" not in first
    assert first.EchoTime == 12.5
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert first[keyword].is_empty
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    for file in (tmp_path / "s").iterdir():
        assert b"JANE" not in file.read_bytes()
        assert file.read_bytes()[:128] == bytes(128)


def test_nothing_is_a_series_of_zeros(tmp_path: Path) -> None:
    grid = Grid((1, 4, 4), (1.0, 1.0, 1.0))
    [file, _] = save(
        _reconstruction(grid, image=np.zeros((1, 4, 4), np.complex64)), tmp_path / "zero"
    )
    assert not pydicom.dcmread(file).pixel_array.any()


def test_a_series_replaces_a_series_but_no_other_file(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    save(_reconstruction(Grid((5, 4, 4), (1.0, 1.0, 1.0))), folder)
    save(_reconstruction(Grid((2, 4, 4), (1.0, 1.0, 1.0))), folder)
    assert len(list(folder.iterdir())) == 2
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="it holds other files"):
        save(_reconstruction(Grid((3, 4, 4), (1.0, 1.0, 1.0))), folder)
    assert len(list(folder.iterdir())) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["series", "series.json"]


def test_phase_is_a_second_file(tmp_path: Path) -> None:
    reconstruction = _reconstruction(Grid((2, 4, 3), (1.0, 1.0, 1.0)))
    files = save(reconstruction, tmp_path / "out.nii", phase=True)
    assert [f.name for f in files[:2]] == ["out.nii", "out_phase.nii"]
    assert files[2].suffix == ".json"
    phase = np.asarray(nibabel.load(files[1]).dataobj).T
    np.testing.assert_allclose(phase, np.angle(reconstruction.image), atol=1e-6)
    with pytest.raises(UsageError, match="phase expected a NIfTI name"):
        save(reconstruction, tmp_path / "out.h5", phase=True)


@pytest.mark.parametrize("name", ["out.h5", "out.hdf5", "out.npz", "out.nii", "OUT.NII.GZ"])
def test_what_is_saved_is_read(tmp_path: Path, name: str) -> None:
    reconstruction = _reconstruction(_grid(_OBLIQUE, (3, 5, 4)))
    written = save(reconstruction, tmp_path / name)
    image, grid = read_image(tmp_path / name)
    wanted = reconstruction.image if name[-1] in "5z" and "nii" not in name else None
    np.testing.assert_array_equal(
        image, np.abs(reconstruction.image) if "nii" in name.lower() else wanted
    )
    assert grid is not None
    np.testing.assert_allclose(grid.affine, reconstruction.grid.affine, atol=1e-4)
    assert written[-1].name.lower().endswith(".json")


def test_the_hdf5_result_carries_a_long_provenance(tmp_path: Path) -> None:
    provenance = {"command": "x" * 200_000, "residual": math.nan, "path": Path("a")}
    reconstruction = _reconstruction(_grid(_AXIAL, (1, 4, 4)), provenance=provenance)
    save(reconstruction, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["image"][()], reconstruction.image)
        np.testing.assert_array_equal(file["baseline"][()], reconstruction.baseline)
        record = json.loads(file.attrs["provenance"])
        assert json.loads(file.attrs["settings"]) == {"weight": 0.5, "prior": None}
    assert record["command"] == provenance["command"]
    json.dumps(record["residual"], allow_nan=False)
    assert record["method"] == "tv"


def test_the_sidecar_names_the_files_and_their_digests(tmp_path: Path) -> None:
    import hashlib

    *_, sidecar = save(_reconstruction(_grid(_AXIAL, (1, 4, 4))), tmp_path / "out.nii.gz")
    record = json.loads(sidecar.read_text())
    assert record["seed"] == 3
    assert record["settings"] == {"weight": 0.5, "prior": None}
    digest = hashlib.sha256((tmp_path / "out.nii.gz").read_bytes()).hexdigest()
    assert record["output"]["sha256"] == [digest]


def test_two_formats_of_one_name_keep_both_records(tmp_path: Path) -> None:
    reconstruction = _reconstruction(_grid(_AXIAL, (1, 4, 4)))
    for name in ("out.nii.gz", "out.h5"):
        save(reconstruction, tmp_path / name)
    for name in ("out.nii.gz", "out.h5"):
        record = json.loads((tmp_path / f"{name}.json").read_text())
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert record["output"]["sha256"] == [digest]


@pytest.mark.parametrize("text", ['{"subject": 1}', "mine", "[]", ""])
def test_a_json_file_that_is_not_ours_is_kept(tmp_path: Path, text: str) -> None:
    reconstruction = _reconstruction(_grid(_AXIAL, (1, 4, 4)))
    (tmp_path / "out.nii.json").write_text(text)
    with pytest.raises(UsageError, match="got another file of that name"):
        save(reconstruction, tmp_path / "out.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["out.nii.json"]
    assert (tmp_path / "out.nii.json").read_text() == text


@pytest.mark.parametrize("name", ["out.h5", "out.npz", "out.nii"])
def test_an_input_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"raw data")
    inputs = {"format": "x", "sha256": {"x": hashlib.sha256(b"raw data").hexdigest()}}
    reconstruction = _reconstruction(_grid(_AXIAL, (1, 4, 4)), provenance={"inputs": inputs})
    with pytest.raises(UsageError, match="got a file that it was reconstructed from"):
        save(reconstruction, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"raw data"
    (tmp_path / name).write_bytes(b"another file")
    assert len(save(reconstruction, tmp_path / name)) == 2


def test_a_name_too_long_for_its_provenance_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    reconstruction = _reconstruction(_grid(_AXIAL, (1, 4, 4)))
    with pytest.raises(ResourceError, match="File name too long"):
        save(reconstruction, tmp_path / f"{'a' * 250}.nii")
    assert not list(tmp_path.iterdir())


def test_the_same_image_is_the_same_bytes(tmp_path: Path) -> None:
    reconstruction = _reconstruction(_grid(_OBLIQUE, (2, 4, 4)))
    save(reconstruction, tmp_path / "a.nii.gz")
    save(reconstruction, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["out.tiff", "out.dcm", "out.mat"])
def test_an_unknown_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.nii\.gz"):
        save(_reconstruction(Grid((1, 4, 4), (1.0, 1.0, 1.0))), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_image_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    image = np.full((1, 4, 4), np.nan, dtype=np.complex64)
    with pytest.raises(DataError, match="NaN or infinite"):
        save(_reconstruction(Grid((1, 4, 4), (1.0, 1.0, 1.0)), image=image), tmp_path / "o.nii")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ResourceError, match="No space left on device; what was there is kept"):
        _fail(target, OSError(28, "full"))
    with pytest.raises(ResourceError, match="the library could not write it"):
        _fail(target, RuntimeError("h5"))
    with pytest.raises(DataError, match="mine"):
        _fail(target, DataError("mine"))
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["out.h5", "out.npz", "out.nii", "out.nii.gz", "out"])
def test_a_full_disk_keeps_the_old_image(tmp_path: Path, name: str) -> None:
    """No file may grow beyond 3 kB, so every library fails in the middle of its write."""
    resource = pytest.importorskip("resource")
    small = _reconstruction(Grid((1, 4, 4), (1.0, 1.0, 1.0)))
    large = _reconstruction(Grid((3, 64, 64), (1.0, 1.0, 1.0)))
    save(small, tmp_path / name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(ResourceError, match="what was there is kept"):
            save(large, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def _fail(target: Path, error: Exception) -> None:
    with replacing(target) as part:
        part.write_text("half")
        raise error


def test_a_failed_folder_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")

    def fail() -> None:
        with replacing_folder(target) as part:
            (part / "new").write_text("half")
            raise OSError(28, "full")

    with pytest.raises(ResourceError, match="No space left"):
        fail()
    assert (target / "old").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_missing_folder_is_a_resource_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="No such file or directory"):
        save(_reconstruction(Grid((1, 4, 4), (1.0, 1.0, 1.0))), tmp_path / "nowhere" / "out.nii")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_and_npy_images(tmp_path: Path, dtype: type[np.generic]) -> None:
    from PIL import Image

    pixels = np.arange(30).reshape(5, 6).astype(dtype)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    for name in ("a.png", "a.npy"):
        image, grid = read_image(tmp_path / name)
        np.testing.assert_array_equal(image, pixels[None])
        assert image.dtype == np.float32
        assert grid is None


def test_an_image_without_affine_has_a_nominal_grid(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), None)
    volume.header.set_zooms((1.5, 2.0, 4.0))
    volume.to_filename(tmp_path / "a.nii")
    image, grid = read_image(tmp_path / "a.nii")
    assert image.shape == (5, 4, 3)
    assert grid == Grid((5, 4, 3), (4.0, 2.0, 1.5), is_nominal=True)


def test_an_image_whose_voxel_size_is_no_number_has_no_grid(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), None).to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[80:92] = np.full(3, np.nan, "<f4").tobytes()  # pixdim[1:4]
    (tmp_path / "a.nii").write_bytes(content)
    assert read_image(tmp_path / "a.nii")[1] is None


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_an_assumed_geometry_is_not_written_as_the_scanner_s(tmp_path: Path, name: str) -> None:
    """Judged by nibabel: no transform, but the voxel size; then by our own reader."""
    nominal = _reconstruction(
        Grid((2, 8, 9), (4.0, 2.0, 1.5), (1.0, 2.0, 3.0), is_nominal=True),
    )
    save(nominal, tmp_path / name)
    volume = nibabel.load(tmp_path / name)
    assert volume.get_qform(coded=True) == (None, 0)
    assert volume.get_sform(coded=True) == (None, 0)
    assert not np.any([volume.header[f"srow_{axis}"] for axis in "xyz"])
    assert volume.header.get_zooms() == (1.5, 2.0, 4.0)

    image, grid = read_image(tmp_path / name)
    np.testing.assert_array_equal(image, np.abs(nominal.image))
    assert grid == Grid((2, 8, 9), (4.0, 2.0, 1.5), is_nominal=True)
    assert describe(tmp_path / name)["geometry"]["is_nominal"] is True
    found = compare(image, image, grid=grid, reference_grid=grid)
    assert found.geometry_mm is None
    assert found.is_same_place is None


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools is not installed")
@pytest.mark.parametrize("method", ["tv", "zero_filled", "a_method_with_a_very_long_name" * 3])
def test_an_assumed_geometry_is_valid_dicom_that_says_so(tmp_path: Path, method: str) -> None:
    [file, _] = save(
        _reconstruction(Grid((1, 8, 9), (4.0, 2.0, 1.5), is_nominal=True), method=method),
        tmp_path / "series",
    )
    dataset = pydicom.dcmread(file)
    assert dataset.SeriesDescription.endswith("; place assumed")
    assert len(dataset.SeriesDescription) <= 64
    assert "Orientation and position in this header are assumed" in dataset.ImageComments
    run = subprocess.run(["dciodvfy", file], check=False, capture_output=True, text=True)
    report = run.stdout + run.stderr
    assert "MRImage" in report
    assert not [line for line in report.splitlines() if line.startswith("Error")], report


def test_a_measured_geometry_is_not_called_assumed(tmp_path: Path) -> None:
    [file, _] = save(_reconstruction(Grid((1, 8, 9), (4.0, 2.0, 1.5))), tmp_path / "series")
    dataset = pydicom.dcmread(file)
    assert "assumed" not in dataset.SeriesDescription + dataset.ImageComments


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["text"]), "expected numbers of shape"),
        (np.ones(5), "expected numbers of shape"),
        (np.full((4, 4), np.nan), "NaN or infinite"),
    ],
)
def test_what_is_no_image_is_refused(
    tmp_path: Path, array: NDArray[np.generic], message: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.npy")


def test_dicom_is_not_read(tmp_path: Path) -> None:
    [file, _] = save(_reconstruction(Grid((1, 4, 4), (1.0, 1.0, 1.0))), tmp_path / "d")
    with pytest.raises(DataError, match="DICOM is written, not read"):
        read_image(file)


@pytest.mark.realdata
def test_a_real_volume_is_read_with_its_geometry(real_mri: Path) -> None:
    image, grid = read_image(real_mri / "brain1_t1gd.nii.gz")
    volume = nibabel.load(real_mri / "brain1_t1gd.nii.gz")
    assert grid is not None
    np.testing.assert_allclose(grid.affine, volume.affine, atol=1e-5)
    np.testing.assert_array_equal(image, np.asarray(volume.dataobj).T)
