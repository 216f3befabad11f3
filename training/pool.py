"""Worker processes that do jobs in scenes. The parent deals, one scene a worker where it can, and loses no job to a crash."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from navloop.processes import end_with_the_parent

AHEAD = 2
"""Jobs a worker holds: the one under way, and the next, so that it never waits for the parent."""


class WorkerError(RuntimeError):
    """A job could not be done; the message names it. What was finished before is kept.

    Attributes:
        story: The worker's traceback, or how its process ended.
        is_input: Whether the fault lies in what the user gave (a scene, a file), not in the code.
    """

    def __init__(self, message: str, story: str, is_input: bool = False) -> None:
        super().__init__(message if is_input else f"{message}\n{story}")
        self.story = story
        self.is_input = is_input


class Job(Protocol):
    """Something to do; its text names it in messages."""

    @property
    def key(self) -> Hashable:
        """What no other job has."""

    @property
    def group(self) -> Hashable:
        """What jobs share that one worker does best: a scene."""


J = TypeVar("J", bound=Job)
J_contra = TypeVar("J_contra", bound=Job, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Hand(Protocol[J_contra, R_co]):
    """What works in a worker process."""

    def do(self, job: J_contra) -> R_co:
        """Return what came of a job."""

    def close(self) -> None:
        """Give back what is held."""


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    story: str
    is_input: bool


@dataclass(slots=True)
class _Worker(Generic[J]):
    process: BaseProcess
    pipe: Connection
    jobs: deque[J] = field(default_factory=deque)
    group: Hashable = None


def do_jobs(
    hire: Callable[[int], Callable[[], Hand[J, R]]], jobs: Sequence[J], workers: int
) -> Generator[tuple[J, R], None, None]:
    """Do every job and yield each with what came of it as it finishes. Closing the iterator ends the workers.

    A worker that dies (killed, out of memory) is replaced and its jobs are done again; a job that takes two workers with it is an error.

    Args:
        hire: Given a worker's place, from 0, returns what makes its hand there; that is pickled.
        jobs: What to do, in about this order.
        workers: Processes.

    Raises:
        WorkerError: If a job raises in its worker, or kills two.
    """
    pool = _Pool(hire, jobs, workers)
    try:
        yield from pool.run()
    finally:
        pool.close()


class _Pool(Generic[J, R]):
    def __init__(self, hire: Callable[[int], Callable[[], Hand[J, R]]], jobs: Sequence[J], workers: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._make = hire
        self._groups: dict[Hashable, deque[J]] = {}
        for job in jobs:
            self._groups.setdefault(job.group, deque()).append(job)
        self._deaths: dict[Hashable, int] = {}
        self._workers = [self._hire(place) for place in range(min(workers, len(jobs)))]

    def run(self) -> Iterator[tuple[J, R]]:
        for worker in self._workers:
            self._feed(worker)
        while busy := {worker.pipe: worker for worker in self._workers if worker.jobs}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    answer = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    self._replace(worker)
                    continue
                if isinstance(answer, _Failure):
                    raise WorkerError(answer.message, answer.story, answer.is_input)
                job = worker.jobs.popleft()
                self._feed(worker)
                yield job, answer

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(timeout=0.5 if worker.jobs else 5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _hire(self, place: int) -> _Worker[J]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._make(place)), daemon=True, name="navloop worker"
        )
        process.start()
        theirs.close()  # so that our end reads end-of-file when the worker dies
        return _Worker(process, ours)

    def _feed(self, worker: _Worker[J]) -> None:
        while len(worker.jobs) < AHEAD and (job := self._deal(worker)) is not None:
            worker.jobs.append(job)
            try:
                worker.pipe.send(job)
            except (BrokenPipeError, ConnectionResetError):
                return  # it died; `run` reads the end of its pipe and replaces it

    def _deal(self, worker: _Worker[J]) -> J | None:
        """Stay in a worker's scene; else begin the first that nobody walks; else help where most is left."""
        left = {group: jobs for group, jobs in self._groups.items() if jobs}
        if not left:
            return None
        if worker.group not in left:
            taken = {other.group for other in self._workers if other is not worker}
            free = [group for group in left if group not in taken]
            worker.group = free[0] if free else max(left, key=lambda group: len(left[group]))
        return left[worker.group].popleft()

    def _replace(self, worker: _Worker[J]) -> None:
        worker.process.join()
        worker.pipe.close()
        suspect = worker.jobs[0]
        self._deaths[suspect.key] = self._deaths.get(suspect.key, 0) + 1
        if self._deaths[suspect.key] > 1:
            raise WorkerError(f"{suspect}: two worker processes died on it", _obituary(worker.process.exitcode))
        for job in reversed(worker.jobs):
            self._groups[job.group].appendleft(job)
        place = self._workers.index(worker)
        fresh = self._workers[place] = self._hire(place)
        self._feed(fresh)


def _obituary(code: int | None) -> str:
    if code is not None and code < 0:
        hint = " (often the system, out of memory: use fewer workers)" if -code == signal.SIGKILL else ""
        return f"the last was ended by {signal.Signals(-code).name}{hint}"
    return f"the last exited with code {code}"


def _serve(pipe: Connection, make: Callable[[], Hand[Any, Any]]) -> None:
    """Do what comes through the pipe until it closes, or the parent is killed: nobody else may write where its run folder was."""
    end_with_the_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    hand: Hand[Any, Any] | None = None
    job: Job | None = None
    try:
        hand = make()
        while True:
            job = pipe.recv()
            pipe.send(hand.do(job))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone or done
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent must tell it)
        place = f"{job}: " if job is not None else ""
        fault = _Failure(
            f"{place}{type(error).__name__}: {error}", traceback.format_exc(), isinstance(error, ValueError | OSError)
        )
        with suppress(OSError):  # the parent may have ended for the same fault
            pipe.send(fault)
    finally:
        if hand is not None:
            hand.close()
