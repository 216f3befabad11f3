"""The closed loop as a recipe says it: who begins, where new walks come from, how they are learned from, and what counts as help."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from navloop.configs.filters import FiltersConfig
from navloop.configs.schema import NAME, Config, LengthsConfig


def _settings(settings: tuple[str, ...]) -> tuple[str, ...]:
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r} is not KEY=VALUE")
    return settings


class PartConfig(Config):
    """A recipe that the loop runs; which files it reads is the loop's to say."""

    recipe: str = Field(min_length=1, description="A recipe: its file, or a shipped one's name.")
    set: Annotated[tuple[str, ...], AfterValidator(_settings)] = Field(
        default=(), description="Fields to set, KEY=VALUE each, as on the command line."
    )


class ToursConfig(Config):
    """Labelled tours of the training houses: the agent acts, an expert says at every place what it would do."""

    count: int = Field(default=100, ge=1, description="Tours a round; those that nobody walked yet come first.")
    beta: float = Field(default=0.3, ge=0, le=1, description="Probability that the expert acts, at each step anew.")
    off_path: float | None = Field(
        default=None, gt=0, description="Metres from the tour at which the expert takes over; null: never."
    )
    early_stop: bool = Field(
        default=False,
        description="Let the expert act where the agent would stop and the expert would not, so that walks come to their end.",
    )
    late_stop: int | None = Field(
        default=None,
        ge=0,
        description="Let the expert stop a walk after the agent passed over so many of the expert's stops; null: never.",
    )
    max_steps: int | None = Field(default=90, ge=1, description="Actions of a walk at most; null: the protocol's own.")
    keep: Literal["all", "corrected"] = Field(
        default="all",
        description="corrected: only walks that arrived, within 0.5 m or where the expert stops (stop_within), after a detour, or that off_path, early_stop or "
        "late_stop led back (StreamVLN's rule).",
    )


class GroundConfig(Config):
    """New ground: houses without a word said of them. Ways are drawn and walked, the speaker says where they go."""

    count: int = Field(default=80, ge=1, description="Ways a round.")
    lengths: LengthsConfig = Field(default=LengthsConfig(), description="How long they are.")
    corrected: bool = Field(
        default=False,
        description="Let the agent walk what was kept, told the speaker's words and corrected by an expert, and learn from that too.",
    )


class FreeConfig(Config):
    """The agent alone on training tours: where it failed, it is said in hindsight where it went."""

    count: int = Field(default=80, ge=1, description="Walks a round.")
    max_steps: int | None = Field(default=90, ge=1, description="Actions of a walk at most; null: the protocol's own.")


class SourcesConfig(Config):
    """Where new walks come from; a null leaves a source out."""

    tours: ToursConfig | None = Field(default=ToursConfig(), description="Labelled tours, corrected by an expert.")
    ground: GroundConfig | None = Field(default=GroundConfig(), description="Houses without instructions.")
    free: FreeConfig | None = Field(default=FreeConfig(), description="Failures, relabelled in hindsight.")

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not (self.tours or self.ground or self.free):
            raise ValueError("tours, ground and free are all null; a loop needs a source of walks")
        if self.ground is not None and self.ground.corrected and self.tours is None:
            raise ValueError(
                "ground.corrected walks by the rules of tours, which is null; set tours, or corrected to false"
            )
        return self


class EyesConfig(Config):
    """How the encoder learns: before the first round, and in each round from old films and new walks."""

    first: PartConfig = Field(description="Recipe of the stage contrastive, before the first round.")
    again: PartConfig = Field(
        description="Recipe of the stage contrastive, in each round and arm from the encoder before on."
    )
    films: PartConfig = Field(
        default=PartConfig(recipe="replay_houses", set=("width=64",)),
        description="Recipe of kind replay: films of the first agent's tours, and of validation tours to measure on.",
    )
    retrieval: PartConfig = Field(
        default=PartConfig(recipe="perception_retrieval"),
        description="Recipe of kind perception: what an encoder must not forget, measured on films of validation tours.",
    )
    general: PartConfig | None = Field(
        default=None,
        description="Recipe of kind perception on videos of its own, such as perception_msrvtt or perception_kinetics: what an encoder must "
        "not forget of the world outside the houses.",
    )


Source = Literal["tours", "ground", "free"]


def _seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds) or min(seeds, default=-1) < 0:
        raise ValueError("seeds are different whole numbers from 0, at least one")
    return seeds


class ArmsConfig(Config):
    """Who learns beside the loop, at equal optimiser steps from the same agent on."""

    old: bool = Field(default=True, description="An arm that learns on from the old walks alone.")
    expert: bool = Field(
        default=True,
        description="An arm that learns from as many more frames, all of them an expert's on training tours.",
    )
    without: tuple[Source, ...] = Field(
        default=(),
        description="Sources of walks that an arm each leaves out of what the loop learns from: what the loop has over it is what that source brought.",
    )
    seeds: Annotated[tuple[int, ...], AfterValidator(_seeds)] = Field(
        default=(0,), description="Each arm learns once with each of these; the first one's agent goes on."
    )


