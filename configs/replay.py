"""What a recipe of `navloop replay` may say: which recorded walks become videos, in which world, and how they are filmed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from navloop.configs.schema import NAME, WorldConfig


class ReplayConfig(WorldConfig):
    """A video data set: the ground truth of an episode file, walked again and filmed."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "scenes",
        "episodes",
        "scene_dataset_config",
        "gpu_devices",
        "workers",
        "max_strays",
    )
    # Scenes and episodes may move: their contents are held by fingerprints.

    kind: Literal["replay"] = Field(default="replay", description="Which command the recipe is for.")
    name: str = Field(default="replay", pattern=NAME, description="Folder of the data set below data/.")
    seed: int = Field(default=0, ge=0, description="Draws the walks if not all are taken, and the words of sub-walks.")
    episodes: str = Field(
        min_length=1,
        description="Episode file (.json.gz), R2R-VLNCE or RxR-VLNCE, with its _gt file beside it; or a store of walks, by its folder.",
    )
    protocol: str = Field(min_length=1, description="Body and camera, by name; its languages are taken.")
    turns: Literal["recorded", "drop", "carry"] = Field(
        default="recorded",
        description="recorded: as they are. For bodies that turn by 30 degrees and files that turn by 15, drop: pairs are merged and "
        "odd ones left out; carry: an odd one waits for the next turn, so that the heading is never off by more than 15.",
    )
    max_walks: int | None = Field(
        default=None, ge=1, description="Take this many walks, drawn with the seed, evenly over scenes; null takes all."
    )
    width: int | None = Field(
        default=None,
        ge=32,
        le=1920,
        multiple_of=2,
        description="Width of the picture, pixels; the height follows. Null takes the protocol's.",
    )
    fps: int = Field(default=4, ge=1, le=60, description="Actions a second; at 4, a step of 0.25 m is a walk of 1 m/s.")
    gop: int = Field(
        default=4, ge=1, le=600, description="A key frame every so many frames: fewer make random reads cheaper."
    )
    quality: int = Field(
        default=23, ge=0, le=51, description="Constant rate factor of H.264, from 0 (lossless); 18 to 28 are usual."
    )
    subwalks: bool = Field(
        default=True, description="Also list the turns, rooms entered, things passed and stops, where houses tell them."
    )
    wordings: int = Field(default=3, ge=1, le=8, description="Sentences for each sub-walk.")
    tolerance: float = Field(
        default=0.01,
        gt=0,
        description="Metres that a walk may miss the ground truth's locations by; one that strays farther is reported and left out. "
        "Converted turns need more: try 1.0; and so do walks recorded in another world, where walkers slide otherwise: try 0.5.",
    )
    max_strays: float = Field(
        default=0.02, ge=0, le=1, description="Stop when more than this share of the walks strays."
    )
    workers: int = Field(default=0, ge=0, le=256, description="Processes that walk; 0 takes one a processor.")
