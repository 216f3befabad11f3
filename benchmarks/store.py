"""Stores of walks: what it costs to write, join and open one, and clips a second out of it against plain files, a film a walk.

Clips are 8 frames at random places of random walks of 40 to 80 frames, 128 pixels wide. Plain files are read with decord, which is opened
for each clip as a list of videos has it, and a store through `Store.frames`. Of the store of 10,000 walks the table is real and what it
names is not: opening reads nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import decord
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from navloop.records import Episode, Instruction, Trajectory
from navloop.training.store import Record, Store, StoreAbout, StoredEpisode, StoreWriter, open_store
from navloop.training.videos import write_video
from navloop.training.walks import Frames

WALKS, MANY, SIDE, CLIP = 64, 10_000, 128, 8
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def run(console: Console, folder: Path, seconds: float) -> None:
    """Print the figures."""
    about = StoreAbout(
        protocol="made", protocol_fingerprint="", world="embedded", turn=15.0, step=0.25, width=SIDE, height=SIDE
    )
    records = [_record(number) for number in range(WALKS)]
    frames = sum(len(record.trajectory) for record in records)
    table = Table("store", "figure", title=f"{WALKS} walks, {frames} frames of {SIDE} pixels")
    with StoreWriter(folder / "store", about) as writer:
        took = _timed(lambda: [writer.append(record) for record in records])
        table.add_row(
            "append, each durable before the next", f"{WALKS / took:.0f} walks/s, {frames / took:.0f} frames/s"
        )
        table.add_row("join, films as they are", f"{WALKS / _timed(writer.finish):.0f} walks/s")
    films = sum(path.stat().st_size for path in (folder / "store" / "videos").rglob("*.mp4"))
    table.add_row("films", f"{films / frames / 1000:.2f} kB a frame")
    for name, read in _readers(folder, about, records).items():
        table.add_row(f"clips of {CLIP} frames: {name}", f"{_rate(read, seconds):.0f} clips/s")
    many = _many(folder)
    opened = statistics.median(_timed(partial(open_store, many)) for _ in range(3))
    table.add_row(f"open {MANY:,} walks", f"{opened:.2f} s")
    console.print(table)


def _readers(
    folder: Path, about: StoreAbout, records: list[Record]
) -> dict[str, Callable[[np.random.Generator], object]]:
    store = open_store(folder / "store")
    lengths = [episode.length for episode in store.episodes]
    for place, record in enumerate(records):
        write_video(folder / f"{place}.mp4", record.frames.rgb, about.fps, quality=about.quality)

    def draw(rng: np.random.Generator) -> tuple[int, int]:
        index = int(rng.integers(len(lengths)))
        return index, int(rng.integers(lengths[index] - CLIP))

    def of_store(store: Store, rng: np.random.Generator) -> object:
        index, first = draw(rng)
        return store.frames(index, first, first + CLIP)

    def of_file(rng: np.random.Generator) -> object:
        index, first = draw(rng)
        film = decord.VideoReader(str(folder / f"{index}.mp4"), num_threads=1)
        return film.get_batch(range(first, first + CLIP)).asnumpy()

    return {"store": partial(of_store, store), "plain files": of_file}


def _many(folder: Path) -> Path:
    """Write a store whose table tells of 10,000 walks."""
    many = folder / "many"
    (many / EPISODES).parent.mkdir(parents=True)
    (many / "navloop.json").write_bytes((folder / "store" / "navloop.json").read_bytes())
    table = pq.read_table(folder / "store" / EPISODES, partitioning=None)
    table = pa.concat_tables([table] * -(-MANY // WALKS)).slice(0, MANY)
    numbers = pa.array([f"{number:024x}" for number in range(MANY)])
    pq.write_table(table.set_column(table.column_names.index("key"), "key", numbers), many / EPISODES)
    return many


def _record(number: int) -> Record:
    rng = np.random.default_rng(number)
    steps = int(rng.integers(40, 81))
    ids = {"episode_id": str(number), "trajectory_id": str(number), "scene_id": f"made/{number % 8}.glb"}
    trajectory = Trajectory(
        positions=rng.normal(size=(steps + 1, 3)),
        headings=rng.normal(size=steps + 1),
        actions=np.append(rng.integers(1, 4, steps - 1), 0),
        distances_to_goal=rng.random(steps + 1),
        collided=rng.random(steps) < 0.1,
        action_source=np.zeros(steps, dtype=np.int64),
        stopped=True,
    )
    text = "Walk past the sofa, turn left at the door and stop beside the table in the kitchen."
    return Record(
        about=StoredEpisode(
            **ids, instruction=text, policy="made", seed=number, source="tours", success=True, metrics=_metrics(rng)
        ),
        task=Episode(
            **ids,
            start_position=trajectory.positions[0],
            start_rotation=np.array([0.0, 0.0, 0.0, 1.0]),
            instruction=Instruction(text=text),
            goal_position=np.zeros(3),
            goal_radius=3.0,
            reference_path=rng.normal(size=(8, 3)),
        ),
        trajectory=trajectory,
        expert_actions=rng.integers(0, 4, steps),
        frames=Frames(_pan(rng, steps)),
    )


def _metrics(rng: np.random.Generator) -> dict[str, float]:
    return {
        name: float(rng.random()) for name in ("success", "spl", "ndtw", "sdtw", "cls", "navigation_error", "steps")
    }


def _pan(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A view that pans over a smooth picture, about as hard to film as rooms."""
    coarse = rng.integers(0, 256, (12, 40, 3)).repeat(16, axis=0).repeat(16, axis=1)
    wide = (coarse + rng.normal(0, 4, coarse.shape)).clip(0, 255).astype(np.uint8)
    return np.stack([wide[step % 60 : step % 60 + SIDE, 6 * step : 6 * step + SIDE] for step in range(steps)])


def _rate(read: Callable[[np.random.Generator], object], seconds: float) -> float:
    rng, count = np.random.default_rng(0), 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        read(rng)
        count += 1
    return count / took


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
