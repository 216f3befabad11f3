"""Conformance: honest data passes to the millimetre, and every fault that was sown is found and named."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from navloop.configs.loader import load
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.episodes import ground_truth_path, read_episodes, write_episodes, write_ground_truth
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Body
from navloop.geometry import heading_to_quaternion, quaternion_to_heading
from navloop.training.cli import main
from navloop.training.conformance import (
    Conformance,
    ConformanceError,
    check_conformance,
    read_conformance,
    require_conformance,
)
from navloop.training.conformance_checks import Finding, Tolerances, examine

PROTOCOL = get_protocol("houses").with_cameras([])


@pytest.fixture(scope="module")
def simulator(houses):
    simulator = EmbeddedSimulator(houses / "scenes", Body(), [])
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def episodes(val_unseen):
    """One episode a tour, those that turn both ways first."""
    return read_episodes(val_unseen).episodes[::3]


def found(simulator, episode, protocol=PROTOCOL):
    return {finding.check: finding for finding in examine(simulator, episode, protocol).findings}


def test_generated_episodes_are_what_their_files_say(simulator, episodes):
    for episode in episodes:
        examined = examine(simulator, episode, PROTOCOL)
        assert examined.findings == ()
        assert examined.drift < 1e-6
        assert examined.geodesic_error < 1e-6
        assert examined.metrics.success == 1
        assert examined.metrics.ndtw > 0.999


def test_a_shifted_start_is_found(simulator, episodes):
    start = episodes[0].start_position
    shifted = replace(episodes[0], start_position=start + [0.12, 0, 0])
    assert "starts elsewhere" in found(simulator, shifted)["replay"].cause
    outside = replace(episodes[0], start_position=start + [80, 0, 0])
    findings = found(simulator, outside)
    assert "off free space" in findings["start"].cause
    assert set(findings) == {"start"}


def test_a_start_that_the_world_moves_is_found(simulator, episodes):
    wall = simulator_wall(simulator, episodes[0])
    findings = found(simulator, replace(episodes[0], start_position=wall))
    assert findings["start"].severity == "fault"
    assert findings["start"].value > 0.1


def simulator_wall(simulator, episode):
    """Return a point 0.2 to 0.4 m off free space, near the episode's start."""
    simulator.load_scene(episode.scene_id)
    for distance in np.arange(0.2, 8, 0.05):
        for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False):
            point = episode.start_position + distance * np.array([np.cos(angle), 0, np.sin(angle)])
            if not simulator.is_navigable(point, 0.2) and simulator.is_navigable(point, 0.4):
                return point
    raise AssertionError("no wall near the start")


def test_a_goal_that_nobody_reaches_is_found(simulator, episodes):
    goal = episodes[0].goal_position + [100, 0, 0]
    findings = found(simulator, replace(episodes[0], goal_position=goal))
    assert "is off free space" in findings["goal"].cause
    assert "no walk leads to the goal" in findings["geodesic"].cause
    assert {finding.severity for finding in findings.values()} == {"fault"}


def test_a_geodesic_distance_that_is_not_the_files_is_found(simulator, episodes):
    told = episodes[0].info["geodesic_distance"]
    assert "geodesic" not in found(simulator, replace(episodes[0], info={"geodesic_distance": told * 1.02}))
    finding = found(simulator, replace(episodes[0], info={"geodesic_distance": told * 1.2}))["geodesic"]
    assert finding.severity == "fault"
    assert finding.value == pytest.approx(0.2 * told, abs=1e-3)
    finding = found(simulator, replace(episodes[0], info={"geodesic_distance": told * 1.05}))["geodesic"]
    assert finding.severity == "apart" and "not quite the file's" in finding.cause


def test_a_few_distances_may_be_a_few_percent_off_and_many_may_not():
    terms = {"tolerances": asdict(Tolerances())}

    def of(count):
        findings = [
            Finding(episode_id=str(n), scene_id="a", check="geodesic", severity="apart", cause="x", value=0.3, unit="m")
            for n in range(count)
        ]
        return Conformance(terms=terms, episodes=40, replayed=40, findings=findings)

    assert not of(4).faults and len(of(5).faults) == 5


@pytest.mark.parametrize("turn", [10, 30, 45])
def test_a_protocol_of_another_turn_angle_is_named(simulator, houses, episodes, turn):
    protocol = PROTOCOL.with_body(Body(turn=np.radians(turn)), "other")
    causes = []
    other = EmbeddedSimulator(houses / "scenes", protocol.body, [])
    for episode in episodes:
        causes.append(found(other, episode, protocol)["replay"].cause)
    other.close()
    assert all(f"turns by 15 degrees, the protocol by {turn}" in cause for cause in causes)


def test_a_protocol_of_another_step_is_named(houses, episodes):
    protocol = PROTOCOL.with_body(Body(step=0.2), "other")
    other = EmbeddedSimulator(houses / "scenes", protocol.body, [])
    causes = [found(other, episode, protocol)["replay"].cause for episode in episodes]
    other.close()
    assert sum("steps 0.20 m where the recorder stepped 0.25 m" in cause for cause in causes) > len(causes) / 2


@pytest.mark.parametrize("degrees", [-90, 30, 7])
def test_start_headings_of_another_release_are_named(simulator, episodes, degrees):
    for episode in episodes[:6]:
        heading = quaternion_to_heading(episode.start_rotation) + np.radians(degrees)
        finding = found(simulator, replace(episode, start_rotation=heading_to_quaternion(heading)))["replay"]
        assert "start heading is not the ground truth's" in finding.cause
        assert finding.severity == "fault"


