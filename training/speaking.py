"""The command that trains a speaker: an expert walks the tours, and from what is seen on the way it learns to say the instruction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.agent.saving import is_agent, load_agent, save_agent
from navloop.agent.speaker import Speaker, create_speaker
from navloop.agent.speaker_saving import load_speaker, save_speaker
from navloop.configs.loader import dump
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.files import write_text
from navloop.provenance import usable_processors
from navloop.runs import RunFolder
from navloop.training.checkpoints import list_checkpoints, remove_unfinished
from navloop.training.collection import Crew, Ground, Order, encode_missing, walk_parts
from navloop.training.courses import BEST
from navloop.training.devices import find_device
from navloop.training.metrics import MetricsLog, TrainingProgress
from navloop.training.rollouts import Rules
from navloop.training.speaker_learner import SPEAKER, SpeakerLearner, mean_loss
from navloop.training.spoken_walks import SpokenWalks, Texts
from navloop.training.steps import draw_seed
from navloop.training.telling import tell_scores
from navloop.training.told_tours import ToldCourse
from navloop.training.walks import WalkFolder

EYES = "eyes"
"""Folder of the agent whose perception the speaker sees with; its policy is never asked."""

PART = 64
"""Tours a file of walks."""


@dataclass(frozen=True, slots=True)
class SpeakerReport:
    """What a run came to."""

    folder: Path
    """Of the run; `folder / "best"` is a speaker."""
    steps: int
    """Optimiser steps done, those of earlier starts included."""
    resumed: int
    """Steps that earlier starts had done."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of the best speaker on each validation split, as of `tell_scores`."""


def train_speaker(config: SpeakerTrainConfig, folder: Path, console: Console | None = None) -> SpeakerReport:
    """Train a speaker into a run folder, or go on with it.

    The folder gets metrics.jsonl, tensorboard/, walks/ (a folder a split, walked by the expert), checkpoints step_N/ with the speaker in
    `speaker`, `last`, a link to the newest, the speaker `best`, and what it says of the validation tours: told_SPLIT.jsonl, scores.json.

    Raises:
        ValueError: If the recipe does not fit its data or what the folder holds.
        DivergedError: If the loss is not finite; the last checkpoint is from before.
        OSError: If something cannot be written.
    """
    lessons = ToldCourse(config)
    with RunFolder(folder).open(dump(config), lessons.fingerprints, config.RESUMABLE), torch.random.fork_rng():
        return _Run(lessons, folder, console).run()


