"""How a clip is varied: one choice for all its frames, drawn from the generator given, uint8 in and out.

Crops and erasing are here; RandAugment, mixup and cutmix are timm's, whose draws from the global generators are boxed in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.encoders import IMAGENET_MEAN, IMAGENET_STD
from navloop.configs.videos import AugmentationConfig, ClipsConfig, MixConfig

Frames = NDArray[np.uint8]

ANCHORS = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
"""Places of a multi-scale crop: quarters of the free room to the right and downwards. Source: TSN; VideoMAE."""
TRIES = 10
"""Of a resized crop or an erased box that has to fit."""
ERASED_AREA, ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)
NOISE_MEAN, NOISE_STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
TRANSLATION = 0.45
"""Largest shift of RandAugment, over the size of a clip."""
MIXED_ALIKE = 4
"""Neighbouring clips that are mixed alike: as many as a process has where each draws for itself. Source: InternVideo's K710 runs."""


class Box(NamedTuple):
    """Part of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int


def augment(frames: Frames, config: ClipsConfig, rng: np.random.Generator) -> Frames:
    """Return a training clip, cut out and varied as the config says.

    Args:
        frames: uint8 (T, H, W, 3).
        config: Size, and what to vary.
        rng: Source of every choice.

    Returns:
        uint8 (T, size, size, 3).
    """
    varied = config.augmentation
    if varied.randaugment is not None:
        frames = rand_augment(frames, varied.randaugment, config, rng)
    if varied.crop in ("random", "center"):
        frames = resize_short(frames, config)
    frames = resize(
        cut(frames, crop_box(frames.shape[1:3], config, rng)), config.size, config.size, config.interpolation
    )
    if rng.random() < varied.flip:
        frames = frames[:, :, ::-1]
    if rng.random() < varied.erasing:
        frames = erase(frames, rng)
    return np.ascontiguousarray(frames)


def view_crops(frames: Frames, config: ClipsConfig) -> list[Frames]:
    """Return the crops of an evaluation: the centre, or `crops` of them along the longer side, ends included.

    The frame is resized first, and crop j of S starts at int(j * (long - short) / (S - 1)).
    """
    frames = resize_short(frames, config)
    height, width = frames.shape[1:3]
    size, crops = config.size, config.crops
    if crops == 1:
        return [cut(frames, Box((height - size) // 2, (width - size) // 2, size, size))]
    boxes = []
    for number in range(crops):
        along = int(number * (max(height, width) - size) / (crops - 1))
        across = (min(height, width) - size) // 2
        top, left = (along, across) if height >= width else (across, along)
        boxes.append(Box(top, left, size, size))
    return [cut(frames, box) for box in boxes]


def crop_box(shape: tuple[int, ...], config: ClipsConfig, rng: np.random.Generator) -> Box:
    """Return what part of a frame of (height, width) a training clip shows."""
    height, width = shape
    varied = config.augmentation
    if varied.crop == "multiscale":
        return _multiscale_box(height, width, config, rng)
    if varied.crop == "resized":
        return _resized_box(height, width, varied, rng)
    size = config.size
    if varied.crop == "center":
        return Box((height - size) // 2, (width - size) // 2, size, size)
    return Box(int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size, size)


def cut(frames: Frames, box: Box) -> Frames:
    """Return that part of every frame, a view."""
    return frames[:, box.top : box.top + box.height, box.left : box.left + box.width]


def resize(frames: Frames, height: int, width: int, interpolation: str) -> Frames:
    """Return uint8 (T, height, width, 3); shrinking is antialiased, as Pillow does it."""
    if frames.shape[1:3] == (height, width):
        return frames
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory
    images = F.interpolate(images, (height, width), mode=interpolation, antialias=True)
    resized: Frames = images.permute(0, 2, 3, 1).numpy()
    return resized


def resize_short(frames: Frames, config: ClipsConfig) -> Frames:
    """Resize the short side to `resized_side`, or both if the config squashes."""
    height, width = frames.shape[1:3]
    side = config.resized_side
    if config.squash:
        return resize(frames, side, side, config.interpolation)
    short = min(height, width)
    return resize(frames, height * side // short, width * side // short, config.interpolation)


def rand_augment(frames: Frames, recipe: str, config: ClipsConfig, rng: np.random.Generator) -> Frames:
    """Apply timm's RandAugment: the same operations, as strongly, to every frame.

    Source: Cubuk et al., RandAugment, 2020; hyper-parameters as InternVideo1/Pretrain/VideoMAE.
    """
    shift = int(config.size * TRANSLATION)
    resampling = Image.Resampling[config.interpolation.upper()]
    transform = rand_augment_transform(recipe, {"translate_const": shift, "interpolation": resampling})
    seed = int(rng.integers(2**31))
    varied = []
    for frame in frames:
        with _global_generators(seed):  # timm draws anew for every image: each frame draws the same
            varied.append(np.asarray(transform(Image.fromarray(frame))))
    return np.stack(varied)


def erase(frames: Frames, rng: np.random.Generator) -> Frames:
    """Fill one box, the same in every frame, with noise around the mean of natural images.

    Source: Zhong et al., Random Erasing, 2020; timm's limits of area and aspect. Differs in: the noise is clipped to
    what a byte can hold, since frames stay uint8 until the device.
    """
    height, width = frames.shape[1:3]
    for _ in range(TRIES):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = math.exp(rng.uniform(*np.log(ERASED_ASPECT)))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < rows < height and 0 < columns < width:
            top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
            noise = rng.standard_normal((len(frames), rows, columns, 3), dtype=np.float32)
            noise = (noise * NOISE_STD + NOISE_MEAN) * 255
            erased = frames.copy()
            erased[:, top : top + rows, left : left + columns] = noise.clip(0, 255).astype(np.uint8)
            return erased
    return frames


def mixing_seeds(clips: int, generator: torch.Generator) -> Tensor:
    """Return what `mix` draws from for each clip of a whole batch, int64 (clips,): the same for the first four, the next four, and so on.

    Each process takes those of its clips, and so mixes them as one process alone would have.
    """
    groups = -(-clips // MIXED_ALIKE)
    return torch.randint(2**31, (groups,), generator=generator).repeat_interleave(MIXED_ALIKE)[:clips]


def mix(
    pixels: Tensor, labels: Tensor, num_classes: int, config: MixConfig, seeds: Tensor, copies: int = 1
) -> tuple[Tensor, Tensor]:
    """Mix each clip of a batch with its neighbour, and their labels: mixup or cutmix by timm, one choice for clips of one seed.

    Neighbours are the first two clips, the next two, and so on: the same however many processes share a batch.

    Args:
        pixels: float (B, C, T, H, W), of an even number of clips.
        labels: int64 (B,).
        num_classes: Number of classes K.
        config: How strongly; `chance` is that of a choice.
        seeds: int64 (B / copies,), on the CPU, of `mixing_seeds`: where the choice for each clip comes from.
        copies: Copies of a clip, side by side in the batch; each is mixed with one of the neighbour.

    Returns:
        Pixels, and targets float (B, K) whose rows sum to 1.

    Raises:
        ValueError: If the number of clips is odd.

    Source: Zhang et al., mixup, 2018; Yun et al., CutMix, 2019; InternVideo1/Pretrain/VideoMAE, whose processes draw each for
        their own four clips; differs in: neighbours are mixed, not the first clip with the last.
    """
    if len(pixels) % (2 * copies):
        raise ValueError(f"mixup pairs clips: a batch of {len(pixels) // copies} is odd")
    alike, sizes = seeds.unique_consecutive(return_counts=True)
    rows = (sizes * copies).tolist()
    parts = zip(pixels.split(rows), labels.split(rows), alike.tolist(), strict=True)
    mixed = [_mix_alike(images, classes, num_classes, config, seed, copies) for images, classes, seed in parts]
    return torch.cat([images for images, _ in mixed]), torch.cat([targets for _, targets in mixed])


def _mix_alike(
    pixels: Tensor, labels: Tensor, num_classes: int, config: MixConfig, seed: int, copies: int
) -> tuple[Tensor, Tensor]:
    order = _opposite(len(pixels), copies).to(pixels.device)
    mixup = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.chance if config.mixup or config.cutmix else 0.0,
        switch_prob=config.switch,
        label_smoothing=config.smoothing,
        num_classes=num_classes,
    )
    with _global_generators(seed):
        images, targets = mixup(pixels[order].flatten(1, 2), labels[order])  # (B, C*T, H, W): all frames share one box
    back = order.argsort()
    return images[back].view_as(pixels), targets[back]


def _opposite(batch: int, copies: int) -> Tensor:
    """Return an order, int64 (B,), in which neighbours are as far from the start as from the end: where timm looks for pairs."""
    pairs = torch.arange(batch).view(-1, 2, copies)
    return torch.cat((pairs[:, 0].flatten(), pairs[:, 1].flip(1).flatten().flip(0)))


def _multiscale_box(height: int, width: int, config: ClipsConfig, rng: np.random.Generator) -> Box:
    short = min(height, width)
    sides = [int(short * scale) for scale in config.augmentation.scales]
    sides = [config.size if abs(side - config.size) < 3 else side for side in sides]
    pairs = [
        (rows, columns)
        for i, rows in enumerate(sides)
        for j, columns in enumerate(sides)
        if abs(i - j) <= 1  # at most one step of distortion
    ]
    rows, columns = pairs[int(rng.integers(len(pairs)))]
    rows, columns = min(rows, height), min(columns, width)
    right, down = ANCHORS[int(rng.integers(len(ANCHORS)))]
    return Box((height - rows) // 4 * down, (width - columns) // 4 * right, rows, columns)


def _resized_box(height: int, width: int, varied: AugmentationConfig, rng: np.random.Generator) -> Box:
    for _ in range(TRIES):
        area = rng.uniform(*varied.area) * height * width
        aspect = math.exp(rng.uniform(*np.log(varied.aspect)))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            return Box(int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns)
    least, most = varied.aspect  # none fitted: the largest box in the centre that keeps to the aspect
    columns = min(width, round(height * most))
    rows = min(height, round(width / least))
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed Python's and numpy's global generators for a library that knows no others, and put them back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
