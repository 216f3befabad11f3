"""Whether a benchmark would tell the truth: every episode's ground truth walked again in the world that agents are to be measured in."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import navloop
from navloop.configs.loader import dump
from navloop.configs.schema import EvalConfig
from navloop.envs.metrics import Metrics
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator
from navloop.files import write_text
from navloop.processes import end_with_the_parent
from navloop.provenance import usable_processors
from navloop.records import Episode
from navloop.runs import RunFolder
from navloop.training.conformance_checks import CHECKS, Examined, Finding, Tolerances, examine
from navloop.training.evaluation import Selection, read_selection
from navloop.training.results import selection_fingerprint

FORMAT = "navloop-conformance-1"

CHUNK = 60
"""Episodes of one scene that a worker takes at a time."""


class ConformanceError(RuntimeError):
    """A benchmark that would lie; the message says what differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What was found.

    Attributes:
        terms: What it holds for: world and its versions, protocol and its fingerprint, fingerprints of the data, tolerances.
        episodes: How many were examined.
        replayed: How many of them had a ground truth that could be walked.
        findings: What differs, in the order of the episodes.
        measured: Over the replays: the largest drift (metres) and geodesic error (share), means of SR, SPL and nDTW; None without any.
    """

    terms: Mapping[str, Any]
    episodes: int
    replayed: int
    findings: Sequence[Finding] = field(default=())
    measured: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def faults(self) -> list[Finding]:
        """The findings for which a benchmark would lie."""
        counted = {"fault"}
        for severity in ("lost", "apart"):
            concerned = {finding.episode_id for finding in self.findings if finding.severity == severity}
            if len(concerned) > self.terms["tolerances"][severity] * self.episodes:
                counted.add(severity)
        return [finding for finding in self.findings if finding.severity in counted]


def check_conformance(config: EvalConfig, run_dir: Path, console: Console | None = None) -> Conformance:
    """Examine every episode that a benchmark is over, and write what was found to `conformance.json` in its run folder.

    An examination that passed is not made again while world, versions, protocol and data are the same.

    Args:
        config: Of the benchmark.
        run_dir: Its run folder, new or begun.
        console: Where to show the progress; None shows nothing.

    Raises:
        ValueError: If the config names what does not exist, or the folder holds another run.
        OSError: If the folder cannot be written.
    """
    selection = read_selection(config)
    terms = _terms(config, selection)
    path = run_dir / "conformance.json"
    earlier = read_conformance(path) if path.is_file() else None
    if earlier is not None and earlier.terms == terms and not earlier.faults:
        return earlier
    with RunFolder(run_dir).open(dump(config), selection.data, config.RESUMABLE):
        found = _examine_all(config, selection.episodes, console)
        conformance = _account(terms, [found[episode.episode_id] for episode in selection.episodes])
        write_text(path, json.dumps({"format": FORMAT, **asdict(conformance)}, indent=1, allow_nan=False) + "\n")
    return conformance


def require_conformance(conformance: Conformance) -> None:
    """Refuse a benchmark that would lie.

    Raises:
        ConformanceError: If there is a fault, counting episodes by check.
    """
    if not conformance.faults:
        return
    episodes = {finding.episode_id for finding in conformance.faults}
    counts = {check: len({f.episode_id for f in conformance.faults if f.check == check}) for check in CHECKS}
    listed = ", ".join(f"{check} {count}" for check, count in counts.items() if count)
    raise ConformanceError(
        f"{len(episodes)} of {conformance.episodes} episodes are not what their files say ({listed}); "
        "scores over them would not be the benchmark's, so nobody was evaluated"
    )


def read_conformance(path: Path) -> Conformance:
    """Read what `check_conformance` wrote.

    Raises:
        ValueError: If the file is not of this format, naming it.
    """
    try:
        data = json.loads(path.read_text())
        if (found := data.pop("format")) != FORMAT:
            raise ValueError(f"its format is {found}, here it is {FORMAT}")
        findings = tuple(Finding(**finding) for finding in data.pop("findings"))
        return Conformance(**data, findings=findings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not an account of conformance ({error}); delete it and check again") from error


def print_conformance(conformance: Conformance, console: Console) -> None:
    """Print what differs, by check and cause with episodes to look at, and what the ground truth scores."""
    terms, words = conformance.terms, []
    if conformance.replayed < conformance.episodes:
        words.append(f"{conformance.episodes - conformance.replayed} not replayed")
    for name, value in conformance.measured.items():
        if value is not None:
            words.append(f"{name} {value:.2g}" if name.startswith("largest") else f"{name} {value:.3f}")
    title = f"{terms['protocol']}  {terms['split']}  {conformance.episodes} episodes in world {terms['world']}"
    if not conformance.findings:
        console.print(f"[bold]{title}[/bold]: every episode is what its files say", highlight=False)
    else:
        console.print(_table(conformance, title))
    console.print(f"ground truth walked again: {'; '.join(words)}", highlight=False, soft_wrap=True)


def _table(conformance: Conformance, title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    for column in ("check", "", "episodes", "at worst", "such as"):
        table.add_column(column, no_wrap=column != "such as", justify="right" if column == "episodes" else "left")
    table.add_column("what and why", ratio=1)
    groups: dict[tuple[int, str, str], list[Finding]] = {}
    for finding in conformance.findings:
        groups.setdefault((CHECKS.index(finding.check), finding.severity, finding.cause), []).append(finding)
    for (check, severity, cause), findings in sorted(groups.items(), key=lambda item: item[0]):
        amounts = [finding.value for finding in findings if finding.value is not None]
        worst = f"{_worst(findings[0], amounts):.3g} {findings[0].unit}".strip() if amounts else ""
        some = ", ".join(dict.fromkeys(finding.episode_id for finding in findings[:3]))
        count = len({finding.episode_id for finding in findings})
        table.add_row(CHECKS[check], severity, str(count), worst, some, cause)
    return table


def _worst(finding: Finding, amounts: Sequence[float]) -> float:
    return max(amounts) if finding.unit == "m" else min(amounts)


def _terms(config: EvalConfig, selection: Selection) -> dict[str, Any]:
    protocol = get_protocol(config.protocol)
    return {
        "world": config.world,
        "versions": {"navloop": navloop.__version__, **_versions(config.world)},
        "protocol": protocol.label,
        "protocol_fingerprint": protocol.fingerprint,
        "split": selection.split,
        "selection": selection_fingerprint([episode.episode_id for episode in selection.episodes]),
        "data": dict(selection.data),
        "tolerances": asdict(Tolerances()),
    }


def _versions(world: str) -> dict[str, str]:
    """Return the versions of what a world is made of, where it is somebody else's."""
    if world != "habitat":
        return {}
    from navloop.envs.habitat.versions import find_habitat

    found = find_habitat()
    return {"habitat-sim": found.sim, "habitat-lab": found.lab}


