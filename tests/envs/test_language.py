"""Instructions: that they are English, varied, as long as R2R's, and above all true of the walk and of what is seen on it."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from navloop.envs.embedded.rays import camera_rays
from navloop.envs.houses.generate import generate_house
from navloop.envs.houses.guide import Beat
from navloop.envs.houses.language import count_words, phrase, tell
from navloop.envs.houses.outline import Outline, outline
from navloop.envs.houses.phrases import draw_clause, expand, lexicon, with_article
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour, draw_tours
from navloop.envs.simulator import Action, Body, Camera
from navloop.geometry import Pose, Vector, heading_between, wrap_angle

R2R = Path(__file__).parents[3] / "shared" / "data" / "r2r_vlnce_v1-3"
REAL_WORDS = 26.6
EYE = Camera(name="semantic", kind="semantic", width=96, height=96, hfov=math.pi / 2)


class Told(NamedTuple):
    site: Site
    tour: Tour
    texts: list[str]
    outline: Outline


@pytest.fixture(scope="module")
def told() -> list[Told]:
    found = []
    for i in range(10):
        house = generate_house(100 + i)
        site, rng, texts = Site(house.model, house.description, Body()), np.random.default_rng(i), []

        def accept(tour: Tour, site=site, rng=rng, texts=texts) -> bool:
            said = tell(site, tour, 3, rng)
            texts.extend([said] if said else [])
            return said is not None

        tours = draw_tours(site, 12, rng, accept)
        found += [Told(site, tour, said, outline(site, tour)) for tour, said in zip(tours, texts, strict=True)]
    return found


@pytest.fixture(scope="module")
def texts(told: list[Told]) -> list[str]:
    return [text for one in told for text in one.texts]


def poses(tour: Tour, turn: float) -> list[Pose]:
    """Return every pose of the low-level walk."""
    heading, locations = tour.start.heading, iter(tour.truth.locations)
    position = next(locations)
    found = [Pose(position, heading)]
    for action in tour.truth.actions[:-1]:
        if action == Action.FORWARD:
            position = next(locations)
        else:
            heading = wrap_angle(heading + turn * (1 if action == Action.LEFT else -1))
        found.append(Pose(position, heading))
    return found


def things_in(site: Site, pose: Pose) -> Counter[int]:
    """Return how many pixels of a 96 x 96 picture from a pose each object covers."""
    hits = site.rays.cast(*camera_rays(EYE, pose))
    seen = site.face_object[hits.face[hits.face >= 0]]
    return Counter(seen[seen >= 0].tolist())


# -- English


def test_instructions_are_as_long_as_those_of_r2r(texts):
    words = np.array([count_words(text) for text in texts])
    assert words.mean() == pytest.approx(REAL_WORDS, rel=0.15)
    assert words.std() > 7.5
    assert words.min() >= 6


@pytest.mark.data
@pytest.mark.skipif(not R2R.is_dir(), reason=f"the R2R-CE episodes are not at {R2R}")
def test_words_are_counted_as_in_the_published_mean():
    path = R2R / "val_unseen" / "val_unseen.json.gz"
    rows = json.loads(gzip.decompress(path.read_bytes()))["episodes"]
    assert np.mean([count_words(row["instruction"]["instruction_text"]) for row in rows]) == pytest.approx(
        26.6, abs=0.2
    )


def test_instructions_differ_and_draw_on_many_words(texts):
    assert len(set(texts)) >= 0.99 * len(texts)
    words = {word for text in texts for word in re.findall(r"[a-z']+", text.lower())}
    assert len(words) >= 310  # of 360 instructions; over 1,000 tours it is over 400


def test_instructions_open_in_many_ways(texts):
    openings = Counter(" ".join(text.lower().split()[:3]) for text in texts)
    assert max(openings.values()) < 0.1 * len(texts)
    assert len(openings) > 80


def test_wordings_of_one_walk_differ(told):
    for one in told:
        assert len({text.lower() for text in one.texts}) == len(one.texts) == 3


@pytest.mark.parametrize(
    "slip",
    [
        r"\b(\w+) \1\b",  # a word twice
        r"\ba [aeiou]\w+",
        r"\ban [^aeiou\W]\w+",
        r"[{}|@#*!()]",
        r"  | [,.]|,,|\.\.|,\.",
        r"\bthe (the|a|an)\b",
        r"(drapes|curtains|boxes|flowers) is\b",
        r"\. [a-z]",
    ],
)
def test_instructions_have_no_slips(texts, slip):
    styled = [text for text in texts if text != text.lower()] if slip == r"\. [a-z]" else [t.lower() for t in texts]
    found = [text for text in styled if re.search(slip, text) and not re.search(r"\ba (u-turn|one|utility)", text)]
    assert not found


def test_sentences_start_with_a_capital_and_end_with_a_stop(texts):
    lower = [text for text in texts if text == text.lower()]
    assert 0 < len(lower) < 0.15 * len(texts)
    assert all(text[0].isupper() for text in texts if text != text.lower())
    assert all(text.endswith(".") and text == text.strip() for text in texts)


def test_every_clause_can_be_said():
    rng = np.random.default_rng(0)
    names = ("side", "far", "thing", "other", "room", "next", "door", "doorway", "nth", "floor", "walls", "bare", "is")
    slots = dict.fromkeys(names, "x")
    for kind, patterns in lexicon()["clauses"].items():
        for _ in range(4 * len(patterns)):
            text = draw_clause(kind, slots, rng).text
            assert text
            assert not re.search(r"[{}()|]", text)


def test_a_phrase_is_drawn_from_its_alternatives():
    rng = np.random.default_rng(0)
    drawn = {expand("(walk|go) (straight |)to the {thing}", {"thing": "sofa"}, rng) for _ in range(60)}
    assert drawn == {f"{verb} {straight}to the sofa" for verb in ("walk", "go") for straight in ("", "straight ")}


def test_articles_fit():
    assert with_article("armchair") == "an armchair"
    assert with_article("oak desk") == "an oak desk"
    assert with_article("couch") == "a couch"
    assert with_article("navy blue drapes") == "navy blue drapes"
    assert with_article("flowers in the white vase") == "flowers in the white vase"


def test_the_same_seed_gives_the_same_words(told):
    one = told[0]
    first, second = (tell(one.site, one.tour, 3, np.random.default_rng(7)) for _ in range(2))
    assert first == second


# -- truth

FIRST_TURN = re.compile(
    r"^(?:(?:first|to begin|to start|starting here|to get going|first of all|initially), )?"
    r"(?:from where you (?:stand|are standing|start), turn|start by turning|begin by turning to your|turn(?: to your)?|"
    r"spin to your|pivot to your|make a) (left|right)\b(?! (?:into|through|out|as|when|upon|after|at|by|near|beside|once|toward|to ))"
)


def test_the_first_turn_is_to_the_side_that_is_said(told):
    agree = []
    for one in told:
        walked = one.tour.truth.locations
        ahead = walked[min(len(walked) - 1, 6)]  # a metre and a half on
        turn = wrap_angle(heading_between(walked[0], ahead) - one.tour.start.heading)
        for text in one.texts:
            said = FIRST_TURN.match(text.lower())
            if said and math.radians(40) < abs(turn) < math.radians(150):
                agree.append((turn > 0) == (said[1] == "left"))
    assert len(agree) > 60
    assert np.mean(agree) > 0.97


def test_turning_around_is_said_of_walks_that_lead_back(told):
    turns = []
    for one in told:
        walked = one.tour.truth.locations
        turn = wrap_angle(heading_between(walked[0], walked[min(len(walked) - 1, 6)]) - one.tour.start.heading)
        if any(
            re.match(r"(turn|pivot) (all the way |completely |fully |)around\b(?! to your)", t.lower())
            for t in one.texts
        ):
            turns.append(abs(turn))
    assert len(turns) > 8
    assert np.min(turns) > math.radians(100)


def beats(one: Told) -> list[Beat]:
    return [*one.outline.beats, *one.outline.stop]


def test_what_is_named_on_the_way_was_in_the_walkers_view(told):
    """By another road than the outline's: pictures at every pose of the low-level walk, each pixel a ray."""
    checked = missed = 0
    for one in told[::3]:
        seen: Counter[int] = Counter()
        for pose in poses(one.tour, one.site.body.turn):
            seen.update(things_in(one.site, pose))
        for beat in beats(one):
            if beat.at >= 0:
                checked += len(beat.things)
                missed += sum(seen[thing] < 12 for thing in beat.things)
    assert checked > 300
    assert missed <= 0.01 * checked


