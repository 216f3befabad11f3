"""Official annotation files of the data sets that the model family is measured on, turned into records for a list of videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from navloop.configs.annotations import AnnotationsConfig, Format
from navloop.training.annotation_files import check, read_text
from navloop.training.annotation_labels import (
    read_activitynet_actions,
    read_lsmdc_choice,
    read_msrvtt_choice,
    read_question,
)
from navloop.training.annotation_texts import (
    Records,
    Source,
    read_activitynet,
    read_didemo,
    read_lsmdc,
    read_msrvtt,
    read_msvd,
    read_vatex,
)
from navloop.training.listings import ManifestError

SUFFIXES = (".yaml", ".yml")
"""Of files that say where annotations are (`AnnotationsConfig`)."""
READERS: dict[Format, Callable[[Source], Records]] = {
    "msrvtt": read_msrvtt,
    "msvd": read_msvd,
    "lsmdc": read_lsmdc,
    "didemo": read_didemo,
    "activitynet": read_activitynet,
    "vatex": read_vatex,
    "msrvtt_choice": read_msrvtt_choice,
    "lsmdc_choice": read_lsmdc_choice,
    "question": read_question,
    "activitynet_actions": read_activitynet_actions,
}
"""What reads each format."""


def read_annotations(path: Path, text: str) -> Records:
    """Yield (place, record) of what a YAML file says about a data set's annotation files: a record a video, question or segment.

    A record is as a line of the library's own lists: video, captions, label, start, end. Texts of one video are one record's
    captions, in the order of the file; white space within them is made single blanks. A choice has its candidates as captions,
    and the number of the right one, from 0, as label; a question is the caption, and its answer the label. Only the path of a video
    is not as there: it starts at the working folder, as that of the YAML file does, and holds its folder.

    Args:
        path: The YAML file, whose folder relative paths start at.
        text: What it holds.

    Raises:
        ManifestError: Naming file, entry, field and value of what is wrong.

    Source: the files that InternVideo1/Downstream/Video-Text-Retrieval and multi-modalities-downstream read.
    """
    config = _read_config(path, text)
    source = Source(config, path.parent)
    found = False
    for place, record in READERS[config.format](source):
        found = True
        yield place, record
    if not found:
        raise ManifestError(f"{path}: {source.texts} has no texts of the videos that are meant")


def annotation_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a YAML file of annotations names and that are there; none of any other list.

    Raises:
        ManifestError: If it is not as `AnnotationsConfig` has it.
    """
    if path.suffix not in SUFFIXES:
        return ()
    config = _read_config(path, read_text(path, "manifest"))
    named = [path.parent / name for name in (config.texts, config.list, config.answers) if name is not None]
    return tuple(file for file in named if file.is_file())


def _read_config(path: Path, text: str) -> AnnotationsConfig:
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return check(AnnotationsConfig, said, str(path))
