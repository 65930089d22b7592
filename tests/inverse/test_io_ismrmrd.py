"""Our reader against files written by the independent `ismrmrd` package, and the other way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inverse.errors import DataError, ResourceError, UsageError
from inverse.grid import Grid
from inverse.io import ismrmrd as ours
from inverse.io import load
from inverse.mri.kspace import KSpace

_N_COILS = 3
_FRAME = Rotation.from_euler("xyz", [20.0, -35.0, 50.0], degrees=True).as_matrix()


@dataclass
class _Line:
    samples: NDArray[np.complex64]
    flags: Sequence[int] = ()
    head: dict[str, object] = field(default_factory=dict)
    idx: dict[str, int] = field(default_factory=dict)


def _header(
    matrix: tuple[int, int, int],
    recon: tuple[int, int, int],
    spacing: tuple[float, float, float],
    **options: object,
) -> str:
    """XML with triples in x, y, z order, as the standard has them."""

    def space(sizes: tuple[int, int, int]) -> str:
        matrix = "".join(f"<{a}>{n}</{a}>" for a, n in zip("xyz", sizes, strict=True))
        fov = "".join(f"<{a}>{n * d}</{a}>" for a, n, d in zip("xyz", sizes, spacing, strict=True))
        return f"<matrixSize>{matrix}</matrixSize><fieldOfView_mm>{fov}</fieldOfView_mm>"

    limits = "".join(
        f"<kspace_encoding_step_{i}><minimum>0</minimum><maximum>99</maximum>"
        f"<center>{options[name]}</center></kspace_encoding_step_{i}>"
        for i, name in ((1, "centre_y"), (2, "centre_z"))
        if name in options
    )
    encoding = (
        f"<encoding><encodedSpace>{space(matrix)}</encodedSpace>"
        f"<reconSpace>{space(recon)}</reconSpace><encodingLimits>{limits}</encodingLimits>"
        f"<trajectory>{options.get('trajectory', 'cartesian')}</trajectory>"
        f"{options.get('parallel', '')}</encoding>"
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"{options.get('system', '')}"
        "<experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz>"
        f"</experimentalConditions>{encoding * int(options.get('encodings', 1))}"
        "<sequenceParameters><TR>500</TR><TE>12.5</TE><TI>100</TI>"
        "<flipAngle_deg>70</flipAngle_deg></sequenceParameters></ismrmrdHeader>"
    )


def _write(path: Path, xml: str, lines: Sequence[_Line]) -> Path:
    with ismrmrd.Dataset(str(path), mode="w") as file:
        file.write_xml_header(xml.encode())
        for line in lines:
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(line.samples))
            for flag in line.flags:
                acquisition.set_flag(flag)
            for name, value in line.head.items():
                setattr(acquisition, name, value)
            for name, value in line.idx.items():
                setattr(acquisition.idx, name, value)
            file.append_acquisition(acquisition)
    return path


def _random(rng: np.random.Generator, *shape: int) -> NDArray[np.complex64]:
    parts = rng.standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def _plane(rng: np.random.Generator, ny: int, nx: int) -> tuple[NDArray[np.complex64], list[_Line]]:
    samples = _random(rng, _N_COILS, ny, nx)
    lines = [
        _Line(samples[:, y], head={"center_sample": nx // 2}, idx={"kspace_encode_step_1": y})
        for y in range(ny)
    ]
    return samples, lines


def test_the_peer_s_file_with_everything_at_once(tmp_path: Path) -> None:
    """Noise, oversampling, partial Fourier, reversed lines, three shuffled slices, oblique."""
    rng = np.random.default_rng(1)
    nx, ny, acquired, centre = 24, 15, 11, 4  # lines 0..10, the fourth passes k = 0
    spacing = (1.25, 1.5, 4.0)
    truth = np.zeros((3, _N_COILS, ny, nx), dtype=np.complex64)
    base = np.array([11.0, -23.0, 37.0])
    noise = _random(rng, _N_COILS, 64)
    lines = [
        _Line(noise, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT], {"sample_time_us": 2.5}),
        _Line(_random(rng, _N_COILS, 7), [ismrmrd.ACQ_IS_NAVIGATION_DATA]),
    ]
    for counter, place in ((0, 1), (1, 2), (2, 0)):  # counter in the file, place in space
        position = base + 5.0 * (place - 1) * _FRAME[:, 2]
        for e in range(acquired):
            samples = _random(rng, _N_COILS, nx)
            truth[place, :, ny // 2 + e - centre] = samples
            is_reversed = e % 2 == 1
            lines.append(
                _Line(
                    samples[:, ::-1] if is_reversed else samples,
                    [ismrmrd.ACQ_IS_REVERSE] if is_reversed else [],
                    {
                        "center_sample": nx // 2,
                        "sample_time_us": 10.0,
                        "position": tuple(position),
                        "read_dir": tuple(_FRAME[:, 0]),
                        "phase_dir": tuple(_FRAME[:, 1]),
                        "slice_dir": tuple(_FRAME[:, 2]),
                    },
                    {"kspace_encode_step_1": e, "slice": counter},
                )
            )
    xml = _header((nx, ny, 1), (nx // 2, ny, 1), spacing, centre_y=centre)
    kspace = load(_write(tmp_path / "all.h5", xml, lines))

    np.testing.assert_array_equal(kspace.samples, truth)
    np.testing.assert_array_equal(kspace.mask[0], (truth != 0).any(axis=(0, 1)))
    assert kspace.mask.shape == (1, ny, nx)
    assert kspace.recon_shape == (3, ny, nx // 2)
    np.testing.assert_allclose(kspace.grid.spacing_mm, (5.0, 1.5, 1.25), atol=1e-5)
    assert kspace.grid.slice_thickness_mm == pytest.approx(4.0)
    np.testing.assert_allclose(kspace.grid.directions, _FRAME, atol=1e-6)
    # First voxel of slice 2 by the formula of the standard: centre minus n//2 steps.
    wanted = base + 5.0 * _FRAME[:, 2] - 12 * 1.25 * _FRAME[:, 0] - 7 * 1.5 * _FRAME[:, 1]
    np.testing.assert_allclose(kspace.grid.position_mm((2, 0, 0)), wanted, atol=1e-4)
    # A dwell time four times as long has a quarter of the noise variance.
    np.testing.assert_allclose(kspace.noise, noise * 0.5, rtol=1e-6)
    assert kspace.acquisition["echo_time_ms"] == 12.5
    assert kspace.acquisition["field_t"] == pytest.approx(2.8935, abs=1e-4)
    notes = " ".join(str(note) for note in kspace.origin["notes"])
    assert "ACQ_IS_NAVIGATION_DATA" in notes
    assert "oversampling 2" in notes
    assert kspace.origin["flags"]["ACQ_IS_REVERSE"] == 15


@pytest.mark.parametrize(("nz", "ny", "nx"), [(4, 6, 8), (5, 7, 9)])
def test_a_volume_with_partial_fourier_along_both_phase_encodes(
    tmp_path: Path, nz: int, ny: int, nx: int
) -> None:
    rng = np.random.default_rng(2)
    truth = np.zeros((1, _N_COILS, nz, ny, nx), dtype=np.complex64)
    lines = []
    for e2 in range(nz - 1):
        for e1 in range(ny - 2):
            samples = _random(rng, _N_COILS, nx)
            truth[0, :, nz // 2 + e2 - 1, ny // 2 + e1 - 1] = samples
            head = {"center_sample": nx // 2, "read_dir": (1.0, 0.0, 0.0)}
            head |= {"phase_dir": (0.0, 1.0, 0.0), "slice_dir": (0.0, 0.0, 1.0)}
            idx = {"kspace_encode_step_1": e1, "kspace_encode_step_2": e2}
            lines.append(_Line(samples, head=head, idx=idx))
    xml = _header((nx, ny, nz), (nx, ny, nz), (1.0, 1.0, 2.0), centre_y=1, centre_z=1)
    kspace = load(_write(tmp_path / "volume.h5", xml, lines))
    assert kspace.is_3d
    np.testing.assert_array_equal(kspace.samples, truth)
    assert kspace.grid.shape == (nz, ny, nx)
    assert kspace.grid.spacing_mm == (2.0, 1.0, 1.0)


def test_asymmetric_echo_and_discarded_samples_leave_zeros(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    nx = 16
    samples = _random(rng, _N_COILS, 11)  # sample 3 is the echo
    head = {"center_sample": 3, "discard_pre": 1, "discard_post": 2}
    lines = [_Line(samples, head=head, idx={"kspace_encode_step_1": y}) for y in range(4)]
    kspace = load(_write(tmp_path / "a.h5", _header((nx, 4, 1), (nx, 4, 1), (1, 1, 1)), lines))
    wanted = np.zeros((_N_COILS, nx), dtype=np.complex64)
    wanted[:, 8 - 3 + 1 : 8 - 3 + 9] = samples[:, 1:9]
    np.testing.assert_array_equal(kspace.samples[0, :, 2], wanted)
    np.testing.assert_array_equal(kspace.mask[0, 2], wanted.any(axis=0))


def test_a_header_that_still_has_the_oversampling_that_is_gone(tmp_path: Path) -> None:
    samples, lines = _plane(np.random.default_rng(4), 6, 8)
    kspace = load(_write(tmp_path / "o.h5", _header((16, 6, 1), (8, 6, 1), (1, 1, 1)), lines))
    np.testing.assert_array_equal(kspace.samples[0], samples)
    assert kspace.grid.shape == (1, 6, 8)
    assert kspace.grid.spacing_mm == (1.0, 1.0, 1.0)


def test_averages_are_averaged_and_their_noise_is_lower(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    first, second = _random(rng, 2, _N_COILS, 6, 8)
    noise = _random(rng, _N_COILS, 32)
    lines = [_Line(noise, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT])]
    for average, samples in enumerate((first, second)):
        lines += [
            _Line(
                samples[:, y],
                head={"center_sample": 4},
                idx={"kspace_encode_step_1": y, "average": average},
            )
            for y in range(6)
        ]
    path = _write(tmp_path / "avg.h5", _header((8, 6, 1), (8, 6, 1), (1, 1, 1)), lines)
    kspace = load(path)
    np.testing.assert_allclose(kspace.samples[0], (first + second) / 2, atol=1e-6)
    np.testing.assert_allclose(kspace.noise, noise / np.sqrt(2), atol=1e-6)
    assert not any("Noise varies" in warning for warning in kspace.warnings)
    alone = load(path, select={"average": 1})
    np.testing.assert_array_equal(alone.samples[0], second)
    np.testing.assert_allclose(alone.noise, noise, atol=1e-6)


def test_lines_averaged_unequally_are_warned_of_with_the_true_noise(tmp_path: Path) -> None:
    """Two of six lines four times: their noise and the others' measured against the level used."""
    rng = np.random.default_rng(6)
    nx = 4096
    lines = [_Line(_random(rng, _N_COILS, nx), [ismrmrd.ACQ_IS_NOISE_MEASUREMENT])]
    lines += [
        _Line(
            _random(rng, _N_COILS, nx),
            head={"center_sample": nx // 2},
            idx={"kspace_encode_step_1": y, "average": average},
        )
        for y in range(6)
        for average in range(4 if y in {2, 3} else 1)
    ]
    path = _write(tmp_path / "avg.h5", _header((nx, 6, 1), (nx, 6, 1), (1, 1, 1)), lines)
    kspace = load(path)
    level = np.std(kspace.noise)
    centre, outside = (np.std(kspace.samples[0][:, rows]) / level for rows in ([2, 3], [0, 5]))
    [warning] = [text for text in kspace.warnings if text.startswith("Noise varies over k-space")]
    assert "averaged unequally, 1 to 4 times" in warning
    low, high = (float(text) for text in re.findall(r"\d\.\d\d", warning))
    np.testing.assert_allclose([low, high], [centre, outside], rtol=0.02)
    assert warning in kspace.origin["notes"]


@pytest.mark.parametrize("counter", ["contrast", "phase", "repetition", "set"])
def test_several_images_need_a_choice(tmp_path: Path, counter: str) -> None:
    rng = np.random.default_rng(6)
    planes, lines = [], []
    for value in (0, 3):
        samples, plane = _plane(rng, 6, 8)
        planes.append(samples)
        lines += [_Line(line.samples, idx={**line.idx, counter: value}) for line in plane]
    path = _write(tmp_path / "many.h5", _header((8, 6, 1), (8, 6, 1), (1, 1, 1)), lines)
    with pytest.raises(DataError, match=f"expected one {counter}, got 2 \\(0 to 3\\)"):
        load(path)
    np.testing.assert_array_equal(load(path, select={counter: 3}).samples[0], planes[1])
    with pytest.raises(UsageError, match=f"there is no {counter} 1"):
        load(path, select={counter: 1})
    with pytest.raises(UsageError, match=f"did you mean '{counter}'"):
        load(path, select={counter[:-1]: 1})


def test_segments_are_joined_when_they_share_no_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    samples, lines = _plane(rng, 6, 8)
    for line in lines:
        line.idx["segment"] = line.idx["kspace_encode_step_1"] % 2
    xml = _header((8, 6, 1), (8, 6, 1), (1, 1, 1))
    np.testing.assert_array_equal(load(_write(tmp_path / "s.h5", xml, lines)).samples[0], samples)
    twice = [_Line(line.samples, idx={**line.idx, "segment": 5}) for line in lines]
    path = _write(tmp_path / "t.h5", xml, [*lines, *twice])
    with pytest.raises(DataError, match="expected one segment, got 3"):
        load(path)


def test_a_selected_slice_keeps_its_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    lines = []
    for number in range(3):
        _, plane = _plane(rng, 6, 8)
        for line in plane:
            line.idx["slice"] = number
            line.head |= {"position": (0.0, 0.0, 10.0 * number), "read_dir": (1.0, 0.0, 0.0)}
            line.head |= {"phase_dir": (0.0, 1.0, 0.0), "slice_dir": (0.0, 0.0, 1.0)}
        lines += plane
    path = _write(tmp_path / "s.h5", _header((8, 6, 1), (8, 6, 1), (1, 1, 3)), lines)
    all_slices, one = load(path), load(path, select={"slice": 2})
    np.testing.assert_array_equal(one.samples[0], all_slices.samples[2])
    np.testing.assert_allclose(
        one.grid.position_mm((0, 0, 0)), all_slices.grid.position_mm((2, 0, 0))
    )


@pytest.mark.parametrize(
    ("parallel", "is_used"),
    [
        ("", True),
        ("<parallelImaging><calibrationMode>embedded</calibrationMode></parallelImaging>", True),
        ("<parallelImaging><calibrationMode>separate</calibrationMode></parallelImaging>", False),
    ],
)
def test_calibration_lines_join_only_when_embedded(
    tmp_path: Path, parallel: str, is_used: bool
) -> None:
    samples, lines = _plane(np.random.default_rng(9), 8, 8)
    for y, line in enumerate(lines):
        if y % 2:
            line.flags = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
        elif y == 4:
            line.flags = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING]
    other = _Line(lines[2].samples * 7, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION], idx=lines[2].idx)
    xml = _header((8, 8, 1), (8, 8, 1), (1, 1, 1), parallel=parallel)
    kspace = load(_write(tmp_path / "c.h5", xml, [*lines, other]))
    wanted = samples.copy()
    if not is_used:
        wanted[:, 1::2] = 0
    np.testing.assert_array_equal(kspace.samples[0], wanted)


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        (ismrmrd.ACQ_COMPRESSION1, "ACQ_COMPRESSION1"),
        (ismrmrd.ACQ_COMPRESSION4, "ACQ_COMPRESSION4"),
        (40, "number 40"),
    ],
)
def test_an_unsupported_flag_is_named(tmp_path: Path, flag: int, name: str) -> None:
    _, lines = _plane(np.random.default_rng(10), 4, 4)
    lines[1].flags = [flag]
    path = _write(tmp_path / "f.h5", _header((4, 4, 1), (4, 4, 1), (1, 1, 1)), lines)
    with pytest.raises(DataError, match=f"1 acquisitions carry the unsupported flag {name}"):
        load(path)