def _examine_all(config: EvalConfig, episodes: Sequence[Episode], console: Console | None) -> dict[str, Examined]:
    chunks = _chunks(episodes)
    shown = console is not None and console.is_terminal
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    found: dict[str, Examined] = {}
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task("conformance", total=len(episodes))
        for part in _examined(config, chunks, config.workers or usable_processors()):
            found |= part
            bar.update(task, completed=len(found))
    return found


def _chunks(episodes: Sequence[Episode]) -> list[list[Episode]]:
    scenes: dict[str, list[Episode]] = {}
    for episode in episodes:
        scenes.setdefault(episode.scene_id, []).append(episode)
    return [listed[i : i + CHUNK] for listed in scenes.values() for i in range(0, len(listed), CHUNK)]


def _examined(config: EvalConfig, chunks: Sequence[Sequence[Episode]], workers: int) -> Iterator[dict[str, Examined]]:
    examine_chunk = partial(_examine_chunk, config)
    if workers <= 1 or len(chunks) <= 1:
        yield from map(examine_chunk, chunks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context, initializer=end_with_the_parent)
    try:
        for future in as_completed([pool.submit(examine_chunk, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _examine_chunk(config: EvalConfig, episodes: Sequence[Episode]) -> dict[str, Examined]:
    protocol = get_protocol(config.protocol).with_cameras([])
    simulator = create_simulator(config.world, config.scenes, protocol, **config.world_settings)
    try:
        return {episode.episode_id: examine(simulator, episode, protocol) for episode in episodes}
    finally:
        simulator.close()


def _account(terms: Mapping[str, Any], examined: Sequence[Examined]) -> Conformance:
    metrics = [one.metrics for one in examined if one.metrics is not None]
    return Conformance(
        terms=terms,
        episodes=len(examined),
        replayed=len(metrics),
        findings=tuple(finding for one in examined for finding in one.findings),
        measured={
            "SR": _mean(metrics, "success"),
            "SPL": _mean(metrics, "spl"),
            "nDTW": _mean(metrics, "ndtw"),
            "largest drift in metres": max((one.drift for one in examined if one.drift is not None), default=None),
            "largest geodesic error as a share": max(
                (one.geodesic_error for one in examined if one.geodesic_error is not None), default=None
            ),
        },
    )


def _mean(metrics: Sequence[Metrics], name: str) -> float | None:
    values = [value for one in metrics if (value := getattr(one, name)) is not None]
    return math.fsum(values) / len(values) if values else None
