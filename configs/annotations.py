"""The official annotation files of a data set, as a small YAML file says them: which format, which split, where the videos are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config

Format = Literal[
    "msrvtt",
    "msvd",
    "lsmdc",
    "didemo",
    "activitynet",
    "vatex",
    "msrvtt_choice",
    "lsmdc_choice",
    "question",
    "activitynet_actions",
]
LISTED = ("msvd", "didemo", "activitynet", "vatex")
"""Formats whose texts are those of every split, so that a list has to say which videos are meant."""
SPLIT = {"msrvtt": "split", "activitynet_actions": "subset"}
"""Formats whose texts say which split a video is of, and in which field."""


class AnnotationsConfig(Config):
    """A data set's own annotation files; it stands where a list of videos may stand. Relative paths start at its folder."""

    format: Format = Field(description="Whose files they are.")
    texts: str = Field(
        min_length=1,
        description="File of the texts. msrvtt: MSRVTT_data.json, or a csv with video_id and sentence (1k-A); msvd: raw-captions.pkl; "
        "lsmdc: LSMDC16_*.csv; didemo: *_data.json; activitynet: val_1.json; vatex: vatex_validation_v1.0.json; msrvtt_choice: "
        "a line of JSON a question; lsmdc_choice: LSMDC16_multiple_choice_*.csv; question: a line of JSON a question; "
        'activitynet_actions: the JSON with a "database".',
    )
    list: str | None = Field(
        default=None,
        description="File of the videos of a split: a name a line, a .json list, or a .csv with video_id; null: all.",
    )
    split: str | None = Field(
        default=None,
        description="Split, where the texts say one: test, validate, train of msrvtt; validation of ActivityNet.",
    )
    videos: str = Field(min_length=1, description="Folder of the videos, in subfolders or not, named by their ids.")
    suffix: str = Field(
        default=".mp4",
        pattern=r"^\.\w+$",
        description="How files of videos that are not there would end, for messages.",
    )
    answers: str | None = Field(
        default=None,
        description="For question: .json object from each answer to its number (msrvtt_train_ans2label.json).",
    )
    without_text: Literal["refuse", "leave out"] = Field(
        default="refuse",
        description="What becomes of listed videos that have no text; ActivityNet and VATEX are published with some left out.",
    )

    @model_validator(mode="after")
    def _fits_the_format(self) -> Self:
        if self.format in LISTED and self.list is None:
            raise ValueError(
                f"{self.format} has one file of texts for all splits; name the list of one, such as list: test_list.txt"
            )
        if self.split is not None and self.format not in SPLIT:
            raise ValueError(f"the files of {self.format} say no splits; split is for {' and '.join(SPLIT)}")
        if self.list is not None and self.format in ("lsmdc", "msrvtt_choice", "lsmdc_choice", "question"):
            raise ValueError(f"the texts of {self.format} are of one split; leave list out")
        if (self.answers is not None) != (self.format == "question"):
            raise ValueError("answers is for format question, and needed there: the numbers of the answers")
        return self
