"""Worker processes that walk the episodes of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from navloop.agent import Agent, create_agent
from navloop.configs.schema import EvalConfig
from navloop.records import Episode
from navloop.training.pool import WorkerError, do_jobs
from navloop.training.rows import Row
from navloop.training.walker import Walker

__all__ = ["Job", "WorkerError", "run_jobs"]


class Job(NamedTuple):
    """An agent and the episode that it is to walk."""

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


def run_jobs(config: EvalConfig, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Row]]:
    """Walk every job and yield each with its row as it finishes. Closing the iterator ends the workers.

    Raises:
        WorkerError: If an episode raises in its worker, or kills two (`navloop.training.pool`).
    """
    return do_jobs(partial(_hire, config), jobs, workers)


def _hire(config: EvalConfig, place: int) -> partial[_Crew]:
    devices = config.gpu_devices
    return partial(_Crew, config.model_copy(update={"gpu_devices": (devices[place % len(devices)],)}))


class _Crew:
    """The agents of a benchmark, in one worker."""

    def __init__(self, config: EvalConfig) -> None:
        self._walker = Walker(config)
        self._agents: dict[str, Agent] = {}

    def do(self, job: Job) -> Row:
        if job.agent not in self._agents:
            self._agents[job.agent] = create_agent(job.agent)
        return self._walker.walk(self._agents[job.agent], job.episode)

    def close(self) -> None:
        self._walker.close()
