"""What video data a stage trains on: which files, which frames of them, and how they are varied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config

SCALES = (1.0, 0.875, 0.75, 0.66)
"""Sides of a multi-scale crop over the short side. Source: InternVideo1/Pretrain/VideoMAE."""


def _range(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("a range is two numbers above 0, the smaller one first")
    return bounds


def _scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    if min(scales) <= 0 or max(scales) > 1:
        raise ValueError("a scale is above 0 and at most 1")
    return scales


def check_label_maps(maps: Sequence[str | None], lists: Sequence[str], field: str, of: str) -> None:
    """Refuse maps of labels that are not one a list.

    Raises:
        ValueError: Naming both fields.
    """
    if maps and len(maps) != len(lists):
        raise ValueError(
            f"{field} has {len(maps)} entries for the {len(lists)} lists of {of}; say one for each, null where labels stay"
        )


_Range = Annotated[tuple[float, float], AfterValidator(_range)]


class AugmentationConfig(Config):
    """How the frames of a training clip are varied: all frames of a clip alike, in the order of the fields."""

    randaugment: str | None = Field(
        default=None,
        pattern=r"^rand(-((m|n|mmax)\d+|(p|mstd)\d+(\.\d+)?|inc[01]|t[a-z]*))*$",
        description="timm's RandAugment, such as rand-m7-n4-mstd0.5-inc1, on whole frames; null: none.",
    )
    crop: Literal["multiscale", "resized", "random", "center"] = Field(
        default="multiscale",
        description="multiscale: sides of `scales` at 13 anchors (VideoMAE); resized: any area and aspect in the ranges below; "
        "random: anywhere once the frame is resized; center: as in evaluation.",
    )
    scales: Annotated[tuple[float, ...], AfterValidator(_scales)] = Field(
        default=SCALES, min_length=1, description="Sides of a multi-scale crop over the short side."
    )
    area: _Range = Field(default=(0.08, 1.0), description="Least and largest share of the frame in a resized crop.")
    aspect: _Range = Field(default=(0.75, 1.3333), description="Least and largest width over height of a resized crop.")
    flip: float = Field(
        default=0.0, ge=0, le=1, description="Chance of a flipped clip; keep 0 where left and right matter."
    )
    mirror: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance of a clip in a mirror, which left and right change places in too: in its caption, and in its class by name "
        "(clips.classes). 0.5 where left and right matter.",
    )
    erasing: float = Field(default=0.0, ge=0, le=1, description="Chance that a box of the clip is filled with noise.")

    @model_validator(mode="after")
    def _one_way_round(self) -> Self:
        if self.flip and self.mirror:
            raise ValueError("flip and mirror both turn clips over; keep mirror where left and right matter, else flip")
        return self


class MixConfig(Config):
    """How pairs of clips and their labels are mixed, on the device (mixup and cutmix)."""

    mixup: float = Field(default=0.8, ge=0, description="Alpha of mixup; 0: none.")
    cutmix: float = Field(default=1.0, ge=0, description="Alpha of cutmix; 0: none.")
    chance: float = Field(default=1.0, ge=0, le=1, description="Chance that four neighbouring clips are mixed.")
    switch: float = Field(default=0.5, ge=0, le=1, description="Chance of cutmix where both are on.")
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="Label smoothing.")


class ViewsConfig(Config):
    """Videos as an encoder is measured on them: the same clips and crops of each, every time."""

    manifest: tuple[str, ...] = Field(
        min_length=1,
        description="Lists of videos: .jsonl, .json, .csv or space-separated text; or folders with a folder a class.",
    )
    label_maps: tuple[str | None, ...] = Field(
        default=(),
        description="For each list of `manifest`, a file that says which label each of its numbers stands for: a .json list, or a "
        "number a line; null where labels stay. Empty: all stay.",
    )
    frames: int | None = Field(default=None, ge=1, description="Frames T of a clip; null: what the encoder takes.")
    size: int | None = Field(
        default=None, ge=8, description="Height and width of a clip, pixels, and what the encoder sees; null: its own."
    )
    sampler: Literal["strided", "dense", "sparse", "ssv2", "middle", "seconds"] = Field(
        default="strided",
        description="Which frames. strided: every `stride`-th from a random start (masked pretraining); dense: evenly over a "
        "closed window of frames x stride (Kinetics); ssv2, sparse: one of each of T segments (Something-Something, "
        "UniFormerV2); middle: one of each of T intervals, the middle one in evaluation (contrastive); "
        "seconds: the one on show at each second, T of them at most, the mean colour after fewer (retrieval).",
    )
    stride: int = Field(default=4, ge=1, description="Frames of the file from one frame of a clip to the next.")
    clips: int = Field(default=1, ge=1, description="In evaluation: clips over the length of a video.")
    crops: int = Field(default=1, ge=1, description="In evaluation: crops along the longer side of each of them.")
    short_side: int | None = Field(
        default=None,
        ge=8,
        description="Side that frames are resized to before a random, center or test crop, and that larger videos are "
        "decoded at; null: `size`, and for the other crops the video's own.",
    )
    squash: bool = Field(default=False, description="Resize both sides to short_side: aspect ratio is not kept.")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bilinear", description="How frames are resized; shrinking is antialiased."
    )
    num_classes: int | None = Field(
        default=None, ge=1, description="Labels are below this; null: whatever the lists say."
    )
    classes: str | None = Field(
        default=None,
        description="File of class names, a line each or a .json list; labels may then be names. null: numbers alone.",
    )
    folder_fps: float = Field(
        default=12.0, gt=0, description="Frames a second of frame folders, which cannot say (Something-Something: 12)."
    )
    workers: int = Field(
        default=2,
        ge=0,
        le=256,
        description="Processes that decode, one a processor at most; 0 decodes in the process that encodes.",
    )
    memory_mb: int = Field(
        default=256,
        ge=0,
        description="MB of decoded frames that each worker keeps: short, small videos, so that they are decoded once for all epochs.",
    )
    max_unreadable: float = Field(
        default=0.01, ge=0, le=1, description="Share of the videos that may turn out unreadable before the run stops."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_label_maps(self.label_maps, self.manifest, "label_maps", "manifest")
        if self.sampler == "seconds" and self.clips > 1:
            raise ValueError(f"clips {self.clips}: the sampler `seconds` takes a whole video as 1 clip")
        if self.short_side is not None and self.size is not None and self.short_side < self.size:
            raise ValueError(f"short_side {self.short_side} is below size {self.size}: crops would not fit")
        return self


class ClipsConfig(ViewsConfig):
    """Clips from video files and frame folders, to train on."""

    frames: int = Field(default=16, ge=1, description="Frames T of a clip.")
    size: int = Field(default=224, ge=8, description="Height and width of a clip, pixels: what the encoder sees.")
    strides: dict[str, PositiveInt] = Field(
        default={},
        description="Another stride for videos with this word in their path, such as {SomethingV2: 2}; a row's own goes first.",
    )
    repeats: int = Field(
        default=1, ge=1, description="Copies of each training clip, other crops of the same frames, side by side."
    )
    augmentation: AugmentationConfig = Field(
        default=AugmentationConfig(), description="How training clips are cut out and varied."
    )
    captions: Literal["random", "first"] = Field(
        default="random", description="Which caption of several a training clip comes with; evaluation takes the first."
    )

    @property
    def resized_side(self) -> int:
        """Side that frames have when a crop of `size` is cut out of them."""
        return self.short_side or self.size
