"""What the tests of stores share: walks that are made up, each a function of its number alone, and processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from navloop.records import Episode, Instruction, Trajectory
from navloop.training.store import Record, StoreAbout, StoredEpisode, StoreWriter
from navloop.training.walks import Frames

SIDE = 32
ABOUT = StoreAbout(
    protocol="houses@1",
    protocol_fingerprint="sha256:0",
    world="embedded",
    turn=15.0,
    step=0.25,
    width=SIDE,
    height=SIDE,
)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")
"""Events after which a folder is no longer what it was (`sys.addaudithook`)."""


def made_trajectory(rng: np.random.Generator, steps: int) -> Trajectory:
    return Trajectory(
        positions=rng.normal(size=(steps + 1, 3)),
        headings=rng.normal(size=steps + 1),
        actions=np.append(rng.integers(1, 4, steps - 1), 0),
        distances_to_goal=np.append(rng.random(steps), np.inf),
        collided=rng.random(steps) < 0.3,
        action_source=rng.integers(0, 3, steps),
        stopped=True,
    )


def made_frames(rng: np.random.Generator, steps: int, side: int = SIDE) -> np.ndarray:
    """Coarse tiles, which H.264 keeps nearly as they are; no two frames are alike."""
    tiles = rng.integers(0, 256, (steps, side // 8, side // 8, 3), dtype=np.uint8)
    return tiles.repeat(8, axis=1).repeat(8, axis=2)


def made_record(number: int, **told: Any) -> Record:
    """The walk of a number: 2 to 7 actions, odd ones successful, two numbers a tour."""
    rng = np.random.default_rng(number)
    steps = 2 + number % 6
    trajectory = made_trajectory(rng, steps)
    ids = {"episode_id": str(number), "trajectory_id": str(number // 2), "scene_id": f"made/{number % 3}.glb"}
    task = Episode(
        **ids,
        start_position=trajectory.positions[0],
        start_rotation=np.array([0.0, 0.0, 0.0, 1.0]),
        instruction=Instruction(text=f"Walk number {number}.", tokens=np.array([3, 4])),
        goal_position=np.array([1.0, 2.0, 3.0]),
        goal_radius=3.0,
        reference_path=np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
        info={"geodesic_distance": 3.5},
        extra={"of": "the file"},
    )
    fields: dict[str, Any] = {
        "instruction": task.instruction.text,
        "policy": "made",
        "seed": 2**62 + number,
        "source": "tours",
        "success": number % 2 == 1,
        "metrics": {"spl": number / 100, "navigation_error": np.inf},
    }
    return Record(
        about=StoredEpisode(**ids, **(fields | told)),
        task=task,
        trajectory=trajectory,
        expert_actions=rng.integers(0, 4, steps),
        frames=Frames(made_frames(rng, steps)),
    )


def fill(folder: Path, numbers: Any, finish: bool = True) -> Path:
    """Write walks."""
    with StoreWriter(folder, ABOUT) as writer:
        for number in numbers:
            writer.append(made_record(number))
        if finish:
            writer.finish()
    return folder


def start(target: Any, *arguments: Any) -> Any:
    """Start a process."""
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    return process


def run_until_change(count: int, target: Any, *arguments: Any) -> bool:
    """Run in a process that is killed by SIGKILL just before its `count`-th change, from 1; return whether it came to its end."""
    process = start(_doomed, count, target, *arguments)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def _doomed(count: int, target: Any, *arguments: Any) -> None:
    left = [count]

    def hook(event: str, _: Any) -> None:
        if event in CHANGES:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    target(*arguments)