class _Run:
    """A run in progress."""

    def __init__(self, course: ToldCourse, folder: Path, console: Console | None) -> None:
        self.course, self.config, self.folder, self.console = course, course.config, folder, console
        config = self.config
        self.device = find_device(config.device)
        remove_unfinished(folder)
        self.eyes = self._eyes()
        self.walks = self._walked()
        self.epoch = math.ceil(len(self.walks["train"]) / config.learning.batch)
        self.steps = math.ceil(config.learning.epochs * self.epoch)
        self.best, self.done = math.inf, 0
        found = list_checkpoints(folder)
        speaker = self._begun() if not found else load_speaker(found[-1].checked(SPEAKER))
        self.learner = SpeakerLearner(speaker.to(self.device), config.learning, self.steps)
        if found:
            self.best, self.done = self.learner.restore(found[-1])["best"], found[-1].step
        self.first = self.done

    def run(self) -> SpeakerReport:
        """Do what is left."""
        log = MetricsLog(self.folder, self.first)
        progress = TrainingProgress(self.console, self.steps, self.done, "walks")
        try:
            self._learn(log, progress)
        finally:
            progress.close()
            log.close()
        return SpeakerReport(self.folder, self.done, self.first, self._measure())

    def _learn(self, log: MetricsLog, progress: TrainingProgress) -> None:
        walks, seed = self.walks["train"], self.config.seed
        window: list[dict[str, Tensor]] = []
        for number in range(self.done + 1, self.steps + 1):
            epoch, place = divmod(number - 1, self.epoch)
            order = walks.order(self.config.learning.batch, (seed, 2, epoch))
            batch = walks.batch(order[place], (seed, 3, number))
            window.append(self.learner.step(number, batch, draw_seed(seed, number)))
            self.done = number
            progress.advance(len(batch.texts))
            keeps = number == self.steps or number % self.config.checkpoint_every == 0
            if keeps or number % self.config.log_every == 0:
                found = {"lr": self.learner.lr, **self.learner.means(window, number)}
                window = []
                found |= self._judge() if keeps else {}
                progress.tell(found)
                log.add(number, found, progress.clips_per_s, "walks")
            if keeps:
                self.learner.save(self.folder, number, self.config.keep, {"best": self.best})

    def _judge(self) -> dict[str, float]:
        """Return the loss on each validation split, and keep the speaker if it is the best so far."""
        splits = [split for split in self.walks if split != "train"]
        found = {f"{split}_loss": mean_loss(self.learner.speaker, self.walks[split]) for split in splits}
        score = found.get(f"{self.config.select}_loss", 0.0)  # nothing to select by: the newest
        if score < self.best or not splits:
            self.best = score
            save_speaker(self.learner.speaker, self.folder / BEST)
        return found

    def _measure(self) -> dict[str, dict[str, float]]:
        """Let the best speaker tell the validation walks; keep what it says and how good that is."""
        speaker = load_speaker(self.folder / BEST, device=self.device)
        scores = {}
        for split in [split for split in self.walks if split != "train"]:
            walks = self.walks[split]
            whole, references = walks.whole(), walks.references
            texts = speaker.describe(whole.percepts, whole.actions)
            counts = {"walks": len(walks), "left_out": walks.left_out}
            scenes = [walk.scene_id for walk in walks.walks()]
            scores[split] = {**tell_scores(texts, references, scenes), "loss": mean_loss(speaker, walks), **counts}
            rows = [
                {
                    "scene_id": walk.scene_id,
                    "trajectory_id": walk.trajectory_id,
                    "said": text,
                    "references": list(meant),
                }
                for walk, text, meant in zip(walks.walks(), texts, references, strict=True)
            ]
            write_text(self.folder / f"told_{split}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
            self._tell(split, scores[split])
        write_text(self.folder / "scores.json", json.dumps(scores, indent=1) + "\n")
        return scores

    def _eyes(self) -> PolicyAgent:
        """Return the agent who watches; its perception is the speaker's."""
        folder = self.folder / EYES
        if not is_agent(folder):
            if self.config.eyes is not None:
                agent = load_agent(self.config.eyes)
            else:
                texts = [episode.instruction.text for episode in self.course.episodes]
                agent = create_policy_agent(self.course.watcher, texts, seed=self.config.seed)
                if self.config.start is not None:
                    agent.perception = load_speaker(self.config.start).perception
            save_agent(agent, folder)
        return load_agent(folder, device=self.device)

    def _begun(self) -> Speaker:
        if self.config.start is not None:
            return load_speaker(self.config.start)
        texts = [text for said in self.course.texts("train").values() for text in said]
        texts += [text for _, told in self.course.recorded for said in told.values() for text in said]
        return create_speaker(self.course.speaker, texts, perception=self.eyes.perception, seed=self.config.seed)

    def _walked(self) -> dict[str, SpokenWalks]:
        """Return the walks of each split, walked by the expert where they are not there yet, and those recorded besides."""
        config, perception = self.config, self.eyes.perception
        step, mirror = self.course.protocol.body.step, config.learning.mirror
        crew = Crew(
            Ground(config.episodes, perception.config.depth, config.lanes, self.device),
            config.workers or usable_processors(),
        )
        try:
            folders = {split: self._collect(crew, split) for split in ("train", *self.course.validation)}
        finally:
            crew.close()
        sources: list[tuple[WalkFolder, Texts]] = [(folders.pop("train"), self.course.texts("train"))]
        sources += self.course.recorded
        for folder, _ in sources:
            encode_missing(folder, perception, mirror)
        found = {"train": SpokenWalks(sources, perception.digest, step, mirror)}
        for split, folder in folders.items():
            encode_missing(folder, perception)
            found[split] = SpokenWalks([(folder, self.course.texts(split))], perception.digest, step)
        return found

    def _collect(self, crew: Crew, split: str) -> WalkFolder:
        tours = self.course.tours(split)
        parts = [tuple(tours[i : i + PART]) for i in range(0, len(tours), PART)]
        folder = WalkFolder(self.folder / "walks" / split)
        there = {part.number for part in folder.parts}
        missing = [number for number in range(len(parts)) if number not in there]
        if not missing:
            return folder
        mirrors, seed = split == "train" and self.config.learning.mirror, draw_seed(self.config.seed, 4)
        orders = [
            Order(folder.path, n, parts[n], self.folder / EYES, Rules(beta=1.0), seed, True, mirrors) for n in missing
        ]
        walk_parts(crew, folder, orders, len(tours), self.console)
        return folder

    def _tell(self, split: str, scores: Mapping[str, float]) -> None:
        if self.console is None:
            return
        names = [name for name in ("bleu", "rooms", "last_room", "turns") if name in scores]
        shown = [f"{name} {scores[name]:.3f}{_span(scores, name)}" for name in names]
        left_out = (
            f"; {scores['left_out']} that did something else, or have no words, are left out"
            if scores["left_out"]
            else ""
        )
        told = f"{split}, {scores['walks']} walks: {', '.join(shown)}{left_out}"
        self.console.print(told, soft_wrap=True, highlight=False)


def _span(scores: Mapping[str, float], name: str) -> str:
    """Return the ends of a score's interval in words, if it has any."""
    if f"{name}_low" not in scores:
        return ""
    return f" ({scores[f'{name}_low']:.3f}–{scores[f'{name}_high']:.3f})"
