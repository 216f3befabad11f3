"""The real habitat-sim behind our door: our contract, habitat-lab's own numbers, and the same houses in both worlds."""

import json
import math
import multiprocessing
import shutil
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import trimesh

for needed in ("habitat_sim", "habitat"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")

from navloop.envs.episodes import read_episodes
from navloop.envs.follower import ShortestPathFollower
from navloop.envs.habitat import lifetimes
from navloop.envs.habitat.composition import compose, compose_vln
from navloop.envs.habitat.export import export_houses
from navloop.envs.habitat.navmeshes import CACHE
from navloop.envs.habitat.tasks import LabEnv, lab_dataset, make_lab_vln, make_task
from navloop.envs.habitat.versions import find_habitat
from navloop.envs.metrics import evaluate
from navloop.envs.navigation import NavigationEnv
from navloop.envs.panorama import StackedViews, panorama
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action, SceneError
from navloop.envs.vector import VectorNavigationEnv, WorkerError, shards
from navloop.envs.waypoints import WaypointEnv
from navloop.envs.worlds import create_simulator, create_simulators, make_vln
from navloop.geometry import Pose, heading_vector, quaternion_to_heading, wrap_angle
from navloop.training.cli import main
from navloop.training.results import read_evaluation

pytestmark = pytest.mark.habitat

HOUSES = get_protocol("houses")
DEPTH = replace(HOUSES.cameras[0], name="depth", kind="depth", width=48, height=40)
# Depth alone: with colour, habitat-sim first lights the world for a quarter of a minute where a processor draws.
DIM = HOUSES.with_cameras([DEPTH])
SCENES = [f"small/val_unseen_00{i}/val_unseen_00{i}.glb" for i in range(2)]
HOME = "small/train_000/train_000.glb"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(CACHE, str(folder))
        yield folder / "navmeshes"


@pytest.fixture(scope="module")
def exported(houses, tmp_path_factory):
    return export_houses(houses, tmp_path_factory.mktemp("export") / "small").folder


@pytest.fixture(scope="module")
def scenes(exported):
    return exported / "scene_datasets"


@pytest.fixture(scope="module")
def episodes(exported):
    return exported / "datasets" / "vln" / "small" / "v1" / "val_unseen" / "val_unseen.json.gz"


@pytest.fixture(scope="module")
def habitat(scenes):
    simulator = create_simulator("habitat", scenes, DIM)
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def embedded(scenes):
    simulator = create_simulator("embedded", scenes, DIM)
    yield simulator
    simulator.close()


def test_nothing_is_there_before_a_scene_and_a_pose(scenes):
    simulator = create_simulator("habitat", scenes, DIM)
    with pytest.raises(RuntimeError, match="no scene is loaded"):
        simulator.render()
    simulator.load_scene(SCENES[0])
    with pytest.raises(RuntimeError, match="stands nowhere"):
        _ = simulator.pose
    with pytest.raises(RuntimeError, match="stands nowhere"):
        simulator.act(Action.FORWARD)
    simulator.close()
    simulator.close()


def test_poses_are_set_and_read_in_one_frame(habitat):
    habitat.load_scene(SCENES[0])
    rng = np.random.default_rng(0)
    for _ in range(20):
        point, heading = habitat.sample_navigable_point(rng), rng.uniform(-math.pi, math.pi)
        assert habitat.is_navigable(point)
        habitat.set_pose(Pose(point, heading))
        assert np.allclose(habitat.pose.position, point, atol=1e-6)
        assert wrap_angle(habitat.pose.heading - heading) == pytest.approx(0, abs=1e-6)


def test_a_free_step_goes_where_the_heading_says_and_where_it_was_foreseen(habitat):
    habitat.load_scene(SCENES[0])
    rng = np.random.default_rng(1)
    free = 0
    for _ in range(40):
        habitat.set_pose(Pose(habitat.sample_navigable_point(rng), rng.uniform(-3, 3)))
        start, foreseen = habitat.pose, habitat.foresee(habitat.pose.heading)
        collided = habitat.act(Action.FORWARD)
        assert np.allclose(habitat.pose.position, foreseen, atol=1e-5)
        if not collided:
            free += 1
            assert np.allclose(habitat.pose.position, start.position + 0.25 * heading_vector(start.heading), atol=1e-5)
    assert free > 10
    assert not habitat.act(Action.STOP)


def test_bodies_that_do_not_slide_stop(scenes):
    body = replace(DIM.body, sliding=False)
    firm, slippery = (
        create_simulator("habitat", scenes, protocol)
        for protocol in (DIM.with_body(body, "firm").with_cameras([]), DIM.with_cameras([]))
    )
    rng = np.random.default_rng(2)
    shorter = 0
    for simulator in (firm, slippery):
        simulator.load_scene(SCENES[0])
    for _ in range(60):
        pose = Pose(firm.sample_navigable_point(rng), rng.uniform(-3, 3))
        moved = []
        for simulator in (firm, slippery):
            simulator.set_pose(pose)
            if simulator.act(Action.FORWARD):
                moved.append(np.linalg.norm(simulator.pose.position - pose.position))
        shorter += len(moved) == 2 and moved[0] < moved[1] - 1e-3
    assert shorter > 2
    firm.close()
    slippery.close()


def test_the_same_place_looks_the_same_in_both_worlds(habitat, embedded):
    rng = np.random.default_rng(3)
    for scene in SCENES:
        habitat.load_scene(scene)
        embedded.load_scene(scene)
        for _ in range(4):
            pose = Pose(embedded.sample_navigable_point(rng), rng.uniform(-3, 3))
            embedded.set_pose(pose)
            habitat.set_pose(pose)
            ours, theirs = embedded.render()["depth"], habitat.render()["depth"]
            assert theirs.dtype == np.float32 and theirs.shape == (40, 48, 1)
            assert np.median(np.abs(ours - theirs)) < 0.02


def test_the_same_actions_lead_to_the_same_places(habitat, embedded):
    rng = np.random.default_rng(4)
    agreed, offs = [], []
    for scene in SCENES:
        habitat.load_scene(scene)
        embedded.load_scene(scene)
        for _ in range(200):
            pose = Pose(embedded.sample_navigable_point(rng), rng.uniform(-3, 3))
            embedded.set_pose(pose)
            assert habitat.is_navigable(pose.position)
            habitat.set_pose(pose)
            for action in (Action.LEFT, Action.FORWARD, Action.RIGHT):
                hits = habitat.act(action), embedded.act(action)
                agreed.append(hits[0] == hits[1])
                if any(hits):
                    break
                offs.append(np.linalg.norm(habitat.pose.position - embedded.pose.position))
                assert abs(wrap_angle(habitat.pose.heading - embedded.pose.heading)) < math.radians(0.1)
    assert len(offs) > 500 and np.quantile(offs, 0.99) < 0.001 and max(offs) < 0.05
    assert np.mean(agreed) >= 0.98


def test_walks_are_as_long_in_both_worlds(habitat, embedded):
    rng = np.random.default_rng(5)
    ratios = []
    for scene in SCENES:
        habitat.load_scene(scene)
        embedded.load_scene(scene)
        for _ in range(100):
            start, goal = embedded.sample_navigable_point(rng), embedded.sample_navigable_point(rng)
            lengths = [world.geodesic_distances(start[None], goal)[0] for world in (habitat, embedded)]
            assert np.isfinite(lengths).all()
            ratios.append(lengths[0] / lengths[1])
    assert min(ratios) > 1 - 1e-4 and np.median(ratios) < 1 + 1e-4
    # Recast searches from edge to edge, and takes the longer side of a thing now and then.
    assert np.mean(np.array(ratios) < 1.03) > 0.95


def test_a_goal_that_cannot_be_reached_is_infinitely_far(habitat):
    habitat.load_scene(SCENES[0])
    inside = habitat.sample_navigable_point(np.random.default_rng(6))
    outside = inside + [500.0, 0.0, 0.0]
    assert habitat.geodesic_distances(np.array([inside, outside]), outside).tolist() == [math.inf, math.inf]
    assert habitat.shortest_path(inside, outside).shape == (0, 3)
    path = habitat.shortest_path(inside, habitat.sample_navigable_point(np.random.default_rng(7)))
    assert np.allclose(path[0], inside, atol=1e-3)
    length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert length == pytest.approx(habitat.geodesic_distances(path[:1], path[-1])[0], abs=1e-3)


def test_a_start_off_the_navmesh_is_refused(habitat):
    habitat.load_scene(SCENES[0])
    with pytest.raises(SceneError, match=r"val_unseen_000\.glb: no navmesh within 0\.5 m of \[500\.0, 0\.0, 0\.0\]"):
        habitat.set_pose(Pose(np.array([500.0, 0.0, 0.0]), 0.0))


def test_a_start_beside_the_navmesh_is_moved_onto_it_and_told(habitat, caplog):
    habitat.load_scene(SCENES[0])
    free = habitat.sample_navigable_point(np.random.default_rng(1))
    off = next(
        free + [x, 0.0, 0.0] for x in np.arange(0, 20, 0.05) if not habitat.is_navigable(free + [x, 0.0, 0.0], 0.02)
    )
    habitat.set_pose(Pose(off, 0.0))
    assert habitat.is_navigable(habitat.pose.position)
    assert "is not on the navmesh; the agent is put 0.0" in caplog.text


def test_points_are_drawn_by_our_generator_alone(habitat):
    habitat.load_scene(SCENES[0])
    first = [habitat.sample_navigable_point(np.random.default_rng(8)).tolist() for _ in range(2)]
    assert first[0] == first[1]
    drawn = np.array([habitat.sample_navigable_point(rng) for rng in [np.random.default_rng(9)] for _ in range(300)])
    assert np.isfinite(habitat.geodesic_distances(drawn, drawn[0])).all()  # one connected part
    assert np.ptp(drawn[:, 0]) > 3 and np.ptp(drawn[:, 2]) > 3


def test_plans_agree_with_the_embedded_worlds(habitat, embedded):
    for world in (habitat, embedded):
        world.load_scene(SCENES[0])
    ours, theirs = embedded.floor_plan(), habitat.floor_plan()
    assert theirs.rooms == ours.rooms
    rng = np.random.default_rng(10)
    for point in (habitat.sample_navigable_point(rng) for _ in range(50)):
        column, row = np.floor((point[[0, 2]] - theirs.origin) / theirs.cell).astype(int)
        assert theirs.free[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()
    assert abs(theirs.free.sum() - ours.free.sum()) < 0.1 * ours.free.sum()


def test_looking_down_and_up_comes_back(scenes):
    tilting = DIM.with_body(replace(DIM.body, tilt=math.radians(30)), "tilt30")
    simulator = create_simulator("habitat", scenes, tilting)
    simulator.load_scene(SCENES[0])
    simulator.set_pose(Pose(simulator.sample_navigable_point(np.random.default_rng(11)), 0.3))
    level = simulator.render()["depth"]
    for _ in range(5):  # straight down is as far as it goes
        assert not simulator.act(Action.LOOK_DOWN)
    down = simulator.render()["depth"]
    assert abs(down[20, 24, 0] - (DEPTH.elevation + simulator.pose.position[1])) < 0.6
    for _ in range(3):
        simulator.act(Action.LOOK_UP)
    assert np.abs(simulator.render()["depth"] - level).max() < 1e-3
    simulator.close()


def _walk_in_both(ours, lab, episode, rng, strays):
    """Walk an episode as an expert does who strays with some probability; return what each side measured at the end."""
    _, info = ours.reset(options={"episode": episode.episode_id})
    seen, theirs = lab.reset(options={"episode": episode.episode_id})
    assert lab.observation_space.contains(seen) and seen["instruction"] == episode.instruction.text
    expert = ShortestPathFollower(ours.simulator, DIM.body, episode.goal_position)
    ended = False
    while not ended:
        action = int(rng.integers(0, 4)) if rng.random() < strays else int(expert.next_action())
        frame, _, terminated, truncated, info = ours.step(action)
        seen, _, *ends, theirs = lab.step(action)
        assert ends == [terminated, truncated]
        ended = terminated or truncated
    assert np.array_equal(frame["depth"], seen["depth"])
    return info["navigation_error"], evaluate(ours.trajectory(), episode, DIM), theirs


@pytest.mark.parametrize("split", ["train", "val_seen", "val_unseen"])
def test_habitat_labs_own_measures_equal_ours(exported, scenes, split):
    file = read_episodes(exported / "datasets" / "vln" / "small" / "v1" / split / f"{split}.json.gz")
    ours = NavigationEnv(create_simulator("habitat", scenes, DIM), file.episodes, DIM)
    lab = make_lab_vln(file.episodes, scenes, DIM)
    rng = np.random.default_rng(12)
    for strays in (0.0, 0.1):
        for episode in file.episodes:
            error, measured, theirs = _walk_in_both(ours, lab, episode, rng, strays)
            assert error == pytest.approx(theirs["distance_to_goal"], abs=1e-4)
            assert measured.success == theirs["success"] and measured.spl == pytest.approx(theirs["spl"], abs=1e-4)
            assert strays or measured.success == 1.0  # the expert finds every goal
    ours.close()
    lab.close()


def test_navmeshes_of_other_bodies_are_kept_and_mended(scenes, cache, caplog):
    wide = DIM.with_cameras([]).with_body(replace(DIM.body, radius=0.25, height=0.88), "wide")

    def area():
        simulator = create_simulator("habitat", scenes, wide)
        simulator.load_scene(SCENES[0])
        found = simulator.native.pathfinder.navigable_area
        simulator.close()
        return found

    before = set(cache.glob("*.navmesh"))
    first = area()
    (kept,) = set(cache.glob("*.navmesh")) - before
    written = kept.read_bytes()
    assert area() == first and kept.read_bytes() == written
    kept.write_bytes(written[:50])
    assert area() == first and kept.read_bytes() == written
    assert "not a whole navmesh" in caplog.text
    thin = create_simulator("habitat", scenes, DIM.with_cameras([]))
    thin.load_scene(SCENES[0])
    assert thin.native.pathfinder.navigable_area > first
    thin.close()


def test_the_other_scene_is_another_place_and_coming_back_changes_nothing(habitat):
    frames = []
    for scene in (SCENES[0], SCENES[1], SCENES[0]):
        habitat.load_scene(scene)
        habitat.set_pose(Pose(habitat.sample_navigable_point(np.random.default_rng(13)), 0.0))
        frames.append(habitat.render()["depth"])
    assert np.array_equal(frames[0], frames[2]) and not np.array_equal(frames[0], frames[1])


def wander(simulator, scene: str, seed: int):
    """Walk a scene at random, looking up and down on the way; yields after each action what there is to know, bit for bit."""
    rng = np.random.default_rng(seed)
    simulator.load_scene(scene)
    simulator.set_pose(Pose(simulator.sample_navigable_point(rng), rng.uniform(-3, 3)))
    for _ in range(25):
        hit = simulator.act(Action(int(rng.integers(1, 6))))
        yield hit, simulator.pose.position.tobytes(), simulator.pose.heading, simulator.render()["depth"].tobytes()


def test_twins_walk_as_alone_and_share_a_simulator_in_a_scene(scenes):
    tilting = replace(DIM, body=replace(DIM.body, tilt=math.radians(15)))
    plans = [(SCENES[0], 1), (SCENES[1], 2), (SCENES[0], 3), (SCENES[0], 4)]
    (single,) = create_simulators(1, "habitat", scenes, tilting)
    alone = [list(wander(single, *plan)) for plan in plans]
    single.close()
    twins = create_simulators(4, "habitat", scenes, tilting)
    walks = zip(*(wander(twin, *plan) for twin, plan in zip(twins, plans, strict=True)), strict=True)
    together = list(zip(*walks, strict=True))
    assert [list(walk) for walk in together] == alone
    assert len({id(twin.native) for twin in twins}) == 2
    twins[2].load_scene(SCENES[1])  # where somebody is
    assert twins[2].native is twins[1].native
    for twin in twins[:-1]:
        twin.close()
    assert twins[-1].render()["depth"].tobytes() == alone[3][-1][-1]
    twins[-1].close()


def change_scenes(scenes) -> None:
    """Two agents that enter one scene after the other, while their simulators may hold no more than one."""
    lifetimes.KEPT_BYTES = 1
    twins = create_simulators(2, "habitat", scenes, DIM)
    seen = {}
    for turn, scene in enumerate([SCENES[0], SCENES[1], HOME, SCENES[0], SCENES[1], HOME, HOME]):
        twins[turn % 2].load_scene(scene)
        twins[turn % 2].set_pose(Pose(twins[turn % 2].sample_navigable_point(np.random.default_rng(0)), 1.0))
        for twin in twins[: turn + 1]:
            frame = twin.render()["depth"].tobytes()
            assert seen.setdefault(twin._scene_id, frame) == frame
    assert len(seen) == 3 and twins[0].native is twins[1].native
    first, *others = lifetimes.Lifetime._all
    assert not first.has_room_for(HOME) and others and all(life.has_room_for(HOME) for life in others)


def test_scenes_are_let_go_of_but_for_those_of_the_simulator_in_whose_context_others_draw(scenes):
    process = multiprocessing.get_context("spawn").Process(target=change_scenes, args=(scenes,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_furniture_of_a_scene_that_is_made_of_many_files_stands_in_the_way(tmp_path):
    folder = tmp_path / "set"
    for name, size in (("floor", (10, 0.1, 10)), ("block", (3, 1, 3))):
        place = folder / ("stages" if name == "floor" else "objects") / f"{name}.glb"
        place.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(size).export(place)
    (folder / "stages" / "floor.stage_config.json").write_text(
        '{"render_asset": "floor.glb", "up": [0, 1, 0], "front": [0, 0, -1]}'
    )
    (folder / "objects" / "block.object_config.json").write_text('{"render_asset": "block.glb"}')
    block = {
        "template_name": "block",
        "motion_type": "STATIC",
        "translation": [0, 0.55, 0],
        "translation_origin": "asset_local",
    }
    (folder / "scenes").mkdir()
    (folder / "scenes" / "hall.scene_instance.json").write_text(
        json.dumps({"stage_instance": {"template_name": "floor"}, "object_instances": [block]})
    )
    paths = {kind: {"paths": {".json": [f"{kind}/*.json"]}} for kind in ("stages", "objects")}
    config = folder / "hall.scene_dataset_config.json"
    config.write_text(json.dumps({**paths, "scene_instances": {"paths": {".json": ["scenes/*.json"]}}}))
    simulator = create_simulator("habitat", folder, HOUSES.with_cameras([]), scene_dataset_config=config)
    simulator.load_scene("hall")
    assert simulator.is_navigable(np.array([4.0, 0.05, 4.0]), 0.1)
    assert not simulator.is_navigable(np.array([0.0, 0.05, 0.0]), 0.1)
    simulator.close()


def test_what_habitat_sim_cannot_load_is_named(exported, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(exported / "scene_datasets", spoilt)
    glb = spoilt / SCENES[0]
    whole = glb.read_bytes()
    glb.write_bytes(whole[:20] + b"?" * 40 + whole[60:])
    simulator = create_simulator("habitat", spoilt, HOUSES.with_cameras([]))
    with pytest.raises(SceneError, match=r"val_unseen_000\.glb: habitat-sim cannot load it"):
        simulator.load_scene(SCENES[0])
    simulator.load_scene(SCENES[1])
    assert simulator.ground.sample(np.random.default_rng(0)).shape == (3,)
    simulator.close()


def test_the_command_finds_exported_houses_to_be_the_benchmark_and_says_where_it_walked(
    exported, episodes, tmp_path, capsys
):
    asked = [
        "world=habitat",
        f"scenes={exported / 'scene_datasets'}",
        f"episodes={episodes}",
        "workers=1",
        "agents=expert",
    ]
    assert main(["eval", "eval_demo", *asked, "--conformance", "--run-dir", str(tmp_path / "run")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "habitat-sim 0." in told and "habitat-lab 0." in told
    assert read_evaluation(tmp_path / "run").header.world.startswith("habitat-sim ")
    wrong = [*asked, f"scene_dataset_config={tmp_path / 'no.scene_dataset_config.json'}"]
    assert main(["eval", "eval_demo", *wrong, "--run-dir", str(tmp_path / "other")]) == 2
    assert "no.scene_dataset_config.json: no scene data set" in capsys.readouterr().err


def test_colours_semantics_and_panoramas(scenes, episodes):
    rgb = replace(HOUSES.cameras[0], width=64, height=48)
    eyes = HOUSES.with_cameras([rgb, replace(rgb, name="semantic", kind="semantic")], "rgb-semantic")
    worlds = [create_simulator(world, scenes, eyes) for world in ("habitat", "embedded")]
    for world in worlds:
        world.load_scene(SCENES[0])
    assert worlds[0].visible_labels() == worlds[1].visible_labels()
    pose = Pose(worlds[1].sample_navigable_point(np.random.default_rng(14)), 0.7)
    frames = []
    for world in worlds:
        world.set_pose(pose)
        frames.append(world.render())
    assert frames[0]["rgb"].dtype == np.uint8 and frames[0]["rgb"].shape == (48, 64, 3)
    assert np.median(np.abs(frames[0]["rgb"].astype(int) - frames[1]["rgb"])) <= 4
    assert frames[0]["semantic"].dtype == np.int32 and frames[0]["semantic"].shape == (48, 64)
    assert (frames[0]["semantic"] == frames[1]["semantic"]).mean() > 0.95
    kept = frames[0]["rgb"].copy()
    worlds[0].act(Action.LEFT)
    worlds[0].render()
    assert np.array_equal(frames[0]["rgb"], kept)  # the frame is ours, not the renderer's memory
    for world in worlds:
        world.close()


def test_panoramas_and_waypoints_work_here_too(scenes, episodes):
    env = make_vln(episodes, scenes, panorama(DIM), world="habitat")
    decided = StackedViews(WaypointEnv(env, turns="free"))
    seen, _ = decided.reset(options={"episode": 0})
    assert seen["depth"].shape == (12, 40, 48, 1)
    turned, *_ = decided.step({"stop": 0, "angle": math.radians(60), "distance": 0.0})
    assert np.abs(np.roll(seen["depth"], -2, axis=0) - turned["depth"]).max() < 1e-2
    _, _, terminated, _, info = decided.step({"stop": 1, "angle": 0.0, "distance": 0.0})
    assert terminated and info["decisions"] == 2
    decided.close()


def test_workers_draw_on_the_devices_they_are_dealt(scenes, episodes):
    makes = shards(episodes, scenes, 2, DIM, gpu_devices=(-1, 77), world="habitat")
    assert [make.keywords["gpu_device"] for make in makes] == [-1, 77]
    with VectorFrom(makes) as envs, pytest.raises(WorkerError, match="gpu_device is 77, but of EGL's") as failure:
        envs.reset(seed=0)
    assert failure.value.workers == (1,) and "Traceback" in str(failure.value)
    with VectorFrom(shards(episodes, scenes, 2, DIM, gpu_devices=(-1,), world="habitat")) as envs:
        seen, _ = envs.reset(seed=0)
        assert seen["depth"].shape == (2, 40, 48, 1)
        seen, _, _, _, infos = envs.step([Action.FORWARD, Action.LEFT])
        assert infos["steps"].tolist() == [1, 1]


class VectorFrom:
    def __init__(self, makes):
        self.makes = makes

    def __enter__(self):
        self.envs = VectorNavigationEnv(self.makes)
        return self.envs

    def __exit__(self, *_):
        self.envs.close()


def test_point_goals_of_habitat_lab_through_gymnasium(scenes, episodes):
    from gymnasium.utils.env_checker import check_env

    camera = "habitat.simulator.agents.main_agent.sim_sensors.depth_sensor"
    config = compose(
        "benchmark/nav/pointnav/pointnav_habitat_test.yaml",
        ["habitat.simulator.habitat_sim_v0.gpu_device_id=-1", f"{camera}.width=32", f"{camera}.height=32"],
        setup="depth_agent",
    )
    env = LabEnv(config, lab_dataset(read_episodes(episodes).episodes[:3], scenes))
    assert env.action_names == ("stop", "move_forward", "turn_left", "turn_right")
    seen, info = env.reset(seed=0)
    assert set(seen) >= {"depth", "pointgoal_with_gps_compass"} and info["distance_to_goal"] > 0
    assert env.observation_space.contains(seen)
    _, reward, terminated, truncated, after = env.step(1)
    assert reward == pytest.approx(info["distance_to_goal"] - after["distance_to_goal"], abs=1e-4)
    assert not terminated and not truncated
    assert env.step(0)[2]
    with pytest.raises(ValueError, match="is not in Discrete"):
        env.step(9)
    check_env(env, skip_render_check=True)
    env.close()


def test_several_tasks_run_as_gymnasiums_vector_environment(scenes, episodes):
    chosen = read_episodes(episodes).episodes
    parts = [lab_dataset(chosen[:3], scenes), lab_dataset(chosen[-3:], scenes)]
    envs = gymnasium.vector.SyncVectorEnv([lambda part=part: LabEnv(compose_vln(DIM), part) for part in parts])
    seen, _ = envs.reset(seed=0)
    assert seen["depth"].shape == (2, 40, 48, 1) and len(set(seen["instruction"])) == 2
    assert envs.step(np.array([1, 1]))[1].shape == (2,)
    envs.close()


def test_a_walk_that_cannot_be_is_told(scenes, episodes, caplog):
    episode = read_episodes(episodes).episodes[0]
    lost = replace(episode, goal_position=episode.goal_position + [300.0, 0.0, 0.0])
    env = LabEnv(compose_vln(DIM), lab_dataset([lost], scenes))
    env.reset()
    assert (
        f"episode {episode.episode_id} in " in caplog.text and "no walk leads from its start to its goal" in caplog.text
    )
    env.close()


def test_stages_of_a_data_set_go_by_their_names(exported, scenes):
    dataset = scenes / "small" / "small.scene_dataset_config.json"
    simulator = create_simulator("habitat", scenes, DIM, scene_dataset_config=dataset)
    simulator.load_scene("val_unseen_000")
    assert simulator.is_navigable(simulator.sample_navigable_point(np.random.default_rng(0)))
    with pytest.raises(SceneError, match="no scene 'val_unseen_00' in it; did you mean"):
        simulator.load_scene("val_unseen_00")
    simulator.close()


def test_a_set_of_cameras_leaves_no_others():
    for setup, names in (("depth_agent", ["depth_sensor"]), ("rgb_agent", ["rgb_sensor"]), (None, None)):
        cameras = sorted(compose(setup=setup).habitat.simulator.agents.main_agent.sim_sensors)
        assert cameras == (names or ["depth_sensor", "rgb_sensor"])
    group = f"habitat/simulator/{find_habitat().sensor_group}@habitat.simulator.agents.main_agent=depth_agent"
    composed = compose("benchmark/nav/pointnav/pointnav_habitat_test.yaml", [group])  # the file sizes a colour camera
    assert list(composed.habitat.simulator.agents.main_agent.sim_sensors) == ["depth_sensor"]


def test_scenes_that_a_task_lacks_are_named_before_habitat_sim_ends_the_process(scenes, episodes, tmp_path):
    chosen = read_episodes(episodes).episodes
    shutil.copytree(scenes, tmp_path / "scenes")
    part = lab_dataset([chosen[0], chosen[-1]], tmp_path / "scenes")
    torn = tmp_path / "scenes" / SCENES[1]
    torn.write_bytes(torn.read_bytes()[:5000])
    env = LabEnv(compose_vln(DIM), part)
    env.reset()
    with pytest.raises(SceneError, match=r"val_unseen_001\.glb: is torn; download or make the scene again"):
        env.reset()
    env.close()
    torn.write_bytes((scenes / SCENES[1]).read_bytes())
    beside = torn.with_name("val_unseen_001.stage_config.json")
    beside.write_text(beside.read_text()[:300])
    with pytest.raises(SceneError, match=r"val_unseen_001\.glb: habitat-sim cannot load it, or what lies beside it"):
        LabEnv(compose_vln(DIM), lab_dataset([chosen[-1]], tmp_path / "scenes"))
    with pytest.raises(ValueError, match="a data set without episodes"):
        LabEnv(compose_vln(DIM), lab_dataset([], scenes))
    torn.unlink()
    with pytest.raises(SceneError, match=r"val_unseen_001\.glb: no such scene \(1 of the 2 scenes of these episodes"):
        LabEnv(compose_vln(DIM), part)


def test_what_a_task_lacks_is_named():
    with pytest.raises(ValueError, match=r"no such episodes; download them, or set habitat\.dataset\.data_path"):
        make_task("benchmark/nav/objectnav/objectnav_hm3d.yaml")
    with pytest.raises(ValueError, match="habitat-lab cannot compose"):
        make_task("benchmark/nav/objectnav/objectnav_hm3d.yaml", ["habitat.simulatorr.seed=3"])
    with pytest.raises(ValueError, match="habitat-lab cannot compose nowhere"):
        make_task("nowhere.yaml")


def test_a_process_that_forgets_to_close_ends_well(scenes):
    code = (
        "from navloop.envs.protocols import get_protocol; from navloop.envs.worlds import create_simulator; from dataclasses import replace\n"
        "p = get_protocol('houses'); p = p.with_cameras([replace(p.cameras[0], kind='depth')])\n"
        f"a, b = (create_simulator('habitat', {str(scenes)!r}, p) for _ in range(2))\n"
        f"a.load_scene({SCENES[0]!r}); b.load_scene({SCENES[1]!r}); a.close()\n"
        "import numpy; from navloop.geometry import Pose\n"
        "b.set_pose(Pose(b.sample_navigable_point(numpy.random.default_rng(0)), 0)); print(b.render()['rgb'].shape)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip().endswith("(224, 224, 1)")


def test_episodes_start_where_their_file_says(scenes, episodes):
    env = make_vln(episodes, scenes, DIM, world="habitat")
    for number in (0, 5):
        _, info = env.reset(options={"episode": number})
        episode = env.episodes[number]
        assert np.allclose(info["position"], episode.start_position, atol=1e-5)
        assert wrap_angle(info["heading"] - quaternion_to_heading(episode.start_rotation)) == pytest.approx(0, abs=1e-5)
    env.close()