def test_the_goal_is_in_sight_where_the_walk_ends(told):
    for one in told[::2]:
        position = one.tour.truth.locations[-1]
        around = [things_in(one.site, Pose(position, quarter * math.pi / 2)) for quarter in range(4)]
        for beat in one.outline.stop:
            if beat.kinds != ("stop_on",):
                assert all(sum(view[thing] for view in around) >= 5 for thing in beat.things)


def nearest_pose(path: list[Pose], middle: Vector) -> Pose:
    return min(path, key=lambda pose: float(np.hypot(*(pose.position - middle)[[0, 2]])))


def test_things_are_passed_on_the_side_that_is_said(told):
    agree = []
    for one in told:
        walked = one.tour.truth.locations
        for beat in one.outline.beats:
            if beat.kinds != ("pass",):
                continue
            box = np.array(one.site.description.objects[beat.things[0]].box)
            middle = (box[:3] + box[3:]) / 2
            along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(walked, axis=0), axis=1))])
            near = int(np.abs(along - beat.at).argmin())
            before, after = walked[max(0, near - 2)], walked[min(len(walked) - 1, near + 2)]
            bearing = wrap_angle(heading_between(walked[near], middle) - heading_between(before, after))
            agree.append((bearing > 0) == (beat.slots["side"] == "left"))
    assert len(agree) > 150
    assert np.mean(agree) > 0.98


