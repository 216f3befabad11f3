"""Which fields of a list of videos are read; a field that looks like one of them, and is none, is refused, and others are told."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from navloop.training.listings import CAPTION_KEYS, VIDEO_KEYS, ManifestError

LOGGER = logging.getLogger(__name__)

READ = (*VIDEO_KEYS, *CAPTION_KEYS, "start", "end", "first", "total", "stride", "label", "scene_id")
"""Fields that rows are made of."""

LEFT = (
    *("id", "index", "key", "name", "kind", "source", "dataset", "split", "subset", "url", "page_dir"),
    *("video_id", "videoid", "image_id", "clip_id", "clip_name", "sen_id", "question_id", "label_id", "label_name"),
    *("duration", "length", "fps", "num_frames", "width", "height", "language", "languages"),
    *("episode_id", "episode_ids", "trajectory_id", "actions", "event", "at", "side", "room", "thing"),
)
"""Fields that lists of the field, and of this library, have for other purposes, and that nobody misses here."""

_LIKE = 0.8  # of difflib's ratio: captoin and caption have 0.86, video_id and video 0.77


def check_fields(record: Mapping[str, Any], place: str) -> set[str]:
    """Look at the fields of a record and return those that are not read, and that somebody may miss.

    Raises:
        ManifestError: If one is not read, and is all but one that is and that the record lacks.
    """
    unread = [str(name) for name in record if str(name) not in READ and str(name).lower() not in LEFT]
    absent = [name for name in READ if name not in record]
    for group in (VIDEO_KEYS, CAPTION_KEYS):
        if any(name in record for name in group):
            absent = [name for name in absent if name not in group]
    for name in unread:
        if meant := get_close_matches(name.lower(), absent, 1, _LIKE):
            raise ManifestError(
                f"{place}: has a field {name!r}, which is not read, and no {meant[0]!r}; rename it, or take it out"
            )
    return set(unread)


def tell_unread(path: Path, unread: Collection[str]) -> None:
    """Say which fields of a list are not read, if any."""
    if unread:
        names = ", ".join(sorted(unread))
        LOGGER.warning("%s: of its fields, %s are not read (those that are: %s)", path, names, ", ".join(READ))