class JudgeConfig(Config):
    """What is measured, and what counts as help."""

    recipe: str = Field(min_length=1, description="Recipe of kind eval: its file, or a shipped one's name.")
    set: Annotated[tuple[str, ...], AfterValidator(_settings)] = Field(
        default=(), description="Fields of it to set, KEY=VALUE each."
    )
    split: Literal["val_seen", "val_unseen"] = Field(
        default="val_unseen",
        description="Episodes that all arms walk. What is accepted on them is no longer held out by the second round.",
    )
    metric: Literal["success", "spl", "ndtw"] = Field(default="spl", description="What has to grow.")
    rule: Literal["point", "interval"] = Field(
        default="interval",
        description="interval: the lower end of the 95% interval of the gain lies above 0; point: the gain itself does. Of several seeds the first "
        "alone must gain too.",
    )
    against: tuple[Literal["before", "old", "expert"], ...] = Field(
        default=("before", "old"),
        min_length=1,
        description="Whom the loop's agent must be better than to be accepted; old: as much more learning from old walks alone.",
    )


class StopConfig(Config):
    """When rounds end before their number is up; a null asks nothing."""

    least_yield: float | None = Field(
        default=None, ge=0, le=1, description="Share of the described walks that is kept, below which the loop ends."
    )
    refused: int | None = Field(
        default=2, ge=1, description="Rounds one after the other that did not help, after which the loop ends."
    )
    forgotten: float | None = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of its retrieval (R@5) on films of validation tours that an encoder may lose, and of the first score of each task of "
        "encoder.general, in a round or since before the first; a round after which more of either is lost is refused.",
    )


class LoopReportConfig(Config):
    """What the page about a loop shows."""

    examples: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Kept walks a source and round, and as many rejected ones, each with its film and its map: about 0.4 MB of the page.",
    )
    video_size: int = Field(
        default=256, ge=128, le=1080, multiple_of=2, description="Width of the filmed picture, pixels."
    )
    video_fps: int = Field(default=8, ge=1, le=60, description="Actions a second in the films.")


class LoopConfig(Config):
    """Record, describe, filter, retrain, prove; and again."""

    RESUMABLE: ClassVar[tuple[str, ...]] = ("name", "rounds", "workers", "stop.least_yield", "stop.refused", "report")

    kind: Literal["loop"] = Field(default="loop", description="Which command the recipe is for.")
    name: str = Field(default="loop", pattern=NAME, description="Folder of the run below runs/.")
    seed: int = Field(
        default=0,
        ge=0,
        description="Every draw of the loop follows from it, but for what recipes of houses, films, the first encoder and the judge draw by their own.",
    )
    rounds: int = Field(default=1, ge=1, le=99, description="Times around; more of them go on with a finished loop.")
    houses: PartConfig = Field(
        description="Recipe of kind houses; its extra houses are the new ground that nobody has described."
    )
    dataset: str | None = Field(
        default=None,
        description="Folder of a finished data set of that recipe, in place of making it; null: it is made.",
    )
    labelled: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the training tours that are told to the first agent, which walks all of them unless first.set limits "
        "collection.tours, and to the speaker; rounds and the expert arm walk the others first.",
    )
    first: PartConfig = Field(description="Recipe of training by imitation: the first agent, and the old walks.")
    retrain: PartConfig = Field(
        description="Recipe of training by imitation, with learning.steps: how every arm of a round learns. Walks, world and pixels are those of the round."
    )
    speaker: PartConfig = Field(description="Recipe of training a speaker: who describes walks.")
    encoder: EyesConfig | None = Field(default=None, description="How the encoder learns; null leaves it as it is.")
    sources: SourcesConfig = Field(default=SourcesConfig(), description="Where new walks come from.")
    filters: FiltersConfig = Field(default=FiltersConfig(), description="Which described walks are kept.")
    arms: ArmsConfig = Field(default=ArmsConfig(), description="Who learns beside the loop.")
    judge: JudgeConfig = Field(description="What counts as help.")
    stop: StopConfig = Field(default=StopConfig(), description="When it ends.")
    workers: int = Field(default=0, ge=0, le=256, description="Processes that walk; 0 takes one a processor.")
    report: LoopReportConfig = Field(default=LoopReportConfig(), description="What the page shows.")

    @model_validator(mode="after")
    def _arms_are_there(self) -> Self:
        for name in self.judge.against:
            if name != "before" and not getattr(self.arms, name):
                raise ValueError(
                    f"judge.against names the arm {name!r}, but arms.{name} is false; let it learn, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _sources_left_out_are_there(self) -> Self:
        walked = [name for name in ("tours", "ground", "free") if getattr(self.sources, name) is not None]
        if len(set(self.arms.without)) < len(self.arms.without):
            raise ValueError("arms.without names a source twice")
        for name in self.arms.without:
            if name not in walked:
                raise ValueError(f"arms.without names {name!r}, but sources.{name} is null; set it, or leave it out")
            if len(walked) == 1:
                raise ValueError(f"arms.without: {name} is the only source; without it an arm is arms.old")
        return self
