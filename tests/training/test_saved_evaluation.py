"""Saved agents are measured in lanes, with controls, and their rows stay with the weights that they were walked with."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from striking import begin, count_lines, wait_until
from wanderers import save_wanderer

from navloop.agent.saving import agent_digest
from navloop.configs.entries import read_entry
from navloop.configs.schema import EvalConfig, ReportConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator
from navloop.training.controls import BlankEnv, shuffle_instructions
from navloop.training.entrants import find_agent, find_entrants
from navloop.training.evaluation import evaluate
from navloop.training.pool import WorkerError
from navloop.training.stories import tell

EPISODES = 8


@pytest.fixture(scope="module")
def base(houses, val_unseen):
    return EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="houses",
        pixels=64,
        agents=("forward",),
        max_episodes=EPISODES,
        workers=1,
        temperature=1.0,
        seed=3,
    )


@pytest.fixture(scope="module")
def wanderer(base, tmp_path_factory):
    return save_wanderer(tmp_path_factory.mktemp("agents") / "wanderer", base)


@pytest.fixture(scope="module")
def config(base, wanderer):
    agents = (str(wanderer), "forward", f"{wanderer}+shuffled", f"{wanderer}+blank")
    return base.model_copy(update={"agents": agents})


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """Every episode walked by itself, in one process."""
    return evaluate(config.model_copy(update={"lanes": 1}), tmp_path_factory.mktemp("saved") / "run")


def rows_of(run):
    return {path.name: path.read_bytes() for path in sorted((run / "rows").iterdir())}


@pytest.mark.parametrize(("lanes", "workers"), [(3, 2), (16, 1)])
def test_rows_do_not_depend_on_lanes_and_workers(config, finished, tmp_path, begun, lanes, workers):
    other = evaluate(config.model_copy(update={"lanes": lanes, "workers": workers}), tmp_path / "run")
    assert len(begun) == workers
    assert rows_of(tmp_path / "run") == rows_of(finished.folder)
    assert not other.missing


def test_results_name_weights_and_cameras(finished, wanderer):
    digest = agent_digest(wanderer)
    names = ["wanderer", "forward", "wanderer+shuffled", "wanderer+blank"]
    assert finished.header.weights == dict(zip(names, [digest, None, digest, digest], strict=True))
    assert list(finished.header.cameras.values()) == [["rgb"], [], ["rgb"], []]
    summary = json.loads((finished.folder / "summary.json").read_text())
    assert summary["agents"]["wanderer+blank"]["weights"] == digest


def test_controls_change_what_an_agent_does(finished):
    def walks(agent):
        return ["".join(map(str, row.actions.tolist())) for row in finished.rows[agent]]

    assert len(set(walks("wanderer"))) > EPISODES / 2
    for control in ("shuffled", "blank"):
        same = sum(a == b for a, b in zip(walks("wanderer"), walks(f"wanderer+{control}"), strict=True))
        assert same < EPISODES - 2


def test_an_agent_under_other_eyes_than_it_was_trained_with_is_told_of(base, wanderer, caplog):
    config = base.model_copy(update={"agents": (str(wanderer),)})
    find_entrants(config)
    assert not caplog.records
    find_entrants(config.model_copy(update={"pixels": 128}))
    assert "was trained under houses@1+rgb64 and is measured under houses@1+rgb128" in caplog.text


def test_the_same_agent_alone_walks_the_same(base, wanderer, finished, tmp_path):
    alone = evaluate(base.model_copy(update={"agents": (f"other={wanderer}",)}), tmp_path / "run")
    lines = (tmp_path / "run" / "rows" / "other.jsonl").read_bytes()
    assert lines == rows_of(finished.folder)["wanderer.jsonl"]
    assert list(alone.rows) == ["other"]


def test_rows_of_another_agent_of_the_same_name_are_not_shown_as_its_own(base, tmp_path):
    run = tmp_path / "run"
    evaluate(base.model_copy(update={"agents": ("mine=random",), "max_episodes": 3}), run)
    before = rows_of(run)
    with pytest.raises(
        ValueError, match=r"its 3 rows of mine are of named:random, and now it is named:forward; enter it"
    ):
        evaluate(base.model_copy(update={"agents": ("mine=forward",), "max_episodes": 3}), run)
    assert rows_of(run) == before
    both = evaluate(base.model_copy(update={"agents": ("other=forward",), "max_episodes": 3}), run)
    assert both.header.sources == {"other": "named:forward", "mine": "named:random"}


def test_rows_of_another_world_are_not_added_to(finished, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    header = json.loads((run / "header.json").read_text())
    (run / "header.json").write_text(json.dumps({**header, "world": "habitat-sim 0.2.5"}))
    before = rows_of(run)
    with pytest.raises(
        ValueError, match=r"its rows were walked in habitat-sim 0\.2\.5, and this is embedded; take another"
    ):
        evaluate(config.model_copy(update={"lanes": 1}), run)
    assert rows_of(run) == before


def test_rows_of_other_weights_are_not_added_to(base, wanderer, tmp_path):
    folder, run = tmp_path / "mine", tmp_path / "run"
    shutil.copytree(wanderer, folder)
    config = base.model_copy(update={"agents": (str(folder),), "max_episodes": 3})
    evaluate(config, run)
    before = rows_of(run)
    save_wanderer(folder, base, seed=1)
    with pytest.raises(ValueError, match=r"its 3 rows of mine are of other weights \(sha256:\w+\) .*'other=FOLDER'"):
        evaluate(config, run)
    assert rows_of(run) == before
    both = evaluate(config.model_copy(update={"agents": (f"new={folder}",)}), run)
    assert list(both.rows) == ["new", "mine"]
    assert both.header.weights["new"] != both.header.weights["mine"]
    assert rows_of(run)["mine.jsonl"] == before["mine.jsonl"]
    (run / "rows" / "mine.jsonl").unlink()
    again = evaluate(config, run)
    assert again.header.weights["mine"] == again.header.weights["new"]
    assert [r.to_line() for r in again.rows["mine"]] == [r.to_line() for r in again.rows["new"]]


def test_weights_that_change_before_a_worker_loads_them_are_refused(base, wanderer, tmp_path):
    shutil.copytree(wanderer, tmp_path / "mine")
    config = base.model_copy(update={"agents": (str(tmp_path / "mine"),)})
    (entrant,) = find_entrants(config)
    save_wanderer(tmp_path / "mine", base, seed=1)
    with pytest.raises(ValueError, match="its weights changed while it was measured"):
        entrant.make(config)


def test_the_best_agent_of_a_training_is_measured_else_its_last(base, wanderer, tmp_path):
    run = tmp_path / "some_run"
    for step in ("step_000010", "step_000020"):
        shutil.copytree(wanderer, run / step)
    (run / "last").symlink_to("step_000020")
    assert find_agent(run) == run / "step_000020"
    (run / "best").symlink_to("step_000010")
    assert find_agent(run) == run / "step_000010"
    agents = (str(run), str(run / "last"), f"mine={run}+blank", f"{run}+shuffled")
    found = find_entrants(base.model_copy(update={"agents": agents}))
    assert [entrant.label for entrant in found] == ["some_run", "some_run-last", "mine+blank", "some_run+shuffled"]
    assert [entrant.source for entrant in found][:2] == [str(run / "step_000010"), str(run / "step_000020")]


def test_a_run_that_has_learned_nothing_yet_is_not_measured_unless_its_checkpoint_is_named(wanderer, tmp_path):
    run = tmp_path / "begun"
    shutil.copytree(wanderer, run / "step_000000" / "agent")
    (run / "last").symlink_to("step_000000")
    for named in (run, run / "last", run / "last" / "agent"):
        with pytest.raises(
            ValueError, match=r"learned nothing yet, last is step_000000.* navloop train .*/begun/config"
        ):
            find_agent(named)
    assert find_agent(run / "step_000000") == find_agent(run / "step_000000" / "agent") == run / "step_000000" / "agent"
    shutil.copytree(wanderer, run / "best")  # as reinforcement measures its start before it learns
    assert find_agent(run) == run / "best"


@pytest.mark.parametrize(
    "recipe",
    [
        {"algorithm": "reinforcement", "ppo": {"iterations": 20}},
        {"algorithm": "imitation", "learning": {"steps": 10}, "collection": {"iterations": 2}},
        {"algorithm": "imitation", "learning": {"steps": 20}, "collection": {"iterations": 0}},
    ],
)
def test_a_run_that_has_not_come_to_its_end_is_told_of(wanderer, tmp_path, caplog, recipe):
    run = tmp_path / "run"
    (run / "step_000020").mkdir(parents=True)
    shutil.copytree(wanderer, run / "step_000010" / "agent")
    (run / "last").symlink_to("step_000010")
    assert find_agent(run) and not caplog.records  # nothing says where it ends
    for unreadable in ("{broken: [", "", "- a list", json.dumps({**recipe, "ppo": 1, "learning": {"steps": None}})):
        (run / "config.yaml").write_text(unreadable)
        assert find_agent(run) and not caplog.records
    (run / "config.yaml").write_text(json.dumps(recipe))
    assert find_agent(run) == run / "step_000010" / "agent"
    assert "has not come to its end, step 10 of 20; to go on with it: navloop train" in caplog.text
    caplog.clear()
    (run / "last").unlink()
    (run / "last").symlink_to("step_000020")
    shutil.copytree(wanderer, run / "step_000020" / "agent")
    assert find_agent(run) == run / "step_000020" / "agent" and not caplog.records


def test_of_a_run_that_counts_epochs_the_iteration_judged_last_is_told(wanderer, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(wanderer, run / "step_000010" / "agent")
    (run / "last").symlink_to("step_000010")
    recipe = {"algorithm": "imitation", "learning": {"steps": None}, "collection": {"iterations": 2}, "evaluate": 8}
    (run / "config.yaml").write_text(json.dumps(recipe))
    (run / "evaluations").mkdir()
    (run / "evaluations" / "00_val_seen.jsonl").touch()
    assert find_agent(run) and "has not come to its end, iteration 1 of 2; to go on" in caplog.text
    caplog.clear()
    (run / "evaluations" / "01_val_seen.jsonl").touch()
    assert find_agent(run) and not caplog.records
    (run / "config.yaml").write_text(json.dumps({**recipe, "evaluate": 0}))  # judges nothing, and tells nothing
    assert find_agent(run) and not caplog.records


def test_folders_without_an_agent_and_names_that_clash_are_refused(base, wanderer, tmp_path):
    def entering(*agents):
        return base.model_copy(update={"agents": agents})

    with pytest.raises(ValueError, match=r"nowhere': no such folder .*the folder of a saved agent"):
        find_entrants(entering(str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="no saved agent here"):
        find_entrants(entering(str(tmp_path)))
    shutil.copytree(wanderer, tmp_path / "wanderer")
    with pytest.raises(ValueError, match=f"would both be called 'wanderer'; name one: 'other={tmp_path}/wanderer'"):
        find_entrants(entering(str(wanderer), str(tmp_path / "wanderer")))
    with pytest.raises(ValueError, match="unknown agent 'exprt'; did you mean 'expert'"):
        find_entrants(entering("exprt+blank"))
    with pytest.raises(ValueError, match="looks at rgb, but blind"):
        find_entrants(entering(str(wanderer)).model_copy(update={"protocol": _blind()}))


def follower_of_the_docs(folder):
    """The class that docs/agents.md shows, in a module beside which one stands."""
    text = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Follower" in one)
    (folder / "my_agents.py").write_text(block + "\nclass Lame:\n    pass\n")


def test_a_class_of_one_s_own_is_measured_by_any_number_of_workers(base, tmp_path, monkeypatch):
    follower_of_the_docs(tmp_path)
    monkeypatch.chdir(tmp_path)
    agents = ("mine=python:my_agents:Follower", "mine=python:my_agents:Follower+blank", "forward")
    one, two = (
        evaluate(base.model_copy(update={"agents": agents, "workers": workers}), tmp_path / f"run_{workers}")
        for workers in (1, 2)
    )
    assert one.header.weights["mine"] == "sha256:..." and list(one.header.cameras["mine"]) == ["rgb"]
    assert rows_of(one.folder) == rows_of(two.folder)
    steps = {label: [row.metrics.steps for row in rows] for label, rows in one.rows.items()}
    assert steps["mine"] != steps["forward"] and max(steps["mine"]) < 60


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("my_agents:Nobody", "module 'my_agents' has no attribute 'Nobody'; give python:MODULE:CLASS"),
        ("no_such_module:Follower", "No module named 'no_such_module'; give python:MODULE:CLASS"),
        ("my_agents", "give python:MODULE:CLASS"),
        ("my_agents:Lame", "has no reset and no act"),
    ],
)
def test_a_class_that_is_no_agent_is_refused(base, tmp_path, monkeypatch, source, told):
    follower_of_the_docs(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(told)):
        evaluate(base.model_copy(update={"agents": (f"python:{source}",)}), tmp_path / "run")


def _blind():
    from navloop.envs import protocols

    name = "blind"
    if name not in protocols.list_protocols():
        protocols.register_protocol(protocols.Protocol(name=name))
    return name


@pytest.mark.parametrize("blow", ["worker", "all"])
def test_a_run_that_is_struck_in_its_lanes_ends_with_the_same_files(config, finished, tmp_path, blow):
    run = tmp_path / "run"
    process = begin(evaluate, config.model_copy(update={"lanes": 3, "workers": 2}), run)
    wait_until(process, lambda: count_lines(run / "rows") >= 3)
    if blow == "worker":
        _workers_of(process)[0].kill()
        process.join(timeout=600)
        assert process.exitcode == 0
    else:
        process.kill()
        process.join()
        evaluate(config, run)
    assert rows_of(run) == rows_of(finished.folder)


def _workers_of(process):
    server = [p for p in psutil.Process(process.pid).children() if any("forkserver" in w for w in p.cmdline())]
    return server[0].children()


def test_a_broken_scene_names_the_episode_whose_it_is(config, houses, tmp_path):
    scenes = tmp_path / "scenes"
    shutil.copytree(houses / "scenes", scenes)
    broken = max(scenes.glob("**/val_unseen*.glb"))
    broken.write_bytes(b"not a scene")
    agents = config.model_copy(update={"scenes": str(scenes), "agents": config.agents[:1], "lanes": 8})
    name = re.escape(str(broken.relative_to(scenes)))
    with pytest.raises(WorkerError, match=rf"agent wanderer, episode \S+ \({name}\)") as fault:
        evaluate(agents, tmp_path / "run")
    assert fault.value.is_input


def test_a_page_tells_what_an_agent_was_told(config, finished, episodes):
    shown = config.model_copy(update={"report": ReportConfig(maps=2, videos=0)})
    chosen = [(agent, finished.rows[agent][0]) for agent in ("wanderer", "wanderer+shuffled")]
    stories = list(tell(shown, Path(config.scenes), {e.episode_id: e for e in episodes}, chosen))
    row = chosen[0][1]
    own = next(e.instruction.text for e in episodes if e.episode_id == row.episode_id)
    assert [story.instruction for story in stories] == [own, shuffle_instructions(episodes, 3)[row.episode_id].text]


@pytest.fixture(scope="module")
def episodes(val_unseen):
    return read_episodes(val_unseen).episodes


def test_each_episode_gets_the_words_of_another_walk(episodes):
    told = shuffle_instructions(episodes, 0)
    assert set(told) == {episode.episode_id for episode in episodes}
    whose = {}
    for episode in episodes:
        whose.setdefault(episode.instruction.text, set()).add(episode.tour)
    for episode in episodes:
        text = told[episode.episode_id].text
        assert text != episode.instruction.text
        assert whose[text] - {episode.tour}
    assert len({instruction.text for instruction in told.values()}) > len(episodes) / 3


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 2**31))
def test_shuffled_words_depend_on_seed_and_id_alone(episodes, random, seed):
    mixed = list(episodes)
    random.shuffle(mixed)
    told = shuffle_instructions(episodes, seed)
    assert shuffle_instructions(mixed, seed) == told
    assert shuffle_instructions(episodes, seed + 1) != told


def test_words_stay_in_their_language_and_a_lone_walk_has_none_to_take(episodes):
    def speaking(episode, language):
        return dataclasses.replace(episode, instruction=dataclasses.replace(episode.instruction, language=language))

    mixed = [speaking(episode, "en-IN" if place % 2 else "en-US") for place, episode in enumerate(episodes)]
    told = shuffle_instructions(mixed, 0)
    assert all(told[episode.episode_id].language == episode.instruction.language for episode in mixed)
    alone = [episode for episode in episodes if episode.trajectory_id == episodes[0].trajectory_id]
    with pytest.raises(ValueError, match="describes another walk in its language, so instructions cannot be shuffled"):
        shuffle_instructions(alone, 0)


def test_shut_eyes_see_black_and_walk_as_open_ones(houses, episodes):
    protocol = get_protocol("houses", pixels=32, depth=True)
    simulators = [create_simulator("embedded", houses / "scenes", protocol) for _ in range(2)]
    blind, seeing = BlankEnv(simulators[0], episodes, protocol), NavigationEnv(simulators[1], episodes, protocol)
    ours, _ = blind.reset(options={"episode": 0})
    theirs, _ = seeing.reset(options={"episode": 0})
    for action in (1, 2, 1, 1, 3, 1, 0):
        assert not ours["rgb"].any() and not ours["depth"].any() and theirs["rgb"].any()
        assert blind.observation_space.contains(ours)
        assert {name: (f.shape, f.dtype) for name, f in ours.items() if name != "instruction"} == {
            name: (f.shape, f.dtype) for name, f in theirs.items() if name != "instruction"
        }
        assert ours["instruction"] == theirs["instruction"]
        ours, *_, told = blind.step(action)
        theirs, *_, seen = seeing.step(action)
        np.testing.assert_array_equal(told["position"], seen["position"])
    assert not blind.render().any()


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("expert", ("", "expert", "")),
        ("mine=runs/a+shuffled", ("mine", "runs/a", "shuffled")),
        ("runs/a+b+blank", ("", "runs/a+b", "blank")),
        ("runs/a+b", ("", "runs/a+b", "")),
        ("command:python x.py --beam=3+1", ("", "command:python x.py --beam=3+1", "")),
        ("m=command:python x.py --beam=3+blank", ("m", "command:python x.py --beam=3", "blank")),
    ],
)
def test_entries_are_taken_apart(text, entry):
    assert tuple(read_entry(text)) == entry
