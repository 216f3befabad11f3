"""Worker processes that walk episodes. The parent deals, one scene a worker where it can, and loses no episode to a crash."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from navloop.agent import Agent, create_agent
from navloop.configs.schema import EvalConfig
from navloop.records import Episode
from navloop.training.rows import Row
from navloop.training.walker import Walker

AHEAD = 2
"""Jobs a worker holds: the one under way, and the next, so that it never waits for the parent."""


class WorkerError(RuntimeError):
    """An episode could not be walked; the message names it. Rows that were finished before are kept.

    Attributes:
        story: The worker's traceback, or how its process ended.
        is_input: Whether the fault lies in what the user gave (a scene, a file), not in the code.
    """

    def __init__(self, message: str, story: str, is_input: bool = False) -> None:
        super().__init__(message if is_input else f"{message}\n{story}")
        self.story = story
        self.is_input = is_input


class Job(NamedTuple):
    """An agent and the episode that it is to walk."""

    agent: str
    episode: Episode

    def __str__(self) -> str:
        return f"agent {self.agent}, episode {self.episode.episode_id} ({self.episode.scene_id})"


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    story: str
    is_input: bool


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    jobs: deque[Job] = field(default_factory=deque)
    group: tuple[str, str] | None = None


def run_jobs(config: EvalConfig, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Row]]:
    """Walk every job and yield each with its row as it finishes. Closing the iterator ends the workers.

    A worker that dies (killed, out of memory) is replaced and its episodes are walked again; an episode that takes two workers with
    it is an error.

    Raises:
        WorkerError: If an episode raises in its worker, or kills two.
    """
    pool = _Pool(config, jobs, workers)
    try:
        yield from pool.run()
    finally:
        pool.close()


class _Pool:
    def __init__(self, config: EvalConfig, jobs: Sequence[Job], workers: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._config = config
        self._groups: dict[tuple[str, str], deque[Job]] = {}
        for job in jobs:
            self._groups.setdefault((job.agent, job.episode.scene_id), deque()).append(job)
        self._deaths: dict[tuple[str, str], int] = {}
        self._workers = [self._hire(place) for place in range(min(workers, len(jobs)))]

    def run(self) -> Iterator[tuple[Job, Row]]:
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

    def _hire(self, place: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        devices = self._config.gpu_devices
        config = self._config.model_copy(update={"gpu_devices": (devices[place % len(devices)],)})
        process = self._context.Process(target=_serve, args=(theirs, config), daemon=True, name="navloop worker")
        process.start()
        theirs.close()  # so that our end reads end-of-file when the worker dies
        return _Worker(process, ours)

    def _feed(self, worker: _Worker) -> None:
        while len(worker.jobs) < AHEAD and (job := self._deal(worker)) is not None:
            worker.jobs.append(job)
            try:
                worker.pipe.send(job)
            except (BrokenPipeError, ConnectionResetError):
                return  # it died; `run` reads the end of its pipe and replaces it

    def _deal(self, worker: _Worker) -> Job | None:
        """Stay in a worker's scene; else begin the first that nobody walks; else help where most is left."""
        left = {group: jobs for group, jobs in self._groups.items() if jobs}
        if not left:
            return None
        if worker.group not in left:
            taken = {other.group for other in self._workers if other is not worker}
            free = [group for group in left if group not in taken]
            worker.group = free[0] if free else max(left, key=lambda group: len(left[group]))
        assert worker.group is not None
        return left[worker.group].popleft()

    def _replace(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        suspect, key = worker.jobs[0], (worker.jobs[0].agent, worker.jobs[0].episode.episode_id)
        self._deaths[key] = self._deaths.get(key, 0) + 1
        if self._deaths[key] > 1:
            raise WorkerError(f"{suspect}: two worker processes died on it", _obituary(worker.process.exitcode))
        for job in reversed(worker.jobs):
            self._groups[job.agent, job.episode.scene_id].appendleft(job)
        place = self._workers.index(worker)
        fresh = self._workers[place] = self._hire(place)
        self._feed(fresh)


def _obituary(code: int | None) -> str:
    if code is not None and code < 0:
        hint = " (often the system, out of memory: use fewer workers)" if -code == signal.SIGKILL else ""
        return f"the last was ended by {signal.Signals(-code).name}{hint}"
    return f"the last exited with code {code}"


def _serve(pipe: Connection, config: EvalConfig) -> None:
    """Walk what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    walker = Walker(config)
    agents: dict[str, Agent] = {}
    job: Job | None = None
    try:
        while True:
            job = pipe.recv()
            if job.agent not in agents:
                agents[job.agent] = create_agent(job.agent)
            pipe.send(walker.walk(agents[job.agent], job.episode))
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
        walker.close()
