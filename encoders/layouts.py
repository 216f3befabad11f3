"""How released files name what ours do: one literal table a format, their name to ours, `{}` a layer's number.

A name that ends in `.*` stands for its `.weight` and its `.bias`.

Source of the names: the released code of each format.
"""

from __future__ import annotations

import torch
from torch import Tensor

from navloop.encoders.captioner import HEAD_WIDTH, ROTARY_BASE
from navloop.encoders.name_tables import Computed, Layout, Transform, under


def _rotary_frequencies(like: Tensor) -> Tensor:
    """Return the rotary code's frequencies, in the type of `like`: what files store as `inv_freq`."""
    steps = torch.arange(0, HEAD_WIDTH, 2, device=like.device).float() / HEAD_WIDTH
    frequencies: Tensor = 1.0 / ROTARY_BASE**steps
    return frequencies.to(like.dtype)


def _square_side(positions: Tensor, patch: Tensor) -> Tensor:
    return torch.tensor(round((positions.shape[0] - 1) ** 0.5) * patch.shape[-1])


def _rows(tensor: Tensor) -> Tensor:
    return torch.tensor(tensor.shape[0])


_VIDEOMAE_BLOCK = {
    "norm1.*": "norm1.*",
    "attn.qkv.weight": "attention.qkv.weight",
    "attn.q_bias": "attention.q_bias",
    "attn.v_bias": "attention.v_bias",
    "attn.proj.*": "attention.proj.*",
    "norm2.*": "norm2.*",
    "mlp.fc1.*": "mlp.fc1.*",
    "mlp.fc2.*": "mlp.fc2.*",
}

_CLIP_BLOCK = {
    "ln_1.*": "norm1.*",
    "attn.in_proj_weight": "attention.qkv.weight",
    "attn.in_proj_bias": "attention.qkv.bias",
    "attn.out_proj.*": "attention.proj.*",
    "ln_2.*": "norm2.*",
    "mlp.c_fc.*": "mlp.fc1.*",
    "mlp.c_proj.*": "mlp.fc2.*",
}

_CLIP_TRUNK = {
    "class_embedding": "class_token",
    "positional_embedding": "positions",
    "conv1.weight": "patch.weight",
    "ln_pre.*": "norm_pre.*",
    **under("transformer.resblocks.{}.", "blocks.{}.", _CLIP_BLOCK),
}

_CLIP_TEXT = {
    "token_embedding.weight": "tokens.weight",
    "positional_embedding": "positions",
    **under("transformer.resblocks.{}.", "blocks.{}.", _CLIP_BLOCK),
    "ln_final.*": "norm.*",
    "text_projection": "proj",
}

_GLOBAL = {
    "temporal_cls_token": "query",
    "dpe.{}.*": "global_blocks.{}.position.*",
    **under("dec.{}.", "global_blocks.{}.", {**_CLIP_BLOCK, "ln_3.*": "norm_tokens.*"}),
    "balance": "balance",
}

_LOCAL = {
    "pos_embed.0.*": "norm.*",
    "pos_embed.0.running_mean": "norm.running_mean",
    "pos_embed.0.running_var": "norm.running_var",
    "pos_embed.0.num_batches_tracked": "norm.num_batches_tracked",
    "pos_embed.1.*": "reduce.*",
    "pos_embed.2.*": "mix.*",
    "pos_embed.3.*": "expand.*",
}

