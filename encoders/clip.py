"""Start the multimodal branch from any CLIP that open_clip can make: at the start they are the same model."""

from __future__ import annotations

from typing import Any

import open_clip
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn

from navloop.configs.encoders import MultimodalConfig, PixelsConfig, TextConfig, TransformerConfig, VideoTowerConfig
from navloop.encoders.convert import load_released
from navloop.encoders.multimodal import MultimodalEncoder

NUM_GLOBAL_BLOCKS = 4
"""After the last blocks of the tower. Source: UniFormerV2 for Kinetics; InternVideo-MM."""


def from_open_clip(model: nn.Module | str, pretrained: str | None = None, *, frames: int = 8) -> MultimodalEncoder:
    """Return a multimodal encoder that equals a CLIP model on the mean of the frames' class tokens.

    Global blocks are added after the last four blocks; they start as the identity, so that nothing of what CLIP knows
    is lost before they have learned anything.

    Args:
        model: An open_clip model, or its name: "ViT-B-16-quickgelu".
        pretrained: open_clip's tag for the weights of a named model, "openai" or "laion2b_s34b_b88k", downloaded by
            open_clip, or a file of them; None leaves them random.
        frames: Frames T of a clip.

    Returns:
        The encoder, in eval mode.

    Raises:
        ValueError: If the model is not a vision transformer with a class token and causal text, as CLIP's are.

    Source: paper, section 3.1.2; Li et al., UniFormerV2, section 3.
    """
    clip = open_clip.create_model(model, pretrained=pretrained) if isinstance(model, str) else model
    encoder = MultimodalEncoder(clip_config(clip, frames=frames))
    load_released(encoder, clip.state_dict())
    return encoder.eval()


def clip_config(clip: nn.Module, *, frames: int = 8) -> MultimodalConfig:
    """Return the configuration of the encoder that an open_clip model is the start of.

    Raises:
        ValueError: If the model is not a vision transformer with a class token and causal text, as CLIP's are.
    """
    visual: Any = getattr(clip, "visual", None)
    text: Any = getattr(clip, "text", clip)
    _check_is_clip(clip, visual, text)
    vision, words = _transformer(visual.transformer.resblocks), _transformer(text.transformer.resblocks)
    pixels = PixelsConfig(size=visual.image_size[0], mean=tuple(visual.image_mean), std=tuple(visual.image_std))
    return MultimodalConfig(
        video=VideoTowerConfig(
            pixels=pixels,
            frames=frames,
            patch=visual.patch_size[0],
            trunk=vision,
            quick_gelu=_has_quick_gelu(visual.transformer.resblocks),
            taps=tuple(range(max(vision.depth - NUM_GLOBAL_BLOCKS, 0), vision.depth)),
        ),
        text=TextConfig(
            trunk=words,
            quick_gelu=_has_quick_gelu(text.transformer.resblocks),
            context=text.positional_embedding.shape[0],
            vocabulary=text.token_embedding.num_embeddings,
        ),
        joint_width=visual.proj.shape[1],
    )


def _check_is_clip(clip: nn.Module, visual: Any, text: Any) -> None:
    pool = getattr(clip, "text_pool_type", getattr(text, "pool_type", None))
    wanted = {
        "a vision transformer of open_clip": isinstance(visual, VisionTransformer),
        "a class token, normalised and then projected": (
            getattr(visual, "pool_type", None) == "tok" and not visual.final_ln_after_pool and visual.proj is not None
        ),
        "a vision tower without attentional pooler": getattr(visual, "attn_pool", None) is None,
        "blocks without layer scale": not any("ls_1" in name for name in clip.state_dict()),
        "a text transformer read at its end token": pool == "argmax" and getattr(text, "cls_emb", None) is None,
    }
    lacking = [what for what, there in wanted.items() if not there]
    if lacking:
        raise ValueError(
            f"{type(clip).__name__} is not a CLIP as InternVideo starts from; it lacks {', '.join(lacking)}. "
            "Models that have it: ViT-B-16-quickgelu, ViT-L-14-quickgelu, ViT-L-14-336-quickgelu, ViT-B-16"
        )


def _transformer(blocks: Any) -> TransformerConfig:
    attention = blocks[0].attn
    hidden = blocks[0].mlp.c_fc.out_features
    return TransformerConfig(width=attention.embed_dim, depth=len(blocks), heads=attention.num_heads, hidden=hidden)


def _has_quick_gelu(blocks: Any) -> bool:
    return isinstance(blocks[0].mlp.gelu, QuickGELU)
