"""ViCLIP against the reference, with and without masking, and what holds for any of its weights."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from navloop.configs.encoders import PixelsConfig, TextConfig, TransformerConfig, ViCLIPConfig
from navloop.encoders.masking import random_mask
from navloop.encoders.text import tokenize
from navloop.encoders.viclip import ViCLIPEncoder

TRUNK = TransformerConfig(width=32, depth=3, heads=2, hidden=64)
TINY = ViCLIPConfig(
    pixels=PixelsConfig(size=16),
    frames=3,
    patch=8,
    trunk=TRUNK,
    text=TextConfig(trunk=TransformerConfig(width=24, depth=2, heads=2, hidden=48), context=16),
    joint_width=20,
)
GRID = (3, 2, 2)
SENTENCES = ["turn left at the sofa", "stop by the second door", "go up the stairs"]
TO_OURS = (
    (r"^temp$", "temperature"),
    (r"^text_encoder\.text_projection$", "text.proj"),
    (r"^text_encoder\.positional_embedding$", "text.positions"),
    (r"^text_encoder\.token_embedding\.", "text.tokens."),
    (r"^text_encoder\.ln_final\.", "text.norm."),
    (r"^text_encoder\.", "text."),
    (r"^vision_encoder\.proj$", "video_proj"),
    (r"^vision_encoder\.", ""),
    (r"^conv1\.", "patch."),
    (r"^class_embedding$", "class_token"),
    (r"^temporal_positional_embedding$", "temporal_positions"),
    (r"^positional_embedding$", "positions"),
    (r"^ln_(pre|post)\.", r"norm_\1."),
    (r"transformer\.resblocks\.", "blocks."),
    (r"\.ln_", ".norm"),
    (r"\.attn\.in_proj_", ".attention.qkv."),
    (r"\.attn\.out_proj\.", ".attention.proj."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def to_ours(key):
    for pattern, ours in TO_OURS:
        key = re.sub(pattern, ours, key)
    return key


def encoder(config=TINY, seed=0):
    torch.manual_seed(seed)
    created = ViCLIPEncoder(config)
    for name, parameter in created.named_parameters():  # also what starts at 0 or 1
        if name != "temperature":
            nn.init.normal_(parameter, std=0.2)
    return created.eval()


def clips(batch=2, seed=0, config=TINY):
    size = config.pixels.size
    return torch.randn(batch, 3, config.frames, size, size, generator=torch.Generator().manual_seed(seed))


def hide(ratio=0.6, batch=2, seed=0, grid=GRID):
    return random_mask(grid, ratio, batch, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def released(golden):
    """The reference's file, and our encoder with its weights."""
    reference = golden("viclip")
    config = reference.config
    text_width = config["text_width"]
    ours = ViCLIPEncoder(
        ViCLIPConfig(
            pixels=PixelsConfig(size=config["resolution"]),
            frames=config["frames"],
            patch=config["patch_size"],
            trunk=TransformerConfig(
                width=config["width"], depth=config["layers"], heads=config["heads"], hidden=4 * config["width"]
            ),
            text=TextConfig(
                trunk=TransformerConfig(
                    width=text_width, depth=config["text_layers"], heads=config["text_heads"], hidden=4 * text_width
                ),
                context=config["context_length"],
                vocabulary=config["vocab_size"],
            ),
            joint_width=config["embed_dim"],
        )
    )
    ours.load_state_dict({to_ours(key): tensor for key, tensor in reference.state.items()})
    return reference, ours.eval()


def test_videos_are_embedded_as_by_the_reference(released):
    reference, ours = released
    video, expected = reference.tensors["video"], reference.tensors["video_embedding"]
    torch.testing.assert_close(ours.features(video) @ ours.video_proj, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours(video).pooled, F.normalize(expected, dim=-1), atol=1e-5, rtol=0)


def test_texts_are_embedded_as_by_the_reference(released):
    reference, ours = released
    pooled = ours.text(reference.tensors["tokens"]).pooled
    torch.testing.assert_close(pooled, reference.tensors["text_embedding"], atol=1e-5, rtol=0)


