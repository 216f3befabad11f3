"""The loop, end to end on a handful of tours: killed and gone on with, arms at equal steps, and a page that says what came of it."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_loop import write_loop
from striking import begin, kill_when

from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.loader import RecipeError, load
from navloop.configs.loop import LoopConfig
from navloop.files import fingerprint
from navloop.runs import RunError
from navloop.training.loop.checks import read_plan
from navloop.training.loop.descriptions import read_accounts
from navloop.training.loop.kept import NothingKept
from navloop.training.loop.memory import forgotten_in_general
from navloop.training.loop.report import write_loop_report
from navloop.training.loop.round import Round
from navloop.training.loop.run import LoopFound, run_loop
from navloop.training.loop.steps import read_steps
from navloop.training.loop.summary import is_loop
from navloop.training.loop.table import print_loop, tell_round
from navloop.training.store import open_store

ARMS = ("loop_0", "old_0", "expert_0", "without_tours_0")
NAMES = {name.removesuffix("_0") for name in ARMS}


def go(config: LoopConfig, folder: Path) -> LoopFound:
    return run_loop(config, folder, Console(quiet=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, LoopFound]:
    """A loop that was killed once and gone on with."""
    root = tmp_path_factory.mktemp("loop")
    config = write_loop(root / "recipes")
    kill_when(begin(go, config, root / "run"), (root / "run" / "steps" / "films.begun").is_file)
    return root / "run", go(config, root / "run")


def found_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["rounds"][0]


def test_a_killed_step_is_begun_again_and_no_other(run):
    steps = read_steps(run[0])
    assert steps["films"].starts == 2 and steps["houses"].starts == 1
    assert all(step.starts == 1 for name, step in steps.items() if name.startswith("round_01"))


def test_all_sources_and_arms_are_there(run):
    found = found_of(run[0])
    assert [(source, one["walks"]) for source, one in found["collected"].items()] == [
        ("tours", 4),
        ("ground", 3),
        ("free", 4),
    ]
    assert found["collected"]["ground"]["success"] == 1.0  # an expert walked
    assert {one["arm"] for one in found["reached"]} == {"before", *NAMES}
    assert {(one["arm"], one["against"]) for one in found["gaps"]} == {
        ("loop", "before"),
        ("old", "before"),
        ("expert", "before"),
        ("without_tours", "before"),
        ("loop", "old"),
        ("loop", "expert"),
        ("loop", "without_tours"),
    }


def test_an_arm_without_a_source_learns_from_what_the_others_brought(run):
    steps, root = read_steps(run[0]), run[0] / "round_01"
    kept, others = (open_store(root / name / "store").episodes for name in ("kept", "without_tours"))
    assert [e.key for e in others] == [e.key for e in kept if e.source != "tours"] and 0 < len(others) < len(kept)
    old, arm = (steps[f"round_01/{name}"].found for name in ("old_0", "without_tours_0"))
    assert arm["walks"] - old["walks"] == len(others)
    assert arm["frames"] - old["frames"] == sum(e.length for e in others)
    assert len(steps["round_01/encoder_without_tours"].found["films"]) == 2


def test_steps_are_foretold(run):
    assert len(read_steps(run[0])) == read_plan(write_loop(run[0].parent / "recipes")).steps


def test_arms_learn_for_equal_steps_and_the_expert_has_equal_frames(run):
    steps = read_steps(run[0])
    arms = {name: steps[f"round_01/{name}"].found for name in ARMS}
    assert {arm["steps"] for arm in arms.values()} == {4}
    kept = found_of(run[0])["kept"]["frames"]
    old = arms["old_0"]["frames"]
    assert arms["loop_0"]["frames"] == old + kept
    longest = max(e.length for e in open_store(run[0] / "round_01" / "expert" / "store").episodes)
    assert abs(arms["expert_0"]["frames"] - old - kept) <= longest


def test_what_is_described_is_kept_with_the_words_and_the_rest_has_a_reason(run):
    accounts = read_accounts(run[0] / "round_01" / "described")
    assert sum(account.source == "ground" for account in accounts) == 3
    kept = open_store(run[0] / "round_01" / "kept" / "store")
    said = {e.key: e for e in kept.episodes if e.source != "tours"}
    assert said and set(said) == {account.key for account in accounts if not account.dropped}
    for account in accounts:
        if not account.dropped:
            assert said[account.key].instruction == account.text
            assert said[account.key].original_instruction == account.original
            assert said[account.key].why.startswith("followed again, nDTW")
    assert sum(e.source == "tours" for e in kept.episodes) == 4


def test_it_is_told_how_much_is_followed_without_its_words(run):
    found, accounts = found_of(run[0]), read_accounts(run[0] / "round_01" / "described")
    counts = found["described"]["followed"]
    told = {source: [a for a in accounts if a.source == source and "ndtw" in a.scores] for source in counts}
    assert {s: one["told"] for s, one in counts.items()} == {s: len(own) for s, own in told.items()}
    assert counts["ground"] == {"told": 3, "own": 3, "others": 3}  # this loop asks for an nDTW of 0
    line = "told what the speaker says of ground the agent follows 100% of 3 walks, told the words of others 100%"
    assert line in tell_round(load(str(run[0]), kind="loop"), found)


def test_a_verdict_says_what_it_rests_on(run):
    found = found_of(run[0])
    header = json.loads((run[0] / "round_01" / "verdict" / "eval" / "header.json").read_text())
    judged = found["judged"]
    assert judged == {name: header[name] for name in judged} and judged["world"] == "embedded"
    assert set(judged["weights"]) == {"before", *ARMS} and judged["episodes"] == 2
    lines = tell_round(load(str(run[0]), kind="loop"), found)
    (told,) = [line for line in lines if line.startswith("judged by houses@1")]
    assert judged["data"]["episodes"] in told
    assert told[1:] in html.unescape(write_loop_report(run[0]).read_text())


def test_what_every_encoder_knows_of_other_videos_is_measured_and_told(run):
    found = found_of(run[0])
    assert set(found["general"]) == {"before", *NAMES}
    assert all(one["retrieval text→video R@1"]["chance"] == 0.25 for one in found["general"].values())
    lost = forgotten_in_general(found["general"]["before"], found["general"]["loop"])
    assert found["forgotten_in_general"] == lost
    told = " ".join(tell_round(load(str(run[0]), kind="loop"), found))
    assert "of what it knew of other videos the encoder " in told
    assert "What encoders know of other videos" in write_loop_report(run[0]).read_text()


def test_each_arm_sees_with_an_encoder_that_learned_from_its_own_films(run):
    steps, retrieval = read_steps(run[0]), found_of(run[0])["retrieval"]
    assert set(retrieval) == {"before", *NAMES}
    encoders = {"before": run[0] / "encoder"} | {arm: run[0] / "round_01" / f"encoder_{arm}" for arm in NAMES}
    weights = {arm: fingerprint(folder / "last" / "encoder.safetensors") for arm, folder in encoders.items()}
    assert len(set(weights.values())) == 5
    clips = {arm: steps[f"round_01/encoder_{arm}"].found for arm in NAMES}
    assert len({one["step"] for one in clips.values()}) == 1
    seen = {arm: load_agent(run[0] / "round_01" / f"{arm}_0" / "last" / "agent").perception.digest for arm in clips}
    assert len(set(seen.values())) == 4


def test_lineage_names_weights_by_their_digests(run):
    lineage = json.loads((run[0] / "lineage.json").read_text())
    digests = {agent["name"]: agent for agent in lineage["agents"]}
    assert set(digests) == {"first", *ARMS}
    for name in ARMS:
        assert digests[name]["digest"] == agent_digest(run[0] / "round_01" / name / "last" / "agent")
        assert digests[name]["parent"] == digests["first"]["digest"]
    assert lineage["stands"] == agent_digest(run[1].agent)
    encoders = {one["name"]: one for one in lineage["encoders"]}
    assert set(encoders) == {"encoder", *(f"encoder_{name}" for name in NAMES)}
    assert len({one["digest"] for one in encoders.values()}) == 5
    assert {one["parent"] for name, one in encoders.items() if name != "encoder"} == {encoders["encoder"]["digest"]}
    assert len(encoders["encoder_loop"]["films"]) == 2 and len(encoders["encoder_old"]["films"]) == 1
    stores = {store["folder"]: store for store in lineage["stores"]}
    assert stores["round_01/free/store"]["walked by"] == [f"agent {digests['first']['digest']}"]
    assert stores["round_01/expert/store"]["walked by"] == ["expert"]


def test_a_finished_loop_is_left_as_it_is(run):
    before = {path: path.stat().st_mtime_ns for path in run[0].glob("round_01/*/last/agent/*")}
    summary = (run[0] / "summary.json").read_bytes()
    again = run_loop(write_loop(run[0].parent / "recipes"), run[0], Console(quiet=True))
    assert again.rounds == run[1].rounds
    assert (run[0] / "summary.json").read_bytes() == summary
    assert {path: path.stat().st_mtime_ns for path in run[0].glob("round_01/*/last/agent/*")} == before


def test_fewer_rounds_than_are_done_are_refused(run, tmp_path):
    shutil.copytree(run[0] / "steps", tmp_path / "steps")
    shutil.copy(tmp_path / "steps" / "round_01.verdict.json", tmp_path / "steps" / "round_02.verdict.json")
    shutil.copytree(run[0] / "round_01" / "verdict", tmp_path / "round_01" / "verdict")
    for name in ("config.yaml", "provenance.json"):
        shutil.copy(run[0] / name, tmp_path)
    with pytest.raises(ValueError, match="2 rounds are done here, and rounds is 1, so that its page would forget some"):
        run_loop(write_loop(run[0].parent / "recipes"), tmp_path, Console(quiet=True))
    for name in ("config.yaml", "provenance.json"):
        assert (tmp_path / name).read_bytes() == (run[0] / name).read_bytes()


def test_a_part_recipe_that_changed_is_refused_by_name(run):
    config = write_loop(run[0].parent / "recipes")
    file = Path(config.retrain.recipe)
    before = file.read_text()
    file.write_text(before.replace("keep: 2", "keep: 3"))  # no result depends on it
    assert "keep: 3" in file.read_text()
    run_loop(config, run[0], Console(quiet=True))
    file.write_text(before.replace("steps: 4", "steps: 5"))
    with pytest.raises(
        RunError, match=r"began differently: data of recipe retrain was sha256:\w+, now sha256:\w+\. Take"
    ):
        run_loop(config, run[0], Console(quiet=True))
    file.write_text(before)
    run_loop(config, run[0], Console(quiet=True))


def test_a_round_of_which_nothing_is_kept_ends_the_loop(run, monkeypatch):
    def none_from(number: int) -> None:
        def run_round(self: Round) -> dict[str, Any]:
            if self.number >= number:
                raise NothingKept(f"no walk of round {self.number} is kept")
            return real(self)

        monkeypatch.setattr(Round, "run", run_round)

    real, config = Round.run, write_loop(run[0].parent / "recipes", stop={"refused": None})
    summary = (run[0] / "summary.json").read_bytes()
    none_from(2)
    found = run_loop(config.model_copy(update={"rounds": 3}), run[0], Console(quiet=True))
    said = json.loads((run[0] / "summary.json").read_text())
    assert found.ended == said["ended"] == "no walk of round 2 was kept" and said["complete"]
    assert found.rounds == run[1].rounds and found.agent == run[1].agent
    none_from(1)
    with pytest.raises(NothingKept, match="round 1"):
        run_loop(config, run[0], Console(quiet=True))
    monkeypatch.undo()
    run_loop(write_loop(run[0].parent / "recipes"), run[0], Console(quiet=True))
    assert (run[0] / "summary.json").read_bytes() == summary


def test_the_table_says_plainly_what_each_arm_reached(run):
    console = Console(width=140, record=True, quiet=True)
    console.quiet = False
    with open(os.devnull, "w") as nowhere:
        console.file = nowhere
        print_loop(write_loop(run[0].parent / "recipes"), run[1], console)
    text = console.export_text()
    assert all(f"retrieval {way} R@1" in found_of(run[0])["retrieval"]["loop"] for way in ("text→video", "video→text"))
    assert "unseen films found by their words" in text and "text→video R@1 %" in text
    verdict = "accepted" if found_of(run[0])["verdict"]["accepted"] else "refused"
    assert f"round 1 is {verdict} (point rule on spl)" in text
    assert re.search(r"tours brought the loop [+−]\d+\.\d", text)
    assert re.search(r"the loop is .* than the arm old", text) and re.search(
        r"the loop is .* than the arm expert", text
    )


def test_the_page_needs_nothing_else(run):
    page = write_loop_report(run[0]).read_text()
    assert is_loop(run[0])
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', page)
    assert page.count("<video") == page.count("data:video/mp4;base64,") >= 3
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert '<th scope="row">chance</th>' in page, "what encoders find is told beside chance"


def test_the_page_of_a_package_that_is_no_checkout_names_no_commit(run, monkeypatch):
    monkeypatch.setattr("navloop.training.loop.report.show_examples", lambda *told: [])
    told = run[0] / "provenance.json"
    before = told.read_text()
    told.write_text(json.dumps(without(json.loads(before), "commit", "dirty")))
    page = write_loop_report(run[0]).read_text()
    told.write_text(before)
    assert "navloop 0." in page and "commit" not in page.split("<h2>Lineage</h2>")[1]


def without(found: Any, *names: str) -> Any:
    """Return JSON without fields of these names."""
    if isinstance(found, dict):
        return {name: without(value, *names) for name, value in found.items() if name not in names}
    return [without(value, *names) for value in found] if isinstance(found, list) else found


def test_recipes_that_do_not_go_together_are_refused_before_anything_runs(tmp_path):
    config = write_loop(tmp_path / "recipes")
    retrain = config.retrain.model_copy(update={"set": ("learning.steps=null",)})
    with pytest.raises(RecipeError, match=r"retrain: .* add learning\.steps=N to retrain\.set"):
        read_plan(config.model_copy(update={"retrain": retrain}))
    houses = config.houses.model_copy(update={"set": ("extra_houses=0",)})
    with pytest.raises(RecipeError, match=r"houses: .* add extra_houses=N to houses\.set"):
        run_loop(config.model_copy(update={"houses": houses}), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"speaker: .* must say kind: train, algorithm: speaker"):
        read_plan(config.model_copy(update={"speaker": config.first}))


WALKS = "walks:\n- folder: none\n  episodes: none\n"


@pytest.mark.parametrize(
    "place, change, said",
    [
        ("houses", "val_unseen_tours=0", r"houses: .* no val_unseen_tours, .* add val_unseen_tours=N to houses\.set"),
        ("first", "agent.perception.depth=true", r"first: .* add agent\.perception\.depth=false to first\.set"),
        ("retrain", "agent.policy.width=32", r"retrain: .* says another agent than first, .* set agent\.\* alike"),
        (
            "retrain",
            "collection.stop_within=2",
            r"retrain: collection\.stop_within is 2\.0, and first's is .* alike in",
        ),
        (
            "judge",
            "protocol=vlnce-v1",
            r"judge: protocol is vlnce-v1, .* episodes\.protocol=houses; .* set protocol=hou",
        ),
        (
            "again",
            "engine.steps=null & engine.epochs=2",
            r"encoder\.again: .* add engine\.steps=N to encoder\.again\.set",
        ),
        (
            "again",
            "encoder=internvideo_mm_base_p16_t8",
            r"encoder\.again: .* encoder\.first trains internvideo_mm_tiny",
        ),
        ("first", WALKS, r"first: .* learns from recorded walks, .* leave out walks"),
        ("speaker", "start=old", r"speaker: .* says start, .* add start=null to speaker\.set"),
        ("speaker", "eyes=old", r"speaker: .* says eyes, .* add eyes=null to speaker\.set"),
        (
            "retrieval",
            "tasks.0.gallery=4",
            r"encoder\.retrieval: tasks\.0\.gallery is 4, but 3 .* at most 3, to encoder",
        ),
        ("general", "clips.size=224", r"encoder\.general: clips\.size is 224, .* of 32 pixels; add clips\.size=32 to"),
        ("general", "clips.manifest=[none.jsonl]", r"encoder\.general: none\.jsonl: no such list of videos; set clips"),
    ],
)
def test_a_part_that_does_not_fit_a_loop_is_refused_by_its_place(tmp_path, place, change, said):
    config = write_loop(tmp_path / "recipes")
    if change == WALKS:
        file = Path(config.first.recipe)
        file.write_text(file.read_text().replace("walks: []\n", WALKS))
        change = "collection.iterations=0"
    with pytest.raises(RecipeError, match=said):
        read_plan(changed(config, place, *change.split(" & ")))


def test_speakers_and_judges_need_tours_of_their_own(tmp_path):
    config = write_loop(tmp_path / "recipes", judge={"split": "val_seen"})
    with pytest.raises(RecipeError, match=r"speaker: .* best on val_seen .*; add evaluate=0 to speaker"):
        read_plan(changed(config, "speaker", "evaluate=3"))
    read_plan(changed(config, "speaker", "evaluate=3", "select=val_unseen"))
    bare = changed(config, "houses", "val_seen_tours=0")
    with pytest.raises(RecipeError, match=r"no val_seen_tours, but judge\.split is val_seen; add val_seen_tours=N"):
        read_plan(bare)
    unseen = bare.model_copy(update={"judge": bare.judge.model_copy(update={"split": "val_unseen"})})
    read_plan(unseen)
    with pytest.raises(RecipeError, match=r"no val_seen_tours, but speaker measures on them"):
        read_plan(changed(unseen, "speaker", "evaluate=3"))


@pytest.mark.parametrize("name", ["similarity", "similar_share"])
def test_filters_by_an_encoder_need_one(tmp_path, name):
    with pytest.raises(RecipeError, match=rf"filters\.{name} asks an encoder .* and encoder is null"):
        read_plan(write_loop(tmp_path / "recipes", encoder=None, filters={name: 0.5}))


def changed(config: LoopConfig, place: str, *changes: str) -> LoopConfig:
    """Return a loop with fields of a part set."""
    inside = config if place in LoopConfig.model_fields else config.encoder
    part = getattr(inside, place)
    own = inside.model_copy(update={place: part.model_copy(update={"set": (*part.set, *changes)})})
    return own if inside is config else config.model_copy(update={"encoder": own})


def test_arms_that_are_judged_against_must_learn(tmp_path):
    with pytest.raises(ValueError, match=r"judge\.against names the arm 'old', but arms\.old is false"):
        write_loop(tmp_path / "recipes", judge={"against": ("before", "old")}, arms={"old": False})
    with pytest.raises(ValueError, match="a loop needs a source of walks"):
        write_loop(tmp_path / "recipes", sources={"tours": None, "ground": None, "free": None})
    with pytest.raises(ValueError, match=r"arms\.without names 'free', but sources\.free is null"):
        write_loop(tmp_path / "recipes", sources={"free": None}, arms={"without": ("free",)})
    with pytest.raises(ValueError, match=r"arms\.without: tours is the only source; without it an arm is arms\.old"):
        write_loop(tmp_path / "recipes", sources={"ground": None, "free": None}, arms={"without": ("tours",)})
