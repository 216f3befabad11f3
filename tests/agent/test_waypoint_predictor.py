"""The waypoint predictor: what a heat map's cells mean, which places are chosen, and the published names."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from navloop.agent.policies.bert import BertLayer
from navloop.agent.waypoints import (
    ANGLES,
    DISTANCES,
    MAX_CANDIDATES,
    SPREAD,
    DepthGrid,
    WaypointPredictor,
    angle_of,
    choose_candidates,
    distance_of,
    load_published,
    view_of,
    waypoint_loss,
)
from navloop.configs.planner import WaypointConfig
from navloop.weights import WeightsError

SMALL = WaypointConfig(width=32, heads=4, hidden=48, dropout=0.0, depth_channels=16)


def predictor(config: WaypointConfig = SMALL, seed: int = 0) -> WaypointPredictor:
    torch.manual_seed(seed)
    return WaypointPredictor(config).eval()


def test_cells_go_to_the_left_in_steps_of_three_degrees_and_a_quarter_metre():
    assert torch.rad2deg(angle_of(torch.tensor([0, 1, 60, 61, 119]))).tolist() == pytest.approx([0, 3, 180, -177, -3])
    assert distance_of(torch.tensor([0, 11])).tolist() == [0.25, 3.0]


def test_a_cell_belongs_to_the_nearest_view():
    for cell in range(ANGLES):
        apart = [abs(math.remainder(math.radians(3 * cell - 30 * view), 2 * math.pi)) for view in range(12)]
        assert apart[int(view_of(torch.tensor(cell)))] == pytest.approx(min(apart))


maps = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((2, ANGLES, DISTANCES)) ** 4)


@settings(max_examples=25)
@given(maps, st.integers(0, ANGLES - 1))
def test_candidates_are_hot_apart_and_turn_with_the_map(heat, turn):
    heat = torch.from_numpy(heat)
    found = choose_candidates(heat, least=0.0)
    assert 1 <= found.valid.sum(1).min() and found.valid.shape[1] <= MAX_CANDIDATES
    assert (found.heat.diff(dim=1) <= 0).all()
    for row in range(2):
        chosen = [(int(a), int(d)) for a, d in zip(found.angle_cells[row], found.distance_cells[row], strict=True)]
        assert heat[row][chosen[0]] == heat[row].max()
        for i, (a, d) in enumerate(chosen):
            for b, e in chosen[:i]:
                assert min(abs(a - b), ANGLES - abs(a - b)) > SPREAD[0] or abs(d - e) > SPREAD[1]
    turned = choose_candidates(heat.roll(turn, 1), least=0.0)
    assert torch.equal(turned.angle_cells, (found.angle_cells + turn) % ANGLES)
    assert torch.equal(turned.distance_cells, found.distance_cells)


def test_every_hot_place_is_chosen_or_near_a_hotter_one():
    heat = torch.from_numpy(np.random.default_rng(5).random((1, ANGLES, DISTANCES)))
    found = choose_candidates(heat, most=500, least=0.0)
    cells = torch.stack((found.angle_cells[0], found.distance_cells[0]), 1)[found.valid[0]]
    for angle in range(ANGLES):
        for distance in range(DISTANCES):
            apart = (cells[:, 0] - angle).abs()
            near = (torch.minimum(apart, ANGLES - apart) <= SPREAD[0]) & ((cells[:, 1] - distance).abs() <= SPREAD[1])
            assert heat[0][tuple(cells[near].T)].max() >= heat[0, angle, distance]


def test_a_faint_place_is_no_candidate_and_others_are_marked_as_missing():
    heat = torch.zeros(2, ANGLES, DISTANCES)
    heat[0, 0, 3], heat[0, 40, 3], heat[0, 80, 3] = 1.0, 0.5, 0.01
    heat[1, 119, 0] = 1.0
    found = choose_candidates(heat, least=0.05)
    assert found.valid.tolist() == [[True, True], [True, False]]
    assert found.angles[0].tolist() == pytest.approx([0, 2 * math.pi / 3])
    assert found.views.tolist()[0] == [0, 4] and found.distances[1, 0] == 0.25
    with pytest.raises(ValueError, match="negative"):
        choose_candidates(-heat)


def test_turning_the_views_turns_the_heat():
    made, depth = predictor(), torch.rand(2, 12, 16, 4, 4)
    turned = made(depth.roll(-1, 1))
    torch.testing.assert_close(turned, made(depth).roll(-10, 1), atol=1e-5, rtol=0)


def test_two_layers_see_two_views_to_either_side_and_answer_around_their_own():
    made, depth = predictor(), torch.rand(1, 12, 16, 4, 4)
    other = depth.clone()
    other[:, 3] += 1
    changed = (made(other) - made(depth)).abs().amax((0, 2)) > 1e-6  # (ANGLES,)
    views = {int(view_of(torch.tensor(cell))) for cell in torch.nonzero(changed).flatten().tolist()}
    assert views == {1, 2, 3, 4, 5}


def test_the_loss_is_least_where_heat_and_targets_agree_and_blind_to_their_scale():
    targets = torch.rand(3, ANGLES, DISTANCES)
    best = waypoint_loss(targets.log(), targets)
    assert best < waypoint_loss(targets.log() + 0.1 * torch.randn(targets.shape), targets)
    torch.testing.assert_close(best, waypoint_loss(targets.log(), 7 * targets))
    empty = torch.cat((targets, torch.zeros(1, ANGLES, DISTANCES)))
    torch.testing.assert_close(
        best, waypoint_loss(torch.cat((targets.log(), torch.randn(1, ANGLES, DISTANCES))), empty)
    )


def test_it_learns_where_walls_are_from_synthetic_depth():
    rng = np.random.default_rng(2)
    far = torch.from_numpy(rng.choice([0.4, 4.0], (96, 12)))
    depth = far[:, :, None, None].expand(-1, -1, 64, 64)
    angles = view_of(torch.arange(ANGLES))
    targets = (far[:, angles] > 1)[:, :, None].expand(-1, -1, DISTANCES).float()
    made, eyes = predictor(), DepthGrid(16)
    optimiser = torch.optim.AdamW([*made.parameters(), *eyes.parameters()], 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        waypoint_loss(made(eyes(depth[:64])), targets[:64]).backward()
        optimiser.step()
    with torch.no_grad():
        heat = made.heat(eyes(depth[64:]))
    assert (heat * targets[64:]).sum((1, 2)).min() > 0.9
    found = choose_candidates(heat)
    rows = torch.arange(32)[:, None].expand_as(found.valid)
    assert targets[64:][rows, found.angle_cells, found.distance_cells][found.valid].all()


def published(rgb: bool = False) -> dict[str, torch.Tensor]:
    """Tensors as the published files name and shape them, smaller."""
    width, hidden = 32, 48
    shapes = {"visual_fc_depth.1": (width, 256), "visual_merge.0": (width, 64), "mergefeats_LayerNorm": (width,)}
    if rgb:
        shapes["visual_fc_rgb.1"] = (width, 20)
    for layer in range(2):
        at = f"waypoint_TRM.bert.encoder.layer.{layer}."
        shapes |= {f"{at}attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        shapes |= {f"{at}attention.output.dense": (width, width), f"{at}attention.output.LayerNorm": (width,)}
        shapes |= {f"{at}intermediate.dense": (hidden, width), f"{at}output.dense": (width, hidden)}
        shapes |= {f"{at}output.LayerNorm": (width,)}
    shapes |= {"vis_classifier.0": (width, width), "vis_classifier.2": (120, width)}
    state = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    return state | {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}


def test_published_names_are_loaded_and_all_accounted_for():
    made, state = predictor(), published()
    idle = load_published(made, state)
    assert sorted(idle) == [
        f"{name}.{end}" for name in ("mergefeats_LayerNorm", "visual_merge.0") for end in ("bias", "weight")
    ]
    assert torch.equal(
        made.layers[1].mlp.fc1.weight, state["waypoint_TRM.bert.encoder.layer.1.intermediate.dense.weight"]
    )
    assert torch.equal(made.head[2].bias, state["vis_classifier.2.bias"])
    with_rgb = predictor(SMALL.model_copy(update={"rgb_features": 20}))
    assert len(load_published(with_rgb, published(rgb=True))) == 2


def test_names_that_do_not_fit_are_refused_and_nothing_is_loaded():
    made = predictor()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    missing = published()
    del missing["vis_classifier.0.bias"]
    wider = published() | {"vis_classifier.2.bias": torch.zeros(121)}
    for state, said in (
        (missing, "vis_classifier.0.bias"),
        (published() | {"critic.weight": torch.zeros(1)}, "critic.weight"),
        (wider, "expected"),
        (published(rgb=True), "unexpected"),
    ):
        with pytest.raises(WeightsError, match=said):
            load_published(made, state)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


def test_the_published_network_has_its_size():
    with torch.device("meta"):
        made = WaypointPredictor(WaypointConfig())
    assert made.depth.weight.shape == (768, 2048) and made.head[2].weight.shape == (120, 768)
    # 2 BERT layers of 7,087,872, and the linear maps.
    assert sum(p.numel() for p in made.parameters()) == 2 * 7_087_872 + 2049 * 768 + 769 * 768 + 769 * 120


def test_a_layer_is_what_torch_makes_of_the_same_weights():
    torch.manual_seed(1)
    ours = BertLayer(32, 4, 48, 0.1).eval()
    theirs = nn.TransformerEncoderLayer(32, 4, 48, activation="gelu", layer_norm_eps=1e-12, batch_first=True).eval()
    attention, mlp = ours.attention, ours.mlp
    parts = (attention.query, attention.key, attention.value)
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
            "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
            **{f"self_attn.out_proj.{end}": tensor for end, tensor in attention.proj.state_dict().items()},
            **{f"linear1.{end}": tensor for end, tensor in mlp.fc1.state_dict().items()},
            **{f"linear2.{end}": tensor for end, tensor in mlp.fc2.state_dict().items()},
            **{f"norm1.{end}": tensor for end, tensor in attention.norm.state_dict().items()},
            **{f"norm2.{end}": tensor for end, tensor in mlp.norm.state_dict().items()},
        }
    )
    x, valid = torch.randn(3, 7, 32), torch.rand(3, 7) > 0.3
    valid[:, 0] = True
    ours_out = ours(x, valid[:, None, None])
    torch.testing.assert_close(ours_out[valid], theirs(x, src_key_padding_mask=~valid)[valid], atol=1e-5, rtol=0)
