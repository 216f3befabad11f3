"""How an agent is trained by an expert's corrections, as a recipe says it, and what all training of agents shares."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.agents import AgentConfig
from navloop.configs.iterations import LessonsConfig, WalkingConfig
from navloop.configs.schema import NAME, Config


class EpisodesConfig(Config):
    """Where agents walk while they learn, and where it is measured what they have learned."""

    scenes: str = Field(min_length=1, description="Folder that the episodes' scene ids are relative to.")
    train: str = Field(min_length=1, description="Episode file to learn from, with goals.")
    val_seen: str | None = Field(default=None, description="Episode file of other tours in the houses of `train`.")
    val_unseen: str | None = Field(default=None, description="Episode file in other houses.")
    world: Literal["embedded", "habitat"] = Field(
        default="embedded", description="Simulator that agents walk in; habitat has to be installed."
    )
    scene_dataset_config: str | None = Field(
        default=None,
        description="Habitat alone: the file *.scene_dataset_config.json of the scenes; null takes them as plain files.",
    )
    gpu_device: int = Field(
        default=-1,
        ge=-1,
        description="Habitat alone: CUDA index of the GPU to draw on; -1 takes the first device that EGL lists, the processor where no GPU has a driver.",
    )
    protocol: str = Field(default="houses", min_length=1, description="Embodiment and success rule, by name.")
    pixels: int | None = Field(
        default=None, ge=16, description="Height and width of the frames drawn; null: the protocol's own."
    )

    @property
    def world_settings(self) -> dict[str, object]:
        """What the world takes besides scenes and protocol."""
        if self.world == "embedded":
            return {}
        return {"gpu_device": self.gpu_device, "scene_dataset_config": self.scene_dataset_config}


class TrainConfig(Config):
    """What all training of agents shares; a recipe is of one algorithm."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "device",
        "workers",
        "lanes",
        "keep",
        "checkpoint_every",
        "log_every",
    )

    kind: Literal["train"] = Field(default="train", description="Which command the recipe is for.")
    algorithm: str = Field(description="How it learns; it decides which other fields there are.")
    name: str = Field(default="train", pattern=NAME, description="Folder of the run below runs/.")
    seed: int = Field(
        default=0, ge=0, description="First weights, order of data, dropout and drawn actions follow from it."
    )
    episodes: EpisodesConfig = Field(description="Where it walks.")
    agent: AgentConfig = Field(default=AgentConfig(), description="Who learns.")
    start: str | None = Field(default=None, description="Folder of a saved agent to begin with; null: a new one.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="What the weights are on: cpu, cuda, cuda:1, ...; auto: a GPU where there is one.",
    )
    workers: int = Field(
        default=0, ge=0, le=256, description="Processes that walk; 0 takes one a processor, 1 walks in this one."
    )
    lanes: int = Field(
        default=16, ge=1, le=1024, description="Environments that a process walks at once, in one batch."
    )
    evaluate: int = Field(
        default=100,
        ge=0,
        description="Episodes of each validation split walked to measure; 0 measures nothing and keeps no `best`.",
    )
    select: Literal["val_seen", "val_unseen"] = Field(
        default="val_seen",
        description="Split whose SPL says which agent is kept as `best`. Numbers on it are then not held out.",
    )
    keep: int = Field(default=2, ge=1, description="Checkpoints kept, the newest.")
    checkpoint_every: int = Field(default=200, ge=1, description="Steps between checkpoints; one more an iteration.")
    log_every: int = Field(default=20, ge=1, description="Steps that a line of metrics is the mean of.")

    @model_validator(mode="after")
    def _someone_is_best(self) -> Self:
        if self.evaluate and getattr(self.episodes, self.select) is None:
            raise ValueError(
                f"select is {self.select}, but episodes.{self.select} is null, so that no agent would be kept as `best`; "
                "name its episodes, select the other split, or take evaluate=0"
            )
        return self

    @property
    def mirrors(self) -> bool:
        """Whether walks are learned in a mirror too, left and right swapped."""
        return False


class CollectionConfig(WalkingConfig):
    """How the walks that are learned from are made: in each iteration, who acts, and who may interfere.

    At every place the expert says what it would do, and that is what is learned, whoever acts.

    Source: Ross, Gordon and Bagnell, DAgger, AISTATS 2011; VLN-CE (mixing by step, p = 0.75).
    """

    iterations: int = Field(
        default=4,
        ge=0,
        description="Times that walks are made and learned from; one alone is teacher forcing; 0: recorded walks alone.",
    )
    stop_within: float | None = Field(
        default=None,
        gt=0,
        description="Metres from the goal, walked, at which the expert stops; null: the length of a step. VLN-CE's stops within 0.5 m.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        description="Of the softmax that the policy's actions on walks to learn from are drawn from; 0 takes the likeliest. VLN-CE draws, at 1.",
    )
    off_path: float | None = Field(
        default=None,
        gt=0,
        description="Metres from the reference path at which the expert takes over, until it is on it again; null: never.",
    )
    early_stop: bool = Field(
        default=False, description="Let the expert act where the policy would stop and the expert would not."
    )
    late_stop: int | None = Field(
        default=None,
        ge=0,
        description="Let the expert stop the walk after the policy has passed over so many stops of the expert's; null: never.",
    )


class LearningConfig(LessonsConfig):
    """How walks are learned from: AdamW on a cosine schedule over the whole run.

    Source: VLN-CE (inflection weighting, progress monitor); Wijmans et al., CVPR 2019 (inflection weighting).
    """

    encoder_lr: float = Field(
        default=0.1, gt=0, description="The encoder's learning rate over the policy's, if it is trained."
    )
    inflection: float = Field(
        default=3.2, gt=0, description="Weight of a step at which the expert's action is another than a step before."
    )
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing of the actions.")
    progress: float = Field(default=1.0, ge=0, description="Weight of the progress monitor's loss.")
    mirror: bool = Field(
        default=False,
        description="Learn half of the walks in a mirror, drawn anew each pass: frames flipped, left and right swapped.",
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="Type of most arithmetic.")


class RecordedConfig(Config):
    """Walks that somebody recorded before, and the words that go with them."""

    folder: str = Field(min_length=1, description="Folder of walks, as training by imitation leaves in walks/NN.")
    episodes: str = Field(
        min_length=1, description="Episode file with the instructions of its walks, found by scene and trajectory."
    )


class ImitationConfig(TrainConfig):
    """Imitation: an expert's walks first, then the policy's own with the expert's corrections (DAgger)."""

    algorithm: Literal["imitation"] = Field(default="imitation", description="How it learns.")
    collection: CollectionConfig = Field(default=CollectionConfig(), description="How walks are made.")
    walks: tuple[RecordedConfig, ...] = Field(
        default=(),
        description="Recorded walks that are learned from beside those that are made, from the first iteration on.",
    )
    start_encoder: str | None = Field(
        default=None,
        description="File of encoder weights that the agent of `start` sees with from now on; null: those that it has.",
    )
    learning: LearningConfig = Field(default=LearningConfig(), description="How they are learned from.")

    @property
    def mirrors(self) -> bool:
        """Whether walks are learned in a mirror too, left and right swapped."""
        return self.learning.mirror

    @model_validator(mode="after")
    def _has_walks(self) -> Self:
        if not self.collection.iterations and not self.walks:
            raise ValueError("collection.iterations is 0 and there are no recorded walks; name some in `walks`")
        if self.start_encoder is not None and self.start is None:
            raise ValueError(
                "start_encoder is of an agent to go on from; name one in `start`, or set agent.perception.weights"
            )
        return self
