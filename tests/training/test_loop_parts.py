"""Parts of the loop: steps are done once, tours are dealt out as said, verdicts follow their rule, costs add up."""

from __future__ import annotations

import io
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from rich.console import Console
from short_tours import make_tours, recipe
from stored_walks import ABOUT, fill, made_record, made_trajectory

from navloop.configs.loader import load
from navloop.configs.loop import JudgeConfig, ToursConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import Metrics
from navloop.envs.simulator import Action
from navloop.training.filters import Corrected
from navloop.training.loop.descriptions import Account
from navloop.training.loop.kept import keep, lay_out, rule_of
from navloop.training.loop.lineage import costs, write_lineage
from navloop.training.loop.memory import forgotten, forgotten_in_general, known_before, remember, why_refused
from navloop.training.loop.plan import _held
from navloop.training.loop.report import _known
from navloop.training.loop.speech import told_rightly
from navloop.training.loop.steps import Step, Steps, read_steps
from navloop.training.loop.table import dropped, known_table, tell_costs, tell_round
from navloop.training.loop.tours import LabelledTours, expert_frames, write_tours
from navloop.training.loop.verdict import Gap, ends_near, gap, judge, reach
from navloop.training.rollouts import Rollouts, Rules, protocol_of
from navloop.training.rows import Row
from navloop.training.store import StoreWriter, open_store


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    """Eight tours of two wordings each, in two houses."""
    return make_tours(tmp_path_factory.mktemp("tours") / "short") / "episodes" / "train" / "train.json.gz"


def tours_of(episodes) -> list[tuple[str, str]]:
    return [episode.tour for episode in episodes]


def ids_of(episodes) -> list[str]:
    return [episode.episode_id for episode in episodes]


