"""What an encoder still knows after a round: films found by their words, and videos that are not of houses at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from navloop.configs.perception import PerceptionEvalConfig
from navloop.training.loop.arms import BEFORE, LOOP
from navloop.training.loop.plan import EyesPlan, amended
from navloop.training.perception.run import evaluate_perception

RECALLS = ("R@5", "R@1")
"""What is watched of retrieval: the first of them that is measured; among five films or fewer R@5 is not."""

SINCE_FIRST = "_since_first"
"""Ends the names of losses since before the first round: what each round may lose adds up over several."""

Scores: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By task and metric: "value", "low", "high", "chance", "kind", and the "task" that they are of."""

Step: TypeAlias = Callable[[str, str, Callable[[Path], dict[str, Any]]], dict[str, Any]]
"""Does a step of a round, given its name, what it does in words, and how; returns what it came to."""


def remember(
    plan: EyesPlan,
    encoders: Mapping[str, Path],
    films: Path,
    step: Step,
    console: Console,
    at_first: Mapping[str, Scores],
) -> dict[str, Any]:
    """Measure encoders, a step each, and return what they know and what the loop's lost.

    Args:
        plan: Says what is measured.
        encoders: Weights, by arm; `BEFORE` and `LOOP` are among them.
        films: List of the films of validation tours.
        step: Does a step.
        console: Where to show the progress.
        at_first: What the first encoder knew, as `known_before` returned it; empty where that is the one of `BEFORE`.

    Returns:
        "retrieval" and, where the plan has it, "general", with scores by arm; "forgotten" and "forgotten_in_general", the shares that were
        lost, None where that cannot be told; with `at_first` also "forgotten_since_first" and "forgotten_in_general_since_first".
    """

    def each(kind: str, words: str, recipe: PerceptionEvalConfig, videos: Path | None) -> dict[str, Scores]:
        return {
            arm: step(f"{kind}_{arm}", f"{words}, {arm}", partial(measure_again, recipe, encoder, videos, console))
            for arm, encoder in encoders.items()
        }

    words = "find films of validation tours by their words"
    known = {"retrieval": each("retrieval", words, plan.retrieval, films)}
    if plan.general is not None:
        known["general"] = each("general", "measure on other videos", plan.general, None)
    return {**known, **_losses_since(known, known_before(known), ""), **_losses_since(known, at_first, SINCE_FIRST)}


def known_before(found: Mapping[str, Any]) -> dict[str, Scores]:
    """Return what the encoder before a round knew, by kind, given what `remember` found."""
    return {kind: found[kind][BEFORE] for kind in _FORGOTTEN if BEFORE in found.get(kind, {})}


def measure_again(
    recipe: PerceptionEvalConfig, encoder: Path, videos: Path | None, console: Console, folder: Path
) -> dict[str, dict[str, Any]]:
    """Measure an encoder, and return its scores by task and metric.

    Args:
        recipe: What is measured.
        encoder: Weights.
        videos: List of those to measure on; None: the recipe's own.
        console: Where to show the progress.
        folder: Of the evaluation.
    """
    clips = recipe.clips
    if videos is not None:
        clips = clips.model_copy(update={"manifest": (str(videos),), "label_maps": ()})
    config = amended(recipe, name=folder.name, weights=str(encoder), encoder=None, clips=clips)
    found = evaluate_perception(config, folder, console)
    return {
        f"{one.title} {score.metric}": {
            "task": one.title,
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "chance": score.chance,
            "kind": score.kind,
        }
        for one in found.outcomes
        for score in one.findings.scores
    }


def forgotten(before: Scores, after: Scores) -> float | None:
    """Return the share of its retrieval that an encoder lost: of what `RECALLS` are above chance, both ways together.

    Below 0 where it found more. None where it was not surely above chance before, and nobody can tell.
    """
    asked = ([name for name in before if name.endswith(recall)] for recall in RECALLS)
    return _lost(before, after, next((names for names in asked if names), []))


def forgotten_in_general(before: Scores, after: Scores) -> float | None:
    """Return the share that an encoder lost of the first score of that task that it lost most of, as `forgotten` does."""
    firsts: dict[str, str] = {}
    for name, score in before.items():
        if score["kind"] == "share":
            firsts.setdefault(score["task"], name)
    lost = [share for name in firsts.values() if (share := _lost(before, after, [name])) is not None]
    return max(lost, default=None)


def why_refused(found: Mapping[str, Any], most: float | None) -> str:
    """Return what speaks against a round whose encoder forgot more than a share, given what `remember` found; empty if nothing does."""
    return "; ".join(
        f"the encoder lost {100 * lost:.0f}% of {what}, over {100 * most:.0f}%"
        for what, lost in losses(found).items()
        if most is not None and lost is not None and lost > most
    )


def losses(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the shares that were lost, by what they are of, in words; None where that cannot be told."""
    words = {
        "forgotten": "its retrieval on films of validation tours",
        "forgotten_in_general": "what it knew of other videos",
    }
    words |= {f"{name}{SINCE_FIRST}": f"{what} since before the first round" for name, what in words.items()}
    return {what: found[name] for name, what in words.items() if name in found}


_FORGOTTEN = {"retrieval": ("forgotten", forgotten), "general": ("forgotten_in_general", forgotten_in_general)}
"""What a loss is called and how it is counted, by what was measured."""


def _losses_since(known: Mapping[str, Any], before: Mapping[str, Scores], since: str) -> dict[str, float | None]:
    return {
        f"{name}{since}": count(before[kind], known[kind][LOOP])
        for kind, (name, count) in _FORGOTTEN.items()
        if kind in known and kind in before
    }


def _lost(before: Scores, after: Scores, names: Sequence[str]) -> float | None:
    known = [name for name in names if name in after and _is_known(before[name])]
    first, last = (sum(_above_chance(scores[name]) for name in known) for scores in (before, after))
    return 1 - last / first if known else None


def _is_known(score: Mapping[str, Any]) -> bool:
    """Whether a score is surely above chance; where nothing is sure, whether it is at all."""
    low = score["value"] if score["low"] is None else score["low"]
    return float(low) > (score["chance"] or 0.0)


def _above_chance(score: Mapping[str, Any]) -> float:
    return float(score["value"]) - (score["chance"] or 0.0)
