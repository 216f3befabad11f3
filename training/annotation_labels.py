"""Annotation files with something to choose: sentences of a clip, answers to a question, actions of a segment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from navloop.training.annotation_files import Entry, check, named_in, read_json, read_tabbed, read_text, stem
from navloop.training.annotation_texts import MOVIE, Records, Source, Words
from navloop.training.listings import ManifestError


class _Choice(Entry):
    clip_name: str
    options: list[Words] = Field(min_length=2)
    answer: int = Field(ge=0)


def read_msrvtt_choice(source: Source) -> Records:
    """Read lines of JSON with clip_name, options, and answer, the number of the right one from 0."""
    for place, line in _json_lines(source.texts):
        choice = check(_Choice, line, place)
        if choice.answer >= len(choice.options):
            raise ManifestError(
                f"{place}, field answer is {choice.answer}: there are {len(choice.options)} options, from 0"
            )
        video = source.videos.path(choice.clip_name, place)
        yield place, {"video": video, "captions": choice.options, "label": choice.answer}


def read_lsmdc_choice(source: Source) -> Records:
    """Read the test's lines, which give the right one of five sentences from 1, and the others', which begin with it."""
    options = tuple(f"sentence{number}" for number in range(1, 6))
    for place, fields in read_tabbed(source.texts, "texts", ((*MOVIE, *options), (*MOVIE, *options, "answer"))):
        answer = fields.get("answer", "1")
        if answer not in ("1", "2", "3", "4", "5"):
            raise ManifestError(f"{place}, field answer is {answer!r}: a number from 1 to 5")
        for name in options:
            if not fields[name]:
                raise ManifestError(f"{place}, field {name} is empty")
        video = source.videos.path(fields["clip_id"], place)
        yield place, {"video": video, "captions": [fields[name] for name in options], "label": int(answer) - 1}


_Number = Annotated[int, Field(ge=0)]


class _Question(Entry):
    question: Words
    answer: str
    video_id: str | int | None = None
    gif_name: str | None = None


def read_question(source: Source) -> Records:
    """Read lines of JSON with question, answer, and video_id or gif_name; answers without a number have no label."""
    assert source.config.answers is not None  # the config has seen to it
    path = source.folder / source.config.answers
    numbers = check(dict[str, _Number], read_json(path, "answers"), str(path))
    known = False
    for place, line in _json_lines(source.texts):
        asked = check(_Question, line, place)
        video = asked.gif_name if asked.gif_name is not None else asked.video_id
        if video is None:
            raise ManifestError(f"{place}: names no video; give video_id or gif_name")
        name = f"video{video}" if isinstance(video, int) else video  # MSRVTT-QA gives the number of video7010 alone
        record = {"video": source.videos.path(name, place), "captions": [asked.question]}
        answer = numbers.get(asked.answer)
        known = known or answer is not None
        yield place, record if answer is None else {**record, "label": answer}  # no class of its own: never right
    if not known:
        raise ManifestError(f"{path}: has a number for no answer of {source.texts}; name the answers of that data set")


class _Action(Entry):
    segment: list[float] = Field(min_length=2, max_length=2)
    label: str


class _Actions(Entry):
    subset: str
    annotations: list[_Action] = Field(default=[])


class _Database(Entry):
    database: dict[str, _Actions]


def read_activitynet_actions(source: Source) -> Records:
    """Read the segments of each video in a "database", with their labels."""
    data = check(_Database, read_json(source.texts, "texts"), str(source.texts)).database
    listed, wanted = source.listed(), source.config.split
    subsets = [video.subset for video in data.values()]
    if wanted is not None and wanted not in subsets:
        raise ManifestError(f"split: {source.texts} has no videos of subset {wanted!r}, but of {named_in(subsets)}")
    for name, video in data.items():
        if wanted not in (None, video.subset) or (listed is not None and stem(name) not in listed):
            continue
        file = f"v_{name}" if source.videos.has(f"v_{name}") else name  # as ActivityNet's own downloads are called
        for number, action in enumerate(video.annotations):
            place = f"{source.texts}, database.{name}.annotations.{number}"
            start, end = action.segment
            yield place, {"video": source.videos.path(file, place), "start": start, "end": end, "label": action.label}


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(read_text(path, "texts").split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}, line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ManifestError(f"{path}, line {number}: not JSON ({error}); write one object a line") from None
