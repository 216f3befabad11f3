"""Tasks about texts, run on an encoder and small videos: against plain computations, open_clip's classifier, and themselves."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from navloop.configs.generation import Greedy
from navloop.configs.perception import PerceptionEvalConfig
from navloop.encoders import create_encoder, save_encoder
from navloop.encoders.text import tokenize
from navloop.training.clip_rows import ClipRow
from navloop.training.perception.choice import check_choices, choice_ranks
from navloop.training.perception.prompts import TEMPLATES, fill
from navloop.training.perception.readers import Described, described
from navloop.training.perception.retrieval import search
from navloop.training.perception.run import evaluate_perception
from navloop.training.perception.subject import load_subject
from navloop.training.perception.zero_shot import class_probabilities, prompt_vectors

ENCODER = "internvideo_mm_tiny_p16_t4"
CAPTIONS = [
    ["a red hall", "the red hall"],
    ["a green garden", "grass"],
    ["a blue lake", "water"],
    ["a white wall", "nothing but white"],
    ["a dark cellar", "darkness"],
    ["an orange sofa", "a seat"],
    ["a pink door", "the door is pink"],
    ["a grey stair", "steps"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with weights, and eight pictures as videos."""
    folder = tmp_path_factory.mktemp("texts")
    torch.manual_seed(3)
    save_encoder(create_encoder(ENCODER), folder / "encoder.safetensors")
    rng = np.random.default_rng(0)
    for number in range(len(CAPTIONS)):
        picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def listed(folder, name, records):
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def videos(folder):
    return listed(folder, "videos.jsonl", [{"video": f"{n}.png", "captions": said} for n, said in enumerate(CAPTIONS)])


def recipe(folder, manifest, *tasks, **changes):
    clips = {"manifest": [manifest], "frames": 4, "size": 64, "sampler": "middle", "workers": 0}
    said = {"weights": str(folder / "encoder.safetensors"), "tasks": list(tasks), **changes}
    return PerceptionEvalConfig.model_validate_json(
        json.dumps({**said, "clips": {**clips, **changes.get("clips", {})}})
    )


def measured(config, tmp_path):
    """Return the findings of each task, by its name."""
    found = evaluate_perception(config, tmp_path / "run")
    return {outcome.title: outcome.findings for outcome in found.outcomes}


def values(findings):
    return {score.metric: score.value for score in findings.scores}


@pytest.fixture(scope="module")
def seen(folder):
    """What the encoder makes of the pictures and their texts: unit vectors (8, J) and (8, 2, J), and its scale."""
    encoder = create_encoder(ENCODER, str(folder / "encoder.safetensors")).eval()
    pictures = [np.asarray(Image.open(folder / f"{n}.png")) for n in range(len(CAPTIONS))]
    pooled = encoder.encode_video(np.stack([[picture] * 4 for picture in pictures])).pooled.numpy()
    texts = np.stack([encoder.encode_text(said).numpy() for said in CAPTIONS])
    return pooled, texts, float(encoder.scale().detach())


def test_retrieval_is_what_loops_over_sorted_cosines_give(folder, videos, seen, tmp_path):
    pooled, texts, _ = seen
    found = values(measured(recipe(folder, videos, {"task": "retrieval"}), tmp_path)["retrieval"])
    cosines = np.einsum("vj,wcj->vwc", pooled, texts)  # (video, of, caption)
    t2v = [sorted(range(8), key=lambda v: -cosines[v, w, c]).index(w) for w in range(8) for c in range(2)]
    v2t = [sorted(range(8), key=lambda w: -cosines[v, w].max()).index(v) for v in range(8)]
    for name, ranks in (("text→video", np.array(t2v)), ("video→text", np.array(v2t))):
        assert found[f"{name} R@1"] == pytest.approx((ranks < 1).mean())
        assert found[f"{name} R@5"] == pytest.approx((ranks < 5).mean())
        assert found[f"{name} MedR"] == pytest.approx(np.median(ranks + 1))
        assert found[f"{name} MeanR"] == pytest.approx((ranks + 1).mean())
    assert "text→video R@10" not in found  # of eight videos it would say nothing


