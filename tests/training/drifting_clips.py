"""Clips that a part of them foretells, and training on them, which dies when told to."""

import os
import signal
from pathlib import Path

import torch
from accelerate import PartialState

from navloop.configs.pretraining import MaskedPretrainConfig
from navloop.training.clips import ClipBatch
from navloop.training.engine import train
from navloop.training.pretraining import create_stage
from navloop.training.stages.masked import MaskedStage

FRAMES, SIZE = 8, 64


def drifting(count: int, seed: int) -> torch.Tensor:
    """Return uint8 (count, FRAMES, SIZE, SIZE, 3): coloured slopes of brightness, whose direction drifts."""
    generator = torch.Generator().manual_seed(seed)
    t, y, x = torch.meshgrid(*(torch.arange(n).float() for n in (FRAMES, SIZE, SIZE)), indexing="ij")
    start, drift = torch.rand(2, count, 1, 1, 1, generator=generator)
    angle = 6.28 * start + 0.5 * drift * t  # radians
    slope = ((x - SIZE / 2) * angle.cos() + (y - SIZE / 2) * angle.sin()) / (0.72 * SIZE)  # (count, T, H, W)
    colour = 0.3 + 0.7 * torch.rand(count, 1, 1, 1, 3, generator=generator)
    return (127.5 + 127 * slope[..., None] * colour).to(torch.uint8)


class Drifting:
    """A source of drifting clips, in another order each epoch."""

    def __init__(self, count: int = 24, seed: int = 0, held_out: int = 0) -> None:
        self.frames, self.kept = drifting(count, seed), drifting(held_out, seed + 1)

    def __deepcopy__(self, memo):
        return self

    def training(self, share, epoch, start_batch):
        order = torch.randperm(len(self.frames), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(share.total)[start_batch:]:
            if len(rows) == share.total:
                yield batch_of(self.frames, share.mine(rows))

    def clips_per_epoch(self):
        return len(self.frames)

    def held_out(self, share):
        starts = range(0, len(self.kept), share.total)
        return [batch_of(self.kept, share.mine(torch.arange(start, start + share.total))) for start in starts]


def batch_of(frames: torch.Tensor, rows: torch.Tensor) -> ClipBatch:
    return ClipBatch(
        frames=frames[rows],
        valid_frames=torch.ones(len(rows), FRAMES, dtype=torch.bool),
        seconds=torch.zeros(len(rows), FRAMES),
        rows=rows,
        sources=tuple(f"clip {row}" for row in rows.tolist()),
    )


def config(**changes) -> MaskedPretrainConfig:
    """Return the recipe of a tiny run; `engine` takes changes of its own."""
    engine = {"steps": 12, "batch": 4, "lr": 1e-3, "scale_lr": False, "log_every": 1, "checkpoint_every": 4, "keep": 2}
    return MaskedPretrainConfig.model_validate(
        {
            "encoder": "videomae_tiny_p16_t8",
            "clips": {"manifest": ("none",), "frames": FRAMES, "size": SIZE},
            "mask_ratio": 0.75,
            **changes,
            "engine": {**engine, **changes.get("engine", {})},
        }
    )


class NoisyStage(MaskedStage):
    """A stage whose loss is noisy, and that can be killed: in its n-th loss ("step:n"), or half way through its n-th checkpoint."""

    death, left = "never", 1

    def losses(self, batch, generator):
        self.live("step")
        found = super().losses(batch, generator)
        return {**found, "loss": found["loss"] * (0.5 + torch.rand(()))}

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.live("save")

    def live(self, what: str) -> None:
        self.left -= what == self.death
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def create_noisy(config: MaskedPretrainConfig, source: Drifting) -> NoisyStage:
    stage = create_stage(config, source)
    stage.__class__ = NoisyStage
    return stage


def train_drifting(folder: Path, chosen: MaskedPretrainConfig, death: str = "") -> None:
    """Train, in a process begun for it; the loss is noisy if it is to die: in "step:7", or in "save:2"."""
    torch.set_num_threads(1)
    stage = create_stage(chosen, Drifting())
    if death:
        stage = create_noisy(chosen, Drifting())
        stage.death, number = death.split(":")
        stage.left = int(number)
    train(stage, chosen.engine, folder)
    print(f"trained by {PartialState().num_processes}")
