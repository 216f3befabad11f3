"""What is measured of an encoder that sees and reads: retrieval, classes by name, choices, captions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from navloop.configs.generation import Beam, Greedy
from navloop.configs.perception_tasks import TaskConfig


class RetrievalTaskConfig(TaskConfig):
    """Texts to videos and videos to texts, with and without dual softmax: R@1, R@5, R@10, median and mean rank.

    Source: InternVideo1/Downstream/Video-Text-Retrieval, metrics.py; paper, section 4.2.
    """

    task: Literal["retrieval"] = Field(default="retrieval", description="What is measured.")
    captions: Literal["all", "first"] = Field(
        default="all", description="Of several captions of a video: ask with each of them, or with the first alone."
    )
    gallery: int | None = Field(
        default=None,
        ge=2,
        description="Videos that each search chooses among: the lists are dealt at random into galleries of so many, and what is left "
        "over of a deal is not searched in it; null: all videos are one gallery.",
    )
    deals: int = Field(
        default=50,
        ge=1,
        description="How often the lists are dealt into galleries; numbers are means over the deals, one of which alone decides by luck.",
    )


def _holds_a_name(templates: tuple[str, ...] | str) -> tuple[str, ...] | str:
    for template in templates if isinstance(templates, tuple) else ():
        if template.count("{}") != 1:
            raise ValueError(f"template {template!r} has to hold {{}} once, where the class goes")
    return templates


class ZeroShotTaskConfig(TaskConfig):
    """Classes by their names: the class whose prompts a video is nearest to. Labels are numbers or names of clips.classes.

    Source: Radford et al., CLIP, 2021, section 3.1.4; InternVideo1/Downstream/multi-modalities-downstream (k400); paper, section 4.3.
    """

    task: Literal["zero_shot"] = Field(default="zero_shot", description="What is measured.")
    classes: str | None = Field(
        default=None,
        description="File of what prompts call the classes, in the order of their numbers, a line each or a .json list; null: clips.classes.",
    )
    templates: Annotated[
        Literal["actionclip", "viclip", "video", "person", "bare"] | tuple[str, ...], AfterValidator(_holds_a_name)
    ] = Field(
        default="actionclip",
        min_length=1,
        description="Prompts: a set by name (16 of ActionCLIP, 28 of ViCLIP, 'a video of', 'a person doing', the bare name), or "
        "a list of them, each with {} for the class.",
    )
    average: Literal["probabilities", "embeddings"] = Field(
        default="probabilities",
        description="What is averaged over templates. probabilities: of the classes, a template (InternVideo); embeddings: the texts' "
        "unit vectors (CLIP).",
    )

    @property
    def files(self) -> tuple[str, ...]:
        """What the task reads beside lists of videos."""
        return () if self.classes is None else (self.classes,)


class ChoiceTaskConfig(TaskConfig):
    """Multiple choice: of the captions of a row, which is the one whose number is its label, from 0?

    Source: InternVideo1/Downstream/multi-modalities-downstream (msrvtt_choice, lsmdc_choice); paper, section 4.2.
    """

    task: Literal["choice"] = Field(default="choice", description="What is measured.")


class CaptioningTaskConfig(TaskConfig):
    """Captions that the encoder's caption decoder says, against those of the lists: BLEU and chrF.

    Source: Papineni et al., BLEU, ACL 2002; Popovic, chrF, WMT 2015; both as sacreBLEU computes them.
    """

    task: Literal["captioning"] = Field(default="captioning", description="What is measured.")
    strategy: Annotated[Beam | Greedy, Field(discriminator="kind")] = Field(
        default=Beam(width=3), description="How words are chosen: greedily, or by a beam."
    )
    length: int | None = Field(
        default=None, ge=3, description="Tokens of a caption at most, start and end included; null: the text tower's."
    )
    lower_case: bool = Field(
        default=True, description="Compare texts in lower case, as CLIP's tokens have no other; false: as they are."
    )
