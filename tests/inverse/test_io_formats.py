"""The same measurement in every format is the same k-space and the same image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from inverse.errors import DataError, ResourceError, UsageError
from inverse.grid import Grid
from inverse.io import bart, describe, fastmri, ismrmrd, load, npz, read_image
from inverse.io.sampling import calibration_shape
from inverse.mri.kspace import KSpace


def _zero_filled(kspace: KSpace) -> NDArray[np.float64]:
    """Root-sum-of-squares of the coil images, cropped about index n//2."""
    axes = tuple(range(2, kspace.samples.ndim))
    shifted = np.fft.ifftshift(kspace.samples.astype(np.complex128), axes)
    coils = np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes)
    image = np.sqrt((np.abs(coils) ** 2).sum(axis=1))
    image = image.reshape(-1, *image.shape[-2:])
    wanted = kspace.recon_shape or kspace.grid.shape
    for axis, (n, m) in enumerate(zip(image.shape, wanted, strict=True)):
        image = image.take(range(n // 2 - m // 2, n // 2 - m // 2 + m), axis=axis)
    return image


def _scan(*, ny: int = 13, nx: int = 24, n_slices: int = 3, seed: int = 0) -> KSpace:
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2, n_slices, 2, ny, nx))
    mask = np.zeros((1, ny, nx), dtype=bool)
    mask[:, ::2] = mask[:, ny // 2 - 2 : ny // 2 + 2] = True
    samples = ((parts[0] + 1j * parts[1]) * mask[:, None]).astype(np.complex64)
    kspace = KSpace(
        samples=samples,
        mask=mask,
        grid=Grid((n_slices, ny, nx), (5.0, 1.5, 1.25), (1.0, 2.0, 3.0)),
        recon_shape=(n_slices, ny - 2, nx // 2),
        acquisition={"echo_time_ms": 12.5},
    )
    reference = _zero_filled(kspace).astype(np.float32)
    return replace(kspace, reference=reference, reference_kind="rss")


def _in_every_format(kspace: KSpace, folder: Path) -> dict[str, KSpace]:
    ismrmrd.write(kspace, folder / "scan_ismrmrd.h5")
    fastmri.write(kspace, folder / "scan_fastmri.h5")
    bart.write(kspace, folder / "scan")
    npz.write(kspace, folder / "scan.npz")
    names = ("scan_ismrmrd.h5", "scan_fastmri.h5", "scan.cfl", "scan.npz")
    return {name: load(folder / name) for name in names}


@pytest.mark.parametrize(("ny", "nx"), [(13, 24), (16, 22), (15, 18)])
def test_every_format_gives_the_same_kspace_and_image(tmp_path: Path, ny: int, nx: int) -> None:
    kspace = _scan(ny=ny, nx=nx)
    for name, read in _in_every_format(kspace, tmp_path).items():
        np.testing.assert_array_equal(read.samples, kspace.samples, err_msg=name)
        np.testing.assert_array_equal(read.mask, kspace.mask, err_msg=name)
        assert read.grid.shape == kspace.grid.shape, name
        if name == "scan.cfl":  # the format has neither field of view nor crop
            assert read.grid.is_nominal
            image = _zero_filled(replace(read, recon_shape=kspace.recon_shape))
        else:
            np.testing.assert_allclose(read.grid.spacing_mm, kspace.grid.spacing_mm, rtol=1e-6)
            image = _zero_filled(read)
        assert read.grid.is_nominal == (name not in {"scan_ismrmrd.h5", "scan.npz"})
        assert read.warnings == read.grid.warnings, name
        np.testing.assert_allclose(image, _zero_filled(kspace), rtol=1e-6, err_msg=name)


@pytest.mark.realdata
def test_the_real_phantom_is_the_same_in_every_format(tmp_path: Path, real_mri: Path) -> None:
    kspace = load(real_mri / "phantom_8ch_full_ismrmrd.h5")
    wanted = _zero_filled(kspace)
    assert kspace.samples.shape == (1, 8, 256, 256)
    for name, read in _in_every_format(kspace, tmp_path).items():
        np.testing.assert_array_equal(read.samples, kspace.samples, err_msg=name)
        error = np.abs(_zero_filled(read) - wanted).max() / wanted.max()
        assert error <= 1e-6, name


@pytest.mark.realdata
def test_both_real_brains_are_the_same_anatomy(real_mri: Path) -> None:
    """The two files are one slice, flipped along the first image axis and sampled otherwise."""
    first = _zero_filled(load(real_mri / "brain_8ch_poisson_undersampled.npz"))[0]
    second = _zero_filled(load(real_mri / "brain_8ch_bart_undersampled.cfl"))[0]
    assert first.shape == second.shape == (230, 180)

    def likeness(other: NDArray[np.float64]) -> float:
        return float(np.corrcoef(first.ravel(), other.ravel())[0, 1])

    assert likeness(second[::-1]) > 0.9
    assert likeness(second[::-1]) > likeness(second) + 0.1


@pytest.mark.realdata
def test_the_real_point_mask_survives_ismrmrd(tmp_path: Path, real_mri: Path) -> None:
    kspace = load(real_mri / "brain_8ch_bart_undersampled.hdr")
    ismrmrd.write(kspace, tmp_path / "points.h5")
    again = load(tmp_path / "points.h5")
    np.testing.assert_array_equal(again.samples, kspace.samples)
    np.testing.assert_array_equal(again.mask, kspace.mask)
    assert again.grid == kspace.grid


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_mask_that_undersamples_full_kspace_is_applied(
    tmp_path: Path, dtype: type[np.complexfloating]
) -> None:
    """As the retrospective masks of fastMRI and of many npz archives are."""
    full = np.random.default_rng(2).standard_normal((2, 3, 16, 12, 2)).view(complex)[..., 0]
    columns = np.arange(12) % 3 == 0
    with h5py.File(tmp_path / "full.h5", "w") as file:
        file["kspace"], file["mask"] = full.astype(dtype), columns
    lines = np.broadcast_to(columns[:, None], (12, 16))
    np.savez(tmp_path / "full.npz", kspace=full.swapaxes(-1, -2).astype(dtype), mask=lines)
    for name in ("full.h5", "full.npz"):
        kspace = load(tmp_path / name)
        assert kspace.samples.dtype == np.complex64
        np.testing.assert_array_equal(
            kspace.samples, (full * columns).swapaxes(-1, -2).astype(np.complex64)
        )
        np.testing.assert_array_equal(kspace.mask, lines[None])


def test_fastmri_files_hold_the_readout_in_rows(tmp_path: Path) -> None:
    """640 x 368 as in the knee data: readout oversampled twice, mask along the last axis."""
    rng = np.random.default_rng(1)
    nx, ny = 64, 36
    stored = rng.standard_normal((2, 3, nx, ny, 2)).astype(np.float32).view(np.complex64)[..., 0]
    stored[..., :3] = 0  # padding columns are zero in every file
    mask = np.zeros(ny, dtype=np.float32)
    mask[::3] = mask[14:22] = 1
    images = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(stored * mask, (-2, -1)), norm="ortho"), (-2, -1)
    )
    rss = np.sqrt((np.abs(images) ** 2).sum(axis=1))[:, 16:48, 2:34].astype(np.float32)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file["kspace"] = stored * mask
        file["mask"] = mask
        file["reconstruction_rss"] = rss
        file.attrs["patient_id"] = "JANE DOE"
        file.attrs["acquisition"] = "CORPD_FBK"
    kspace = load(tmp_path / "knee.h5")
    assert kspace.samples.shape == (2, 3, ny, nx)
    np.testing.assert_array_equal(kspace.samples[1, 2], (stored * mask)[1, 2].T)
    wanted = mask.astype(bool)
    wanted[:3] = False
    np.testing.assert_array_equal(kspace.mask, np.repeat(wanted[None, :, None], nx, axis=-1))
    assert kspace.recon_shape == (2, 32, 32)
    np.testing.assert_allclose(_zero_filled(kspace), kspace.reference, rtol=1e-5, atol=1e-6)
    assert "JANE" not in json.dumps(describe(tmp_path / "knee.h5"))
    image, grid = read_image(tmp_path / "knee.h5")
    np.testing.assert_array_equal(image, kspace.reference)
    assert grid is None


