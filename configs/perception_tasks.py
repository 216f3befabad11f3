"""What is measured of an encoder that sees: each entry of a perception recipe's `tasks` is one of these, or of those about texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from navloop.configs.schema import NAME, Config


class TaskConfig(Config):
    """What every task says."""

    task: str = Field(description="What is measured; it decides which other fields there are.")
    name: str | None = Field(
        default=None, pattern=NAME, description="Name in tables and files; null: that of the task."
    )
    manifest: tuple[str, ...] = Field(
        default=(), description="Lists of videos to measure on, in place of clips.manifest; empty: those."
    )
    clips: int | None = Field(default=None, ge=1, description="Clips a video, in place of clips.clips; null: as many.")
    crops: int | None = Field(default=None, ge=1, description="Crops a clip, in place of clips.crops; null: as many.")

    @property
    def title(self) -> str:
        """Name in tables and files."""
        return self.name or self.task

    @property
    def files(self) -> tuple[str, ...]:
        """What the task reads beside lists of videos."""
        return ()


class ClassificationTaskConfig(TaskConfig):
    """The classes that a classifier gives videos: its probabilities, averaged over the views of each.

    Source: InternVideo1/Pretrain/VideoMAE, engine_for_finetuning.py (softmax a view, mean over views); paper, section 4.1.
    """

    task: Literal["classification"] = Field(default="classification", description="What is measured.")


class ProbeTaskConfig(TaskConfig):
    """A logistic regression on the encoder's features, as they are: what they hold that a line can divide.

    Source: Alain and Bengio, 2016; Radford et al., CLIP, 2021, appendix A.3 (L-BFGS, the penalty chosen on held-out clips).
    """

    task: Literal["probe"] = Field(default="probe", description="What is measured.")
    train: tuple[str, ...] = Field(
        default=(),
        description="Lists of videos that the probe learns from, in place of the recipe's `train`; empty: those.",
    )
    penalties: tuple[float, ...] = Field(
        default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        min_length=1,
        description="Weights of half the squared weights beside the mean loss of a clip; of several, the best on held-out groups of "
        "the clips that it learns from is taken.",
    )
    folds: int = Field(
        default=4, ge=2, description="Parts that those clips are divided into, scene by scene, to choose."
    )


class NeighboursTaskConfig(TaskConfig):
    """The class that a clip's nearest neighbours have, each weighed by how near it is.

    Source: Wu et al., 2018; Caron et al., DINO, ICCV 2021, eval_knn.py (k of 10 to 200, temperature 0.07).
    """

    task: Literal["knn"] = Field(default="knn", description="What is measured.")
    train: tuple[str, ...] = Field(
        default=(),
        description="Lists of videos that neighbours are found in, in place of the recipe's `train`; empty: those.",
    )
    k: int = Field(default=20, ge=1, description="Neighbours that vote.")
    temperature: float = Field(default=0.07, gt=0, description="A neighbour's vote is exp(cosine / temperature).")


class OpenSetTaskConfig(TaskConfig):
    """Whether a classifier is less sure of videos of no class that it knows.

    Source: Bao et al., DEAR, ICCV 2021; InternVideo1/Downstream/Open-Set-Action-Recognition; paper, section 4.3.
    """

    task: Literal["open_set"] = Field(default="open_set", description="What is measured.")
    unknown: tuple[str, ...] = Field(
        default=(), description="Lists of videos of other classes, in place of the recipe's `unknown`; empty: those."
    )
