"""Two runs are set side by side only if they measured the same thing, and the refusal names what differs."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from navloop.configs.schema import EvalConfig
from navloop.envs.protocols import get_protocol
from navloop.training.evaluation import evaluate
from navloop.training.results import read_evaluation, require_comparable_results


@pytest.fixture(scope="module")
def config(houses, val_unseen):
    return EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="houses",
        agents=("expert", "forward"),
        max_episodes=2,
        workers=1,
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return evaluate(config, tmp_path_factory.mktemp("results") / "run")


def edited(evaluation, **values):
    return replace(evaluation, header=replace(evaluation.header, **values))


def test_the_header_keeps_every_field_of_the_protocol(finished):
    kept = json.loads((finished.folder / "header.json").read_text())["protocol_fields"]
    assert kept == get_protocol("houses").fields() == read_evaluation(finished.folder).header.terms.fields


def test_protocols_of_one_label_that_differ_are_told_apart_by_their_fields(finished):
    other = edited(finished, protocol_fields={**finished.header.protocol_fields, "max_steps": 300, "body.turn": 0.5})
    with pytest.raises(ValueError) as refusal:
        require_comparable_results(finished, other)
    message = str(refusal.value)
    assert message.startswith(f"{finished.folder} and ")
    assert "results of houses@1 and houses@1 cannot be compared: " in message
    assert "max_steps is 500 and 300" in message and re.search(r"body\.turn is 0\.26\d+ and 0\.5", message)
    assert message.count(" is ") == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"episodes": "sha256:00"}}, r"episodes differ: sha256:\w+ and sha256:00"),
        ({"selection": "sha256:00"}, "not the same episodes"),
        ({"episodes": 3}, "expert lacks 1 of 3 episodes; resume it first"),
    ],
)
def test_other_data_and_missing_episodes_are_named(finished, values, message):
    with pytest.raises(ValueError, match=message):
        require_comparable_results(finished, edited(finished, **values))


def test_a_run_is_comparable_with_itself(finished):
    require_comparable_results(finished, read_evaluation(finished.folder))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "navloop-evaluation-1"}', '{"format": "navloop-evaluation-2"}'])
def test_what_is_no_header_of_today_is_named(tmp_path, text):
    (tmp_path / "header.json").write_text(text)
    with pytest.raises(ValueError, match=r"header\.json: not the header of an evaluation .*another folder"):
        read_evaluation(tmp_path)


def test_agents_that_a_later_start_leaves_out_stay_in_the_results(config, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    fewer = evaluate(config.model_copy(update={"agents": ("random", "expert")}), run)
    assert list(fewer.rows) == ["random", "expert", "forward"] == list(read_evaluation(run).header.cameras)
    assert [len(rows) for rows in fewer.rows.values()] == [2, 2, 2]
    assert [session.agents for session in fewer.header.sessions] == [["expert", "forward"], ["random"]]
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (finished.folder, run))
    assert after["complete"] is True
    assert {agent: after["agents"][agent] for agent in before["agents"]} == before["agents"]


def test_an_agent_that_was_left_out_unfinished_is_marked_and_hinders_no_other(config, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    rows = run / "rows" / "forward.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:1]))
    fewer = evaluate(config.model_copy(update={"agents": ("expert",)}), run)
    assert fewer.missing == {"forward": 1}
    summary = json.loads((run / "summary.json").read_text())
    assert [summary["agents"][agent]["complete"] for agent in ("expert", "forward")] == [True, False]
    with pytest.raises(ValueError, match="forward lacks 1 of 2 episodes"):
        require_comparable_results(fewer, finished)
    expert = replace(finished, rows={"expert": finished.rows["expert"]})
    require_comparable_results(fewer, expert)
    rows.unlink()
    assert list(evaluate(config.model_copy(update={"agents": ("expert",)}), run).rows) == ["expert"]


def test_rows_of_a_protocol_that_has_changed_since_are_not_added_to(config, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    header = json.loads((run / "header.json").read_text())
    header["protocol_fields"]["success_distance"] = 2.0
    (run / "header.json").write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"success_distance is 2\.0 and 3\.0; its rows are of the first"):
        evaluate(config, run)
    assert json.loads((run / "header.json").read_text()) == header
