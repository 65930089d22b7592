"""Damaged and hostile files: one `InverseError` each, quickly, and nothing of other files."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from inverse.errors import DataError, ResourceError
from inverse.grid import Grid
from inverse.io import bart, describe, fastmri, ismrmrd, load, npz, read_image
from inverse.io.variable_length import stored_elements
from inverse.mri.kspace import KSpace

_MARKER = b"JANE^DOE"


def _kspace() -> KSpace:
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 1, 2, 6, 8))
    return KSpace(
        samples=(parts[0] + 1j * parts[1]).astype(np.complex64),
        mask=np.ones((1, 6, 8), dtype=bool),
        grid=Grid((1, 6, 8), (4.0, 1.5, 1.25)),
        noise=np.ones((2, 5), dtype=np.complex64),
    )


def _write_cfl(path: Path) -> Path:
    bart.write(_kspace(), path)
    return path.with_suffix(".cfl")


def _write_hdr(path: Path) -> Path:
    bart.write(_kspace(), path)
    return path.with_suffix(".hdr")


def _writer(write: Callable[[KSpace, Path], None], name: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        target = path.with_suffix(name)
        write(_kspace(), target)
        return target

    return make


def _write_nifti(path: Path) -> Path:
    target = path.with_suffix(".nii")
    nibabel.Nifti1Image(np.ones((4, 5, 3), np.int16), np.eye(4)).to_filename(target)
    return target


def _write_nifti_gz(path: Path) -> Path:
    target = path.with_name("a.nii.gz")
    target.write_bytes(gzip.compress(_write_nifti(path).read_bytes()))
    return target


def _write_npy(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), np.ones((4, 5), np.float32))
    return path.with_suffix(".npy")


def _write_png(path: Path) -> Path:
    from PIL import Image

    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


_KSPACE_FILES = {
    "ismrmrd": _writer(ismrmrd.write, ".h5"),
    "fastmri": _writer(fastmri.write, ".h5"),
    "npz": _writer(npz.write, ".npz"),
    "cfl": _write_cfl,
    "hdr": _write_hdr,
}
_IMAGE_FILES = {
    "nii": _write_nifti,
    "nii.gz": _write_nifti_gz,
    "npy": _write_npy,
    "png": _write_png,
}
_ALL = [(name, make, load) for name, make in _KSPACE_FILES.items()]
_ALL += [(name, make, read_image) for name, make in _IMAGE_FILES.items()]


def _mutants(content: bytes, n: int, seed: int) -> list[bytes]:
    """Truncations, changed bytes, zeroed and repeated stretches, and large numbers."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(n):
        data = bytearray(content)
        at = int(rng.integers(len(data)))
        match index % 5:
            case 0:
                del data[at:]
            case 1:
                for _ in range(int(rng.integers(1, 9))):
                    data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
            case 2:
                stop = min(len(data), at + int(rng.integers(1, 64)))
                data[at:stop] = bytes(stop - at)
            case 3:
                data[at : at + 4] = b"\xff\xff\xff\x7f"
            case _:
                data[at:at] = data[max(0, at - 32) : at]
        found.append(bytes(data))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "make", "read"), _ALL, ids=[row[0] for row in _ALL])
def test_mutants_end_in_our_errors(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], Path],
    read: Callable[..., object],
) -> None:
    target = make(tmp_path / "a")
    refused = 0
    for number, mutant in enumerate(_mutants(target.read_bytes(), 300, seed=len(name))):
        target.write_bytes(mutant)
        try:
            read(target, max_memory=2**28)
        except (DataError, ResourceError) as error:
            refused += 1
            assert str(target.with_suffix("")) in str(error), number
    assert refused > 30


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", _KSPACE_FILES)
def test_describe_is_as_careful(tmp_path: Path, name: str) -> None:
    target = _KSPACE_FILES[name](tmp_path / "a")
    for mutant in _mutants(target.read_bytes(), 60, seed=99):
        target.write_bytes(mutant)
        try:
            describe(target, max_memory=2**28)
        except (DataError, ResourceError):
            continue