@pytest.mark.parametrize(
    "name",
    [
        "ACQ_IS_NAVIGATION_DATA", "ACQ_IS_PHASECORR_DATA", "ACQ_IS_HPFEEDBACK_DATA",
        "ACQ_IS_DUMMYSCAN_DATA", "ACQ_IS_RTFEEDBACK_DATA",
        "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA", "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
        "ACQ_IS_PHASE_STABILIZATION",
    ],
)  # fmt: skip
def test_lines_that_are_no_image_are_left_out_and_named(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(11)
    samples, lines = _plane(rng, 4, 4)
    lines.insert(2, _Line(_random(rng, 1, 9), [getattr(ismrmrd, name)]))
    path = _write(tmp_path / "f.h5", _header((4, 4, 1), (4, 4, 1), (1, 1, 1)), lines)
    kspace = load(path)
    np.testing.assert_array_equal(kspace.samples[0], samples)
    assert f"left out 1 acquisitions flagged {name}" in kspace.origin["notes"]


@pytest.mark.parametrize("name", ["radial", "spiral", "epi", "goldenangle"])
def test_a_trajectory_that_is_not_cartesian_is_named(tmp_path: Path, name: str) -> None:
    _, lines = _plane(np.random.default_rng(12), 4, 4)
    xml = _header((4, 4, 1), (4, 4, 1), (1, 1, 1), trajectory=name)
    with pytest.raises(DataError, match=f"trajectory '{name}' is not supported"):
        load(_write(tmp_path / "t.h5", xml, lines))


def test_several_encodings_need_a_choice(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    first, lines = _plane(rng, 4, 4)
    _, more = _plane(rng, 4, 4)
    for line in more:
        line.head["encoding_space_ref"] = 1
    xml = _header((4, 4, 1), (4, 4, 1), (1, 1, 1), encodings=2)
    path = _write(tmp_path / "e.h5", xml, [*lines, *more])
    with pytest.raises(DataError, match="expected one encoding, got 2"):
        load(path)
    np.testing.assert_array_equal(load(path, select={"encoding": 0}).samples[0], first)


def _change(**head: object) -> Callable[[list[_Line]], None]:
    def change(lines: list[_Line]) -> None:
        lines[1].head |= head

    return change


def _move_out(lines: list[_Line]) -> None:
    lines[1].idx["kspace_encode_step_1"] = 4


def _not_a_number(lines: list[_Line]) -> None:
    lines[1].samples[0, 0] = np.nan


def _fewer_channels(lines: list[_Line]) -> None:
    lines[1].samples = lines[1].samples[:1]


def _all_noise(lines: list[_Line]) -> None:
    for line in lines:
        line.flags = [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]


def _too_short(lines: list[_Line]) -> None:
    lines[1].samples = lines[1].samples[:, :2]
    lines[1].head["center_sample"] = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_move_out, "kspace_encode_step_1 from 0 to 4 .* does not fit into a matrix of 4"),
        (_not_a_number, "1 samples that are NaN or infinite"),
        (_fewer_channels, "active_channels changes"),
        (_all_noise, "no acquisition is an imaging line"),
        (_too_short, "do not fit into a readout of 4"),
        (_change(encoding_space_ref=3), "expected one encoding"),
        (_change(read_dir=(np.inf, 0.0, 0.0)), "directions that are not finite"),
        (_change(read_dir=(0.0, 1.0, 0.0)), "orientation changes"),
        (_change(discard_pre=4), "do not fit into a readout of 4"),
    ],
)
def test_a_damaged_scan_is_refused(
    tmp_path: Path, change: Callable[[list[_Line]], None], message: str
) -> None:
    _, lines = _plane(np.random.default_rng(14), 4, 4)
    change(lines)
    path = _write(tmp_path / "d.h5", _header((4, 4, 1), (4, 4, 1), (1, 1, 1)), lines)
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0.0, 5.0, 13.0], "slice distances vary from 5.000 to 8.000 mm"),
        ([0.0, 5.0, 5.0], "not stacked along slice_dir"),
    ],
)
def test_uneven_slices_are_refused(tmp_path: Path, positions: list[float], message: str) -> None:
    rng = np.random.default_rng(15)
    lines = []
    for number, z in enumerate(positions):
        _, plane = _plane(rng, 4, 4)
        for line in plane:
            line.idx["slice"] = number
            line.head |= {"position": (0.0, 0.0, z), "read_dir": (1.0, 0.0, 0.0)}
            line.head |= {"phase_dir": (0.0, 1.0, 0.0), "slice_dir": (0.0, 0.0, 1.0)}
        lines += plane
    path = _write(tmp_path / "u.h5", _header((4, 4, 1), (4, 4, 1), (1, 1, 1)), lines)
    with pytest.raises(DataError, match=message):
        load(path)