def test_single_coil_fastmri_gets_a_coil_axis(tmp_path: Path) -> None:
    stored = np.ones((2, 8, 6), dtype=np.complex64)
    with h5py.File(tmp_path / "single.h5", "w") as file:
        file["kspace"] = stored
    kspace = load(tmp_path / "single.h5", select={"slice": 1})
    assert kspace.samples.shape == (1, 1, 6, 8)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kspace", np.ones((2, 8, 6)), "expected complex 'kspace'"),
        ("kspace", np.ones((2, 8), dtype=np.complex64), "expected complex 'kspace'"),
        ("mask", np.ones(5), "'mask' expected 6 phase-encode steps, got 5"),
        ("reconstruction_rss", np.ones((1, 4, 4)), "'reconstruction_rss' expected real images"),
        ("reconstruction_rss", np.full((2, 4, 4), np.nan), "NaN or infinite"),
        ("ismrmrd_header", "<ismrmrdHeader/>", "no element 'encoding'"),
    ],
)
def test_a_damaged_fastmri_file_is_refused(
    tmp_path: Path, name: str, value: object, message: str
) -> None:
    arrays = {"kspace": np.ones((2, 3, 8, 6), dtype=np.complex64), name: value}
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        for key, array in arrays.items():
            file[key] = array
    with pytest.raises(DataError, match=message):
        load(tmp_path / "bad.h5")


