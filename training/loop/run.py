"""The command that closes the loop: walks are recorded, described, sifted, learned from, and it is proved what that brought."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.configs.imitation import EpisodesConfig, RecordedConfig
from navloop.configs.loader import dump
from navloop.configs.loop import LoopConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.stages import ContrastivePretrainConfig
from navloop.envs.houses.datasets import is_finished
from navloop.files import write_text
from navloop.runs import RunFolder
from navloop.training.houses import make_houses
from navloop.training.imitation import train_by_imitation
from navloop.training.loop.arms import AGENT, ENCODER, Standing
from navloop.training.loop.checks import read_plan
from navloop.training.loop.kept import NothingKept
from navloop.training.loop.lineage import costs, write_lineage
from navloop.training.loop.plan import Plan, amended, episodes_of, split_file
from navloop.training.loop.round import Circle, Round
from navloop.training.loop.sources import Sources
from navloop.training.loop.steps import Steps
from navloop.training.loop.summary import FORMAT, SUMMARY
from navloop.training.loop.tours import LabelledTours, write_tours
from navloop.training.metrics import last_metrics
from navloop.training.pretraining import pretrain
from navloop.training.replaying import replay_walks
from navloop.training.speaking import train_speaker
from navloop.training.steps import draw_seed

FPS = 4
"""Actions that make a second of film: at 4, a step of 0.25 m is a walk of 1 m/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFound:
    """What a loop came to.

    Attributes:
        folder: Of the run.
        rounds: What each round came to, as `summary.json` has it.
        ended: Why there were no more rounds.
        agent: Folder of the agent that stands at the end.
        seconds: Of all steps.
    """

    folder: Path
    rounds: Sequence[Mapping[str, Any]]
    ended: str
    agent: Path
    seconds: float


def run_loop(config: LoopConfig, folder: Path, console: Console) -> LoopFound:
    """Run a loop into a folder, or go on with it; each of its steps is a run of its own that goes on where it was killed.

    The folder gets `houses/`, `first/` (the first agent), `speaker/`, `round_NN/` (`tours`, `ground`, `free`, `described`, `kept`, `expert`,
    the arms, `verdict`), `steps/` (what each step came to and took), `lineage.json` and `summary.json`, besides the run's own files.

    Args:
        config: The recipe.
        folder: Of the run, new or begun.
        console: Where to show the progress.

    Raises:
        RecipeError: If a recipe of the loop's is wrong. All are read before the first step.
        ValueError: If the folder holds another run, or nothing is kept of the first round.
        OSError: If something cannot be written.
    """
    plan = read_plan(config)
    _require_no_fewer(folder, config.rounds)
    with RunFolder(folder).open(dump(config), plan.fingerprints, config.RESUMABLE):
        return _Loop(plan, folder, console).run()


def rounds_done(folder: Path) -> int:
    """Return of how many rounds a loop's folder has a verdict."""
    return len(list(folder.glob("steps/round_*.verdict.json")))


def _require_no_fewer(folder: Path, rounds: int) -> None:
    """Refuse fewer rounds than are done, before anything is written."""
    if (done := rounds_done(folder)) > rounds:
        raise ValueError(
            f"{folder}: {done} rounds are done here, and rounds is {rounds}, so that its page would forget some; take rounds={done} or more"
        )


