"""Many environments in many processes: frames through shared memory, tracebacks through the pipe, crashed workers replaced."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space

from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import text_space
from navloop.envs.protocols import Protocol
from navloop.envs.worker import SharedFrames, serve
from navloop.envs.worlds import make_vln

Make = Callable[[], gymnasium.Env[Any, Any]]


class WorkerError(RuntimeError):
    """An environment process failed; `recover` replaces it.

    Attributes:
        workers: Places of the failed environments.
    """

    def __init__(self, failures: dict[int, str]) -> None:
        self.workers = tuple(failures)
        told = "\n".join(
            f"environment {index} failed in its worker process:\n{story}" for index, story in failures.items()
        )
        super().__init__(f"{told}\nCall recover() to replace {'it' if len(failures) == 1 else 'them'} and go on.")


class VectorNavigationEnv(VectorEnv[Any, Any, Any]):
    """One process an environment. Observations: arrays (E, ...) for every camera, and a tuple of E instructions.

    Workers write frames in place into memory that the parent sees, so a batch is never pickled. An environment whose episode ends
    starts the next one in the same step (`AutoresetMode.SAME_STEP`: `infos["final_obs"]` and `infos["final_info"]` hold the end), or
    waits for `reset(options={"reset_mask": bool (E,)})` (`AutoresetMode.DISABLED`).

    Args:
        makes: One callable for each of the E environments; they must agree on both spaces. `shards` gives them.
        autoreset: What happens at an episode's end.
        copy: Whether observations are copies; False hands out the shared memory itself, overwritten by the next step.
        start: Start method of the processes: "spawn", "forkserver" or "fork".

    Raises:
        WorkerError: From any call during which a worker raises or dies, with its traceback; the others have finished that call.
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
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._makes, self._autoreset, self._copy = tuple(makes), autoreset, copy
        self._context = multiprocessing.get_context(start)
        self._memory = SharedFrames(self.single_observation_space, self.num_envs, self._context)
        self._instructions = [""] * self.num_envs
        self._failed: set[int] = set()
        self._workers = [self._hire(index) for index in range(self.num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment, or where `options["reset_mask"]` is True.

        Args:
            seed: Seeds environment i with seed + i, or with the i-th of a sequence.
            options: "reset_mask" bool (E,); everything else goes to each environment's own `reset`.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = (
            [None if seed is None else seed + i for i in range(self.num_envs)] if isinstance(seed, int | None) else seed
        )
        chosen = np.flatnonzero(mask)
        replies = self._ask(chosen, "reset", [{"seed": seeds[int(i)], "options": options} for i in chosen])
        infos: dict[str, Any] = {}
        for index, info in replies.items():
            infos = self._add_info(infos, info, index)
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one action (E,) in every environment.

        Returns:
            Observations, rewards float64 (E,), terminated and truncated bool (E,), infos (gymnasium's batched form).
        """
        everyone = np.arange(self.num_envs)
        replies = self._ask(everyone, "step", list(_plain(actions)))
        rewards, terminated, truncated = (np.zeros(self.num_envs, dtype) for dtype in (np.float64, bool, bool))
        infos: dict[str, Any] = {}
        for index, (rewards[index], terminated[index], truncated[index], info) in replies.items():
            infos = self._add_info(infos, info, index)
        return self._observations(), rewards, terminated, truncated, infos

    def call(self, name: str, *args: Any) -> tuple[Any, ...]:
        """Return attribute `name` of each environment, called with `args` where it is callable."""
        replies = self._ask(np.arange(self.num_envs), "call", [(name, args)] * self.num_envs)
        return tuple(replies[index] for index in range(self.num_envs))

    def recover(self) -> tuple[Any, dict[str, Any]]:
        """Replace every failed worker and start an episode there; the others stay as they are.

        Returns:
            Observations of all environments, and the infos of the replaced ones.
        """
        failed = sorted(self._failed)
        for index in failed:
            self._dismiss(index)
            self._workers[index] = self._hire(index)
        self._failed.clear()
        mask = np.isin(np.arange(self.num_envs), failed)
        return self.reset(options={"reset_mask": mask})

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
            pipe.send(("close", None))
        except OSError:
            pass  # it is gone already, which is what closing asks for
        pipe.close()
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()

    def _ask(self, indices: Iterable[int], command: str, data: Sequence[Any]) -> dict[int, Any]:
        if self._failed:
            raise WorkerError({index: "it failed earlier" for index in sorted(self._failed)})
        failures: dict[int, str] = {}
        asked = [int(index) for index in indices]
        for index, item in zip(asked, data, strict=True):
            try:
                self._workers[index][1].send((command, item))
            except OSError:
                failures[index] = self._obituary(index)
        replies: dict[int, Any] = {}
        for index in asked:
            if index not in failures:
                self._hear(index, replies, failures)
        if failures:
            self._failed.update(failures)
            raise WorkerError(failures)
        return replies

    def _hear(self, index: int, replies: dict[int, Any], failures: dict[int, str]) -> None:
        try:
            fine, reply = self._workers[index][1].recv()
        except (EOFError, OSError):
            failures[index] = self._obituary(index)
            return
        if not fine:
            failures[index] = reply
            return
        # The frames are in the shared memory already; the text follows them, even if another worker fails in the same call.
        instruction, replies[index] = reply
        if instruction is not None:
            self._instructions[index] = instruction

    def _obituary(self, index: int) -> str:
        process = self._workers[index][0]
        process.join(timeout=5)
        code = process.exitcode
        cause = "was killed, perhaps for want of memory" if code == -9 else "died without a traceback"
        return f"the process {cause} (exit code {code})"

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


def _plain(actions: Any) -> Iterable[int]:
    """Return plain integers, which pickle small."""
    return [int(action) for action in np.asarray(actions)]
