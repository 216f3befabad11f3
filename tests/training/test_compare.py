"""Finished runs side by side: the difference over the same episodes, and refusals that name what differs."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from said import navloop
from scipy import stats

from navloop.configs.schema import EvalConfig
from navloop.training.comparison import Pair, agents_named, describe, pair_up, print_comparisons, seeds_note
from navloop.training.evaluation import evaluate
from navloop.training.results import compare_rows, read_evaluation
from navloop.training.tables import metrics_named

EPISODES = 10


@pytest.fixture(scope="module")
def config(houses, val_unseen):
    return EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="houses",
        agents=("expert", "forward"),
        max_episodes=EPISODES,
        workers=1,
    )


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    evaluate(config, folder / "a")
    evaluate(config.model_copy(update={"agents": ("forward", "random"), "seed": 1, "max_episodes": None}), folder / "c")
    # The same episodes, chosen by the same seed.
    evaluate(config.model_copy(update={"agents": ("forward", "random")}), folder / "b")
    return folder


def shown(pairs):
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as capture:
        print_comparisons(pairs, console)
    return capture.get()


def column(run, agent, name):
    rows = [json.loads(line) for line in (run / "rows" / f"{agent}.jsonl").read_text().splitlines()]
    return {row["episode_id"]: row[name] for row in rows}


def test_the_difference_is_that_of_the_rows_episode_by_episode(runs):
    (pair,) = pair_up([runs / "a", runs / "b"], ["expert", "random"])
    table = shown([pair])
    for label, name, scale, digits in (
        ("SR", "success", 100, 1),
        ("SPL", "spl", 100, 1),
        ("nDTW", "ndtw", 100, 1),
        ("NE", "navigation_error", 1, 2),
    ):
        ours, theirs = column(runs / "a", "expert", name), column(runs / "b", "random", name)
        mean = scale * np.mean([ours[key] - theirs[key] for key in ours])
        words = f"{mean:+.{digits}f}".replace("-", "−")
        assert re.search(rf"^\s*{label}\b.* {re.escape(words)} ", table, re.MULTILINE), (label, words, table)
    assert "houses@1  val_unseen  10 episodes" in table
    assert "better" in table


def test_wins_and_losses_are_counted_and_tested(runs):
    (pair,) = pair_up([runs / "a", runs / "b"], ["expert", "random"])
    ours, theirs = column(runs / "a", "expert", "success"), column(runs / "b", "random", "success")
    won = sum(ours[key] > theirs[key] for key in ours)
    lost = sum(ours[key] < theirs[key] for key in ours)
    (metric,) = metrics_named(["success"])
    comparison = compare_rows(*pair.rows, metric)
    assert (comparison.first_only, comparison.second_only) == (won, lost)
    assert comparison.mcnemar_p_value == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert describe(comparison, metric).exact.startswith(f"{won} won, {lost} lost; McNemar p ")
    assert f"SR: {won} won, {lost} lost; McNemar p" in " ".join(shown([pair]).split())


def test_turned_around_the_difference_has_the_other_sign(runs):
    (one,) = pair_up([runs / "a", runs / "b"], ["expert", "random"])
    (other,) = pair_up([runs / "b", runs / "a"], ["random", "expert"])
    for metric in metrics_named(["success", "spl", "ndtw", "navigation_error"]):
        there, back = compare_rows(*one.rows, metric), compare_rows(*other.rows, metric)
        assert there.difference.mean == pytest.approx(-back.difference.mean)
        assert there.difference.low == pytest.approx(-back.difference.high)
        assert there.p_value == pytest.approx(back.p_value)
        verdicts = {describe(there, metric).verdict, describe(back, metric).verdict}
        assert verdicts in ({"better", "worse"}, {""})


def test_agents_of_both_runs_are_compared_unless_others_are_named(runs):
    (pair,) = pair_up([runs / "a", runs / "b"])
    assert (pair.first, pair.second) == ("forward", "forward")
    (metric,) = metrics_named(["spl"])
    assert compare_rows(*pair.rows, metric).difference.mean == 0
    assert describe(compare_rows(*pair.rows, metric), metric).verdict == ""
    assert all(str(runs / name) in " ".join(pair.names) for name in "ab")


def test_two_agents_of_one_run(runs):
    (pair,) = pair_up([runs / "a"], ["expert", "forward"])
    assert pair.names == ("expert", "forward")
    with pytest.raises(ValueError, match="not compared with itself"):
        pair_up([runs / "a"])


def test_agents_of_one_name_are_compared_by_their_mean(runs):
    (pair,) = pair_up([runs / "a", runs / "b"], ["*", "rand*"])
    ours, theirs = pair.rows
    means = [column(runs / "a", agent, "spl") for agent in ("expert", "forward")]
    assert {row.episode_id: row.metrics.spl for row in ours} == {
        name: (means[0][name] + means[1][name]) / 2 for name in means[0]
    }
    assert {row.episode_id: row.metrics.spl for row in theirs} == column(runs / "b", "random", "spl")
    table = shown([pair])
    assert "* (mean of 2)  against  rand*" in table and f"{EPISODES} episodes" in table
    assert "seeds of learning" not in table
    assert "McNemar" not in table  # of what is 0 or 1 alone


def test_seeds_are_told_one_by_one_beside_an_interval_that_is_over_episodes(runs):
    run = read_evaluation(runs / "a")
    kinds = {"loop_0": "expert", "loop_1": "forward", "old_0": "forward", "old_1": "expert"}
    run = replace(run, rows={name: run.rows[kind] for name, kind in kinds.items()})
    gap = np.mean(list(column(runs / "a", "expert", "spl").values())) - np.mean(
        list(column(runs / "a", "forward", "spl").values())
    )
    told = seeds_note(Pair(first="loop_*", second="old_*", ours=run, theirs=run))
    single = f"{100 * gap:+.1f}, {-100 * gap:+.1f}".replace("-", "−")
    assert told == [f"They are of these 2 seeds of learning, whose single differences in SPL % ↑ are {single}."]
    assert not seeds_note(Pair(first="loop_*", second="old_0", ours=run, theirs=run))


def test_a_pattern_takes_no_controls_and_nobody_is_compared_with_a_part_of_themselves(runs):
    run = read_evaluation(runs / "a")
    rows = {name: run.rows["expert"] for name in ("loop_0", "loop_1", "loop_0+shuffled", "loop_1+shuffled")}
    run = replace(run, rows=rows)
    assert agents_named(run, "loop_*") == ["loop_0", "loop_1"]
    assert agents_named(run, "loop_*+shuffled") == ["loop_0+shuffled", "loop_1+shuffled"]
    with pytest.raises(ValueError, match="is not compared with itself"):
        pair_up([runs / "a"], ["*", "expert"])


def test_the_only_agents_are_compared_whatever_their_names(runs, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(runs / name, tmp_path / name)
        (tmp_path / name / "rows" / "forward.jsonl").unlink()
    (pair,) = pair_up([tmp_path / "a", tmp_path / "b"])
    assert (pair.first, pair.second) == ("expert", "random")


@pytest.mark.parametrize(
    ("names", "agents", "message"),
    [
        ("ac", [], "not the same episodes: 10 and "),
        ("ab", ["expert"], r"b: has no episodes of agent 'expert', but of forward, random; see --agent"),
        ("a", ["forward", "randm"], r"a: has no episodes of agent 'randm', but of expert, forward"),
        ("abc", [], "3 runs and 0 agents are given; give one run and two of its agents, or two runs"),
    ],
)
def test_what_cannot_be_compared_is_named(runs, names, agents, message):
    with pytest.raises(ValueError, match=message):
        pair_up([runs / name for name in names], agents)


def test_other_protocols_are_refused_by_the_field_that_differs(config, runs, tmp_path):
    evaluate(config.model_copy(update={"pixels": 64, "agents": ("forward",)}), tmp_path / "small")
    with pytest.raises(
        ValueError, match=r"houses@1 and houses@1\+rgb64 cannot be compared: .*cameras\.rgb\.width is 224 and 64"
    ):
        pair_up([runs / "a", tmp_path / "small"])


def test_unfinished_agents_are_refused_only_if_they_are_compared(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "a")
    rows = tmp_path / "a" / "rows" / "forward.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:4]))
    pair_up([tmp_path / "a", runs / "b"], ["expert", "forward"])
    with pytest.raises(ValueError, match=f"forward lacks 6 of {EPISODES} episodes; resume it first"):
        pair_up([tmp_path / "a"], ["expert", "forward"])


def test_the_command_prints_the_table(runs):
    result = navloop("eval", "--compare", runs / "a", runs / "b", "--agent", "expert", "random")
    assert result.returncode == 0, result.stderr
    assert "expert  against  random" in result.stdout
    both = navloop("eval", "eval_demo", "--compare", runs / "a")
    assert both.returncode == 2
    assert "takes no recipe (eval_demo)" in both.stderr


def test_a_comparison_says_what_it_rests_on_and_is_written(runs, tmp_path):
    file = tmp_path / "new" / "compared.json"
    result = navloop("eval", "--compare", runs / "a", runs / "b", "--agent", "expert", "random", "--to", file)
    assert result.returncode == 0, result.stderr
    header, said = read_evaluation(runs / "a").header, " ".join(result.stdout.split())
    assert f"Episodes {header.data['episodes']}, chosen {header.selection}." in said
    assert re.search(r"First: \S*a, seed 0, expert named:expert; second: \S*b, seed 0, random named:random\.", said)
    (pair,) = json.loads(file.read_text())["pairs"]
    assert pair["first"]["weights"] == {"expert": None} and pair["data"] == header.data
    ours, theirs = column(runs / "a", "expert", "spl"), column(runs / "b", "random", "spl")
    spl = pair["metrics"]["spl"]
    assert spl["difference"]["mean"] == pytest.approx(np.mean([ours[key] - theirs[key] for key in ours]))
    assert spl["difference"]["episodes"] == EPISODES and spl["seeds"] == []
    assert spl["first"]["mean"] - spl["second"]["mean"] == pytest.approx(spl["difference"]["mean"])
    assert pair["metrics"]["success"]["mcnemar_p_value"] < 0.05
    alone = navloop("eval", "eval_demo", "--to", file)
    assert alone.returncode == 2 and "--to goes with --compare" in alone.stderr


def test_a_temperature_is_told(config, runs, tmp_path):
    evaluate(config.model_copy(update={"temperature": 0.5, "agents": ("forward",)}), tmp_path / "drawn")
    (pair,) = pair_up([runs / "a", tmp_path / "drawn"], ["expert", "forward"])
    assert "seed 0 temperature 0.5, forward named:forward." in " ".join(shown([pair]).split())
    assert "seed 0 temperature 0.5" in " ".join(
        navloop("eval", "--compare", runs / "a", tmp_path / "drawn").stdout.split()
    )


def test_runs_in_two_worlds_say_so(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "elsewhere")
    header = json.loads((tmp_path / "elsewhere" / "header.json").read_text())
    assert header["world"] == "embedded"
    for world, words in (("habitat-sim 0.3.3, habitat-lab 0.3.3", "embedded against habitat-sim 0.3.3"), (None, "?")):
        told = {key: value for key, value in header.items() if key != "world"} | ({"world": world} if world else {})
        (tmp_path / "elsewhere" / "header.json").write_text(json.dumps(told))
        result = navloop("eval", "--compare", runs / "a", tmp_path / "elsewhere", "--agent", "expert", "expert")
        assert result.returncode == 0, result.stderr
        assert words in " ".join(result.stdout.split())
