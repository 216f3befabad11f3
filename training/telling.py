"""How well walks are told: BLEU, and whether the rooms and turns that are named are those that people name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from navloop.agent.content import rooms_named, turns_named
from navloop.training.statistics import mean_interval
from navloop.training.wording import bleu, bleu_counts

References = Sequence[Sequence[str]]


def agreement(said: Sequence[str], meant: Sequence[str]) -> float:
    """Return how much of two rows is the same in the same order, in [0, 1]: twice the longest common part over both lengths."""
    if not said and not meant:
        return 1.0
    row = [0] * (len(meant) + 1)
    for word in said:
        above = row[:]
        for place, other in enumerate(meant, start=1):
            row[place] = above[place - 1] + 1 if word == other else max(above[place], row[place - 1])
    return 2 * row[-1] / (len(said) + len(meant))


def is_last_right(said: Sequence[str], meant: Sequence[str]) -> float:
    """Return 1.0 where two rows end with the same, or neither has an end, else 0.0."""
    return float(tuple(said[-1:]) == tuple(meant[-1:]))


MEASURES: Mapping[str, tuple[Callable[[str], tuple[str, ...]], Callable[[Sequence[str], Sequence[str]], float]]] = {
    "rooms": (rooms_named, agreement),
    "last_room": (rooms_named, is_last_right),
    "turns": (turns_named, agreement),
}
"""What is looked for in texts, and how two finds are compared."""


def tell_scores(texts: Sequence[str], references: References, scenes: Sequence[str] | None = None) -> dict[str, float]:
    """Return scores of descriptions, each with the nearest of its references.

    "rooms", "last_room", "turns" are means in [0, 1]; the same with "_others" behind are those of the texts dealt to other walks, which
    is what saying something likely is worth; with "_people", those of each reference with the others, where there are several. So that
    they can be set side by side, a text too is asked of all references but one, each left out in turn: the nearest of more is nearer. "bleu" is
    BLEU-4, case ignored, where sacreBLEU is installed; "distinct" the share of texts that are not said of another walk too. With scenes, the
    means of the texts have the ends of their 95% intervals, "rooms_low", "rooms_high".

    Args:
        texts: N descriptions.
        references: For each, one or more texts.
        scenes: Of each walk; None says no intervals.

    Raises:
        ValueError: If there are no texts, or not a reference for each.
    """
    if not texts or len(texts) != len(references) or not all(references):
        raise ValueError(f"{len(texts)} texts and references of {len(references)}; each text needs one at least")
    dealt = [texts[place - 1] for place in range(len(texts))] if len(texts) > 1 else None
    found = {"distinct": len(set(texts)) / len(texts)}
    for name in MEASURES:
        own = _scores(name, texts, references)
        found[name] = float(np.mean(own))
        found |= {} if scenes is None else _ends(name, own, scenes)
        if dealt is not None:
            found[f"{name}_others"] = float(np.mean(_scores(name, dealt, references)))
        if people := [_with_each_other(name, row) for row in references if len(row) > 1]:
            found[f"{name}_people"] = float(np.mean(people))
    found |= _bleu(texts, references)
    return found


def _scores(name: str, texts: Sequence[str], references: References) -> list[float]:
    """Return what each text scores beside the nearest of its references, of which each is left out in turn where there are several."""
    return [
        float(np.mean([_nearest(name, text, others) for _, others in _left_out(row)]))
        if len(row) > 1
        else _nearest(name, text, row)
        for text, row in zip(texts, references, strict=True)
    ]


def _with_each_other(name: str, row: Sequence[str]) -> float:
    return float(np.mean([_nearest(name, one, others) for one, others in _left_out(row)]))


def _left_out(row: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each of a row of texts with the others."""
    return [(one, [*row[:place], *row[place + 1 :]]) for place, one in enumerate(row)]


def _nearest(name: str, text: str, references: Sequence[str]) -> float:
    find, compare = MEASURES[name]
    return max(compare(find(text), find(meant)) for meant in references)


def _ends(name: str, scores: Sequence[float], scenes: Sequence[str]) -> dict[str, float]:
    found = mean_interval(scores, scenes, [str(place) for place in range(len(scores))], share=True)
    if found.low is None or found.high is None:
        return {}
    return {f"{name}_low": max(found.low, 0.0), f"{name}_high": min(found.high, 1.0)}


def _bleu(texts: Sequence[str], references: References) -> dict[str, float]:
    try:
        counts = bleu_counts(texts, references, lower_case=True)
    except ValueError:  # sacreBLEU is an extra, and the rest is known without it
        return {}
    return {"bleu": bleu(counts, 4, np.ones(len(texts)))}
