"""Which text belongs to which video: ranks and recall. Pure functions of a similarity matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from navloop.geometry import Vector

RECALLS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """How well queries find what belongs to them.

    Attributes:
        ranks: int64 (Q,), place of the first right answer of each query; 1 is found at once.
        gallery: Number of answers that each query chose among.
    """

    ranks: NDArray[np.int64]
    gallery: int

    def recall(self, k: int) -> float:
        """Return the share of queries whose right answer is among the first `k`, in [0, 1]."""
        return float((self.ranks <= k).mean())

    @property
    def median_rank(self) -> float:
        """Middle of the ranks."""
        return float(np.median(self.ranks))

    @property
    def mean_rank(self) -> float:
        """Mean of the ranks."""
        return float(self.ranks.mean())

    def fields(self) -> dict[str, float]:
        """Return R@1, R@5, R@10, MedR and MeanR, by these names."""
        recalls = {f"R@{k}": self.recall(k) for k in RECALLS}
        return {**recalls, "MedR": self.median_rank, "MeanR": self.mean_rank}

    def chances(self) -> dict[str, float]:
        """Return what guessing gives, by the names of `fields`: any place of the gallery is as likely."""
        middle = (self.gallery + 1) / 2
        recalls = {f"R@{k}": min(k / self.gallery, 1.0) for k in RECALLS}
        return {**recalls, "MedR": middle, "MeanR": middle}


def weighted_median(values: NDArray[np.int64], weights: Vector) -> float:
    """Return the median of values that count `weights` times each; NaN where none counts.

    Args:
        values: int64 (N,).
        weights: float (N,), at least 0.
    """
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    if not len(values) or total[-1] <= 0:
        return float("nan")
    half, rounding = total[-1] / 2, 1e-9 * total[-1]
    lower = np.searchsorted(total, half - rounding)
    upper = np.searchsorted(total, half + rounding, side="right")  # another one only where the weights split in half
    return float(values[order][[lower, min(upper, len(values) - 1)]].mean())


def text_to_video(similarity: Vector, video_of_text: NDArray[np.int64]) -> RetrievalScores:
    """Rank the videos for each text.

    A video that is as similar as the right one stands before it: what cannot tell them apart has not found it.

    Args:
        similarity: float (V, L), of V videos with L texts.
        video_of_text: int64 (L,), the video that each text describes.

    Raises:
        ValueError: If shapes disagree, a number is not finite, or a text's video is not there.
    """
    _check(similarity, video_of_text)
    own = similarity[video_of_text, np.arange(len(video_of_text))]
    ranks = (similarity >= own).sum(0)
    return RetrievalScores(ranks.astype(np.int64), len(similarity))


def video_to_text(similarity: Vector, video_of_text: NDArray[np.int64]) -> RetrievalScores:
    """Rank what is said of each video, for each video: several texts of a video are one answer, as near as the nearest of them.

    Other videos' texts that are as near stand before it. Arguments and errors are those of `text_to_video`; videos that no
    text describes ask nothing, and are no answers.

    Source: InternVideo1/Downstream/Video-Text-Retrieval, metrics.py, tensor_video_to_text_sim (CLIP4Clip's).
    """
    _check(similarity, video_of_text)
    order = np.argsort(video_of_text, kind="stable")
    described, firsts = np.unique(video_of_text[order], return_index=True)
    nearest = np.maximum.reduceat(similarity[np.ix_(described, order)], firsts, axis=1)  # (queries, answers)
    ranks = (nearest >= np.diag(nearest)[:, None]).sum(1)
    return RetrievalScores(ranks.astype(np.int64), len(described))


def dual_softmax(similarity: Vector) -> Vector:
    """Return similarities sharpened by what the whole set of queries asks for: S times its softmax over the queries.

    It looks at all queries at once, which no single search can: report results with it and without.

    Args:
        similarity: float (answers, queries), logits: (V, L) for text to video; its transpose, and then that of the result, for
            video to text.

    Source: Cheng et al., CAMoE, 2021; InternVideo1/Downstream/Video-Text-Retrieval, at test time only.
    """
    return np.asarray(similarity * softmax(similarity, axis=1))


def deal(videos: int, size: int | None, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Return galleries of `size` videos each, dealt at random, with no video in two; those left over are in none.

    Args:
        videos: How many there are.
        size: Of a gallery; None makes one of them all, in order.
        rng: Source of randomness.

    Raises:
        ValueError: If there are fewer videos than one gallery takes.
    """
    if size is None:
        return (np.arange(videos),)
    if videos < size:
        raise ValueError(f"a gallery of {size} videos cannot be dealt of {videos}")
    dealt = rng.permutation(videos)[: videos // size * size]
    return tuple(np.sort(gallery) for gallery in dealt.reshape(-1, size))


def _check(similarity: Vector, video_of_text: NDArray[np.int64]) -> None:
    if similarity.ndim != 2 or video_of_text.shape != similarity.shape[1:] or 0 in similarity.shape:
        raise ValueError(
            f"similarity {similarity.shape} and video_of_text {video_of_text.shape} are not (V, L) and (L,)"
        )
    if not np.isfinite(similarity).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(similarity))} similarities are not finite")
    if video_of_text.min() < 0 or video_of_text.max() >= len(similarity):
        raise ValueError(f"video_of_text names video {video_of_text.max()}, there are {len(similarity)}, from 0")