def test_siemens_directions_are_turned_about_the_centre(tmp_path: Path) -> None:
    """Their images are formed with exp(-2 pi i k x): ours are the mirror, at the same place."""
    rng = np.random.default_rng(16)
    samples, lines = _plane(rng, 6, 8)
    for line in lines:
        line.head |= {"position": (1.0, 2.0, 3.0), "read_dir": tuple(_FRAME[:, 0])}
        line.head |= {"phase_dir": tuple(_FRAME[:, 1]), "slice_dir": tuple(_FRAME[:, 2])}
    system = (
        "<acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor>"
        "</acquisitionSystemInformation>"
    )
    xml = _header((8, 6, 1), (8, 6, 1), (1, 1, 1), system=system)
    kspace = load(_write(tmp_path / "s.h5", xml, lines))
    np.testing.assert_array_equal(kspace.samples[0], samples)
    plain = Grid(
        (1, 6, 8), (1.0, 1.0, 1.0), (1.0, 2.0, 3.0), *(tuple(c) for c in _FRAME.T.tolist())
    )
    # A forward transform of the samples, laid on the plain grid, is what the vendor shows.
    axes = (-2, -1)
    vendor = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(samples, axes), norm="ortho"), axes)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(samples, axes), norm="ortho"), axes)
    for y in range(1, 6):
        for x in range(1, 8):
            position = kspace.grid.position_mm((0, y, x))
            there = (2 * 3 - y, 2 * 4 - x)
            np.testing.assert_allclose(position, plain.position_mm((0, *there)), atol=1e-5)
            np.testing.assert_allclose(image[:, y, x], vendor[:, there[0], there[1]], atol=1e-5)