def test_a_thicker_body_is_told_from_files_that_do_not_belong_together(houses, episodes):
    protocol = PROTOCOL.with_body(Body(radius=0.18), "thick")
    other = EmbeddedSimulator(houses / "scenes", protocol.body, [])
    examined = [examine(other, episode, protocol) for episode in episodes]
    other.close()
    replays = [finding for one in examined for finding in one.findings if finding.check == "replay"]
    assert replays
    assert {finding.severity for finding in replays} <= {"note", "lost"}
    assert all("obstacle" in finding.cause for finding in replays)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([1, 2, 1], "never stops"),
        ([1, 0, 1, 0], "goes on after its first STOP"),
        ([4, 1, 0], "lacks: LOOK_UP"),
        ([1] * 500 + [0], "longer than the 500 steps"),
    ],
)
def test_a_ground_truth_that_cannot_be_walked_is_named(simulator, episodes, actions, words):
    truth = replace(episodes[0].ground_truth, actions=np.array(actions))
    assert words in found(simulator, replace(episodes[0], ground_truth=truth))["ground truth"].cause


def test_a_ground_truth_that_stops_short_fails_by_its_scores(simulator, episodes):
    episode = max(episodes, key=lambda one: one.info["geodesic_distance"])
    truth = replace(episode.ground_truth, actions=np.array([0]), locations=episode.start_position[None])
    findings = found(simulator, replace(episode, ground_truth=truth))
    assert set(findings) == {"scores"}
    assert "SR of the ground truth is 0" in findings["scores"].cause


def test_an_episode_without_ground_truth_is_examined_as_far_as_it_goes(simulator, episodes):
    examined = examine(simulator, replace(episodes[0], ground_truth=None, goal_position=None), PROTOCOL)
    assert (examined.findings, examined.drift, examined.metrics) == ((), None, None)


def recipe(houses, episodes, *more):
    return ["eval_demo", f"scenes={houses / 'scenes'}", f"episodes={episodes}", "agents=forward", *more]


@pytest.fixture
def sown(val_unseen, tmp_path):
    """A copy of the split whose first three episodes start with the headings of another release."""
    file = read_episodes(val_unseen)
    turned = [
        replace(e, start_rotation=heading_to_quaternion(1.0 + quaternion_to_heading(e.start_rotation)))
        for e in file.episodes[:3]
    ]
    path = tmp_path / "sown.json.gz"
    write_episodes(path, [*turned, *file.episodes[3:9]], file.vocabulary)
    write_ground_truth(ground_truth_path(path), file.episodes[:9])
    return path


def test_the_command_lets_an_honest_benchmark_pass(houses, val_unseen, tmp_path, capsys):
    arguments = ["eval", *recipe(houses, val_unseen, "max_episodes=4", "workers=1"), "--run-dir", str(tmp_path / "run")]
    assert main([*arguments, "--conformance"]) == 0
    assert "every episode is what its files say" in capsys.readouterr().out
    found = read_conformance(tmp_path / "run" / "conformance.json")
    assert (found.episodes, found.replayed, found.findings) == (4, 4, ())
    assert found.terms["protocol"] == "houses@1"
    assert (tmp_path / "run" / "summary.json").is_file()


def test_the_command_stops_a_benchmark_that_would_lie(houses, sown, tmp_path, capsys):
    arguments = ["eval", *recipe(houses, sown, "workers=1"), "--run-dir", str(tmp_path / "run"), "--conformance"]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert "start heading" in " ".join(told.out.split())
    assert "3 of 9 episodes are not what their files say" in told.err
    assert not (tmp_path / "run" / "rows").exists()
    ids = {row["episode_id"] for row in json.loads((tmp_path / "run" / "conformance.json").read_text())["findings"]}
    assert ids == {"1", "2", "3"}


def test_workers_find_the_same_and_a_pass_is_not_made_again(houses, val_unseen, tmp_path, begun):
    options = recipe(houses, val_unseen, "max_episodes=6")
    one = check_conformance(load(options[0], [*options[1:], "workers=1"]), tmp_path / "one")
    two = check_conformance(load(options[0], [*options[1:], "workers=2"]), tmp_path / "two")
    assert len(begun) == 2
    assert one == two
    starts = len(json.loads((tmp_path / "one" / "provenance.json").read_text())["starts"])
    assert check_conformance(load(options[0], [*options[1:], "workers=1"]), tmp_path / "one") == one
    assert len(json.loads((tmp_path / "one" / "provenance.json").read_text())["starts"]) == starts


def test_few_episodes_may_get_lost_and_many_may_not(houses, val_unseen, tmp_path):
    options = recipe(houses, val_unseen, "max_episodes=2", "workers=1")
    honest = check_conformance(load(options[0], options[1:]), tmp_path / "run")
    lost = [
        {
            "episode_id": str(n),
            "scene_id": "x",
            "check": "replay",
            "severity": "lost",
            "cause": "",
            "value": 1.0,
            "unit": "m",
        }
        for n in range(3)
    ]
    path = tmp_path / "run" / "conformance.json"
    for episodes, stops in ((150, False), (149, True)):
        data = json.loads(path.read_text()) | {"findings": lost, "episodes": episodes}
        path.write_text(json.dumps(data))
        found = read_conformance(path)
        if stops:
            with pytest.raises(ConformanceError, match="3 of 149 episodes"):
                require_conformance(found)
        else:
            require_conformance(found)
    require_conformance(honest)


def test_a_spoilt_account_is_refused(tmp_path):
    (tmp_path / "conformance.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="not an account of conformance"):
        read_conformance(tmp_path / "conformance.json")
