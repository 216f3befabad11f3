"""Worker processes that walk the episodes of a benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from navloop.configs.schema import EvalConfig
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.training.batch_walker import BatchWalker
from navloop.training.entrants import Entrant
from navloop.training.pool import WorkerError, do_jobs
from navloop.training.rows import Row
from navloop.training.walker import Walker

__all__ = ["Job", "WorkerError", "run_jobs"]


class Job(NamedTuple):
    """An agent, by its label, and the episode that it is to walk."""

    agent: str
    episode: Episode

    @property
    def key(self) -> tuple[str, str]:
        """What no other job has."""
        return self.agent, self.episode.episode_id

    @property
    def group(self) -> tuple[str, str]:
        """The agent and its scene."""
        return self.agent, self.episode.scene_id

    def __str__(self) -> str:
        return f"agent {self.agent}, episode {self.episode.episode_id} ({self.episode.scene_id})"


def run_jobs(
    config: EvalConfig, entrants: Sequence[Entrant], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Row]]:
    """Walk every job and yield each with its row as it finishes. Closing the iterator ends the workers.

    Raises:
        WorkerError: If an episode raises in its worker, or kills two (`navloop.training.pool`).
    """
    waiting = Counter(job.agent for job in jobs)
    known = {
        entrant.label: replace(entrant, lanes=min(entrant.lanes, -(-waiting[entrant.label] // workers) or 1))
        for entrant in entrants
    }
    threads = max(1, usable_processors() // workers)
    return do_jobs(partial(_hire, config, known, threads), jobs, workers, lambda job: known[job.agent].lanes)


def _hire(config: EvalConfig, entrants: Mapping[str, Entrant], threads: int, place: int) -> partial[_Crew]:
    devices = config.gpu_devices
    own = config.model_copy(update={"gpu_devices": (devices[place % len(devices)],)})
    return partial(_Crew, own, entrants, threads, place)


class _Crew:
    """The agents of a benchmark, in one worker. One of them walks at a time: alone, or in lanes if it can act for many."""

    def __init__(self, config: EvalConfig, entrants: Mapping[str, Entrant], threads: int, place: int) -> None:
        self._config = config
        self._entrants = entrants
        self._threads = threads
        self._place = place
        self._agents: dict[str, Any] = {}
        self._alone = Walker(config)
        self._lanes = BatchWalker(config)
        self._walking = ""
        self._aside: Job | None = None

    @property
    def at_hand(self) -> Job | None:
        """The job that is just worked on; None if it is several."""
        if not self._lanes.busy:
            return self._aside
        episode = self._lanes.at_hand
        return None if episode is None else Job(self._walking, episode)

    @property
    def busy(self) -> bool:
        """Whether any episode is under way, or waits for its turn."""
        return self._aside is not None or self._lanes.busy

    @property
    def free(self) -> bool:
        """Whether a further episode can be taken."""
        return self._aside is None and (self._lanes.free or not self._lanes.busy)

    def take(self, job: Job) -> None:
        """Begin an episode; that of another agent when those under way are done."""
        self._aside = job
        self._begin()

    def advance(self) -> list[tuple[Job, Row]]:
        """Take one action in every lane, or walk the one episode of an agent that acts alone."""
        if not self._lanes.busy:
            assert self._aside is not None
            done = [(self._aside, self._walk_alone(self._aside))]
            self._aside = None
            return done
        walked = self._lanes.step()
        done = [(Job(self._walking, episode), row) for episode, row in walked]
        self._begin()
        return done

    def close(self) -> None:
        """Give back what agents and simulators hold."""
        self._lanes.close()
        self._alone.close()
        for agent in self._agents.values():
            if hasattr(agent, "close"):
                agent.close()

    def _begin(self) -> None:
        """Begin what was put aside, if it is for lanes that are open to it."""
        job = self._aside
        if job is None or self._entrants[job.agent].kind != "saved":
            return
        if job.agent != self._walking:
            if self._lanes.busy:
                return
            self._enter(job.agent)
        self._lanes.begin(job.episode)
        self._aside = None

    def _enter(self, label: str) -> None:
        self._alone.close()  # there is one world at a time: two would hold every scene twice
        entrant = self._entrants[label]
        self._lanes.enter(self._agent(entrant), entrant.lanes, entrant.control == "blank")
        self._walking = label

    def _walk_alone(self, job: Job) -> Row:
        self._lanes.close()
        self._walking = ""
        entrant = self._entrants[job.agent]
        return self._alone.walk(self._agent(entrant), job.episode, entrant.control == "blank")

    def _agent(self, entrant: Entrant) -> Any:
        """Return an agent, made once; one under a control is the same one."""
        if entrant.source not in self._agents:
            if entrant.kind == "saved":
                import torch  # workers of agents without networks load none of it

                # Never more than OMP_NUM_THREADS allows: whoever shares a machine pays dearly for threads that wait for each other.
                torch.set_num_threads(min(self._threads, torch.get_num_threads()))
            self._agents[entrant.source] = entrant.make(self._config, self._place)
        return self._agents[entrant.source]
