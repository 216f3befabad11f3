"""Houses for Habitat: what the folder holds, that both worlds see the same house in it, and that stock habitat-lab loads it."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from navloop.envs.embedded.mesh import load_mesh
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.episodes import read_episodes
from navloop.envs.glb import read_glb
from navloop.envs.habitat import export_scenes
from navloop.envs.habitat.export import export_houses, load_overrides
from navloop.envs.habitat.export_scenes import CELL_HEIGHT, CLEARANCE, export_scene, semantic_colours
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import Body, Camera, SceneError
from navloop.geometry import Pose, quaternion_to_heading

NAME = "small"


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def exported(houses, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "habitat"
    export_houses(houses, folder)
    return folder


@pytest.fixture(scope="module")
def scenes(exported) -> list[Path]:
    found = sorted(exported.glob(f"scene_datasets/{NAME}/*/*.glb"))
    assert len(found) == 4
    return found


def test_an_export_has_every_house_and_episode_of_the_data_set(houses, exported, scenes):
    manifest = json.loads((houses / "dataset.json").read_text())
    assert [scene.stem for scene in scenes] == sorted(manifest["scenes"])
    for split in ("train", "val_seen", "val_unseen"):
        ours = read_episodes(houses / "episodes" / split / f"{split}.json.gz")
        theirs = read_episodes(exported / "datasets" / "vln" / NAME / "v1" / split / f"{split}.json.gz")
        assert theirs.fingerprint == ours.fingerprint
        assert all(episode.ground_truth is not None for episode in theirs.episodes)
        assert {exported / "scene_datasets" / episode.scene_id for episode in theirs.episodes} <= set(scenes)


def test_episodes_have_just_the_fields_that_habitat_labs_loader_takes(exported):
    file = exported / "datasets" / "vln" / NAME / "v1" / "val_unseen" / "val_unseen.json.gz"
    data = json.loads(gzip.decompress(file.read_bytes()))
    assert data["instruction_vocab"]["word_list"][:2] == ["<pad>", "<unk>"]
    wanted = {"episode_id", "scene_id", "start_position", "start_rotation", "info", "goals", "trajectory_id"}
    for row in data["episodes"]:
        assert set(row) == wanted | {"instruction", "reference_path"}
        assert set(row["instruction"]) == {"instruction_text", "instruction_tokens"}
        assert [set(goal) for goal in row["goals"]] == [{"position", "radius"}]


def test_stage_configs_stand_the_houses_upright_and_name_files_that_are_there(scenes):
    for scene in scenes:
        config = json.loads(scene.with_suffix(".stage_config.json").read_text())
        assert (config["up"], config["front"]) == ([0, 1, 0], [0, 0, -1])
        for key in ("render_asset", "collision_asset", "nav_asset", "semantic_asset", "semantic_descriptor_filename"):
            assert (scene.parent / config[key]).is_file(), key


def test_a_house_looks_and_walks_as_before(houses, exported):
    episodes = read_episodes(exported / "datasets" / "vln" / NAME / "v1" / "val_unseen" / "val_unseen.json.gz").episodes
    cameras = [Camera(name="rgb", width=64, height=64), Camera(name="semantic", kind="semantic", width=64, height=64)]
    before = EmbeddedSimulator(houses / "scenes", Body(), cameras)
    after = EmbeddedSimulator(exported / "scene_datasets", Body(), cameras)
    for episode in episodes[::9]:
        pose = Pose(episode.start_position, quaternion_to_heading(episode.start_rotation))
        for simulator in (before, after):
            simulator.load_scene(episode.scene_id)
            simulator.set_pose(pose)
        ours, theirs = before.render(), after.render()
        assert np.abs(ours["rgb"].astype(int) - theirs["rgb"]).mean() < 0.5
        np.testing.assert_array_equal(ours["semantic"], theirs["semantic"])
        goal = episode.goal_position
        walks = [simulator.geodesic_distances(episode.start_position[None], goal)[0] for simulator in (before, after)]
        assert walks[0] == pytest.approx(walks[1], abs=1e-9)
    before.close()
    after.close()


def test_the_navmesh_grid_meets_the_floor_above_every_rug(scenes):
    for scene in scenes:
        vertices = np.concatenate([part.vertices for node in read_glb(scene).nodes for part in node.parts])
        ground = vertices[:, 1].min() + CELL_HEIGHT * np.arange(1, 4)
        rugs = [t.box[4] for t in SceneDescription.read(scene.with_suffix(".json")).objects if 0 < t.box[4] < 0.05]
        assert np.abs(ground - max([0.0, *rugs]) - CLEARANCE).min() < 1e-6


def test_semantics_name_each_triangle_of_each_object_by_its_colour(houses, scenes):
    for scene in scenes:
        mesh = load_mesh(houses / "scenes" / NAME / scene.stem / scene.name)
        lines = scene.with_suffix(".semantic.txt").read_text().splitlines()
        assert lines[0] == "HM3D Semantic Annotations"
        rows = [line.split(",") for line in lines[1:]]
        assert [(int(row[0]), row[2].strip('"')) for row in rows] == [
            (number, thing.label) for number, thing in enumerate(mesh.description.objects, start=1)
        ]
        ids = {row[1]: int(row[0]) for row in rows} | {"000000": 0}
        ply = trimesh.load(scene.with_name(f"{scene.stem}_semantic.ply"), process=False)
        # habitat-sim turns a PLY from z up to y up.
        x, y, z = ply.vertices.reshape(-1, 3).T
        np.testing.assert_allclose(np.column_stack([x, z, -y]).reshape(-1, 3, 3), mesh.triangles, atol=1e-5)
        colours = ply.visual.vertex_colors.reshape(-1, 3, 4)
        assert (colours == colours[:, :1]).all()
        found = [ids[bytes(colour[:3].tolist()).hex().upper()] for colour in colours[:, 0]]
        np.testing.assert_array_equal(found, mesh.face_object + 1)


def test_semantic_colours_are_all_different():
    colours = semantic_colours(2**16).astype(int)
    assert len(set((colours @ [65536, 256, 1]).tolist())) == 2**16
    assert colours[0].tolist() == [0, 0, 0]


def test_another_export_of_the_same_houses_changes_nothing_and_mends_what_is_missing(houses, exported, tmp_path):
    folder = tmp_path / "habitat"
    export_houses(houses, folder)
    first = _files(folder)
    assert first == _files(exported)
    scene = next(folder.glob("scene_datasets/*/train_000/*.glb"))
    scene.unlink()
    torn = next(folder.glob("scene_datasets/*/train_001/*.navmesh"))
    torn.write_bytes(torn.read_bytes()[:2000])
    times = {path: (folder / path).stat().st_mtime_ns for path in first if "val_unseen_000" in path.parts}
    export_houses(houses, folder)
    assert _files(folder) == first
    assert {path: (folder / path).stat().st_mtime_ns for path in times} == times


def test_another_body_has_another_navmesh_and_one_that_fits_nowhere_is_told(houses, tmp_path):
    glb = houses / "scenes" / NAME / "train_000" / "train_000.glb"
    navmesh = tmp_path / "train_000.navmesh"
    export_scene(glb, tmp_path, Body())
    slim = navmesh.read_bytes()
    export_scene(glb, tmp_path, Body(radius=0.18))
    assert navmesh.read_bytes() != slim
    with pytest.raises(
        SceneError, match=r"train_000\.glb: no floor with room for a body of radius 0.1 m and height 5 m"
    ):
        export_scene(glb, tmp_path / "wide", Body(height=5.0))
    assert not (tmp_path / "wide" / "train_000.stage_config.json").exists()


def test_an_export_that_was_killed_midway_is_not_taken_for_that_before(houses, tmp_path, monkeypatch):
    glb = houses / "scenes" / NAME / "train_000" / "train_000.glb"
    export_scene(glb, tmp_path, Body())
    before = _files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(export_scenes, "_stage_config", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export_scene(glb, tmp_path, Body(radius=0.18))
    assert _files(tmp_path) != before
    export_scene(glb, tmp_path, Body())
    assert _files(tmp_path) == before


def test_an_export_for_another_body_says_so(houses, tmp_path):
    export_houses(houses, tmp_path / "habitat", Body(height=0.88, radius=0.18))
    assert "for an agent 0.88 m high\nand 0.18 m in radius" in (tmp_path / "habitat" / "README.md").read_text()
    assert json.loads((tmp_path / "habitat" / "export.json").read_text())["body"]["radius"] == 0.18


def test_an_unfinished_or_another_data_set_is_refused(houses, exported, tmp_path):
    with pytest.raises(ValueError, match="no finished data set of houses here"):
        export_houses(tmp_path, tmp_path / "habitat")
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="not a data set's manifest"):
        export_houses(tmp_path, tmp_path / "habitat")
    (tmp_path / "dataset.json").write_text((houses / "dataset.json").read_text() + "\n")
    with pytest.raises(ValueError, match="holds the export of another data set"):
        export_houses(tmp_path, exported)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files and no export"):
        export_houses(houses, tmp_path / "other")


def test_the_readme_tells_every_override(exported):
    text = (exported / "README.md").read_text()
    assert all(f'"{override}"' in text for override in load_overrides(NAME, "val_unseen"))
    assert "success_distance=3.0" in text


STOCK = """
import json, os, sys
import habitat
from habitat.tasks.nav.shortest_path_follower import ShortestPathFollower
config = habitat.get_config("benchmark/nav/vln_r2r.yaml", overrides=json.loads(sys.argv[1]))
env = habitat.Env(config)
told = {"sensors": sorted(env.sim.sensor_suite.sensors), "navmesh": env.sim.pathfinder.is_loaded, "walks": []}
for _ in env.episodes:
    env.reset()
    follower = ShortestPathFollower(env.sim, 0.25, False)
    first = env.get_metrics()["distance_to_goal"]
    while not env.episode_over:
        env.step({"action": follower.get_next_action(env.current_episode.goals[0].position) or 0})
    told["walks"].append({"file": env.current_episode.info["geodesic_distance"], "first": first, **env.get_metrics()})
