"""Walks of a round to look at: some that were kept and some that were not, filmed again, with what was asked and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from navloop.configs.imitation import EpisodesConfig
from navloop.configs.loop import LoopReportConfig
from navloop.configs.schema import EvalConfig, ReportConfig
from navloop.envs.metrics import evaluate
from navloop.records import Episode
from navloop.training.filters import Corrected
from navloop.training.hindsight import relabel
from navloop.training.loop.descriptions import Account
from navloop.training.loop.kept import why_left_out
from navloop.training.loop.sources import DESCRIBED
from navloop.training.rollouts import protocol_of
from navloop.training.rows import Row
from navloop.training.store import Store
from navloop.training.stories import Story, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A walk on the page.

    Attributes:
        source: Where it comes from.
        kept: Whether it is learned from.
        why: Why, or why not.
        original: The instruction that was followed; empty on new ground.
        text: What is said of it; None where nobody described it.
        scores: Of the description.
        story: Film and map.
    """

    source: str
    kept: bool
    why: str
    original: str
    text: str | None
    scores: Mapping[str, float]
    story: Story


def show_examples(
    stores: Mapping[str, Store],
    accounts: Sequence[Account],
    episodes: EpisodesConfig,
    report: LoopReportConfig,
    seed: int,
    rule: Corrected | None = None,
) -> list[Example]:
    """Return examples of a round, each with its film: of each source, kept and dropped ones in turn.

    Raises:
        SceneError: If a scene cannot be loaded.
        ReplayError: If a walk cannot be reproduced.
    """
    chosen = [
        one for source, store in stores.items() for one in _choose(source, store, accounts, report.examples, seed, rule)
    ]
    if not chosen:
        return []
    protocol = protocol_of(episodes)
    told: dict[str, Episode] = {}
    rows: list[tuple[str, Row]] = []
    for number, (account, store) in enumerate(chosen):
        trajectory, task = store.trajectory(account.index), store.task(account.index)
        described = account.source in DESCRIBED and account.text.strip() and account.dropped != "went nowhere"
        episode = task
        if described:
            with suppress(ValueError):  # a walk that never moved is shown beside the task that it had
                episode = relabel(task, trajectory, account.text)
        episode = replace(episode, episode_id=f"{number}")
        told[episode.episode_id] = episode
        rows.append((account.source, Row.of(episode, 0, evaluate(trajectory, episode, protocol), trajectory)))
    # Every example has its film, however few of them a page about an evaluation may have.
    filmed = ReportConfig(video_size=report.video_size, video_fps=report.video_fps).model_copy(
        update={"videos": len(rows)}
    )
    config = EvalConfig(
        seed=seed,
        world=episodes.world,
        scenes=episodes.scenes,
        episodes=episodes.train,
        protocol=episodes.protocol,
        agents=("none",),
        report=filmed,
    )
    stories = list(tell(config, Path(episodes.scenes), told, rows))
    return [_example(account, store, story) for (account, store), story in zip(chosen, stories, strict=True)]


def _choose(
    source: str, store: Store, accounts: Sequence[Account], count: int, seed: int, rule: Corrected | None
) -> list[tuple[Account, Store]]:
    described = [account for account in accounts if account.source == source]
    own = described if source in DESCRIBED else _undescribed(store, rule)
    rng = np.random.default_rng((seed, len(store)))
    mixed = [own[i] for i in rng.permutation(len(own)).tolist()]
    kept = [account for account in mixed if not account.dropped][:count]
    reasons: dict[str, list[Account]] = {}
    for account in mixed:
        if account.dropped:
            reasons.setdefault(account.dropped, []).append(account)
    dropped = [a for turn in zip_longest(*reasons.values()) for a in turn if a is not None][:count]
    return [(account, store) for pair in zip_longest(kept, dropped) for account in pair if account is not None]


def _undescribed(store: Store, rule: Corrected | None) -> list[Account]:
    return [
        Account(source=e.source, index=e.index, key=e.key, text="", original=e.instruction, scores={}, dropped=why)
        for e, why in zip(store.episodes, why_left_out(store, rule), strict=True)
    ]


def _example(account: Account, store: Store, story: Story) -> Example:
    described = account.source in DESCRIBED
    followed = (
        f"followed again with nDTW {account.scores['ndtw']:.2f}" if "ndtw" in account.scores else "no filter dropped it"
    )
    return Example(
        source=account.source,
        kept=not account.dropped,
        why=account.dropped or (followed if described else "corrected by an expert at every step"),
        original=account.original,
        text=account.text if described else None,
        scores=account.scores,
        story=story,
    )
