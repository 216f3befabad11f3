"""A video data set from recorded walks: filmed by any number of processes, resumed exactly where it was left, listed when it is whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.configs.loader import dump
from navloop.configs.replay import ReplayConfig
from navloop.envs.houses.moments import list_classes
from navloop.envs.worlds import require_world
from navloop.files import write_text
from navloop.provenance import usable_processors
from navloop.runs import RunFolder
from navloop.training.filming import FORMAT, Filmer, film_protocol, read_filmed
from navloop.training.pool import do_jobs
from navloop.training.progress import FilmProgress
from navloop.training.recorded import Recording, read_recording


class StrayError(ValueError):
    """Too many walks led elsewhere than recorded: the world, the scenes or the protocol are not those of the recording."""


def replay_walks(config: ReplayConfig, folder: Path, console: Console | None = None) -> None:
    """Film the recorded walks of an episode file, those that the folder does not have yet, and list them when all are there.

    The folder gets `videos/<scene>/<walk>.mp4`, one a walk however many instructions describe it, frame i being what is seen when action i is
    chosen; `walks/<scene>/<walk>.json`, the poses and rows of each; and at the end, each whole or absent, `manifest.jsonl` (a row a line:
    whole walks and sub-walks), `walks.jsonl` and `subwalks.jsonl` (the two kinds apart), `labels.json` (the classes of sub-walks, in the order of
    their numbers), `strays.jsonl` (walks left out because they missed the ground truth) and `dataset.json` (counts, protocol, fingerprints); besides
    the run's own files (`navloop.runs`). All of it depends on config and data alone, not on workers or interruptions.

    Args:
        config: What to film.
        folder: Of the data set, new or begun.
        console: Where to show the progress; None shows nothing.

    Raises:
        StrayError: If more walks stray than the config tolerates.
        ValueError: If the config names what does not exist, or the folder holds something else.
        WorkerError: If a walk cannot be filmed. What was finished is kept.
        OSError: If the folder cannot be written.
    """
    require_world(config.world)
    film_protocol(config)
    recording = read_recording(config)
    with RunFolder(folder).open(dump(config), recording.data, config.RESUMABLE):
        _clear_torn(folder)
        _film_missing(config, folder, recording, console)
        records = [record for walk in recording.walks if (record := read_filmed(folder, walk.key)) is not None]
        dataset = _write_lists(config, folder, recording, records)
    if console is not None:
        told = f"{dataset['videos']} videos, {dataset['subwalks']} sub-walks, {dataset['frames']} frames"
        strays = f"; {dataset['strays']} walks strayed and are left out (strays.jsonl)" if dataset["strays"] else ""
        console.print(f"{told}{strays}: {folder / 'manifest.jsonl'}", soft_wrap=True, highlight=False)


def _clear_torn(folder: Path) -> None:
    """Remove what a killed run was writing aside."""
    for part in ("videos", "walks"):
        for torn in (folder / part).glob("*/.*"):
            torn.unlink()


def _film_missing(config: ReplayConfig, folder: Path, recording: Recording, console: Console | None) -> None:
    records = {walk.key: read_filmed(folder, walk.key) for walk in recording.walks}
    missing = [walk for walk in recording.walks if records[walk.key] is None]
    strays = [_describe(record) for record in records.values() if record is not None and record["strayed"]]
    allowed = config.max_strays * len(recording.walks)
    _require_few(strays, allowed, config)
    if not missing:
        return
    workers = config.workers or usable_processors()
    hire = partial(_hire, config, folder, recording.split)
    with (
        closing(FilmProgress(console, len(recording.walks) - len(missing), len(recording.walks))) as progress,
        closing(do_jobs(hire, missing, workers)) as films,
    ):
        for walk, filmed in films:
            progress.add(filmed.frames)
            if filmed.strayed:
                strays.append(f"{walk}: {filmed.gap:.3f} m")
                progress.tell(f"{walk} strays {filmed.gap:.3f} m from its ground truth; left out")
                _require_few(strays, allowed, config)


def _hire(config: ReplayConfig, folder: Path, split: str, place: int) -> partial[Filmer]:
    devices = config.gpu_devices
    own = config.model_copy(update={"gpu_devices": (devices[place % len(devices)],)})
    return partial(Filmer, own, folder, split)


def _require_few(strays: Sequence[str], allowed: float, config: ReplayConfig) -> None:
    if len(strays) > allowed:
        mend = (
            "the scenes, the world or the protocol are not those that it was recorded with (if it is the world alone, where walkers slide "
            "otherwise, try tolerance=0.5)"
            if config.turns == "recorded"
            else "converted turns lead elsewhere: try a larger tolerance"
            if config.turns == "carry"
            else "converted turns lead elsewhere: try turns=carry, or a larger tolerance"
        )
        shown = "; ".join(strays[:3])
        raise StrayError(
            f"{len(strays)} walks stray more than {config.tolerance:g} m from their ground truth ({shown}), over the share of "
            f"{config.max_strays:g} that max_strays allows: {mend}"
        )


def _describe(record: Mapping[str, Any]) -> str:
    return f"walk {record['trajectory_id']} (episode {record['episode_ids'][0]}, {record['scene_id']}): {record['gap']:.3f} m"


def _write_lists(
    config: ReplayConfig, folder: Path, recording: Recording, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Write what lists the videos, the data set's own file last, and return what that says."""
    rows = [row for record in records for row in record["rows"]]
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("walk", "subwalk")}
    stray_keys = ("scene_id", "trajectory_id", "episode_ids", "gap")
    strays = [{key: record[key] for key in stray_keys} for record in records if record["strayed"]]
    write_text(folder / "labels.json", json.dumps(list_classes(), indent=1) + "\n")
    write_text(folder / "walks.jsonl", _lines(kinds["walk"]))
    write_text(folder / "subwalks.jsonl", _lines(kinds["subwalk"]))
    write_text(folder / "strays.jsonl", _lines(strays))
    write_text(folder / "manifest.jsonl", _lines(rows))
    protocol = film_protocol(config)
    labels = Counter(row["label_name"] for row in kinds["subwalk"])
    dataset = {
        "format": FORMAT,
        "split": recording.split,
        "world": config.world,
        "protocol": protocol.label,
        "protocol_fingerprint": protocol.fingerprint,
        "protocol_fields": protocol.fields(),
        "turns": config.turns,
        "data": recording.data,
        "seed": config.seed,
        "fps": config.fps,
        "gop": config.gop,
        "quality": config.quality,
        "episodes": sum(len(row["episode_ids"]) for row in kinds["walk"]),
        "videos": len(kinds["walk"]),
        "frames": sum(record["frames"] for record in records),
        "subwalks": len(kinds["subwalk"]),
        "strays": len(strays),
        "largest_gap_m": max((record["gap"] for record in records), default=0.0),
        "labels": {name: labels[name] for name in list_classes() if labels[name]},
    }
    write_text(folder / "dataset.json", json.dumps(dataset, indent=1) + "\n")
    return dataset


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