def test_a_step_is_done_once_and_counts_its_starts(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        if len(calls) == 1:
            folder.mkdir(parents=True)
            (folder / "part").write_text("")
            later = (tmp_path / "steps" / "round_01.tours.begun").stat().st_mtime + 100
            os.utime(folder / "part", (later, later))
            raise RuntimeError("as if it was killed")
        return {"seeds": (1, 2)}

    with pytest.raises(RuntimeError, match="killed"):
        Steps(tmp_path, Console(quiet=True)).do("round_01/tours", "walk", work)
    done = Steps(tmp_path, Console(quiet=True)).do("round_01/tours", "walk", work)
    again = Steps(tmp_path, Console(quiet=True)).do("round_01/tours", "walk", work)
    assert calls == [tmp_path / "round_01" / "tours"] * 2
    assert done == again == read_steps(tmp_path)["round_01/tours"]
    assert done.starts == 2 and done.found == {"seeds": [1, 2]}
    assert done.seconds == pytest.approx(100, abs=5)  # those of the start that was killed are counted


def test_steps_come_in_their_order_whatever_the_clock_says(tmp_path):
    steps = Steps(tmp_path, Console(quiet=True))
    for hour, name in enumerate(("first", "speaker", "round_01/tours")):
        steps.do(name, "", lambda folder: {})
        os.utime(tmp_path / "steps" / f"{name.replace('/', '.')}.json", (1e9 - 3600 * hour,) * 2)
    assert list(read_steps(tmp_path)) == ["first", "speaker", "round_01/tours"]


def test_a_torn_record_of_a_step_is_named(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "first.json").write_text('{"name":')
    with pytest.raises(ValueError, match=r"first\.json: not the record of a step .* delete it to do the step again"):
        read_steps(tmp_path)


def test_rounds_walk_first_what_nobody_walked(train):
    tours = LabelledTours(train, 0.5, seed=3)
    known = set(tours_of(tours.first))
    assert len(tours.first) == 8 and len(known) == 4  # both wordings of four tours
    rounds = [tours.for_round(number, 3) for number in (1, 2, 3)]
    assert [len(set(tours_of(one))) for one in rounds] == [3, 3, 3]
    fresh = [set(tours_of(one)) - known for one in rounds]
    assert len(fresh[0]) == 3 and not fresh[0] & set(tours_of(rounds[1][:1])) and len(fresh[0] | fresh[1]) == 4
    assert ids_of(tours.for_round(1, 3)) == ids_of(LabelledTours(train, 0.5, seed=3).for_round(1, 3))


def test_an_expert_walks_the_same_tours_and_the_nearest_number_of_frames(train):
    tours = LabelledTours(train, 0.5, seed=3)
    lengths = {e.episode_id: len(e.ground_truth.actions) for e in read_episodes(train).episodes}
    chosen = tours.for_expert(1, 3, frames=200)
    assert ids_of(chosen[:3]) == ids_of(tours.for_round(1, 3))
    ids = ids_of(chosen)
    assert len(set(ids)) == len(ids)
    total = sum(lengths[name] for name in ids)
    assert abs(total - 200) <= max(lengths.values()) / 2
    assert len(tours.for_expert(1, 3, frames=10**6)) == 16  # all wordings of all tours, and no more
    every = tours_of(tours.for_expert(1, 3, frames=10**6))
    known = set(tours_of(tours.first))
    assert len(set(every[:4])) == 4 and not known & set(every[:4]), "what nobody walked comes first"
    assert set(every[4:8]) == known and len(set(every[8:])) == 8, "then the first agent's tours, then other wordings"


def test_what_an_earlier_round_walked_is_not_new_to_the_expert(train):
    tours = LabelledTours(train, 0.5, seed=3)
    (walked,) = tours_of(tours.for_round(1, 1))
    every = tours_of(tours.for_expert(2, 1, frames=10**6))
    assert len(set(every[:3])) == 3 and not {walked, *tours_of(tours.first)} & set(every[:3])
    assert walked in every[3:8]


def test_frames_of_an_expert_that_stops_early_are_those_until_then(train):
    tours = LabelledTours(train, 0.5, seed=3)
    every = read_episodes(train).episodes
    ground = recipe(train.parents[2]).episodes
    rollouts = Rollouts(ground, protocol_of(ground), 4)
    walked = [one.walk for one in rollouts.collect(None, every, Rules(beta=1.0, stop_within=1.0), seed=0)]
    rollouts.close()
    frames = sum(len(walk.actions) for walk in walked)
    assert frames < 0.95 * sum(len(episode.ground_truth.actions) for episode in every)
    assert sum(expert_frames(episode, 1.0) for episode in every) == pytest.approx(frames, rel=0.03)
    assert len(tours.for_expert(1, 3, 200, 1.0)) > len(tours.for_expert(1, 3, 200))


def test_tours_are_written_with_their_ground_truth(train, tmp_path):
    episodes = LabelledTours(train, 0.5, seed=3).for_round(1, 2)
    written = read_episodes(write_tours(tmp_path / "train.json.gz", episodes)).episodes
    assert [e.episode_id for e in written] == [e.episode_id for e in episodes]
    assert np.array_equal(written[0].ground_truth.actions, episodes[0].ground_truth.actions)


def rows(spl: list[float], error: list[float] | None = None) -> list[Row]:
    """Episodes of four tours in two scenes, two each."""
    base = Metrics(
        success=1.0, spl=1.0, oracle_success=1.0, navigation_error=1.0, oracle_error=1.0, ndtw=1.0, sdtw=1.0, cls=1.0,
        path_length=1.0, steps=1, collisions=0, collision_rate=0.0, unreachable=False,
    )  # fmt: skip
    return [
        Row(
            episode_id=str(i), trajectory_id=str(i // 2), scene_id=f"s{i // 4}", seed=0,
            metrics=replace(base, spl=value, success=float(value > 0), navigation_error=1.0 if error is None else error[i]),
            actions=np.zeros(1, np.int64), positions=np.zeros((2, 3)), distances=np.zeros(2), collided=np.zeros(1, bool),
        )
        for i, value in enumerate(spl)
    ]  # fmt: skip


def test_gains_are_between_means_over_seeds_of_the_same_episodes():
    before = [rows([0.5] * 8)]
    arm = [rows([0.5] * 8), rows([0.7] * 8), rows([0.9] * 8)]
    found = gap(("loop", arm), ("before", before), "spl")
    assert found.mean == pytest.approx(0.2) and found.seeds == pytest.approx((0.0, 0.2, 0.4))
    assert reach("loop", arm, ["spl"])[0].mean == pytest.approx(0.7)
    assert reach("loop", arm, ["spl"])[0].seeds == pytest.approx((0.5, 0.7, 0.9))


def test_a_smaller_error_is_a_gain():
    far, near = [rows([1.0] * 8, [3.0] * 8)], [rows([1.0] * 8, [1.0] * 8)]
    assert gap(("loop", near), ("before", far), "navigation_error").mean == pytest.approx(2.0)


def test_walks_near_the_goal_are_counted_over_all_seeds():
    ends = [0.5, 1.0, 1.5, 2.0, float("inf"), 0.0, 3.0, 4.0]
    assert ends_near([rows([1.0] * 8, ends), rows([1.0] * 8, [0.9] * 8)]) == pytest.approx([(3 + 8) / 16, (5 + 8) / 16])


def test_a_store_that_a_kill_left_before_it_began_is_no_part_of_the_lineage(tmp_path):
    fill(tmp_path / "round_01" / "tours" / "store", range(2))
    (tmp_path / "round_02" / "tours" / "store").mkdir(parents=True)
    said = write_lineage(tmp_path, [], [])
    assert [one["folder"] for one in said["stores"]] == ["round_01/tours/store"]


def test_words_that_happen_to_be_those_that_were_told_are_a_description_still(tmp_path):
    store = open_store(fill(tmp_path / "free", range(2)))
    told = [
        Account(source="free", index=e.index, key=e.key, text=text, original=e.instruction, scores={}, dropped="")
        for e, text in zip(store.episodes, ("Walk number 0.", "Elsewhere."), strict=True)
    ]
    keep({"free": store}, told, 1, tmp_path / "kept")
    kept = open_store(tmp_path / "kept" / "store").episodes
    assert [e.relabelled for e in kept] == [True, True]
    assert sorted(e.instruction for e in kept) == ["Elsewhere.", "Walk number 0."]


def test_episodes_without_a_finite_value_stand_aside():
    lost = [float("inf"), *[1.0] * 7]
    found = reach("loop", [rows([1.0] * 8, lost)], ["navigation_error"])[0]
    assert (found.episodes, found.mean) == (7, 1.0)


def gain(mean: float, low: float | None, against: str = "before", seeds: tuple[float, ...] = ()) -> Gap:
    p_value = None if low is None else 0.01 if low > 0 else 0.2
    return Gap(arm="loop", against=against, metric="spl", mean=mean, low=low, high=0.5, p_value=p_value, seeds=seeds)


@pytest.mark.parametrize(
    ("rule", "mean", "low", "accepted"),
    [
        ("point", 0.1, -0.1, True),
        ("point", 0.0, -0.1, False),
        ("interval", 0.1, -0.1, False),
        ("interval", 0.1, 0.01, True),
        ("interval", 0.1, None, False),
    ],
)
def test_a_round_is_accepted_by_its_rule(rule, mean, low, accepted):
    config = JudgeConfig(recipe="eval_short_tiny", rule=rule, against=("before",))
    assert judge([gain(mean, low)], config).accepted is accepted


@pytest.mark.parametrize("rule", ["point", "interval"])
def test_what_is_rounding_is_no_gain(rule):
    config = JudgeConfig(recipe="eval_short_tiny", rule=rule, against=("before",))
    values = np.random.default_rng(0).random((3, 8))
    seeds = [rows(list(values.mean(0)), [1.0] * 8)] * 3
    same = gap(("loop", seeds), ("before", seeds[:1]), "spl")
    assert not judge([replace(same, mean=5e-19, low=1e-19, high=1e-18)], config).accepted


def test_what_varies_nowhere_is_not_sure_where_houses_are_few():
    ours, theirs = rows([0.5] * 8, [1.0] * 8), rows([0.25] * 8, [1.0] * 8)
    found = gap(("loop", [ours]), ("before", [theirs]), "spl")
    assert found.low == found.high == 0.25 and found.p_value > 0.05 and not found.sure
    config = JudgeConfig(recipe="eval_short_tiny", rule="interval", against=("before",))
    assert not judge([found], config).accepted


def test_the_agent_that_goes_on_has_to_be_better_itself():
    config = JudgeConfig(recipe="eval_short_tiny", rule="interval", against=("before",))
    assert judge([gain(0.05, 0.01, seeds=(0.01, 0.1, 0.04))], config).accepted
    verdict = judge([gain(0.05, 0.01, seeds=(-0.05, 0.1, 0.1))], config)
    assert not verdict.accepted
    assert verdict.why.endswith("the agent that would go on, of the first seed, has no gain: spl −5.0 against before")


def test_a_round_has_to_be_better_than_all_that_are_named():
    config = JudgeConfig(recipe="eval_short_tiny", rule="point", against=("before", "old"))
    assert judge([gain(0.1, 0.0), gain(0.1, 0.0, "old")], config).accepted
    verdict = judge([gain(0.1, 0.0), gain(-0.1, -0.2, "old")], config)
    assert not verdict.accepted and verdict.why == "spl −10.0 (−20.0 to +50.0) against old: no gain"
    assert judge([gain(0.1, 0.0), gain(0.1, 0.0, "old")], config, "forgot too much").why == "forgot too much"


def recall(value: float, low: float | None = None, chance: float | None = 0.1) -> dict[str, object]:
    return {"task": "retrieval", "kind": "share", "value": value, "low": low, "chance": chance}


def test_what_is_forgotten_is_a_share_of_what_both_ways_are_above_chance():
    names = ("retrieval text→video R@5", "retrieval video→text R@5", "retrieval text→video R@1")
    before, after = (
        dict(zip(names, map(recall, values), strict=True)) for values in ((0.4, 0.6, 1.0), (0.3, 0.5, 0.0))
    )
    assert forgotten(before, after) == pytest.approx(0.2 / 0.8)
    assert forgotten(before, before) == 0
    assert forgotten({}, after) is None
    few = [{name: scores[name] for name in names if name.endswith("R@1")} for scores in (before, after)]
    assert forgotten(*few) == pytest.approx(1 / 0.9)  # among five films or fewer there is no R@5


def test_an_encoder_that_is_not_surely_above_chance_has_nothing_to_forget():
    known, lucky = {"retrieval text→video R@5": recall(0.4, 0.2)}, {"retrieval text→video R@5": recall(0.2, 0.05)}
    assert forgotten(known, lucky) == pytest.approx(2 / 3)
    assert forgotten(lucky, known) is None and not why_refused({"forgotten": forgotten(lucky, known)}, 0.0)
    found = {"round": 1, "verdict": {"accepted": True, "why": ""}, "gaps": (), "kept": {}, "forgotten": None}
    told = tell_round(load("loop_tiny", kind="loop"), found)[-1]
    assert told.endswith("the encoder knew nothing surely above chance, so that nobody can tell what it forgot")


def test_the_speaker_s_words_are_set_beside_those_of_other_walks_and_people_s():
    scores = {
        "rooms": 0.5,
        "rooms_low": 0.42,
        "rooms_high": 0.58,
        "rooms_others": 0.2,
        "rooms_people": 0.9,
        "turns": 0.7,
        "turns_others": 0.3,
        "bleu": 0.2,
        "walks": 48,
    }
    step = Step(name="speaker", words="", seconds=1.0, starts=1, number=1, found={"scores": {"val_unseen": scores}})
    walks, told = told_rightly({"speaker": step})
    assert walks == "48 walks of val_unseen"
    assert [(one.speaker, one.others, one.people) for one in told] == [(0.5, 0.2, 0.9), (0.7, 0.3, None)]
    assert [one.ends for one in told] == ["42–58", ""]
    assert told_rightly({}) == ("", [])


def test_of_other_videos_the_first_share_of_the_task_that_lost_most_counts():
    def scores(top1, top5, bits):
        return {
            "classes top-1": {**recall(top1, chance=None), "task": "classes"},
            "classes top-5": {**recall(top5, chance=None), "task": "classes"},
            "captions length": {**recall(9.0, chance=None), "task": "captions", "kind": "number"},
            "captions CIDEr": {**recall(bits, chance=None), "task": "captions"},
        }

    assert forgotten_in_general(scores(0.5, 0.9, 0.3), scores(0.3, 0.1, 0.3)) == pytest.approx(0.4)
    assert (
        forgotten_in_general(scores(0.5, 0.9, 0.3), scores(0.9, 0.1, 0.0)) == 1
    )  # what one gains hides no loss of another
    assert forgotten_in_general(scores(0.0, 0.9, 0.0), scores(0.3, 0.1, 0.3)) is None


def test_a_round_is_refused_for_all_that_its_encoder_forgot():
    found = {"forgotten": 0.3, "forgotten_in_general": 0.05}
    assert why_refused(found, 0.1) == "the encoder lost 30% of its retrieval on films of validation tours, over 10%"
    assert why_refused(found, 0.01).endswith("; the encoder lost 5% of what it knew of other videos, over 1%")
    assert not why_refused(found, None) and not why_refused({"forgotten": None}, 0.0)


def test_what_rounds_forget_one_after_the_other_adds_up():
    knows = {"first": 0.9, "second": 0.84, "third": 0.78}

    def step(name, words, work):
        encoder = {"before": knows[before], "loop": knows[after]}[name.split("_")[1]]
        return {"retrieval text→video R@5": recall(encoder, encoder - 0.05)}

    plan, paths = mock.Mock(general=None), {"before": Path("a"), "loop": Path("b")}
    before, after = "first", "second"
    one = remember(plan, paths, Path("films"), step, Console(quiet=True), {})
    assert one["forgotten"] == pytest.approx(0.06 / 0.8) and "forgotten_since_first" not in one
    before, after = "second", "third"
    two = remember(plan, paths, Path("films"), step, Console(quiet=True), known_before(one))
    assert two["forgotten"] == pytest.approx(0.06 / 0.74)
    assert two["forgotten_since_first"] == pytest.approx(0.12 / 0.8)
    assert not why_refused(one, 0.1)
    assert why_refused(two, 0.1) == (
        "the encoder lost 15% of its retrieval on films of validation tours since before the first round, over 10%"
    )


def test_captions_have_no_chance_and_are_shown_all_the_same():
    scores = {
        "captions BLEU": {"task": "captions", "kind": "share", "value": 0.2, "low": 0.1, "high": 0.3, "chance": None}
    }
    other = {"classes top-1": {**recall(0.5), "high": 0.6}}
    found = {"round": 1, "general": {"before": scores, "loop": scores}}
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(known_table(found, "general"))
    assert "chance" in (text := console.export_text()) and "20.0" in text and "–" in text
    page = _known({"before": {**scores, **other}, "loop": other})
    assert [[cell["mean"] for cell in row["cells"]] for row in page["rows"]] == [["20.0", "50.0"], ["–", "50.0"]]
    assert [cell["mean"] for cell in page["chance"]] == ["–", "10.0"]


def test_costs_add_up():
    found = {
        "round": 1,
        "collected": {"tours": {"walks": 3, "frames": 90}, "free": {"walks": 2, "frames": 30}},
        "kept": {"walks": 4, "frames": 72},
    }
    seconds = {
        "tours": 10.0,
        "free": 5.0,
        "described": 3.0,
        "kept": 2.0,
        "loop_0": 30.0,
        "old_0": 25.0,
        "expert": 5.0,
        "verdict": 20.0,
    }
    steps = {f"round_01/{n}": Step(name=n, words="", seconds=s, starts=1) for n, s in seconds.items()}
    steps["first"] = Step(name="first", words="", seconds=99.0, starts=1)
    cost = costs(found, steps, 4)
    assert (cost["walks"], cost["frames"], cost["kept_walks"], cost["kept_frames"]) == (5, 120, 4, 72)
    assert (cost["collecting"], cost["learning"], cost["controls"], cost["judging"]) == (20.0, 30.0, 30.0, 20.0)
    assert cost["kept_hours"] == pytest.approx(0.005) and cost["seconds_per_hour"] == pytest.approx(4000.0)
    assert json.dumps(cost, allow_nan=False)
    told = tell_costs({**found, "costs": cost})
    assert "0.3 minutes to walk and describe 120 frames, of which 72 are kept: 67 minutes a kept hour" in told
    assert told.endswith("0.5 minutes to learn from them, 0.5 for the other arms, 0.3 to judge")
    assert "of which none is kept; 0.5 minutes" in tell_costs({**found, "costs": {**cost, "kept_frames": 0}})
    found["kept"]["corrected"] = {"walks": 4, "frames": 28}
    more = costs(found, steps, 4)
    assert (more["walks"], more["frames"], more["kept_walks"], more["kept_frames"]) == (9, 148, 8, 100)


def test_films_have_words_for_what_they_show(tmp_path):
    """Of walks that reached the goal directly, those that the expert would have ended there too; and what was told afterwards."""
    stops = {False: Action.FORWARD, True: Action.STOP}
    with StoreWriter(tmp_path / "store", ABOUT) as writer:
        for number, (arrived, success, relabelled) in enumerate(itertools.product([False, True], repeat=3)):
            original = "Elsewhere." if relabelled else None
            record = made_record(number, success=success, original_instruction=original, metrics={"spl": 1.0})
            wanted = np.append(record.expert_actions[:-1], stops[arrived])
            writer.append(replace(record, expert_actions=wanted))
        writer.finish()
    lay_out(open_store(tmp_path / "store"), tmp_path)
    shown = [json.loads(line)["captions"] for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert sorted(shown) == [[f"Walk number {number}."] for number in (1, 3, 5, 6, 7)]


def test_the_rule_for_corrected_tours_knows_where_their_expert_stops():
    """Walks that an expert ends a metre from the goal have arrived; by half a metre none ever would."""
    assert rule_of(None, 1.0) is None and rule_of(ToursConfig(), 1.0) is None
    corrected = ToursConfig(keep="corrected")
    assert rule_of(corrected, None) == Corrected() == rule_of(corrected, 0.25)
    positions = np.column_stack([np.arange(21) * 0.25, np.zeros(21), np.zeros(21)])  # 5 m walked, 3.1 m won
    made = made_trajectory(np.random.default_rng(0), 20)
    walk = replace(made, positions=positions, distances_to_goal=np.linspace(4.1, 1.0, 21))
    rule = rule_of(corrected, 1.0)
    assert rule is not None and rule.why_not(walk) == "" and Corrected().why_not(walk) == "missed the goal"
    direct = replace(walk, distances_to_goal=np.linspace(6.0, 1.0, 21))
    assert rule.why_not(direct) == "nothing corrected"


def test_of_walks_that_an_expert_corrected_a_rule_may_keep_some(tmp_path):
    store = open_store(fill(tmp_path / "tours", range(8)))
    lengths = [episode.length for episode in store.episodes]

    class Long(Corrected):
        def why_not(self, trajectory):
            return "" if len(trajectory.actions) > 4 else "too short"

    found = keep({"tours": store}, [], 1, tmp_path / "some", Long())
    kept = open_store(tmp_path / "some" / "store")
    assert sorted(episode.length for episode in kept.episodes) == sorted(n for n in lengths if n > 4)
    assert found["dropped"] == {"tours": {"too short": sum(n <= 4 for n in lengths)}}
    every = keep({"tours": store}, [], 1, tmp_path / "all")
    assert every["walks"] == 8 and every["dropped"] == {"tours": {}}
    told = {"described": {"sources": {}}, "kept": found}
    assert dropped(told, "tours") == {"too short": sum(n <= 4 for n in lengths)}


def test_a_loop_holds_its_parts_to_lanes_and_device_as_it_always_did():
    first = load("imitation_tiny", kind="train")
    held = {name: _held(first.model_copy(update={name: value})) for name, value in (("lanes", 3), ("device", "cpu"))}
    assert all(text != _held(first) for text in held.values())
    assert _held(first.model_copy(update={"workers": 3, "keep": 9})) == _held(first)
