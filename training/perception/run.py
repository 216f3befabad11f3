"""The command that measures an encoder: every task of a recipe, each once, into a run folder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

# Each enters its tasks into TASKS.
import navloop.training.perception.captions
import navloop.training.perception.choice
import navloop.training.perception.classes
import navloop.training.perception.linear
import navloop.training.perception.neighbours
import navloop.training.perception.open_set
import navloop.training.perception.retrieval
import navloop.training.perception.zero_shot  # noqa: F401
from navloop.configs.loader import dump
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.perception_tasks import TaskConfig
from navloop.runs import RunFolder
from navloop.training.fingerprints import list_fingerprint
from navloop.training.listings import ManifestError
from navloop.training.perception.features import FeatureStore, Rehearsal, Rehearsed
from navloop.training.perception.outcomes import Outcome, Perception, gather, outcome_of, read_outcome, write_outcome
from navloop.training.perception.results import Findings
from navloop.training.perception.subject import Subject, load_subject
from navloop.training.perception.task import TASKS, Bench


def evaluate_perception(recipe: PerceptionEvalConfig, folder: Path, console: Console | None = None) -> Perception:
    """Return what an encoder is measured to be, measuring the tasks that the run folder does not have yet.

    The folder gets `results.json`, `tasks/<name>.json` as each is done, `features/` with what the encoder made of the videos, for
    the tasks to come, `unreadable/` with lists of what could not be read, and the run's own files (`navloop.runs`).

    Args:
        recipe: What to measure.
        folder: Of the run, new or begun.
        console: Where to show the progress; None shows nothing.

    Raises:
        ValueError: If encoder, weights, videos and tasks do not fit each other, or the folder holds another run.
        TooManyUnreadableError: If more videos than clips.max_unreadable allows cannot be read.
        OSError: If the folder cannot be written.
    """
    for task in recipe.tasks:
        TASKS[task.task]
    subject = load_subject(recipe)
    outcomes: list[Outcome] = []
    with RunFolder(folder).open(dump(recipe), _data(recipe, subject), recipe.RESUMABLE):
        store, rehearsal = (kind(recipe, subject, folder, console) for kind in (FeatureStore, Rehearsal))
        for task in recipe.tasks:
            if read_outcome(folder, task, subject) is None:
                _rehearse(task, recipe, subject, rehearsal)
        for task in recipe.tasks:
            outcome = read_outcome(folder, task, subject)
            if outcome is None:
                outcome = _measure(task, recipe, subject, store)
                write_outcome(folder, outcome, subject)
            elif console is not None:
                console.print(f"{task.title}: measured before", highlight=False)
            outcomes.append(outcome)
            found = gather(recipe, folder, subject, outcomes)
    return found


def _rehearse(task: TaskConfig, recipe: PerceptionEvalConfig, subject: Subject, rehearsal: FeatureStore) -> None:
    """Take a task as far as its first videos, so that what its list or the encoder lacks is told before hours over those of other tasks."""
    with suppress(Rehearsed):
        _run(task, Bench(task, recipe, subject, rehearsal))


def _measure(task: TaskConfig, recipe: PerceptionEvalConfig, subject: Subject, store: FeatureStore) -> Outcome:
    began = time.perf_counter()
    bench = Bench(task, recipe, subject, store)
    findings = _run(task, bench)
    return outcome_of(task, findings, bench.used, time.perf_counter() - began)


def _run(task: TaskConfig, bench: Bench) -> Findings:
    try:
        return TASKS[task.task](task, bench)
    except ValueError as error:
        raise ValueError(f"task {task.title}: {error}") from error


def _data(recipe: PerceptionEvalConfig, subject: Subject) -> dict[str, str]:
    """Return the fingerprint of each file that all tasks share; those of one task alone are in its outcome."""
    names = (*recipe.clips.manifest, *recipe.train, *recipe.unknown)
    found = {name: list_fingerprint(Path(name)) for name in names}
    for name, value in found.items():
        if value == "none":
            raise ManifestError(f"{name}: no such list of videos")
    return {"weights": subject.digest, **found}
