"""The planner: what its scores depend on, that it learns, and the published names."""

import math

import pytest
import torch
from torch.nn import functional as F

from navloop.agent.policies.planner import Planner
from navloop.agent.policies.planner_names import LAYOUT, load_published
from navloop.agent.policies.planner_tokens import (
    CANDIDATE,
    STOP,
    VIEW,
    PanoramaFeatures,
    action_angles,
    angle_features,
    observe,
)
from navloop.agent.policies.words import UNKNOWN
from navloop.agent.waypoints import ANGLES, DISTANCES, Candidates
from navloop.configs.planner import PlannerConfig
from navloop.encoders.translation import to_theirs
from navloop.weights import WeightsError

SMALL = PlannerConfig(
    width=32,
    heads=4,
    hidden=64,
    text_layers=1,
    cross_layers=2,
    panorama_layers=1,
    vocabulary=20,
    max_words=10,
    max_decisions=6,
    view_features=24,
    rgb_features=16,
    depth_features=8,
    dropout=0.0,
    feature_dropout=0.0,
)
BATCH, COUNT = 3, 4


def planner(config: PlannerConfig = SMALL) -> Planner:
    torch.manual_seed(0)
    made = Planner(config).eval()
    for parameter in made.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)  # decided
    return made


def random_candidates(batch: int = BATCH, seed: int = 0) -> Candidates:
    rng = torch.Generator().manual_seed(seed)
    return Candidates(
        torch.stack([torch.randperm(12, generator=rng)[:COUNT] * 10 for _ in range(batch)]),
        torch.randint(DISTANCES, (batch, COUNT), generator=rng),
        torch.ones(batch, COUNT),
        torch.ones(batch, COUNT, dtype=torch.bool),
    )


def features(batch: int = BATCH, seed: int = 1) -> PanoramaFeatures:
    rng = torch.Generator().manual_seed(seed)
    return PanoramaFeatures(torch.randn(batch, 12, 24, generator=rng), torch.randn(batch, 12, 8, generator=rng))


def ids(batch: int = BATCH, seed: int = 2) -> torch.Tensor:
    return torch.randint(1, 20, (batch, 6), generator=torch.Generator().manual_seed(seed))


def score(made: Planner, candidates: Candidates, seen: PanoramaFeatures, words: torch.Tensor, past=()) -> torch.Tensor:
    """Scores of the candidates and the stop, (B, C + 1)."""
    history = torch.stack([made.history.begin(len(words)), *past], 1)
    there = torch.ones(history.shape[:2], dtype=torch.bool)
    scores = made(made.read(words), words != 0, history, there, observe(seen, candidates))
    assert torch.isinf(scores[:, COUNT + 1 :]).all()
    return scores[:, : COUNT + 1]


def past(made: Planner, seed: int, angle: float = 0.5, step: int = 0) -> torch.Tensor:
    return made.remember(features(seed=seed), torch.full((BATCH,), angle), torch.full((BATCH,), step))


