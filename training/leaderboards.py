"""The files that leaderboards of R2R-CE and RxR-CE take: written from a run's rows, read and validated.

R2R-CE: one JSON object {episode_id: [{"position": [x, y, z], "heading": radians, "stop": bool}, ...]}, one entry for the start and one
after each action. RxR-CE: JSON lines {"instruction_id": int, "path": [[x, y, z], ...]}, places in a row that are the same written once,
sorted by id, all languages in one file.

Source: VLN-CE, the inference of its base trainer, and its script that merges the languages.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from navloop.envs.episodes import EpisodeFile
from navloop.envs.simulator import Action
from navloop.files import write_text
from navloop.geometry import Vector, quaternion_to_heading, wrap_angle
from navloop.records import Episode
from navloop.training.rows import Row

LONGEST = 500
"""Actions that an episode of either benchmark may take, STOP included; a path has at most one place more."""

START_TOLERANCE = 0.01
"""Metres by which the first place of a path may miss the episode's start."""


class SubmissionError(ValueError):
    """A leaderboard file that would be refused, or score wrongly; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Path3D:
    """What a file says of one episode or instruction.

    Attributes:
        positions: float64 (N, 3), metres, the start first.
        headings: float64 (N,), radians; None in RxR's form, which has none.
        stopped: Whether the agent called STOP at the end; None in RxR's form, where every path ends in one.
    """

    positions: Vector
    headings: Vector | None = None
    stopped: bool | None = None


def write_submission(path: Path, walks: Iterable[tuple[EpisodeFile, Sequence[Row]]], turn: float) -> int:
    """Write the file for a leaderboard and return how many paths it has; the kind of the episodes decides the form.

    Args:
        path: Of the file.
        walks: Episode files, each with the rows of one agent over all of its episodes: one for R2R, one a language or all in one for RxR.
        turn: Radians of a turn, the protocol's: headings follow from it and the actions.

    Raises:
        SubmissionError: If the files are of both kinds, or a row is missing, there twice, or not of these episodes.
        OSError: If the file cannot be written.
    """
    listed = list(walks)
    kind = _kind([file for file, _ in listed])
    pairs = [pair for file, rows in listed for pair in _pairs(file, rows)]
    if kind == "r2r":
        entries = {episode.episode_id: _entries(episode, row, turn) for episode, row in pairs}
        _require_one_each([episode.episode_id for episode, _ in pairs], path, "episode")
        write_text(path, json.dumps(entries, allow_nan=False) + "\n")
        return len(entries)
    numbers = [_instruction_id(episode) for episode, _ in pairs]
    _require_one_each(list(map(str, numbers)), path, "instruction")
    lines = [
        {"instruction_id": number, "path": _without_repeats(row.positions).tolist()}
        for number, (_, row) in sorted(zip(numbers, pairs, strict=True), key=lambda pair: pair[0])
    ]
    write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
    return len(lines)


def read_submission(path: Path, files: Sequence[EpisodeFile]) -> dict[str, Path3D]:
    """Read and validate a leaderboard file, anybody's: every episode of the split once, finite numbers, starts and lengths as they must be.

    Args:
        path: Of the file.
        files: The split's episode files; all languages' for RxR.

    Returns:
        Paths by episode_id (R2R) or instruction_id (RxR), as text.

    Raises:
        SubmissionError: If anything is wrong, listing the first few faults.
    """
    kind = _kind(files)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path}: cannot be read ({error}); give the leaderboard's file") from error
    read = _read_r2r if kind == "r2r" else _read_rxr
    starts = {_key(episode, kind): episode.start_position for file in files for episode in file.episodes}
    found: dict[str, Path3D] = {}
    faults: list[str] = []
    for name, parsed in read(path, text):
        if isinstance(parsed, str):
            faults.append(f"{name}: {parsed}")
        elif name in found:
            faults.append(f"{name}: is there twice")
        elif name not in starts:
            faults.append(f"{name}: is not in {', '.join(file.split for file in files)}")
        else:
            found[name] = parsed
            faults += [f"{name}: {fault}" for fault in _path_faults(parsed, starts[name])]
    named = {fault.partition(":")[0] for fault in faults}
    if missing := [name for name in starts if name not in found and name not in named]:
        faults.append(f"{len(missing)} of {len(starts)} are missing, such as {', '.join(missing[:3])}")
    if faults:
        further = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise SubmissionError(f"{path}: would be refused: {'; '.join(faults[:5])}{further}")
    return found


def _kind(files: Sequence[EpisodeFile]) -> Literal["r2r", "rxr"]:
    kinds = {file.kind for file in files}
    if len(kinds) != 1:
        raise SubmissionError(
            f"episode files of {' and '.join(sorted(kinds)) or 'no kind'}; give those of one benchmark"
        )
    return files[0].kind


def _key(episode: Episode, kind: str) -> str:
    return episode.episode_id if kind == "r2r" else str(_instruction_id(episode))


def _instruction_id(episode: Episode) -> int:
    number = episode.instruction.extra.get("instruction_id")
    if type(number) not in (int, str) or not str(number).isdigit():
        raise SubmissionError(f"episode {episode.episode_id}: instruction_id is {number!r}, expected a whole number")
    return int(number)  # type: ignore[arg-type]


def _pairs(file: EpisodeFile, rows: Sequence[Row]) -> Iterator[tuple[Episode, Row]]:
    """Yield every episode of a file with its row."""
    by_id = {row.episode_id: row for row in rows}
    if len(by_id) < len(rows):
        raise SubmissionError(
            f"{len(rows) - len(by_id)} episodes of {file.split} have rows in more than one run; submit one run a split"
        )
    missing = [episode.episode_id for episode in file.episodes if episode.episode_id not in by_id]
    if missing:
        raise SubmissionError(
            f"{len(missing)} of {len(file.episodes)} episodes of {file.split} have no row, such as {missing[0]}; "
            "a leaderboard wants them all: evaluate them without max_episodes"
        )
    for episode in file.episodes:
        row = by_id[episode.episode_id]
        if float(np.linalg.norm(row.positions[0] - episode.start_position)) > START_TOLERANCE:
            raise SubmissionError(
                f"episode {episode.episode_id}: its row starts elsewhere: give the file that was evaluated; if it was that, its start was off the navmesh, "
                "which `navloop eval --conformance` tells"
            )
        if len(row.actions) > LONGEST:
            raise SubmissionError(
                f"episode {episode.episode_id}: {len(row.actions)} actions, at most {LONGEST} are allowed"
            )
        yield episode, row


def _entries(episode: Episode, row: Row, turn: float) -> list[dict[str, Any]]:
    left = np.cumsum((row.actions == Action.LEFT).astype(int) - (row.actions == Action.RIGHT).astype(int))
    start = quaternion_to_heading(episode.start_rotation)
    headings = [wrap_angle(start + turns * turn) for turns in [0, *left.tolist()]]
    stops = [False, *(row.actions == Action.STOP).tolist()]
    return [
        {"position": position, "heading": heading, "stop": stop}
        for position, heading, stop in zip(row.positions.tolist(), headings, stops, strict=True)
    ]


def _without_repeats(positions: Vector) -> Vector:
    kept = np.concatenate([[True], (np.diff(positions, axis=0) != 0).any(axis=1)])
    distinct: Vector = positions[kept]
    return distinct


def _require_one_each(names: Sequence[str], path: Path, kind: str) -> None:
    name, times = next(iter(Counter(names).most_common(1)), ("", 0))
    if times > 1:
        raise SubmissionError(f"{path}: {kind} {name} would be there {times} times; give each run once")


def _read_r2r(path: Path, text: str) -> Iterator[tuple[str, Path3D | str]]:
    data = _json(path, text, "")
    if not isinstance(data, dict):
        raise SubmissionError(f"{path}: is no JSON object by episode_id; give R2R-CE's form")
    for name, entries in data.items():
        try:
            positions = _positions([entry["position"] for entry in entries])
            headings = np.array([entry["heading"] for entry in entries], dtype=np.float64)
            stops = [entry["stop"] for entry in entries]
        except (TypeError, KeyError, ValueError) as error:
            yield name, f"entries are not {{position, heading, stop}} ({error!r})"
            continue
        if not all(isinstance(stop, bool) for stop in stops) or True in stops[:-1]:
            yield name, "stop must be true or false, and true at the last entry alone"
        elif headings.shape != (len(positions),) or not np.isfinite(headings).all():
            yield name, "a heading is not a finite number of radians"
        else:
            yield name, Path3D(positions, headings, stops[-1] if stops else False)


def _read_rxr(path: Path, text: str) -> Iterator[tuple[str, Path3D | str]]:
    last = -math.inf
    for number, line in enumerate(text.splitlines(), start=1):
        row = _json(path, line, f", line {number}")
        if not isinstance(row, dict) or type(row.get("instruction_id")) is not int:
            yield f"line {number}", "is not {instruction_id, path} with a whole number for an id"
            continue
        name = str(row["instruction_id"])
        try:
            positions = _positions(row.get("path"))
        except (TypeError, ValueError) as error:
            yield name, f"path is not a list of [x, y, z] ({error})"
            continue
        if row["instruction_id"] < last:
            yield name, "ids are not sorted"
        elif len(_without_repeats(positions)) < len(positions):
            yield name, "the same place is there twice in a row"
        else:
            yield name, Path3D(positions)
        last = row["instruction_id"]


def _json(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"{path}{where}: not JSON ({error}); give the whole file") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with a key twice, of which json would keep the last."""
    name, times = next(iter(Counter(name for name, _ in pairs).most_common(1)), ("", 0))
    if times > 1:
        raise ValueError(f"{name} is there {times} times")
    return dict(pairs)


def _positions(values: Any) -> Vector:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"shape {array.shape}, expected (places, 3)")
    return array


def _path_faults(found: Path3D, start: Vector) -> Iterator[str]:
    if not np.isfinite(found.positions).all():
        yield "a position is not finite"
        return
    if (gap := float(np.linalg.norm(found.positions[0] - start))) > START_TOLERANCE:
        yield f"begins {gap:.2f} m from the episode's start"
    if len(found.positions) > LONGEST + 1:
        yield f"has {len(found.positions)} places, at most {LONGEST + 1} are allowed"


def summarise(found: Mapping[str, Path3D]) -> str:
    """Return what there is to say of a valid file: "1,839 paths, 57.3 places each on average, 100% stopped"."""
    places = sum(len(path.positions) for path in found.values()) / max(len(found), 1)
    words = f"{len(found):,} paths, {places:.1f} places each on average"
    stops = [path.stopped for path in found.values() if path.stopped is not None]
    return f"{words}, {100 * sum(stops) / len(stops):.0f}% stopped" if stops else words