def test_a_fastmri_header_with_another_matrix_keeps_its_field_of_view(tmp_path: Path) -> None:
    fastmri.write(replace(_scan(ny=16, nx=24), reference=None), tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        stored = file["kspace"][:, :, :, 2:14]
        del file["kspace"], file["mask"]
        file["kspace"] = stored
    kspace = load(tmp_path / "scan.h5")
    assert kspace.grid.spacing_mm == pytest.approx((5.0, 1.5 * 16 / 12, 1.25))
    assert any("another matrix" in str(note) for note in kspace.origin["notes"])


def test_a_reference_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = np.ones((2, 3, 8, 6), dtype=np.complex64)
        file["reconstruction_rss"] = np.ones((2, 9, 9), dtype=np.float32)
    kspace = load(tmp_path / "scan.h5")
    assert kspace.reference is None
    assert any("does not fit the scan" in str(note) for note in kspace.origin["notes"])


def test_fastmri_cannot_hold_points(tmp_path: Path) -> None:
    kspace = _scan()
    mask = np.random.default_rng(0).random(kspace.mask.shape) < 0.5
    points = replace(kspace, mask=mask, samples=kspace.samples * mask[:, None])
    with pytest.raises(DataError, match="whole phase-encode lines"):
        fastmri.write(points, tmp_path / "points.h5")


def test_bart_s_own_layout(tmp_path: Path) -> None:
    """Element (x, y, z, coil) of the sixteen axes is where Fortran order puts it."""
    x, y, coil = 4, 3, 2
    values = np.arange(x * y * coil) + 1j
    (tmp_path / "k.cfl").write_bytes(values.astype("<c8").tobytes())
    (tmp_path / "k.hdr").write_text(f"# Dimensions\n{x} {y} 1 {coil} 1 1\n# Command\nfft\n")
    kspace = load(tmp_path / "k")
    assert kspace.samples.shape == (1, coil, y, x)
    for c, j, i in np.ndindex(coil, y, x):
        assert kspace.samples[0, c, j, i] == values[i + x * (j + y * c)]
    np.testing.assert_array_equal(
        bart.read_array(tmp_path / "k.cfl"), values.reshape((x, y, 1, coil), order="F")
    )


def test_bart_volumes_slices_and_refused_axes(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)

    def write(name: str, *sizes: int) -> NDArray[np.complex64]:
        array = (rng.standard_normal(sizes) + 1j).astype(np.complex64)
        bart.write_array(tmp_path / name, array)
        return array

    volume = write("volume", 4, 5, 6, 2)
    read = load(tmp_path / "volume")
    assert read.is_3d
    np.testing.assert_array_equal(read.samples[0], volume.transpose(3, 2, 1, 0))
    slices = write("slices", 4, 5, 1, 2, *(1,) * 9, 3)
    read = load(tmp_path / "slices")
    np.testing.assert_array_equal(read.samples, slices.squeeze().transpose(3, 2, 1, 0))
    times = write("times", 4, 5, 1, 2, *(1,) * 6, 7)
    with pytest.raises(DataError, match="expected one time, got 7"):
        load(tmp_path / "times")
    read = load(tmp_path / "times", select={"time": 4})
    np.testing.assert_array_equal(read.samples[0], times[..., 4].squeeze().transpose(2, 1, 0))
    assert describe(tmp_path / "times")["counters"] == {"time": list(range(7))}
    write("line", 4, 1, 1, 2)
    with pytest.raises(DataError, match="expected two spatial axes"):
        load(tmp_path / "line")
    with pytest.raises(UsageError, match="did you mean 'maps'"):
        load(tmp_path / "volume", select={"map": 0})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("# Dimensions\n4 3 1 3\n", "expected 288 bytes .* got 192"),
        ("# Dimensions\n4 3 1 -2\n", "positive dimensions"),
        ("# Dimensions\n4 three 1 2\n", "list of dimensions is truncated or damaged"),
        ("# Command\nfft\n", "list of dimensions is truncated or damaged"),
        ("# Dimensions\n" + "1 " * 17 + "\n", "expected 1 to 16"),
    ],
)
def test_a_damaged_bart_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "k.cfl").write_bytes(bytes(192))
    (tmp_path / "k.hdr").write_text(header)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "k.cfl")