def test_dual_softmax_multiplies_logits_by_what_queries_ask_for(folder, videos, seen, tmp_path):
    pooled, texts, scale = seen
    task = {"task": "retrieval", "captions": "first"}
    found = values(measured(recipe(folder, videos, task), tmp_path)["retrieval"])
    logits = scale * pooled @ texts[:, 0].T  # (videos, texts)
    over_texts = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    over_videos = np.exp(logits) / np.exp(logits).sum(0, keepdims=True)
    t2v, v2t = logits * over_texts, logits * over_videos
    assert found["text→video MeanR dual"] == np.mean([(t2v[:, n] >= t2v[n, n]).sum() for n in range(8)])
    assert found["video→text MeanR dual"] == np.mean([(v2t[n] >= v2t[n, n]).sum() for n in range(8)])
    assert found["text→video MeanR"] == np.mean([(logits[:, n] >= logits[n, n]).sum() for n in range(8)])


def test_a_list_with_a_caption_a_line_gives_the_same_numbers(folder, videos, tmp_path):
    lines = [
        {"video": f"{n}.png", "caption": said} for said_n in (0, 1) for n in range(8) for said in [CAPTIONS[n][said_n]]
    ]
    apart = measured(recipe(folder, listed(folder, "apart.jsonl", lines), {"task": "retrieval"}), tmp_path / "a")
    together = measured(recipe(folder, videos, {"task": "retrieval"}), tmp_path / "b")
    assert values(apart["retrieval"]) == values(together["retrieval"])
    assert apart["retrieval"].protocol["videos"] == 8
    assert apart["retrieval"].protocol["texts"] == 16


def test_galleries_are_searched_apart(folder, videos, tmp_path):
    task = {"task": "retrieval", "gallery": 3}
    found = measured(recipe(folder, videos, task), tmp_path)["retrieval"]
    score = next(score for score in found.scores if score.metric == "text→video R@1")
    assert (score.units, score.chance) == (16, 1 / 3)  # each is in some deal
    protocol = found.protocol
    assert [protocol[name] for name in ("deals", "galleries", "gallery", "left_over")] == [50, 2, 3, 2]
    assert max(query["rank"] for query in found.details["texts"]) <= 3
    assert np.mean([query["within"]["1"] for query in found.details["texts"]]) == pytest.approx(score.value)


def test_many_deals_come_to_what_is_expected_of_one(folder, videos, tmp_path):
    whole = measured(recipe(folder, videos, {"task": "retrieval"}), tmp_path / "whole")["retrieval"]
    dealt = measured(recipe(folder, videos, {"task": "retrieval", "gallery": 4, "deals": 4000}), tmp_path / "dealt")
    before = [
        query["rank"] - 1 for query in whole.details["texts"]
    ]  # of the 7 others; 3 of these are in a gallery with it
    expected = {f"R@{k}": np.mean(stats.hypergeom.cdf(k - 1, 7, before, 3)) for k in (1,)}
    expected["MeanR"] = np.mean(1 + np.array(before) * 3 / 7)
    found = values(dealt["retrieval"])
    assert {name: found[f"text→video {name}"] for name in expected} == pytest.approx(expected, abs=0.01)


def test_retrieval_keeps_the_rank_of_each_text(folder, videos, tmp_path):
    found = measured(recipe(folder, videos, {"task": "retrieval"}), tmp_path)["retrieval"]
    queries = found.details["texts"]
    assert [query["text"] for query in queries] == [text for said in CAPTIONS for text in said]
    assert queries[3]["place"].endswith("videos.jsonl, line 2")
    assert np.mean([query["rank"] for query in queries]) == values(found)["text→video MeanR"]
    assert np.mean([query["dual"] for query in queries]) == values(found)["text→video MeanR dual"]


