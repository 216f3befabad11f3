"""Metrics of an episode: by hand, by property, step by step, and on the real ground truth."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import make_episode, make_trajectory, plain_dtw, points

from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import METRICS, Metrics, RunningMetrics, aggregate, evaluate
from navloop.envs.protocols import Protocol, get_protocol
from navloop.envs.simulator import Action
from navloop.geometry import Vector
from navloop.records import Episode, Trajectory

R2R = get_protocol("r2r-ce")
REAL = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3" / "val_unseen" / "val_unseen.json.gz"

STRAIGHT = np.array([[0.0, 0, -z] for z in range(6)])
"""Five metres ahead in steps of one."""


def run(trajectory: Trajectory, episode: Episode, protocol: Protocol = R2R) -> RunningMetrics:
    """The metrics of a walk, taken step by step."""
    running = RunningMetrics(episode, protocol)
    running.start(trajectory.positions[0], float(trajectory.distances_to_goal[0]))
    for i, action in enumerate(trajectory.actions):
        at = i + 1
        distance = float(trajectory.distances_to_goal[at])
        running.step(trajectory.positions[at], int(action), distance, bool(trajectory.collided[i]))
    return running


def test_a_perfect_walk() -> None:
    walk = np.concatenate([STRAIGHT, STRAIGHT[-1:]])
    result = evaluate(make_trajectory(walk, [5, 4, 3, 2, 1, 0, 0]), make_episode(STRAIGHT), R2R)
    assert result == Metrics(
        success=1,
        spl=1,
        oracle_success=1,
        navigation_error=0,
        oracle_error=0,
        ndtw=1,
        sdtw=1,
        cls=1,
        path_length=5,
        steps=6,
        collisions=0,
        collision_rate=0,
        unreachable=False,
    )


def test_a_detour_by_hand() -> None:
    # Two metres aside, five ahead, with a bump; it stops 2 m from the goal after 7 m.
    walk = np.array([[0.0, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, -5], [2, 0, -5]])
    trajectory = make_trajectory(walk, [5, 5.4, 5.4, 2, 2], collided=[False, True, False, False])
    result = evaluate(trajectory, make_episode(STRAIGHT), R2R)
    assert (result.success, result.oracle_success, result.navigation_error, result.oracle_error) == (1, 1, 2, 2)
    assert result.path_length == 7 and result.spl == pytest.approx(5 / 7)
    assert (result.steps, result.collisions, result.collision_rate) == (4, 1, 0.25)
    # Distances to the six reference points: (0, 0) has 0 1 2 3 4 5, (2, 0) sqrt(4 + z^2), (2, -5) sqrt(4 + (5 - z)^2).
    table = [[math.hypot(x, z - at) for z in range(6)] for x, at in [(0, 0), (2, 0), (2, 5)]]
    # Staying at the start for the first three is cheapest: 0 + 1 + 2, then sqrt(13), then sqrt(5) + 2.
    cost = sum(table[0][:3]) + table[1][3] + sum(table[2][4:])
    assert cost == pytest.approx(3 + math.sqrt(13) + math.sqrt(5) + 2)
    assert result.ndtw == pytest.approx(math.exp(-cost / 18)) == result.sdtw
    coverage = np.mean([math.exp(-min(column) / 3) for column in zip(*table, strict=True)])
    assert result.cls == pytest.approx(coverage * 5 * coverage / (5 * coverage + abs(5 * coverage - 7)))


@pytest.mark.parametrize(
    ("last", "stopped", "inclusive", "success"),
    [
        (2.99, True, False, 1),
        (3.0, True, False, 0),
        (3.0, True, True, 1),
        (0.0, False, False, 0),
        (3.01, True, True, 0),
    ],
)
def test_success_needs_stop_and_nearness(last: float, stopped: bool, inclusive: bool, success: float) -> None:
    protocol = replace(R2R, success_inclusive=inclusive)
    trajectory = make_trajectory(STRAIGHT[:3], [5, 4, last], stopped=stopped)
    result = evaluate(trajectory, make_episode(STRAIGHT), protocol)
    assert result.success == success
    assert result.spl == (success * 5 / 5 if success else 0)
    assert result.oracle_success == protocol.is_success(last)


def test_oracle_success_counts_the_start_and_what_was_only_passed() -> None:
    episode = make_episode(STRAIGHT)
    leaving = evaluate(make_trajectory(STRAIGHT[:3], [2, 3, 4]), episode, R2R)
    assert (leaving.oracle_success, leaving.oracle_error, leaving.success) == (1, 2, 0)
    passing = evaluate(make_trajectory(STRAIGHT[:4], [8, 1, 7, 9]), episode, R2R)
    assert (passing.oracle_success, passing.oracle_error, passing.navigation_error) == (1, 1, 9)


def test_spl_never_exceeds_success_on_a_shortcut() -> None:
    assert evaluate(make_trajectory(STRAIGHT[:3], [5, 4, 0]), make_episode(STRAIGHT), R2R).spl == 1


def test_stopping_at_once_on_the_goal_is_the_shortest_walk() -> None:
    result = evaluate(make_trajectory(STRAIGHT[[0, 0]], [0, 0]), make_episode(STRAIGHT), R2R)
    assert (result.success, result.spl, result.path_length) == (1, 1, 0)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("where", [[0, 1, 2], [0], [2]], ids=["everywhere", "at the start", "at the end"])
def test_an_unreachable_goal_is_a_failure_and_never_an_error_of_zero(where: list[int], value: float) -> None:
    distances = np.array([1.0, 0.5, 0.5])
    distances[where] = value
    trajectory = make_trajectory(STRAIGHT[:3], distances)
    for result in (
        evaluate(trajectory, make_episode(STRAIGHT), R2R),
        run(trajectory, make_episode(STRAIGHT)).metrics(),
    ):
        assert (result.success, result.spl, result.sdtw, result.unreachable) == (0, 0, 0, True)
        assert result.navigation_error == math.inf
        assert result.oracle_success == (where == [2])
        assert result.oracle_error == (0.5 if where == [2] else math.inf)
        assert result.ndtw is not None and 0 < result.ndtw < 1


def test_without_a_goal_nothing_is_said_of_success() -> None:
    result = evaluate(make_trajectory(STRAIGHT[:3], [math.nan] * 3), make_episode(STRAIGHT, goal=False), R2R)
    undefined = {field.name for field in fields(result) if getattr(result, field.name) is None}
    assert undefined == {"success", "spl", "oracle_success", "navigation_error", "oracle_error", "sdtw"}
    assert not result.unreachable and result.path_length == 2


def test_without_the_protocols_reference_nothing_is_said_of_fidelity() -> None:
    # The sparse path is there; a protocol that wants the dense one must not take it instead, nor the other way round.
    trajectory = make_trajectory(STRAIGHT[:3], [5, 4, 3])
    sparse_only = replace(make_episode(STRAIGHT, sparse=STRAIGHT[[0, 5]]), ground_truth=None)
    result = evaluate(trajectory, sparse_only, R2R)
    assert (result.ndtw, result.sdtw, result.cls) == (None, None, None) and result.success == 0
    dense_only = make_episode(STRAIGHT)
    assert evaluate(trajectory, dense_only, replace(R2R, ndtw_reference="reference_path")).ndtw is None


def test_the_protocol_chooses_the_reference() -> None:
    sparse = np.array([[0.0, 0, 0], [0, 0, -2]])
    trajectory = make_trajectory(STRAIGHT[:3], [5, 4, 3])
    episode = make_episode(STRAIGHT, sparse=sparse)
    for name, reference in {"locations": STRAIGHT, "reference_path": sparse}.items():
        result = evaluate(trajectory, episode, replace(R2R, ndtw_reference=name))  # type: ignore[arg-type]
        cost = plain_dtw(trajectory.positions, reference)
        assert result.ndtw == pytest.approx(math.exp(-cost / (3 * len(reference))))


@st.composite
def walks(draw: st.DrawFn) -> tuple[Trajectory, Episode]:
    """Any walk and episode, also with repeated points, and with goals that cannot be reached or are not there."""
    path = draw(points)
    repeated = path[np.sort(draw(st.lists(st.integers(0, len(path) - 1), min_size=1, max_size=30)))]
    distance = st.one_of(st.floats(0, 20), st.just(math.inf), st.just(math.nan))
    distances = draw(st.lists(distance, min_size=len(repeated), max_size=len(repeated)))
    collided = draw(st.lists(st.booleans(), min_size=len(repeated) - 1, max_size=len(repeated) - 1))
    reference = draw(st.one_of(points, st.none()))
    trajectory = make_trajectory(repeated, distances, stopped=draw(st.booleans()), collided=collided)
    return trajectory, make_episode(reference, goal=draw(st.booleans()))


@given(walks(), st.booleans())
def test_metrics_keep_their_order_and_their_ranges(walk: tuple[Trajectory, Episode], inclusive: bool) -> None:
    result = evaluate(*walk, replace(R2R, success_inclusive=inclusive))
    if result.success is not None:
        assert result.spl is not None and result.oracle_success is not None and result.oracle_error is not None
        assert 0 <= result.spl <= result.success <= result.oracle_success <= 1
        assert 0 <= result.oracle_error <= (result.navigation_error or 0)
        assert not (result.unreachable and result.success)
    if result.ndtw is not None:
        assert 0 < result.ndtw <= 1 and result.cls is not None and 0 <= result.cls <= 1
    if result.sdtw is not None and result.ndtw is not None:
        assert result.sdtw in (0, result.ndtw)
    assert 0 <= result.collision_rate <= 1 and result.steps == len(walk[0])


@given(walks())
def test_step_by_step_ends_where_the_whole_walk_does(walk: tuple[Trajectory, Episode]) -> None:
    whole, running = evaluate(*walk, R2R), run(*walk).metrics()
    for field in fields(Metrics):
        there, here = getattr(whole, field.name), getattr(running, field.name)
        assert here == (there if there is None else pytest.approx(there, rel=1e-9, abs=1e-9)), field.name


def test_on_the_way_the_metrics_are_those_of_the_walk_so_far() -> None:
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(size=(20, 3)), axis=0)
    distances = rng.uniform(0, 6, size=20)
    episode = make_episode(walk + rng.normal(size=walk.shape))
    running = RunningMetrics(episode, R2R)
    running.start(walk[0], distances[0])
    for i in range(1, 20):
        running.step(walk[i], Action.FORWARD, distances[i], False)
        so_far = evaluate(make_trajectory(walk[: i + 1], distances[: i + 1], stopped=False), episode, R2R)
        assert running.values() == pytest.approx({m.name: getattr(so_far, m.name) for m in METRICS})


def test_values_are_numbers_and_nan_where_undefined() -> None:
    values = run(make_trajectory(STRAIGHT[:3], [math.nan] * 3), make_episode(None, goal=False)).values()
    assert list(values) == [metric.name for metric in METRICS]
    assert all(type(value) is float for value in values.values())
    assert {name for name, value in values.items() if math.isnan(value)} == {
        "success", "spl", "oracle_success", "navigation_error", "oracle_error", "ndtw", "sdtw", "cls",
    }  # fmt: skip


def test_running_metrics_begin_again() -> None:
    episode = make_episode(STRAIGHT)
    once = run(make_trajectory(STRAIGHT + 3, [9] * 6, collided=[True] * 5), episode)
    once.start(STRAIGHT[0], 5)
    for i in range(1, 6):
        once.step(STRAIGHT[i], Action.FORWARD, 5.0 - i, False)
    assert once.metrics() == run(make_trajectory(STRAIGHT, [5, 4, 3, 2, 1, 0], stopped=False), episode).metrics()


def test_the_callers_position_may_change_afterwards() -> None:
    episode, position = make_episode(STRAIGHT), np.zeros(3)
    running = RunningMetrics(episode, R2R)
    running.start(position, 5.0)
    position[2] = -1
    running.step(position, Action.FORWARD, 4.0, False)
    assert running.metrics().path_length == 1


def test_running_metrics_want_a_start() -> None:
    with pytest.raises(RuntimeError, match="call start"):
        RunningMetrics(make_episode(STRAIGHT), R2R).metrics()


def result_of(distances: list[float]) -> Metrics:
    return evaluate(make_trajectory(STRAIGHT[: len(distances)], distances), make_episode(STRAIGHT), R2R)


def test_averages_by_hand_with_an_unreachable_goal_in_them() -> None:
    summary = aggregate([result_of([4, 2]), result_of([4, 3, 6]), result_of([math.inf, math.inf])])
    assert (summary.episodes, summary.unreachable) == (3, 1)
    assert summary.means["success"] == pytest.approx(1 / 3) and summary.counts["success"] == 3
    assert summary.means["navigation_error"] == 4 and summary.counts["navigation_error"] == 2
    assert summary.means["path_length"] == pytest.approx(4 / 3) and summary.counts["spl"] == 3


def test_an_average_leaves_out_what_is_undefined_and_counts_the_rest() -> None:
    trajectory = make_trajectory(STRAIGHT[:2], [4, 2])
    rows = [evaluate(trajectory, make_episode(reference), R2R) for reference in (STRAIGHT, None, None)]
    summary = aggregate(rows)
    assert summary.counts["ndtw"] == 1 and summary.means["ndtw"] == rows[0].ndtw
    assert summary.counts["success"] == 3 and summary.unreachable == 0
    assert aggregate(rows[1:]).means["ndtw"] is None


def test_no_episodes_have_no_average() -> None:
    summary = aggregate([])
    assert summary.episodes == 0 and set(summary.means.values()) == {None}


@given(walks())
def test_rows_are_strict_json_and_lose_nothing(walk: tuple[Trajectory, Episode]) -> None:
    result = evaluate(*walk, R2R)
    row: dict[str, Any] = json.loads(json.dumps(result.to_row(), allow_nan=False))
    assert Metrics.from_row({**row, "seed": 3}) == result


def test_a_row_that_lacks_a_field_is_refused() -> None:
    row = result_of([4, 2]).to_row()
    del row["ndtw"]
    with pytest.raises(ValueError, match="lacks ndtw"):
        Metrics.from_row(row)


def test_every_metric_has_a_place_in_tables() -> None:
    assert {metric.name for metric in METRICS} == {field.name for field in fields(Metrics)} - {"unreachable"}
    assert [m.label for m in METRICS if m.better == "up"] == ["SR", "SPL", "OSR", "nDTW", "sDTW", "CLS"]


def replayed(episode: Episode) -> Trajectory:
    """The dense ground truth as a walk; distances are straight lines, for want of the scenes."""
    assert episode.ground_truth is not None and episode.goal_position is not None
    locations: Vector = episode.ground_truth.locations
    walk = np.concatenate([locations, locations[-1:]])
    return make_trajectory(walk, np.linalg.norm(walk - episode.goal_position, axis=1))


@pytest.mark.data
def test_replaying_the_real_ground_truth() -> None:
    if not REAL.is_file():
        pytest.skip(f"the R2R-CE episodes are not at {REAL}")
    episodes = read_episodes(REAL).episodes
    results = [evaluate(replayed(episode), episode, R2R) for episode in episodes]
    assert all(result.ndtw == pytest.approx(1, abs=1e-12) for result in results)
    assert all(result.cls == pytest.approx(1, abs=1e-12) for result in results)
    summary = aggregate(results)
    assert summary.means["success"] == 1 and summary.unreachable == 0 and summary.episodes == 1839
    # The release's follower stops within half a metre of the goal.
    assert max(result.navigation_error or 0 for result in results) < 0.5
    ratios = [r.path_length / e.info["geodesic_distance"] for r, e in zip(results, episodes, strict=True)]
    assert np.mean(ratios) == pytest.approx(1.0319, abs=5e-4) and np.median(ratios) == pytest.approx(1.0163, abs=5e-4)
    assert np.quantile(ratios, [0.01, 0.99]) == pytest.approx([0.933, 1.251], abs=2e-3)
    assert summary.means["path_length"] == pytest.approx(9.169, abs=1e-3)


@pytest.mark.data
def test_the_real_ground_truth_step_by_step() -> None:
    if not REAL.is_file():
        pytest.skip(f"the R2R-CE episodes are not at {REAL}")
    for episode in read_episodes(REAL).episodes[::40]:
        trajectory = replayed(episode)
        assert run(trajectory, episode).metrics().to_row() == pytest.approx(evaluate(trajectory, episode, R2R).to_row())
