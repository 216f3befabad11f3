"""`navloop store` from the shell: what it prints, writes and refuses."""

from __future__ import annotations

import pytest
from stored_walks import ABOUT, fill

from navloop.configs.videos import ViewsConfig
from navloop.envs.episodes import read_episodes
from navloop.training.cli import main
from navloop.training.manifests import read_manifests
from navloop.training.store import StoreWriter, open_store
from navloop.training.walks import WalkFolder

FILM = "videos/observation.images.rgb/chunk-000/file-000.mp4"


@pytest.fixture
def store(tmp_path):
    return fill(tmp_path / "store", range(6))


def run(capsys, *words):
    code = main(["store", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_what_a_store_holds_is_shown(store, capsys):
    fill(store, range(6, 8), finish=False)
    code, said = run(capsys, "show", store)
    assert code == 0
    assert "houses@1 in embedded, 32 x 32 pixels, turns of 15 degrees, steps of 0.25 m" in said
    assert "8 walks, 32 frames, 8 tours, 8 instructions, 3 scenes; 2 of all are not joined yet" in said
    row = next(line.split() for line in said.splitlines() if line.strip().startswith("tours"))
    assert row == ["tours", "made", "8", "32", "0", "50.0", "3.5"]
    code, said = run(capsys, "show", store, "--where", "success=true", "length>3")
    assert "of 8 walks: 2 walks, 12 frames" in said


def test_merged_walks_are_exported_for_the_stages_and_for_replay(store, tmp_path, capsys):
    more = fill(tmp_path / "more", range(4, 9))
    code, said = run(capsys, "merge", store, more, "--into", tmp_path / "all", "--where", "success=true")
    assert code == 0 and "all: 4 walks" in said
    assert [episode.episode_id for episode in open_store(tmp_path / "all").episodes] == ["1", "3", "5", "7"]
    code, said = run(capsys, "export", tmp_path / "all", "--to", tmp_path / "out" / "list.jsonl", "--where", "index>0")
    assert code == 0 and "3 walks" in said
    views = ViewsConfig(manifest=(str(tmp_path / "out" / "list.jsonl"),), frames=2, size=32)
    assert [row.captions for row in read_manifests(views, need=["captions"])] == [
        (f"Walk number {number}.",) for number in (3, 5, 7)
    ]
    code, _ = run(capsys, "export", tmp_path / "all", "--to", tmp_path / "out" / "walks.json.gz")
    episodes = read_episodes(tmp_path / "out" / "walks.json.gz").episodes
    assert code == 0 and [episode.ground_truth is not None for episode in episodes] == [True] * 4


def test_walks_are_written_for_imitation_with_their_words(store, tmp_path, capsys):
    code, said = run(capsys, "walks", store, "--into", tmp_path / "out", "--where", "success=true")
    assert code == 0 and "3 walks" in said
    walks = [walk for part in WalkFolder(tmp_path / "out" / "walks").parts for walk in part.walks]
    told = {e.episode_id: e.instruction.text for e in read_episodes(tmp_path / "out" / "train.json.gz").episodes}
    assert [told[walk.episode_id] for walk in walks] == [f"Walk number {number}." for number in (1, 3, 5)]
    assert run(capsys, "walks", store, "--into", tmp_path / "out", "--where", "success=true")[0] == 0


def test_a_store_is_split_by_the_command(store, tmp_path, capsys):
    words = ("split", store, "--into", tmp_path / "parts", "--by", "tour", "--shares")
    code, said = run(capsys, *words, "train=0.5", "val=0.5", "--where", "index<4")
    assert code == 0 and "train: 2 walks" in said and "val: 2 walks" in said
    assert len(open_store(tmp_path / "parts" / "val")) == 2
    for shares, told in ((("train",), "'train' is not NAME=SHARE"), (("a=0.5", "a=0.5"), "names 'a' twice")):
        code, said = run(capsys, *words, *shares)
        assert code == 2 and told in said


def test_a_damaged_walk_is_listed_with_how_to_keep_the_others(store, tmp_path, capsys):
    code, said = run(capsys, "check", store)
    assert code == 0 and "all 6 walks are whole" in said
    content = bytearray((store / FILM).read_bytes())
    content[content.rindex(b"mdat") + 400] ^= 0x20
    (store / FILM).write_bytes(content)
    code, said = run(capsys, "check", store)
    assert code == 2 and "1 of 6 walks are damaged:" in said and str(store / FILM) in said
    words = said.strip().splitlines()[-1].split("navloop store ")[1].replace("NEW", str(tmp_path / "new"))
    code, said = run(capsys, *words.replace("'", "").split())
    assert code == 0 and "new: 5 walks" in said


@pytest.mark.parametrize("content", [None, "{", '{"total_episodes": 5}'])
def test_a_damaged_description_is_found_and_written_anew(store, capsys, content):
    info = store / "meta" / "info.json"
    before = info.read_bytes()
    info.unlink()
    if content is not None:
        info.write_text(content)
    code, said = run(capsys, "check", store)
    assert code == 2 and str(info) in said and "`navloop store join` writes it anew" in said
    code, _ = run(capsys, "join", store)
    assert code == 0 and info.read_bytes() == before


@pytest.mark.parametrize(("name", "content"), [("tasks.parquet", b"x"), ("tasks.parquet", None), ("stats.json", b"{}")])
def test_what_lerobot_reads_first_is_checked_and_written_anew(store, capsys, name, content):
    path = store / "meta" / name
    before = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    code, said = run(capsys, "check", store)
    assert code == 2 and str(path) in said and "`navloop store join` writes it anew" in said
    assert run(capsys, "join", store)[0] == 0 and path.read_bytes() == before
    assert run(capsys, "check", store)[0] == 0


def test_walks_that_a_killed_collection_left_are_joined(store, tmp_path, capsys):
    fill(store, range(6, 8), finish=False)
    code, said = run(capsys, "export", store, "--to", tmp_path / "list.jsonl")
    assert code == 2 and "2 walks are not joined yet; run `navloop store join` on it" in said
    code, said = run(capsys, "join", store)
    assert code == 0 and "8 walks" in said and open_store(store).unjoined == 0


def test_walks_are_chosen_by_what_nothing_is_said_of(store, tmp_path, capsys):
    with StoreWriter(store, ABOUT) as writer:
        writer.adopt(open_store(store), 2, instruction="Go back.", round=3)
        writer.finish()
    for condition, count in (("original_instruction!=null", 1), ("original_instruction=null", 6), ("round=null", 6)):
        assert f"of 7 walks: {count} walks" in run(capsys, "show", store, "--where", condition)[1]


def test_scenes_that_agents_are_measured_in_are_refused(store, tmp_path, capsys):
    run(capsys, "export", store, "--to", tmp_path / "val_unseen.json.gz", "--where", "scene_id=made/1.glb")
    never = tmp_path / "val_unseen.json.gz"
    code, said = run(capsys, "merge", store, "--into", tmp_path / "all", "--never", never)
    assert code == 2 and "made/1.glb is kept to measure agents in" in said and not (tmp_path / "all").exists()
    code, said = run(
        capsys, "merge", store, "--into", tmp_path / "all", "--where", "scene_id!=made/1.glb", "--never", never
    )
    assert code == 0 and "all: 4 walks" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "nowhere"], "nowhere: holds no store"),
        (["show", "STORE", "--where", "ndtw>1"], "has no column 'ndtw'"),
        (["merge", "STORE", "--into", "OUT", "--where", "length>99"], "no walk is meant by length>99"),
        (
            ["export", "STORE", "--to", "list.csv"],
            "expected a .jsonl file for a list of videos, .json.gz for episodes, or",
        ),
        (["export", "STORE", "--to", "STORE"], "a folder for recordings that has no dot and is no store"),
        (["import", "nowhere.json", "--into", "OUT"], "nowhere.json: annotations cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told(store, tmp_path, capsys, words, told):
    code, said = run(capsys, *({"STORE": store, "OUT": tmp_path / "out"}.get(word, word) for word in words))
    assert code == 2 and told in " ".join(said.split())
    assert not (tmp_path / "out").exists()