_CAPTIONER = {
    "visual_queries": "queries",
    "visual_attn_pooler.norm.gamma": "pooler.norm_queries.weight",
    "visual_attn_pooler.context_norm.gamma": "pooler.norm_tokens.weight",
    "visual_attn_pooler.to_q.weight": "pooler.to_q.weight",
    "visual_attn_pooler.to_kv.weight": "pooler.to_kv.weight",
    "visual_attn_pooler.to_out.weight": "pooler.to_out.weight",
    "visual_pooler_norm.*": "pooled_norm.*",
    "text_norm.*": "text_norm.*",
    "multimodal_layers.{}.0.fn.norm.gamma": "layers.{}.self_block.norm.weight",
    "multimodal_layers.{}.0.fn.fused_attn_ff_proj.weight": "layers.{}.self_block.fused.weight",
    "multimodal_layers.{}.0.fn.attn_out.weight": "layers.{}.self_block.attention_out.weight",
    "multimodal_layers.{}.0.fn.ff_out.1.weight": "layers.{}.self_block.mlp_out.weight",
    "multimodal_layers.{}.1.fn.norm.gamma": "layers.{}.cross_block.norm.weight",
    "multimodal_layers.{}.1.fn.to_q.weight": "layers.{}.cross_block.to_q.weight",
    "multimodal_layers.{}.1.fn.to_kv.weight": "layers.{}.cross_block.to_kv.weight",
    "multimodal_layers.{}.1.fn.to_out.weight": "layers.{}.cross_block.to_out.weight",
    "multimodal_layers.{}.1.fn.ff.0.weight": "layers.{}.cross_block.mlp_in.weight",
    "multimodal_layers.{}.1.fn.ff.2.weight": "layers.{}.cross_block.mlp_out.weight",
    "predictor.0.*": "predictor.norm1.*",
    "predictor.1.*": "predictor.hidden.*",
    "predictor.3.*": "predictor.norm2.*",
    "predictor.4.*": "predictor.vocabulary.*",
}

# Their norms carry a buffer `beta` that is always zero, their rotary code its frequencies.
_CAPTIONER_COMPUTED = {
    f"caption_decoder.{theirs}": Computed((f"captioner.{ours}",), make)
    for theirs, ours, make in (
        ("visual_attn_pooler.norm.beta", "pooler.norm_queries.weight", torch.zeros_like),
        ("visual_attn_pooler.context_norm.beta", "pooler.norm_tokens.weight", torch.zeros_like),
        ("multimodal_layers.{}.0.fn.norm.beta", "layers.{}.self_block.norm.weight", torch.zeros_like),
        ("multimodal_layers.{}.0.fn.rotary_emb.inv_freq", "layers.{}.self_block.norm.weight", _rotary_frequencies),
        ("multimodal_layers.{}.1.fn.norm.beta", "layers.{}.cross_block.norm.weight", torch.zeros_like),
    )
}

_MULTIMODAL = {
    **under("clip.", "text.", _CLIP_TEXT),
    "clip.text_mask_embedding": "text.mask_token",
    "clip.logit_scale": "logit_scale",
    **under("clip.visual.", "video.", _CLIP_TRUNK),
    **under("clip.visual.transformer.", "video.", _GLOBAL),
    **under("clip.", "", {"visual_ln_post.*": "norm_post.*", "visual_proj": "video_proj"}),
    **under("caption_decoder.", "captioner.", _CAPTIONER),
}

_CLIP_VIDEO = {
    "logit_scale": "logit_scale",
    **under("visual.", "video.", _CLIP_TRUNK),
    **under("visual.", "", {"ln_post.*": "norm_post.*", "proj": "video_proj"}),
}

_CLIP = {**under("", "text.", _CLIP_TEXT), **_CLIP_VIDEO}

_ADD_TIME = {"visual.conv1.weight": Transform(lambda weight: weight.unsqueeze(2), lambda weight: weight.squeeze(2))}

VIDEOMAE_PRETRAIN = Layout(
    name="videomae_pretrain",
    about="VideoMAE with its decoder: names begin with encoder., decoder.",
    keys={
        "mask_token": "mask_token",
        **under("encoder.", "encoder.", {"patch_embed.proj.*": "patch.*", "norm.*": "norm.*"}),
        **under("encoder.blocks.{}.", "encoder.blocks.{}.", _VIDEOMAE_BLOCK),
        "encoder_to_decoder.weight": "to_decoder.weight",
        **under("decoder.blocks.{}.", "decoder.blocks.{}.", _VIDEOMAE_BLOCK),
        **under("decoder.", "decoder.", {"norm.*": "norm.*", "head.*": "head.*"}),
    },
)

