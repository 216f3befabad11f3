"""The arms of a round: the same agent goes on learning for equally many steps, from other walks each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.agent.saving import AGENTS, agent_digest
from navloop.configs.imitation import EpisodesConfig, RecordedConfig
from navloop.files import fingerprint
from navloop.training.evaluation import evaluate
from navloop.training.imitation import train_by_imitation
from navloop.training.loop.plan import Plan, amended, split_file
from navloop.training.metrics import last_metrics
from navloop.training.pretraining import pretrain
from navloop.training.recollection import recall
from navloop.training.results import read_evaluation
from navloop.training.rows import Row
from navloop.training.steps import draw_seed
from navloop.weights import digest

LOOP, OLD, EXPERT, BEFORE = "loop", "old", "expert", "before"
"""The arms, and the agent that they all go on from."""

WITHOUT = "without_"
"""Begins the name of an arm that leaves a source out; the source follows."""

AGENT = Path("last") / "agent"
ENCODER = Path("last") / "encoder.safetensors"
"""Where runs leave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a round begins with.

    Attributes:
        agent: Folder of the agent.
        encoder: Weights of the encoder that it sees with; None where the encoder does not learn.
        walks: To imitate.
        manifests: Films with words, for the encoder.
        rounds: Numbers of the rounds that were accepted, whose kept walks are among these.
        at_first: What the first encoder knew, where this is another one: see `navloop.training.loop.memory.known_before`.
    """

    agent: Path
    encoder: Path | None
    walks: tuple[RecordedConfig, ...]
    manifests: tuple[str, ...]
    rounds: tuple[int, ...] = ()
    at_first: Mapping[str, Any] = field(default_factory=dict)


JUDGED = ("protocol", "protocol_fingerprint", "world", "split", "episodes", "selection", "data", "seed", "weights")
"""What is told of the evaluation of a round, of `navloop.training.results.Header`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one arm learns from.

    Attributes:
        name: `LOOP`, `OLD`, `EXPERT`, or `WITHOUT` and a source.
        walks: To imitate.
        manifests: For the encoder.
    """

    name: str
    walks: tuple[RecordedConfig, ...]
    manifests: tuple[str, ...]


def see_again(
    plan: Plan, arm: Arm, standing: Standing, held_out: Path, number: int, folder: Path, console: Console
) -> dict[str, Any]:
    """Train the encoder on from where it stands, on an arm's films, into a run folder; return its last metrics, its digest and the films'."""
    assert plan.eyes is not None and standing.encoder is not None
    again = plan.eyes.again
    config = amended(
        again,
        name=f"encoder_{arm.name}",
        weights=str(standing.encoder),
        clips=again.clips.model_copy(update={"manifest": arm.manifests, "label_maps": ()}),
        held_out=(str(held_out),),
        engine=again.engine.model_copy(update={"seed": draw_seed(plan.config.seed, number) % 2**31}),
    )
    pretrain(config, folder, console)
    films = {name: fingerprint(Path(name)) for name in arm.manifests}
    return {**last_metrics(folder), "encoder": digest(folder / ENCODER), "films": films}


def learn(
    plan: Plan,
    arm: Arm,
    start: tuple[Path, Path | None],
    episodes: EpisodesConfig,
    number: int,
    seed: int,
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """Train an agent on from another, from an arm's recorded walks alone, into a run folder.

    Args:
        plan: Says how, and for how many steps.
        arm: Says from what.
        start: Folder of the agent, and weights of the encoder that it is to see with from now on, if others.
        episodes: Of the first agent.
        number: Of the round.
        seed: One of the arm's; with the loop's and the round it decides the order of walks, and dropout.
        folder: Of the run.
        console: Where to show the progress.
    """
    config = amended(
        plan.retrain,
        name=f"{arm.name}_{seed}",
        seed=draw_seed(plan.config.seed, number, seed) % 2**31,
        episodes=episodes,
        agent=AGENTS.read_card(start[0]).config,
        start=str(start[0]),
        start_encoder=None if start[1] is None else str(start[1]),
        walks=arm.walks,
        collection=plan.retrain.collection.model_copy(update={"iterations": 0}),
        evaluate=0,
        workers=plan.config.workers,
    )
    report = train_by_imitation(config, folder, console)
    learned = [recall(one) for one in arm.walks]
    return {
        "steps": report.steps,
        "digest": agent_digest(folder / AGENT),
        "walks": sum(one.walks for one in learned),
        "frames": sum(one.frames for one in learned),
        "data": {one.folder.path.as_posix(): one.fingerprint for one in learned},
        "metrics": last_metrics(folder),
    }


def measure(
    plan: Plan, agents: Mapping[str, Path], episodes: EpisodesConfig, houses: Path, folder: Path, console: Console
) -> tuple[dict[str, Sequence[Row]], dict[str, Any]]:
    """Walk the episodes that count with every agent, and return the rows of each, and what a verdict of them rests on: `JUDGED`.

    Args:
        plan: Says which.
        agents: Folders by label.
        episodes: World, protocol and pixels.
        houses: Folder of the data set.
        folder: Of the evaluation.
        console: Where to show the progress.
    """
    config = amended(
        plan.eval,
        name=f"{plan.config.name}-{folder.parent.name}",
        world=episodes.world,
        scenes=episodes.scenes,
        episodes=str(split_file(houses, plan.config.judge.split)),
        protocol=episodes.protocol,
        pixels=episodes.pixels,
        **({} if episodes.world == "embedded" else _habitat(episodes)),
        agents=tuple(f"{label}={path}" for label, path in agents.items()),
        workers=plan.config.workers,
    )
    evaluate(config, folder, console)
    found = read_evaluation(folder)
    judged = {name: getattr(found.header, name) for name in JUDGED}
    return {label: rows for label, rows in found.rows.items() if label in agents}, judged


def _habitat(episodes: EpisodesConfig) -> dict[str, Any]:
    return {"scene_dataset_config": episodes.scene_dataset_config, "gpu_devices": (episodes.gpu_device,)}
