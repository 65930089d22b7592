from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from inverse.errors import DataError, UsageError
from inverse.training import ImageSet, hold_out, read_images


def pictures(n: int, side: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, (n, side, side)).astype(np.float32)


def holes() -> np.ndarray:
    """Complex images of which two values are not finite."""
    stack = pictures(3).astype(np.complex64)
    stack[1, 3, 7], stack[2, 0, 0] = np.nan, 1j * np.inf
    return stack


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_peak_divides_by_the_999th_permille_of_the_magnitude(tmp_path: Path) -> None:
    image = pictures(1)[0] * np.exp(1j * np.linspace(0, 3, 20))
    np.save(tmp_path / "a.npy", image)
    found = read_images([str(tmp_path / "a.npy")], "peak").images[0]
    ordered = np.sort(np.abs(image).ravel())
    place = 0.999 * (ordered.size - 1)
    low = int(place)
    top = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    np.testing.assert_allclose(found, np.abs(image) / top, rtol=1e-5)


def test_hounsfield_becomes_attenuation_relative_to_water(tmp_path: Path) -> None:
    image = np.full((16, 16), 0, np.int16)
    image[0], image[1, :8], image[2] = -1000, -2000, 1000
    np.save(tmp_path / "ct.npy", image)
    found = read_images([str(tmp_path / "ct.npy")], "hu", keep_borders=True).images[0]
    assert found[5, 5] == 1
    assert (found[0] == 0).all()
    assert (found[1, :8] == 0).all()
    assert (found[2] == 2).all()


def test_constant_borders_are_cut_unless_kept(tmp_path: Path) -> None:
    framed = np.full((1, 40, 50), 7, np.float32)
    framed[0, 4:24, 10:30] = pictures(1)[0]
    np.save(tmp_path / "a.npy", framed)
    name = str(tmp_path / "a.npy")
    cut, kept = read_images([name], "none"), read_images([name], "none", keep_borders=True)
    np.testing.assert_array_equal(cut.images[0], framed[0, 4:24, 10:30])
    np.testing.assert_array_equal(kept.images[0], framed[0])
    assert cut.fingerprint != kept.fingerprint


def test_every_format_gives_the_same_slices(tmp_path: Path) -> None:
    import nibabel

    stack = np.random.default_rng(3).integers(0, 255, (3, 18, 20)).astype(np.uint8)
    np.save(tmp_path / "a.npy", stack)
    np.savez(tmp_path / "a.npz", images=stack, other=stack[:, :2])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train"] = stack
        file["label"] = np.zeros(3)
    nibabel.save(nibabel.Nifti1Image(stack.T, np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(stack):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    for name in ("a.npy", "a.npz:images", "a.h5", "a.h5:train", "a.nii.gz", "folder"):
        found = read_images([str(tmp_path / name)], "none")
        assert len(found.images) == 3
        for image, expected in zip(found.images, stack, strict=True):
            np.testing.assert_array_equal(image, expected)


def test_the_fingerprint_names_the_bytes_of_every_file_in_order(tmp_path: Path) -> None:
    # Written out, because runs in progress are resumed by it.
    archive = save(tmp_path / "a.npz", hu=pictures(2))
    np.save(tmp_path / "b.npy", pictures(1))
    digests = [hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in ("a.npz", "b.npy")]
    found = read_images([f"{archive}:hu", str(tmp_path / "b.npy")], "peak")
    text = f"peak\na.npz:hu {digests[0]}\nb.npy {digests[1]}"
    assert found.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert found.sources == {"a.npz:hu": digests[0], "b.npy": digests[1]}
    assert hold_out(found)[0].fingerprint != found.fingerprint


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    names = []
    for number, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", pictures(1, seed=number))
        names.append(str(tmp_path / folder / "x.npy"))
    found = read_images(names, "none")
    digests = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names]
    assert found.sources == {"x.npy": digests[0], "x.npy (2)": digests[1]}


def test_an_image_of_few_bright_pixels_has_a_peak_of_one_too(tmp_path: Path) -> None:
    stars = np.zeros((64, 64), np.float32)
    stars[3, 5], stars[40, 60] = 200, 100
    np.save(tmp_path / "a.npy", stars)
    found = read_images([str(tmp_path / "a.npy")], "peak", keep_borders=True).images[0]
    assert (found[3, 5], found[40, 60], found.sum()) == (1.0, 0.5, 1.5)


def test_pictures_of_every_kind_give_their_grey_values(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (3, 18, 20)).astype(np.uint8)
    deep = (grey.astype(np.uint16) << 8) + 3
    # A palette in reversed order: the stored index of grey level g is 255 - g.
    palette = Image.fromarray(255 - grey[0], "P")
    palette.putpalette([level for index in range(256) for level in (255 - index,) * 3])
    kinds = {
        "palette.png": (palette, grey[:1]),
        "deep.png": (Image.fromarray(deep[0]), deep[:1]),
        "real.tif": (Image.fromarray(grey[0] / np.float32(7)), grey[:1] / np.float32(7)),
        "colour.png": (Image.fromarray(np.stack([grey[0]] * 3, -1)), grey[:1]),
    }
    for name, (picture, expected) in kinds.items():
        picture.save(tmp_path / name)
        found = read_images([str(tmp_path / name)], "none").images
        np.testing.assert_array_equal(np.stack(found), expected, err_msg=name)
    first, *rest = map(Image.fromarray, grey)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=rest)
    found = read_images([str(tmp_path / "pages.tif")], "none").images
    np.testing.assert_array_equal(np.stack(found), grey)


