"""Which described walks are kept: filters that each say why not, asked one after the other. Pure functions of what is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from navloop.agent.policies.words import split_words
from navloop.configs.filters import FiltersConfig
from navloop.envs.fidelity import path_length
from navloop.geometry import Vector
from navloop.records import SOURCES, Episode, Trajectory
from navloop.training.twins import Fingers


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A walk and what is said of it.

    Attributes:
        key: What no other candidate has.
        episode: Of the words: its instruction is the description, its goal where the walk went.
        trajectory: The walk.
        scores: What was measured: "ndtw" and "success" of a follower, "similarity" of video and text, "likelihood" of the
            words to who said them, "geodesic" metres from start to end, and whatever else.
        features: float (D,), of the frames together; None where nobody asks.
    """

    key: str
    episode: Episode
    trajectory: Trajectory
    scores: Mapping[str, float] = field(default_factory=dict)
    features: Vector | None = None

    @property
    def text(self) -> str:
        """The description."""
        return self.episode.instruction.text

    def score(self, name: str) -> float:
        """Return a score.

        Raises:
            ValueError: If it was not measured.
        """
        if name not in self.scores:
            raise ValueError(
                f"candidate {self.key} has no score {name!r}; measure it, or leave out the filter that asks"
            )
        return self.scores[name]


