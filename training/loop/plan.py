"""The recipes of a loop, all read before anything runs, and told which files are theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from navloop.configs.imitation import EpisodesConfig, ImitationConfig
from navloop.configs.loader import RecipeError, load
from navloop.configs.loop import JudgeConfig, LoopConfig, PartConfig
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import Config, EvalConfig, HousesConfig
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.configs.stages import ContrastivePretrainConfig
from navloop.files import fingerprint

C = TypeVar("C", bound=Config)

_FIRST_PLACE = "data/none"
"""Stands for paths in recipes that are read before their files are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EyesPlan:
    """The recipes of an encoder that learns."""

    first: ContrastivePretrainConfig
    again: ContrastivePretrainConfig
    films: ReplayConfig
    retrieval: PerceptionEvalConfig
    general: PerceptionEvalConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The recipes of a loop, as they are written; `told_...` say which files are read."""

    config: LoopConfig
    houses: HousesConfig
    first: ImitationConfig
    retrain: ImitationConfig
    speaker: SpeakerTrainConfig
    eval: EvalConfig
    eyes: EyesPlan | None

    @property
    def speaks(self) -> bool:
        """Whether walks are described."""
        return self.config.sources.ground is not None or self.config.sources.free is not None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of each recipe, as it holds a run."""
        parts: dict[str, Config] = {
            "houses": self.houses,
            "first": self.first,
            "retrain": self.retrain,
            "speaker": self.speaker,
            "judge": self.eval,
        }
        if self.eyes is not None:
            parts |= {
                f"encoder.{one.name}": part for one in fields(self.eyes) if (part := getattr(self.eyes, one.name))
            }
        return {f"recipe {place}": fingerprint(_held(part).encode()) for place, part in parts.items()}

    @property
    def steps(self) -> int:
        """Steps of the whole loop, if no round ends it early."""
        config = self.config
        arms = 1 + config.arms.old + config.arms.expert + len(config.arms.without)
        sources = sum(
            source is not None for source in (config.sources.tours, config.sources.ground, config.sources.free)
        )
        described = int(self.speaks)
        measured = 0 if self.eyes is None else 1 + (self.eyes.general is not None)  # of every arm and the agent before
        learned = arms * (len(config.arms.seeds) + (self.eyes is not None)) + (arms + 1) * measured
        a_round = sources + described + 1 + config.arms.expert + len(config.arms.without) + learned + 1
        before = 2 + described + (0 if self.eyes is None else 3)
        return before + config.rounds * a_round


def read_plan(config: LoopConfig) -> Plan:
    """Read every recipe that a loop runs.

    Raises:
        RecipeError: If one is wrong, or not of the kind that its place asks for, naming the place.
    """
    eyes = None
    if config.encoder is not None:
        general = config.encoder.general
        eyes = EyesPlan(
            first=_read("encoder.first", config.encoder.first, ContrastivePretrainConfig),
            again=_read("encoder.again", config.encoder.again, ContrastivePretrainConfig),
            films=_read("encoder.films", config.encoder.films, ReplayConfig),
            retrieval=_read("encoder.retrieval", config.encoder.retrieval, PerceptionEvalConfig),
            general=None if general is None else _read("encoder.general", general, PerceptionEvalConfig),
        )
    plan = Plan(
        config=config,
        houses=_read("houses", config.houses, HousesConfig),
        first=read_first(config),
        retrain=_read("retrain", config.retrain, ImitationConfig),
        speaker=_read("speaker", config.speaker, SpeakerTrainConfig),
        eval=_read("judge", config.judge, EvalConfig),
        eyes=eyes,
    )
    _check(plan)
    return plan


def read_first(config: LoopConfig) -> ImitationConfig:
    """Return the recipe of the first agent alone; errors as `read_plan`."""
    return _read("first", config.first, ImitationConfig)


def amended(config: C, **fields: Any) -> C:
    """Return a config with other fields, checked as a recipe is; sections are given as mappings or whole.

    Raises:
        ValueError: If they do not fit.
    """
    plain = {name: _plain(value) for name, value in fields.items()}
    return type(config).model_validate({**config.model_dump(), **plain})


def episodes_of(config: ImitationConfig, houses: Path, train: Path) -> EpisodesConfig:
    """Return the episodes of a recipe with a data set's in their place.

    Args:
        config: Says world, protocol and pixels.
        houses: Folder of the data set.
        train: Episode file to learn from.
    """
    return config.episodes.model_copy(
        update={
            "scenes": str(houses / "scenes"),
            "train": str(train),
            "val_seen": str(split_file(houses, "val_seen")),
            "val_unseen": str(split_file(houses, "val_unseen")),
        }
    )


def split_file(houses: Path, split: str) -> Path:
    """Return where the episodes of a split of a data set lie."""
    return houses / "episodes" / split / f"{split}.json.gz"


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.model_dump()
    if isinstance(value, tuple | list):
        return tuple(_plain(one) for one in value)
    return dict(value) if isinstance(value, Mapping) else value


def _read(place: str, part: PartConfig | JudgeConfig, kind: type[C]) -> C:
    try:
        found = load(part.recipe, part.set)
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from None
    if not isinstance(found, kind):
        wanted = kind.model_fields
        said = [f"{name}: {wanted[name].default}" for name in ("kind", "algorithm", "stage") if name in wanted]
        raise RecipeError(f"{place}: {part.recipe} is another kind of recipe; here it must say {', '.join(said)}")
    return found