VIDEOMAE_FINETUNE = Layout(
    name="videomae_finetune",
    about="VideoMAE with a classifier: names begin with blocks., fc_norm., head.",
    keys={
        **under("", "encoder.", {"patch_embed.proj.*": "patch.*", "fc_norm.*": "norm.*"}),
        **under("blocks.{}.", "encoder.blocks.{}.", _VIDEOMAE_BLOCK),
        **under("", "", {"head.*": "head.*"}),
    },
)

INTERNVIDEO_MM = Layout(
    name="internvideo_mm",
    about="InternVideo-MM, pretrained or tuned for retrieval: names begin with clip., caption_decoder.",
    keys=_MULTIMODAL,
    parts={"caption decoder": ("captioner.",), "masked-language embedding": ("text.mask_token",)},
    computed=_CAPTIONER_COMPUTED,
)

INTERNVIDEO_VQA = Layout(
    name="internvideo_vqa",
    about="InternVideo-MM tuned for question answering: names begin with clip., caption_decoder., vqa_classifier.",
    keys={
        **_MULTIMODAL,
        **under("vqa_classifier.", "vqa_classifier.", {"1.*": "1.*", "2.*": "2.*", "5.*": "5.*"}),
    },
    parts={
        "joint space": ("text.proj", "video_proj"),
        "caption words": ("captioner.predictor.",),
        "caption decoder": ("captioner.",),
        "masked-language embedding": ("text.mask_token",),
    },
    computed=_CAPTIONER_COMPUTED,
)

VICLIP = Layout(
    name="viclip",
    about="ViCLIP: names begin with vision_encoder., text_encoder.",
    keys={
        **under("vision_encoder.", "", {**_CLIP_TRUNK, "temporal_positional_embedding": "temporal_positions"}),
        **under("vision_encoder.", "", {"ln_post.*": "norm_post.*", "proj": "video_proj"}),
        **under("text_encoder.", "text.", _CLIP_TEXT),
        "temp": "temperature",
    },
)

UNIFORMERV2 = Layout(
    name="uniformerv2",
    about="UniFormerV2 with a classifier: names begin with backbone.",
    keys={
        **under("backbone.", "encoder.video.", _CLIP_TRUNK),
        **under("backbone.transformer.", "encoder.video.", _GLOBAL),
        **under("backbone.transformer.resblocks.{}.lmhra1.", "encoder.video.blocks.{}.local1.", _LOCAL),
        **under("backbone.transformer.resblocks.{}.lmhra2.", "encoder.video.blocks.{}.local2.", _LOCAL),
        **under("backbone.transformer.", "", {"proj.0.*": "norm.*", "proj.2.*": "head.*"}),
    },
    parts={
        "balance": ("encoder.video.balance",),
        "first local attention": ("encoder.video.blocks.{}.local1.",),
        "second local attention": ("encoder.video.blocks.{}.local2.",),
    },
)

CLIP = Layout(
    name="clip",
    about="a CLIP vision transformer of open_clip: names begin with visual., transformer.",
    keys=_CLIP,
    transforms=_ADD_TIME,
)

CLIP_WITH_TEXT = Layout(
    name="clip_with_text",
    about="a CLIP of open_clip whose text tower is a module: names begin with visual., text.",
    keys={**under("text.", "text.", _CLIP_TEXT), **_CLIP_VIDEO},
    transforms=_ADD_TIME,
)

OPENAI_CLIP = Layout(
    name="openai_clip",
    about="a CLIP vision transformer of OpenAI: as open_clip's, and its sizes beside them",
    keys=_CLIP,
    transforms=_ADD_TIME,
    computed={
        "input_resolution": Computed(("video.positions", "video.patch.weight"), _square_side),
        "context_length": Computed(("text.positions",), _rows),
        "vocab_size": Computed(("text.tokens.weight",), _rows),
    },
)

LAYOUTS = (
    VIDEOMAE_PRETRAIN,
    VIDEOMAE_FINETUNE,
    INTERNVIDEO_MM,
    INTERNVIDEO_VQA,
    VICLIP,
    UNIFORMERV2,
    CLIP,
    CLIP_WITH_TEXT,
    OPENAI_CLIP,
)
