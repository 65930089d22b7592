"""Collections of images to learn a prior from, in image units, split by subject."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import sha256
from inverse.training.image_files import Stack, read_stacks

__all__ = ["SCALES", "ImageSet", "hold_out", "read_images"]


def _peak(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Divide by the 99.9th percentile, so that the peak is about one; a black image stays black.

    By the maximum, where fewer pixels than that are not black.
    """
    values: NDArray[np.float32] = np.abs(image).astype(np.float32)
    top = float(np.percentile(values, 99.9)) or float(values.max())
    return np.asarray(values / np.float32(top)) if top > 0 else values


def _hounsfield(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Attenuation relative to water, 1 + HU / 1000: air is zero, water one; never negative."""
    return (1 + np.asarray(image, np.float32) / 1000).clip(min=0)


def _as_is(image: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(image, np.float32)


SCALES: dict[str, Callable[[NDArray[np.generic]], NDArray[np.float32]]] = {
    "peak": _peak,
    "hu": _hounsfield,
    "none": _as_is,
}
"""How grey values become image units with a peak of about one, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images in image units, and where they came from.

    Parameters
    ----------
    images : tuple of (y, x), float32
    sources : mapping of str to str
        File name (with its data set) to the sha256 of the file; a second file of one name, from
        another folder, has a number behind it.
    scale : str
        Key of `SCALES` that made image units of the grey values.
    subjects : tuple of int, optional
        One number for each image, the same for images of one subject, or of one file that names
        none; all of one when left out.
    note : str
        What else distinguishes these images from those of the same files: that borders were kept,
        that some were held out.
    files : frozenset of int
        Those of `subjects` that stand for a file, because it does not say who was scanned.
    left_out : tuple of str
        Images of these files that were not taken, and why.
    """

    images: tuple[NDArray[np.float32], ...]
    sources: dict[str, str]
    scale: str
    subjects: tuple[int, ...] = ()
    note: str = ""
    files: frozenset[int] = frozenset()
    left_out: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of the sources in order; a resumed training must see the same."""
        text = "\n".join(f"{name} {digest}" for name, digest in self.sources.items())
        note = f"\n{self.note}" if self.note else ""
        return hashlib.sha256(f"{self.scale}\n{text}{note}".encode()).hexdigest()

    @property
    def root_mean_square(self) -> float:
        """Of all pixels: the `sigma_data` of a plan."""
        total = sum(float(np.vdot(image, image)) for image in self.images)
        return float(np.sqrt(total / sum(image.size for image in self.images)))

    def __repr__(self) -> str:
        return f"<ImageSet of {len(self.images)} images from {len(self.sources)} files>"


def read_images(
    names: Sequence[str], scale: str = "peak", smallest: int = 16, *, keep_borders: bool = False
) -> ImageSet:
    """Read every image of some files.

    Parameters
    ----------
    names : sequence of str
        As `inverse.training.image_files.read_stacks` takes them: ``set.h5:train``,
        ``set.npz:hu``, ``set.npy``, ``volume.nii.gz``, a picture, or a folder of pictures.
    scale : {"peak", "hu", "none"}
        See `SCALES`.
    smallest : int
        Images with a shorter side are left out.
    keep_borders : bool
        Keep rows and columns of one value at the edges. They are cut otherwise: padding is not
        anatomy. Networks that learn whole slices need slices of one size.

    Returns
    -------
    ImageSet
        Its `left_out` names those that were too small, or of one value.

    Raises
    ------
    UsageError
        If the scale or an array in a file is unknown.
    DataError
        If a file is missing or damaged, holds NaN, or no image is large enough.
    """
    if scale not in SCALES:
        raise UsageError(f"scale expected one of {', '.join(SCALES)}; got '{scale}'")
    images: list[NDArray[np.float32]] = []
    sources: dict[str, str] = {}
    subjects: list[int] = []
    numbers: dict[object, int] = {}
    files: set[int] = set()
    left_out: list[str] = []
    unused = count()
    for name in names:
        for stack in read_stacks(name):
            if stack.images.dtype.kind == "c" and scale != "peak":
                raise DataError(f"{stack.label}: complex images expected --scale peak")
            for place, (image, subject) in enumerate(
                zip(stack.images, _subjects(stack), strict=True)
            ):
                kept = image if keep_borders else _without_border(image)
                if min(kept.shape) < smallest:
                    left_out.append(_why_not(stack, place, kept, smallest))
                    continue
                images.append(SCALES[scale](kept))
                subjects.append(numbers.setdefault(subject, next(unused)))
                if stack.subjects is None:
                    files.add(subjects[-1])
            sources[_unused(stack.label, sources)] = sha256(stack.path)
    if not images:
        raise DataError(f"no image of at least {smallest}x{smallest} pixels in {', '.join(names)}")
    note = "borders kept" if keep_borders else ""
    return ImageSet(
        tuple(images), sources, scale, tuple(subjects), note, frozenset(files), tuple(left_out)
    )


def _why_not(stack: Stack, place: int, kept: NDArray[np.generic], smallest: int) -> str:
    """Name an image that is not taken, and say why."""
    name = stack.label if len(stack.images) == 1 else f"{stack.label}[{place}]"
    if not kept.size:
        return f"{name} (one value)"
    return f"{name} ({kept.shape[0]}x{kept.shape[1]} pixels, {smallest}x{smallest} are needed)"


def _unused(label: str, sources: Mapping[str, str]) -> str:
    """Return a file's name, with a number where another folder had a file of that name."""
    names = chain([label], (f"{label} ({number})" for number in count(2)))
    return next(name for name in names if name not in sources)


def _subjects(stack: Stack) -> list[object]:
    """Return what tells the subjects of a stack apart: what the file says, else the file."""
    if stack.subjects is None:
        return [stack.path] * len(stack.images)
    return list(stack.subjects.tolist())


def hold_out(images: ImageSet, share: float = 0.1) -> tuple[ImageSet, ImageSet]:
    """Split a set into images to train on and images to validate with.

    Whole subjects are held out, evenly spaced in the order of the files; a file that does not name
    its subjects counts as one, so that of a folder of slices neighbours are parted and the figures
    flatter. So they do of a single subject, whose last slices in a row are held out.

    Parameters
    ----------
    images : ImageSet
    share : float
        Of the subjects (or files, or slices) to hold out, at least one.

    Returns
    -------
    training, validation : ImageSet
        Their notes say what was done.

    Raises
    ------
    UsageError
        If there is only one image.

    Examples
    --------
    >>> pictures = tuple(np.ones((4, 4), np.float32) for _ in range(6))
    >>> a, b = hold_out(ImageSet(pictures, {}, "none", subjects=(0, 0, 1, 1, 2, 2)))
    >>> b.note, a.subjects
    ('held out: 1 of 3 subjects, 2 of 6 images', (0, 0, 2, 2))
    """
    n = len(images.images)
    if n < 2:
        raise UsageError("one image cannot be split; give validation images of their own")
    subjects = list(dict.fromkeys(images.subjects))
    if len(subjects) > 1:
        n_held = max(1, round(share * len(subjects)))
        places = (np.arange(n_held) + 0.5) * len(subjects) / n_held
        held = {subjects[int(place)] for place in places}
        is_held = [subject in held for subject in images.subjects]
        whose, caveat = _whose(images)
        what = f"{n_held} of {len(subjects)} {whose}, {sum(is_held)} of {n} images{caveat}"
    else:
        n_held = max(1, round(share * n))
        is_held = [index >= n - n_held for index in range(n)]
        whose = "file" if images.files else "subject"
        what = f"the last {n_held} of {n} images of one {whose}, neighbours of the others"
    return _part(images, is_held, False, f"without {what}"), _part(
        images, is_held, True, f"held out: {what}"
    )


def _whose(images: ImageSet) -> tuple[str, str]:
    """Return what the images are told apart by, and what is not known of them therefore."""
    if not images.files:
        return "subjects", ""
    caveat = "; subjects unknown, neighbouring slices may be in both"
    if images.files >= set(images.subjects):
        return "files", caveat
    return "subjects or files", f"{caveat} where files do not name them"


def _part(images: ImageSet, is_held: list[bool], wanted: bool, what: str) -> ImageSet:
    chosen = [index for index, held in enumerate(is_held) if held is wanted]
    return ImageSet(
        tuple(images.images[index] for index in chosen),
        images.sources,
        images.scale,
        tuple(images.subjects[index] for index in chosen) if images.subjects else (),
        "; ".join(part for part in (images.note, what) if part),
        images.files,
        images.left_out,
    )


def _without_border(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cut rows and columns that hold one value from the edges."""
    rows = np.flatnonzero(np.ptp(image, axis=1))
    columns = np.flatnonzero(np.ptp(image, axis=0))
    if not len(rows) or not len(columns):
        return image[:0, :0]
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