def test_texts_of_several_videos_are_counted():
    rows = [
        ClipRow(path=name, place=name, captions=said)
        for name, said in (("a", ("x", "y")), ("b", ("y",)), ("c", ("z",)))
    ]
    found = described(rows)
    assert found.shared == 2
    assert [found.said_of(video) for video in range(3)] == [("x", "y"), ("y",), ("z",)]
    texts, owners = found.taken(np.array([2, 0]))
    assert ([found.texts[text] for text in texts], owners.tolist()) == (["x", "y", "z"], [1, 1, 0])


def test_segments_of_one_file_are_different_videos():
    rows = [ClipRow(path="a", place=str(n), start=start, captions=(str(n),)) for n, start in enumerate((0.0, 1.0, 0.0))]
    found = described(rows)
    assert found.rows.tolist() == [0, 1]
    assert [found.said_of(video) for video in range(2)] == [("0", "2"), ("1",)]


CLASSES = ["red_hall", "green garden", "blue lake"]


@pytest.fixture
def labelled(folder):
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    return listed(folder, "labelled.jsonl", [{"video": f"{n}.png", "label": n % 3} for n in range(8)])


def test_zero_shot_averages_probabilities_over_templates(folder, labelled, seen, tmp_path):
    pooled, _, scale = seen
    templates = ["a {}", "this is a {}, in a house", "{}"]
    task = {"task": "zero_shot", "templates": templates}
    config = recipe(folder, labelled, task, clips={"classes": str(folder / "classes.json")})
    encoder = create_encoder(ENCODER, str(folder / "encoder.safetensors")).eval()
    probabilities = np.zeros((8, 3))
    for template in templates:
        names = encoder.encode_text([template.replace("{}", name.replace("_", " ")) for name in CLASSES]).numpy()
        odds = np.exp(scale * pooled @ names.T)
        probabilities += odds / odds.sum(1, keepdims=True) / 3
    hits = probabilities.argmax(1) == np.arange(8) % 3
    found = measured(config, tmp_path)["zero_shot"]
    assert values(found)["top-1"] == hits.mean()
    assert found.protocol["templates"] == templates


def test_averaged_embeddings_are_open_clips_zero_shot_classifier(folder, seen):
    subject = load_subject(recipe(folder, "none", {"task": "zero_shot"}))
    prompts = prompt_vectors(subject, CLASSES, TEMPLATES["viclip"])

    class Reader:
        """What open_clip asks of a model."""

        def encode_text(self, ids, normalize):
            assert normalize
            return torch.nn.functional.normalize(subject.encoder.text(ids).pooled, dim=-1)

    theirs = open_clip.build_zero_shot_classifier(
        Reader(),
        tokenizer=lambda texts: tokenize(texts, subject.encoder.text.config.context),
        classnames=[name.replace("_", " ") for name in CLASSES],
        templates=[lambda name, template=template: template.format(name) for template in TEMPLATES["viclip"]],
    )
    pooled, _, scale = seen
    expected = (scale * torch.from_numpy(pooled) @ theirs).softmax(-1).numpy()
    found = class_probabilities(subject, pooled, prompts, "embeddings")
    assert found == pytest.approx(expected, abs=1e-5)


def test_template_sets_are_as_published():
    assert {name: len(templates) for name, templates in TEMPLATES.items()} == {
        "actionclip": 16,
        "viclip": 28,
        "video": 1,
        "person": 1,
        "bare": 1,
    }
    assert all(len(set(templates)) == len(templates) for templates in TEMPLATES.values())
    assert fill(("{}, an action", "a {}"), "riding_a  bike") == ["riding a bike, an action", "a riding a bike"]


def test_zero_shot_without_class_names_says_where_to_put_them(folder, labelled, tmp_path):
    with pytest.raises(ValueError, match=r"task zero_shot: zero-shot needs the names of the classes; name a file"):
        measured(recipe(folder, labelled, {"task": "zero_shot"}), tmp_path)


@pytest.mark.parametrize("template", ["a video", "{} and {}"])
def test_a_template_holds_the_class_once(folder, template):
    with pytest.raises(ValueError, match=r"has to hold \{\} once"):
        recipe(folder, "none", {"task": "zero_shot", "templates": [template]})


