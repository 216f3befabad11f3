"""Walks made and measured in worker processes: parts of an iteration, and episodes to be judged by. The same for any number of workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from rich.console import Console

from navloop.agent.agents import BatchAgent
from navloop.agent.perception import Perception
from navloop.agent.perception import Walk as SeenWalk
from navloop.agent.policy_agent import PolicyAgent
from navloop.agent.saving import load_agent
from navloop.configs.imitation import EpisodesConfig
from navloop.envs.metrics import evaluate as measure
from navloop.processes import end_with_the_parent
from navloop.records import Episode
from navloop.training.mirroring import mirror_frames
from navloop.training.pool import WorkerError
from navloop.training.preparation import prepare_crew
from navloop.training.progress import FilmProgress
from navloop.training.rollout import episode_seed
from navloop.training.rollouts import Rollouts, Rules, protocol_of
from navloop.training.rows import Row
from navloop.training.walks import Frames, Walk, WalkFolder, write_features, write_frames


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a crew walks, and with what.

    Attributes:
        episodes: World and protocol.
        depth: Whether a depth camera is drawn.
        lanes: Environments a process.
        device: Of the agent's weights.
    """

    episodes: EpisodesConfig
    depth: bool
    lanes: int
    device: str


class Order(NamedTuple):
    """A part of an iteration that is to be walked.

    Attributes:
        folder: Of the iteration's walks.
        number: Of the part.
        episodes: What to walk, in this order.
        agent: Folder of the agent that acts, or sees.
        rules: Who acts when.
        seed: Of the iteration's draws.
        keeps_features: Whether what the agent sees in the frames is kept beside them.
        mirrored: Whether what it sees in them in a mirror is kept too.
    """

    folder: Path
    number: int
    episodes: tuple[Episode, ...]
    agent: Path
    rules: Rules
    seed: int
    keeps_features: bool
    mirrored: bool = False


class Trial(NamedTuple):
    """Episodes that an agent is to be measured on."""

    agent: Path
    episodes: tuple[Episode, ...]
    seed: int


class Hand:
    """Does orders and trials in one process.

    Args:
        ground: Where.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        protocol = protocol_of(ground.episodes, ground.depth)
        self._rollouts = Rollouts(ground.episodes, protocol, ground.lanes)
        self._agent: tuple[Path, PolicyAgent] | None = None

    def collect(self, order: Order) -> tuple[int, list[Walk]]:
        """Walk a part, write its frames and features, and return its number and its walks, which are not in the index yet."""
        with one_thread():
            agent = self._load(order.agent, order.rules.temperature)
            acts = None if order.rules.beta == 1 else agent
            done = list(self._rollouts.collect(acts, order.episodes, order.rules, order.seed))
            place = {episode.episode_id: number for number, episode in enumerate(order.episodes)}
            done.sort(key=lambda rollout: place[rollout.walk.episode_id])
            folder, perception = WalkFolder(order.folder), agent.perception
            if order.keeps_features:
                seen = [rollout.percepts for rollout in done if rollout.percepts is not None]
                features = seen if len(seen) == len(done) else encode(perception, [rollout.frames for rollout in done])
                write_features(folder.features_file(perception.digest, order.number), features)
                if order.mirrored:
                    turned = encode(perception, [mirror_frames(rollout.frames) for rollout in done])
                    write_features(folder.features_file(perception.digest, order.number, mirrored=True), turned)
            write_frames(folder.frames_file(order.number), [rollout.frames for rollout in done])
        return order.number, [rollout.walk for rollout in done]

    def measure(self, trial: Trial) -> list[Row]:
        """Walk episodes with an agent alone and return their rows."""
        with one_thread():
            return measure_walks(self._rollouts, self._load(trial.agent), trial)

    def close(self) -> None:
        """Give the simulators back."""
        self._rollouts.close()

    def _load(self, folder: Path, temperature: float = 0.0) -> PolicyAgent:
        if self._agent is None or self._agent[0] != folder:
            self._agent = folder, load_agent(folder, device=self._ground.device)
        self._agent[1].temperature = temperature
        return self._agent[1]


def measure_walks(rollouts: Rollouts, agent: BatchAgent, trial: Trial) -> list[Row]:
    """Walk a trial's episodes with its agent alone and return their rows, in the order in which they end."""
    return [
        Row.of(e, episode_seed(trial.seed, e.episode_id), measure(trajectory, e, rollouts.protocol), trajectory)
        for e, trajectory in rollouts.walk(agent, trial.episodes, trial.seed)
    ]


O_contra = TypeVar("O_contra", contravariant=True)
D_co = TypeVar("D_co", covariant=True)


