"""Clips a second from video files: the loader with two workers against loops over decord and over PyAV, in turns.

All make the same kind of clip of the same films, which are written here first: every 4th frame, decoded at reduced size where the film is
much too large, a multi-scale crop, uint8. The loader decodes each clip anew; how fast it is once small films are kept decoded stands below.
The processor time of a clip tells more than clips a second where the machine has other things to do. Then masked training steps of
base size eat what the loader gives.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import decord
import numpy as np
import psutil
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
from navloop.training.clip_rows import ClipRow
from navloop.training.decoding import Decoding
from navloop.training.loading import Decoders, create_loader
from navloop.training.quarantine import Quarantine
from navloop.training.samplers import Clip, strided_training
from navloop.training.videos import write_video


class Film(NamedTuple):
    """A film, and what clips are made of it."""

    height: int
    width: int
    frames: int
    fps: int
    gop: int | None
    clip: ClipsConfig
    clips: int
    batch: int
    what: str


class Speed(NamedTuple):
    """Clips a second, and seconds of processor time of a clip."""

    rate: float
    work: float


def _clips(frames: int, size: int, short_side: int | None) -> ClipsConfig:
    return ClipsConfig(
        manifest=("written here",), frames=frames, size=size, short_side=short_side, workers=2, memory_mb=0
    )


HOUSE = Film(64, 64, 60, 4, 4, _clips(8, 64, None), 192, 8, "a walk through a house")
TRAINED = Film(224, 298, 300, 30, None, _clips(16, 224, None), 48, 2, "cut to size")
FILMS = (HOUSE, TRAINED, Film(720, 1280, 150, 30, None, _clips(16, 224, 256), 24, 2, "downloaded"))
COPIES = 4
ROUNDS = 3
ENCODER, STEPS = "videomae_base_p16_t16", 2
Read = Callable[[str, Film, np.random.Generator], NDArray[np.uint8]]


READERS = ("loader, 2 workers", "the same, small films kept", "decord loop", "PyAV loop", "PyAV loop, threads")


def run(console: Console, folder: Path, seconds: float) -> None:
    table = Table(title="Clips out of H.264 films (median of turns)")
    for column in ("film and clip", "reader", "clips/s", "loader to it", "processor time", "loader to it"):
        table.add_column(column, justify="left" if column in ("film and clip", "reader") else "right")
    told = ""
    for film in FILMS:
        rows = _write(film, folder)
        speeds = _take_turns(film, rows, seconds)
        names = [f"{film.width} x {film.height}, {film.what}", f"{film.clip.frames} frames of {film.clip.size} px"]
        for reader, speed, name in zip(READERS, speeds, [*names, "", "", ""], strict=True):
            table.add_row(
                name,
                reader,
                f"{speed.rate:,.1f}",
                f"{speeds[0].rate / speed.rate:.2f} x",
                f"{speed.work * 1e3:,.1f} ms",
                f"{speeds[0].work / speed.work:.2f} x",
            )
        table.add_section()
        if film is TRAINED:
            told = _training(film, rows, speeds[0])
    console.print(table)
    console.print(told)


def _write(film: Film, folder: Path) -> list[ClipRow]:
    """Write films that pan over a rough picture, and return a list of them, each several times."""
    height, width, count = film.height, film.width, film.frames
    paths = [folder / f"film{height}-{number}.mp4" for number in range(COPIES)]
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        rough = Image.fromarray(rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8))
        picture = np.asarray(rough.resize((width + 2 * count, height + count), Image.Resampling.BICUBIC)) // 2 + 40
        grain = rng.integers(0, 6, (height, width, 3), dtype=np.uint8)
        frames = (picture[k : k + height, 2 * k : 2 * k + width] + grain for k in range(count))
        write_video(path, frames, film.fps, gop=film.gop)
    return [ClipRow(path=str(paths[k % COPIES]), place=f"row {k}") for k in range(film.clips)]


def _take_turns(film: Film, rows: Sequence[ClipRow], seconds: float) -> list[Speed]:
    """Measure the loader, the loader that keeps small films, and the loops."""
    keeping = film.clip.model_copy(update={"memory_mb": 256})
    with _loader(film.clip, film.batch, rows) as anew, _loader(keeping, film.batch, rows) as kept:
        loops = [partial(_loop, film, rows, read) for read in (_by_decord, _by_pyav, _by_threads)]
        contenders = [anew, kept, *loops]
        speeds: list[list[Speed]] = [[] for _ in contenders]
        began = time.perf_counter()
        while len(speeds[0]) < ROUNDS or time.perf_counter() - began < seconds:
            for contender, measured in zip(contenders, speeds, strict=True):
                before, start = _processor_time(), time.perf_counter()
                clips = contender()
                rate = clips / (time.perf_counter() - start)
                measured.append(Speed(rate, (_processor_time() - before) / clips))
    return [Speed(*map(statistics.median, zip(*measured, strict=True))) for measured in speeds]


def _processor_time() -> float:
    """Seconds of this process and of its workers."""
    process = psutil.Process()
    times = [part.cpu_times() for part in (process, *process.children(recursive=True))]
    return sum(part.user + part.system for part in times)


@contextmanager
def _loader(config: ClipsConfig, batch: int, rows: Sequence[ClipRow]) -> Iterator[Callable[[], int]]:
    """Give what makes a pass over the rows once the workers have made one, and returns how many clips that were."""
    decoders = Decoders(config, rows, Quarantine(len(rows), 0.0))

    def load() -> int:
        return sum(map(len, create_loader(config, batch=batch, seed=0, epoch=0, decoders=decoders)))

    load()
    yield load


def _loop(film: Film, rows: Sequence[ClipRow], read: Read) -> int:
    rng = np.random.default_rng(0)
    for row in rows:
        torch.from_numpy(augment(read(row.path, film, rng), film.clip, rng))
    return len(rows)


def _indices(film: Film, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return strided_training(count, Clip(film.clip.frames, film.clip.stride), rng)


def _size(film: Film) -> tuple[int, int]:
    """Return (height, width) that the loader decodes at."""
    return Decoding(film.clip.short_side).size_for(film.height, film.width)


def _by_decord(path: str, film: Film, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = _size(film)
    reader = decord.VideoReader(path, height=height, width=width)
    frames: NDArray[np.uint8] = reader.get_batch(_indices(film, len(reader), rng)).asnumpy()
    return frames


def _by_pyav(path: str, film: Film, rng: np.random.Generator, threads: str = "NONE") -> NDArray[np.uint8]:
    height, width = _size(film)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        indices = _indices(film, stream.frames, rng)
        wanted, frames = set(indices.tolist()), []
        container.seek(int(indices[0] / film.fps / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            index = round(frame.time * film.fps)
            if index in wanted:
                frames.append(frame.reformat(width, height, "rgb24", threads=1).to_ndarray())
            if index >= indices[-1]:
                break
    return np.stack(frames)


_by_threads = partial(_by_pyav, threads="AUTO")


def _training(film: Film, rows: Sequence[ClipRow], loader: Speed) -> str:
    """Say how long masked training steps take, how much of that they wait for clips, and how many the loader could give."""
    torch.manual_seed(0)
    shapes = ENCODERS[ENCODER]()
    assert isinstance(shapes, MaskedConfig)
    model = MaskedAutoencoder(shapes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batches = iter(create_loader(film.clip, batch=film.batch, seed=0, epoch=0, rows=rows))
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
        f"A masked training step of {ENCODER}, {film.batch} clips, float32, takes {step:.2f} s ({film.batch / step:.2f} clips/s) "
        f"and waits {wait * 1e3:.1f} ms for them: {wait / (wait + step):.2%} of the time. "
        f"The loader alone gives {loader.rate * step / film.batch:.1f} times what it eats."
    )


def _step(model: MaskedAutoencoder, shapes: MaskedConfig, optimiser: torch.optim.Optimizer, frames: Tensor) -> None:
    pixels = to_pixels(frames, shapes.pixels, "cpu", torch.float32)
    hidden = tube_mask(shapes.grid, 0.9, len(frames), torch.Generator().manual_seed(0))
    loss = reconstruction_loss(model(pixels, hidden), reconstruction_targets(pixels, hidden, shapes))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
