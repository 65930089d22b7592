"""Who solves the chains: this process, others on this machine, or a Dask cluster."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inverse.errors import InverseError, ResourceError, UsageError
from inverse.pde.plan import Plan
from inverse.pde.writing import write_part

__all__ = ["Cluster", "Here", "Processes", "Runner", "Task", "solve_to_file"]

Task: TypeAlias = tuple[int, NDArray[np.int64], Path]
"""Number of a chain, its samples in the order of solving, and the file for what is found."""

_ONE_CHAIN = threading.Lock()
"""Number of threads and processor time belong to the process: chains of one process take turns."""

_LONGEST_DELAY_S = 60.0
"""After which a network file system shows what another machine has written."""


class Runner(Protocol):
    """Solves chains somewhere."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
        """Solve every chain into its file; yield its number and processor time when it is done.

        Closing the generator stops the work.
        """
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
    with _ONE_CHAIN:
        samples, seconds = solve_chain(wanted, indices)
    write_part(Path(file), wanted, samples)
    return seconds


@dataclass(frozen=True, slots=True)
class Here:
    """One chain after another in this process."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
        """Solve every chain into its file."""
        for number, indices, file in tasks:
            yield number, solve_to_file(plan.to_json(), indices.tolist(), str(file))


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes of this machine, each on one thread.

    They end when this process does, in whatever way. A script that uses it runs its own work under
    ``if __name__ == "__main__":``, since every process imports the script anew.

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

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
        """Solve every chain into its file, in any order."""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool

        if not tasks:
            return
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            min(self.n_workers, len(tasks)),
            multiprocessing.get_context("spawn"),
            initializer=_end_with_parent,
        )
        text = plan.to_json()
        is_done = False
        try:
            with _interrupts_held():
                running = {
                    pool.submit(solve_to_file, text, indices.tolist(), str(file)): number
                    for number, indices, file in tasks
                }
            for future in as_completed(running):
                yield running[future], future.result()
            is_done = True
        except BrokenProcessPool as error:
            raise ResourceError(
                "a worker process was killed, most often for want of memory; finished chains are "
                "kept: run the same command again, with fewer workers"
            ) from error
        finally:
            if not is_done:  # what they work on is begun anew in any case
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C waiting; processes that are started meanwhile never see it.

    A terminal sends it to all of them, and each would print a traceback of its own. They are ended
    by this process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Have this worker end when the process that started it is gone, however it went."""
    import multiprocessing
    import os

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
    ResourceError
        If the scheduler is lost, a chain loses one worker after another, or what the workers write
        does not arrive here. Finished parts are kept.
    """

    address: str

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
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
                    retries=1,
                ): (number, file)
                for number, indices, file in tasks
            }
            for future in as_completed(list(running)):
                number, file = running[future]
                try:
                    seconds = future.result()
                except InverseError:
                    raise
                except Exception as error:
                    raise ResourceError(
                        f"the Dask cluster gave chain {number} up ({type(error).__name__}); "
                        f"finished chains are kept: run the same command again, and look into the "
                        f"workers' logs if it recurs"
                    ) from error
                _await(file)
                yield number, seconds


def _await(file: Path) -> None:
    """Wait until a file that another machine has written is seen here."""
    end = time.monotonic() + _LONGEST_DELAY_S
    while not file.exists():
        if time.monotonic() > end:
            raise ResourceError(
                f"{file}: a worker has written it, but it is not there; the workers and this "
                f"process need a file system that they share, under the same path"
            )
        time.sleep(0.2)