def reference_states(state, video, hidden, heads):
    """Compute last states from a released state dict with PyTorch's own attention, space-major as the source does.

    Args:
        state: Weights under released names.
        video: float (B, 3, T, H, W).
        hidden: bool (B, h * w * T), space-major, as many in each clip.
        heads: Attention heads.
    """
    vision = {key.removeprefix("vision_encoder."): value for key, value in state.items() if key.startswith("vision")}

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], vision[f"{name}.weight"], vision[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, vision[f"{name}.weight"], vision[f"{name}.bias"])

    kernel = vision["conv1.weight"]
    x = F.conv3d(video, kernel, stride=kernel.shape[2:]).permute(0, 3, 4, 2, 1).flatten(1, 2)  # (B, h*w, T, D)
    x = x + vision["positional_embedding"][1:, None] + vision["temporal_positional_embedding"]
    x = x.flatten(1, 2)[~hidden].view(len(video), -1, x.shape[-1])
    first = (vision["class_embedding"] + vision["positional_embedding"][0]).expand(len(video), 1, -1)
    x = norm(torch.cat((first, x), 1), "ln_pre")
    for i in range(sum(key.endswith("in_proj_weight") for key in vision)):
        name = f"transformer.resblocks.{i}"
        attention = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
        prefix = f"{name}.attn."
        attention.load_state_dict(
            {key.removeprefix(prefix): value for key, value in vision.items() if key.startswith(prefix)}
        )
        q = norm(x, f"{name}.ln_1")
        x = x + attention(q, q, q, need_weights=False)[0]
        y = linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{name}.mlp.c_proj")
    return norm(x, "ln_post")


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
def test_visible_tokens_are_those_of_the_reference(released, ratio):
    reference, ours = released
    time, height, width = ours.grid
    hidden = hide(ratio, grid=ours.grid)
    assert hidden.sum(1).tolist() == [int(ratio * hidden.shape[1])] * 2
    space_major = hidden.view(2, time, height * width).mT.flatten(1)
    with torch.no_grad():
        expected = reference_states(reference.state, reference.tensors["video"], space_major, heads=2)
        output = ours(reference.tensors["video"], hidden)
    embedding = expected[:, 0] @ ours.video_proj
    torch.testing.assert_close(output.pooled, F.normalize(embedding, dim=-1), atol=1e-5, rtol=0)
    index = torch.arange(hidden.shape[1]).view(time, height * width).mT.flatten()  # time-major place of each
    for row in range(2):
        order = index[~space_major[row]].argsort()
        torch.testing.assert_close(output.tokens[row], expected[row, 1:][order], atol=2e-5, rtol=0)
    assert output.hidden.equal(hidden)


def test_an_image_is_embedded_as_by_the_reference(released):
    reference, ours = released
    image, times = reference.tensors["video"][:, :, :1], "vision_encoder.temporal_positional_embedding"
    state = {**reference.state, times: reference.state[times].mean(1, keepdim=True)}
    hidden = hide(0.5, grid=(1, *ours.grid[1:]))
    with torch.no_grad():
        for given in (None, hidden):
            shown = torch.zeros_like(hidden) if given is None else given
            expected = reference_states(state, image, shown, heads=2)[:, 0]
            torch.testing.assert_close(ours.features(image, given), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="this encoder takes"):
        ours(image)  # whose tokens would not be of the grid


