"""Generated houses as a data set of Habitat's, which stock habitat-lab loads with its own `vln_r2r` config.

The folder stands where Habitat expects `data/`: `scene_datasets/<name>/` has the houses and `<name>.scene_dataset_config.json`,
`datasets/vln/<name>/v1/<split>/` the episodes and their ground truth, `README.md` how to load them, and `export.json` of what it is and,
once everything is there, how much. The embedded world walks in the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import navloop
from navloop.envs.episodes import EpisodeFile, ground_truth_path, read_episodes, write_episodes, write_ground_truth
from navloop.envs.habitat.export_scenes import export_scene, write_scene_dataset
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Body
from navloop.files import fingerprint, write_text
from navloop.records import Episode

FORMAT = "navloop-habitat-2"

Progress = Callable[[int, int], None]


class Export(NamedTuple):
    """What an export has.

    Attributes:
        folder: Where.
        houses: How many.
        episodes: By split.
    """

    folder: Path
    houses: int
    episodes: Mapping[str, int]


def export_houses(dataset: Path, folder: Path, body: Body | None = None, progress: Progress | None = None) -> Export:
    """Write a finished data set of houses for Habitat, or what is missing of it; what is there already stays as it is.

    Args:
        dataset: Folder that `navloop houses` wrote.
        folder: Where the export goes.
        body: Whose navmeshes; None takes that of the protocol "houses", which is R2R-CE's.
        progress: Called with (houses done, houses in all) after each house.

    Raises:
        ValueError: If there is no finished data set, the folder holds the export of another, or an episode is not in R2R-VLNCE's form.
        OSError: If the folder cannot be written. Houses that are finished are kept.
    """
    manifest = _manifest(dataset)
    name = manifest["config"]["name"]
    body = body or get_protocol("houses").body
    _claim(folder, dataset, name)
    scenes = folder / "scene_datasets" / name
    for done, house in enumerate(manifest["scenes"], start=1):
        glb = dataset / "scenes" / name / house / f"{house}.glb"
        export_scene(glb, scenes / house, body)
        if progress is not None:
            progress(done, len(manifest["scenes"]))
    write_scene_dataset(scenes / f"{name}.scene_dataset_config.json")
    episodes = {}
    for path in sorted(dataset / file for file in manifest["files"] if not file.endswith("_gt.json.gz")):
        file = read_episodes(path)
        _write_episodes(file, folder / "datasets" / "vln" / name / "v1" / file.split / path.name)
        episodes[file.split] = len(file.episodes)
    export = Export(folder, len(manifest["scenes"]), episodes)
    _write_account(export, dataset, name, body)
    return export


def _manifest(dataset: Path) -> dict[str, Any]:
    path = dataset / "dataset.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        manifest["config"]["name"], manifest["scenes"], manifest["files"]
    except FileNotFoundError:
        raise ValueError(
            f"{dataset}: no finished data set of houses here (no dataset.json); make one with `navloop houses`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a data set's manifest ({error!r}); generate the houses again") from error
    return manifest


def _claim(folder: Path, dataset: Path, name: str) -> None:
    """Say in a new folder whose export it is, and refuse one that holds something else, so that no two data sets ever mix."""
    path = folder / "export.json"
    source = fingerprint(dataset / "dataset.json")
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder}: holds other files and no export; choose another folder")
        write_text(path, json.dumps({"format": FORMAT, "dataset": source, "name": name}, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text())["dataset"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the account of an export ({error!r}); choose another folder") from error
    if found != source:
        raise ValueError(
            f"{folder}: holds the export of another data set ({found}); choose another folder or delete it"
        )


def _write_episodes(file: EpisodeFile, path: Path) -> None:
    for episode in file.episodes:
        if fault := _unloadable(episode):
            raise ValueError(
                f"{file.path}: episode {episode.episode_id}: {fault}, which habitat-lab's R2RVLN-v1 refuses"
            )
    vocabulary = file.vocabulary
    if vocabulary is None or "word_list" not in vocabulary:
        raise ValueError(
            f"{file.path}: has no instruction_vocab with a word_list, without which habitat-lab cannot load it"
        )
    if all(episode.ground_truth is not None for episode in file.episodes):
        write_ground_truth(ground_truth_path(path), file.episodes)
    write_episodes(path, file.episodes, vocabulary)


def _unloadable(episode: Episode) -> str:
    """Return what habitat-lab's loader would stumble over, or ""."""
    if episode.goal_position is None or episode.reference_path is None:
        return "has no goal or no reference_path"
    further = sorted({*episode.instruction.extra, *episode.extra})
    return f"has fields beyond R2R-VLNCE's ({', '.join(further)})" if further else ""


def _write_account(export: Export, dataset: Path, name: str, body: Body) -> None:
    write_text(export.folder / "README.md", _readme(name, sorted(export.episodes), body))
    account = {
        "format": FORMAT,
        "navloop": navloop.__version__,
        "dataset": fingerprint(dataset / "dataset.json"),
        "name": name,
        "body": asdict(body),
        "houses": export.houses,
        "episodes": dict(export.episodes),
    }
    write_text(export.folder / "export.json", json.dumps(account, indent=1) + "\n")


def load_overrides(name: str, split: str, folder: str = ".") -> list[str]:
    """Return the overrides with which habitat-lab's `benchmark/nav/vln_r2r.yaml` loads a split of an export.

    Success is set to R2R-CE's 3 m: the config's own 0.2 m is for point goals, and fails agents that did what they were told.

    Args:
        name: Of the data set.
        split: Such as "val_unseen".
        folder: Of the export.
    """
    return [
        f"habitat.dataset.split={split}",
        f"habitat.dataset.data_path='{folder}/datasets/vln/{name}/v1/{{split}}/{{split}}.json.gz'",
        f"habitat.dataset.scenes_dir={folder}/scene_datasets",
        "habitat.task.measurements.success.success_distance=3.0",
    ]


def _readme(name: str, splits: Sequence[str], body: Body) -> str:
    split = "val_unseen" if "val_unseen" in splits else splits[0] if splits else "val_unseen"
    listed = "\n".join(f'    "{override}",' for override in load_overrides(name, split))
    return f"""# {name} for Habitat

Generated houses and R2R-like episodes (splits: {", ".join(splits)}). Each house has its navmesh, for an agent {body.height:g} m high
and {body.radius:g} m in radius; for another body habitat-lab makes one of its own, of cells of 5 cm, whenever it loads a house.

```python
import habitat

config = habitat.get_config("benchmark/nav/vln_r2r.yaml", overrides=[
{listed}
])  # for software rendering add "habitat.simulator.habitat_sim_v0.gpu_device_id=-1"
env = habitat.Env(config)
```

Run it in this folder. `success_distance` is part of it: the config's own 0.2 m is not R2R-CE's rule, and agents that stop within 3 m fail by it.
"""
