"""Clips a second from video files: the loader with two workers against plain loops over decord and over PyAV.

All three do the same to the same kind of window: 16 frames, every 4th, a multi-scale crop, 224 px, uint8. They take turns on films
that are written here first; beside the clips a second stands the processor time of a clip, which a busy machine hardly moves. Then masked training steps of base size eat what the loader gives, and what they wait is measured.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import decord
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from navloop.configs.encoders import MaskedConfig
from navloop.configs.videos import ClipsConfig
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.losses import reconstruction_loss, reconstruction_targets
from navloop.encoders.masking import tube_mask
from navloop.encoders.pixels import to_pixels
from navloop.encoders.sizes import ENCODERS
from navloop.training.augmentation import augment
from navloop.training.loading import create_loader
from navloop.training.manifests import ClipRow
from navloop.training.samplers import Clip, strided_training
from navloop.training.videos import write_video


class Film(NamedTuple):
    """Size of a film, and why this one."""

    height: int
    width: int
    frames: int
    what: str


class Speed(NamedTuple):
    """Clips a second, and seconds of processor time of a clip."""

    rate: float
    work: float


FILMS = (Film(256, 340, 300, "trained on"), Film(720, 1280, 150, "downloaded"))
FPS = 30
COPIES = 4
CLIPS, BATCH, ROUNDS = 24, 2, 3
CONFIG = ClipsConfig(manifest=("written here",), short_side=256, workers=2)
CLIP = Clip(CONFIG.frames, CONFIG.stride)
ENCODER, STEPS = "videomae_base_p16_t16", 2


def run(console: Console, folder: Path, seconds: float) -> None:
    table = Table(
        title="Clips of 16 frames, 224 px, out of H.264: clips/s, and processor time of a clip (median of turns)"
    )
    for column in ("film", "loader, 2 workers", "decord loop", "PyAV loop", "to decord", "to PyAV"):
        table.add_column(column, justify="left" if column == "film" else "right")
    listed = [_write(film, folder) for film in FILMS]
    for film, rows in zip(FILMS, listed, strict=True):
        loader, *loops = _take_turns(rows, seconds)
        cells = [f"{speed.rate:,.1f} ({speed.work * 1e3:,.0f} ms)" for speed in (loader, *loops)]
        cells += [f"{loader.rate / loop.rate:.2f} x" for loop in loops]
        table.add_row(f"{film.width} x {film.height}, {film.what}", *cells)
    console.print(table)
    console.print(_training(listed[0]))


def _write(film: Film, folder: Path) -> list[ClipRow]:
    """Write films that pan over a rough picture, and return a long list of them."""
    height, width, count, _ = film
    paths = [folder / f"film{height}-{number}.mp4" for number in range(COPIES)]
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        rough = Image.fromarray(rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8))
        picture = np.asarray(rough.resize((width + 2 * count, height + count), Image.Resampling.BICUBIC)) // 2 + 40
        grain = rng.integers(0, 6, (height, width, 3), dtype=np.uint8)
        write_video(path, (picture[k : k + height, 2 * k : 2 * k + width] + grain for k in range(count)), FPS)
    return [ClipRow(path=str(paths[k % COPIES]), place=f"row {k}") for k in range(CLIPS)]


def _take_turns(rows: Sequence[ClipRow], seconds: float) -> list[Speed]:
    contenders: list[Callable[[], float]] = [
        lambda: _load(rows),
        lambda: _loop(rows, _by_decord),
        lambda: _loop(rows, _by_pyav),
    ]
    speeds: list[list[Speed]] = [[] for _ in contenders]
    began = time.perf_counter()
    while len(speeds[0]) < ROUNDS or time.perf_counter() - began < seconds:
        for contender, measured in zip(contenders, speeds, strict=True):
            before = _processor_time()
            rate = contender()
            measured.append(Speed(rate, (_processor_time() - before) / CLIPS))
    return [Speed(*map(statistics.median, zip(*measured, strict=True))) for measured in speeds]


def _processor_time() -> float:
    """Seconds of this process and of the workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _load(rows: Sequence[ClipRow]) -> float:
    """Return clips a second once the workers are up."""
    batches = iter(create_loader(CONFIG, batch=BATCH, seed=0, epoch=0, rows=rows[:CLIPS]))
    next(batches)
    began = time.perf_counter()
    clips = sum(len(batch) for batch in batches)
    return clips / (time.perf_counter() - began)


def _loop(rows: Sequence[ClipRow], read: Callable[[str, np.random.Generator], NDArray[np.uint8]]) -> float:
    """Return clips a second."""
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for row in rows[:CLIPS]:
        torch.from_numpy(augment(read(row.path, rng), CONFIG, rng))
    return CLIPS / (time.perf_counter() - began)


def _by_decord(path: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    reader = decord.VideoReader(path)
    frames: NDArray[np.uint8] = reader.get_batch(strided_training(len(reader), CLIP, rng)).asnumpy()
    return frames


def _by_pyav(path: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        indices = strided_training(stream.frames, CLIP, rng)
        wanted, frames = set(indices.tolist()), []
        container.seek(int(indices[0] / FPS / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            index = round(frame.time * FPS)
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index >= indices[-1]:
                break
    return np.stack(frames)


def _training(rows: Sequence[ClipRow]) -> str:
    """Say how long masked training steps take and how much of that they wait for clips."""
    torch.manual_seed(0)
    shapes = ENCODERS[ENCODER]()
    assert isinstance(shapes, MaskedConfig)
    model = MaskedAutoencoder(shapes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batches = iter(create_loader(CONFIG, batch=BATCH, seed=0, epoch=0, rows=rows))
    waits, steps = [], []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        frames = next(batches).frames
        arrived = time.perf_counter()
        _step(model, shapes, optimiser, frames)
        waits.append(arrived - began)
        steps.append(time.perf_counter() - arrived)
    wait, step = statistics.median(waits[1:]), statistics.median(steps[1:])
    return (
        f"A masked training step of {ENCODER}, {BATCH} clips, float32, takes {step:.2f} s ({BATCH / step:.2f} clips/s) "
        f"and waits {wait * 1e3:.1f} ms for them: {wait / (wait + step):.2%} of the time."
    )


def _step(model: MaskedAutoencoder, shapes: MaskedConfig, optimiser: torch.optim.Optimizer, frames: Tensor) -> None:
    pixels = to_pixels(frames, shapes.pixels, "cpu", torch.float32)
    hidden = tube_mask(shapes.grid, 0.9, len(frames), torch.Generator().manual_seed(0))
    loss = reconstruction_loss(model(pixels, hidden), reconstruction_targets(pixels, hidden, shapes))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
