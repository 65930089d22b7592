"""What an earlier run left beside an image that is replaced: its posterior's maps, its report."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EarlierRun", "record_report"]


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """The run that wrote an image before, as its provenance file tells of it.

    Parameters
    ----------
    image : Path
        Which is about to be replaced, if it is there.
    level : float
        Of the interval whose maps lie beside it.
    digests : frozenset of str
        SHA-256 of the files that the run wrote; empty if there was none.
    report : tuple of (str, int), optional
        SHA-256 and size of its report.
    """

    image: Path
    level: float
    digests: frozenset[str]
    report: tuple[str, int] | None

    @classmethod
    def at(cls, image: Path) -> EarlierRun:
        """Read what is known of the run that wrote an image; call it before the image is replaced.

        The provenance file may come from anyone: of what it says only digests are used and the
        level, names are made anew.

        Parameters
        ----------
        image : Path
            Its name; nothing needs to be there.
        """
        from inverse.io.targets import sidecar_of
        from inverse.posterior import LEVEL
        from inverse.provenance import is_record, load_record

        sidecar = sidecar_of(image)
        found = load_record(sidecar) if is_record(sidecar) else {}
        output, posterior = (_mapping(found.get(part)) for part in ("output", "posterior"))
        level = posterior.get("interval_level")
        report = _mapping(output.get("report"))
        digest, n_bytes = report.get("sha256"), report.get("bytes")
        return cls(
            image,
            level if isinstance(level, float) and 0 < level < 1 else LEVEL,
            frozenset(map(str, _values(output.get("sha256")))),
            (digest, n_bytes) if isinstance(digest, str) and isinstance(n_bytes, int) else None,
        )

    def clear(self, written: Collection[Path]) -> tuple[list[Path], list[Path]]:
        """Remove what the run left and this one did not replace; keep what anyone changed.

        Parameters
        ----------
        written : collection of Path
            The files of the new image.

        Returns
        -------
        removed : list of Path
            Maps, phase and report, still as the earlier run wrote them.
        left : list of Path
            Files that look as if they belonged to the new image, and do not.
        """
        from inverse.provenance import sha256_of_file

        kept = {path.resolve() for path in written}
        removed, left = [], []
        for path, is_named in self._candidates():
            if path.resolve() in kept or not path.is_file():
                continue
            if is_named and not path.is_symlink() and sha256_of_file(path) in self._own:
                path.unlink()
                removed.append(path)
            else:
                left.append(path)
        return removed, left

    @property
    def _own(self) -> frozenset[str]:
        return self.digests | ({self.report[0]} if self.report else frozenset())

    def _candidates(self) -> Iterator[tuple[Path, bool]]:
        """Yield files beside the image, and whether their name is made from the image's."""
        from inverse.io.targets import ending_of, maps_of, phase_of
        from inverse.provenance import sha256_of_file

        ending = ending_of(self.image)
        yield from ((path, True) for path in maps_of(self.image, self.level).values())
        phase = phase_of(self.image)
        if phase.is_file() and sha256_of_file(phase) in self.digests:
            yield phase, True
        if self.report is None:
            return
        digest, n_bytes = self.report
        stem = self.image.name[: len(self.image.name) - len(ending)]
        for path in sorted(self.image.parent.iterdir()):
            is_alike = path.is_file() and path.stat().st_size == n_bytes
            if is_alike and sha256_of_file(path) == digest:
                # A report that was given another name was meant to be kept.
                yield path, path.stem == stem


def record_report(sidecar: Path, report: Path) -> None:
    """Note the digest of a report in the provenance file of its image.

    Raises
    ------
    ResourceError
        If the file cannot be written; what was there stays.
    """
    from inverse.io.atomic import replacing
    from inverse.provenance import sha256_of_file

    record = json.loads(sidecar.read_text(encoding="utf-8"))
    noted = {"sha256": sha256_of_file(report), "bytes": report.stat().st_size}
    record["output"]["report"] = noted
    with replacing(sidecar) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _values(value: object) -> list[object]:
    return value if isinstance(value, list) else []
