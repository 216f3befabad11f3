"""Worker processes that do jobs in scenes. The parent deals, one scene a worker where it can, and loses no job to a crash."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from navloop.processes import end_with_the_parent

AHEAD = 1
"""Jobs a worker holds besides those under way, so that it never waits for the parent."""


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
    """What works in a worker process, one job after the other."""

    def do(self, job: J_contra) -> R_co:
        """Return what came of a job."""

    def close(self) -> None:
        """Give back what is held."""


class Hands(Protocol[J, R_co]):
    """What works in a worker process on several jobs at once, each a step further in turn."""

    @property
    def at_hand(self) -> J | None:
        """The job that is just worked on; None if it is several."""

    @property
    def busy(self) -> bool:
        """Whether any job is under way."""

    @property
    def free(self) -> bool:
        """Whether a further job can be taken."""

    def take(self, job: J) -> None:
        """Begin a job, or put it aside until there is room for it."""

    def advance(self) -> Sequence[tuple[J, R_co]]:
        """Go a step further with every job, and return those that are done with what came of them."""

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
    jobs: dict[Hashable, J] = field(default_factory=dict)
    group: Hashable = None


Hire = Callable[[int], Callable[[], Hand[J, R] | Hands[J, R]]]
"""Given a worker's place, from 0, returns what makes its hand or hands there; that is pickled."""


def start_server(modules: Sequence[str]) -> None:
    """Begin, in the background, a process that imports these and that workers are forked off: each is then there at once.

    There is one for all pools of this process. Whoever calls this before other work finds it ready afterwards; without it, and for what
    it has not imported, workers import what they need.
    """
    forkserver.set_forkserver_preload(list(modules))
    forkserver.ensure_running()


def do_jobs(
    hire: Hire[J, R], jobs: Sequence[J], workers: int, together: Callable[[J], int] = lambda job: 1
) -> Generator[tuple[J, R], None, None]:
    """Do every job and yield each with what came of it as it finishes. Closing the iterator ends the workers.

    A worker that dies (killed, out of memory) is replaced and its jobs are done again; a job that takes two workers with it is an error.

    Args:
        hire: Makes what works.
        jobs: What to do, in about this order.
        workers: Processes.
        together: How many jobs like this a worker has under way at once.

    Raises:
        WorkerError: If a job raises in its worker, or kills two.
    """
    pool = _Pool(hire, jobs, workers, together)
    try:
        yield from pool.run()
    finally:
        pool.close()


class _Pool(Generic[J, R]):
    def __init__(self, hire: Hire[J, R], jobs: Sequence[J], workers: int, together: Callable[[J], int]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._make = hire
        self._together = together
        self._groups: dict[Hashable, deque[J]] = {}
        for job in jobs:
            self._groups.setdefault(job.group, deque()).append(job)
        self._deaths: dict[Hashable, int] = {}
        self._workers = [self._hire(place) for place in range(min(workers, len(jobs)))]

    def run(self) -> Iterator[tuple[J, R]]:
        while sum(self._hand_over(worker) for worker in self._workers):
            pass  # one each in turn, so that few jobs are shared by all
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
                key, result = answer
                job = worker.jobs.pop(key)
                self._feed(worker)
                yield job, result

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
        while self._hand_over(worker):
            pass

    def _hand_over(self, worker: _Worker[J]) -> bool:
        """Give a worker a job, if there is one and it has not enough already; return whether it got one."""
        jobs = self._choose(worker)
        if not jobs or len(worker.jobs) >= self._together(jobs[0]) + AHEAD:
            return False
        job = jobs.popleft()
        worker.group = job.group
        worker.jobs[job.key] = job
        # A pipe that is broken is of a worker that died: `run` reads its end and replaces it.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(job)
        return True

    def _choose(self, worker: _Worker[J]) -> deque[J] | None:
        """Stay in a worker's scene; else begin the first that nobody walks; else help where most is left."""
        left = {group: jobs for group, jobs in self._groups.items() if jobs}
        if not left:
            return None
        if worker.group in left:
            return left[worker.group]
        taken = {other.group for other in self._workers if other is not worker}
        free = [group for group in left if group not in taken]
        return left[free[0] if free else max(left, key=lambda group: len(left[group]))]

    def _replace(self, worker: _Worker[J]) -> None:
        worker.process.join()
        worker.pipe.close()
        suspects = list(islice(worker.jobs.values(), self._together(next(iter(worker.jobs.values())))))
        for suspect in suspects:
            self._deaths[suspect.key] = self._deaths.get(suspect.key, 0) + 1
        if guilty := [suspect for suspect in suspects if self._deaths[suspect.key] > 1]:
            which = str(guilty[0]) if len(guilty) == 1 else f"{guilty[0]}, or one of {len(guilty) - 1} done beside it"
            raise WorkerError(f"{which}: two worker processes died on it", _obituary(worker.process.exitcode))
        for job in reversed(worker.jobs.values()):
            self._groups[job.group].appendleft(job)
        place = self._workers.index(worker)
        fresh = self._workers[place] = self._hire(place)
        self._feed(fresh)


def _obituary(code: int | None) -> str:
    if code is not None and code < 0:
        hint = " (often the system, out of memory: use fewer workers)" if -code == signal.SIGKILL else ""
        return f"the last was ended by {signal.Signals(-code).name}{hint}"
    return f"the last exited with code {code}"


class _OneByOne(Generic[J, R]):
    """A hand as hands that have one job at a time."""

    def __init__(self, hand: Hand[J, R]) -> None:
        self._hand = hand
        self.at_hand: J | None = None
        self.close = hand.close

    @property
    def busy(self) -> bool:
        return self.at_hand is not None

    @property
    def free(self) -> bool:
        return self.at_hand is None

    def take(self, job: J) -> None:
        self.at_hand = job

    def advance(self) -> Sequence[tuple[J, R]]:
        assert self.at_hand is not None
        done = (self.at_hand, self._hand.do(self.at_hand))
        self.at_hand = None
        return [done]


def _serve(pipe: Connection, make: Callable[[], Hand[Any, Any] | Hands[Any, Any]]) -> None:
    """Do what comes through the pipe until it closes, or the parent is killed: nobody else may write where its run folder was."""
    end_with_the_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    hands: Hands[Any, Any] | None = None
    try:
        made: Any = make()
        hands = _OneByOne(made) if hasattr(made, "do") else made
        while True:
            while hands.free and (not hands.busy or pipe.poll()):
                hands.take(pipe.recv())
            for job, result in hands.advance():
                pipe.send((job.key, result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone or done
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent must tell it)
        place = f"{hands.at_hand}: " if hands is not None and hands.at_hand is not None else ""
        fault = _Failure(
            f"{place}{type(error).__name__}: {error}", traceback.format_exc(), isinstance(error, ValueError | OSError)
        )
        with suppress(OSError):  # the parent may have ended for the same fault
            pipe.send(fault)
    finally:
        if hands is not None:
            hands.close()
