"""Retrieval as a task: both ways, with and without dual softmax, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.configs.perception_texts import RetrievalTaskConfig
from navloop.geometry import Vector
from navloop.training.perception.readers import Described, described, logits_of
from navloop.training.perception.results import Findings, Groups, Score, measure, measure_mean, unit_of
from navloop.training.perception.task import TASKS, Bench
from navloop.training.retrieval import (
    RECALLS,
    RetrievalScores,
    deal,
    dual_softmax,
    text_to_video,
    video_to_text,
    weighted_median,
)


@TASKS.register("retrieval")
def measure_retrieval(config: RetrievalTaskConfig, bench: Bench) -> Findings:
    """Return how well texts find their videos and videos their texts, plainly and with dual softmax.

    The unit of a number is a query, and what it finds a mean over the deals of galleries that it is in; queries of one video, and of one
    scene, are drawn together in its interval. The details hold each text's rank, by which two encoders can be compared.
    """
    seen = bench.embed("pooled", labelled=False, need=("captions",))
    videos = described(seen.rows, first=config.captions == "first")
    deals = 1 if config.gallery is None else config.deals
    galleries = [one for _ in range(deals) for one in deal(len(videos.rows), config.gallery, bench.rng)]
    logits = logits_of(bench.subject, seen.values[videos.rows], videos.texts)
    groups = seen.groups.take(videos.rows)
    plain, dual = (search(logits, videos, galleries, sharpened=sharpened) for sharpened in (False, True))
    scores = [
        score
        for found, ending in ((plain, ""), (dual, " dual"))
        for direction, asked in (("text→video", found.by_texts), ("video→text", found.by_videos))
        for score in _scores((direction, ending), asked, groups.take(asked.videos), bench.rng)
    ]
    units = [unit_of(seen.rows[row]) for row in videos.rows]
    ranks, dual_ranks = plain.by_texts.mean(plain.by_texts.ranks), dual.by_texts.mean(dual.by_texts.ranks)
    within = {str(k): plain.by_texts.mean(plain.by_texts.ranks <= k) for k in RECALLS}
    queries = [
        {
            **units[video],
            "text": videos.texts[text],
            "rank": ranks[n],
            "dual": dual_ranks[n],
            "within": {k: shares[n] for k, shares in within.items()},
        }
        for n, (video, text) in enumerate(
            zip(plain.by_texts.videos.tolist(), plain.by_texts.asked.tolist(), strict=True)
        )
    ]
    return Findings(
        scores=tuple(scores), protocol=_protocol(config, videos, galleries, deals), details={"texts": queries}
    )


@dataclass(frozen=True, slots=True)
class Queries:
    """Searches of one kind: by Q different texts, or videos, each in one or more galleries, S searches in all.

    Attributes:
        asked: int64 (Q,), number of each text, or video.
        videos: int64 (Q,), the video that each is about.
        query: int64 (S,), which of the Q a search is of.
        ranks: int64 (S,), place of what belongs to it.
        gallery: Number of answers that each search chooses among.
    """

    asked: NDArray[np.int64]
    videos: NDArray[np.int64]
    query: NDArray[np.int64]
    ranks: NDArray[np.int64]
    gallery: int

    @classmethod
    def of(
        cls, asked: Sequence[NDArray[np.int64]], about: NDArray[np.int64], found: Sequence[RetrievalScores]
    ) -> Queries:
        """Join what was asked in each gallery and found there; `about` says of all texts, or videos, which video each is about."""
        every, query = np.unique(np.concatenate(asked), return_inverse=True)
        return cls(
            every, about[every], query.reshape(-1), np.concatenate([one.ranks for one in found]), found[0].gallery
        )

    @property
    def times(self) -> NDArray[np.int64]:
        """How often each of the Q was searched by, int64 (Q,)."""
        return np.bincount(self.query)

    def mean(self, values: NDArray[Any]) -> Vector:
        """Return the mean of values of searches (S,) for each query, float64 (Q,)."""
        return np.asarray(np.bincount(self.query, values) / self.times)


@dataclass(frozen=True, slots=True)
class Searches:
    """All searches, by texts and by videos."""

    by_texts: Queries
    by_videos: Queries


def search(logits: Vector, videos: Described, galleries: Sequence[NDArray[np.int64]], *, sharpened: bool) -> Searches:
    """Return how every text and every video of some galleries finds what belongs to it.

    Args:
        logits: (V, L), of every video with every text.
        videos: V videos and L texts.
        galleries: Numbers of videos, as many in each; a search is within one of them.
        sharpened: With dual softmax, over a gallery's own queries. Where a video has several texts, published code takes the softmax over texts for both
            ways; here videos that ask have one over videos, as everywhere.
    """
    asked, forth, back = [], [], []
    for gallery in galleries:
        texts, owners = videos.taken(gallery)
        matrix = logits[np.ix_(gallery, texts)]
        asked.append(texts)
        forth.append(text_to_video(dual_softmax(matrix) if sharpened else matrix, owners))
        back.append(video_to_text(dual_softmax(matrix.T).T if sharpened else matrix, owners))
    return Searches(
        by_texts=Queries.of(asked, videos.video_of_text, forth),
        by_videos=Queries.of(galleries, np.arange(len(videos.rows)), back),
    )


def _scores(title: tuple[str, str], asked: Queries, groups: Groups, rng: np.random.Generator) -> list[Score]:
    begin, end = title
    ranks, chances = asked.ranks, RetrievalScores(asked.ranks, asked.gallery).chances()
    recalls = [
        measure_mean(f"{begin} R@{k}{end}", asked.mean(ranks <= k), groups, rng, chance=chances[f"R@{k}"])
        for k in RECALLS
        if k == 1 or k < asked.gallery
    ]

    def median(weights: Vector) -> float:
        return weighted_median(ranks, (weights / asked.times)[asked.query])

    rank: dict[str, Any] = {"kind": "number", "better": "down", "span": (1.0, float(asked.gallery))}
    return [
        *recalls,
        measure(f"{begin} MedR{end}", median, groups, rng, chance=chances["MedR"], **rank),
        measure_mean(f"{begin} MeanR{end}", asked.mean(ranks), groups, rng, chance=chances["MeanR"], **rank),
    ]


def _protocol(
    config: RetrievalTaskConfig, videos: Described, galleries: Sequence[NDArray[np.int64]], deals: int
) -> dict[str, object]:
    return {
        "captions": config.captions,
        "videos": len(videos.rows),
        "texts": len(videos.texts),
        "deals": deals,
        "galleries": len(galleries) // deals,
        "gallery": len(galleries[0]),
        "left_over": len(videos.rows) - sum(map(len, galleries)) // deals,
        "videos_with_a_text_of_another": videos.shared,
    }