class Hands(Protocol[O_contra, D_co]):
    """Whoever does orders of one sort, and trials, in one process."""

    def collect(self, order: O_contra) -> D_co:
        """Do an order; what comes of it travels between processes."""

    def measure(self, trial: Trial) -> list[Row]:
        """Walk episodes with an agent alone and return their rows."""

    def close(self) -> None:
        """Give the simulators back."""


O = TypeVar("O")
D = TypeVar("D")


class Workforce(Generic[O, D]):
    """Hands of one sort in worker processes, or one in this process; none is hired before there is work.

    Args:
        ground: Where they walk.
        workers: Processes; 1 is this one.
        hire: Makes one for the ground.
    """

    def __init__(self, ground: Ground, workers: int, hire: Callable[[Ground], Hands[O, D]]) -> None:
        self._ground, self._workers, self._hire = ground, workers, hire
        self._pool: ProcessPoolExecutor | None = None
        self._hand: Hands[O, D] | None = None
        if workers > 1:
            prepare_crew(ground.episodes.world)

    def collect(self, orders: Sequence[O]) -> Iterator[D]:
        """Do orders and yield what comes of each as it is done."""
        if self._workers == 1:
            yield from map(self._own_hand().collect, orders)
        else:
            yield from _as_done(self._hired().submit(_collect, order) for order in orders)

    def measure(self, trials: Sequence[Trial]) -> Iterator[list[Row]]:
        """Do trials and yield the rows of each as it is done."""
        if self._workers == 1:
            yield from map(self._own_hand().measure, trials)
        else:
            yield from _as_done(self._hired().submit(_measure, trial) for trial in trials)

    def close(self) -> None:
        """Let everybody go."""
        if self._hand is not None:
            self._hand.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _own_hand(self) -> Hands[O, D]:
        self._hand = self._hand or self._hire(self._ground)
        return self._hand

    def _hired(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A worker that outlived a killed parent would write into a folder that somebody else may hold by then.
            context = multiprocessing.get_context("forkserver")
            hired = (self._hire, self._ground)
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_hire, initargs=hired)
        return self._pool


class Crew(Workforce[Order, tuple[int, list[Walk]]]):
    """A workforce of `Hand`: it yields the number and the walks of each part.

    Args:
        ground: Where they walk.
        workers: Processes; 1 is this one.
    """

    def __init__(self, ground: Ground, workers: int) -> None:
        super().__init__(ground, workers, Hand)


def walk_parts(crew: Crew, folder: WalkFolder, orders: Sequence[Order], total: int, console: Console | None) -> None:
    """Have parts walked that a folder lacks, and enter each as it is done; in the end they are in order.

    Args:
        crew: Who walks.
        folder: Where they belong.
        orders: One for each part.
        total: Walks that the folder has in the end, for whoever watches.
        console: Where it is shown; None shows nothing.
    """
    progress = FilmProgress(console, total - sum(len(order.episodes) for order in orders), total)
    try:
        for number, walks in crew.collect(orders):
            folder.append(number, walks)
            for walk in walks:
                progress.add(len(walk))
    finally:
        progress.close()
    folder.sort()


def encode(perception: Perception, walks: Sequence[Frames]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float16]]]:
    """Return what a perception makes of walks, float16 (S, n, D) each."""
    seen = perception.encode_walks([SeenWalk(frames.rgb, frames.depth) for frames in walks])
    return [percepts.numpy().astype(np.float16) for percepts in seen]


def encode_missing(folder: WalkFolder, perception: Perception, mirrored: bool = False) -> None:
    """Write the features that a folder's parts lack by this perception, from their frames."""
    for part in folder.parts:
        for turned in (False, True)[: 1 + mirrored]:
            path = folder.features_file(perception.digest, part.number, turned)
            if not path.is_file():
                frames = folder.frames(part.number)
                write_features(path, encode(perception, [mirror_frames(seen) if turned else seen for seen in frames]))


_hand: Hands[Any, Any] | None = None


def _hire(hire: Callable[[Ground], Hands[Any, Any]], ground: Ground) -> None:
    global _hand
    end_with_the_parent()
    _hand = hire(ground)


def _collect(order: Any) -> Any:
    assert _hand is not None
    return _hand.collect(order)


def _measure(trial: Trial) -> list[Row]:
    assert _hand is not None
    return _hand.measure(trial)


def _as_done(jobs: Iterable[Future]) -> Iterator:  # type: ignore[type-arg]
    """Submit jobs and yield results as they come.

    Raises:
        WorkerError: If a process is gone, whose work nobody else does.
    """
    futures: list[Future] = []  # type: ignore[type-arg]
    try:
        futures.extend(jobs)
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process could not begin, and what is above says why, or was ended, as the system ends those that take too much memory: try "
            "fewer workers or lanes then; what was walked is kept, and the same command goes on",
            str(error),
            is_input=True,
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute as a worker among others does, so that it is the same wherever it is done."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
