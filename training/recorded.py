"""Recorded walks: what the ground truth of an episode file holds, one walk for all the instructions that describe it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.configs.replay import ReplayConfig
from navloop.envs.episodes import EpisodeFile, ground_truth_path, read_episodes, select
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import SceneError
from navloop.files import fingerprint
from navloop.records import Episode, GroundTruth
from navloop.training.fingerprints import list_fingerprint
from navloop.training.listings import is_store
from navloop.training.scene_files import require_scene_files


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedWalk:
    """One walk and the episodes that describe it.

    Attributes:
        key: Names it in the data set, "<scene>/<trajectory>", safe as a path.
        episodes: Those that share scene, trajectory, start and actions, in the file's order; at least one.
        truth: Their ground truth, with actions.
    """

    key: str
    episodes: tuple[Episode, ...]
    truth: GroundTruth

    @property
    def first(self) -> Episode:
        """The first of the episodes, which stands for the walk."""
        return self.episodes[0]

    @property
    def group(self) -> str:
        """Its scene."""
        return self.first.scene_id

    @property
    def actions(self) -> NDArray[np.int64]:
        """Codes of `Action`, as recorded: int64 (S,)."""
        assert self.truth.actions is not None
        return self.truth.actions

    def __str__(self) -> str:
        return f"walk {self.first.trajectory_id} (episode {self.first.episode_id}, {self.first.scene_id})"


class Recording(NamedTuple):
    """What is to be walked again.

    Attributes:
        split: Name of the split.
        walks: In the file's order.
        data: Fingerprint by what it is of.
    """

    split: str
    walks: list[RecordedWalk]
    data: dict[str, str]


def read_recording(config: ReplayConfig) -> Recording:
    """Return the walks that a config asks for, in a language of its protocol.

    Raises:
        ValueError: If there are none, or a file, its ground truth or a scene is missing.
    """
    file = _read(Path(config.episodes))
    protocol = get_protocol(config.protocol)
    spoken = select(file.episodes, languages=protocol.languages)
    if not spoken:
        raise ValueError(
            f"{config.episodes}: none of its {len(file.episodes)} episodes is in a language of {protocol.label} "
            f"({', '.join(protocol.languages)}); choose another file or protocol"
        )
    _require_truths(file, spoken)
    walks = draw_walks(join_wordings(spoken), config.max_walks, config.seed)
    return Recording(file.split, walks, _data_fingerprints(file, config, walks))


def _read(path: Path) -> EpisodeFile:
    """Return the episodes of a file; of a store of walks those that were walked, with what was done as their ground truth."""
    if not is_store(path):
        return read_episodes(path)
    from navloop.training import store  # half a second that files do not need

    episodes = tuple(store.list_episodes(store.open_store(path)))
    return EpisodeFile(
        path=path,
        kind="r2r",
        split=path.resolve().name,
        episodes=episodes,
        vocabulary=None,
        fingerprint=list_fingerprint(path),
    )


def join_wordings(episodes: Iterable[Episode]) -> list[RecordedWalk]:
    """Return the walks behind episodes, in the order of their first ones.

    Episodes of one trajectory whose starts or actions differ, as RxR's may, are walks of their own.
    """
    groups: dict[tuple[str, str, bytes, bytes], list[Episode]] = {}
    for episode in episodes:
        truth = episode.ground_truth
        assert truth is not None and truth.actions is not None
        start = np.concatenate([episode.start_position, episode.start_rotation]).tobytes()
        key = (*episode.tour, start, truth.actions.tobytes())
        groups.setdefault(key, []).append(episode)
    taken: dict[str, int] = {}
    walks = []
    for (scene_id, trajectory_id, _, _), listed in groups.items():
        plain = f"{_safe(Path(scene_id).stem)}/{_safe(trajectory_id)}"
        taken[plain] = taken.get(plain, 0) + 1
        key_text = plain if taken[plain] == 1 else f"{plain}.{taken[plain]}"
        truth = listed[0].ground_truth
        assert truth is not None
        # Two wordings need no second copy of the ground truth on their way to a worker.
        plainer = tuple(replace(episode, ground_truth=None) for episode in listed)
        walks.append(RecordedWalk(key=key_text, episodes=plainer, truth=truth))
    return walks


def draw_walks(walks: Sequence[RecordedWalk], count: int | None, seed: int) -> list[RecordedWalk]:
    """Return `count` walks in their order, drawn with the seed and as evenly over scenes as they allow; None returns all."""
    if count is None or count >= len(walks):
        return list(walks)
    order: dict[str, list[int]] = {}
    for number in np.random.default_rng(seed).permutation(len(walks)).tolist():
        order.setdefault(walks[number].group, []).append(number)
    # The nth draw of every scene comes before the (n + 1)th of any.
    turns = [(turn, scene, number) for scene, numbers in order.items() for turn, number in enumerate(numbers)]
    return [walks[number] for number in sorted(number for _, _, number in sorted(turns)[:count])]


def require_scenes(config: ReplayConfig, scene_ids: Iterable[str]) -> None:
    """Check that every scene is there before anything is walked.

    Raises:
        SceneError: If one is not, naming its file and how to get it.
    """
    if config.scene_dataset_config is None:
        require_scene_files(Path(config.scenes), scene_ids)
    elif not Path(config.scene_dataset_config).is_file():  # its instances are made of many files, which habitat finds
        raise SceneError(f"{config.scene_dataset_config}: no such file; check scene_dataset_config in the recipe")


def _require_truths(file: EpisodeFile, episodes: Sequence[Episode]) -> None:
    untold = [e.episode_id for e in episodes if e.ground_truth is None or e.ground_truth.actions is None]
    if untold:
        raise ValueError(
            f"{file.path}: {len(untold)} of {len(episodes)} episodes (first: {untold[0]}) have no recorded actions; "
            f"put {ground_truth_path(file.path).name} of the same release beside it (test splits have none)"
        )


def _data_fingerprints(file: EpisodeFile, config: ReplayConfig, walks: Sequence[RecordedWalk]) -> dict[str, str]:
    """Fingerprint everything outside the config that a video depends on."""
    require_scenes(config, (walk.group for walk in walks))
    truths = [part for walk in walks for part in (walk.truth.locations.tobytes(), walk.actions.tobytes())]
    return {
        "episodes": file.fingerprint,
        "ground truth": fingerprint(*truths),
        "scenes": _scenes_fingerprint(config, sorted({walk.group for walk in walks})),
    }


def _scenes_fingerprint(config: ReplayConfig, scene_ids: Iterable[str]) -> str:
    """Fingerprint each scene's file with what lies beside it under the same name (rooms, navmesh), and their data set."""
    parts: list[bytes | Path] = []
    if config.scene_dataset_config is not None:
        parts.append(Path(config.scene_dataset_config))
    for scene_id in scene_ids:
        scene = Path(config.scenes) / scene_id
        parts += [scene_id.encode(), *sorted(scene.parent.glob(f"{scene.stem}.*"))]
    return fingerprint(*parts)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
