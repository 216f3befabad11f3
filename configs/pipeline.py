"""Several recipes one after the other, each taking what earlier ones left."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from navloop.configs.entries import read_entry
from navloop.configs.schema import NAME, Config


def _settings(settings: tuple[str, ...]) -> tuple[str, ...]:
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r} is not KEY=VALUE")
    return settings


_Settings = Annotated[tuple[str, ...], AfterValidator(_settings)]


class StepConfig(Config):
    """One recipe of a pipeline."""

    name: str = Field(pattern=NAME, description="Folder of the step inside the pipeline's.")
    recipe: str = Field(
        min_length=1,
        description="A recipe of kind houses, replay, pretrain, perception, eval, or train by imitation or reinforcement: its file, or a shipped one's name.",
    )
    set: _Settings = Field(default=(), description="Fields to set, KEY=VALUE each, as on the command line.")
    take: _Settings = Field(
        default=(),
        description="Fields that name what earlier steps left, KEY=PATH each, inside the pipeline's folder, or an input; agents=NAME=PATH "
        "names one.",
    )


def _distinct(steps: tuple[StepConfig, ...]) -> tuple[StepConfig, ...]:
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        raise ValueError(f"two steps have the name {max(names, key=names.count)!r}")
    return steps


class ClaimConfig(Config):
    """What a score of a step that measures, or a metric of one that learns, should come to. It is printed whether it holds, seed by seed.

    Nothing fails where it does not.
    """

    step: str = Field(description="Step of kind perception, eval, pretrain or train.")
    score: str = Field(
        description="Its score, named as in the table: task and metric, such as 'classification top-1', or agent and metric, such as "
        "'agent SR'; or one of its last metrics, such as held_out_loss."
    )
    than: tuple[str, ...] = Field(
        default=(), description="Steps whose score of that name it should reach; empty: chance alone is asked about."
    )
    times_chance: float | None = Field(
        default=None, gt=0, description="How often chance it should be at least; null: not asked."
    )
    below: str | None = Field(
        default=None,
        description="Another score or metric of the same step that it should be below, such as held_out_baseline; null: not asked.",
    )


def _seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ValueError("seeds are different whole numbers from 0")
    return seeds


class PipelineConfig(Config):
    """From nothing to a coordinated encoder, and to agents that see by it, measured: or any part of that way."""

    RESUMABLE: ClassVar[tuple[str, ...]] = ("name", "claims")

    kind: Literal["pipeline"] = Field(default="pipeline", description="Which command the recipe is for.")
    name: str = Field(default="pipeline", pattern=NAME, description="Folder of the run below runs/.")
    inputs: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="Files and folders that were there before, by the names under which steps take them."
    )
    steps: Annotated[tuple[StepConfig, ...], AfterValidator(_distinct)] = Field(
        min_length=1,
        description="What is done, in this order; each step has a name, a recipe, and what it sets and takes.",
    )
    seeds: Annotated[tuple[int, ...], AfterValidator(_seeds)] = Field(
        default=(),
        description="Steps that learn or measure are done once for each of these, in folders STEP/seed_N; an agent's random eyes are drawn "
        "with it too, unless its step says agent.perception.seed. Empty: once, each with the seed of its own recipe.",
    )
    claims: tuple[ClaimConfig, ...] = Field(default=(), description="What the scores are asked, at the end.")

    @model_validator(mode="after")
    def _steps_take_what_is_there(self) -> Self:
        there = dict.fromkeys(self.inputs)
        for step in self.steps:
            if step.name in self.inputs:
                raise ValueError(f"an input and a step have the name {step.name!r}")
            for setting in step.take:
                for text in setting.partition("=")[2].split(","):
                    source = read_entry(text.strip()).source.partition("/")[0]
                    if source not in there:
                        raise ValueError(
                            f"step {step.name} takes {text.strip()!r}, but before it there are {', '.join(there) or 'no others'}"
                        )
            there[step.name] = None
        return self

    @model_validator(mode="after")
    def _claims_are_of_steps(self) -> Self:
        names = [step.name for step in self.steps]
        for claim in self.claims:
            if absent := [name for name in (claim.step, *claim.than) if name not in names]:
                raise ValueError(f"a claim is about step {absent[0]!r}; there are {', '.join(names)}")
        return self
