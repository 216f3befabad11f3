"""What an encoder makes of texts, and the videos of lists with all their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from navloop.training.clip_rows import ClipRow
from navloop.training.perception.subject import Subject

TEXT_BATCH = 256
"""Texts that are encoded at once."""


def encode_texts(subject: Subject, texts: Sequence[str]) -> Tensor:
    """Return a unit vector a text, float (L, J), on the encoder's device.

    Raises:
        ValueError: If the encoder has no text tower.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(texts), TEXT_BATCH):
            try:
                parts.append(subject.encoder.encode_text(texts[start : start + TEXT_BATCH]).float())
            except TypeError as error:  # a masked encoder's
                raise ValueError(str(error)) from None
    return torch.cat(parts)


def similarities(subject: Subject, videos: NDArray[np.float32], texts: Tensor) -> NDArray[np.float64]:
    """Return the encoder's logits of videos (V, J) with texts (L, J), float64 (V, L): scaled cosines."""
    with torch.inference_mode():
        logits = subject.encoder.similarity(torch.from_numpy(videos).to(texts), texts)
    return np.asarray(logits.double().cpu().numpy())


def logits_of(subject: Subject, videos: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the logits of videos (V, J) with texts, (V, L); a text that is there twice is read once, and is a tie with itself."""
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    logits = similarities(subject, videos, encode_texts(subject, list(distinct)))
    return logits[:, [distinct[text] for text in texts]]


@dataclass(frozen=True, slots=True)
class Described:
    """V different videos, or segments of them, and the L texts of all.

    Attributes:
        rows: V numbers, the first row of each among those that were given.
        texts: L texts, those of a video side by side.
        video_of_text: int64 (L,), from 0 to V - 1.
    """

    rows: NDArray[np.int64]
    texts: tuple[str, ...]
    video_of_text: NDArray[np.int64]

    def said_of(self, video: int) -> tuple[str, ...]:
        """Return the texts of a video."""
        first, last = np.searchsorted(self.video_of_text, [video, video + 1]).tolist()
        return self.texts[first:last]

    @property
    def shared(self) -> int:
        """How many videos have a text that is also said of another: a search by it cannot know which is meant."""
        owners: dict[str, set[int]] = {}
        for text, video in zip(self.texts, self.video_of_text.tolist(), strict=True):
            owners.setdefault(text, set()).add(video)
        return len(set().union(*(videos for videos in owners.values() if len(videos) > 1)))

    def taken(self, videos: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which texts describe some videos, and the place of each text's video among them."""
        place = np.full(len(self.rows), -1)
        place[videos] = np.arange(len(videos))
        texts = np.flatnonzero(place[self.video_of_text] >= 0)
        return texts, place[self.video_of_text[texts]]


def described(rows: Sequence[ClipRow], *, first: bool = False) -> Described:
    """Return the different videos of rows with their texts; rows of the same frames, a caption a line, are one video.

    Args:
        rows: Each with captions.
        first: Keep the first text of each video alone.
    """
    numbers: dict[tuple[object, ...], int] = {}
    texts: list[list[str]] = []
    firsts = []
    for number, row in enumerate(rows):
        video = numbers.setdefault((row.path, row.start, row.end, row.first, row.total), len(numbers))
        if video == len(texts):
            firsts.append(number)
            texts.append([])
        texts[video].extend(row.captions)
    kept = [said[:1] if first else said for said in texts]
    owners = np.repeat(np.arange(len(kept)), [len(said) for said in kept])
    return Described(np.array(firsts), tuple(text for said in kept for text in said), owners)
