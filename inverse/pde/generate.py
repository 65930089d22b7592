"""Make a data set: plan, solve its chains on workers, put them together in sample order."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, ResourceError, UsageError
from inverse.io.atomic import check_writable, replacing
from inverse.pde.chains import chains_of, order_of
from inverse.pde.parts import begin, parts_folder, turn
from inverse.pde.plan import Plan
from inverse.pde.samples import Samples
from inverse.pde.store import DataSet, open_data_set, read_part
from inverse.pde.workers import Runner
from inverse.pde.writing import write_data_set
from inverse.provenance import commit, versions

__all__ = ["Made", "check_target", "generate"]

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a run of `generate` did.

    Parameters
    ----------
    path : Path
        The data set; not there yet when `is_complete` is false.
    is_complete : bool
        False when only some of the chains were asked for and others are still missing.
    n_solved, n_kept : int
        Samples solved by this run, and found from runs before it.
    unconverged : tuple of int
        Samples that no strategy solved: NaN in the file.
    seconds : float
        Processor time of the solves, over all workers.
    """

    path: Path
    is_complete: bool
    n_solved: int
    n_kept: int
    unconverged: tuple[int, ...]
    seconds: float


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a target that cannot be written before any work is done.

    Raises
    ------
    UsageError
        If it is a folder, or is there already and may not be replaced.
    ResourceError
        If its folder is missing or cannot be written.
    """
    check_writable(path)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file ending in .h5")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: is there already; choose another name, or --overwrite it")


def generate(
    plan: Plan,
    path: Path,
    *,
    runner: Runner,
    shard: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    progress: Report | None = None,
) -> Made:
    """Make the data set of a plan, or go on with one that was interrupted.

    Chains leave their samples in the folder `parts_folder(path)`, each part whole or not there;
    when the last one is there the data set is written and the folder removed.

    Parameters
    ----------
    plan : Plan
    path : Path
        HDF5 file to write.
    runner : Runner
        Who solves the chains.
    shard : (i, n)
        Solve only the chains i, i + n, i + 2 n, ...: one task of an array job. Whichever task
        finds all parts there writes the data set.
    overwrite : bool
        Replace a data set, or the parts of another plan, that are there.
    progress : function, optional
        Called as progress(stage, samples done, samples in all).

    Raises
    ------
    UsageError
        If the data set, or parts of another plan, are there and `overwrite` is not given; or if
        another process is at work on the same shard.
    DataError
        If a part, the order or the plan that is there is damaged.
    ResourceError
        If the disk is full; finished parts are kept.
    """
    check_target(path, overwrite=overwrite)
    if not 0 <= shard[0] < shard[1]:
        raise UsageError(f"shard expected i/n with 0 <= i < n, got {shard[0]}/{shard[1]}")
    before = _identity(path)
    folder = begin(plan, path, shard, overwrite=overwrite)
    try:
        with turn(folder / f"run-{shard[0]}-of-{shard[1]}.lock"):
            return _work(plan, path, runner, shard, progress)
    except (DataError, ResourceError, FileNotFoundError):
        # Another task may have put the data set together meanwhile and removed the parts.
        if _identity(path) in {None, before}:
            raise
        with open_data_set(path) as data:
            if data.plan != plan:
                raise
            return Made(path, True, 0, plan.n_samples, _unconverged(data), 0.0)


def _work(
    plan: Plan, path: Path, runner: Runner, shard: tuple[int, int], progress: Report | None
) -> Made:
    """Solve the chains of a shard that are missing; put the data set together if all are there."""
    folder = parts_folder(path)
    chains = chains_of(plan, _order(plan, folder))
    files = [folder / f"chain-{i:06d}.h5" for i in range(len(chains))]
    mine = range(shard[0], len(chains), shard[1])
    missing = [i for i in mine if not files[i].exists()]
    n_mine = sum(len(chains[i]) for i in mine)
    n_kept = n_mine - sum(len(chains[i]) for i in missing)
    seconds, done = 0.0, n_kept
    with closing(runner.run(plan, [(i, chains[i], files[i]) for i in missing])) as finished:
        for i, spent in finished:
            seconds, done = seconds + spent, done + len(chains[i])
            if progress is not None:
                progress("solving", done, n_mine)
    is_complete = all(file.exists() for file in files)
    unconverged: tuple[int, ...] = ()
    if is_complete:
        with turn(folder / "whole.lock", waits=True):
            unconverged = _assemble(plan, path, list(zip(files, chains, strict=True)), progress)
            shutil.rmtree(folder, ignore_errors=True)
    return Made(path, is_complete, done - n_kept, n_kept, unconverged, seconds)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that replaced it; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _unconverged(data: DataSet) -> tuple[int, ...]:
    return tuple(
        int(i) for samples in data.blocks() for i in samples.index[~samples.records["converged"]]
    )


def _order(plan: Plan, folder: Path) -> NDArray[np.int64]:
    """Return the order of solving, sorted once for all tasks of the data set."""
    file = folder / "order.npy"
    if plan.sort == "none":
        return order_of(plan)
    if not file.exists():
        buffer = io.BytesIO()
        np.save(buffer, order_of(plan))
        with replacing(file) as part:
            part.write_bytes(buffer.getvalue())
    damaged = DataError(f"{file}: damaged; remove it to have the samples sorted again")
    if not 8 * plan.n_samples < file.stat().st_size < 8 * plan.n_samples + 4096:
        raise damaged
    try:
        order = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise damaged from error
    if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(plan.n_samples)):
        raise damaged
    return np.asarray(order, dtype=np.int64)


def _assemble(
    plan: Plan,
    path: Path,
    chains: Sequence[tuple[Path, NDArray[np.int64]]],
    progress: Report | None,
) -> tuple[int, ...]:
    """Write the data set from its parts; return the samples that did not converge."""
    unconverged: list[int] = []

    def parts() -> Iterator[Samples]:
        for i, (file, index) in enumerate(chains):
            samples = read_part(file, plan, index)
            unconverged.extend(samples.index[~samples.records["converged"]].tolist())
            yield samples
            if progress is not None:
                progress("writing", i + 1, len(chains))

    write_data_set(path, plan, _provenance(plan), parts())
    return tuple(sorted(unconverged))


def _provenance(plan: Plan) -> str:
    """Say what made the data set; equal for equal plans on equal software."""
    family = plan.equation
    facts = {
        "plan": json.loads(plan.to_json()),
        "plan_sha256": plan.digest,
        "equation": family.equation,
        "boundary": family.boundary,
        "stencil": family.stencil,
        "grid": {
            "shape": plan.grid.shape,
            "lengths_m": plan.grid.lengths,
            "centring": plan.grid.centring,
        },
        "seeds": "Philox of SeedSequence(seed, spawn_key=(CRC-32 of the family, sample))",
        "licence": "CC0-1.0: generated data, no rights reserved",
        "versions": versions(),
        "commit": commit(),
    }
    return json.dumps(facts, sort_keys=True)