@pytest.mark.parametrize("name", [*_KSPACE_FILES, *_IMAGE_FILES])
@pytest.mark.parametrize("size", [0, 1, 7])
def test_stubs_are_refused(tmp_path: Path, name: str, size: int) -> None:
    target = {**_KSPACE_FILES, **_IMAGE_FILES}[name](tmp_path / "a")
    target.write_bytes(target.read_bytes()[:size])
    with pytest.raises(DataError, match=re.escape(str(target.with_suffix("")))):
        load(target)


def test_missing_and_odd_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load(tmp_path / "nothing.h5")
    with pytest.raises(DataError, match="expected a file, got a folder"):
        load(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(DataError, match="none of ISMRMRD, fastMRI, BART, npz"):
        load(tmp_path / "text.h5")


def test_the_ending_does_not_matter(tmp_path: Path) -> None:
    made = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    made.rename(tmp_path / "scan.npz")
    assert load(tmp_path / "scan.npz").origin["format"] == "ismrmrd"


def _secret(folder: Path) -> Path:
    path = folder / "secret.bin"
    path.write_bytes(np.ones(96, np.complex64).tobytes())
    return path


def test_hdf5_external_storage_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_dataset(
            "kspace",
            (1, 2, 8, 6),
            dtype=np.complex64,
            external=[(str(_secret(tmp_path)), 0, 768)],
        )
    with pytest.raises(DataError, match="'kspace' is kept in other files"):
        load(tmp_path / "k.h5")


def test_hdf5_virtual_data_sets_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 8, 6), np.complex64)
    layout = h5py.VirtualLayout((1, 2, 8, 6), dtype=np.complex64)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "kspace", (1, 2, 8, 6))
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_virtual_dataset("kspace", layout)
    with pytest.raises(DataError, match="'kspace' is kept in other files"):
        load(tmp_path / "k.h5")


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("other.h5", "kspace"), h5py.SoftLink("/hidden")]
)
def test_hdf5_links_are_not_followed(
    tmp_path: Path, link: h5py.ExternalLink | h5py.SoftLink
) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 8, 6), np.complex64)
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["hidden"] = np.ones((1, 2, 8, 6), np.complex64)
        file["kspace"] = link
    with pytest.raises(DataError, match="the member 'kspace' is a link"):
        load(tmp_path / "k.h5")


def test_an_ismrmrd_group_behind_a_link_is_not_followed(tmp_path: Path) -> None:
    _KSPACE_FILES["ismrmrd"](tmp_path / "other")
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink("other.h5", "dataset")
    with pytest.raises(DataError, match="neither ISMRMRD"):
        load(tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["dataset/xml"] = "<ismrmrdHeader/>"
        file["dataset/data"] = h5py.ExternalLink("other.h5", "dataset/data")
    with pytest.raises(DataError, match=r"'data' is a link|no element 'encoding'"):
        load(tmp_path / "k.h5")


@pytest.mark.parametrize("declared", [(1, 2, 8, 600_000_000), (1, 2, 8, 40_000)])
def test_hdf5_that_declares_more_than_it_stores(tmp_path: Path, declared: tuple[int, ...]) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_dataset("kspace", declared, np.complex64, chunks=(1, 1, 8, 8))
    with pytest.raises(DataError, match="but stores 0; the file is truncated or damaged"):
        load(tmp_path / "k.h5")


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}])
@pytest.mark.parametrize("checksum", [False, True])
def test_a_length_that_would_fill_the_memory_is_refused(
    tmp_path: Path, options: dict[str, object], checksum: bool
) -> None:
    """The library would allocate 4 GiB for a length of 2^30 before it looks at the data."""
    whole = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    with h5py.File(whole) as file:
        xml, records = file["dataset/xml"][0], file["dataset/data"][()]
        kind = file["dataset/data"].dtype
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = xml
        file["dataset"].create_dataset(
            "data", data=records, dtype=kind, chunks=(3,), fletcher32=checksum, **options
        )
    np.testing.assert_array_equal(load(path).samples, load(whole).samples)
    with h5py.File(path, "r+") as file:
        data = file["dataset/data"].id
        elements = bytearray(stored_elements(file["dataset/data"], path)[3:6].tobytes())
        at = data.get_type().get_member_offset(2)
        elements[at : at + 4] = (2**30).to_bytes(4, "little")
        everything = (1 << data.get_create_plist().get_nfilters()) - 1
        data.write_direct_chunk((3,), bytes(elements), filter_mask=everything)
    with pytest.raises(DataError, match=r"acquisition 3 expected 2 channels of 8 samples"):
        load(path)


