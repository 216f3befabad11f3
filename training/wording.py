"""How near captions are to what people said, by shared n-grams: BLEU and chrF as sacreBLEU computes them. Shares in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.geometry import Vector

MAX_ORDER = 4
"""Longest n-grams of BLEU. Source: Papineni et al., 2002."""
CHRF_ORDER = 6
"""Longest n-grams of chrF, characters. Source: Popovic, 2015; sacreBLEU's default."""


def sacrebleu() -> ModuleType:
    """Return the package that computes the scores.

    Raises:
        ValueError: If it is not installed, with the mend.
    """
    try:
        import sacrebleu as package  # an extra: whoever writes no captions need not have it
    except ImportError:
        raise ValueError(
            "captions are scored by sacrebleu, which is not installed: pip install -e '.[captions]' in navloop's source folder"
        ) from None
    return package


def signatures(captions: Sequence[str], references: Sequence[Sequence[str]], *, lower_case: bool) -> dict[str, str]:
    """Return what sacreBLEU says its scores are: version, references, tokens, case, smoothing. Arguments and errors as of `bleu_counts`."""
    _check(captions, references)
    metrics = sacrebleu().metrics
    streams = list(zip_longest(*references))  # first references, second ones, ...; None for none
    # `force`: CLIP's captions come with full stops apart, which sacreBLEU would else warn of; its tokens part them anyway.
    scores = {"BLEU": metrics.BLEU(lowercase=lower_case, force=True), "chrF": _chrf(lower_case)}
    said = {}
    for name, metric in scores.items():
        metric.corpus_score(list(captions), streams)
        said[name] = str(metric.get_signature())
    return said


def bleu_counts(captions: Sequence[str], references: Sequence[Sequence[str]], *, lower_case: bool) -> NDArray[np.int64]:
    """Return what BLEU counts in each caption, int64 (N, 10): n-grams of 1 to 4 words that are right, all of them, and two lengths.

    The lengths, in words, are the caption's and that of the reference nearest to it in length.

    Args:
        captions: N texts.
        references: For each, one or more texts.
        lower_case: Whether case is ignored.

    Raises:
        ValueError: If there is not a reference for each caption, or sacreBLEU is not installed.
    """
    _check(captions, references)
    bleu = sacrebleu().metrics.BLEU(lowercase=lower_case, effective_order=True, max_ngram_order=MAX_ORDER)
    rows = []
    for caption, said in zip(captions, references, strict=True):
        score = bleu.sentence_score(caption, list(said))
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, dtype=np.int64).reshape(-1, 2 * MAX_ORDER + 2)


def bleu(counts: NDArray[np.int64], order: int, weights: Vector) -> float:
    """Return BLEU of captions together, from what `bleu_counts` gives; NaN where none counts.

    Args:
        counts: (N, 10).
        order: Longest n-grams, 1 to 4.
        weights: (N,), how often each caption counts.
    """
    totals = np.rint(weights @ counts).astype(int).tolist()
    if not sum(weights):
        return float("nan")
    right, all_of_them, (ours, nearest) = totals[:order], totals[MAX_ORDER:][:order], totals[2 * MAX_ORDER :]
    compute = sacrebleu().metrics.BLEU.compute_bleu
    score = compute(right, all_of_them, ours, nearest, smooth_method="exp", max_ngram_order=order)
    return float(score.score) / 100


def chrf_counts(captions: Sequence[str], references: Sequence[Sequence[str]], *, lower_case: bool) -> NDArray[np.int64]:
    """Return what chrF counts in each caption, int64 (N, 18): of 1 to 6 characters in turn, n-grams said, meant, and right.

    They are those with the reference that the caption is nearest to by itself. Arguments and errors as of `bleu_counts`.
    """
    _check(captions, references)
    metric = _chrf(lower_case)
    rows = [
        metric._extract_corpus_statistics([caption], [[text] for text in said])[0]
        for caption, said in zip(captions, references, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3 * CHRF_ORDER)


def chrf(counts: NDArray[np.int64], weights: Vector) -> float:
    """Return chrF of captions together, from what `chrf_counts` gives; NaN where none counts.

    Args:
        counts: (N, 18).
        weights: (N,), how often each caption counts.
    """
    totals = np.rint(weights @ counts).astype(int).tolist()
    return float(_chrf()._compute_score_from_stats(totals).score) / 100 if sum(weights) else float("nan")


def _chrf(lower_case: bool = False) -> Any:
    return sacrebleu().metrics.CHRF(char_order=CHRF_ORDER, lowercase=lower_case)


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(captions) != len(references) or not all(references):
        raise ValueError(
            f"{len(captions)} captions and references of {len(references)}; each caption needs one at least"
        )
