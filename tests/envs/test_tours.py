"""Tours: where they lead, how they are walked, and that they are as long and as winding as R2R's."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from navloop.configs.schema import LengthsConfig
from navloop.envs.embedded.motion import move
from navloop.envs.houses.generate import generate_house
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour, draw_tours, resample
from navloop.envs.simulator import Action, Body
from navloop.geometry import heading_between, wrap_angle

R2R = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3"
REAL_LENGTH, REAL_LENGTH_DEVIATION, REAL_ACTIONS = 8.90, 2.67, 57.3


@pytest.fixture(scope="module")
def sites() -> list[Site]:
    return [Site(house.model, house.description, Body()) for house in map(generate_house, range(20, 26))]


@pytest.fixture(scope="module")
def tours(sites: list[Site]) -> list[tuple[Site, Tour]]:
    return [(site, tour) for i, site in enumerate(sites) for tour in draw_tours(site, 20, np.random.default_rng(i))]


def test_a_house_has_as_many_tours_as_asked(tours):
    assert len(tours) == 6 * 20


def test_lengths_and_actions_are_those_of_r2r(tours):
    lengths = np.array([tour.length for _, tour in tours])
    actions = np.array([len(tour.truth.actions) for _, tour in tours])
    assert lengths.mean() == pytest.approx(REAL_LENGTH, rel=0.15)
    assert lengths.std() == pytest.approx(REAL_LENGTH_DEVIATION, rel=0.35)
    assert actions.mean() == pytest.approx(REAL_ACTIONS, rel=0.15)
    assert lengths.min() >= 0.9 * LengthsConfig().shortest


def test_short_tours_are_as_short_as_asked(sites):
    short = LengthsConfig(mean=4.6, deviation=1.2, shortest=3.25, longest=5.75)
    drawn = [
        tour for i, site in enumerate(sites) for tour in draw_tours(site, 10, np.random.default_rng(i), lengths=short)
    ]
    lengths = np.array([tour.length for tour in drawn])
    assert len(drawn) == 6 * 10
    assert 3.0 < lengths.min() < 3.75 and 5.25 < lengths.max() < 6.15
    assert lengths.mean() == pytest.approx(4.6, abs=0.3)


@pytest.mark.data
@pytest.mark.skipif(not R2R.is_dir(), reason=f"the R2R-CE episodes are not at {R2R}")
def test_first_turns_are_those_of_real_episodes(tours):
    def turn(position, heading, ahead):
        return abs(wrap_angle(heading_between(position, ahead) - heading))

    ours = [
        turn(t.start.position, t.start.heading, resample(t.corners, 0.1)[min(10, len(resample(t.corners, 0.1)) - 1)])
        for _, t in tours
    ]
    path = R2R / "val_unseen" / "val_unseen.json.gz"
    real = []
    for row in json.loads(gzip.decompress(path.read_bytes()))["episodes"]:
        _, y, _, w = row["start_rotation"]
        real.append(turn(row["start_position"], 2 * math.atan2(y, w), row["reference_path"][1]))
    assert np.mean(ours) == pytest.approx(np.mean(real), rel=0.15)


def test_a_tour_leads_to_another_room_and_through_none_twice(tours):
    for site, tour in tours:
        rooms = site.rooms_at(resample(tour.corners, 0.05))
        entered = [int(room) for i, room in enumerate(rooms) if i == 0 or room != rooms[i - 1]]
        assert 2 <= len(entered) <= 6
        assert max(Counter(entered).values()) == 1


def test_the_low_level_walk_replays_and_ends_at_the_goal(tours):
    for site, tour in tours:
        position, heading, walked = tour.start.position, tour.start.heading, [tour.start.position]
        for action in tour.truth.actions[:-1]:
            if action == Action.FORWARD:
                position = move(site.free, position, heading, site.body).position
                walked.append(position)
            else:
                heading += site.body.turn * (1 if action == Action.LEFT else -1)
        assert tour.truth.actions[-1] == Action.STOP
        assert list(tour.truth.actions).count(Action.FORWARD) == tour.truth.forward_steps == len(walked) - 1
        np.testing.assert_allclose(walked, tour.truth.locations, atol=1e-9)
        assert float(site.geodesics.distances(position[None], tour.spot.point)[0]) <= site.body.step


def test_walks_are_short_and_hardly_bump(tours):
    steps = np.array([np.linalg.norm(np.diff(tour.truth.locations, axis=0), axis=1).sum() for _, tour in tours])
    lengths = np.array([tour.length for _, tour in tours])
    assert (lengths / np.maximum(steps, lengths)).mean() >= 0.97
    short = [np.linalg.norm(np.diff(tour.truth.locations, axis=0), axis=1) < 0.25 - 1e-4 for _, tour in tours]
    assert np.concatenate(short).mean() < 0.02


def test_a_body_with_coarse_turns_walks_as_well():
    house = generate_house(23)
    site = Site(house.model, house.description, replace(Body(), turn=math.radians(30)))
    drawn = draw_tours(site, 20, np.random.default_rng(0))
    assert len(drawn) == 20
    for tour in drawn:
        assert float(site.geodesics.distances(tour.truth.locations[-1:], tour.spot.point)[0]) <= 0.25
        assert tour.length >= 0.97 * np.linalg.norm(np.diff(tour.truth.locations, axis=0), axis=1).sum()


def test_reference_paths_are_sparse_and_lie_on_the_way(tours):
    for _, tour in tours:
        path = tour.reference_path
        np.testing.assert_array_equal(path[0], tour.start.position)
        np.testing.assert_array_equal(path[-1], tour.spot.point)
        gaps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert gaps.max() < 2.7
        line = shapely.LineString(tour.corners[:, [0, 2]])
        assert max(line.distance(shapely.Point(p)) for p in path[:, [0, 2]]) < 1e-6


def test_goals_are_where_their_spots_say(tours):
    for site, tour in tours:
        spot = tour.spot
        x, _, z = spot.point
        if spot.kind in ("object", "on"):
            x0, _, z0, x1, _, z1 = site.description.objects[spot.number].box
            gap = math.hypot(max(0.0, x0 - x, x - x1), max(0.0, z0 - z, z - z1))
            assert gap < (0.75 if spot.kind == "object" else 1e-9)
        elif spot.kind in ("doorway", "inside"):
            segment = shapely.LineString(site.description.portals[spot.number].segment)
            assert segment.distance(shapely.Point(x, z)) < (1e-6 if spot.kind == "doorway" else 1.05)


def test_no_two_tours_of_a_house_are_alike(sites):
    drawn = draw_tours(sites[0], 15, np.random.default_rng(0))
    for i, tour in enumerate(drawn):
        for other in drawn[:i]:
            starts = np.linalg.norm(tour.start.position - other.start.position)
            goals = np.linalg.norm(tour.spot.point - other.spot.point)
            assert max(starts, goals) > 1.0


def test_the_same_seed_draws_the_same_tours(sites):
    first, second = (draw_tours(sites[1], 6, np.random.default_rng(3)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.truth.locations, other.truth.locations)
        np.testing.assert_array_equal(one.truth.actions, other.truth.actions)


def test_only_accepted_tours_are_kept(sites):
    asked = []

    def accept(tour: Tour) -> bool:
        asked.append(tour)
        return len(asked) % 2 == 0

    kept = draw_tours(sites[2], 4, np.random.default_rng(0), accept)
    assert kept == asked[1::2]