def test_choice_takes_the_nearest_candidate(folder, seen, tmp_path):
    pooled, texts, _ = seen
    rng = np.random.default_rng(5)
    rows, hits = [], []
    for n in range(8):
        others = rng.permutation(8)[: 2 + n % 4]  # from 2 to 5 candidates
        candidates = [CAPTIONS[m][0] for m in others]
        right = int(rng.integers(len(others)))
        rows.append({"video": f"{n}.png", "captions": candidates, "label": right})
        hits.append(int((texts[others, 0] @ pooled[n]).argmax()) == right)
    found = measured(recipe(folder, listed(folder, "choices.jsonl", rows), {"task": "choice"}), tmp_path)["choice"]
    (score,) = found.scores
    assert score.value == np.mean(hits)
    assert score.chance == pytest.approx(np.mean([1 / (2 + n % 4) for n in range(8)]))
    assert found.protocol["candidates"] == {2: 2, 3: 2, 4: 2, 5: 2}


def test_ranks_of_choices_by_hand():
    cosines = np.array([0.1, 0.5, 0.2, 0.3, 0.3, -1.0], dtype=np.float32)
    assert choice_ranks(cosines, [3, 2, 1], np.array([1, 0, 0])).tolist() == [1, 2, 1]  # a tie has not been told apart


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_a_choice_does_not_depend_on_the_order_of_candidates(counts, seed):
    rng = np.random.default_rng(seed)
    cosines, right = rng.random(sum(counts), dtype=np.float32), np.array([rng.integers(count) for count in counts])
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    moved = [rng.permutation(count) for count in counts]
    shuffled = np.concatenate([cosines[start + order] for start, order in zip(starts, moved, strict=True)])
    places = np.array([np.flatnonzero(order == answer)[0] for order, answer in zip(moved, right, strict=True)])
    assert choice_ranks(shuffled, counts, places).tolist() == choice_ranks(cosines, counts, right).tolist()


@pytest.mark.parametrize(
    ("captions", "label", "message"),
    [
        (("a",), 0, "line 1: has 1 captions; a choice is among at least 2"),
        (("a", "b"), 2, "line 1: label 2 is none of its 2 captions; they count from 0"),
    ],
)
def test_what_offers_no_choice_is_refused(captions, label, message):
    with pytest.raises(ValueError, match=message):
        check_choices([ClipRow(path="a", place="line 1", captions=captions, label=label)])


def test_what_offers_no_choice_is_told_before_any_video_is_read(folder, videos, tmp_path):
    manifest = tmp_path / "choices.jsonl"
    rows = [{"video": str(folder / "0.png"), "captions": ["a", "b"], "label": 1}]
    rows += [{"video": str(tmp_path / "missing.png"), "caption": "the only one", "label": 0}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="line 2: has 1 captions; a choice is among at least 2"):
        measured(recipe(folder, str(manifest), {"task": "choice"}), tmp_path / "run")
    assert not list(tmp_path.glob("run/**/unreadable/*"))


def test_captions_are_the_encoders_own_and_are_kept_with_what_people_said(folder, videos, tmp_path):
    task = {"task": "captioning", "strategy": {"kind": "greedy"}, "length": 9}
    found = measured(recipe(folder, videos, task), tmp_path)["captioning"]
    encoder = create_encoder(ENCODER, str(folder / "encoder.safetensors")).eval()
    frames = np.stack([[np.asarray(Image.open(folder / f"{n}.png"))] * 4 for n in range(8)])
    said = encoder.caption(frames, Greedy(), length=9)
    assert [kept["caption"] for kept in found.details["captions"]] == said
    assert [kept["references"] for kept in found.details["captions"]] == CAPTIONS
    assert found.protocol["distinct_captions"] == len(set(said))
    assert [score.metric for score in found.scores] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "chrF"]
    assert all(0 <= score.low <= score.value <= score.high <= 1 for score in found.scores)