def test_a_bare_name_fits_one_thing_in_view_of_the_goal(told):
    """Where the walk ends at "the couch", no second one is to be seen from there."""
    for one in told:
        label = {i: thing.label for i, thing in enumerate(one.site.description.objects)}
        position = one.tour.truth.locations[-1]
        around = [things_in(one.site, Pose(position, quarter * math.pi / 2)) for quarter in range(4)]
        near = {
            i
            for view in around
            for i, pixels in view.items()
            if pixels > 60 and np.linalg.norm(one.site.boxes[i, [0, 2]] - position[[0, 2]]) < 5
        }
        for beat in one.outline.stop:
            references = beat.slots.get("thing", ())
            if isinstance(references, tuple) and any(not r.colour and not r.material for r in references):
                assert not [i for i in near if i not in beat.things and label[i] == label[beat.things[0]]]


def test_rooms_that_are_named_are_on_the_way_and_in_its_order(told):
    """All of them, and nearly all in order: a room may be named for its door before another one is entered."""
    in_order = []
    words = {word: label for label, listed in lexicon()["rooms"].items() for word in listed}
    pattern = re.compile(r"\b(" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + r")\b")
    for one in told:
        rooms = one.site.rooms_at(one.tour.truth.locations)
        order = [one.site.description.rooms[room].label for room in rooms]
        for text in one.texts:
            known = set(order) | {
                one.site.description.rooms[one.site.beyond(portal, room)].label
                for room in set(rooms.tolist())
                for portal in one.site.doorways_of(room)
            }
            named = [words[found[1]] for found in pattern.finditer(text.lower())]
            assert set(named) <= known
            entered = [order.index(label) for label in dict.fromkeys(named) if label in order]
            if len(entered) > 1:
                in_order.append(entered == sorted(entered))
    assert len(in_order) > 200 and np.mean(in_order) > 0.95


def test_ordinals_count_the_doors_that_are_there(told):
    """Where an n-th doorway is spoken of, the room has as many."""
    checked = 0
    for one in told:
        for beat in one.outline.beats:
            if "ordinal" not in beat.kinds:
                continue
            checked += 1
            n = ("first", "second", "third", "fourth").index(str(beat.slots["nth"]))
            walked = one.tour.truth.locations
            rooms = one.site.rooms_at(walked)
            along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(walked, axis=0), axis=1))])
            room = int(rooms[max(0, int(np.searchsorted(along, beat.at)) - 3)])
            assert len(one.site.doorways_of(room)) >= n + 1
    assert checked > 3


def test_references_put_words_in_order():
    from navloop.envs.houses.landmarks import Reference

    rng = np.random.default_rng(0)
    assert phrase(Reference("sofa", "brown", "leather"), rng) == "brown leather sofa"
    assert phrase(Reference("desk", "oak", "wood"), rng) == "oak desk"
    assert phrase(Reference("tall lamp", "white", ""), rng) == "tall white lamp"
    assert phrase(Reference("desk", "", "wood"), rng) == "wooden desk"
    assert phrase(Reference("plant", "green", ""), rng) == "plant in the green pot"
