"""Episode files of R2R-VLNCE and RxR-VLNCE: read, checked, and written so that habitat-lab and VLN-CE read them too.

An R2R file is {split}/{split}.json.gz = {"episodes": [...], "instruction_vocab": {...}} (the vocabulary in preprocessed releases only);
an RxR file is {split}/{split}_{guide|follower}.json.gz without a vocabulary. Their ground truth lies beside them, with "_gt" before the
suffixes: {episode_id: {"locations": [[x, y, z], ...], "forward_steps": int, "actions": [int, ...]}}. Test splits have no goals.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from navloop.files import fingerprint, write_bytes
from navloop.geometry import Vector
from navloop.records import Episode, GroundTruth, Instruction

SCENES_PREFIX = "data/scene_datasets/"
"""What habitat writes before scene ids; it is dropped here, as habitat-lab's loader does."""

_KNOWN = {
    "episode_id", "trajectory_id", "scene_id", "start_position", "start_rotation", "goals", "reference_path", "instruction", "info",
}  # fmt: skip


class EpisodeError(ValueError):
    """An episode file that cannot be read; the message names the file, the episode, the field and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFile:
    """The episodes of one file.

    Attributes:
        path: Where it was read from.
        kind: "r2r" or "rxr".
        split: Name of the split, "val_unseen"; with the role for RxR, "val_unseen_guide".
        episodes: In the file's order.
        vocabulary: The file's instruction_vocab, or None.
        fingerprint: "sha256:" and 16 hex digits over the unpacked content: packing it anew changes nothing.
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
        EpisodeError: If a file is missing, torn, not of this schema, or has numbers that are none.
    """
    content = _unpack(path)
    data = _parse(path, content)
    if not isinstance(data, dict) or not isinstance(data.get("episodes"), list):
        raise EpisodeError(f"{path}: has no list 'episodes'; give an R2R-VLNCE or RxR-VLNCE episode file")
    truths = _read_truths(
        ground_truth_path(path) if ground_truth == "auto" else ground_truth, optional=ground_truth == "auto"
    )
    episodes = tuple(_episode(path, row) for row in data["episodes"])
    _require_unique(path, episodes)
    if truths is not None:
        episodes = tuple(_with_truth(path, episode, truths) for episode in episodes)
    kind: Literal["r2r", "rxr"] = "rxr" if any("instruction_id" in e.instruction.extra for e in episodes[:1]) else "r2r"
    split = path.name.removesuffix(".gz").removesuffix(".json")
    return EpisodeFile(
        path=path,
        kind=kind,
        split=split,
        episodes=episodes,
        vocabulary=data.get("instruction_vocab"),
        fingerprint=fingerprint(content),
    )


def ground_truth_path(path: Path) -> Path:
    """Return where the ground truth of an episode file lies: "val_seen.json.gz" has "val_seen_gt.json.gz"."""
    stem, dot, suffix = path.name.partition(".")
    return path.with_name(f"{stem}_gt{dot}{suffix}")


def write_episodes(path: Path, episodes: Sequence[Episode], vocabulary: Mapping[str, Any] | None = None) -> None:
    """Write an episode file, whole or not at all; equal episodes give equal bytes.

    Args:
        path: A .json.gz file.
        episodes: Ids that are whole numbers are written as numbers, as in the releases.
        vocabulary: The file's instruction_vocab; habitat-lab's loader demands one.
    """
    data: dict[str, Any] = {"episodes": [_row(episode) for episode in episodes]}
    if vocabulary is not None:
        data["instruction_vocab"] = dict(vocabulary)
    write_bytes(path, _pack(data))


def write_ground_truth(path: Path, episodes: Sequence[Episode]) -> None:
    """Write the ground truth of episodes, whole or not at all.

    Raises:
        EpisodeError: If an episode has none.
    """
    data: dict[str, Any] = {}
    for episode in episodes:
        truth = episode.ground_truth
        if truth is None:
            raise EpisodeError(f"{path}: episode {episode.episode_id} has no ground truth to write")
        row: dict[str, Any] = {"locations": truth.locations.tolist(), "forward_steps": truth.forward_steps}
        if truth.actions is not None:
            row["actions"] = truth.actions.tolist()
        data[episode.episode_id] = row
    write_bytes(path, _pack(data))


def select(
    episodes: Iterable[Episode],
    *,
    scenes: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    languages: Iterable[str] | None = None,
) -> tuple[Episode, ...]:
    """Return the episodes that pass every filter given, in their order.

    Args:
        episodes: What to choose from.
        scenes: Scene ids, or their last folder or file name: "zsNo4HB9uLZ".
        ids: Episode ids.
        languages: Language tags or their first part: "en" takes "en-US" and "en-IN".
    """
    kept = list(episodes)
    if scenes is not None:
        wanted = set(scenes)
        kept = [e for e in kept if e.scene_id in wanted or Path(e.scene_id).stem in wanted]
    if ids is not None:
        wanted = set(ids)
        kept = [e for e in kept if e.episode_id in wanted]
    if languages is not None:
        wanted = set(languages)
        kept = [e for e in kept if e.instruction.language in wanted or e.instruction.language.split("-")[0] in wanted]
    return tuple(kept)


def _unpack(path: Path) -> bytes:
    if not path.is_file():
        raise EpisodeError(f"{path}: no such episode file; check the path, or write episodes with `navloop houses`")
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EpisodeError(f"{path}: torn or not gzip ({error}); download or write it again") from error


def _parse(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, UnicodeDecodeError) as error:
        raise EpisodeError(f"{path}: not JSON ({error}); download or write it again") from error


def _pack(data: Mapping[str, Any]) -> bytes:
    return gzip.compress(json.dumps(data, allow_nan=False).encode(), mtime=0)


def _episode(path: Path, row: Any) -> Episode:
    """Check one row of a file."""
    name = str(row.get("episode_id", "?")) if isinstance(row, dict) else "?"
    try:
        goals, told = row.get("goals") or [], row["instruction"]
        path_given = row.get("reference_path")
        return Episode(
            episode_id=str(row["episode_id"]),
            trajectory_id=str(row["trajectory_id"]),
            scene_id=str(row["scene_id"]).removeprefix(SCENES_PREFIX),
            start_position=_numbers("start_position", row["start_position"], (3,)),
            start_rotation=_numbers("start_rotation", row["start_rotation"], (4,)),
            instruction=_instruction(told),
            goal_position=_numbers("goals[0].position", goals[0]["position"], (3,)) if goals else None,
            goal_radius=None if not goals or goals[0].get("radius") is None else float(goals[0]["radius"]),
            reference_path=None if path_given is None else _numbers("reference_path", path_given, (-1, 3)),
            info={**(row.get("info") or {}), **{key: row[key] for key in row.keys() - _KNOWN}},
        )
    except KeyError as error:
        raise EpisodeError(f"{path}: episode {name} lacks the field {error}; give a whole episode file") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise EpisodeError(
            f"{path}: episode {name} is not of this schema ({error}); give a whole episode file"
        ) from error
    except ValueError as error:
        raise EpisodeError(f"{path}: episode {name}: {error}") from error


def _instruction(told: Mapping[str, Any]) -> Instruction:
    tokens = told.get("instruction_tokens")
    named = {"instruction_text", "instruction_tokens", "language"}
    return Instruction(
        text=str(told["instruction_text"]),
        language=str(told.get("language", "en-US")),
        tokens=None if tokens is None else np.asarray(tokens, dtype=np.int64),
        extra={key: told[key] for key in told.keys() - named}
        | ({"language": told["language"]} if "language" in told else {}),
    )


def _numbers(field: str, value: Any, shape: tuple[int, ...]) -> Vector:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{field} is {value!r}, expected numbers; correct the file") from None
    if array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("any" if want < 0 else str(want) for want in shape)
        raise ValueError(f"{field} has shape {array.shape}, expected {wanted}; correct the file")
    if not np.isfinite(array).all():
        raise ValueError(f"{field} is {value!r}, expected finite numbers; correct the file")
    return array


def _require_unique(path: Path, episodes: Sequence[Episode]) -> None:
    seen: set[str] = set()
    for episode in episodes:
        if episode.episode_id in seen:
            raise EpisodeError(f"{path}: episode_id {episode.episode_id} is there twice; give each episode its own")
        seen.add(episode.episode_id)


def _read_truths(path: Path | None, *, optional: bool) -> tuple[Path, dict[str, Any]] | None:
    if path is None or (optional and not path.is_file()):
        return None
    data = _parse(path, _unpack(path))
    if not isinstance(data, dict):
        raise EpisodeError(f"{path}: is not an object by episode id; give a ground-truth file")
    return path, data


def _with_truth(path: Path, episode: Episode, truths: tuple[Path, dict[str, Any]]) -> Episode:
    file, rows = truths
    row = rows.get(episode.episode_id)
    if row is None:
        raise EpisodeError(
            f"{file}: lacks episode {episode.episode_id} of {path.name}; the two files do not belong together"
        )
    try:
        actions = row.get("actions")
        truth = GroundTruth(
            locations=_numbers("locations", row["locations"], (-1, 3)),
            actions=None if actions is None else np.asarray(actions, dtype=np.int64),
            forward_steps=int(row.get("forward_steps", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EpisodeError(
            f"{file}: episode {episode.episode_id}: {error!r}; give a whole ground-truth file"
        ) from error
    return replace(episode, ground_truth=truth)


def _row(episode: Episode) -> dict[str, Any]:
    """Return an episode in the file's form; the order of its keys is that of the releases."""
    told: dict[str, Any] = {"instruction_text": episode.instruction.text}
    if episode.instruction.tokens is not None:
        told["instruction_tokens"] = episode.instruction.tokens.tolist()
    row: dict[str, Any] = {
        "episode_id": _number_if_whole(episode.episode_id),
        "trajectory_id": _number_if_whole(episode.trajectory_id),
        "scene_id": episode.scene_id,
        "start_position": episode.start_position.tolist(),
        "start_rotation": episode.start_rotation.tolist(),
    }
    if episode.info:
        row["info"] = dict(episode.info)
    if episode.goal_position is not None:
        row["goals"] = [{"position": episode.goal_position.tolist(), "radius": episode.goal_radius}]
    row["instruction"] = {**told, **episode.instruction.extra}
    if episode.reference_path is not None:
        row["reference_path"] = episode.reference_path.tolist()
    return row


def _number_if_whole(name: str) -> int | str:
    return int(name) if name.isascii() and name.isdigit() and str(int(name)) == name else name
