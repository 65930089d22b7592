"""Who solves the chains: this process, others on this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inverse.errors import ResourceError, UsageError
from inverse.pde.plan import Plan
from inverse.pde.store import write_part

__all__ = ["Cluster", "Here", "Processes", "Runner", "Task", "solve_to_file"]

Task: TypeAlias = tuple[int, NDArray[np.int64], Path]
"""Number of a chain, its samples in the order of solving, and the file for what is found."""


class Runner(Protocol):
    """Solves chains somewhere."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Solve every chain into its file; yield its number and processor time when it is done."""
        ...


def solve_to_file(plan: str, indices: Sequence[int], file: str) -> float:
    """Solve one chain and write its part; everything a worker is asked.

    Parameters
    ----------
    plan : str
        JSON of the plan.
    indices : sequence of int
        Samples in the order of solving.
    file : str
        Where; a file system that all workers share.

    Returns
    -------
    float
        Processor time in seconds.
    """
    from inverse.pde.chain import solve_chain

    wanted = Plan.from_json(plan)
    samples, seconds = solve_chain(wanted, indices)
    write_part(Path(file), wanted, samples)
    return seconds


@dataclass(frozen=True, slots=True)
class Here:
    """One chain after another in this process."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Solve every chain into its file."""
        for number, indices, file in tasks:
            yield number, solve_to_file(plan.to_json(), indices.tolist(), str(file))


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes of this machine, each on one thread.

    A script that uses it runs its own work under ``if __name__ == "__main__":``, since every
    process imports the script anew.

    Parameters
    ----------
    n_workers : int
        How many.

    Raises
    ------
    ResourceError
        If a worker dies, for want of memory for instance. Finished parts are kept.
    """

    n_workers: int

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Solve every chain into its file, in any order."""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool

        pool = ProcessPoolExecutor(self.n_workers, multiprocessing.get_context("spawn"))
        text = plan.to_json()
        try:
            running = {
                pool.submit(solve_to_file, text, indices.tolist(), str(file)): number
                for number, indices, file in tasks
            }
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise ResourceError(
                "a worker process was killed, most often for want of memory; finished chains are "
                "kept: run the same command again, with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers of a Dask scheduler, which share this machine's file system.

    A chain is one task that writes its part and returns a number. The scheduler gives the chain of
    a worker that is lost to another one; parts are renamed into place, so doing one twice harms
    nothing.

    Parameters
    ----------
    address : str
        Of the scheduler, ``tcp://host:port``.

    Raises
    ------
    UsageError
        If `distributed` is not installed, or nobody answers at the address.
    """

    address: str

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Solve every chain into its file, in any order."""
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise UsageError(
                "a Dask scheduler needs the package distributed: pip install 'inverse-suite[dask]'"
            ) from error
        try:
            client = Client(self.address, timeout=30)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {self.address}: {error}") from error
        text = plan.to_json()
        with client:
            running = {
                client.submit(
                    solve_to_file,
                    text,
                    indices.tolist(),
                    str(file.resolve()),
                    pure=False,
                    retries=3,
                ): number
                for number, indices, file in tasks
            }
            for future in as_completed(list(running)):
                yield running[future], future.result()
