"""Many environments in many processes: frames through shared memory, tracebacks through the pipe, crashed workers replaced."""

from __future__ import annotations

import multiprocessing
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space

from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import text_space
from navloop.envs.protocols import Protocol
from navloop.envs.worker import SharedFrames, serve
from navloop.envs.worlds import make_vln

Make = Callable[[], gymnasium.Env[Any, Any]]


class WorkerError(RuntimeError):
    """Environment processes failed, or are out of step since a call was interrupted; `recover` or `reset` replaces them.

    Attributes:
        workers: Places of these environments.
    """

    def __init__(self, failures: Mapping[int, str]) -> None:
        self.workers = tuple(failures)
        places: dict[str, list[str]] = {}
        for index, story in failures.items():
            places.setdefault(story, []).append(str(index))
        told = "\n".join(
            f"environment{'s' if len(those) > 1 else ''} {', '.join(those)} {story}" for story, those in places.items()
        )
        them = "it" if len(failures) == 1 else "them"
        super().__init__(f"{told}\nCall recover() to replace {them} and go on, or reset() to start all anew.")


_FAILED = "failed earlier"
_INTERRUPTED = "did not finish a call that was interrupted; episodes under way there are lost"


class VectorNavigationEnv(VectorEnv[Any, Any, Any]):
    """One process an environment. Observations: arrays (E, ...) for every camera, and a tuple of E instructions.

    Workers write frames in place into memory that the parent sees, so a batch is never pickled. An environment whose episode ends
    starts the next one in the same step (`AutoresetMode.SAME_STEP`: `infos["final_obs"]` and `infos["final_info"]` hold the end), or
    waits for `reset(options={"reset_mask": bool (E,)})` (`AutoresetMode.DISABLED`).

    Where a call is interrupted, by Ctrl-C or by any exception on this side, the episodes of the environments that it asked are lost: every
    further call says so, until `recover` or `reset` replaces their processes and starts new episodes.

    Args:
        makes: One callable for each of the E environments; they must agree on both spaces. `shards` gives them.
        autoreset: What happens at an episode's end.
        copy: Whether observations are copies; False hands out the shared memory itself, overwritten by the next step.
        start: Start method of the processes: "spawn", "forkserver" or "fork".

    Raises:
        TypeError: If actions are not of a Discrete space, or observations not of a Dict.
        WorkerError: From any call during which a worker raises or dies, with its traceback; the others have finished that call. And from
            any call but `recover` and `reset` after that, or after a call that was interrupted.
    """

    def __init__(
        self,
        makes: Sequence[Make],
        *,
        autoreset: AutoresetMode = AutoresetMode.SAME_STEP,
        copy: bool = True,
        start: str = "spawn",
    ) -> None:
        if autoreset == AutoresetMode.NEXT_STEP:
            raise ValueError("autoreset is SAME_STEP or DISABLED here; NEXT_STEP would waste a step an episode")
        self.num_envs = len(makes)
        self.metadata = {"autoreset_mode": autoreset}
        probe = makes[0]()
        self.single_observation_space, self.single_action_space = probe.observation_space, probe.action_space
        probe.close()
        if not isinstance(self.single_action_space, spaces.Discrete):
            raise TypeError(f"expected a Discrete action space, got {self.single_action_space}")
        first, count = int(self.single_action_space.start), int(self.single_action_space.n)
        self._allowed = range(first, first + count)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._makes, self._autoreset, self._copy = tuple(makes), autoreset, copy
        self._context = multiprocessing.get_context(start)
        self._memory = SharedFrames(self.single_observation_space, self.num_envs, self._context)
        self._instructions = [""] * self.num_envs
        self._lost: dict[int, str] = {}
        """Places whose workers must be replaced before they are asked again, and why."""
        self._workers = [self._hire(index) for index in range(self.num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment, or where `options["reset_mask"]` is True.

        Workers that failed, or whose call was interrupted, are replaced where they are among these.

        Args:
            seed: Seeds environment i with seed + i, or with the i-th of a sequence.
            options: "reset_mask" bool (E,); everything else goes to each environment's own `reset`.

        Raises:
            ValueError: If there is not one seed, or not one truth value of the mask, for each environment.
        """
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"reset_mask is {mask!r}; give {self.num_envs} truth values, one for each environment")
        seeds, chosen = _seeds(seed, self.num_envs), np.flatnonzero(mask).tolist()
        with self._answers(chosen, "reset", [{"seed": seeds[i], "options": options} for i in chosen]) as replies:
            infos: dict[str, Any] = {}
            for index, info in replies.items():
                infos = self._add_info(infos, info, index)
            return self._observations(), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one action (E,) in every environment.

        Args:
            actions: Whole numbers of the action space: a list, or an array of integers. They are checked before any is taken.

        Returns:
            Observations, rewards float64 (E,), terminated and truncated bool (E,), infos (gymnasium's batched form).

        Raises:
            ValueError: If there is not one action for each environment, or one is not in the action space.
        """
        codes = _codes(actions, self.num_envs, self._allowed)
        with self._answers(range(self.num_envs), "step", codes) as replies:
            rewards, terminated, truncated = (np.zeros(self.num_envs, dtype) for dtype in (np.float64, bool, bool))
            infos: dict[str, Any] = {}
            for index, (rewards[index], terminated[index], truncated[index], info) in replies.items():
                infos = self._add_info(infos, info, index)
            return self._observations(), rewards, terminated, truncated, infos

    def call(self, name: str, *args: Any) -> tuple[Any, ...]:
        """Return attribute `name` of each environment, called with `args` where it is callable."""
        with self._answers(range(self.num_envs), "call", [(name, args)] * self.num_envs) as replies:
            return tuple(replies[index] for index in range(self.num_envs))

    def recover(self) -> tuple[Any, dict[str, Any]]:
        """Replace every worker that failed or whose call was interrupted, and start an episode there; the others stay as they are.

        Returns:
            Observations of all environments, and the infos of the replaced ones.
        """
        return self.reset(options={"reset_mask": np.isin(np.arange(self.num_envs), list(self._lost))})

    def close_extras(self, **kwargs: Any) -> None:
        """End the worker processes."""
        for index in range(self.num_envs):
            self._dismiss(index)

    def _hire(self, index: int) -> tuple[Any, Connection]:
        ours, theirs = self._context.Pipe()
        make = CloudpickleWrapper(self._makes[index])
        same_step = self._autoreset == AutoresetMode.SAME_STEP
        process = self._context.Process(  # type: ignore[attr-defined]
            target=serve, args=(make, theirs, self._memory, index, same_step), daemon=True, name=f"navloop-env-{index}"
        )
        process.start()
        theirs.close()
        return process, ours

    def _dismiss(self, index: int) -> None:
        process, pipe = self._workers[index]
        try:
            if index in self._lost:  # it may still be at work, or stuck, and must write no frame into the next episode
                process.kill()
            else:
                pipe.send(("close", None))
        except OSError:
            pass  # it is gone already, which is what closing asks for
        pipe.close()
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()

    @contextmanager
    def _answers(self, asked: Iterable[int], command: str, data: Sequence[Any]) -> Iterator[dict[int, Any]]:
        """Ask environments, and give their answers to the block; they count as lost until the block is through.

        An interrupted call leaves answers in the pipes, and perhaps half of one: no later call could tell them from its own.
        """
        asked = list(asked)
        # All is pickled before anything is sent: what cannot be leaves every worker as it was.
        messages = [ForkingPickler.dumps((command, item)) for item in data]
        if self._lost and (command != "reset" or not self._lost.keys() <= {*asked}):
            raise WorkerError(dict(sorted(self._lost.items())))
        for index in self._lost:
            self._dismiss(index)
            self._workers[index] = self._hire(index)
        self._lost = dict.fromkeys(asked, _INTERRUPTED)
        replies, failures = self._exchange(asked, messages)
        if failures:
            self._lost = dict.fromkeys(failures, _FAILED)
            raise WorkerError(failures)
        yield replies
        self._lost = {}

    def _exchange(self, asked: Sequence[int], messages: Sequence[Any]) -> tuple[dict[int, Any], dict[int, str]]:
        replies: dict[int, Any] = {}
        failures: dict[int, str] = {}
        for index, message in zip(asked, messages, strict=True):
            try:
                self._workers[index][1].send_bytes(message)
            except OSError:
                failures[index] = self._obituary(index)
        for index in asked:
            if index not in failures:
                self._hear(index, replies, failures)
        return replies, failures

    def _hear(self, index: int, replies: dict[int, Any], failures: dict[int, str]) -> None:
        try:
            fine, reply = self._workers[index][1].recv()
        except (EOFError, OSError):
            failures[index] = self._obituary(index)
            return
        if not fine:
            failures[index] = f"failed in a worker process:\n{reply}"
            return
        # The frames are in the shared memory already; the text follows them, even if another worker fails in the same call.
        instruction, replies[index] = reply
        if instruction is not None:
            self._instructions[index] = instruction

    def _obituary(self, index: int) -> str:
        process = self._workers[index][0]
        process.join(timeout=5)
        code = process.exitcode
        interrupted = "ended by itself, as Ctrl-C makes it"
        causes = {-9: "was killed, perhaps for want of memory", -2: interrupted, 0: interrupted}
        cause = causes.get(code, "died without a traceback")
        return f"failed in a worker process:\nthe process {cause} (exit code {code})"

    def _observations(self) -> dict[str, Any]:
        frames = self._memory.views()
        if self._copy:
            frames = {name: array.copy() for name, array in frames.items()}
        return {**frames, "instruction": tuple(self._instructions)}


def shards(
    episodes: Path | str,
    scenes: Path | str,
    num_envs: int,
    protocol: str | Protocol = "houses",
    gpu_devices: Sequence[int] | None = None,
    **options: Any,
) -> list[Make]:
    """Return what makes each of E environments, every one with its own part of an episode file.

    Episodes are dealt in runs of whole scenes as far as the count allows, so that a worker loads few scenes.

    Args:
        episodes: An episode file.
        scenes: Folder that its scene ids are relative to.
        num_envs: E.
        protocol: Name or value of a protocol.
        gpu_devices: What the environments draw on, dealt in turn: the `gpu_device` of the world "habitat"; None leaves it to `options`.
        **options: Further arguments of `make_vln`.
    """
    file = read_episodes(Path(episodes))
    if not 1 <= num_envs <= len(file.episodes):
        raise ValueError(f"num_envs is {num_envs}, but {file.path} has {len(file.episodes)} episodes to share")
    ordered = sorted(range(len(file.episodes)), key=lambda i: file.episodes[i].scene_id)
    space = text_space(file.episodes)
    devices = [
        {} if gpu_devices is None else {"gpu_device": gpu_devices[i % len(gpu_devices)]} for i in range(num_envs)
    ]
    make = partial(make_vln, episodes, scenes, protocol, instruction_space=space, **options)
    parts = np.array_split(ordered, num_envs)
    return [partial(make, numbers=tuple(map(int, part)), **device) for part, device in zip(parts, devices, strict=True)]


def make_vln_vector(
    num_envs: int, episodes: Path | str, scenes: Path | str, protocol: str | Protocol = "r2r-ce", **options: Any
) -> VectorNavigationEnv:
    """Make E environments over one episode file; `gymnasium.make_vec("navloop/VLN-v0", num_envs=E, ...)` calls it."""
    return VectorNavigationEnv(shards(episodes, scenes, num_envs, protocol, **options))


def _codes(actions: Any, num_envs: int, allowed: range) -> list[int]:
    """Return actions as plain integers, which pickle small; ValueError if one is missing, no whole number or not allowed."""
    expected = f"whole numbers from {allowed[0]} to {allowed[-1]}"
    try:
        given = list(actions.tolist() if hasattr(actions, "tolist") else actions)
    except TypeError:
        raise ValueError(f"actions is {actions!r}; give {num_envs} {expected}, one for each environment") from None
    if len(given) != num_envs:
        raise ValueError(
            f"there are {len(given)} actions for {num_envs} environments; give one for each, {expected}: {given}"
        )
    for place, action in enumerate(given):
        try:
            known = not isinstance(action, bool) and operator.index(action) in allowed
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"the action of environment {place} is {action!r}; actions are {expected}")
    return [operator.index(action) for action in given]


def _seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return the seed of each environment."""
    if seed is None or isinstance(seed, int | np.integer):
        return [None if seed is None else int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed has {len(seed)} entries for {num_envs} environments; give one for each, or one for all")
    return list(seed)