print(json.dumps(told, default=float))
"""


@pytest.mark.habitat
def test_stock_habitat_lab_loads_an_export_and_its_own_follower_reaches_every_goal(exported):
    for module in ("habitat_sim", "habitat"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    sensors = "habitat.simulator.agents.main_agent.sim_sensors"
    small = [f"{sensors}.{kind}_sensor.{side}=32" for kind in ("rgb", "depth") for side in ("width", "height")]
    overrides = [*load_overrides(NAME, "val_seen"), "habitat.simulator.habitat_sim_v0.gpu_device_id=-1", *small]
    command = [sys.executable, "-c", STOCK, json.dumps(overrides)]
    run = subprocess.run(command, cwd=exported, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["navmesh"]
    assert len(told["walks"]) == 12
    assert all(walk["success"] == 1.0 and walk["distance_to_goal"] < 0.3 for walk in told["walks"])
    assert all(walk["first"] == pytest.approx(walk["file"], rel=0.03) for walk in told["walks"])


@pytest.mark.habitat
def test_habitat_sim_sees_the_same_house(exported):
    pytest.importorskip("habitat_sim", reason="habitat_sim is not installed")
    from navloop.envs.habitat.simulator import HabitatSimulator

    cameras = [
        Camera(name="rgb", width=64, height=64),
        Camera(name="depth", kind="depth", width=64, height=64),
        Camera(name="semantic", kind="semantic", width=64, height=64),
    ]
    worlds = [world(exported / "scene_datasets", Body(), cameras) for world in (EmbeddedSimulator, HabitatSimulator)]
    episodes = read_episodes(exported / "datasets" / "vln" / NAME / "v1" / "val_unseen" / "val_unseen.json.gz").episodes
    for episode in episodes[::9]:
        for world in worlds:
            world.load_scene(episode.scene_id)
            world.set_pose(Pose(episode.start_position, quaternion_to_heading(episode.start_rotation)))
        ours, theirs = (world.render() for world in worlds)
        assert np.median(np.abs(ours["depth"].squeeze() - theirs["depth"].squeeze())) < 0.02
        assert np.abs(ours["rgb"].astype(int) - theirs["rgb"]).mean() < 8
        assert (ours["semantic"].squeeze() == theirs["semantic"].squeeze()).mean() > 0.97
    for world in worlds:
        world.close()
