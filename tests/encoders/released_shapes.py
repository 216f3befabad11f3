"""Names and shapes of the released files, written down from their description and not from the library's tables."""

from collections.abc import Iterator

import torch

Shapes = dict[str, tuple[int, ...]]


def blank(shapes: Shapes, device: str = "meta") -> dict[str, torch.Tensor]:
    """Tensors of those names and shapes, without bytes."""
    return {name: torch.empty(shape, device=device) for name, shape in shapes.items()}


def random(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of those names and shapes with bytes; constants that files carry have their values."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for name, tensor in state.items():
        if name.endswith(".beta"):
            tensor.zero_()
        if name.endswith(".inv_freq"):
            tensor.copy_(1.0 / (10000 ** (torch.arange(0, 64, 2).float() / 64)))
    return state


def count(shapes: Shapes) -> float:
    """Millions of parameters."""
    return sum(torch.Size(shape).numel() for shape in shapes.values()) / 1e6


def videomae_pretrain(width: int, depth: int, decoder_width: int, decoder_depth: int, patch: int = 16) -> Shapes:
    values = 3 * 2 * patch * patch
    return {
        "mask_token": (1, 1, decoder_width),
        "encoder.patch_embed.proj.weight": (width, 3, 2, patch, patch),
        "encoder.patch_embed.proj.bias": (width,),
        **_below("encoder.", _videomae_blocks(width, depth)),
        "encoder.norm.weight": (width,),
        "encoder.norm.bias": (width,),
        "encoder_to_decoder.weight": (decoder_width, width),
        **_below("decoder.", _videomae_blocks(decoder_width, decoder_depth)),
        "decoder.norm.weight": (decoder_width,),
        "decoder.norm.bias": (decoder_width,),
        "decoder.head.weight": (values, decoder_width),
        "decoder.head.bias": (values,),
    }


def videomae_finetune(width: int, depth: int, classes: int, patch: int = 16) -> Shapes:
    return {
        "patch_embed.proj.weight": (width, 3, 2, patch, patch),
        "patch_embed.proj.bias": (width,),
        **_videomae_blocks(width, depth),
        "fc_norm.weight": (width,),
        "fc_norm.bias": (width,),
        "head.weight": (classes, width),
        "head.bias": (classes,),
    }


def internvideo_mm(
    width: int, depth: int, patch: int, side: int, text_width: int, text_depth: int, joint: int, vocabulary: int = 49408
) -> Shapes:
    clip = {
        "positional_embedding": (77, text_width),
        "token_embedding.weight": (vocabulary, text_width),
        "text_projection": (text_width, joint),
        "logit_scale": (),
        "text_mask_embedding": (1, 1, text_width),
        "ln_final.weight": (text_width,),
        "ln_final.bias": (text_width,),
        **_below("transformer.", _clip_blocks(text_width, text_depth)),
        **_below("visual.", _clip_vision(width, depth, patch, side)),
        **_below("visual.transformer.", _global_blocks(width, 4)),
        "visual.transformer.balance": (width,),
        "visual_ln_post.weight": (width,),
        "visual_ln_post.bias": (width,),
        "visual_proj": (width, joint),
    }
    return _below("clip.", clip)


def caption_decoder(width: int, vision: int, layers: int, vocabulary: int = 49408) -> Shapes:
    shapes: Shapes = {
        "visual_queries": (256, width),
        "visual_attn_pooler.norm.gamma": (width,),
        "visual_attn_pooler.norm.beta": (width,),
        "visual_attn_pooler.context_norm.gamma": (vision,),
        "visual_attn_pooler.context_norm.beta": (vision,),
        "visual_attn_pooler.to_q.weight": (width, width),
        "visual_attn_pooler.to_kv.weight": (128, vision),
        "visual_attn_pooler.to_out.weight": (width, width),
    }
    shapes |= _norm("visual_pooler_norm", width) | _norm("text_norm", width)
    for i in range(layers):
        own, cross = f"multimodal_layers.{i}.0.fn.", f"multimodal_layers.{i}.1.fn."
        shapes |= {
            f"{own}norm.gamma": (width,),
            f"{own}norm.beta": (width,),
            f"{own}rotary_emb.inv_freq": (32,),
            f"{own}fused_attn_ff_proj.weight": (width + 64 + 64 + 8 * width, width),
            f"{own}attn_out.weight": (width, width),
            f"{own}ff_out.1.weight": (width, 4 * width),
            f"{cross}norm.gamma": (width,),
            f"{cross}norm.beta": (width,),
            f"{cross}to_q.weight": (width, width),
            f"{cross}to_kv.weight": (128, width),
            f"{cross}to_out.weight": (width, width),
            f"{cross}ff.0.weight": (8 * width, width),
            f"{cross}ff.2.weight": (width, 4 * width),
        }
    shapes |= _norm("predictor.0", width) | _linear("predictor.1", width, width)
    shapes |= _norm("predictor.3", width) | _linear("predictor.4", width, vocabulary)
    return _below("caption_decoder.", shapes)


def vqa(mm: Shapes, captions: Shapes, width: int, classes: int) -> Shapes:
    """Tuned for questions: without projections and word predictor, with a classifier over all three features."""
    gone = ("clip.visual_proj", "clip.text_projection", "caption_decoder.predictor.")
    kept = {name: shape for name, shape in (mm | captions).items() if not name.startswith(gone)}
    head = _linear("1", width, 2 * width) | _norm("2", 2 * width) | _linear("5", 2 * width, classes)
    return kept | _below("vqa_classifier.", head)


def viclip(
    width: int, depth: int, patch: int, side: int, text_width: int, joint: int, frames: int = 8, vocabulary: int = 49408
) -> Shapes:
    return {
        **_below("vision_encoder.", _clip_vision(width, depth, patch, side)),
        "vision_encoder.temporal_positional_embedding": (1, frames, width),
        **_norm("vision_encoder.ln_post", width),
        "vision_encoder.proj": (width, joint),
        "text_encoder.token_embedding.weight": (vocabulary, text_width),
        "text_encoder.positional_embedding": (32, text_width),
        **_norm("text_encoder.ln_final", text_width),
        "text_encoder.text_projection": (text_width, joint),
        **_below("text_encoder.transformer.", _clip_blocks(text_width, 12)),
        "temp": (),
    }


def uniformerv2(
    width: int,
    depth: int,
    patch: int,
    side: int,
    taps: int,
    classes: int,
    *,
    local: bool = False,
    frozen: bool = False,
) -> Shapes:
    shapes = _clip_vision(width, depth, patch, side) | _below("transformer.", _global_blocks(width, taps))
    if not frozen:
        shapes["transformer.balance"] = (width,)
    if local:
        shapes["conv1.weight"] = (width, 3, 3, patch, patch)
        for i in range(depth):
            shapes |= _below(f"transformer.resblocks.{i}.lmhra1.", _local(width))
            shapes |= _below(f"transformer.resblocks.{i}.lmhra2.", _local(width))
    shapes |= _norm("transformer.proj.0", width) | _linear("transformer.proj.2", width, classes)
    return _below("backbone.", shapes)


def clip(width: int, depth: int, patch: int, side: int, text_width: int, joint: int, vocabulary: int = 49408) -> Shapes:
    shapes = _below("visual.", _clip_vision(width, depth, patch, side))
    shapes["visual.conv1.weight"] = (width, 3, patch, patch)
    return {
        **shapes,
        **_norm("visual.ln_post", width),
        "visual.proj": (width, joint),
        "positional_embedding": (77, text_width),
        "token_embedding.weight": (vocabulary, text_width),
        "text_projection": (text_width, joint),
        "logit_scale": (),
        **_norm("ln_final", text_width),
        **_below("transformer.", _clip_blocks(text_width, 12)),
    }


def _below(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _videomae_blocks(width: int, depth: int) -> Shapes:
    def names() -> Iterator[tuple[str, tuple[int, ...]]]:
        for i in range(depth):
            block = f"blocks.{i}."
            yield f"{block}attn.q_bias", (width,)
            yield f"{block}attn.v_bias", (width,)
            yield f"{block}attn.qkv.weight", (3 * width, width)
            yield from _linear(f"{block}attn.proj", width, width).items()
            yield from _norm(f"{block}norm1", width).items()
            yield from _norm(f"{block}norm2", width).items()
            yield from _linear(f"{block}mlp.fc1", width, 4 * width).items()
            yield from _linear(f"{block}mlp.fc2", 4 * width, width).items()

    return dict(names())


def _clip_block(width: int) -> Shapes:
    return {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **_linear("attn.out_proj", width, width),
        **_norm("ln_1", width),
        **_norm("ln_2", width),
        **_linear("mlp.c_fc", width, 4 * width),
        **_linear("mlp.c_proj", 4 * width, width),
    }


def _clip_blocks(width: int, depth: int) -> Shapes:
    blocks = (_below(f"resblocks.{i}.", _clip_block(width)) for i in range(depth))
    return {name: shape for block in blocks for name, shape in block.items()}


def _clip_vision(width: int, depth: int, patch: int, side: int) -> Shapes:
    return {
        "class_embedding": (width,),
        "positional_embedding": (side * side + 1, width),
        "conv1.weight": (width, 3, 1, patch, patch),
        **_norm("ln_pre", width),
        **_below("transformer.", _clip_blocks(width, depth)),
    }


def _global_blocks(width: int, taps: int) -> Shapes:
    shapes: Shapes = {"temporal_cls_token": (1, 1, width)}
    for i in range(taps):
        shapes |= {f"dpe.{i}.weight": (width, 1, 3, 3, 3), f"dpe.{i}.bias": (width,)}
        shapes |= _below(f"dec.{i}.", _clip_block(width) | _norm("ln_3", width))
    return shapes


def _local(width: int) -> Shapes:
    inner = int(width // 1.5)
    return {
        **_norm("pos_embed.0", width),
        "pos_embed.0.running_mean": (width,),
        "pos_embed.0.running_var": (width,),
        "pos_embed.0.num_batches_tracked": (),
        "pos_embed.1.weight": (inner, width, 1, 1, 1),
        "pos_embed.1.bias": (inner,),
        "pos_embed.2.weight": (inner, 1, 3, 1, 1),
        "pos_embed.2.bias": (inner,),
        "pos_embed.3.weight": (width, inner, 1, 1, 1),
        "pos_embed.3.bias": (width,),
    }
