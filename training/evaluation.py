"""A benchmark run: every agent on every episode, by any number of processes, resumed exactly where it was left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from navloop.configs.loader import dump
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import EpisodeFile, read_episodes, select
from navloop.envs.habitat.scenes import require_dataset
from navloop.envs.protocols import get_protocol, require_comparable
from navloop.envs.worlds import require_world, world_name
from navloop.files import fingerprint
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.runs import RunFolder
from navloop.training.controls import shuffle_instructions
from navloop.training.entrants import Entrant, find_entrants
from navloop.training.preparation import prepare_workers
from navloop.training.progress import EvaluationProgress
from navloop.training.results import (
    Evaluation,
    Header,
    Session,
    read_evaluation,
    rows_file,
    selection_fingerprint,
    write_header,
    write_summary,
)
from navloop.training.rows import Row, RowWriter, read_rows, sort_rows
from navloop.training.scene_files import require_scene_files
from navloop.training.workers import Job, run_jobs


def evaluate(config: EvalConfig, run_dir: Path, console: Console | None = None) -> Evaluation:
    """Return each agent's rows over the episodes of a split, walking those that the run folder does not have yet.

    A row depends on (seed, episode, agent, protocol, scene) alone, so that the files of a run that was killed and resumed, with however
    many workers, equal those of one that was not. The folder gets `rows/<agent>.jsonl`, `header.json`, `summary.json`, and the run's
    own files (`navloop.runs`). Agents that an earlier start walked and this config leaves out stay in all of them.

    Args:
        config: What to measure.
        run_dir: Folder of the run, new or begun.
        console: Where to show the progress; None shows nothing.

    Raises:
        ValueError: If the config names what does not exist, or the folder holds another run.
        WorkerError: If an episode cannot be walked. What was finished is kept.
        OSError: If the folder cannot be written.
    """
    protocol = get_protocol(config.protocol, config.pixels, config.depth)
    require_world(config.world)
    prepare_workers(config)
    entrants = find_entrants(config)
    split, episodes, data, others = read_selection(config)
    with RunFolder(run_dir).open(dump(config), data, config.RESUMABLE):
        header = Header(
            protocol=protocol.label,
            protocol_fingerprint=protocol.fingerprint,
            protocol_fields=protocol.fields(),
            data=data,
            selection=selection_fingerprint([episode.episode_id for episode in episodes]),
            split=split,
            episodes=len(episodes),
            seed=config.seed,
            weights={entrant.label: entrant.weights for entrant in entrants},
            cameras={entrant.label: list(entrant.cameras) for entrant in entrants},
            world=world_name(config.world),
            temperature=config.temperature,
            sources={
                entrant.label: f"{entrant.kind}:{entrant.source}" for entrant in entrants if entrant.weights is None
            },
        )
        if (run_dir / "header.json").is_file():
            header = _continued(header, read_evaluation(run_dir))
        write_header(run_dir, header)
        try:
            _Run(config, run_dir, header, entrants).walk_missing(episodes, others, console)
        except BaseException:
            with suppress(OSError):  # on a full disk the first error is the one to tell
                write_summary(read_evaluation(run_dir))
            raise
        write_summary(read_evaluation(run_dir))
    return read_evaluation(run_dir)


class Selection(NamedTuple):
    """What a benchmark is over.

    Attributes:
        split: Name of the split.
        episodes: Those that the config asks for, in the file's order.
        data: Fingerprint by what it is of.
        spoken: All episodes of the file in a language of the protocol, from which shuffled instructions are drawn.
    """

    split: str
    episodes: list[Episode]
    data: dict[str, str]
    spoken: Sequence[Episode]


def read_selection(config: EvalConfig) -> Selection:
    """Return the episodes that a config asks for, in a language of its protocol.

    Raises:
        ValueError: If there are none, a file or scene is missing or broken, or the world is not installed.
    """
    require_world(config.world)
    protocol = get_protocol(config.protocol, config.pixels, config.depth)
    file = read_episodes(Path(config.episodes))
    spoken = select(file.episodes, languages=protocol.languages)
    if not spoken:
        raise ValueError(
            f"{config.episodes}: none of its {len(file.episodes)} episodes is in a language of {protocol.label} "
            f"({', '.join(protocol.languages)}); choose another file or protocol"
        )
    episodes = select_episodes(spoken, config.max_episodes, config.seed)
    return Selection(file.split, episodes, _data_fingerprints(file, config, episodes), spoken)


def select_episodes(episodes: Sequence[Episode], count: int | None, seed: int) -> list[Episode]:
    """Return `count` episodes in the file's order, drawn with the seed and as evenly over scenes as they allow; None returns all."""
    if count is None or count >= len(episodes):
        return list(episodes)
    rng = np.random.default_rng(seed)
    order: dict[str, list[int]] = {}
    for number in rng.permutation(len(episodes)).tolist():
        order.setdefault(episodes[number].scene_id, []).append(number)
    # The nth draw of every scene comes before the (n + 1)th of any.
    turns = [(turn, scene, number) for scene, numbers in order.items() for turn, number in enumerate(numbers)]
    return [episodes[number] for number in sorted(number for _, _, number in sorted(turns)[:count])]


