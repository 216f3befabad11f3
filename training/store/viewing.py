"""Walks of a store for the Rerun viewer: what was seen, chosen and said at each step, and the way through the house."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navloop.envs.simulator import Action
from navloop.files import write_bytes
from navloop.geometry import heading_vector
from navloop.records import SOURCES, Episode, Trajectory
from navloop.training.store.reader import Store
from navloop.training.store.schema import StoredEpisode, StoreError

if TYPE_CHECKING:
    import rerun as rr

STEP = "step"
"""Timeline: the number of the action that was chosen."""

_QUALITY = 90
_WALKED, _REFERENCE, _GOAL = (255, 140, 0), (90, 160, 255), (60, 180, 75)
"""Colours, RGB: of the way that was walked, of the tour's reference path, and of the goal."""


def export_rerun(store: Store, folder: str | Path, keep: Sequence[int] | None = None) -> Path:
    """Write a recording a walk into a folder, as `rerun FOLDER` opens them; return the folder.

    Frames are JPEG in it, so that they can be far larger than the store's films: choose walks. Recordings that are there stay, but
    for those of the same walks.

    Args:
        store: What to write of.
        folder: For files `NUMBER-KEY.rrd`.
        keep: Numbers of the walks; None: all.

    Raises:
        StoreError: If rerun-sdk is not installed, or a walk cannot be read.
        OSError: If it cannot be written; recordings that are there are whole.
    """
    _require_rerun()
    folder = Path(folder)
    for number in range(len(store)) if keep is None else keep:
        write_bytes(folder / f"{number:06d}-{store.episodes[number].key[:8]}.rrd", _record(store, number))
    return folder


def _require_rerun() -> None:
    try:
        import rerun  # noqa: F401
    except ImportError as error:
        raise StoreError(f"recordings for Rerun take rerun-sdk ({error}): pip install -e '.[rerun]'") from error


def _record(store: Store, number: int) -> bytes:
    """Return a recording. Rerun's own file would end where the disk is full, and nobody be told."""
    import rerun as rr

    told = store.episodes[number]
    with rr.RecordingStream("navloop", recording_id=told.key) as recording:
        memory = rr.binary_stream(recording)
        recording.send_blueprint(_blueprint(store))
        recording.send_recording_name(f"{number}: {told.instruction[:60] or told.source}")
        _log_place(recording, store.task(number), store.trajectory(number))
        _log_words(recording, told)
        _log_steps(recording, store, number)
    recording.disconnect()  # which ends the stream
    return memory.read() or b""


def _log_place(recording: rr.RecordingStream, task: Episode, trajectory: Trajectory) -> None:
    """The ways and the goal, which stand still."""
    import rerun as rr

    recording.log("house", rr.ViewCoordinates.RIGHT_HAND_Y_UP, static=True)
    ways = {"walked": (trajectory.positions, _WALKED), "reference": (task.reference_path, _REFERENCE)}
    for name, (places, colour) in ways.items():
        if places is not None:
            recording.log(f"house/{name}", rr.LineStrips3D([places], colors=[colour], radii=0.03), static=True)
    if task.goal_position is not None:  # which test splits keep to themselves
        recording.log("house/goal", rr.Points3D([task.goal_position], colors=[_GOAL], radii=0.15), static=True)


def _log_words(recording: rr.RecordingStream, told: StoredEpisode) -> None:
    import rerun as rr

    rows = {
        "scene": told.scene_id,
        "tour": told.trajectory_id,
        "policy": told.policy,
        "weights": told.weights or "",
        "source": told.source,
        "why": told.why,
        "protocol": told.protocol,
        "seed": told.seed,
        "success": told.success,
        **{name: f"{value:.3f}" for name, value in told.metrics.items()},
    }
    before = f"\n\nwritten afterwards; followed was: {told.original_instruction}" if told.relabelled else ""
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value != "")
    text = f"# {told.instruction or '(nothing said)'}{before}\n\n| | |\n| --- | --- |\n{table}\n"
    recording.log("told", rr.TextDocument(text, media_type=rr.MediaType.MARKDOWN), static=True)


def _log_steps(recording: rr.RecordingStream, store: Store, number: int) -> None:
    """What changes from step to step."""
    import rerun as rr

    walk, trajectory, frames = store.walk(number), store.trajectory(number), store.frames(number)
    depth = store.depth(number) if store.about.depth else None
    columns = {
        "geodesic_to_goal": walk.distances,
        "collided": trajectory.collided,
        "action": walk.actions,
        "oracle_action": walk.expert_actions,
    }
    steps = [rr.TimeColumn(STEP, sequence=range(len(walk)))]
    for name, values in columns.items():
        scalars = rr.Scalars.columns(scalars=np.asarray(values, dtype=np.float64))
        recording.send_columns(f"steps/{name}", steps, scalars)
    for step in range(len(walk)):
        recording.set_time(STEP, sequence=step)
        recording.log("eyes/rgb", rr.Image(frames[step]).compress(jpeg_quality=_QUALITY))
        if depth is not None:
            recording.log("eyes/depth", rr.DepthImage(depth[step, ..., 0], meter=1.0))
        ahead = heading_vector(float(trajectory.headings[step]))
        place = trajectory.positions[step]
        recording.log("house/walker", rr.Arrows3D(origins=[place], vectors=[0.5 * ahead], colors=[_WALKED]))
        chosen, better = Action(walk.actions[step]).name, Action(walk.expert_actions[step]).name
        other = "" if chosen == better else f", the expert would {better}"
        recording.log("chosen", rr.TextLog(f"{SOURCES[walk.sources[step]]}: {chosen}{other}"))


def _blueprint(store: Store) -> rr.blueprint.Blueprint:
    import rerun.blueprint as rrb

    eyes = [rrb.Spatial2DView(origin="eyes/rgb", name="seen")]
    if store.about.depth:
        eyes.append(rrb.Spatial2DView(origin="eyes/depth", name="depth"))
    seen = rrb.Horizontal(*eyes, rrb.Spatial3DView(origin="house", name="way"))
    said = rrb.Horizontal(
        rrb.TimeSeriesView(origin="steps", name="steps"),
        rrb.TextLogView(origin="chosen", name="chosen"),
        rrb.TextDocumentView(origin="told", name="told"),
    )
    time = rrb.TimePanel(state="collapsed", timeline=STEP, fps=store.about.fps)
    return rrb.Blueprint(rrb.Vertical(seen, said, row_shares=[3, 2]), time, collapse_panels=True)
