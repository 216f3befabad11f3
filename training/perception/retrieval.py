"""Retrieval as a task: both ways, with and without dual softmax, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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

    The unit of a number is a query; queries of one video, and of one scene, are drawn together in its interval. The details hold
    each text's rank, by which two encoders can be compared.
    """
    seen = bench.embed("pooled", labelled=False, need=("captions",))
    videos = described(seen.rows, first=config.captions == "first")
    galleries = deal(len(videos.rows), config.gallery, bench.rng)
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
    queries = [
        {**units[video], "text": videos.texts[text], "rank": rank, "dual": dual_rank}
        for video, text, rank, dual_rank in zip(
            plain.by_texts.videos.tolist(),
            plain.texts.tolist(),
            plain.by_texts.found.ranks.tolist(),
            dual.by_texts.found.ranks.tolist(),
            strict=True,
        )
    ]
    return Findings(scores=tuple(scores), protocol=_protocol(config, videos, galleries), details={"texts": queries})


@dataclass(frozen=True, slots=True)
class Queries:
    """Searches of one kind: int64 (Q,), the video that each is about, and how it ended."""

    videos: NDArray[np.int64]
    found: RetrievalScores


@dataclass(frozen=True, slots=True)
class Searches:
    """All searches, gallery by gallery: by texts, int64 (Q,) their numbers, and by videos."""

    texts: NDArray[np.int64]
    by_texts: Queries
    by_videos: Queries


def search(logits: Vector, videos: Described, galleries: Sequence[NDArray[np.int64]], *, sharpened: bool) -> Searches:
    """Return how every text and every video of some galleries finds what belongs to it.

    Args:
        logits: (V, L), of every video with every text.
        videos: V videos and L texts.
        galleries: Numbers of videos, as many in each; a search is within one of them.
        sharpened: With dual softmax, over a gallery's own queries.
    """
    asked, forth, back = [], [], []
    for gallery in galleries:
        texts, owners = videos.taken(gallery)
        matrix = logits[np.ix_(gallery, texts)]
        asked.append(texts)
        forth.append(text_to_video(dual_softmax(matrix) if sharpened else matrix, owners))
        back.append(video_to_text(dual_softmax(matrix.T).T if sharpened else matrix, owners))
    all_texts, all_videos = np.concatenate(asked), np.concatenate(galleries)
    return Searches(
        texts=all_texts,
        by_texts=Queries(videos.video_of_text[all_texts], _joined(forth)),
        by_videos=Queries(all_videos, _joined(back)),
    )


def _joined(parts: Sequence[RetrievalScores]) -> RetrievalScores:
    return RetrievalScores(np.concatenate([part.ranks for part in parts]), parts[0].gallery)


def _scores(title: tuple[str, str], asked: Queries, groups: Groups, rng: np.random.Generator) -> list[Score]:
    begin, end = title
    ranks, chances = asked.found.ranks, asked.found.chances()
    recalls = [
        measure_mean(f"{begin} R@{k}{end}", ranks <= k, groups, rng, chance=chances[f"R@{k}"])
        for k in RECALLS
        if k == 1 or k < asked.found.gallery
    ]
    median = partial(weighted_median, ranks)
    rank: dict[str, Any] = {"kind": "number", "better": "down", "span": (1.0, float(asked.found.gallery))}
    return [
        *recalls,
        measure(f"{begin} MedR{end}", median, groups, rng, chance=chances["MedR"], **rank),
        measure_mean(f"{begin} MeanR{end}", ranks, groups, rng, chance=chances["MeanR"], **rank),
    ]


def _protocol(
    config: RetrievalTaskConfig, videos: Described, galleries: Sequence[NDArray[np.int64]]
) -> dict[str, object]:
    return {
        "captions": config.captions,
        "videos": len(videos.rows),
        "texts": len(videos.texts),
        "galleries": len(galleries),
        "gallery": len(galleries[0]),
        "left_over": len(videos.rows) - sum(map(len, galleries)),
        "videos_with_a_text_of_another": videos.shared,
    }
