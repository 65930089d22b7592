"""Make a data set: plan, solve its chains on workers, put them together in sample order."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io.atomic import check_writable, replacing
from inverse.pde.chains import chains_of, order_of
from inverse.pde.plan import Plan
from inverse.pde.samples import Samples
from inverse.pde.store import read_part, write_data_set
from inverse.pde.workers import Runner
from inverse.provenance import commit, versions

__all__ = ["Made", "check_target", "generate", "parts_folder", "plan_in"]

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


def parts_folder(path: Path) -> Path:
    """Return where the parts of a data set lie until it is whole."""
    return path.with_name(path.name + ".parts")


def plan_in(folder: Path) -> Plan | None:
    """Return the plan that a parts folder was begun with; None if there is none.

    Raises
    ------
    DataError
        If the plan is damaged.
    """
    file = folder / "plan.json"
    return Plan.from_json(file.read_text()) if file.exists() else None


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
        If the data set, or parts of another plan, are there and `overwrite` is not given.
    DataError
        If a part is damaged.
    ResourceError
        If the disk is full; finished parts are kept.
    """
    folder = _begin(plan, path, shard, overwrite=overwrite)
    chains = chains_of(plan, _order(plan, folder))
    files = [folder / f"chain-{i:06d}.h5" for i in range(len(chains))]
    mine = range(shard[0], len(chains), shard[1])
    missing = [i for i in mine if not files[i].exists()]
    n_kept = sum(len(chains[i]) for i in mine) - sum(len(chains[i]) for i in missing)
    seconds, done = 0.0, n_kept
    for i, spent in runner.run(plan, [(i, chains[i], files[i]) for i in missing]):
        seconds, done = seconds + spent, done + len(chains[i])
        if progress is not None:
            progress("solving", done, sum(len(chains[i]) for i in mine))
    is_complete = all(file.exists() for file in files)
    unconverged = _assemble(plan, path, files, progress) if is_complete else ()
    if is_complete:
        shutil.rmtree(folder, ignore_errors=True)
    return Made(path, is_complete, done - n_kept, n_kept, unconverged, seconds)


def _begin(plan: Plan, path: Path, shard: tuple[int, int], *, overwrite: bool) -> Path:
    """Check what is there and make the folder of the parts, with the plan in it."""
    if not 0 <= shard[0] < shard[1]:
        raise UsageError(f"shard expected i/n with 0 <= i < n, got {shard[0]}/{shard[1]}")
    check_target(path, overwrite=overwrite)
    folder = parts_folder(path)
    before = plan_in(folder)
    if before is not None and before != plan:
        if not overwrite:
            raise UsageError(
                f"{folder}: holds parts of another data set ({_difference(before, plan)}); "
                f"repeat that command to finish it, or --overwrite it"
            )
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    if before != plan:
        with replacing(folder / "plan.json") as part:
            part.write_text(plan.to_json())
    return folder


def _difference(before: Plan, plan: Plan) -> str:
    old, new = json.loads(before.to_json()), json.loads(plan.to_json())
    return ", ".join(f"{k} {old[k]} there, {new[k]} now" for k in old if old[k] != new[k])


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
    order = np.load(file, allow_pickle=False)
    if not np.array_equal(np.sort(order), np.arange(plan.n_samples)):
        raise DataError(f"{file}: damaged; remove it to have the samples sorted again")
    return np.asarray(order, dtype=np.int64)


def _assemble(
    plan: Plan, path: Path, files: Sequence[Path], progress: Report | None
) -> tuple[int, ...]:
    """Write the data set from its parts; return the samples that did not converge."""
    unconverged: list[int] = []

    def parts() -> Iterator[Samples]:
        for i, file in enumerate(files):
            samples = read_part(file, plan)
            unconverged.extend(samples.index[~samples.records["converged"]].tolist())
            yield samples
            if progress is not None:
                progress("writing", i + 1, len(files))

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