def test_no_directions_make_a_nominal_grid(tmp_path: Path) -> None:
    _, lines = _plane(np.random.default_rng(17), 4, 4)
    path = _write(tmp_path / "n.h5", _header((4, 4, 1), (4, 4, 1), (2, 3, 4)), lines)
    kspace = load(path)
    assert kspace.grid.is_nominal
    assert kspace.grid.spacing_mm == (4.0, 3.0, 2.0)
    assert any("geometry is nominal" in str(note) for note in kspace.origin["notes"])
    assert any(warning.startswith("Geometry is assumed: ") for warning in kspace.warnings)


def _kspace(rng: np.random.Generator, *, is_3d: bool, is_pointwise: bool = False) -> KSpace:
    shape = (1, _N_COILS, 5, 6, 8) if is_3d else (3, _N_COILS, 6, 8)
    samples = _random(rng, *shape)
    mask = np.zeros((1, *shape[2:]), dtype=bool)
    mask[..., ::2, :] = True
    if is_pointwise:
        samples, mask = samples[:1], rng.random((1, *shape[2:])) < 0.5
    samples = np.where(mask[:, None], samples, np.complex64(0))
    n_slices = samples.shape[2] if is_3d else len(samples)
    x, y, z = (tuple(column) for column in _FRAME.T.tolist())
    return KSpace(
        samples=samples,
        mask=mask,
        grid=Grid((n_slices, 6, 8), (4.0, 1.5, 1.25), (10.0, -20.0, 30.0), x, y, z),
        recon_shape=(n_slices, 6, 4),
        noise=_random(rng, _N_COILS, 70000),
        acquisition={"echo_time_ms": 12.5, "field_t": 1.5, "dwell_time_us": 5.0},
    )