@pytest.mark.parametrize("damage", [b"GCOX", b"GCOL\1\0\0\0" + b"\xff" * 8, None])
def test_a_damaged_heap_neither_hangs_nor_reads_on(tmp_path: Path, damage: bytes | None) -> None:
    """The library loops for ever over some collections that are zeroed behind their head."""
    path = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL")
    if damage is None:
        content[at + 24 : at + 512] = bytes(488)
    else:
        content[at : at + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"heap is truncated or damaged|variable-length element expected"
    ):
        load(path)


def test_a_text_attribute_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = _KSPACE_FILES["fastmri"](tmp_path / "a")
    with h5py.File(path, "r+") as file:
        xml = file["ismrmrd_header"][()]
        del file["ismrmrd_header"]
        file.attrs["ismrmrd_header"] = np.bytes_(xml)
    assert load(path).grid.spacing_mm == (4.0, 1.5, 1.25)
    with h5py.File(path, "r+") as file:
        file.attrs["ismrmrd_header"] = xml.decode()
    with pytest.raises(DataError, match="expected text of fixed length"):
        load(path)


def test_an_unknown_hdf5_filter_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 2, 8, 6))
        properties.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1,))
        kind = h5py.h5t.py_create(np.dtype(np.complex64))
        h5py.h5d.create(
            file.id, b"kspace", kind, h5py.h5s.create_simple((1, 2, 8, 6)), dcpl=properties
        )
    with pytest.raises(DataError, match="needs the unknown filter 32999"):
        load(tmp_path / "k.h5")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (
            '<!DOCTYPE a [<!ENTITY b "bbbb">]><ismrmrdHeader>&b;</ismrmrdHeader>',
            "declares a document type",
        ),
        ("<ismrmrdHeader>", "XML header is truncated or damaged"),
        ("<other/>", "is not an ismrmrdHeader"),
        ("<ismrmrdHeader/>", "has no element 'encoding'"),
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, xml: str, message: str) -> None:
    path = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    with h5py.File(path, "r+") as file:
        file["dataset/xml"][0] = xml
    with pytest.raises(DataError, match=message):
        load(path)