class Filter(Protocol):
    """Says of candidates which are no good."""

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return for each candidate why it is dropped, or "" to keep it."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """What filters made of candidates.

    Attributes:
        kept: In the order given.
        dropped: The others by key, with the first reason.
        counts: Candidates in all, dropped for each reason, in the order in which filters were asked, and kept.
    """

    kept: tuple[Candidate, ...]
    dropped: Mapping[str, str]
    counts: Mapping[str, int]


def sift(filters: Iterable[Filter], candidates: Sequence[Candidate]) -> Sifted:
    """Ask filters in turn, each of what those before it left.

    Raises:
        ValueError: If two candidates have one key, or a score is missing that a filter asks for.
    """
    (key, count), *_ = Counter(candidate.key for candidate in candidates).most_common(1) or [("", 0)]
    if count > 1:
        raise ValueError(f"key {key!r} is that of {count} candidates; each needs its own")
    left, dropped = list(candidates), dict[str, str]()
    for one in filters:
        reasons = one.judge(left)
        dropped |= {candidate.key: why for candidate, why in zip(left, reasons, strict=True) if why}
        left = [candidate for candidate, why in zip(left, reasons, strict=True) if not why]
    return Sifted(tuple(left), dropped, {"candidates": len(candidates), **Counter(dropped.values()), "kept": len(left)})


@dataclass(frozen=True, slots=True)
class NeverIn:
    """Drop walks in scenes that are kept for validation."""

    scenes: Collection[str]

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "validation scene" where it is one."""
        return ["validation scene" if c.episode.scene_id in self.scenes else "" for c in candidates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Drop what is too short or too long, in words or in metres."""

    words: tuple[int, int]
    metres: tuple[float, float]

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "few words", "many words", "short walk" or "long walk"."""
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> str:
        words = sum(word.isalnum() for word in split_words(candidate.text))
        metres = path_length(candidate.trajectory.positions)
        if not self.words[0] <= words <= self.words[1]:
            return "few words" if words < self.words[0] else "many words"
        if not self.metres[0] <= metres <= self.metres[1]:
            return "short walk" if metres < self.metres[0] else "long walk"
        return ""


@dataclass(frozen=True, slots=True)
class Direct:
    """Drop walks that wandered: score "geodesic" over the walked length is below a share."""

    least: float

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "roundabout" where it is, and "no way" where there is none from start to end."""
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> str:
        shortest, length = candidate.score("geodesic"), max(path_length(candidate.trajectory.positions), 1e-9)
        if not np.isfinite(shortest):
            return "no way"
        return "roundabout" if shortest / length < self.least else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """Keep what a follower who is told the words walks again. Source: Wang et al., SRDF, ICLR 2025."""

    ndtw: float
    success: bool = False

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "not followed" where it does not."""
        return [
            "not followed" if c.score("ndtw") < self.ndtw or (self.success and c.score("success") < 1) else ""
            for c in candidates
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """Keep what has a score of at least so much, and the best share of those asked of.

    Attributes:
        score: Its name.
        why: Said of what is dropped.
        least: Of the score.
        share: In (0, 1], rounded up to whole candidates; of equals, the earlier ones.
    """

    score: str
    why: str
    least: float = -np.inf
    share: float = 1.0

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return `why` where they are not."""
        scores = np.array([candidate.score(self.score) for candidate in candidates], dtype=np.float64)
        order = np.argsort(-scores, kind="stable")
        best = set(order[: int(np.ceil(self.share * len(scores) - 1e-9))].tolist())
        return ["" if i in best and scores[i] >= self.least else self.why for i in range(len(candidates))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """Keep walks with real detours or corrections that ended at the goal; clean successes teach nothing new.

    Kept: the end within `reach` of the goal, and of pl = won / max(won, walked), won the geodesic metres by which the end is nearer
    to the goal than the start: an expert took over and pl < `led`, or pl < `alone`.

    Source: StreamVLN's DAgger collection (0.5 m, 0.93, 0.85), whose walks end at the goal itself.
    """

    reach: float = 0.5
    led: float = 0.93
    alone: float = 0.85

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "missed the goal" or "nothing corrected"."""
        return [self.why_not(candidate.trajectory) for candidate in candidates]

    def why_not(self, trajectory: Trajectory) -> str:
        """Return why a walk is not kept; empty if it is."""
        distances = trajectory.distances_to_goal
        if not distances[-1] < self.reach:
            return "missed the goal"
        won = float(distances[0] - distances[-1])
        share = won / max(won, path_length(trajectory.positions), 1e-9)
        was_led = bool((trajectory.action_source == SOURCES.index("takeover")).any())
        return "" if share < self.alone or (was_led and share < self.led) else "nothing corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Novel:
    """Drop what is nearly there already: among those kept before, or earlier among these.

    Attributes:
        apart: Metres by which walks of one scene differ in start or in end; None asks nothing.
        text: Overlap (Dice, over pairs of words that follow each other) of texts of one scene from which they are one.
        frames: Cosine of features from which walks are one, whatever their scenes.
        known: What was kept before.
    """

    apart: float | None = None
    text: float | None = None
    frames: float | None = None
    known: Sequence[Candidate] = ()

    def judge(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return "walk again", "text again" or "frames again"."""
        fingers = Fingers(apart=self.apart, text=self.text, frames=self.frames)
        for candidate in self.known:
            fingers.add(candidate.key, candidate.episode, candidate.trajectory, candidate.features)
        reasons = []
        for candidate in candidates:
            why = fingers.twin(candidate.key, candidate.episode, candidate.trajectory, candidate.features)
            if not why:
                fingers.add(candidate.key, candidate.episode, candidate.trajectory, candidate.features)
            reasons.append(why)
        return reasons


def create_reproduced(config: FiltersConfig) -> Reproduced | None:
    """Return the filter that asks a follower; None where the recipe has none."""
    if config.ndtw is None and not config.success:
        return None
    return Reproduced(ndtw=config.ndtw or 0.0, success=config.success)


def create_filters(
    config: FiltersConfig, *, never: Collection[str] = (), known: Sequence[Candidate] = ()
) -> tuple[Filter, ...]:
    """Return the filters of a recipe, the cheap ones first.

    Args:
        config: Which.
        never: Scenes that are kept for validation.
        known: What was kept before, for novelty.
    """
    most = float("inf") if config.max_metres is None else config.max_metres
    filters: list[Filter] = [
        NeverIn(frozenset(never)),
        Lengths(words=(config.min_words, config.max_words), metres=(config.min_metres, most)),
    ]
    if config.efficiency is not None:
        filters.append(Direct(config.efficiency))
    if (reproduced := create_reproduced(config)) is not None:
        filters.append(reproduced)
    if config.similarity is not None or config.similar_share is not None:
        least = -np.inf if config.similarity is None else config.similarity
        share = config.similar_share or 1.0
        filters.append(Best(score="similarity", why="words and video apart", least=least, share=share))
    if config.likely_share is not None:
        filters.append(Best(score="likelihood", why="speaker unsure", share=config.likely_share))
    if any(rule is not None for rule in (config.apart, config.text_overlap, config.frame_cosine)):
        filters.append(
            Novel(apart=config.apart, text=config.text_overlap, frames=config.frame_cosine, known=tuple(known))
        )
    return tuple(filters)