@pytest.mark.parametrize(("is_3d", "is_pointwise"), [(False, False), (True, False), (False, True)])
def test_what_we_write_we_read(tmp_path: Path, is_3d: bool, is_pointwise: bool) -> None:
    kspace = _kspace(np.random.default_rng(18), is_3d=is_3d, is_pointwise=is_pointwise)
    ours.write(kspace, tmp_path / "k.h5")
    again = load(tmp_path / "k.h5")
    np.testing.assert_array_equal(again.samples, kspace.samples)
    np.testing.assert_array_equal(again.mask, kspace.mask)
    np.testing.assert_array_equal(again.noise, kspace.noise)
    np.testing.assert_allclose(again.grid.affine, kspace.grid.affine, atol=1e-4)
    assert again.recon_shape == kspace.recon_shape
    assert again.acquisition == pytest.approx(kspace.acquisition)


@pytest.mark.parametrize("is_3d", [False, True])
def test_the_peer_reads_what_we_write(tmp_path: Path, is_3d: bool) -> None:
    kspace = _kspace(np.random.default_rng(19), is_3d=is_3d)
    ours.write(kspace, tmp_path / "k.h5")
    with ismrmrd.Dataset(str(tmp_path / "k.h5"), mode="r") as file:
        header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        encoded = header.encoding[0].encodedSpace.matrixSize
        assert (encoded.x, encoded.y, encoded.z) == (8, 6, 5 if is_3d else 1)
        assert header.encoding[0].reconSpace.matrixSize.x == 4
        assert header.sequenceParameters.TE == [12.5]
        assert header.acquisitionSystemInformation.receiverChannels == _N_COILS
        read = np.zeros_like(kspace.samples)
        n_noise = 0
        for row in range(file.number_of_acquisitions()):
            line = file.read_acquisition(row)
            if line.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT):
                n_noise += line.number_of_samples
                continue
            y, z, s = line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2, line.idx.slice
            read[(s, slice(None), z, y) if is_3d else (s, slice(None), y)] = line.data
            assert line.center_sample == 4
            np.testing.assert_allclose(
                line.position[:],
                kspace.grid.position_mm((2 if is_3d else s, 3, 4)),
                atol=1e-4,
            )
    np.testing.assert_array_equal(read, kspace.samples)
    assert n_noise == 70000


def test_isolated_points_of_a_volume_are_refused(tmp_path: Path) -> None:
    kspace = _kspace(np.random.default_rng(20), is_3d=True, is_pointwise=True)
    with pytest.raises(DataError, match="write npz instead"):
        ours.write(kspace, tmp_path / "k.h5")
    assert not list(tmp_path.iterdir())


def test_a_scan_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    _, lines = _plane(np.random.default_rng(21), 64, 64)
    path = _write(tmp_path / "b.h5", _header((64, 64, 1), (64, 64, 1), (1, 1, 1)), lines)
    with pytest.raises(ResourceError, match="raise max_memory"):
        load(path, max_memory=50_000)
    with pytest.raises(UsageError, match="max_memory expected a positive"):
        load(path, max_memory=0)


def test_a_header_of_another_scan_is_refused(tmp_path: Path) -> None:
    _, lines = _plane(np.random.default_rng(22), 4, 4)
    path = _write(tmp_path / "h.h5", _header((4, 60000, 1), (4, 4, 1), (1, 1, 1)), lines)
    with pytest.raises(DataError, match="the header does not belong to them"):
        load(path)