def test_a_declared_encoding_hides_no_document_type(tmp_path: Path) -> None:
    """The header is UTF-8 whatever it declares, so the search for <!DOCTYPE sees all of it."""
    hidden = b'<?xml version="1.0" encoding="cp037"?>'
    hidden += '<!DOCTYPE a [<!ENTITY b "b">]><ismrmrdHeader>&b;</ismrmrdHeader>'.encode("cp037")
    path = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    with h5py.File(path, "r+") as file:
        del file["dataset/xml"]
        file["dataset/xml"] = np.array([np.void(hidden)])
    with pytest.raises(DataError, match=r"'xml' is truncated|XML header is truncated"):
        load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<x>8</x>", "<x>0</x>", "expected sizes from 1 to 65535"),
        ("<x>8</x>", "<x>99999999</x>", "expected sizes from 1 to 65535"),
        ("<x>8</x>", "<x>nan</x>", "'encodedSpace/matrixSize/x' is not a finite number"),
        ("<x>8</x>", "<x>JANE^DOE</x>", "'encodedSpace/matrixSize/x' is truncated or damaged"),
        ("<x>8</x>", "", "has no element 'encodedSpace/matrixSize/x'"),
    ],
)
def test_a_damaged_number_names_its_element_and_no_value(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    with h5py.File(path, "r+") as file:
        xml = file["dataset/xml"][0].decode()
        assert old in xml
        file["dataset/xml"][0] = xml.replace(old, new)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "JANE" not in str(caught.value)


def test_no_patient_field_comes_out_of_a_header(tmp_path: Path) -> None:
    path = _KSPACE_FILES["ismrmrd"](tmp_path / "a")
    subject = (
        "<subjectInformation><patientName>JANE^DOE</patientName>"
        "<patientID>JANE^DOE</patientID></subjectInformation>"
        "<measurementInformation><measurementID>JANE^DOE</measurementID>"
        "<patientPosition>JANE^DOE</patientPosition></measurementInformation>"
    )
    with h5py.File(path, "r+") as file:
        xml = file["dataset/xml"][0].decode()
        file["dataset/xml"][0] = xml.replace("<encoding>", subject + "<encoding>")
    kspace = load(path)
    everything = repr((kspace.acquisition, kspace.origin, describe(path)))
    assert "JANE" not in everything
    npz.write(kspace, tmp_path / "out.npz")
    ismrmrd.write(kspace, tmp_path / "out.h5")
    for name in ("out.npz", "out.h5"):
        assert _MARKER not in (tmp_path / name).read_bytes()


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(canary),)

    np.save(tmp_path / "kspace.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "k.npz", "w") as archive:
        archive.write(tmp_path / "kspace.npy", "kspace.npy")
        archive.writestr("mask.npy", pickle.dumps(Payload()))
    with pytest.raises(DataError, match=r"holds Python objects|is truncated or damaged"):
        load(tmp_path / "k.npz")
    with pytest.raises(DataError, match="holds Python objects"):
        read_image(tmp_path / "kspace.npy")
    assert not canary.exists()


def test_archives_with_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "k.npz", "w") as archive:
        archive.writestr("kspace.npy", b"a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("kspace.npy", b"b")
    with pytest.raises(DataError, match="two arrays of one name"):
        load(tmp_path / "k.npz")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("write", "name", "part"),
    [
        (ismrmrd.write, "k.h5", "HDF5 content"),
        (fastmri.write, "k.h5", "HDF5 content"),
        (npz.write, "k.npz", "zip directory"),
    ],
)
def test_a_file_whose_end_is_missing_is_called_truncated(
    tmp_path: Path,
    write: Callable[[KSpace, Path], None],
    name: str,
    part: str,
    share: float,
) -> None:
    write(_kspace(), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    for read in (load, describe):
        with pytest.raises(DataError, match=f"the {part} is truncated or damaged"):
            read(tmp_path / name)


def test_a_damaged_block_of_a_fastmri_file_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.h5", "w") as file:
        samples = np.random.default_rng(0).standard_normal((2, 1, 8, 6)) + 0j
        stored = file.create_dataset("kspace", data=samples, chunks=(1, 1, 8, 6), fletcher32=True)
        offset = stored.id.get_chunk_info(1).byte_offset
    content = bytearray((tmp_path / "k.h5").read_bytes())
    content[offset + 5] ^= 1
    (tmp_path / "k.h5").write_bytes(content)
    with pytest.raises(DataError, match="slice 1 of 'kspace' is truncated or damaged"):
        load(tmp_path / "k.h5")


def test_a_flipped_bit_in_an_archive_is_found_by_its_checksum(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", kspace=np.ones((2, 16, 16), np.complex64))
    content = bytearray((tmp_path / "k.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "k.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"'kspace' is truncated or damaged.*BadZipFile"):
        load(tmp_path / "k.npz")


def _claim(shape: tuple[int, int, int]) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(4 + 64)


def test_nifti_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(_claim((32767, 32767, 32767)))
    with pytest.raises(DataError, match="cannot hold them"):
        read_image(tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(_claim((30, 30, 30))))
    with pytest.raises(DataError, match=r"ends before the last voxel|cannot hold them"):
        read_image(tmp_path / "a.nii.gz")


def test_a_nifti_bomb_is_counted_before_it_is_unpacked(tmp_path: Path) -> None:
    head = _claim((1000, 1000, 5))[:352]
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(head + bytes(4 * 5_000_000), 9))
    with pytest.raises(ResourceError, match="raise max_memory"):
        read_image(tmp_path / "a.nii.gz", max_memory=2**20)


def test_a_nifti_with_infinite_scale_is_refused(tmp_path: Path) -> None:
    path = _write_nifti(tmp_path / "a")
    content = bytearray(path.read_bytes())
    content[112:116] = np.float32(np.inf).tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match="scl_slope and scl_inter expected finite"):
        read_image(path)


def test_images_and_kspace_are_not_confused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected k-space, got an image"):
        load(_write_nifti(tmp_path / "a"))
    with pytest.raises(DataError, match="expected an image, got k-space"):
        read_image(_KSPACE_FILES["npz"](tmp_path / "a"))


def test_a_file_we_may_not_read_is_a_data_error(tmp_path: Path) -> None:
    path = _KSPACE_FILES["npz"](tmp_path / "a")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    with pytest.raises(DataError, match="PermissionError"):
        load(path)