class _Loop:
    """A loop under way."""

    def __init__(self, plan: Plan, folder: Path, console: Console) -> None:
        # Steps name each other's files in their own recipes: those must be the same wherever the next start is made from.
        self._plan, self._config, self._folder, self._console = plan, plan.config, folder.absolute(), console
        self._steps = Steps(self._folder, console, plan.steps)

    def run(self) -> LoopFound:
        """Do what is left."""
        circle, standing = self._begin()
        done = rounds_done(self._folder)
        rounds: list[dict[str, Any]] = []
        ended = ""
        while not ended:
            around = Round(circle, len(rounds) + 1, standing)
            try:
                found = around.run()
            except NothingKept:
                if not rounds:
                    raise
                ended = f"no walk of round {around.number} was kept"
            else:
                standing = around.standing_after(found)
                cost = costs(found, {step.name: step for step in self._steps.done}, FPS)
                rounds.append({**found, "standing": self._inside(standing.agent), "costs": cost})
                # Rounds that are done stay, whatever would stop them now; and what is written tells of all of them at any moment.
                ended = self._ends(rounds) if len(rounds) >= done else ""
            if len(rounds) >= done:
                write_lineage(self._folder, rounds, self._steps.done)
                self._write(rounds, ended)
        seconds = sum(step.seconds for step in self._steps.done)
        return LoopFound(folder=self._folder, rounds=rounds, ended=ended, agent=standing.agent, seconds=seconds)

    def _begin(self) -> tuple[Circle, Standing]:
        """Do what comes before the first round."""
        config, plan = self._config, self._plan
        houses = self._houses()
        tours = LabelledTours(split_file(houses, "train"), config.labelled, config.seed)
        file = write_tours(self._folder / "tours" / "train.json.gz", tours.first)
        episodes = episodes_of(plan.first, houses, file)
        encoder, films, unseen = self._eyes(houses, file)
        self._steps.do("first", "train the first agent", lambda where: self._first(where, episodes, encoder))
        if plan.speaks:
            self._steps.do("speaker", "train the speaker", lambda where: self._speaker(where, episodes))
        walks = [
            RecordedConfig(folder=str(path), episodes=str(file)) for path in sorted(self._folder.glob("first/walks/*"))
        ]
        sources = Sources(
            episodes=episodes.model_copy(update={"train": str(split_file(houses, "train"))}),
            tours=tours,
            seed=config.seed,
            workers=config.workers,
            lanes=plan.first.lanes,
            stop_within=plan.retrain.collection.stop_within,
            device=plan.first.device,
            console=self._console,
        )
        circle = Circle(
            plan=plan,
            steps=self._steps,
            sources=sources,
            houses=houses,
            speaker=self._folder / "speaker" / "best" if plan.speaks else None,
            unseen=unseen,
            console=self._console,
        )
        return circle, Standing(
            agent=self._folder / "first" / AGENT,
            encoder=encoder,
            walks=tuple(walks),
            manifests=() if films is None else (str(films),),
        )

    def _houses(self) -> Path:
        houses = self._config.houses
        if self._config.dataset is not None:
            folder = Path(self._config.dataset).absolute()
            if not is_finished(self._plan.houses, folder):
                command = ["navloop", "houses", houses.recipe, *houses.set, "--run-dir", self._config.dataset]
                raise ValueError(
                    f"dataset {self._config.dataset}: holds no finished data set of {houses.recipe} with what houses.set says; make it "
                    f"with: {shlex.join(command)}, or set dataset to null"
                )
            return folder
        self._steps.do("houses", "make houses and tours", self._make_houses)
        return self._folder / "houses"

    def _make_houses(self, where: Path) -> dict[str, Any]:
        make_houses(amended(self._plan.houses, workers=self._config.workers), where, self._console)
        data = json.loads((where / "dataset.json").read_text())
        return {"houses": data["houses"], "tours": {split: count["drawn"] for split, count in data["tours"].items()}}

    def _eyes(self, houses: Path, file: Path) -> tuple[Path | None, Path | None, Path | None]:
        """Return weights of the first encoder, the list of its films, and that of films of validation tours; None without an encoder."""
        eyes = self._plan.eyes
        if eyes is None:
            return None, None, None
        unseen_file = split_file(houses, "val_unseen")
        for name, words, source in (
            ("films", "film the tours that the first encoder learns from", file),
            ("unseen", "film validation tours", unseen_file),
        ):
            recipe = amended(eyes.films, name=name, scenes=str(houses / "scenes"), episodes=str(source))
            self._steps.do(name, words, partial(self._film, recipe=recipe))
        films, unseen = (self._folder / name / "manifest.jsonl" for name in ("films", "unseen"))
        walks = unseen.with_name("walks.jsonl")
        config = amended(
            eyes.first,
            name="encoder",
            clips=eyes.first.clips.model_copy(update={"manifest": (str(films),), "label_maps": ()}),
            held_out=(str(walks),),
        )
        self._steps.do("encoder", "train the first encoder", lambda where: self._pretrain(where, config))
        return self._folder / "encoder" / ENCODER, films, walks

    def _film(self, where: Path, recipe: ReplayConfig) -> dict[str, Any]:
        replay_walks(recipe, where, self._console)
        data = json.loads((where / "dataset.json").read_text())
        return {name: data[name] for name in ("videos", "frames", "subwalks")}

    def _pretrain(self, where: Path, config: ContrastivePretrainConfig) -> dict[str, Any]:
        pretrain(config, where, self._console)
        return dict(last_metrics(where))

    def _first(self, where: Path, episodes: EpisodesConfig, encoder: Path | None) -> dict[str, Any]:
        agent = self._plan.first.agent
        if encoder is not None:
            perception = agent.perception.model_copy(update={"weights": str(encoder)})
            agent = agent.model_copy(update={"perception": perception})
        config = amended(
            self._plan.first,
            name="first",
            seed=draw_seed(self._config.seed, 1) % 2**31,
            episodes=episodes,
            agent=agent,
            workers=self._config.workers,
        )
        train_by_imitation(config, where, self._console)
        return dict(last_metrics(where))

    def _speaker(self, where: Path, episodes: EpisodesConfig) -> dict[str, Any]:
        config = amended(
            self._plan.speaker,
            name="speaker",
            seed=draw_seed(self._config.seed, 3) % 2**31,
            episodes=episodes,
            eyes=str(self._folder / "first" / AGENT),
            workers=self._config.workers,
        )
        report = train_speaker(config, where, self._console)
        return {"steps": report.steps, "scores": {split: dict(found) for split, found in report.scores.items()}}

    def _ends(self, rounds: Sequence[Mapping[str, Any]]) -> str:
        """Return why there are no more rounds; empty where there are."""
        stop, last = self._config.stop, rounds[-1]
        counts = last["described"]["sources"].values()
        asked = sum(count["candidates"] for count in counts)
        share = sum(count["kept"] for count in counts) / asked if asked else None
        if stop.least_yield is not None and share is not None and share < stop.least_yield:
            return f"of the described walks {100 * share:.0f}% were kept, below {100 * stop.least_yield:.0f}%"
        refused = 0
        for one in reversed(rounds):
            if one["verdict"]["accepted"]:
                break
            refused += 1
        if stop.refused is not None and refused >= stop.refused:
            return f"{refused} rounds in a row did not help" if refused > 1 else "the round did not help"
        return "all rounds are done" if len(rounds) == self._config.rounds else ""

    def _write(self, rounds: Sequence[Mapping[str, Any]], ended: str) -> None:
        said = {
            "format": FORMAT,
            "name": self._config.name,
            "complete": bool(ended),
            "ended": ended,
            "seconds": round(sum(step.seconds for step in self._steps.done), 3),
            "rounds": list(rounds),
        }
        write_text(self._folder / SUMMARY, json.dumps(said, indent=1, allow_nan=False) + "\n")

    def _inside(self, path: Path) -> str:
        with suppress(ValueError):
            return path.relative_to(self._folder).as_posix()
        return str(path)