def _held(config: Config) -> str:
    """Return the fields of a recipe that a loop's results depend on. Tasks are among them: steps that are done are not measured anew."""
    fields = config.model_dump(mode="json")
    for path in set(config.RESUMABLE) - {"tasks"}:
        *sections, name = path.split(".")
        inside = fields
        for section in sections:
            inside = inside[section]
        inside.pop(name)
    return json.dumps(fields, sort_keys=True)


def _check(plan: Plan) -> None:
    """Refuse recipes that do not go together."""
    _check_houses(plan)
    _check_agents(plan)
    if plan.speaks:
        _check_speaker(plan)
    _check_encoder(plan)


def _check_houses(plan: Plan) -> None:
    config, houses = plan.config, plan.houses
    if config.sources.ground is not None and not houses.extra_houses:
        raise RecipeError(
            f"houses: {config.houses.recipe} has no extra_houses, and sources.ground needs houses that nobody has described; add "
            "extra_houses=N to houses.set, or set sources.ground to null"
        )
    for name in ("val_unseen_houses", "val_unseen_tours"):
        if not getattr(houses, name):
            raise RecipeError(
                f"houses: {config.houses.recipe} has no {name}, so there is nothing to measure on; add {name}=N to houses.set"
            )
    asks = {
        "judge.split is val_seen": config.judge.split == "val_seen",
        "first measures on them (its evaluate is above 0)": plan.first.evaluate > 0,
        "speaker measures on them (its evaluate is above 0)": plan.speaks and plan.speaker.evaluate > 0,
    }
    if not houses.val_seen_tours and any(asks.values()):
        why = " and ".join(words for words, asked in asks.items() if asked)
        raise RecipeError(
            f"houses: {config.houses.recipe} has no val_seen_tours, but {why}; add val_seen_tours=N to houses.set"
        )


def _check_agents(plan: Plan) -> None:
    config, first = plan.config, plan.first
    if plan.retrain.learning.steps is None:
        raise RecipeError(
            f"retrain: {config.retrain.recipe} learns by epochs, so that arms with more walks would take more steps; add "
            "learning.steps=N to retrain.set"
        )
    if first.agent.perception.depth:
        raise RecipeError(
            f"first: {config.first.recipe} looks at a depth camera, and a loop records colour alone; add agent.perception.depth=false "
            "to first.set"
        )
    if plan.retrain.agent != first.agent:
        raise RecipeError(
            f"retrain: {config.retrain.recipe} says another agent than first, {config.first.recipe}, and it goes on with that one; set "
            "agent.* alike in first.set and retrain.set"
        )
    if first.walks or not first.collection.iterations:
        raise RecipeError(
            f"first: {config.first.recipe} learns from recorded walks, and the old walks of a loop are those that its first agent "
            "makes; leave out walks, and take collection.iterations above 0"
        )


def _check_speaker(plan: Plan) -> None:
    config, speaker = plan.config, plan.speaker
    for name in ("start", "eyes"):
        if getattr(speaker, name) is not None:
            raise RecipeError(
                f"speaker: {config.speaker.recipe} says {name}, but a loop's speaker begins anew with the first agent's eyes; add "
                f"{name}=null to speaker.set"
            )
    if speaker.evaluate and speaker.select == config.judge.split:
        other = "val_unseen" if speaker.select == "val_seen" else "val_seen"
        raise RecipeError(
            f"speaker: {config.speaker.recipe} keeps the checkpoint that is best on {speaker.select} (select), and judge.split is "
            f"{config.judge.split}: what judges must not choose who describes; add select={other} or evaluate=0 to speaker.set"
        )


def _check_encoder(plan: Plan) -> None:
    config = plan.config
    for name in ("similarity", "similar_share"):
        if plan.eyes is None and getattr(config.filters, name) is not None:
            raise RecipeError(
                f"filters.{name} asks an encoder that was trained with words, and encoder is null; set one of them"
            )
    if plan.eyes is None:
        return
    _check_measuring(plan.eyes)
    houses, most = plan.houses, plan.eyes.films.max_walks
    tours = houses.val_unseen_houses * houses.val_unseen_tours
    films = tours if most is None else min(tours, most)
    for number, task in enumerate(plan.eyes.retrieval.tasks):
        gallery = getattr(task, "gallery", None)
        if gallery is not None and gallery > films:
            raise RecipeError(
                f"encoder.retrieval: tasks.{number}.gallery is {gallery}, but {films} validation tours are filmed (val_unseen_houses "
                f"{houses.val_unseen_houses}, val_unseen_tours {houses.val_unseen_tours}, encoder.films.max_walks {most}); add "
                f"tasks.{number}.gallery=N, at most {films}, to encoder.retrieval.set"
            )


def _check_measuring(eyes: EyesPlan) -> None:
    """Refuse what encoders could not be measured on, before they have learned for hours."""
    learned = eyes.again.clips.size
    for name, recipe in (("retrieval", eyes.retrieval), ("general", eyes.general)):
        if recipe is not None and recipe.clips.size not in (None, learned):
            raise RecipeError(
                f"encoder.{name}: clips.size is {recipe.clips.size}, and encoders learn from clips of {learned} pixels; add "
                f"clips.size={learned} to encoder.{name}.set"
            )
    absent = [] if eyes.general is None else [name for name in eyes.general.clips.manifest if not Path(name).exists()]
    if absent:
        raise RecipeError(
            f"encoder.general: {absent[0]}: no such list of videos; set clips.manifest in encoder.general.set, or leave it out"
        )
