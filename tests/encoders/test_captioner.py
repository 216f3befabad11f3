"""The caption decoder: against the reference's outputs, and against its own definition."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.encoders import CaptionerConfig
from navloop.encoders.captioner import CaptionDecoder

WIDTH, VIDEO_WIDTH, VOCABULARY = 128, 96, 50

RENAMED = (
    ("visual_queries", "queries"),
    ("visual_attn_pooler.norm.gamma", "pooler.norm_queries.weight"),
    ("visual_attn_pooler.context_norm.gamma", "pooler.norm_tokens.weight"),
    ("visual_attn_pooler.", "pooler."),
    ("visual_pooler_norm.", "pooled_norm."),
    ("multimodal_layers.", "layers."),
    (".0.fn.fused_attn_ff_proj.", ".self_block.fused."),
    (".0.fn.attn_out.", ".self_block.attention_out."),
    (".0.fn.ff_out.1.", ".self_block.mlp_out."),
    (".0.fn.", ".self_block."),
    (".1.fn.ff.0.", ".cross_block.mlp_in."),
    (".1.fn.ff.2.", ".cross_block.mlp_out."),
    (".1.fn.", ".cross_block."),
    ("norm.gamma", "norm.weight"),
    ("predictor.0.", "predictor.norm1."),
    ("predictor.1.", "predictor.hidden."),
    ("predictor.3.", "predictor.norm2."),
    ("predictor.4.", "predictor.vocabulary."),
)


def create(layers: int = 2, queries: int = 8, seed: int = 0) -> CaptionDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CaptionDecoder(
            CaptionerConfig(layers=layers, queries=queries),
            text_width=WIDTH,
            video_width=VIDEO_WIDTH,
            vocabulary=VOCABULARY,
        )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {}
    for key, value in state.items():
        name = key.removeprefix("caption_decoder.")
        if name.endswith((".beta", ".inv_freq")):
            continue
        for theirs, our in RENAMED:
            name = name.replace(theirs, our)
        ours[name] = value
    return ours


def test_reproduces_the_reference(golden: Callable[[str], Any]) -> None:
    file = golden("caption_decoder")
    config = file.config
    decoder = CaptionDecoder(
        CaptionerConfig(layers=config["layers"]),
        text_width=config["text_width"],
        video_width=config["vision_width"],
        vocabulary=config["vocab_size"],
    )
    decoder.load_state_dict(renamed(file.state), strict=True)
    video_tokens = file.tensors["video_tokens"].permute(1, 0, 2, 3).flatten(1, 2)  # (B, L * T, W)
    with torch.no_grad():
        logits = decoder(video_tokens, file.tensors["text_tokens"][:, :-1])
    assert (logits - file.tensors["logits"]).abs().max() <= 1e-5


def test_the_reference_adds_nothing_in_its_norms(golden: Callable[[str], Any]) -> None:
    betas = [value for key, value in golden("caption_decoder").state.items() if key.endswith(".beta")]
    assert len(betas) == 6
    assert not any(beta.any() for beta in betas)


@pytest.mark.parametrize(("layers", "millions"), [(4, 107.0), (6, 140.4)])
def test_has_the_published_number_of_parameters(layers: int, millions: float) -> None:
    with torch.device("meta"):
        decoder = CaptionDecoder(CaptionerConfig(layers=layers), text_width=768, video_width=1024, vocabulary=49408)
    assert round(sum(parameter.numel() for parameter in decoder.parameters()) / 1e6, 1) == millions


def test_has_the_published_shapes() -> None:
    with torch.device("meta"):
        decoder = CaptionDecoder(CaptionerConfig(layers=2), text_width=768, video_width=1024, vocabulary=49408)
    shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    layer = {
        "self_block.norm.weight": (768,),
        "self_block.fused.weight": (7040, 768),
        "self_block.attention_out.weight": (768, 768),
        "self_block.mlp_out.weight": (768, 3072),
        "cross_block.norm.weight": (768,),
        "cross_block.to_q.weight": (768, 768),
        "cross_block.to_kv.weight": (128, 768),
        "cross_block.to_out.weight": (768, 768),
        "cross_block.mlp_in.weight": (6144, 768),
        "cross_block.mlp_out.weight": (768, 3072),
    }
    rest = {
        "queries": (256, 768),
        "pooler.norm_queries.weight": (768,),
        "pooler.norm_tokens.weight": (1024,),
        "pooler.to_q.weight": (768, 768),
        "pooler.to_kv.weight": (128, 1024),
        "pooler.to_out.weight": (768, 768),
        "pooled_norm.weight": (768,),
        "pooled_norm.bias": (768,),
        "text_norm.weight": (768,),
        "text_norm.bias": (768,),
        "predictor.norm1.weight": (768,),
        "predictor.norm1.bias": (768,),
        "predictor.hidden.weight": (768, 768),
        "predictor.hidden.bias": (768,),
        "predictor.norm2.weight": (768,),
        "predictor.norm2.bias": (768,),
        "predictor.vocabulary.weight": (49408, 768),
        "predictor.vocabulary.bias": (49408,),
    }
    assert shapes == rest | {f"layers.{i}.{name}": shape for i in range(2) for name, shape in layer.items()}


def plain_pool(decoder: CaptionDecoder, tokens: Tensor) -> Tensor:
    """Pool one clip's tokens (M, W) head by head, as the definition reads."""
    pooler = decoder.pooler
    q = F.layer_norm(decoder.queries, (WIDTH,), pooler.norm_queries.weight) @ pooler.to_q.weight.mT
    kv = F.layer_norm(tokens, (VIDEO_WIDTH,), pooler.norm_tokens.weight) @ pooler.to_kv.weight.mT
    keys, values = kv[:, :64], kv[:, 64:]
    heads = [(q[:, i : i + 64] @ keys.mT / math.sqrt(64)).softmax(-1) @ values for i in range(0, WIDTH, 64)]
    return decoder.pooled_norm(torch.cat(heads, 1) @ pooler.to_out.weight.mT)


