"""WiSE-FT: what is averaged, how, and that the released code's choice of names is ours."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from released_shapes import clip, internvideo_mm
from torch import nn

from navloop.encoders.averaging import visual_blocks_below, wise_ft
from navloop.encoders.layouts import CLIP, INTERNVIDEO_MM
from navloop.encoders.translation import to_ours
from navloop.weights import WeightsError

TUNED = {"a.weight": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0]), "steps": torch.tensor(5)}
FIRST = {"a.weight": torch.tensor([3.0, -2.0]), "steps": torch.tensor(0)}


@given(st.floats(0, 1))
def test_each_number_lies_between_in_proportion(weight):
    average = wise_ft(TUNED, FIRST, weight)
    torch.testing.assert_close(average.state["a.weight"], torch.tensor([1 + 2 * weight, 2 - 4 * weight]))


def test_what_only_the_first_has_and_what_is_counted_stays():
    average = wise_ft(TUNED, FIRST)
    assert average.averaged == ("a.weight",)
    assert average.kept == ("b", "steps")
    assert average.state["b"] is TUNED["b"]
    assert average.state["steps"] == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_stay_and_halves_are_averaged_in_full_precision(dtype):
    torch.manual_seed(0)
    a, b = torch.randn(1000).to(dtype), torch.randn(1000).to(dtype)
    average = wise_ft({"w": a}, {"w": b.float()}, 0.3).state["w"]
    assert average.dtype == dtype
    torch.testing.assert_close(average, (0.7 * a.double() + 0.3 * b.double()).to(dtype))


def test_average_of_two_linear_maps_is_the_average_of_their_outputs():
    torch.manual_seed(0)
    a, b, mean = nn.Linear(5, 3), nn.Linear(5, 3), nn.Linear(5, 3)
    mean.load_state_dict(wise_ft(a.state_dict(), b.state_dict(), 0.5).state)
    x = torch.randn(7, 5)
    torch.testing.assert_close(mean(x), (a(x) + b(x)) / 2)


def test_models_of_other_names_or_shapes_have_no_mean():
    with pytest.raises(WeightsError, match=r"a\.weihgt \(nearest: a\.weight\)"):
        wise_ft(TUNED, {"a.weihgt": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"a\.weight is \(2,\) in the first, \(3,\) in the second"):
        wise_ft(TUNED, {"a.weight": torch.zeros(3)})
    with pytest.raises(WeightsError, match="nothing to average"):
        wise_ft(TUNED, FIRST, keys=lambda name: name == "steps")
    with pytest.raises(WeightsError, match=r"weight 1\.5 is outside"):
        wise_ft(TUNED, FIRST, 1.5)


def test_visual_blocks_below_twelve_are_those_that_the_released_code_averages():
    shapes = internvideo_mm(64, 24, 14, 2, 64, 12, 32, vocabulary=10)
    tuned = {name: torch.zeros(shape) for name, shape in shapes.items()}
    first = {name: torch.ones(shape) for name, shape in clip(64, 24, 14, 2, 64, 32, vocabulary=10).items()}
    average = wise_ft(to_ours(tuned, INTERNVIDEO_MM), to_ours(first, CLIP), keys=visual_blocks_below(12))
    # The released list, by the released names: beginnings, twelve blocks of either tower, and ends.
    listed = ["clip.positional_embedding", "clip.text_projection", "clip.token_embedding.", "clip.ln_final."]
    listed += ["clip.visual_ln_post.", "clip.visual_proj"]
    listed += [f"clip.visual.{name}" for name in ("class_embedding", "positional_embedding", "conv1.", "ln_pre.")]
    listed += [f"clip.{tower}transformer.resblocks.{i}." for tower in ("", "visual.") for i in range(12)]
    expected = {name: tensor + name.startswith(tuple(listed)) / 2 for name, tensor in tuned.items()}
    expected = to_ours(expected, INTERNVIDEO_MM)
    assert all(torch.equal(average.state[name], expected[name]) for name in expected)
    assert "logit_scale" in average.kept
    assert len(average.averaged) == 2 * 12 * 12 + 13