def test_half_of_a_bart_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.cfl").write_bytes(bytes(192))
    with pytest.raises(DataError, match=r"need the header .*k\.hdr"):
        load(tmp_path / "k.cfl")
    (tmp_path / "m.hdr").write_text("# Dimensions\n4 3 1 2\n")
    with pytest.raises(DataError, match=r"m\.cfl: there is no such file"):
        load(tmp_path / "m.hdr")


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((6, 8), (1, 1, 6, 8)),
        ((2, 6, 8), (1, 2, 6, 8)),
        ((3, 2, 6, 8), (3, 2, 6, 8)),
        ((1, 2, 5, 6, 8), (1, 2, 5, 6, 8)),
    ],
)
def test_npz_shapes(tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    samples = (rng.standard_normal(shape) + 1j).astype(np.complex128)
    np.savez(tmp_path / "k.npz", kspace=samples, spacing_mm=(2.0, 1.5))
    kspace = load(tmp_path / "k.npz")
    assert kspace.samples.shape == wanted
    assert kspace.samples.dtype == np.complex64
    assert kspace.grid.spacing_mm == (1.0, 2.0, 1.5)
    np.testing.assert_array_equal(kspace.samples.ravel(), samples.astype(np.complex64).ravel())


def test_npz_keeps_everything(tmp_path: Path) -> None:
    kspace = replace(_scan(), noise=np.ones((2, 9), dtype=np.complex64))
    npz.write(kspace, tmp_path / "k.npz")
    again = load(tmp_path / "k.npz")
    assert again.grid == kspace.grid
    assert again.recon_shape == kspace.recon_shape
    assert again.reference_kind == "rss"
    np.testing.assert_array_equal(again.reference, kspace.reference)
    np.testing.assert_array_equal(again.noise, kspace.noise)
    one = load(tmp_path / "k.npz", select={"slice": 2})
    np.testing.assert_array_equal(one.samples[0], kspace.samples[2])
    np.testing.assert_array_equal(one.reference[0], kspace.reference[2])
    np.testing.assert_allclose(one.grid.position_mm((0, 0, 0)), kspace.grid.position_mm((2, 0, 0)))


_PLANE = np.ones((2, 6, 8), dtype=np.complex64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"kspace": np.ones((6, 8))}, "'kspace' expected complex"),
        ({"kspace": np.ones((2, 2, 3, 6, 8), complex)}, "expected one volume, got 2"),
        ({"kspace": _PLANE, "mask": np.ones((8, 6), bool)}, "'mask' expected shape"),
        ({"kspace": _PLANE, "mask": np.zeros((6, 8), bool)}, "the mask is empty"),
        ({"kspace": _PLANE, "mask": np.full((6, 8), "x")}, "'mask' expected booleans"),
        ({"kspace": _PLANE, "noise": np.ones((2, 9))}, "'noise' expected complex"),
        ({"kspace": _PLANE, "noise": np.full((2, 9), np.nan + 0j)}, "NaN or infinite"),
        ({"kspace": _PLANE, "noise": np.ones((3, 9), complex)}, r"noise expected shape \(2, n\)"),
        ({"kspace": _PLANE, "spacing_mm": np.ones(4)}, "'spacing_mm' expected 3 numbers"),
        ({"kspace": _PLANE, "spacing_mm": np.full(3, np.nan)}, "finite numbers"),
        ({"kspace": _PLANE, "directions": np.zeros((3, 3))}, "orthonormal"),
        ({"kspace": _PLANE, "recon_shape": np.array([1, 7, 8])}, "'recon_shape' expected sizes"),
        ({"kspace": _PLANE * np.nan}, "NaN or infinite"),
        ({"kspace": np.array([None])}, "holds Python objects"),
        (
            {"kspace": _PLANE, "reference": np.ones((1, 6, 8)), "reference_kind": np.array("x")},
            "'reference_kind' expected one of complex, magnitude, rss",
        ),
        ({"data": _PLANE}, "expected an array 'kspace' or 'image'"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_damaged_npz_is_refused(
    tmp_path: Path, arrays: dict[str, NDArray[np.generic]], message: str
) -> None:
    np.savez(tmp_path / "bad.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "bad.npz")


def test_a_compressed_archive_is_counted_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", kspace=np.zeros((8, 1000, 1000), np.complex64))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    with pytest.raises(ResourceError, match=r"the archive needs 0\.0596 GiB"):
        load(tmp_path / "bomb.npz", max_memory=2**20)


def test_describe_says_what_matters(tmp_path: Path) -> None:
    for name in _in_every_format(_scan(), tmp_path):
        facts = describe(tmp_path / name)
        json.dumps(facts, allow_nan=False)
        assert facts["matrix"] == [3, 13, 24]
        assert facts["coils"] == 2
        assert facts["calibration_region"] == [5, 24]
        assert facts["acceleration"] == pytest.approx(13 / 9)
    facts = describe(tmp_path / "scan_ismrmrd.h5")
    assert facts["image_matrix"] == [3, 11, 12]
    assert facts["field_of_view_mm"] == pytest.approx([15.0, 16.5, 15.0])
    assert facts["geometry"]["is_nominal"] is False
    assert facts["acquisitions"] == 27


def test_describe_of_a_scan_beyond_the_budget_tells_what_the_headers_say(tmp_path: Path) -> None:
    ismrmrd.write(_scan(ny=64, nx=64, n_slices=2), tmp_path / "scan.h5")
    facts = describe(tmp_path / "scan.h5", max_memory=110_000)
    assert facts["counters"] == {"slice": [0, 1]}
    assert "raise max_memory" in facts["notes"][0]


@pytest.mark.parametrize(
    ("box", "wanted"),
    [((slice(2, 9), slice(3, 8)), (7, 5)), ((slice(5, 6), slice(0, 12)), (1, 12))],
)
def test_the_calibration_box_is_found(box: tuple[slice, slice], wanted: tuple[int, int]) -> None:
    mask = np.zeros((1, 11, 12), dtype=bool)
    mask[0][box] = True
    assert calibration_shape(mask) == wanted
    mask[0, 5, 6] = False
    assert calibration_shape(mask) == (0, 0)
