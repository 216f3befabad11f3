"""Encoders of base size against the libraries that share their arithmetic: `transformers`' VideoMAE, open_clip's ViT.

Contenders take turns in one process, so that a busy machine slows both; memory is that of a process of their own.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEModel

from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.losses import reconstruction_loss, reconstruction_targets
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.masking import running_cell_mask, tube_mask
from navloop.encoders.sizes import ENCODERS
from navloop.encoders.tower import VideoTower

Step = Callable[[], object]
ROUNDS = 3


class Duel(NamedTuple):
    """One measurement: what is measured, ours, and the library's way of the same."""

    what: str
    ours: Callable[[], Step]
    theirs: Callable[[], Step]
    rival: str


def run(console: Console, folder: Path, seconds: float) -> None:
    threads = torch.get_num_threads()
    table = Table(
        title=f"Encoders, base size, one clip, 224 px, float32, {threads} threads, beside transformers' and open_clip's"
    )
    for column in ("what", "navloop", "theirs", "rival", "ratio", "peak MiB"):
        table.add_column(column, justify="left" if column in ("what", "rival") else "right")
    for duel in DUELS:
        ours, theirs = _take_turns(duel.ours(), duel.theirs(), seconds)
        memory = " : ".join(f"{_peak_memory(side) / 2**20:,.0f}" for side in (duel.ours, duel.theirs))
        table.add_row(
            duel.what, f"{ours * 1e3:,.0f} ms", f"{theirs * 1e3:,.0f} ms", duel.rival, f"{theirs / ours:.2f} x", memory
        )
    console.print(table)
    console.print(_visible_tokens(seconds))


def _take_turns(first: Step, second: Step, seconds: float) -> tuple[float, float]:
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(times[0]) < ROUNDS or time.perf_counter() - began < seconds:
        for step, spent in zip((first, second), times, strict=True):
            start = time.perf_counter()
            step()
            spent.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def _peak_memory(create: Callable[[], Step]) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown_memory, (create,))


def _grown_memory(create: Callable[[], Step]) -> int:
    before = _highest_memory()
    create()()
    return _highest_memory() - before


def _highest_memory() -> int:
    """Return the most bytes that this process had in memory; `getrusage` would begin with its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _visible_tokens(seconds: float) -> Table:
    """Time the masked trunk as more of the clip is hidden."""
    table = Table(title="Masked trunk, base size, one clip: cost by visible tokens")
    for column in ("hidden", "visible tokens", "forward", "share of the whole clip's"):
        table.add_column(column, justify="right")
    encoder = MaskedEncoder(_masked_config()).eval()
    clip = _clip(16)
    whole = 0.0
    for ratio in (0.0, 0.5, 0.75, 0.9):
        hidden = _tubes(ratio)
        spent, _ = _take_turns(_inference(lambda: encoder(clip, hidden)), lambda: None, seconds)  # noqa: B023
        whole = whole or spent
        visible = int((~hidden).sum())
        table.add_row(f"{ratio:.0%}", f"{visible:,}", f"{spent * 1e3:,.0f} ms", f"{spent / whole:.0%}")
    return table


def _masked_config():
    return ENCODERS["videomae_base_p16_t16"]()


def _clip(frames: int) -> Tensor:
    return torch.randn(1, 3, frames, 224, 224, generator=torch.Generator().manual_seed(0))


def _tubes(ratio: float) -> Tensor:
    return tube_mask((8, 14, 14), ratio, 1, torch.Generator().manual_seed(0))


def _inference(forward: Step) -> Step:
    def step() -> None:
        with torch.inference_mode():
            forward()

    return step


def _training(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def ours_masked_forward() -> Step:
    encoder, clip = MaskedEncoder(_masked_config()).eval(), _clip(16)
    return _inference(lambda: encoder(clip))


def theirs_masked_forward() -> Step:
    model, clip = VideoMAEModel(VideoMAEConfig()).eval(), _clip(16).transpose(1, 2)
    return _inference(lambda: model(clip))


def ours_pretraining() -> Step:
    return _pretraining(_tubes(0.9))


def ours_pretraining_by_cells() -> Step:
    cells = running_cell_mask((8, 14, 14), 0.5, 1, torch.Generator().manual_seed(0))
    return _pretraining(_tubes(0.9) & ~cells)


def _pretraining(predicted: Tensor) -> Step:
    model, clip, hidden = MaskedAutoencoder(_masked_config()), _clip(16), _tubes(0.9)

    def loss() -> Tensor:
        targets = reconstruction_targets(clip, predicted, model.encoder.config)
        return reconstruction_loss(model(clip, hidden, predicted), targets)

    return _training(model, loss)


def theirs_pretraining() -> Step:
    model, clip, hidden = VideoMAEForPreTraining(VideoMAEConfig()), _clip(16).transpose(1, 2), _tubes(0.9)
    return _training(model, lambda: model(clip, bool_masked_pos=hidden).loss)


def _tower() -> VideoTower:
    return VideoTower(ENCODERS["internvideo_mm_base_p16_t8"]().video)


def _open_clip() -> nn.Module:
    return open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).visual


def _frames() -> Tensor:
    return _clip(8).transpose(1, 2).flatten(0, 1)


def ours_frames_forward() -> Step:
    tower, clip = _tower().eval(), _clip(8)
    return _inference(lambda: tower.encode_frames(clip))


def ours_video_forward() -> Step:
    tower, clip = _tower().eval(), _clip(8)
    return _inference(lambda: tower(clip))


def theirs_frames_forward() -> Step:
    visual, frames = _open_clip().eval(), _frames()
    return _inference(lambda: visual(frames))


def ours_frames_training() -> Step:
    tower, clip = _tower(), _clip(8)
    return _training(tower, lambda: tower.encode_frames(clip).last[:, :, 0].square().mean())


def ours_video_training() -> Step:
    tower, clip = _tower(), _clip(8)
    return _training(tower, lambda: tower(clip)[0].square().mean())


def theirs_frames_training() -> Step:
    visual, frames = _open_clip(), _frames()
    return _training(visual, lambda: visual(frames).square().mean())


DUELS = (
    Duel("whole clip, forward", ours_masked_forward, theirs_masked_forward, "VideoMAE"),
    Duel("masked step, 90% hidden", ours_pretraining, theirs_pretraining, "VideoMAE"),
    Duel("half of it predicted", ours_pretraining_by_cells, theirs_pretraining, "VideoMAE, all"),
    Duel("8 frames, forward", ours_frames_forward, theirs_frames_forward, "CLIP"),
    Duel("8 frames, step", ours_frames_training, theirs_frames_training, "CLIP"),
    Duel("+ global blocks, forward", ours_video_forward, theirs_frames_forward, "CLIP, none"),
    Duel("+ global blocks, step", ours_video_training, theirs_frames_training, "CLIP, none"),
)