def test_root_mean_square_is_over_pixels() -> None:
    images = (np.full((2, 2), 3, np.float32), np.full((4, 4), 1, np.float32))
    assert ImageSet(images, {}, "none").root_mean_square == pytest.approx(np.sqrt(52 / 20))


def test_whole_patients_are_held_out(tmp_path: Path) -> None:
    stack = pictures(30)
    patients = np.repeat([f"P{n}" for n in range(10)], 3)
    archive = save(tmp_path / "a.npz", hu=stack, patient=patients)
    images = read_images([f"{archive}:hu"], "none")
    training, validation = hold_out(images, share=0.2)
    assert set(training.subjects) & set(validation.subjects) == set()
    assert len(set(validation.subjects)) == 2
    assert len(training.images) + len(validation.images) == 30
    whose = {image.tobytes(): patient for image, patient in zip(stack, patients, strict=True)}
    held = {whose[image.tobytes()] for image in validation.images}
    trained = {whose[image.tobytes()] for image in training.images}
    assert len(held) == 2
    assert not held & trained
    assert "2 of 10 subjects, 6 of 30 images" in validation.note
    assert "unknown" not in validation.note
    assert not any(patient in validation.note + training.note for patient in held | trained)


def test_patients_of_an_hdf5_file_are_known_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train"] = pictures(6)
        file["train_subject"] = [4, 4, 4, 9, 9, 9]
    found = read_images([f"{tmp_path / 'a.h5'}:train"], "none")
    assert len(set(found.subjects)) == 2
    assert found.subjects[:3] == (found.subjects[0],) * 3


def test_without_patients_files_are_held_out_whole(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", pictures(4, seed=number))
        names.append(str(tmp_path / f"{number}.npy"))
    training, validation = hold_out(read_images(names, "none"))
    assert len(validation.images) == 4
    np.testing.assert_array_equal(np.stack(validation.images), pictures(4, seed=1))
    assert len(training.images) == 8
    assert validation.note == (
        "held out: 1 of 3 files, 4 of 12 images; subjects unknown, neighbouring slices may be in "
        "both"
    )


def test_files_with_and_without_subjects_say_both(tmp_path: Path) -> None:
    archive = save(tmp_path / "a.npz", hu=pictures(4), patient=np.array(["A", "A", "B", "B"]))
    np.save(tmp_path / "b.npy", pictures(2, seed=1))
    _, validation = hold_out(read_images([f"{archive}:hu", str(tmp_path / "b.npy")], "none"))
    assert "1 of 3 subjects or files" in validation.note
    assert "where files do not name them" in validation.note


def test_images_that_are_not_taken_are_named(tmp_path: Path) -> None:
    stack = pictures(3)
    stack[1] = 7
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "tiny.npy", pictures(1, 9))
    found = read_images([str(tmp_path / name) for name in ("stack.npy", "tiny.npy")], "none")
    assert len(found.images) == 2
    assert found.left_out == (
        "stack.npy[1] (one value)",
        "tiny.npy (9x9 pixels, 16x16 are needed)",
    )
    assert hold_out(found)[0].left_out == found.left_out


