"""Sub-walks show what they are called: held against the house's own floor plan and boxes, not against what found them."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely

from navloop.configs.loader import load
from navloop.envs.episodes import read_episodes
from navloop.envs.houses.moments import class_of, find_moments, list_classes, recall_tours
from navloop.envs.scenes import SceneDescription
from navloop.geometry import heading_between, wrap_angle
from navloop.training.recorded import join_wordings
from navloop.training.replaying import replay_walks
from navloop.training.subwalks import captions_of, find_subwalks, read_site

FPS = 4


@pytest.fixture(scope="module")
def films(houses, val_unseen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subwalks") / "films"
    places = [f"scenes={houses / 'scenes'}", f"episodes={val_unseen}"]
    replay_walks(load("replay_demo", [*places, "width=32", "workers=1"], kind="replay"), folder)
    return folder


@pytest.fixture(scope="module")
def parts(films, houses):
    """Each sub-walk with the poses of its walk and the description of its house."""
    found = []
    for path in sorted(films.glob("walks/*/*.json")):
        record = json.loads(path.read_text())
        house = SceneDescription.read((houses / "scenes" / record["scene_id"]).with_suffix(".json"))
        poses = np.array(record["positions"]), np.array(record["headings"])
        found += [(row, *poses, house) for row in record["rows"] if row["kind"] == "subwalk"]
    return found


def frames(row):
    return round(row["start"] * FPS), round(row["end"] * FPS) - 1, round(row["at"] * FPS)


def of(parts, event):
    chosen = [part for part in parts if part[0]["event"] == event]
    assert len(chosen) >= 8
    return chosen


def test_at_the_time_that_a_room_is_entered_the_walker_comes_to_stand_in_it(parts):
    for row, positions, _, house in of(parts, "enter"):
        first, last, at = frames(row)
        polygons = [shapely.Polygon(room.polygon) for room in house.rooms if room.label == row["room"]]
        inside = [min(p.distance(shapely.Point(x, z)) for p in polygons) for x, _, z in positions[first : last + 1]]
        # Rooms end at the middle of a wall or at its face: in a doorway one may stand between two of them.
        assert inside[at - first] < 0.1
        assert inside[0] > 0.1 or inside[at - first - 1] > 0


def test_a_turn_goes_to_its_side(parts):
    for row, _, headings, _ in of(parts, "turn"):
        first, last, at = frames(row)
        turned = math.degrees(sum(wrap_angle(b - a) for a, b in itertools.pairwise(headings[first : last + 1])))
        assert {"left": 44 < turned < 180, "right": -180 < turned < -44, "around": abs(turned) > 119}[row["side"]]
        assert headings[at] == pytest.approx(headings[last])
        assert sum(code in (2, 3) for code in row["actions"]) >= 3


def test_a_thing_passed_is_beside_the_walker_on_the_side_that_is_told(parts):
    for row, positions, headings, house in of(parts, "pass"):
        first, last, at = frames(row)
        assert first <= at <= last
        if "side" not in row:  # walked over
            continue
        angles = []
        for thing in house.objects:
            x0, _, z0, x1, _, z1 = thing.box
            middle = ((x0 + x1) / 2, 0.0, (z0 + z1) / 2)
            near = shapely.box(x0, z0, x1, z1).distance(shapely.Point(positions[at][[0, 2]])) < 2.5
            if thing.label == row["thing"] and near:
                angles.append(math.degrees(wrap_angle(heading_between(positions[at], middle) - headings[at])))
        assert any(40 < abs(a) < 140 and (a > 0) == (row["side"] == "left") for a in angles)


def test_what_a_walk_stops_at_is_at_its_end(parts):
    for row, positions, _, house in of(parts, "stop"):
        _, last, at = frames(row)
        assert last == at == len(positions) - 1
        if "thing" in row:
            here = shapely.Point(positions[-1][[0, 2]])
            boxes = [
                shapely.box(b[0], b[2], b[3], b[5]) for b in (t.box for t in house.objects if t.label == row["thing"])
            ]
            assert min(box.distance(here) for box in boxes) < 1.0


def test_sub_walks_are_short_and_their_sentences_name_what_is_shown(parts):
    lengths = [row["end"] - row["start"] for row, *_ in parts]
    assert min(lengths) >= 1.0 and np.median(lengths) < 5.0
    for row, *_ in parts:
        texts = [text.lower() for text in row["captions"]]
        assert len(set(texts)) == len(texts) == 3
        if row["label_name"] in ("turn left", "turn right"):
            assert all(row["side"] in text for text in texts)


def test_a_tour_is_found_again_from_what_its_episode_keeps(houses, val_unseen):
    walks = join_wordings(read_episodes(val_unseen).episodes)
    told = 0
    for scene, group in itertools.groupby(walks, key=lambda walk: walk.group):
        site = read_site(houses / "scenes" / scene)
        for walk in group:
            episode = replace(walk.first, ground_truth=walk.truth)
            tours = list(recall_tours(site, episode))
            moments = [find_moments(site, tour)[1] for tour in tours]
            assert all(np.allclose(tour.reference_path, episode.reference_path, atol=1e-9) for tour in tours)
            told += any(moments)
            assert {class_of(moment) for listed in moments for moment in listed} <= set(list_classes())
    assert told == len(walks)


def test_another_house_tells_nothing(houses, val_unseen):
    walks = join_wordings(read_episodes(val_unseen).episodes)
    scenes = sorted({walk.group for walk in walks})
    other = read_site(houses / "scenes" / scenes[0])
    stranger = next(walk for walk in walks if walk.group == scenes[1])
    assert find_subwalks(other, replace(stranger.first, ground_truth=stranger.truth), None, None) == []


def test_a_scene_without_a_description_has_no_sub_walks(tmp_path):
    assert read_site(tmp_path / "scan.glb") is None


def test_a_moment_is_said_alike_from_equal_seeds(houses, val_unseen):
    walk = join_wordings(read_episodes(val_unseen).episodes)[0]
    site = read_site(houses / "scenes" / walk.group)
    tour = next(recall_tours(site, replace(walk.first, ground_truth=walk.truth)))
    moment = find_moments(site, tour)[1][0]
    first, again, other = (captions_of(moment, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