@dataclass(frozen=True, slots=True)
class _Run:
    """An evaluation under way."""

    config: EvalConfig
    folder: Path
    header: Header
    entrants: Sequence[Entrant]

    def walk_missing(self, episodes: Sequence[Episode], spoken: Sequence[Episode], console: Console | None) -> None:
        """Walk what has no row yet, and leave the rows of each agent in the episodes' order."""
        labels = [entrant.label for entrant in self.entrants]
        done = {label: read_rows(rows_file(self.folder, label)) for label in labels}
        jobs = [job for entrant in self.entrants for job in self._jobs(entrant, episodes, spoken, done[entrant.label])]
        if jobs:
            self._walk(jobs, done, console)
        order = [episode.episode_id for episode in episodes]
        for label in labels:
            if [row.episode_id for row in read_rows(rows_file(self.folder, label))] != order:
                sort_rows(rows_file(self.folder, label), order)

    def _jobs(
        self, entrant: Entrant, episodes: Sequence[Episode], spoken: Sequence[Episode], done: Sequence[Row]
    ) -> list[Job]:
        ids = {row.episode_id for row in done}
        missing = [episode for episode in episodes if episode.episode_id not in ids]
        if entrant.control == "shuffled" and missing:
            told = shuffle_instructions(spoken, self.config.seed)
            missing = [replace(episode, instruction=told[episode.episode_id]) for episode in missing]
        return [Job(entrant.label, episode) for episode in missing]

    def _walk(self, jobs: Sequence[Job], done: Mapping[str, Sequence[Row]], console: Console | None) -> None:
        workers = self.config.workers or usable_processors()
        walked: dict[str, int] = {}
        steps, began = 0, time.monotonic()
        try:
            with ExitStack() as stack:
                writers = {
                    label: stack.enter_context(closing(RowWriter(rows_file(self.folder, label)))) for label in done
                }
                progress = stack.enter_context(closing(EvaluationProgress(console, done, self.header.episodes)))
                for job, row in run_jobs(self.config, self.entrants, jobs, workers):
                    writers[job.agent].add([row])
                    walked[job.agent] = walked.get(job.agent, 0) + 1
                    steps += len(row.actions)
                    progress.add(job.agent, row)
        finally:
            session = Session(
                workers=workers,
                episodes=sum(walked.values()),
                steps=steps,
                seconds=round(time.monotonic() - began, 3),
                agents=list(walked),
            )
            write_header(self.folder, replace(self.header, sessions=[*self.header.sessions, session]))


def _continued(header: Header, earlier: Evaluation) -> Header:
    """Add to a header the sessions so far, and the agents that have rows although the config asks for them no more.

    Raises:
        ValueError: If the protocol of that name has changed since, the world, or an agent's weights.
    """
    before = earlier.header
    if header.world != before.world != "" and any(earlier.rows.values()):
        raise ValueError(
            f"{earlier.folder}: its rows were walked in {before.world}, and this is {header.world}; take another --run-dir, or go on where it was begun"
        )
    try:
        require_comparable(before.terms, header.terms)
    except ValueError as error:
        raise ValueError(f"{earlier.folder}: {error}; its rows are of the first: take another --run-dir") from None
    for agent, weights in header.weights.items():
        rows, old = earlier.rows.get(agent, ()), before.weights.get(agent)
        if rows and weights != old:
            raise ValueError(
                f"{earlier.folder}: its {len(rows)} rows of {agent} are of other weights ({old or 'none'}) than it has now "
                f"({weights or 'none'}); enter it under another name ('other=FOLDER'), take another --run-dir, or delete "
                f"{rows_file(earlier.folder, agent)}"
            )
    for agent, source in header.sources.items():
        old = before.sources.get(agent, source)  # earlier versions did not say
        if earlier.rows.get(agent) and source != old:
            raise ValueError(
                f"{earlier.folder}: its {len(earlier.rows[agent])} rows of {agent} are of {old}, and now it is {source}; enter it under another name, "
                f"take another --run-dir, or delete {rows_file(earlier.folder, agent)}"
            )
    kept = [agent for agent, rows in earlier.rows.items() if rows and agent not in header.weights]
    return replace(
        header,
        weights={**header.weights, **{agent: before.weights[agent] for agent in kept}},
        cameras={**header.cameras, **{agent: before.cameras[agent] for agent in kept}},
        sources={**header.sources, **{agent: before.sources[agent] for agent in kept if agent in before.sources}},
        sessions=before.sessions,
    )


def _data_fingerprints(file: EpisodeFile, config: EvalConfig, episodes: Sequence[Episode]) -> dict[str, str]:
    """Fingerprint everything outside the config that a row depends on."""
    walks = [episode.ground_truth.locations.tobytes() for episode in episodes if episode.ground_truth is not None]
    return {
        "episodes": file.fingerprint,
        "ground truth": fingerprint(*walks) if walks else "none",
        "scenes": _scenes_fingerprint(config, episodes),
    }


def _scenes_fingerprint(config: EvalConfig, episodes: Sequence[Episode]) -> str:
    """Fingerprint the scenes walked in: each file with what lies beside it under the same name (rooms, navmesh), and their data set."""
    scenes = Path(config.scenes)
    parts: list[bytes | Path] = []
    if config.scene_dataset_config is not None:
        require_dataset(Path(config.scene_dataset_config))
        parts.append(Path(config.scene_dataset_config))
    scene_ids = sorted({episode.scene_id for episode in episodes})
    if config.scene_dataset_config is None:
        require_scene_files(scenes, scene_ids)
    for scene_id in scene_ids:
        scene = scenes / scene_id
        if not scene.is_file():
            parts.append(scene_id.encode())  # an instance of the data set, made of many files
            continue
        parts += [scene_id.encode(), *sorted(scene.parent.glob(f"{scene.stem}.*"))]
    return fingerprint(*parts)
