"""Several recipes one after the other, each taking what earlier ones left."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

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
        min_length=1, description="A recipe for houses, replay or pretrain: its file, or a shipped one's name."
    )
    set: _Settings = Field(default=(), description="Fields to set, KEY=VALUE each, as on the command line.")
    take: _Settings = Field(
        default=(), description="Fields that name what earlier steps left, KEY=PATH each, inside the pipeline's folder."
    )


def _distinct(steps: tuple[StepConfig, ...]) -> tuple[StepConfig, ...]:
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        raise ValueError(f"two steps have the name {max(names, key=names.count)!r}")
    return steps


class PipelineConfig(Config):
    """From nothing to a coordinated encoder, or any part of that way."""

    RESUMABLE: ClassVar[tuple[str, ...]] = ("name",)

    kind: Literal["pipeline"] = Field(default="pipeline", description="Which command the recipe is for.")
    name: str = Field(default="pipeline", pattern=NAME, description="Folder of the run below runs/.")
    steps: Annotated[tuple[StepConfig, ...], AfterValidator(_distinct)] = Field(
        min_length=1,
        description="What is done, in this order; each step has a name, a recipe, and what it sets and takes.",
    )