def test_permuting_candidates_permutes_their_scores():
    made, candidates, order = planner(), random_candidates(), torch.tensor([2, 0, 3, 1])
    turned = Candidates(
        *(getattr(candidates, name)[:, order] for name in ("angle_cells", "distance_cells", "heat", "valid"))
    )
    one, other = (score(made, each, features(), ids()) for each in (candidates, turned))
    torch.testing.assert_close(other[:, :COUNT], one[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(other[:, COUNT], one[:, COUNT], atol=1e-5, rtol=0)
    assert one[:, :COUNT].std(1).min() > 1e-3


def test_candidates_that_are_not_there_are_never_chosen_and_change_nothing():
    made, candidates = planner(), random_candidates()
    candidates.valid[:, 2:] = False
    elsewhere = Candidates(
        candidates.angle_cells.clone(), candidates.distance_cells.clone(), candidates.heat, candidates.valid
    )
    elsewhere.angle_cells[:, 2:] = torch.randint(ANGLES, (BATCH, 2))
    one, other = (score(made, each, features(), ids()) for each in (candidates, elsewhere))
    assert torch.isinf(one[:, 2:COUNT]).all() and one[:, [0, 1, COUNT]].isfinite().all()
    assert one.argmax(1).ne(2).all() and one.argmax(1).ne(3).all()
    torch.testing.assert_close(other, one, atol=1e-5, rtol=0)


def test_views_in_which_candidates_lie_are_told_once():
    seen, candidates = features(), random_candidates()
    tokens = observe(seen, candidates)
    assert tokens.kind[0].tolist() == [CANDIDATE] * COUNT + [STOP] + [VIEW] * 12
    for row in range(BATCH):
        views = set(candidates.views[row].tolist())
        assert {v for v in range(12) if not tokens.valid[row, COUNT + 1 + v]} == views
        for place, view in enumerate(candidates.views[row].tolist()):
            assert torch.equal(tokens.rgb[row, place], seen.rgb[row, view])
    assert not tokens.rgb[:, COUNT].any()


def test_words_views_and_history_matter_and_environments_do_not_see_each_other():
    made, candidates = planner(), random_candidates()
    one = score(made, candidates, features(), ids())
    for other in (
        score(made, candidates, features(), ids(seed=5)),
        score(made, candidates, features(seed=6), ids()),
        score(made, candidates, features(), ids(), [past(made, 7)]),
    ):
        assert (other - one).abs().amax(1).min() > 1e-3
    first = score(made, candidates, features(), ids(), [past(made, 7)])
    for other in (past(made, 8), past(made, 7, angle=-2.0), past(made, 7, step=3)):
        assert (score(made, candidates, features(), ids(), [other]) - first).abs().amax(1).min() > 1e-4
    words = ids()
    words[0] = 3
    changed = score(made, candidates, features(), words)
    torch.testing.assert_close(changed[1:], one[1:], atol=1e-5, rtol=0)


def test_padding_of_words_and_of_history_changes_nothing():
    made, tokens = planner(), observe(features(), random_candidates())
    words = ids()
    longer = F.pad(words, (0, 3))
    history = made.history.begin(BATCH)[:, None]
    there = torch.ones(BATCH, 1, dtype=torch.bool)
    one = made(made.read(words), words != 0, history, there, tokens)
    padded = torch.cat((history, torch.randn(BATCH, 2, 32)), 1)
    other = made(made.read(longer), longer != 0, padded, F.pad(there, (0, 2)), tokens)
    torch.testing.assert_close(other, one, atol=1e-5, rtol=0)


def test_it_memorises_decisions():
    torch.manual_seed(4)
    made = Planner(SMALL).train()
    candidates, seen, words = random_candidates(8, 3), features(8, 4), ids(8, 5)
    wanted = torch.tensor([0, 1, 2, 3, 4, 0, 1, 4])
    optimiser = torch.optim.AdamW(made.parameters(), 2e-3)
    for _ in range(80):
        loss = F.cross_entropy(score(made, candidates, seen, words), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert score(made.eval(), candidates, seen, words).argmax(1).tolist() == wanted.tolist()


def test_history_alone_can_decide():
    torch.manual_seed(4)
    made = Planner(SMALL).train()
    one, around = random_candidates(1), features(1)
    candidates = Candidates(
        *(getattr(one, name).expand(2, -1) for name in ("angle_cells", "distance_cells", "heat", "valid"))
    )
    seen = PanoramaFeatures(around.rgb.expand(2, -1, -1), around.depth.expand(2, -1, -1))
    words = ids(1).expand(2, -1)
    optimiser = torch.optim.AdamW(made.parameters(), 4e-3)
    angles, wanted = torch.tensor([0.5, -2.0]), torch.tensor([1, 3])
    for _ in range(120):
        token = made.remember(seen, angles, torch.zeros(2, dtype=torch.int64))
        scores = score(made, candidates, seen, words, [token])
        loss = F.cross_entropy(scores, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert scores.argmax(1).tolist() == wanted.tolist()


def told(batch: int, wanted: torch.Tensor, seed: int) -> torch.Tensor:
    """Instructions of six words, of which one, at any place, says what is wanted: words 1 to 5; the others mean nothing."""
    rng = torch.Generator().manual_seed(seed)
    words = torch.randint(6, 20, (batch, 6), generator=rng)
    return words.scatter(1, torch.randint(6, (batch, 1), generator=rng), 1 + wanted[:, None])


def test_words_alone_can_decide_and_sentences_that_it_never_heard_are_followed():
    torch.manual_seed(4)
    made = Planner(SMALL).train()
    batch, one, around = 20, random_candidates(1), features(1)  # everybody stands at one place
    candidates = Candidates(
        *(getattr(one, name).expand(batch, -1) for name in ("angle_cells", "distance_cells", "heat", "valid"))
    )
    seen = PanoramaFeatures(around.rgb.expand(batch, -1, -1), around.depth.expand(batch, -1, -1))
    wanted = torch.arange(batch) % (COUNT + 1)  # the stop among them
    optimiser = torch.optim.AdamW(made.parameters(), 4e-3)
    for step in range(150):
        loss = F.cross_entropy(score(made, candidates, seen, told(batch, wanted, step)), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = score(made.eval(), candidates, seen, told(batch, wanted, 1000)).argmax(1)
    assert (found == wanted).float().mean() >= 0.9


def test_every_weight_gets_a_gradient():
    made, candidates = planner(), random_candidates()
    scores = score(made, candidates, features(), ids(), [past(made, 7)])
    F.cross_entropy(scores, torch.tensor([0, 1, COUNT])).backward()
    still = {name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()}
    # These shift all that is compared alike.
    assert all(name == "head.4.bias" or name.endswith("key.bias") for name in still)


def test_angles_are_told_to_the_right_as_in_the_released_agent():
    told = angle_features(torch.tensor([math.pi / 2, 0.0]))
    torch.testing.assert_close(told, torch.tensor([[-1.0, 0, 0, 1], [0, 1, 0, 1]]), atol=1e-6, rtol=0)
    candidates = random_candidates()
    angles = action_angles(candidates, [0, COUNT, 2])
    assert angles.tolist() == [float(candidates.angles[0, 0]), 0.0, float(candidates.angles[2, 2])]


def published(made: Planner) -> dict[str, torch.Tensor]:
    """An agent's file as it is released: the planner below "net.", the eyes beside it."""
    named = {f"net.{name}": tensor for name, tensor in to_theirs(made.state_dict(), LAYOUT).items()}
    return named | {"net.rgb_encoder.model.fc_norm.weight": torch.ones(3), "net.clip_encoder.model.x": torch.ones(2)}


# Written out from the released code, to be compared with the table: some of each module.
NAMES = [
    "vln_bert.embeddings.word_embeddings.weight",
    "vln_bert.embeddings.token_type_embeddings.weight",
    "vln_bert.embeddings.LayerNorm.bias",
    "vln_bert.encoder.layer.0.attention.self.query.weight",
    "vln_bert.encoder.layer.0.attention.output.LayerNorm.weight",
    "vln_bert.encoder.layer.0.intermediate.dense.bias",
    "vln_bert.encoder.layer.0.output.dense.weight",
    "vln_bert.encoder.x_layers.1.visual_attention.att.key.weight",
    "vln_bert.encoder.x_layers.1.visual_attention.output.dense.bias",
    "vln_bert.encoder.x_layers.0.lang_self_att.self.value.bias",
    "vln_bert.encoder.x_layers.0.visn_self_att.output.LayerNorm.bias",
    "vln_bert.encoder.x_layers.0.lang_inter.dense.weight",
    "vln_bert.encoder.x_layers.1.visn_output.LayerNorm.weight",
    "vln_bert.img_embeddings.img_linear.weight",
    "vln_bert.img_embeddings.dep_layer_norm.weight",
    "vln_bert.img_embeddings.dis_linear.bias",
    "vln_bert.img_embeddings.nav_type_embedding.weight",
    "vln_bert.img_embeddings.layer_norm.weight",
    "vln_bert.hist_embeddings.cls_token",
    "vln_bert.hist_embeddings.position_embeddings.weight",
    "vln_bert.hist_embeddings.type_embedding.weight",
    "vln_bert.hist_embeddings.pano_img_layer_norm.bias",
    "vln_bert.hist_embeddings.pano_encoder.layer.0.output.dense.weight",
    "vln_bert.next_action.net.0.weight",
    "vln_bert.next_action.net.2.bias",
    "vln_bert.next_action.net.4.weight",
    "rgb_projection.weight",
    "rgb_embedding_projection.bias",
]


def test_published_names_are_loaded_and_give_the_same_scores():
    source, made = planner(), Planner(SMALL).eval()
    state = published(source)
    assert {f"net.{name}" for name in NAMES} <= state.keys()
    other = load_published(made, {f"module.{name}": tensor for name, tensor in state.items()})
    assert sorted(other) == ["clip_encoder.model.x", "rgb_encoder.model.fc_norm.weight"]
    inputs = random_candidates(), features(), ids()
    assert torch.equal(score(made, *inputs), score(source, *inputs))


def test_the_table_names_every_weight_of_the_published_size_once():
    with torch.device("meta"):
        made = Planner(PlannerConfig())
    state = to_theirs(made.state_dict(), LAYOUT)
    assert len(state) == len(made.state_dict())
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["rgb_embedding_projection.weight"] == (768, 512 + 768)
    assert shapes["vln_bert.img_embeddings.dep_linear.weight"] == (768, 128)
    assert shapes["vln_bert.hist_embeddings.position_embeddings.weight"] == (50, 768)
    assert shapes["vln_bert.embeddings.word_embeddings.weight"] == (30522, 768)
    assert sum(name.startswith("vln_bert.encoder.layer.8.") for name in state) == 16
    assert sum(name.startswith("vln_bert.encoder.x_layers.3.") for name in state) == 10 + 2 * 16


def test_names_that_do_not_fit_are_refused():
    state = published(planner())
    missing = dict(state)
    del missing["net.vln_bert.hist_embeddings.cls_token"]
    for wrong, said in (
        (missing, "hist_embeddings.cls_token"),
        (state | {"net.vln_bert.pooler.dense.weight": torch.ones(1)}, "pooler"),
        (state | {"optimizer": torch.ones(1)}, "optimizer"),
        (state | {"net.rgb_projection.bias": torch.ones(5)}, "expected"),
    ):
        with pytest.raises(WeightsError, match=said):
            load_published(Planner(SMALL), wrong)


def test_the_unknown_word_is_learned_and_what_begins_an_instruction_is_never_missed():
    made = planner().train()
    words = torch.full((400, 6), 7)
    words[:, 0] = SMALL.vocabulary - 1
    torch.manual_seed(0)
    read = made.read(words)
    read[:, 1:].sum().backward()
    assert made.text.words.weight.grad[UNKNOWN].any()
    heard = []
    made.text.words.register_forward_hook(lambda module, inputs, output: heard.append(inputs[0]))
    made.read(words)
    made.eval().read(words)
    assert (heard[0][:, 0] == SMALL.vocabulary - 1).all()
    assert (heard[0][:, 1:] == UNKNOWN).float().mean().item() == pytest.approx(0.02, abs=0.01)
    assert torch.equal(heard[1], words)
