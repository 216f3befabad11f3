"""The command that trains an encoder, one stage of it: from a recipe to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from rich.console import Console

from navloop.configs.loader import dump
from navloop.configs.pretraining import MaskedPretrainConfig, PretrainConfig
from navloop.configs.stages import (
    ClassificationPretrainConfig,
    ContrastivePretrainConfig,
    CoordinationPretrainConfig,
    ImagesConfig,
)
from navloop.runs import RunFolder
from navloop.training.engine import TrainReport, train
from navloop.training.fingerprints import list_fingerprint
from navloop.training.joining import join_processes
from navloop.training.plans import print_plan
from navloop.training.stages.classification import ClassificationStage
from navloop.training.stages.contrastive import ContrastiveStage
from navloop.training.stages.coordination import CoordinationStage
from navloop.training.stages.data import ClipSource, VideoSource
from navloop.training.stages.masked import MaskedStage
from navloop.training.stages.stage import Stage
from navloop.training.steps import check_precision, count_steps, draw_seed, split

_STAGES: dict[type[PretrainConfig], Callable[[Any, ClipSource], Stage]] = {
    MaskedPretrainConfig: MaskedStage,
    ClassificationPretrainConfig: ClassificationStage,
    CoordinationPretrainConfig: CoordinationStage,
}


def pretrain(config: PretrainConfig, folder: Path, console: Console) -> TrainReport:
    """Train an encoder into a run folder, or go on with it. Every process that a launcher started calls this.

    Raises:
        ValueError: If the recipe does not fit its encoder, its data, or what the folder holds.
        OSError: If something cannot be written.
        RuntimeError: If the loss is not finite, or too much of the data cannot be read.
    """
    state = join_processes()
    console = console if state.is_main_process else Console(quiet=True)
    check_precision(config.engine, state.device)
    source, images = VideoSource(config, folder / "unreadable.jsonl"), None
    if isinstance(config, ContrastivePretrainConfig) and config.images is not None:
        images = VideoSource(images_recipe(config, config.images), folder / "unreadable_images.jsonl")
    with closing(source), nullcontext() if images is None else closing(images):
        return _pretrain(config, folder, console, state, source, images)


def _pretrain(
    config: PretrainConfig,
    folder: Path,
    console: Console,
    state: PartialState,
    source: VideoSource,
    images: VideoSource | None,
) -> TrainReport:
    stage = create_stage(config, source, images)
    stage.share = split(config.engine, state.num_processes, state.process_index)
    count_steps(stage, config.engine)  # a recipe that does not fit is refused before there is a folder of it
    with _held(folder, config, state):
        report = train(stage, config.engine, folder, console)
        for read in (source, images):
            if read is not None:
                where = f": {read.quarantine.path}" if read.quarantine.count else ""
                console.print(f"{read.quarantine.summary()}{where}", highlight=False)
    words = ", ".join(
        f"{name} {value:.4g}" for name, value in report.metrics.items() if "loss" in name or "baseline" in name
    )
    console.print(f"{report.steps} steps{', ' if words else ''}{words}", highlight=False)
    console.print(f"weights: {folder / 'last'}; curves: tensorboard --logdir {folder}", soft_wrap=True, highlight=False)
    return report


@contextmanager
def _held(folder: Path, config: PretrainConfig, state: PartialState) -> Iterator[None]:
    """Hold a run folder, in the first process; the others wait, and leave without a word if it may not be used."""
    data = {name: list_fingerprint(Path(name)) for name in config.data_files()}
    if not state.is_main_process:
        if not all(gather_object([True])):
            raise SystemExit(2)
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(RunFolder(folder).open(dump(config), data, config.RESUMABLE))
        except (ValueError, OSError):
            gather_object([False])
            raise
        gather_object([True])
        yield


def dry_run(config: PretrainConfig, console: Console) -> None:
    """Print what training would take: parameters, memory, steps and learning rates.

    Raises:
        ValueError: If the recipe does not fit its encoder or its data.
    """
    print_plan(create_stage(config), config.engine, console)


def create_stage(config: PretrainConfig, source: ClipSource | None = None, images: ClipSource | None = None) -> Stage:
    """Return a recipe's stage, with the weights that it begins with.

    Args:
        config: The recipe.
        source: Where clips come from; None: the recipe's videos.
        images: Where images come from, as clips of one frame; None: the recipe's images, if it has any.

    Raises:
        ValueError: If the recipe does not fit its encoder or its data.
    """
    with torch.random.fork_rng():
        torch.manual_seed(draw_seed(config.engine.seed))
        source = source or VideoSource(config)
        if isinstance(config, ContrastivePretrainConfig):
            if images is None and config.images is not None:
                images = VideoSource(images_recipe(config, config.images))
            return ContrastiveStage(config, source, images)
        return _STAGES[type(config)](config, source)


def images_recipe(config: PretrainConfig, images: ImagesConfig) -> PretrainConfig:
    """Return the recipe as it would be of its images alone: clips of one frame each."""
    changes = {"manifest": images.manifest, "frames": 1, "repeats": 1, "clips": 1, "crops": 1}
    clips = config.clips.model_copy(
        update={**changes, "augmentation": images.augmentation or config.clips.augmentation}
    )
    return config.model_copy(update={"clips": clips, "held_out": images.held_out})
