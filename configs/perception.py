"""Evaluation of perception, as a recipe says it: one encoder, the videos, and what is measured on them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from navloop.configs.perception_tasks import (
    ClassificationTaskConfig,
    NeighboursTaskConfig,
    OpenSetTaskConfig,
    ProbeTaskConfig,
    TaskConfig,
)
from navloop.configs.perception_texts import (
    CaptioningTaskConfig,
    ChoiceTaskConfig,
    RetrievalTaskConfig,
    ZeroShotTaskConfig,
)
from navloop.configs.schema import NAME, Config
from navloop.configs.videos import ViewsConfig

AnyTask = Annotated[
    ClassificationTaskConfig
    | ProbeTaskConfig
    | NeighboursTaskConfig
    | OpenSetTaskConfig
    | RetrievalTaskConfig
    | ZeroShotTaskConfig
    | ChoiceTaskConfig
    | CaptioningTaskConfig,
    Field(discriminator="task"),
]
"""One entry of a recipe's `tasks`."""


_LISTS = ("manifest", "train", "unknown")
"""Fields of a task that name lists of its own."""


def _distinct(tasks: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
    titles = [task.title for task in tasks]
    if len(set(titles)) < len(titles):
        raise ValueError(f"two tasks are called {max(titles, key=titles.count)!r}; give one another name")
    return tasks


class PerceptionEvalConfig(Config):
    """An encoder, measured."""

    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "name",
        "tasks",
        "batch",
        "device",
        "clips.workers",
        "clips.memory_mb",
        "clips.max_unreadable",
    )
    # A task is held by its own fields: one that another start has measured, with the same ones, stays measured.

    kind: Literal["perception"] = Field(default="perception", description="Which command the recipe is for.")
    name: str = Field(default="perception", pattern=NAME, description="Title of the run and its folder below runs/.")
    seed: int = Field(default=0, ge=0, description="What intervals and probes draw follows from it.")
    encoder: str | None = Field(
        default=None, description="Encoder by name; null: the one that the file of `weights` says it is of."
    )
    weights: str | None = Field(
        default=None,
        description="Its weights: a stage's encoder.safetensors or classifier.safetensors, or a released file; null: random ones.",
    )
    clips: ViewsConfig = Field(description="Which videos, and how they are shown to the encoder.")
    train: tuple[str, ...] = Field(
        default=(), description="Lists of videos that probes and neighbours take from, one view of each."
    )
    unknown: tuple[str, ...] = Field(
        default=(), description="Lists of videos of classes that the classifier has not seen."
    )
    tasks: Annotated[tuple[AnyTask, ...], AfterValidator(_distinct)] = Field(
        min_length=1, description="What is measured, each entry by its `task`."
    )
    device: str = Field(
        default="auto", description="Where the encoder runs: cpu, cuda, cuda:1; auto: a GPU if there is one."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Type of most arithmetic.")
    batch: int = Field(default=16, ge=1, description="Videos a batch; each comes with all its views.")

    @model_validator(mode="after")
    def _mapped(self) -> Self:
        """Refuse lists whose labels nothing maps beside ones whose labels are mapped: they would mean other classes."""
        if not any(self.clips.label_maps):
            return self
        said = ["train", "unknown"] + [f"tasks.{n}.{name}" for n in range(len(self.tasks)) for name in _LISTS]
        lists = [self.train, self.unknown] + [getattr(task, name, ()) for task in self.tasks for name in _LISTS]
        bare = [field for field, names in zip(said, lists, strict=True) if names]
        if bare:
            raise ValueError(
                f"clips.label_maps changes the labels of clips.manifest, and there is none for the lists of {', '.join(bare)}; "
                "write the labels that they stand for into all lists and leave clips.label_maps out, or measure these lists by a "
                "recipe of their own"
            )
        return self
