"""What habitat-sim would crash on, or quietly put right, is refused before it sees it."""

import json
import shutil
import struct

import pytest

from navloop.envs.habitat.navmeshes import require_readable
from navloop.envs.habitat.scenes import find_scene, require_dataset
from navloop.envs.simulator import SceneError

HOUSE = "small/val_unseen_000/val_unseen_000.glb"


@pytest.fixture
def scenes(houses, tmp_path):
    """A folder with one house that was exported, as far as finding it goes."""
    shutil.copytree(houses / "scenes" / "small" / "val_unseen_000", tmp_path / "small" / "val_unseen_000")
    (tmp_path / HOUSE).with_suffix(".stage_config.json").write_text(json.dumps({"up": [0, 1, 0]}))
    return tmp_path


def tile(corner=2, beyond=0, last=4.0, details=3, base=0, triangle=2, leaf=0):
    """A tile of one triangle, as Detour lays it out, and what may be wrong with it."""
    counts = (
        1,
        3,
        4,
        1,
        0,
        1,
        1,
        0,
        1,
    )  # polygons, vertices, links, patches, their vertices and triangles, nodes, crossings
    head = struct.pack("<4si4i9i10f", b"VAND", 7, 0, 0, 0, 0, *counts, 1.5, 0.1, 0.2, 0, 0, 0, 4, 1, 4, 2)
    points = struct.pack("<9f", 0, 0, 0, last, 0, 0, 0, 0, 4)
    polygon = struct.pack("<I6H6H H2B", 0, 0, 1, corner, 0, 0, 0, beyond, 0, 0, 0, 0, 0, 1, details, 0)
    patch = struct.pack("<IIBBBB", base, 0, 0, 1, 0, 0)
    node = struct.pack("<6Hi", 0, 0, 0, 8, 2, 8, leaf)
    return head + points + polygon + bytes(48) + patch + bytes([0, 1, triangle, 0]) + node


def navmesh(tiles=1, **wrong):
    head = struct.pack("<4sii5f2i", b"TESM", 2, tiles, 0, 0, 0, 10, 10, 1, 1)
    data = tile(**wrong)
    return head + bytes(56) + (struct.pack("<Ii", 1, len(data)) + data) * tiles


def test_a_scene_is_its_file(scenes):
    found = find_scene(scenes, HOUSE, None)
    assert found.file == scenes / HOUSE and found.handle == str(scenes / HOUSE)


def test_a_scene_that_is_not_there_is_named(scenes):
    with pytest.raises(
        SceneError, match=r"nowhere\.glb: no such scene; check the scenes folder .*scene_dataset_config"
    ):
        find_scene(scenes, "small/nowhere.glb", None)


def test_a_scene_id_does_not_lead_out_of_the_folder(scenes):
    (scenes / "other").mkdir()
    with pytest.raises(SceneError, match="leads out of the scenes folder"):
        find_scene(scenes / "other", f"../{HOUSE}", None)


def test_a_scene_may_be_a_link_to_where_its_file_is_kept(scenes, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept") / "house.glb"
    (scenes / HOUSE).rename(kept)
    (scenes / HOUSE).symlink_to(kept)
    assert find_scene(scenes, HOUSE, None).handle == str(scenes / HOUSE)


def test_a_house_that_was_not_exported_would_lie_on_its_side(scenes):
    (scenes / HOUSE).with_suffix(".stage_config.json").unlink()
    with pytest.raises(
        SceneError, match="lay on its side; export the houses with `navloop houses RECIPE --export habitat`"
    ):
        find_scene(scenes, HOUSE, None)


def test_a_torn_scene_is_refused(scenes):
    data = (scenes / HOUSE).read_bytes()
    (scenes / HOUSE).write_bytes(data[: len(data) // 2])
    with pytest.raises(SceneError, match=r"val_unseen_000\.glb: is torn; download or make"):
        find_scene(scenes, HOUSE, None)
    (scenes / HOUSE).write_bytes(b"<html>not found</html>")
    with pytest.raises(SceneError, match="is no GLB file"):
        find_scene(scenes, HOUSE, None)


def test_a_whole_navmesh_passes(scenes):
    path = (scenes / HOUSE).with_suffix(".navmesh")
    path.write_bytes(navmesh(tiles=3))
    require_readable(path)
    assert find_scene(scenes, HOUSE, None).file == scenes / HOUSE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: b"",
        lambda d: d[:20],
        lambda d: d[:-1],
        lambda d: b"XXXX" + d[4:],
        lambda d: d.replace(b"VAND", b"WAND"),
    ],
)
def test_a_spoilt_navmesh_is_refused(scenes, spoil):
    path = (scenes / HOUSE).with_suffix(".navmesh")
    path.write_bytes(spoil(navmesh()))
    with pytest.raises(
        SceneError, match=r"val_unseen_000\.navmesh: not a whole navmesh .*; delete it to have it computed again"
    ):
        find_scene(scenes, HOUSE, None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"last": float("nan")}, "points out of its bounds"),
        ({"last": 1e6}, "points out of its bounds"),
        ({"corner": 3}, "corners or neighbours are not there"),
        ({"beyond": 2}, "corners or neighbours are not there"),
        ({"details": 7}, "corners or neighbours are not there"),
        ({"base": 1}, "details beyond its end"),
        ({"triangle": 3}, "details between points that are not there"),
        ({"leaf": 1}, "tree leads out of it"),
        ({"leaf": -2}, "tree leads out of it"),
    ],
)
def test_a_navmesh_that_would_lead_habitat_sim_astray_is_refused(tmp_path, wrong, words):
    path = tmp_path / "a.navmesh"
    path.write_bytes(navmesh(**wrong))
    with pytest.raises(SceneError, match=f"{words}.*delete it"):
        require_readable(path)


def test_a_scene_data_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        SceneError, match=r"mp3d\.json: no scene data set; give the file \*\.scene_dataset_config\.json"
    ):
        require_dataset(tmp_path / "mp3d.json")
