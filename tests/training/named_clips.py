"""Clips that say what they are, a coloured square that moves left or right, and stages that are trained on them.

With images in the recipe, single frames of such clips are its images.
"""

import os
import signal
from pathlib import Path

import torch
from accelerate import PartialState
from torch.autograd.graph import saved_tensors_hooks

from navloop.configs.kinds import STAGES
from navloop.configs.pretraining import PretrainConfig
from navloop.training.clips import ClipBatch
from navloop.training.engine import train
from navloop.training.pretraining import create_stage
from navloop.training.stages.stage import Stage
from navloop.training.steps import split

SIZE = 32
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240, 240, 240)}
WAYS = ("left", "right")
CLASSES = [f"{colour} {way}" for colour in COLOURS for way in WAYS]


def moving(label: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """Return uint8 (frames, SIZE, SIZE, 3): a square of the class's colour on a dark, noisy ground."""
    colour, way = CLASSES[label].split()
    clip = torch.randint(0, 50, (frames, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    top = int(torch.randint(0, SIZE - 12, (), generator=generator))
    for frame in range(frames):
        far = round((SIZE - 12) * frame / max(frames - 1, 1))
        left = far if way == "right" else SIZE - 12 - far
        clip[frame, top : top + 12, left : left + 12] = torch.tensor(COLOURS[colour], dtype=torch.uint8)
    return clip


class Named:
    """A source of such clips, in another order each epoch."""

    def __init__(self, frames: int, each: int = 4) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(len(CLASSES)).repeat(each)
        self.clips = torch.stack([moving(int(label), frames, generator) for label in self.labels])
        self.kept = torch.stack([moving(label, frames, generator) for label in range(len(CLASSES))])

    def __deepcopy__(self, memo):
        return self

    def training(self, share, epoch, start_batch):
        order = torch.randperm(len(self.clips), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(share.total)[start_batch:]:
            yield batch_of(self.clips, self.labels, share.mine(rows))

    def clips_per_epoch(self):
        return len(self.clips)

    def held_out(self, share):
        labels = torch.arange(len(CLASSES))
        return [batch_of(self.kept, labels, share.mine(rows)) for rows in labels.split(share.total)]


def batch_of(clips: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> ClipBatch:
    texts = [CLASSES[label].split() for label in labels[rows].tolist()]
    return ClipBatch(
        frames=clips[rows],
        valid_frames=torch.ones(len(rows), clips.shape[1], dtype=torch.bool),
        seconds=torch.zeros(len(rows), clips.shape[1]),
        rows=rows,
        sources=tuple(f"clip {row}" for row in rows.tolist()),
        texts=tuple(f"a {colour} square moves to the {way}" for colour, way in texts),
        labels=labels[rows],
    )


def config(stage: str, encoder: str, frames: int, **changes) -> PretrainConfig:
    """Return the recipe of a tiny run; `engine` takes changes of its own."""
    engine = {"steps": 6, "batch": 8, "lr": 1e-3, "scale_lr": False, "log_every": 1, "warmup": 0.1}
    clips = {"manifest": ("none",), "frames": frames, "size": SIZE, "num_classes": len(CLASSES)}
    fields = {"encoder": encoder, "clips": clips, **changes, "engine": {**engine, **changes.get("engine", {})}}
    return STAGES[stage].model_validate(fields)


def stage_of(chosen: PretrainConfig) -> Stage:
    """Return a recipe's stage over such clips, and such images if it takes any."""
    return create_stage(chosen, Named(chosen.clips.frames), Named(1) if getattr(chosen, "images", None) else None)


def mortal(stage: Stage, losses: int) -> Stage:
    """Return a stage that kills its process in the loss of that number."""
    left, healthy = [losses], stage.losses

    def dying(batch, generator):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return healthy(batch, generator)

    stage.losses = dying
    return stage


def train_dying(folder: Path, chosen: PretrainConfig, losses: int) -> None:
    """Train in a process begun for it, which dies in the loss of that number."""
    torch.set_num_threads(1)
    train(mortal(stage_of(chosen), losses), chosen.engine, folder)


def train_named(folder: Path, recipes: dict[str, PretrainConfig]) -> None:
    """Train one recipe after the other, each into a folder of its name, in a process begun for it."""
    torch.set_num_threads(1)
    for name, chosen in recipes.items():
        train(stage_of(chosen), chosen.engine, folder / name)
    print(f"trained by {PartialState().num_processes}")


def print_tables(chosen: PretrainConfig) -> None:
    """Print the shapes of the tables that a loss keeps for its gradients, in a process begun for it."""
    torch.set_num_threads(1)
    state, stage, shapes = PartialState(cpu=True), stage_of(chosen), set()
    stage.share = split(chosen.engine, state.num_processes, state.process_index)
    with saved_tensors_hooks(lambda kept: shapes.add(tuple(kept.shape)) or kept, lambda kept: kept):
        stage.losses(next(iter(stage.loader(0, 0))), torch.Generator())
    print(sorted(shape for shape in shapes if len(shape) == 2))