def test_pooling_is_attention_with_one_key_head_for_all() -> None:
    decoder, tokens = create(), draw(3, 11, VIDEO_WIDTH)
    with torch.no_grad():
        expected = torch.stack([plain_pool(decoder, clip) for clip in tokens])
        torch.testing.assert_close(decoder.pool(tokens), expected, atol=1e-5, rtol=0)


def test_the_order_of_video_tokens_does_not_matter() -> None:
    decoder, tokens, states = create(), draw(2, 12, VIDEO_WIDTH), draw(2, 5, WIDTH, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(decoder(tokens, states), decoder(tokens.flip(1), states), atol=1e-5, rtol=0)


def test_the_order_of_text_states_matters() -> None:
    decoder, tokens, states = create(), draw(1, 12, VIDEO_WIDTH), draw(1, 5, WIDTH, seed=1)
    swapped = states[:, [1, 0, 2, 3, 4]]
    with torch.no_grad():
        assert (decoder(tokens, states)[:, -1] - decoder(tokens, swapped)[:, -1]).abs().max() > 1e-4


@given(changed=st.integers(0, 6), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_logits_depend_on_no_later_state(changed: int, seed: int) -> None:
    decoder, tokens, states = create(), draw(2, 6, VIDEO_WIDTH), draw(2, 7, WIDTH, seed=seed)
    other = states.clone()
    other[:, changed] = other[:, changed].flip(-1)
    with torch.no_grad():
        before, after = decoder(tokens, states), decoder(tokens, other)
    torch.testing.assert_close(before[:, :changed], after[:, :changed], atol=1e-6, rtol=0)
    assert ((before - after).abs().amax(-1)[:, changed:] > 1e-6).all()


@given(seed=st.integers(0, 99), lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_cache_changes_no_logit_however_the_text_is_cut(seed: int, lengths: list[int]) -> None:
    decoder, tokens = create(), draw(2, 6, VIDEO_WIDTH, seed=seed)
    states = draw(2, sum(lengths), WIDTH, seed=seed + 1)
    with torch.no_grad():
        pooled, caches = decoder.pool(tokens), decoder.create_caches(sum(lengths))
        pieces = [decoder.decode(pooled, piece, caches) for piece in states.split(lengths, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), decoder(tokens, states), atol=1e-5, rtol=0)


def test_a_cache_reads_a_clip_once() -> None:
    decoder, states, reads = create(), draw(2, 4, WIDTH), []
    decoder.layers[0].cross_block.to_kv.register_forward_hook(lambda *call: reads.append(call))
    with torch.no_grad():
        pooled, caches = decoder.pool(draw(2, 6, VIDEO_WIDTH)), decoder.create_caches(4)
        for piece in states.split(1, dim=1):
            decoder.decode(pooled, piece, caches)
    assert len(reads) == 1


def test_several_texts_of_a_clip_read_the_same_clip() -> None:
    decoder, tokens, states = create(), draw(2, 6, VIDEO_WIDTH), draw(6, 5, WIDTH, seed=1)
    with torch.no_grad():
        expected = decoder(tokens.repeat_interleave(3, dim=0), states)
        torch.testing.assert_close(decoder(tokens, states), expected, atol=1e-5, rtol=0)


def test_permuting_the_batch_permutes_the_logits() -> None:
    decoder, tokens, states = create(), draw(4, 6, VIDEO_WIDTH), draw(4, 5, WIDTH, seed=1)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        shuffled = decoder(tokens[order], states[order])
        torch.testing.assert_close(shuffled, decoder(tokens, states)[order], atol=1e-5, rtol=0)


def test_every_parameter_gets_a_gradient() -> None:
    decoder = create()
    logits = decoder(draw(2, 6, VIDEO_WIDTH), draw(2, 5, WIDTH, seed=1))
    F.cross_entropy(logits.flatten(0, 1), torch.arange(10)).backward()
    without = [name for name, value in decoder.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    decoder, tokens, states = create(), draw(2, 6, VIDEO_WIDTH), draw(2, 70, WIDTH, seed=1)
    with torch.no_grad():
        expected = decoder(tokens, states)
        logits = decoder.to(dtype)(tokens.to(dtype), states.to(dtype))
    assert logits.dtype is dtype
    assert (logits.float() - expected).abs().max() < 0.05


def test_training_compiles_into_one_graph() -> None:
    decoder, tokens, states = create(), draw(2, 6, VIDEO_WIDTH), draw(2, 5, WIDTH, seed=1)
    compiled = torch.compile(decoder, fullgraph=True, backend="eager")
    logits = compiled(tokens, states)
    torch.testing.assert_close(logits, decoder(tokens, states), atol=1e-6, rtol=0)
    logits.sum().backward()
    assert decoder.queries.grad is not None


@pytest.mark.parametrize(("width", "nearest"), [(100, 128), (20, 64), (700, 704)])
def test_refuses_a_width_that_heads_do_not_divide(width: int, nearest: int) -> None:
    with pytest.raises(ValueError, match=f"text_width {width} .* nearest one is {nearest}"):
        CaptionDecoder(CaptionerConfig(), text_width=width, video_width=8, vocabulary=9)


def test_refuses_what_does_not_fit() -> None:
    decoder, tokens, states = create(), draw(2, 6, VIDEO_WIDTH), draw(2, 5, WIDTH)
    with pytest.raises(ValueError, match=r"video_tokens are \(2, 3, 2, 96\), not \(B, M, 96\)"):
        decoder(tokens.unflatten(1, (3, 2)), states)
    with pytest.raises(ValueError, match=r"text_states are \(2, 5, 64\), not \(R, L, 128\)"):
        decoder(tokens, states[..., :64])
    with pytest.raises(ValueError, match=r"text_states are \(3, 5, 128\).* multiple of the 2 clips"):
        decoder(tokens, draw(3, 5, WIDTH))
    with pytest.raises(ValueError, match="4 tokens do not fit a cache for 3"):
        decoder.decode(decoder.pool(tokens), draw(2, 4, WIDTH), decoder.create_caches(3))
