"""Who does the work: this process, processes of this machine, or a Dask cluster. All give the same counts.

A scheduler keeps a few blocks in flight and no more, so that memory stays flat. A worker that dies loses nothing: its
blocks are given to another one.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from qsim.errors import QsimError, ToolMissingError, UsageError
from qsim.evaluation.counts import Counts
from qsim.evaluation.work import Block, Job, count, count_packed, digest
from qsim.version import install

Done = Iterator[tuple[int, list[Counts]]]

_DEATHS = 3
"""Workers that may die in a row without a block being finished."""
_IN_FLIGHT = 3
"""Blocks a worker that are read ahead."""


class Scheduler(Protocol):
    """Counts blocks, in any order."""

    def run(self, job: Job, blocks: Iterator[Block]) -> Done:
        """(block's number, its counts) as they are finished. Raises what the work raises."""


class Here:
    """This process."""

    def run(self, job: Job, blocks: Iterator[Block]) -> Done:
        for block in blocks:
            yield block.number, count(job, block)


_packed: bytes = b""


def _start(packed: bytes) -> None:
    """In a new worker process: the job of all its blocks."""
    global _packed
    _packed = packed


def _work(block: Block) -> list[Counts]:
    return count_packed(_packed, block)


class Processes:
    """``jobs`` processes of this machine."""

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise UsageError(f"jobs is a number from 1 on, not {jobs}")
        self.jobs = jobs

    def _pool(self, job: Job) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.jobs, multiprocessing.get_context("spawn"), initializer=_start, initargs=(job.packed,)
        )

    def run(self, job: Job, blocks: Iterator[Block]) -> Done:
        waiting: list[Block] = []
        deaths = 0
        more = True
        while more or waiting:
            flying: dict[Future[list[Counts]], Block] = {}
            pool = self._pool(job)
            try:
                while more or waiting or flying:
                    while len(flying) < self.jobs * _IN_FLIGHT and (waiting or more):
                        block = waiting.pop() if waiting else next(blocks, None)
                        if block is None:
                            more = False
                            break
                        waiting.append(block)  # until it flies
                        flying[pool.submit(_work, block)] = waiting.pop()
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        deaths = 0
                        yield flying.pop(future).number, result
            except BrokenProcessPool as error:
                deaths += 1
                waiting += flying.values()
                if deaths == _DEATHS:
                    raise QsimError(
                        f"{deaths} times in a row a worker process died before it finished a block: it may need more "
                        "memory than there is (fewer --jobs), or a script that calls qsim.evaluate lacks "
                        "if __name__ == '__main__'"
                    ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


class Dask:
    """A cluster of Dask distributed: its scheduler's address, or "local" for ``jobs`` processes of this machine."""

    def __init__(self, address: str, jobs: int) -> None:
        self.address, self.jobs = address, jobs

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            import distributed
        except ImportError as error:
            raise ToolMissingError(f"--scheduler needs Dask: {install('scale')}") from error
        if self.address != "local":
            try:
                client = distributed.Client(self.address, timeout=10)
            except (OSError, ValueError) as error:
                raise UsageError(f"there is no Dask scheduler at {self.address}: {error}") from error
            with client:
                yield client
            return
        with (
            distributed.LocalCluster(
                n_workers=self.jobs, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    def run(self, job: Job, blocks: Iterator[Block]) -> Done:
        with self._client() as client:
            # A task, not scattered data: what is lost with its worker is then made again.
            name = f"qsim-{digest(job.packed)}"
            packed = client.submit(bytes, job.packed, key=name)
            flying: dict[Any, int] = {}
            more = True
            while more or flying:
                wide = _IN_FLIGHT * max(1, sum(client.ncores().values()))
                while more and len(flying) < wide:
                    block = next(blocks, None)
                    if block is None:
                        more = False
                        break
                    future = client.submit(count_packed, packed, block, key=f"{name}-{block.number}")
                    flying[future] = block.number
                if flying:
                    for future in self._finished(flying):
                        yield flying.pop(future), future.result()

    @staticmethod
    def _finished(flying: dict[Any, int]) -> list[Any]:
        import distributed

        return list(distributed.wait(list(flying), return_when="FIRST_COMPLETED").done)


def scheduler_of(jobs: int, address: str | None) -> Scheduler:
    """The scheduler that a command's options name. Raises UsageError for an address of another form."""
    if address is None:
        return Here() if jobs == 1 else Processes(jobs)
    if address != "local" and "://" not in address:
        raise UsageError(f"--scheduler is local or an address such as tcp://host:8786, not {address!r}")
    return Dask(address, jobs)


__all__ = ["Dask", "Here", "Processes", "Scheduler", "scheduler_of"]