def test_an_encoder_that_says_what_people_said_scores_one(folder, tmp_path):
    encoder = create_encoder(ENCODER, str(folder / "encoder.safetensors")).eval()
    frames = np.stack([[np.asarray(Image.open(folder / f"{n}.png"))] * 4 for n in range(8)])
    rows = [
        {"video": f"{n}.png", "captions": ["something else", f"{caption} "]}
        for n, caption in enumerate(encoder.caption(frames, Greedy(), length=9))
    ]
    task = {"task": "captioning", "strategy": {"kind": "greedy"}, "length": 9}
    found = values(measured(recipe(folder, listed(folder, "own.jsonl", rows), task), tmp_path)["captioning"])
    assert found == pytest.approx(dict.fromkeys(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "chrF"), 1.0))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("retrieval", "task retrieval: .*has no text tower"),
        ("choice", "task choice: .*has no text tower"),
        ("captioning", "task captioning: captions need an encoder with a caption decoder"),
    ],
)
def test_an_encoder_that_cannot_read_or_speak_is_refused(folder, tmp_path, task, message):
    rows = [{"video": f"{n}.png", "captions": said, "label": 0} for n, said in enumerate(CAPTIONS)]
    config = recipe(
        folder,
        listed(folder, "both.jsonl", rows),
        {"task": task},
        weights=None,
        encoder="videomae_tiny_p16_t8",
        clips={"frames": 8},
    )
    with pytest.raises(ValueError, match=message):
        measured(config, tmp_path)


def test_a_row_without_captions_is_named(folder, tmp_path):
    path = listed(folder, "bare.jsonl", [{"video": "0.png", "caption": "x"}, {"video": "1.png"}])
    with pytest.raises(ValueError, match=r"bare.jsonl, line 2: has no captions"):
        measured(recipe(folder, path, {"task": "retrieval"}), tmp_path)


@pytest.mark.parametrize("task", ["retrieval", "captioning"])
def test_an_unreadable_video_is_left_out_and_told_and_shifts_nothing(folder, tmp_path, task):
    (folder / "broken.png").write_bytes(b"no picture")
    rows = [{"video": f"{n}.png", "captions": said} for n, said in enumerate(CAPTIONS)]
    whole = listed(folder, "whole.jsonl", rows)
    holed = listed(folder, "holed.jsonl", [*rows[:3], {"video": "broken.png", "caption": "x"}, *rows[3:]])
    said = {"task": task} | ({"strategy": {"kind": "greedy"}, "length": 6} if task == "captioning" else {})
    clean = measured(recipe(folder, whole, said), tmp_path / "whole")[task]
    run = evaluate_perception(recipe(folder, holed, said, clips={"max_unreadable": 0.2}), tmp_path / "holed")
    (outcome,) = run.outcomes
    assert outcome.unreadable == 1
    assert values(outcome.findings) == values(clean)
    if task == "captioning":
        kept = outcome.findings.details["captions"]
        assert [entry["references"] for entry in kept] == CAPTIONS


@given(videos=st.integers(2, 7), texts=st.integers(1, 3), seed=st.integers(0, 99))
def test_ranks_do_not_depend_on_the_order_of_videos(videos, texts, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(videos, videos * texts))
    owners = np.arange(videos).repeat(texts)
    names = tuple(f"{owner}, {n}" for n, owner in enumerate(owners))
    order = rng.permutation(videos)
    place = np.argsort(order)
    columns = np.argsort(place[owners], kind="stable")
    moved = Described(np.arange(videos), tuple(names[c] for c in columns), place[owners][columns])
    for sharpened in (False, True):
        first = search(logits, Described(np.arange(videos), names, owners), [np.arange(videos)], sharpened=sharpened)
        second = search(logits[np.ix_(order, columns)], moved, [np.arange(videos)], sharpened=sharpened)
        assert second.by_texts.ranks.tolist() == first.by_texts.ranks[columns].tolist()
        assert second.by_videos.ranks.tolist() == first.by_videos.ranks[order].tolist()
        assert order[second.by_texts.videos].tolist() == first.by_texts.videos[columns].tolist()
