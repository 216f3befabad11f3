"""The recipes of a loop, all read before anything runs, and told which files are theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from navloop.configs.imitation import EpisodesConfig, ImitationConfig, TrainConfig
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
        ground = config.sources.ground
        described, again = int(self.speaks), int(ground is not None and ground.corrected)
        measured = 0 if self.eyes is None else 1 + (self.eyes.general is not None)  # of every arm and the agent before
        learned = arms * (len(config.arms.seeds) + (self.eyes is not None)) + (arms + 1) * measured
        a_round = sources + described + 1 + again + config.arms.expert + len(config.arms.without) + learned + 1
        before = 2 + described + (0 if self.eyes is None else 3)
        return before + config.rounds * a_round


def read_first(config: LoopConfig) -> ImitationConfig:
    """Return the recipe of the first agent alone; errors as `read_plan`."""
    return read_part("first", config.first, ImitationConfig)


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


def read_part(place: str, part: PartConfig | JudgeConfig, kind: type[C]) -> C:
    """Return the recipe of a part.

    Raises:
        RecipeError: If it is wrong, or not of the kind that its place asks for, naming the place.
    """
    try:
        found = load(part.recipe, part.set)
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from None
    if not isinstance(found, kind):
        wanted = kind.model_fields
        said = [f"{name}: {wanted[name].default}" for name in ("kind", "algorithm", "stage") if name in wanted]
        raise RecipeError(f"{place}: {part.recipe} is another kind of recipe; here it must say {', '.join(said)}")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.model_dump()
    if isinstance(value, tuple | list):
        return tuple(_plain(one) for one in value)
    return dict(value) if isinstance(value, Mapping) else value


def _held(config: Config) -> str:
    """Return the fields of a recipe that a loop's results depend on. Tasks are among them: steps that are done are not measured anew."""
    fields = config.model_dump(mode="json")
    # Digits, if not results, depend on device and lanes of a training, which a run by itself may change to go on.
    held = {"tasks", "device", "lanes"} if isinstance(config, TrainConfig) else {"tasks"}
    for path in set(config.RESUMABLE) - held:
        *sections, name = path.split(".")
        inside = fields
        for section in sections:
            inside = inside[section]
        inside.pop(name)
    return json.dumps(fields, sort_keys=True)
