"""Multiple choice: which of a few sentences a video shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from navloop.configs.perception_texts import ChoiceTaskConfig
from navloop.training.clip_rows import ClipRow
from navloop.training.manifests import read_manifests
from navloop.training.perception.readers import encode_texts
from navloop.training.perception.results import Findings, measure_mean
from navloop.training.perception.task import TASKS, Bench


@TASKS.register("choice")
def measure_choice(config: ChoiceTaskConfig, bench: Bench) -> Findings:
    """Return how often the right one of a row's captions is the nearest to its video; a tie is not found."""
    unlabelled = bench.views().model_copy(update={"num_classes": None, "classes": None})
    check_choices(read_manifests(unlabelled, ("captions", "label")))  # before hours over the videos
    seen = bench.embed("pooled", labelled=False, need=("captions", "label"))
    counts = [len(row.captions) for row in seen.rows]
    texts = encode_texts(bench.subject, [text for row in seen.rows for text in row.captions]).cpu().numpy()
    cosines = (np.repeat(seen.values, counts, axis=0) * texts).sum(1)
    ranks = choice_ranks(cosines, counts, seen.labels)
    chance = float(np.mean(1 / np.array(counts)))
    score = measure_mean("accuracy", ranks == 1, seen.groups, bench.rng, chance=chance)
    return Findings(scores=(score,), protocol={"candidates": dict(sorted(Counter(counts).items()))})


def check_choices(rows: Sequence[ClipRow]) -> None:
    """Refuse rows that offer no choice, or whose answer is none of it.

    Raises:
        ValueError: With the row's place.
    """
    for row in rows:
        if len(row.captions) < 2:
            raise ValueError(f"{row.place}: has {len(row.captions)} captions; a choice is among at least 2")
        if row.label is not None and row.label >= len(row.captions):
            raise ValueError(
                f"{row.place}: label {row.label} is none of its {len(row.captions)} captions; they count from 0"
            )


def choice_ranks(cosines: NDArray[np.float32], counts: Sequence[int], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of the right candidate of each row, from 1; others that are as near stand before it.

    Args:
        cosines: (sum of counts,), those of a row side by side.
        counts: N numbers of candidates.
        right: int64 (N,), number of the right one in its row.
    """
    rows = np.split(cosines, np.cumsum(counts)[:-1])
    return np.array([(row >= row[answer]).sum() for row, answer in zip(rows, right, strict=True)])
