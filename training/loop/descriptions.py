"""What is said of walks that nobody described, who follows it, and which of them are kept and why."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from navloop.agent.perception import Walk as SeenWalk
from navloop.agent.speaker import BATCH, Speaker
from navloop.agent.speaker_saving import load_speaker
from navloop.configs.filters import FiltersConfig
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.files import write_text
from navloop.geometry import Vector
from navloop.records import Episode
from navloop.training.collection import Crew
from navloop.training.filters import Candidate, Reproduced, create_filters, create_reproduced, sift
from navloop.training.following import follow, follow_others, follow_scores
from navloop.training.hindsight import relabel
from navloop.training.rows import Row
from navloop.training.store import Store, open_store

CANDIDATES = "candidates.jsonl"
FEATURES = "features.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A walk, what is said of it, and what came of that; a line of `CANDIDATES`.

    Attributes:
        source: Of the walk.
        index: Its number in the source's store.
        key: Its key there.
        text: The description.
        original: The instruction that was followed; empty on new ground.
        scores: What was measured of the description.
        dropped: Why it is not kept; empty where it is.
    """

    source: str
    index: int
    key: str
    text: str
    original: str
    scores: Mapping[str, float]
    dropped: str

    def to_line(self) -> str:
        """Return what `from_line` reads."""
        return json.dumps(
            {name: getattr(self, name) for name in self.__dataclass_fields__}, ensure_ascii=False, allow_nan=False
        )

    @classmethod
    def from_line(cls, line: str) -> Account:
        """Read what `to_line` gave."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class _Walked:
    """A walk to be described."""

    source: str
    index: int
    store: Store
    episode: Episode | None = None
    text: str = ""
    features: Vector | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    dropped: str = ""

    @property
    def key(self) -> str:
        return self.store.episodes[self.index].key


@dataclass(frozen=True, slots=True, kw_only=True)
class Describer:
    """Describes the walks of a round, lets the agent follow the descriptions, and sifts them.

    Attributes:
        speaker: Folder of the speaker.
        follower: Folder of the agent.
        crew: Who walks.
        filters: What is kept.
        never: Scenes that are kept for validation.
        known: Kept in earlier rounds.
        encoder: Trained with words, for the similarity of video and text; None measures none.
        seed: Of the follower's draws.
    """

    speaker: Path
    follower: Path
    crew: Crew
    filters: FiltersConfig
    never: Collection[str]
    known: Sequence[Candidate]
    encoder: MultimodalEncoder | None
    seed: int

    def describe(self, stores: Mapping[str, Store], folder: Path) -> dict[str, Any]:
        """Write `CANDIDATES` into a folder, and return the counts of each source: candidates, each reason, kept.

        With `filters.told_others` also "followed", by source: how many the follower was told, how many of them it followed by their words, and
        how many told the words of another walk; and the seconds that this took, "asking_seconds": nothing is kept or dropped for it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        walked = [one for source, store in stores.items() for one in self._told(source, store)]
        episodes = [one.episode for one in walked if one.episode is not None]
        rows = follow(self.follower, episodes, self.crew, self.seed) if episodes else {}
        candidates = [
            self._candidate(one, {} if one.episode is None else follow_scores(rows[one.episode.episode_id]))
            for one in walked
            if not one.dropped
        ]
        sifted = sift(create_filters(self.filters, never=self.never, known=self.known), candidates)
        scores = {candidate.key: candidate.scores for candidate in candidates}
        found = [
            Account(
                source=one.source,
                index=one.index,
                key=one.key,
                text=one.text,
                original=one.store.episodes[one.index].instruction,
                scores={name: round(v, 4) for name, v in scores.get(one.key, {}).items() if np.isfinite(v)},
                dropped=one.dropped or sifted.dropped.get(one.key, ""),
            )
            for one in walked
        ]
        features = [one.features for one in walked]
        np.save(folder / FEATURES, np.stack([np.zeros(1) if f is None else f for f in features]) if features else [])
        write_text(folder / CANDIDATES, "".join(f"{one.to_line()}\n" for one in found))
        sources = {source: count_reasons(found, source) for source in stores}
        began = time.monotonic()
        followed = self._followed(walked, candidates)
        return {"sources": sources, "followed": followed, "asking_seconds": round(time.monotonic() - began, 3)}

    def _followed(self, walked: Sequence[_Walked], candidates: Sequence[Candidate]) -> dict[str, dict[str, int]]:
        rule = create_reproduced(self.filters)
        episodes = [candidate.episode for candidate in candidates]
        if rule is None or not self.filters.told_others or not episodes:
            return {}
        others = follow_others(self.follower, episodes, self.crew, self.seed)
        if not others:
            return {}
        sources = {one.key: one.source for one in walked}
        return {
            source: count_followed(rule, [c for c in candidates if sources[c.key] == source], others)
            for source in dict.fromkeys(sources.values())
        }

    def _told(self, source: str, store: Store) -> Iterator[_Walked]:
        """Yield the walks of a source that may be described, each with what is said of it."""
        chosen = [
            number
            for number, episode in enumerate(store.episodes)
            if source != "free" or not episode.success  # a walk that did what it was told needs no other words
        ]
        with _threads(1):
            speaker = load_speaker(self.speaker)
            for begin in range(0, len(chosen), BATCH):
                yield from self._told_batch(speaker, source, store, chosen[begin : begin + BATCH])

    def _told_batch(self, speaker: Speaker, source: str, store: Store, numbers: Sequence[int]) -> Iterator[_Walked]:
        frames = [store.frames(number) for number in numbers]
        percepts = speaker.perception.encode_walks([SeenWalk(rgb) for rgb in frames])
        walks = [store.trajectory(number) for number in numbers]
        texts = speaker.describe(percepts, [walk.actions for walk in walks])
        measured = {"likelihood": speaker.likelihoods(percepts, [walk.actions for walk in walks], texts)}
        if self.encoder is not None:
            measured["similarity"] = similarities(self.encoder, frames, texts)
        scores = [dict(zip(measured, row, strict=True)) for row in zip(*measured.values(), strict=True)]
        for number, seen, walk, text, own in zip(numbers, percepts, walks, texts, scores, strict=True):
            features = seen.float().mean(dim=(0, 1)).numpy().astype(np.float64)
            one = _Walked(source, number, store, None, text, features, own)
            if not walk.stopped:
                yield replace(one, dropped="never stopped")
                continue
            try:
                episode = relabel(store.task(number), walk, text, suffix=f"-{one.key[:8]}")
            except ValueError:
                yield replace(one, dropped="went nowhere" if text.strip() else "nothing said")
            else:
                yield replace(one, episode=episode)

    def _candidate(self, one: _Walked, scores: Mapping[str, float]) -> Candidate:
        assert one.episode is not None
        trajectory = one.store.trajectory(one.index)
        return Candidate(
            key=one.key,
            episode=one.episode,
            trajectory=trajectory,
            scores={**scores, **one.scores},
            features=one.features,
        )


