"""What a LeRobotDataset v3.0 tells of itself: features, statistics, tasks, totals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from navloop.training.store.depth import INFO as DEPTH_INFO
from navloop.training.store.schema import RGB, StoreAbout
from navloop.training.store.tables import FRAME_SCHEMA

VERSION = "v3.0"
CHUNK = 1000
"""Files of a chunk's folder."""
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200
"""Size that a file is closed at."""

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
MOMENTS = ("min", "max", "mean", "std", "count", *QUANTILES)

INDEX_SCHEMA = pa.schema(
    [pa.field("episode_index", pa.int64()), pa.field("index", pa.int64()), pa.field("task_index", pa.int64())]
)
"""Columns of frames that follow from where a walk is among the others."""

DATA_SCHEMA = pa.schema([*FRAME_SCHEMA, *INDEX_SCHEMA])

_POSE = ["x", "y", "z", "heading"]
_SAMPLES = 32
"""Frames of a walk that the statistics of pictures are over, at most."""

Statistics = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""By feature and moment: (n,) for columns, (C, 1, 1) for pictures, counts (1,)."""


def info(about: StoreAbout, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """Return what info.json says."""
    return {
        "codebase_version": VERSION,
        "robot_type": "navloop",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": DATA_MEGABYTES,
        "video_files_size_in_mb": VIDEO_MEGABYTES,
        "fps": about.fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features(about),
    }


def features(about: StoreAbout) -> dict[str, Any]:
    """Return the entry of each feature: dtype, shape, names."""
    columns: dict[str, dict[str, Any]] = {}
    for field in DATA_SCHEMA:
        if pa.types.is_fixed_size_list(field.type):
            columns[field.name] = {"dtype": str(field.type.value_type), "shape": [4], "names": _POSE}
        else:
            columns[field.name] = {"dtype": str(field.type), "shape": [1], "names": None}
        columns[field.name]["dtype"] = {"float": "float32", "double": "float64"}.get(
            columns[field.name]["dtype"], columns[field.name]["dtype"]
        )
    return columns | {video: _video_feature(about, video) for video in about.videos}


def tasks_of(table: pa.Table) -> list[str]:
    """Return the instructions of a table of episodes, each once, in the order of their numbers."""
    return list(dict.fromkeys(task for tasks in table["tasks"].to_pylist() for task in tasks))


def task_table(tasks: Sequence[str]) -> pa.Table:
    """Return the table of tasks, which is the instructions: as pandas writes a frame whose index they are."""
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def frame_statistics(frames: pa.Table) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the statistics of a walk's columns."""
    values = {name: _values(frames[name].combine_chunks()) for name in DATA_SCHEMA.names}
    widths = np.cumsum([0, *(value.shape[1] for value in values.values())])
    moments = _moments(np.concatenate(list(values.values()), axis=1))
    return {
        name: {moment: found if moment == "count" else found[a:b] for moment, found in moments.items()}
        for name, a, b in zip(values, widths[:-1], widths[1:], strict=True)
    }


def picture_statistics(frames: NDArray[Any], full: float) -> dict[str, list[float]]:
    """Return the statistics of a walk's pictures (S, H, W, C), of some of their pixels, a number a channel, over `full`."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(_SAMPLES, len(frames))).round().astype(int))
    stride = max(1, min(frames.shape[1:3]) // 64)
    pixels = frames[chosen, ::stride, ::stride].reshape(-1, frames.shape[-1]).astype(np.float64) / full
    moments = {name: found.tolist() for name, found in _moments(pixels).items()}
    return {**moments, "count": [float(len(chosen))]}


def picture_shaped(moments: Mapping[str, Sequence[float]]) -> dict[str, NDArray[np.float64]]:
    """Return a walk's statistics of pictures as LeRobot has them: (C, 1, 1) each."""
    return {
        name: np.asarray(found, dtype=np.float64).reshape((-1,) if name == "count" else (-1, 1, 1))
        for name, found in moments.items()
    }


def pool(walks: Mapping[str, NDArray[np.float64]], is_picture: bool) -> dict[str, Any]:
    """Return the statistics of one feature over walks that have finite values of it; quantiles are averages of theirs.

    Args:
        walks: By moment, a row a walk.
        is_picture: Whether they are of pictures, which LeRobot has as (C, 1, 1).
    """
    counts = walks["count"]
    known = counts[:, 0] > 0
    if known.any():
        walks, counts = {name: found[known] for name, found in walks.items()}, counts[known]
    weights = counts / max(counts.sum(), 1)
    mean = (walks["mean"] * weights).sum(axis=0)
    spread = ((walks["std"] ** 2 + (walks["mean"] - mean) ** 2) * weights).sum(axis=0)
    pooled = {"min": walks["min"].min(axis=0), "max": walks["max"].max(axis=0), "mean": mean, "std": np.sqrt(spread)}
    pooled |= {name: (walks[name] * weights).sum(axis=0) for name in QUANTILES}
    shape = (-1, 1, 1) if is_picture else (-1,)
    return {name: value.reshape(shape).tolist() for name, value in pooled.items()} | {"count": [int(counts.sum())]}


def _moments(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Statistics of each column of (S, n) over its finite rows; 0, of none, where it has none."""
    kept = values[np.isfinite(values).all(axis=1)]
    count, values = len(kept), kept if len(kept) else np.zeros_like(values[:1])
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([float(count)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def _values(column: pa.Array) -> NDArray[np.float64]:
    flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float64).reshape(len(column), -1)


def _video_feature(about: StoreAbout, video: str) -> dict[str, Any]:
    shared = {
        "video.height": about.height,
        "video.width": about.width,
        "video.fps": about.fps,
        "video.g": about.gop,
        "has_audio": False,
    }
    if video == RGB:
        own = {
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.channels": 3,
            "video.crf": about.quality,
            "is_depth_map": False,
            "video.is_depth_map": False,
        }
    else:
        own = DEPTH_INFO
    return {
        "dtype": "video",
        "shape": [about.height, about.width, own["video.channels"]],
        "names": ["height", "width", "channels"],
        "info": {**shared, **own},
    }