def test_parameters_have_the_names_that_files_are_converted_to():
    config = TINY.model_copy(update={"trunk": TRUNK.model_copy(update={"depth": 1})})
    expected = {"patch.weight", "class_token", "positions", "temporal_positions", "video_proj", "temperature"}
    expected |= {f"norm_{side}.{name}" for side in ("pre", "post") for name in ("weight", "bias")}
    for layer in ("norm1", "attention.qkv", "attention.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        expected |= {f"blocks.0.{layer}.weight", f"blocks.0.{layer}.bias"}
    state = ViCLIPEncoder(config).state_dict()
    assert {key for key in state if not key.startswith("text.")} == expected
    shapes = {name: tuple(state[name].shape) for name in ("patch.weight", "positions", "temporal_positions")}
    assert shapes == {"patch.weight": (32, 3, 1, 8, 8), "positions": (5, 32), "temporal_positions": (1, 3, 32)}


@pytest.mark.parametrize(
    ("patch", "width", "depth", "text_width", "millions"), [(14, 1024, 24, 768, 427.6), (16, 768, 12, 512, 149.6)]
)
def test_full_sizes_have_the_published_parameters(patch, width, depth, text_width, millions):
    trunk = TransformerConfig(width=width, depth=depth, heads=width // 64, hidden=4 * width)
    text = TransformerConfig(width=text_width, depth=12, heads=text_width // 64, hidden=4 * text_width)
    config = ViCLIPConfig(patch=patch, trunk=trunk, text=TextConfig(trunk=text, context=32), joint_width=text_width)
    with torch.device("meta"):
        full = ViCLIPEncoder(config)
    assert sum(parameter.numel() for parameter in full.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_output_keeps_the_contract():
    ours = encoder()
    output = ours.encode_video(torch.randint(256, (2, 3, 40, 30, 3), dtype=torch.uint8))
    assert output.grid == ours.grid == GRID
    assert (output.tokens.shape, output.pooled.shape) == ((2, math.prod(GRID), ours.width), (2, ours.joint_width))
    assert output.hidden is None
    assert not output.pooled.requires_grad
    torch.testing.assert_close(output.pooled.norm(dim=1), torch.ones(2))


def silent(config=TINY):
    """An encoder whose blocks change nothing: a token depends on its own patch alone."""
    ours = encoder(config)
    for block in ours.blocks:
        for layer in (block.attention.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    return ours


@pytest.mark.parametrize("index", range(math.prod(GRID)))
def test_tokens_are_ordered_time_row_column(index):
    ours, pixels = silent(), clips(1)
    time, row, column = index // 4, index // 2 % 2, index % 2
    changed = pixels.clone()
    changed[:, :, time, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 1
    difference = (ours(changed).tokens - ours(pixels).tokens)[0].abs().amax(1)
    assert (difference > 1e-4).nonzero().flatten().tolist() == [index]


def test_masking_leaves_the_visible_tokens_in_order():
    ours, pixels, hidden = silent(), clips(), hide()
    torch.testing.assert_close(ours(pixels, hidden).tokens, ours(pixels).tokens[~hidden].view(2, 5, -1))


def test_hidden_tokens_do_not_influence_the_output():
    ours, pixels, hidden = encoder(), clips(), hide()
    patches = hidden.view(2, 1, *GRID).repeat_interleave(8, 3).repeat_interleave(8, 4)
    disturbed = torch.where(patches, clips(seed=1), pixels)
    before, after = ours(pixels, hidden), ours(disturbed, hidden)
    torch.testing.assert_close(after.tokens, before.tokens, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.pooled, before.pooled, atol=1e-6, rtol=0)
    assert (ours(disturbed).pooled - ours(pixels).pooled).abs().max() > 1e-3


def test_every_frame_reaches_the_class_token_and_time_has_an_order():
    ours, pixels = encoder(), clips(1)
    plain = ours(pixels).pooled
    for frame in range(3):
        changed = pixels.clone()
        changed[:, :, frame] += 1
        assert (ours(changed).pooled - plain).abs().max() > 1e-3
    assert (ours(pixels.flip(2)).pooled - plain).abs().max() > 1e-3
    nn.init.zeros_(ours.temporal_positions)
    torch.testing.assert_close(ours(pixels.flip(2)).pooled, ours(pixels).pooled, atol=1e-5, rtol=0)


def test_clips_are_encoded_apart_from_each_other():
    ours, pixels, hidden = encoder(), clips(4), hide(batch=4)
    order = torch.tensor([2, 0, 3, 1])
    whole, shuffled = ours(pixels, hidden), ours(pixels[order], hidden[order])
    torch.testing.assert_close(shuffled.pooled, whole.pooled[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.tokens, whole.tokens[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(pixels[1:2], hidden[1:2]).pooled, whole.pooled[1:2], atol=1e-5, rtol=0)


def test_similarity_is_the_cosine_over_the_temperature():
    ours = encoder()
    videos, texts = ours(clips()).pooled, ours.encode_text(SENTENCES)
    assert ours.temperature.item() == pytest.approx(0.01)
    cosines = F.cosine_similarity(videos[:, None], texts[None], dim=-1)
    torch.testing.assert_close(ours.similarity(videos, texts), 100 * cosines, atol=1e-4, rtol=0)
    nn.init.constant_(ours.temperature, 0.5)
    torch.testing.assert_close(ours.similarity(videos, texts), 2 * cosines, atol=1e-5, rtol=0)


def test_too_low_a_temperature_counts_as_the_lowest_and_can_rise_again():
    ours = encoder()
    nn.init.constant_(ours.temperature, 0.002)
    videos, texts = ours(clips()).pooled, ours.encode_text(SENTENCES)
    logits = ours.similarity(videos, texts)
    torch.testing.assert_close(logits, 100 * videos @ texts.mT, atol=1e-4, rtol=0)
    wrong = logits.argmin(1)  # the labels least believed: less confidence is better
    F.cross_entropy(logits, wrong).backward()
    assert ours.temperature.grad < 0


def contrastive_loss(ours, pixels, hidden=None):
    texts = ours.text.encode(SENTENCES[: len(pixels)])
    logits = ours.similarity(ours(pixels, hidden).pooled, texts)
    labels = torch.arange(len(pixels))
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits.mT, labels)


def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none():
    plain = encoder()
    checkpointed = TRUNK.model_copy(update={"checkpointing": True})
    thrifty = ViCLIPEncoder(TINY.model_copy(update={"trunk": checkpointed})).train()
    thrifty.load_state_dict(plain.state_dict())
    calls = []
    thrifty.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for ours in (plain, thrifty):
        contrastive_loss(ours, clips(), hide(0.2)).backward()
    assert len(calls) == 2
    for (name, parameter), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert parameter.grad.abs().sum() > 0, name
        torch.testing.assert_close(other.grad, parameter.grad, atol=0, rtol=0)


def test_contrast_teaches_a_new_encoder_which_text_is_whose():
    torch.manual_seed(0)
    ours = ViCLIPEncoder(TINY).train()
    optimiser = torch.optim.AdamW(ours.parameters(), 3e-3)
    pixels, generator = clips(3), torch.Generator().manual_seed(0)
    for _ in range(40):
        optimiser.zero_grad()
        contrastive_loss(ours, pixels, random_mask(GRID, 0.5, 3, generator)).backward()
        optimiser.step()
    ours.eval()
    with torch.no_grad():
        found = ours.similarity(ours(pixels).pooled, ours.encode_text(SENTENCES)).softmax(1)
    assert found.diagonal().min() > 0.9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype):
    ours, hidden = encoder(), hide()
    exact = ours(clips(), hidden).pooled
    texts = ours.encode_text(SENTENCES)
    ours.to(dtype)
    rough = ours(clips().to(dtype), hidden)
    assert rough.pooled.dtype == rough.tokens.dtype == dtype
    assert F.cosine_similarity(rough.pooled.float(), exact).min() > 0.995
    assert F.cosine_similarity(ours.encode_text(SENTENCES).float(), texts).min() > 0.995
    assert ours.similarity(rough.pooled, ours.encode_text(SENTENCES)).isfinite().all()


@pytest.mark.parametrize("ratios", [[None], [0.4, 0.8]])
def test_the_forward_pass_is_one_graph(ratios):
    torch.compiler.reset()
    ours, pixels = encoder(), clips()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for ratio in ratios:  # one graph for any number of hidden tokens
        hidden = None if ratio is None else hide(ratio)
        output, expected = compiled(pixels, hidden), ours(pixels, hidden)
        torch.testing.assert_close(output.tokens, expected.tokens, atol=1e-5, rtol=0)
        torch.testing.assert_close(output.pooled, expected.pooled, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (torch.zeros(2, 12), r"torch.float32 \(2, 12\), not torch.bool \(2, 12\)"),
        (torch.zeros(2, 11, dtype=torch.bool), r"\(2, 11\), not torch.bool \(2, 12\)"),
        (torch.arange(24).view(2, 12) < 3, "select 9 to 12 tokens"),
        (torch.ones(2, 12, dtype=torch.bool), "hide fewer"),
    ],
)
def test_wrong_masks_are_refused_by_name(hidden, words):
    with pytest.raises(ValueError, match=words):
        encoder()(clips(), hidden)


def test_wrong_clips_and_texts_are_refused_by_name():
    ours = encoder()
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 16, 16\).*\(B, 3, 3, 16, 16\)"):
        ours(torch.zeros(2, 3, 4, 16, 16))
    with pytest.raises(ValueError, match="4 frames, this encoder takes 3"):
        ours.encode_video(torch.zeros(2, 4, 16, 16, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="empty"):
        ours.encode_text([])
    with pytest.raises(TypeError, match="one string"):
        ours.encode_text("stop")
    with pytest.raises(ValueError, match="context of 16"):
        ours.text(tokenize(SENTENCES, 32))
