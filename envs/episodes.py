"""Episode files of R2R-VLNCE and RxR-VLNCE: read, checked, and written so that habitat-lab and VLN-CE read them too.

An R2R file is {split}/{split}.json.gz = {"episodes": [...], "instruction_vocab": {...}} (the vocabulary in preprocessed releases only);
an RxR file is {split}/{split}_{guide|follower}.json.gz without a vocabulary. Their ground truth lies beside them, with "_gt" before the
suffixes: {episode_id: {"locations": [[x, y, z], ...], "actions": [int, ...], "forward_steps": int}}. Test splits have no goals.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from navloop.envs.episode_rows import (
    SCENES_PREFIX,
    format_episode,
    format_truth,
    non_finite_field,
    parse_episode,
    parse_truth,
)
from navloop.files import fingerprint, write_bytes
from navloop.records import Episode
from navloop.registry import nearest

__all__ = [
    "SCENES_PREFIX",
    "EpisodeError",
    "EpisodeFile",
    "ground_truth_path",
    "read_episodes",
    "select",
    "write_episodes",
    "write_ground_truth",
]

T = TypeVar("T")

_AGAIN = "download it or write it again"


class EpisodeError(ValueError):
    """An episode file that cannot be read or written; the message names the file, the episode, the field and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFile:
    """The episodes of one file.

    Attributes:
        path: Where it was read from.
        kind: "r2r" or "rxr".
        split: Name of the split, "val_unseen"; with the role for RxR, "val_unseen_guide".
        episodes: In the file's order.
        vocabulary: The file's instruction_vocab, as it is, or None.
        fingerprint: "sha256:" and 16 hex digits over the unpacked content, without the ground truth: packing it anew changes nothing.
    """

    path: Path
    kind: Literal["r2r", "rxr"]
    split: str
    episodes: tuple[Episode, ...]
    vocabulary: Mapping[str, Any] | None
    fingerprint: str


def read_episodes(path: Path, ground_truth: Path | Literal["auto"] | None = "auto") -> EpisodeFile:
    """Read an episode file, and its ground truth where there is one.

    Args:
        path: A .json.gz or .json file.
        ground_truth: Its file; "auto" takes the one beside `path` if it is there; None reads none.

    Raises:
        EpisodeError: If a file is missing, torn or not of this schema, if a number is none, an id there twice, or an episode without
            its ground truth.
    """
    path = Path(path)
    content = _unpack(path)
    data = _parse(path, content)
    if not isinstance(data, dict) or not isinstance(data.get("episodes"), list):
        raise EpisodeError(f"{path}: has no list 'episodes'; give an R2R-VLNCE or RxR-VLNCE episode file")
    rows = data["episodes"]
    _require_finite(path, content, {str(_name(row, i)): row for i, row in enumerate(rows)})
    episodes = [_parse_row(path, _name(row, i), parse_episode, row) for i, row in enumerate(rows)]
    _require_unique(path, episodes)
    truths = _truth_file(path, ground_truth)
    if truths is not None:
        episodes = _with_truths(path, episodes, truths)
    split = path.name.removesuffix(".gz").removesuffix(".json")
    timed = any("instruction_id" in episode.instruction.extra for episode in episodes[:1])
    return EpisodeFile(
        path=path,
        kind="rxr" if timed or split.endswith(("_guide", "_follower")) else "r2r",
        split=split,
        episodes=tuple(episodes),
        vocabulary=data.get("instruction_vocab"),
        fingerprint=fingerprint(content),
    )


def ground_truth_path(path: Path) -> Path:
    """Return where the ground truth of an episode file lies: "val_seen.json.gz" has "val_seen_gt.json.gz"."""
    stem, dot, suffix = path.name.partition(".")
    return path.with_name(f"{stem}_gt{dot}{suffix}")


def write_episodes(path: Path, episodes: Sequence[Episode], vocabulary: Mapping[str, Any] | None = None) -> None:
    """Write an episode file, whole or not at all; equal episodes give equal bytes. Ground truth is written apart.

    Ids that are whole numbers are written as numbers, as in the R2R-VLNCE release, unless they were read as text.

    Args:
        path: A .json.gz or .json file.
        episodes: In the file's order; ids unique.
        vocabulary: The file's instruction_vocab; habitat-lab's loader demands one of R2R files.

    Raises:
        EpisodeError: If an id is there twice or a number is not finite: nobody could read the file.
        OSError: If the folder cannot be written.
    """
    _require_unique(path, episodes)
    data: dict[str, Any] = {"episodes": [format_episode(episode) for episode in episodes]}
    if vocabulary is not None:
        data["instruction_vocab"] = dict(vocabulary)
    _write(path, data)


def write_ground_truth(path: Path, episodes: Sequence[Episode]) -> None:
    """Write the ground truth of episodes, whole or not at all; equal ones give equal bytes.

    Raises:
        EpisodeError: If an episode has none, an id is there twice or a number is not finite.
        OSError: If the folder cannot be written.
    """
    _require_unique(path, episodes)
    data: dict[str, Any] = {}
    for episode in episodes:
        if episode.ground_truth is None:
            raise EpisodeError(f"{path}: episode {episode.episode_id} has no ground truth to write; leave it out")
        data[episode.episode_id] = format_truth(episode.ground_truth)
    _write(path, data)


