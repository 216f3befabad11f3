"""Which frames of a video make a clip. Every function returns int64 (T,) indices in [0, num_frames), never falling.

Training draws from a generator; evaluation takes clip `clip` of `clips` spread over the video.
Source: InternVideo1/Pretrain/VideoMAE (strided, dense, ssv2), UniFormerV2 (sparse),
InternVideo1/Pretrain/Multi-Modalities-Pretraining and ViCLIP (middle).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


SAME_TIME = 1e-3
"""Seconds that time stamps are rounded by."""


class Clip(NamedTuple):
    """What is wanted: T frames, `stride` frames of the file apart where the sampler has a stride."""

    frames: int
    stride: int


def strided_training(num_frames: int, clip: Clip, rng: np.random.Generator) -> Indices:
    """Take every stride-th frame from a random start; where the video ends, the last of them repeats."""
    return _strided(num_frames, clip, int(rng.integers(_slack(num_frames, clip) + 1)))


def strided_view(num_frames: int, clip: Clip, view: int, views: int) -> Indices:
    """Take every stride-th frame; the windows are spread evenly from the first to the last that fits, one in the centre."""
    slack = _slack(num_frames, clip)
    return _strided(num_frames, clip, slack // 2 if views == 1 else int(view * slack / (views - 1)))


def dense_training(num_frames: int, clip: Clip, rng: np.random.Generator) -> Indices:
    """Take T points evenly over a closed window of T x stride frames at a random place.

    The ends of the window are both taken, so frames are T * stride / (T - 1) apart: 4.27, not 4, for 16 x 4.
    """
    return _dense(num_frames, clip, int(rng.integers(max(_slack(num_frames, clip), 1))))


def dense_view(num_frames: int, clip: Clip, view: int, views: int) -> Indices:
    """Take T consecutive entries of every stride-th frame of the whole video; a single view is the centred window."""
    if views == 1:
        return _dense(num_frames, clip, _slack(num_frames, clip) // 2)
    entries = np.arange(0, num_frames, clip.stride, dtype=np.int64)
    start = int(view * max(len(entries) - clip.frames, 0) / (views - 1))
    return entries[np.minimum(start + np.arange(clip.frames), len(entries) - 1)]


def ssv2_training(num_frames: int, clip: Clip, rng: np.random.Generator) -> Indices:
    """Take one random frame of each of T segments of num_frames // T frames."""
    length = num_frames // clip.frames
    if length == 0:
        return np.sort(rng.integers(num_frames, size=clip.frames))
    return np.arange(clip.frames) * length + rng.integers(length, size=clip.frames)


def ssv2_view(num_frames: int, clip: Clip, view: int, views: int) -> Indices:
    """Take one frame a segment: the centre; of several views, each at its own phase of the segment."""
    phase = 0.5 if views == 1 else view / views
    return _in_range(num_frames, num_frames / clip.frames * (np.arange(clip.frames) + phase))


def sparse_training(num_frames: int, clip: Clip, rng: np.random.Generator) -> Indices:
    """Take one random frame of each of T segments of (num_frames - 1) / T frames, rounded bounds included."""
    bounds = np.round((num_frames - 1) / clip.frames * np.arange(clip.frames + 1)).astype(np.int64)
    return rng.integers(bounds[:-1], bounds[1:], endpoint=True)


def sparse_view(num_frames: int, clip: Clip, view: int, views: int) -> Indices:
    """Take one frame a segment, (view + 1) / (views + 1) of a segment, cut to whole frames, from its rounded start."""
    segment = (num_frames - 1) / clip.frames
    return _in_range(num_frames, np.round(segment * np.arange(clip.frames)) + int(segment / (views + 1) * (view + 1)))


def middle_training(num_frames: int, clip: Clip, rng: np.random.Generator) -> Indices:
    """Take one random frame of each of T intervals that cover the video, ends included; the source leaves each interval's last frame out."""
    first, last = _intervals(num_frames, clip)
    return rng.integers(first, last, endpoint=True)


def middle_view(num_frames: int, clip: Clip, view: int, views: int) -> Indices:
    """Take the middle frame of each of T intervals; of several views, (view + 1) / (views + 1) of the way through."""
    first, last = _intervals(num_frames, clip)
    return first + (last - first) * (view + 1) // (views + 1)


def each_second(seconds: NDArray[np.float64], frames: int) -> Indices:
    """Return the frame on show at each whole second of a video, int64 (K,); of more than `frames`, as many spread evenly.

    Args:
        seconds: float64 (N,): when the frames are shown, rising.
        frames: Most frames T; a shorter video gives fewer, and the clip is padded.

    Source: InternVideo1/Downstream/Video-Text-Retrieval (CLIP4Clip).
    """
    since = seconds - seconds[0]
    whole = np.arange(int(since[-1] + SAME_TIME) + 1)
    indices = np.unique(np.searchsorted(since, whole + SAME_TIME, side="right") - 1)
    if len(indices) > frames:
        indices = indices[np.linspace(0, len(indices) - 1, frames).astype(np.int64)]
    return indices.astype(np.int64)


TRAINING: dict[str, Callable[[int, Clip, np.random.Generator], Indices]] = {
    "strided": strided_training,
    "dense": dense_training,
    "ssv2": ssv2_training,
    "sparse": sparse_training,
    "middle": middle_training,
}
"""Random samplers by name."""

VIEWS: dict[str, Callable[[int, Clip, int, int], Indices]] = {
    "strided": strided_view,
    "dense": dense_view,
    "ssv2": ssv2_view,
    "sparse": sparse_view,
    "middle": middle_view,
}
"""The same names in evaluation."""


def _slack(num_frames: int, clip: Clip) -> int:
    """How far a window of T x stride frames can move."""
    return max(num_frames - clip.frames * clip.stride, 0)


def _strided(num_frames: int, clip: Clip, start: int) -> Indices:
    reachable = (num_frames - 1 - start) // clip.stride
    return start + clip.stride * np.minimum(np.arange(clip.frames), reachable)


def _dense(num_frames: int, clip: Clip, start: int) -> Indices:
    window = clip.frames * clip.stride
    if num_frames > window:
        points = np.linspace(start, start + window, clip.frames)
        return np.clip(points, start, start + window - 1).astype(np.int64)
    # A short video: its own frames about a stride apart, then the last one again and again.
    points = np.linspace(0, num_frames, num_frames // clip.stride)
    points = np.concatenate((points, np.full(clip.frames - len(points), num_frames)))
    return np.clip(points, 0, num_frames - 1).astype(np.int64)


def _intervals(num_frames: int, clip: Clip) -> tuple[Indices, Indices]:
    """First and last frame of T intervals that cover the video; in a short one, some share a frame."""
    bounds = np.linspace(0, num_frames, clip.frames + 1).astype(np.int64)
    first = np.minimum(bounds[:-1], num_frames - 1)
    return first, np.maximum(bounds[1:] - 1, first)


def _in_range(num_frames: int, points: NDArray[np.floating]) -> Indices:
    return np.clip(points.astype(np.int64), 0, num_frames - 1)
