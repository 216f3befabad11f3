"""What a recipe may say. Every field has a type, a range and a unit; `load` in `navloop.configs.loader` checks them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

NAME = r"^[A-Za-z0-9_-]+$"
"""Pattern of names that become folders."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name is there twice")
    return names


def _devices(indices: tuple[int, ...]) -> tuple[int, ...]:
    if min(indices, default=0) < -1:
        raise ValueError("an index is below -1")
    return indices


Devices = Annotated[tuple[int, ...], AfterValidator(_devices)]
"""CUDA indices of GPUs; -1 is the processor."""


class Config(BaseModel):
    """Base of all recipes: frozen, and strict about unknown keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    RESUMABLE: ClassVar[tuple[str, ...]] = ()
    """Fields that may change when a run is resumed, because no result depends on them."""


class LengthsConfig(Config):
    """How long tours are: drawn from a log-normal distribution, within a range.

    What a house is too small for is drawn again, so that what comes out of the defaults is nearer to R2R-CE's val_unseen: mean 8.9 and
    deviation 2.67, from 3.8 to 21.0 (info.geodesic_distance, version v1-3).
    """

    mean: float = Field(default=9.8, gt=0, description="Mean of the distribution, metres.")
    deviation: float = Field(default=3.4, gt=0, description="Its standard deviation, metres.")
    shortest: float = Field(default=4.0, ge=1, description="Least length drawn, metres; a tour's own is within 6%.")
    longest: float = Field(default=18.0, le=100, description="Greatest length drawn, metres.")

    @model_validator(mode="after")
    def _holds_the_mean(self) -> Self:
        if not self.shortest < self.mean < self.longest:
            raise ValueError(f"mean {self.mean} is not between shortest {self.shortest} and longest {self.longest}")
        return self


class HousesConfig(Config):
    """A data set of generated houses and the tours through them."""

    RESUMABLE: ClassVar[tuple[str, ...]] = ("workers",)

    kind: Literal["houses"] = Field(default="houses", description="Which command the recipe is for.")
    name: str = Field(default="houses", pattern=NAME, description="Folder of the scenes and prefix of scene ids.")
    seed: int = Field(default=0, ge=0, description="House i of a split is drawn from (seed, split, i) alone.")
    train_houses: int = Field(default=20, ge=0, description="Houses of the train and val_seen splits.")
    val_unseen_houses: int = Field(default=5, ge=0, description="Houses of the val_unseen split, never trained in.")
    extra_houses: int = Field(default=0, ge=0, description="Further houses, without episodes.")
    train_tours: int = Field(default=60, ge=0, description="Tours a train house.")
    val_seen_tours: int = Field(default=6, ge=0, description="Held-out tours a train house.")
    val_unseen_tours: int = Field(default=40, ge=0, description="Tours a val_unseen house.")
    instructions_per_tour: int = Field(
        default=3, ge=1, le=8, description="Independent wordings of one walk, as in R2R."
    )
    lengths: LengthsConfig = Field(default=LengthsConfig(), description="How long tours are.")
    workers: int = Field(default=0, ge=0, description="Processes that generate; 0 takes one a processor.")


class ReportConfig(Config):
    """What the page about a run shows."""

    agent: str | None = Field(
        default=None,
        description="Agent whose episodes are filmed and mapped, and that the others are compared with; null: the best.",
    )
    maps: int = Field(
        default=6, ge=0, le=60, description="Episodes drawn as top-down maps, successes and failures in turn."
    )
    videos: int = Field(default=4, ge=0, le=20, description="Episodes filmed, successes and failures in turn.")
    video_size: int = Field(
        default=448, ge=128, le=1080, multiple_of=2, description="Width of the filmed picture, pixels."
    )
    video_fps: int = Field(default=8, ge=1, le=60, description="Actions a second in the films.")


class WorldConfig(Config):
    """Where somebody walks."""

    world: Literal["embedded", "habitat"] = Field(
        default="embedded", description="Simulator that is walked in; habitat has to be installed."
    )
    scene_dataset_config: str | None = Field(
        default=None,
        description="Habitat alone: the file *.scene_dataset_config.json of the scenes; null takes them as plain files.",
    )
    gpu_devices: Devices = Field(
        default=(-1,),
        min_length=1,
        description="Habitat alone: CUDA indices of the GPUs to draw on, dealt to the workers in turn; -1 takes the first device that EGL lists, the processor where no GPU has a driver.",
    )
    scenes: str = Field(min_length=1, description="Folder that the episodes' scene ids are relative to.")

    @property
    def world_settings(self) -> dict[str, object]:
        """What the world takes besides scenes and protocol; of the GPUs, the first."""
        if self.world == "embedded":
            return {}
        return {"gpu_device": self.gpu_devices[0], "scene_dataset_config": self.scene_dataset_config}


class EvalConfig(WorldConfig):
    """A benchmark: agents, each on every episode of one split."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "agents",
        "scenes",
        "episodes",
        "scene_dataset_config",
        "gpu_devices",
        "workers",
        "lanes",
        "device",
        "reply_seconds",
        "report",
    )
    # Scenes and episodes may move: their contents are held by fingerprints. What draws moves nobody.

    kind: Literal["eval"] = Field(default="eval", description="Which command the recipe is for.")
    name: str = Field(default="eval", pattern=NAME, description="Title of the run and its folder below runs/.")
    seed: int = Field(
        0, ge=0, description="Whatever an agent draws in an episode follows from (seed, episode_id) alone."
    )
    episodes: str = Field(min_length=1, description="Episode file in the R2R-VLNCE or RxR-VLNCE schema (.json.gz).")
    protocol: str = Field(min_length=1, description="Embodiment and success rule, by name.")
    pixels: int | None = Field(
        default=None, ge=16, description="Height and width of the frames drawn; null: the protocol's own."
    )
    depth: bool = Field(default=False, description="Add a depth camera, where the protocol has none.")
    agents: Annotated[tuple[str, ...], AfterValidator(_distinct)] = Field(
        min_length=1,
        description="Agents to measure: names, folders of saved agents or of their training, 'command:PROGRAM', 'python:MODULE:CLASS'; "
        "'NAME=' before one names it, '+shuffled' or '+blank' after one makes it a control.",
    )
    max_episodes: int | None = Field(
        default=None,
        ge=1,
        description="Take this many episodes, drawn with the seed, evenly over scenes; null takes all.",
    )
    workers: int = Field(default=0, ge=0, le=256, description="Processes that walk; 0 takes one a processor.")
    lanes: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Episodes that a saved agent walks at once in each process, in one batch; 0 takes 8. Others walk one.",
    )
    temperature: float = Field(
        default=0.0, ge=0, description="Saved agents draw from the softmax at this; 0 takes the likeliest action."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="What the networks are on: cpu, cuda, cuda:1, ...; auto: the GPUs in turn where there are any.",
    )
    reply_seconds: float = Field(
        default=120.0, gt=0, description="Longest that a program may take for an action; ten times as long to start."
    )
    report: ReportConfig = Field(default=ReportConfig(), description="What the page about the run shows.")
