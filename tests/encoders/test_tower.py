"""The video tower: parity with CLIP and with projections made token by token, and what must not change its outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from navloop.configs.encoders import PixelsConfig, TransformerConfig, VideoTowerConfig
from navloop.encoders.global_blocks import GlobalBlock, PooledAttention
from navloop.encoders.layers import CLIP
from navloop.encoders.tower import VideoTower


def tower(seed: int = 0, **fields: object) -> VideoTower:
    """Return a small tower whose global blocks are not the identity that they start as."""
    settings = {
        "pixels": PixelsConfig(size=32),
        "frames": 4,
        "patch": 8,
        "trunk": TransformerConfig(width=48, depth=4, heads=3, hidden=96),
        "taps": (1, 3),
    }
    torch.manual_seed(seed)
    made = VideoTower(VideoTowerConfig.model_validate(settings | fields))
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return made.eval()


def clips(batch: int = 2, frames: int = 4, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(1))


def test_pooled_attention_equals_torch_attention_with_every_token_projected() -> None:
    torch.manual_seed(0)
    ours, theirs = PooledAttention(48, 3), nn.MultiheadAttention(48, 3, batch_first=True)
    nn.init.normal_(ours.qkv.bias)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    query, tokens = torch.randn(5, 48), torch.randn(5, 20, 48)
    expected, _ = theirs(query[:, None], tokens, tokens)
    torch.testing.assert_close(ours(query, tokens), expected[:, 0], atol=1e-6, rtol=0)


def test_position_convolution_equals_torch_and_spares_class_tokens() -> None:
    torch.manual_seed(0)
    block = GlobalBlock(TransformerConfig(width=48, depth=1, heads=3, hidden=96), CLIP, 0.0)
    nn.init.normal_(block.position.bias)
    tokens = torch.randn(2, 4, 1 + 3 * 5, 48)
    placed = block.place(tokens, (3, 5))
    video = tokens[:, :, 1:].unflatten(2, (3, 5)).permute(0, 4, 1, 2, 3).contiguous()
    expected = (video + block.position(video)).permute(0, 2, 3, 4, 1).flatten(2, 3)
    torch.testing.assert_close(placed[:, :, 1:], expected, atol=1e-6, rtol=0)
    assert torch.equal(placed[:, :, 0], tokens[:, :, 0])


def test_global_blocks_start_as_the_mean_of_the_class_tokens() -> None:
    config = VideoTowerConfig(
        pixels=PixelsConfig(size=32), patch=8, taps=(1,), trunk=TransformerConfig(width=48, depth=2, heads=3, hidden=96)
    )
    made = VideoTower(config).eval()
    fused, tokens = made(clips(frames=8))
    torch.testing.assert_close(fused, tokens[:, :, 0].mean(1) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{}, {"local": "single"}, {"local": "double", "halve_time": True}], ids=str)
def test_permuting_clips_permutes_what_is_seen(options: dict[str, object]) -> None:
    made, order = tower(**options), torch.tensor([2, 0, 1])
    fused, tokens = made(clips(3))
    again, tokens_again = made(clips(3)[order])
    torch.testing.assert_close(again, fused[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens_again, tokens[order], atol=1e-5, rtol=0)


def test_order_of_frames_matters_only_through_positions() -> None:
    made = tower()
    forward, backward = made(clips())[0], made(clips().flip(2))[0]
    assert (forward - backward).abs().max() > 1e-3
    for block in made.global_blocks:
        nn.init.zeros_(block.position.weight)
    torch.testing.assert_close(made(clips())[0], made(clips().flip(2))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"local": "double", "halve_time": True}, {"balance": False}], ids=str)
def test_every_parameter_gets_a_gradient(options: dict[str, object]) -> None:
    made = tower(**options).train()
    made(clips())[0].square().sum().backward()
    without = [
        name for name, p in made.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("options", [{}, {"local": "double"}], ids=str)
def test_checkpointing_changes_no_gradient_and_no_statistics(options: dict[str, object]) -> None:
    trunk = TransformerConfig(width=48, depth=4, heads=3, hidden=96, checkpointing=True)
    plain, checkpointed = tower(**options).train(), tower(trunk=trunk, **options).train()
    calls = []
    for blocks in (checkpointed.blocks, checkpointed.global_blocks):
        blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for made in (plain, checkpointed):
        for _ in range(2):
            made.zero_grad()
            made(clips())[0].square().sum().backward()
    assert len(calls) == 2 * 2 * 2  # blocks, passes, forwards and again backwards
    for first, second in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, atol=1e-5, rtol=1e-4)
    for first, second in zip(plain.buffers(), checkpointed.buffers(), strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_drop_path_rises_over_the_global_blocks_and_skips_whole_clips() -> None:
    made = tower(taps=(0, 1, 2, 3), global_drop_path=0.6)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in made.global_blocks]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.6])
    block = made.global_blocks[3].train()
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)
    query, tokens = torch.randn(1, 48).expand(2000, -1), torch.randn(1, 5, 48).expand(2000, -1, -1)
    taken = block(query, tokens) - query
    skipped = taken.abs().amax(1) < 1e-6
    assert skipped.float().mean() == pytest.approx(0.6, abs=0.05)
    block.eval()
    whole = block(query, tokens) - query  # a clip that is not skipped makes up for those that are
    torch.testing.assert_close(taken[~skipped], whole[~skipped] / 0.4, atol=1e-5, rtol=1e-4)


def test_local_mixing_starts_as_no_change_and_then_reaches_one_frame() -> None:
    made = tower(local="single")
    video = clips()
    changed = video.clone()
    changed[:, :, 3] += 1
    difference = (made.encode_frames(video).taps[0] - made.encode_frames(changed).taps[0]).abs().amax((0, 2, 3))
    assert difference[0] == 0  # two blocks carry the last of four frames no further than the second
    assert difference[1] > 0
    for block in made.blocks:
        nn.init.zeros_(block.local1.expand.weight)
        nn.init.zeros_(block.local1.expand.bias)
    plain = tower()
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if "local" not in k})
    torch.testing.assert_close(made(video)[0], plain(video)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 6])
@pytest.mark.parametrize("options", [{}, {"local": "single"}, {"local": "double", "halve_time": True}], ids=str)
def test_clips_of_any_length_stay_apart(options: dict[str, object], frames: int) -> None:
    made, together = tower(**options), clips(4, frames)
    seen = made(together)
    for i, clip in enumerate(together):
        alone = made(clip[None])
        for ours, theirs in zip(seen, alone, strict=True):
            torch.testing.assert_close(ours[i], theirs[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_no_nan_and_stays_near(dtype: torch.dtype) -> None:
    made, video = tower(), clips()
    exact = made(video)[0]
    rough = made.to(dtype)(video.to(dtype))[0]
    assert rough.dtype == dtype
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("options", [{}, {"local": "double", "halve_time": True}], ids=str)
def test_forward_compiles_whole(options: dict[str, object]) -> None:
    made, video = tower(**options), clips()
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(video)[0], made(video)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"taps": (3, 1)}, "not increasing block numbers from 0 to 3"),
        ({"taps": (1, 4)}, "not increasing block numbers from 0 to 3"),
        ({"patch": 7}, "patches of 7 pixels do not tile frames of 32"),
        ({"halve_time": True, "frames": 5}, "an even number of frames, not 5"),
    ],
)
def test_inconsistent_shapes_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tower(**fields)