def select(
    episodes: Iterable[Episode],
    *,
    scenes: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    languages: Iterable[str] | None = None,
    count: int | None = None,
) -> tuple[Episode, ...]:
    """Return the episodes that pass every filter given, in their order.

    Args:
        episodes: What to choose from.
        scenes: Scene ids, or their file name without suffix: "zsNo4HB9uLZ".
        ids: Episode ids.
        languages: Language tags or their first part: "en" takes "en-US" and "en-IN".
        count: At most so many, from the first; at least 0.

    Raises:
        EpisodeError: If no episode has one of the scenes or ids, naming it and the nearest; or if `count` is negative.
    """
    kept = list(episodes)
    if scenes is not None:
        wanted = _require_known("scene", scenes, [n for e in kept for n in (e.scene_id, Path(e.scene_id).stem)])
        kept = [e for e in kept if e.scene_id in wanted or Path(e.scene_id).stem in wanted]
    if ids is not None:
        wanted = _require_known("episode", ids, [e.episode_id for e in kept])
        kept = [e for e in kept if e.episode_id in wanted]
    if languages is not None:
        wanted = set(languages)
        kept = [e for e in kept if {e.instruction.language, e.instruction.language.split("-")[0]} & wanted]
    if count is not None and count < 0:
        raise EpisodeError(f"count of episodes is {count}, expected 0 or more")
    return tuple(kept[:count])


def _require_known(kind: str, names: Iterable[str], known: Sequence[str]) -> set[str]:
    wanted, there = set(names), set(known)
    for name in sorted(wanted - there):
        mend = nearest(name, sorted(there)) if 0 < len(there) <= 200 else f"{len(there)} others are there"
        raise EpisodeError(f"no {kind} {name!r} among the episodes; {mend}")
    return wanted


def _unpack(path: Path) -> bytes:
    if not path.is_file():
        raise EpisodeError(f"{path}: no such episode file; check the path, or write episodes with `navloop houses`")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EpisodeError(f"{path}: torn or not gzip ({error}); {_AGAIN}") from error


def _parse(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EpisodeError(f"{path}: not JSON ({error}); {_AGAIN}") from error


def _parse_row(path: Path, name: str, parse: Callable[[Any], T], row: Any) -> T:
    try:
        return parse(row)
    except ValueError as error:
        raise EpisodeError(f"{path}: episode {name}: {error}") from error


def _name(row: Any, number: int) -> str:
    """The episode_id of a row, or its place in the file."""
    identifier = row.get("episode_id") if isinstance(row, dict) else None
    return f"number {number} from 0" if identifier is None else str(identifier)


def _require_finite(path: Path, content: bytes, rows: Mapping[str, Any]) -> None:
    """Refuse nan and infinity anywhere, also where no record looks; the words are searched first, since they are rare."""
    if b"NaN" not in content and b"Infinity" not in content:
        return
    for name, row in rows.items():
        field = non_finite_field(row)
        if field is not None:
            raise EpisodeError(f"{path}: episode {name}: {field} is not a finite number; correct it or {_AGAIN}")


def _require_unique(path: Path, episodes: Iterable[Episode]) -> None:
    identifier, times = next(iter(Counter(episode.episode_id for episode in episodes).most_common(1)), ("", 0))
    if times > 1:
        raise EpisodeError(f"{path}: episode_id {identifier} is there {times} times; give each episode its own")


def _truth_file(path: Path, ground_truth: Path | Literal["auto"] | None) -> Path | None:
    if ground_truth is None:
        return None
    if ground_truth == "auto":
        beside = ground_truth_path(path)
        return beside if beside.is_file() else None
    return Path(ground_truth)


def _with_truths(path: Path, episodes: Sequence[Episode], file: Path) -> list[Episode]:
    content = _unpack(file)
    rows = _parse(file, content)
    if not isinstance(rows, dict):
        raise EpisodeError(f"{file}: is not an object by episode id; give a ground-truth file")
    _require_finite(file, content, rows)
    joined = []
    for episode in episodes:
        name = episode.episode_id
        if name not in rows:
            raise EpisodeError(
                f"{file}: lacks episode {name} of {path.name}; take the two files from one release, or read without ground truth"
            )
        joined.append(replace(episode, ground_truth=_parse_row(file, name, parse_truth, rows[name])))
    return joined


def _write(path: Path, data: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError as error:
        where = non_finite_field(dict(data)) or "a field"
        raise EpisodeError(f"{path}: {where} is not a finite number; correct the episode before writing") from error
    content = text.encode()
    # Level 6: a fifth of the time of 9 for a hundredth more bytes. No time stamp: equal content, equal bytes.
    write_bytes(path, gzip.compress(content, 6, mtime=0) if path.suffix == ".gz" else content)