def test_of_one_volume_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    stack = pictures(20)
    np.save(tmp_path / "a.npy", stack)
    training, validation = hold_out(read_images([str(tmp_path / "a.npy")], "none"))
    np.testing.assert_array_equal(np.stack(validation.images), stack[18:])
    np.testing.assert_array_equal(np.stack(training.images), stack[:18])
    assert "the last 2 of 20 images" in validation.note


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="one image cannot be split"):
        hold_out(ImageSet((pictures(1)[0],), {}, "none"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((20, 20), np.nan), r"400 values are NaN .* \[image, y, x\] = \(0, 0, 0\)"),
        (holes(), r"2 values are NaN or infinite, the first at \[image, y, x\] = \(1, 3, 7\)"),
        (np.zeros((2, 2, 20, 20)), r"shape \(image, y, x\) or \(y, x\), got shape \(2, 2, 20"),
        (np.zeros(20), r"shape \(image, y, x\) or \(y, x\), got shape \(20,\)"),
        (np.array([["a"] * 20] * 20), "images of numbers, got <U1; convert them"),
        (np.array([[{}] * 20] * 20), "Python objects"),
        (np.zeros((2, 20, 20)), "no image of at least 16x16"),
        (pictures(2, 8), "no image of at least 16x16"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_images([str(tmp_path / "a.npy")])


def test_wrong_names_are_refused_with_the_right_ones(tmp_path: Path) -> None:
    archive = save(tmp_path / "a.npz", one=pictures(1), two=pictures(1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train"] = file["val"] = pictures(1)
    for name in (f"{archive}:three", str(archive)):
        with pytest.raises(UsageError, match=r"a\.npz:NAME with one of one, two"):
            read_images([name])
    for name in ("a.h5:test", "a.h5"):
        with pytest.raises(UsageError, match=r"a\.h5:NAME with one of train, val"):
            read_images([str(tmp_path / name)])
    with pytest.raises(UsageError, match="scale expected one of peak, hu, none; got 'log'"):
        read_images([f"{archive}:one"], "log")


def test_missing_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.png").write_bytes(b"\x89PNG nonsense")
    (tmp_path / "a.h5").write_bytes(b"nonsense")
    for name, message in (
        ("none.npy", "no such file"),
        ("empty", "holds no picture"),
        ("a.txt", "expected HDF5"),
        ("a.png", "truncated or damaged"),
        ("a.h5", "truncated or damaged"),
    ):
        with pytest.raises(DataError, match=message):
            read_images([str(tmp_path / name)])
    np.save(tmp_path / "c.npy", pictures(1) * 1j)
    with pytest.raises(DataError, match="complex images expected --scale peak"):
        read_images([str(tmp_path / "c.npy")], "hu")


@pytest.mark.realdata
def test_real_ct_is_split_by_patient(real_mri: Path) -> None:
    archive = real_mri.parent / "ct" / "chest_val_256.npz"
    with np.load(archive) as file:
        n_patients = len(set(file["patient"].tolist()))
    images = read_images([f"{archive}:hu"], "hu")
    assert len(set(images.subjects)) == n_patients > 1
    assert 0.2 < images.root_mean_square < 1.2
    training, validation = hold_out(images)
    assert not set(training.subjects) & set(validation.subjects)
