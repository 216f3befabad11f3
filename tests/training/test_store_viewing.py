"""Recordings of walks, as Rerun's own reader finds them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from full_disk import files_at_most
from stored_walks import ABOUT, fill, made_record

from navloop.training.cli import main
from navloop.training.store import StoreError, StoreWriter, export_rerun, open_store
from navloop.training.walks import Frames

NUMBER = r"[-+\d.einf]+"


def rerun(*words: object) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout + found.stderr


def numbers(file: Path, entity: str) -> list[float]:
    """Return the values of a scalar, in the order of the steps 0, 1, ..."""
    said = rerun("print", "-vvv", "--entity", f"/steps/{entity}", file)
    rows = re.findall(rf"row_\w+ +┆ (\d+) +┆ \[({NUMBER})\]", said)
    assert [int(step) for step, _ in rows] == list(range(len(rows)))
    return [float(value) for _, value in rows]


def test_walks_are_exported_as_recordings_that_rerun_reads(tmp_path, capsys):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    store = open_store(fill(tmp_path / "store", range(6)))
    out = tmp_path / "recordings"
    assert main(["store", "export", str(store.folder), "--to", str(out), "--where", "success=true"]) == 0
    assert f"3 walks: {out}" in capsys.readouterr().out
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"{n:06d}-{store.episodes[n].key[:8]}.rrd" for n in (1, 3, 5)]
    assert "3 files verified without error" in rerun("verify", *files)
    for number, file in zip((1, 3, 5), files, strict=True):
        told = rerun("print", "-vvv", "--entity", "/told", file)
        assert f"Walk number {number}." in told and "text/markdown" in told
    walk, trajectory, file = store.walk(5), store.trajectory(5), files[2]
    assert numbers(file, "geodesic_to_goal") == pytest.approx(walk.distances)
    assert numbers(file, "action") == walk.actions.tolist()
    assert numbers(file, "oracle_action") == walk.expert_actions.tolist()
    assert numbers(file, "collided") == trajectory.collided.tolist()
    for entity in ("eyes/rgb", "house/walker", "chosen"):
        assert f"with {len(walk)} rows" in rerun("print", "--entity", f"/{entity}", file)


def test_depth_is_in_a_recording_where_the_store_has_it(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    with StoreWriter(tmp_path / "store", replace(ABOUT, depth=True)) as writer:
        record = made_record(2)
        depth = np.full((*record.frames.rgb.shape[:3], 1), 2.0, np.float32)
        writer.append(replace(record, frames=Frames(record.frames.rgb, depth)))
        writer.finish()
    store = open_store(tmp_path / "store")
    folder = export_rerun(store, tmp_path / "out")
    (file,) = folder.iterdir()
    assert f"with {len(store.walk(0))} rows" in rerun("print", "--entity", "/eyes/depth", file)


def test_without_rerun_the_error_says_how_to_get_it_and_nothing_is_written(tmp_path, monkeypatch):
    store = open_store(fill(tmp_path / "store", range(2)))
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(StoreError, match=r"pip install -e '\.\[rerun\]'"):
        export_rerun(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_part_of_a_recording(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    store = open_store(fill(tmp_path / "store", range(2)))
    with files_at_most(4096), pytest.raises(OSError, match=r"000000-\w+\.rrd"):
        export_rerun(store, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
