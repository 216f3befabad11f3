"""Turns of 15 degrees made turns of 30: by hand, as a property, and on real recordings."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.envs.episodes import read_episodes
from navloop.envs.protocols import get_protocol
from navloop.training.recorded import join_wordings
from navloop.training.turning import carry_over, convert, merge_pairs, require_turns

R2R = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3" / "val_unseen" / "val_unseen.json.gz"
CODES = {"S": 0, "F": 1, "L": 2, "R": 3, "U": 4, "D": 5}

actions = st.lists(st.sampled_from([1, 2, 3]), max_size=60).map(lambda listed: [*listed, 0])


def codes(letters):
    return [CODES[letter] for letter in letters]


@pytest.mark.parametrize(
    ("recorded", "dropped", "carried"),
    [
        ("LLFS", "LFS", "LFS"),
        ("LFLFS", "FFS", "FLFS"),
        ("LLLFRRS", "LFRS", "LFS"),
        ("LLLLFS", "LLFS", "LLFS"),
        ("LRFS", "FS", "FS"),
        ("LRRFS", "RFS", "FS"),
        ("LURS", "US", "US"),
        ("RFRFRFRS", "FFFS", "FRFFRS"),
        ("S", "S", "S"),
        ("", "", ""),
    ],
)
def test_conversions_by_hand(recorded, dropped, carried):
    assert merge_pairs(codes(recorded)) == codes(dropped)
    assert carry_over(codes(recorded)) == codes(carried)


@given(actions)
def test_carrying_over_keeps_every_step_and_never_looks_more_than_15_degrees_away(recorded):
    made = iter(carry_over(recorded))
    told, looked = 0, 0
    for action in recorded:
        if action in (2, 3):
            told += 15 if action == 2 else -15
            continue
        for step in made:
            if step == action:
                break
            looked += 30 if step == 2 else -30
        assert abs(told - looked) <= 15
    assert set(made) <= {2, 3}


@given(actions)
def test_dropping_keeps_every_step_and_halves_each_run_of_turns(recorded):
    made = merge_pairs(recorded)
    assert made.count(1) == recorded.count(1)
    runs, before = [], None
    for action in recorded:
        if action in (2, 3):
            if action == before:
                runs[-1] += 1
            else:
                runs.append(1)
        before = action
    assert made.count(2) + made.count(3) == sum(length // 2 for length in runs)


def test_a_body_that_turns_by_15_degrees_needs_no_conversion():
    with pytest.raises(ValueError, match=r"r2r-ce@1 turns by 15; take turns=recorded, or a protocol .* navid-r2r"):
        require_turns("carry", get_protocol("r2r-ce").body, "r2r-ce@1")
    require_turns("carry", get_protocol("navid-r2r").body, "navid-r2r@1")
    require_turns("recorded", get_protocol("r2r-ce").body, "r2r-ce@1")


def walked(listed, turn):
    """Where actions lead on an empty floor."""
    heading, place, places = 0.0, np.zeros(2), [np.zeros(2)]
    for action in listed:
        heading += {2: turn, 3: -turn}.get(action, 0.0)
        if action == 1:
            place = place + 0.25 * np.array([-math.sin(heading), -math.cos(heading)])
            places.append(place)
    return np.array(places)


@pytest.mark.data
@pytest.mark.skipif(not R2R.is_file(), reason=f"the R2R-CE episodes are not at {R2R}")
def test_on_real_walks_carrying_over_ends_within_reach_of_the_goal_and_dropping_does_not():
    walks = join_wordings(read_episodes(R2R).episodes)
    ends = {"drop": [], "carry": []}
    for walk in walks:
        recorded = walk.actions.tolist()
        truth = walked(recorded, math.radians(15))
        for turns, gaps in ends.items():
            gaps.append(np.linalg.norm(walked(convert(recorded, turns), math.radians(30))[-1] - truth[-1]))
    assert np.mean(ends["carry"]) < 0.5
    assert max(ends["carry"]) < 3.0
    assert np.mean(np.array(ends["drop"]) > 3.0) == pytest.approx(0.32, abs=0.01)
