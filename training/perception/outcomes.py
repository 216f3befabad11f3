"""What a run has measured so far, as it lies in its folder: a file a task, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.perception_tasks import TaskConfig
from navloop.configs.videos import ViewsConfig
from navloop.files import write_text
from navloop.training.fingerprints import list_fingerprint
from navloop.training.manifests import read_manifests
from navloop.training.perception.features import Embedded, video_fingerprint
from navloop.training.perception.results import Findings, Score
from navloop.training.perception.subject import Subject

FORMAT = "navloop-perception-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A task that has been measured.

    Attributes:
        title: Its name in tables and files.
        config: Every field of it.
        findings: What it found.
        data: By role: how many videos its lists have, how many could not be read, fingerprints, how they were shown.
        seconds: What it took, the embedding of videos that no task before had seen included.
    """

    title: str
    config: dict[str, Any]
    findings: Findings
    data: dict[str, dict[str, Any]]
    seconds: float

    @property
    def unreadable(self) -> int:
        """How many videos could not be read, in all its lists."""
        return sum(int(used["unreadable"]) for used in self.data.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Perception:
    """What a run has measured of an encoder.

    Attributes:
        folder: Of the run.
        encoder: Its name.
        weights: File of the weights; None for random ones.
        digest: Of the weights.
        seed: Of the run.
        tasks: How many the recipe has.
        outcomes: Of those that are done, in the recipe's order.
    """

    folder: Path
    encoder: str
    weights: str | None
    digest: str
    seed: int
    tasks: int
    outcomes: tuple[Outcome, ...]


def outcome_of(config: TaskConfig, findings: Findings, used: Mapping[str, Embedded], seconds: float) -> Outcome:
    """Return what there is to keep of a task."""
    own = {name: list_fingerprint(Path(name)) for name in config.files}
    data = {
        role: {
            "videos": seen.listed,
            "unreadable": seen.unreadable,
            "fingerprint": seen.fingerprint,
            "lists": {**seen.files, **own},
            "read": dict(seen.read),
            "shown": dict(seen.protocol),
        }
        for role, seen in used.items()
    }
    fields = config.model_dump(mode="json")
    return Outcome(title=config.title, config=fields, findings=findings, data=data, seconds=round(seconds, 3))


def write_outcome(folder: Path, outcome: Outcome, subject: Subject) -> None:
    """Keep a task's outcome in `tasks/<title>.json`."""
    said = {"format": FORMAT, "weights": subject.digest, **asdict(outcome)}
    write_text(_file(folder, outcome.title), json.dumps(said, indent=1, allow_nan=False) + "\n")


def read_outcome(folder: Path, config: TaskConfig, subject: Subject) -> Outcome | None:
    """Return the outcome of a task that an earlier start has measured: the same task, weights, lists and videos.

    None if there is none. Of videos their sizes tell.

    Raises:
        ValueError: If the file is no outcome.
    """
    file = _file(folder, config.title)
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text())
        known, weights = said.pop("format") == FORMAT, said.pop("weights")
        outcome = _outcome(said)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: not the outcome of a task ({error!r}); delete it, and the task is measured again"
        ) from None
    lists = {name: mark for used in outcome.data.values() for name, mark in used["lists"].items()}
    same = known and weights == subject.digest and outcome.config == config.model_dump(mode="json")
    same = same and {*config.files} <= {*lists}
    same = same and all(list_fingerprint(Path(name)) == mark for name, mark in lists.items())
    return outcome if same and all(map(_same_videos, outcome.data.values())) else None


def gather(recipe: PerceptionEvalConfig, folder: Path, subject: Subject, outcomes: Sequence[Outcome]) -> Perception:
    """Return the outcomes of a run, and write them to its `results.json`."""
    run = Perception(
        folder=folder,
        encoder=subject.name,
        weights=recipe.weights,
        digest=subject.digest,
        seed=recipe.seed,
        tasks=len(recipe.tasks),
        outcomes=tuple(outcomes),
    )
    said = {
        "format": FORMAT,
        "complete": len(outcomes) == run.tasks,
        "asked": run.tasks,
        "name": recipe.name,
        "encoder": run.encoder,
        "weights": {"file": run.weights, "digest": run.digest},
        "precision": recipe.precision,
        "seed": run.seed,
        "tasks": [asdict(outcome) for outcome in outcomes],
    }
    write_text(folder / "results.json", json.dumps(said, indent=1, allow_nan=False) + "\n")
    return run


def read_perception(folder: Path) -> Perception:
    """Return what a run has measured, whole or not.

    Raises:
        ValueError: If the folder holds no such run, naming it.
    """
    file = folder / "results.json"
    try:
        said = json.loads(file.read_text())
        if (found := said["format"]) != FORMAT:
            raise ValueError(f"its format is {found}, here it is {FORMAT}")
        return Perception(
            folder=folder,
            encoder=said["encoder"],
            weights=said["weights"]["file"],
            digest=said["weights"]["digest"],
            seed=said["seed"],
            tasks=said["asked"],
            outcomes=tuple(_outcome(task) for task in said["tasks"]),
        )
    except FileNotFoundError:
        raise ValueError(
            f"{folder}: no encoder was measured here (no results.json); navloop eval RECIPE --run-dir {folder}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not what an encoder was measured to be ({error!r}); measure it again") from error


def _same_videos(used: Mapping[str, Any]) -> bool:
    if "read" not in used:
        return False
    views = ViewsConfig.model_validate_json(json.dumps(used["read"]))
    return video_fingerprint(read_manifests(views)) == str(used["fingerprint"])


def _outcome(said: dict[str, Any]) -> Outcome:
    findings = dict(said["findings"])
    scores = tuple(Score(**score) for score in findings.pop("scores"))
    return Outcome(**{**said, "findings": Findings(scores=scores, **findings)})


def _file(folder: Path, title: str) -> Path:
    return folder / "tasks" / f"{title}.json"
