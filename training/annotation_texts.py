"""Annotation files that say in words what videos show: MSR-VTT, MSVD, LSMDC, DiDeMo, ActivityNet Captions, VATEX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from navloop.configs.annotations import AnnotationsConfig
from navloop.training.annotation_files import (
    Entry,
    VideoFolder,
    check,
    named_in,
    read_json,
    read_plain_pickle,
    read_tabbed,
    read_table,
    read_text,
    stem,
)
from navloop.training.listings import ManifestError

Record = dict[str, Any]
"""What a line of a list says: video, captions, label, start, end."""
Records = Iterator[tuple[str, Record]]
"""Places and records."""
DIDEMO_END = 31.0
"""Seconds of a video that its moments lie in: what comes later was cut off when they were described. Source: CLIP4Clip."""
MOVIE = ("clip_id", "start_aligned", "end_aligned", "start_extracted", "end_extracted")
"""First fields of LSMDC's lines."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files that a config names."""

    config: AnnotationsConfig
    folder: Path
    videos: VideoFolder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", VideoFolder(self.folder / self.config.videos, self.config.suffix))

    @property
    def texts(self) -> Path:
        """File of the texts."""
        return self.folder / self.config.texts

    def listed(self) -> tuple[str, ...] | None:
        """Return the names of the list, each once; None where there is none."""
        if self.config.list is None:
            return None
        path = self.folder / self.config.list
        if path.suffix == ".json":
            names = check(list[str], read_json(path, "list"), str(path))
        elif path.suffix == ".csv":
            names = [row.video_id for _, row in read_table(path, "list", _Listed)]
        else:
            names = read_text(path, "list").split("\n")
        kept = dict.fromkeys(stem(name.strip()) for name in names if name.strip())
        if not kept:
            raise ManifestError(f"{path}: lists no videos")
        return tuple(kept)


class Texts:
    """Gathers the texts of each video, and where its first one stands."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._texts: dict[str, list[str]] = {}

    def add(self, video: str, text: str, place: str) -> None:
        """Add a text; an empty one is refused.

        Raises:
            ManifestError: With its place.
        """
        words = " ".join(text.split())
        if not words:
            raise ManifestError(f"{place}: the text of {video} is empty")
        self._places.setdefault(stem(video), place)
        self._texts.setdefault(stem(video), []).append(words)

    def records(self, source: Source, *, joined: bool = False) -> Records:
        """Yield a record a video, in the order of the list if there is one; `joined` makes its texts one paragraph."""
        listed = source.listed()
        names = tuple(self._texts) if listed is None else listed
        bare = [name for name in names if name not in self._texts]
        if bare and source.config.without_text == "refuse":
            raise ManifestError(
                f"{source.config.list}: {len(bare)} of {len(names)} videos, such as {bare[0]}, have no text in {source.texts}; "
                "mend the list, or say without_text: leave out"
            )
        for name in names:
            if name in self._texts:
                place, texts = self._places[name], self._texts[name]
                yield (
                    place,
                    {"video": source.videos.path(name, place), "captions": [" ".join(texts)] if joined else texts},
                )


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("give text that is not empty")
    return text


Words = Annotated[str, AfterValidator(_not_blank)]


class _Listed(Entry):
    video_id: str


class _Sentence(Entry):
    video_id: str
    sentence: Words


class _MsrvttSentence(Entry):
    video_id: str
    caption: Words


class _MsrvttVideo(Entry):
    video_id: str
    split: str | None = None


class _Msrvtt(Entry):
    sentences: list[_MsrvttSentence]
    videos: list[_MsrvttVideo] = Field(default=[])


def read_msrvtt(source: Source) -> Records:
    """Read MSRVTT_data.json, all of it or a split or the videos of a list; or a csv with a sentence a video (1k-A)."""
    texts, wanted = Texts(), source.config.split
    if source.texts.suffix == ".csv":
        if wanted is not None:
            raise ManifestError(f"split: {source.texts} says no splits; leave split out")
        for place, row in read_table(source.texts, "texts", _Sentence):
            texts.add(row.video_id, row.sentence, place)
        return texts.records(source)
    data = check(_Msrvtt, read_json(source.texts, "texts"), str(source.texts))
    splits = {video.video_id: video.split for video in data.videos}
    if wanted is not None and wanted not in splits.values():
        raise ManifestError(
            f"split: {source.texts} has no videos of split {wanted!r}, but of {named_in(splits.values())}"
        )
    for number, sentence in enumerate(data.sentences):
        if wanted is None or splits.get(sentence.video_id) == wanted:
            texts.add(sentence.video_id, sentence.caption, f"{source.texts}, sentences.{number}")
    return texts.records(source)


def read_msvd(source: Source) -> Records:
    """Read raw-captions.pkl: a list of captions a video, each a list of words."""
    texts = Texts()
    captions = check(dict[str, list[list[str]]], read_plain_pickle(source.texts, "texts"), str(source.texts))
    for video, each in captions.items():
        for number, words in enumerate(each):
            texts.add(video, " ".join(words), f"{source.texts}, field {video}.{number}")
    return texts.records(source)


def read_lsmdc(source: Source) -> Records:
    """Read lines of a clip, its times in the film, and a sentence."""
    texts = Texts()
    for place, fields in read_tabbed(source.texts, "texts", ((*MOVIE, "sentence"),)):
        texts.add(fields["clip_id"], fields["sentence"], place)
    return texts.records(source)


class _Moment(Entry):
    video: str
    description: Words


def read_didemo(source: Source) -> Records:
    """Read descriptions of moments; those of a video become one paragraph."""
    texts = Texts()
    for number, moment in enumerate(check(list[_Moment], read_json(source.texts, "texts"), str(source.texts))):
        texts.add(moment.video, moment.description, f"{source.texts}, entry {number}")
    for place, record in texts.records(source, joined=True):
        yield place, {**record, "end": DIDEMO_END}


class _Paragraph(Entry):
    duration: float = Field(gt=0)
    sentences: list[str] = Field(min_length=1)


def read_activitynet(source: Source) -> Records:
    """Read sentences of a video as one paragraph."""
    texts = Texts()
    for video, told in check(dict[str, _Paragraph], read_json(source.texts, "texts"), str(source.texts)).items():
        texts.add(video, " ".join(told.sentences), f"{source.texts}, field {video}")
    return texts.records(source)


class _Vatex(Entry):
    videoID: str
    enCap: list[Words] = Field(min_length=1)


def read_vatex(source: Source) -> Records:
    """Read the English captions of each video."""
    texts = Texts()
    for number, video in enumerate(check(list[_Vatex], read_json(source.texts, "texts"), str(source.texts))):
        for caption in video.enCap:
            texts.add(video.videoID, caption, f"{source.texts}, entry {number}")
    return texts.records(source)