def count_reasons(found: Sequence[Account], source: str) -> dict[str, int]:
    """Return how many walks of a source were described, how many were dropped for each reason, and how many are kept."""
    own = [one for one in found if one.source == source]
    reasons = Counter(one.dropped for one in own if one.dropped)
    return {"candidates": len(own), **dict(reasons.most_common()), "kept": sum(not one.dropped for one in own)}


def count_followed(rule: Reproduced, candidates: Sequence[Candidate], others: Mapping[str, Row]) -> dict[str, int]:
    """Return how many walks a follower was told of, how many it followed, and how many told of another walk.

    Args:
        rule: What following is.
        candidates: With the scores of their own words.
        others: Rows of the follower who was told other words, by episode id.
    """
    by_others = [replace(one, scores=follow_scores(others[one.episode.episode_id])) for one in candidates]
    own, other = (sum(not why for why in rule.judge(found)) for found in (candidates, by_others))
    return {"told": len(candidates), "own": own, "others": other}


def read_accounts(folder: Path) -> list[Account]:
    """Return what a round described; nothing where it described nothing."""
    file = folder / CANDIDATES
    return [Account.from_line(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def recall_kept(folder: Path, stores: Mapping[str, Path]) -> list[Candidate]:
    """Return what a round kept, as the filters of later rounds ask it.

    Args:
        folder: Of the round's descriptions.
        stores: Of its sources.
    """
    opened = {source: open_store(path) for source, path in stores.items()}
    described = read_accounts(folder)
    features = np.load(folder / FEATURES, allow_pickle=False) if described else []
    return [
        Candidate(
            key=f"{folder.parent.name}-{one.key}",
            episode=relabel(opened[one.source].task(one.index), opened[one.source].trajectory(one.index), one.text),
            trajectory=opened[one.source].trajectory(one.index),
            features=seen,
        )
        for one, seen in zip(described, features, strict=True)
        if not one.dropped
    ]


@torch.no_grad()
def similarities(encoder: MultimodalEncoder, frames: Sequence[Any], texts: Sequence[str]) -> list[float]:
    """Return the cosine of each walk's video and its text.

    Args:
        encoder: Trained with words.
        frames: Of each walk, uint8 (S, H, W, 3); as many as the encoder takes are looked at, evenly spaced.
        texts: One a walk.
    """
    count = encoder.num_frames
    places = [((np.arange(count) + 0.5) / count * len(rgb)).astype(np.int64) for rgb in frames]
    clips = np.stack([rgb[chosen] for rgb, chosen in zip(frames, places, strict=True)])
    videos = encoder.encode_video(clips).pooled.float()
    words = encoder.encode_text([text or "." for text in texts]).float()
    return [float(value) for value in (videos * words).sum(1)]


class _threads:
    """Computes with so many threads, as workers do, so that results are the same wherever they are made."""

    def __init__(self, count: int) -> None:
        self._count, self._before = count, torch.get_num_threads()

    def __enter__(self) -> None:
        torch.set_num_threads(self._count)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
