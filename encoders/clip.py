"""Start the multimodal branch from any CLIP that open_clip can make: at the start they are the same model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import open_clip
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn

from navloop.configs.encoders import (
    CLIP_MEAN,
    CLIP_STD,
    MultimodalConfig,
    PixelsConfig,
    TextConfig,
    TransformerConfig,
    VideoTowerConfig,
)
from navloop.encoders.convert import load_released
from navloop.encoders.layers import CLIP
from navloop.encoders.mismatch import nearest
from navloop.encoders.multimodal import MultimodalEncoder

NUM_GLOBAL_BLOCKS = 4
"""After the last blocks of the tower. Source: UniFormerV2 for Kinetics; InternVideo-MM."""

_RESIZES: dict[str, Literal["crop", "squash"]] = {"shortest": "crop", "squash": "squash"}
"""What open_clip calls the ways to resize that we know."""


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
        The encoder, in eval mode. Its pixels are as open_clip prepares images for the model; a model that does not
        say how gets OpenAI's mean, deviation and resizing.

    Raises:
        ValueError: If open_clip knows no such name or tag, naming the nearest, or the model computes anything that
            CLIP's vision and text transformers do not; the message says what.

    Source: paper, section 3.1.2; Li et al., UniFormerV2, section 3.
    """
    clip = _create(model, pretrained) if isinstance(model, str) else model
    encoder = MultimodalEncoder(clip_config(clip, frames=frames))
    load_released(encoder, clip.state_dict())
    return encoder.eval()


def clip_config(clip: nn.Module, *, frames: int = 8) -> MultimodalConfig:
    """Return the configuration of the encoder that an open_clip model is the start of.

    Raises:
        ValueError: If the model computes anything that CLIP's vision and text transformers do not.
    """
    visual: Any = getattr(clip, "visual", None)
    text: Any = getattr(clip, "text", clip)
    _refuse(clip, _lacking_towers(clip, visual, text))  # the rest is inside these
    _refuse(clip, _lacking_parts(clip, visual, text))
    vision, words = _transformer(visual.transformer.resblocks), _transformer(text.transformer.resblocks)
    return MultimodalConfig(
        video=VideoTowerConfig(
            pixels=_pixels(visual),
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


def _create(name: str, pretrained: str | None) -> nn.Module:
    """Return open_clip's model of a name, which may be one of a hub or a folder, "hf-hub:...", "local-dir:..."."""
    plain = name.replace("/", "-")
    if ":" not in name:
        _check_known("open_clip has no model", plain, open_clip.list_models())
        if pretrained is not None and not Path(pretrained).is_file():
            tags = open_clip.list_pretrained_tags_by_model(plain)
            _check_known(
                f"there is no such file, and open_clip has no weights for {plain} by the tag", pretrained, tags
            )
    return open_clip.create_model(name, pretrained=pretrained)  # type: ignore[no-any-return]


def _check_known(fault: str, name: str, known: list[str]) -> None:
    if name not in known and name.lower() not in known:
        like = nearest(name, known)
        raise ValueError(f"{fault} {name!r}; " + (f"did you mean {like!r}?" if like else f"known: {', '.join(known)}"))


def _pixels(visual: Any) -> PixelsConfig:
    """Return how open_clip prepares images for a vision tower."""
    said: Mapping[str, Any] = getattr(visual, "preprocess_cfg", None) or {}
    resize = said.get("resize_mode") or "shortest"
    if resize not in _RESIZES:
        raise ValueError(f"this model's images are resized by {resize!r}; encoders know {' and '.join(_RESIZES)}")
    return PixelsConfig(
        size=visual.image_size[0],
        mean=tuple(said.get("mean") or getattr(visual, "image_mean", None) or CLIP_MEAN),
        std=tuple(said.get("std") or getattr(visual, "image_std", None) or CLIP_STD),
        resize=_RESIZES[resize],
        interpolation="bilinear"
        if said.get("interpolation") == "bilinear"
        else "bicubic",  # "random": bicubic in tests
    )


def _refuse(clip: nn.Module, lacking: list[str]) -> None:
    if lacking:
        raise ValueError(
            f"{type(clip).__name__} is not a CLIP as InternVideo starts from; it lacks {', '.join(lacking)}. "
            "Models that have it: ViT-B-16-quickgelu, ViT-L-14-quickgelu, ViT-L-14-336-quickgelu, ViT-B-16"
        )


def _lacking_towers(clip: nn.Module, visual: Any, text: Any) -> list[str]:
    pool = getattr(clip, "text_pool_type", getattr(text, "pool_type", None))
    return _absent(
        {
            "a vision transformer of open_clip": isinstance(visual, VisionTransformer),
            "a vision tower without attentional pooler": getattr(visual, "attn_pool", None) is None,
            "a text transformer read at its end token": (
                pool == "argmax"
                and getattr(text, "cls_emb", None) is None
                and hasattr(getattr(text, "transformer", None), "resblocks")
            ),
        }
    )


def _lacking_parts(clip: nn.Module, visual: Any, text: Any) -> list[str]:
    blocks = [*visual.transformer.resblocks, *text.transformer.resblocks]
    mask = getattr(clip, "attn_mask", getattr(text, "attn_mask", None))
    (height, width), (patch_height, patch_width) = visual.image_size, visual.patch_size
    norms = [part for part in clip.modules() if isinstance(part, nn.LayerNorm)]
    return _absent(
        {
            "square images of square patches": height == width and patch_height == patch_width,
            "a norm before the first block of its vision tower": isinstance(visual.ln_pre, nn.LayerNorm),
            "a class token, normalised and then projected": (
                getattr(visual, "pool_type", "tok") == "tok"
                and not getattr(visual, "final_ln_after_pool", False)
                and visual.proj is not None
            ),
            "blocks of plain attention (nothing normalises or scales its heads)": all(
                isinstance(block.attn, nn.MultiheadAttention) for block in blocks
            ),
            "blocks without layer scale": not any("ls_1" in name for name in clip.state_dict()),
            "QuickGELU or the exact GELU": all(_has_known_gelu(block) for block in blocks),
            f"norms with eps {CLIP.eps:g}": all(norm.eps == CLIP.eps for norm in norms),
            "a text tower that sees no later words": mask is not None,
            "a text projection without bias": isinstance(text.text_projection, nn.Parameter),
            "a temperature without bias": getattr(clip, "logit_bias", None) is None,
        }
    )


def _absent(wanted: Mapping[str, bool]) -> list[str]:
    return [what for what, there in wanted.items() if not there]


def _transformer(blocks: Any) -> TransformerConfig:
    attention = blocks[0].attn
    hidden = blocks[0].mlp.c_fc.out_features
    return TransformerConfig(width=attention.embed_dim, depth=len(blocks), heads=attention.num_heads, hidden=hidden)


def _has_known_gelu(block: Any) -> bool:
    gelu = block.mlp.gelu
    return isinstance(gelu, QuickGELU) or (isinstance(gelu, nn.GELU) and gelu.approximate == "none")


def _has_quick_gelu(blocks: Any) -> bool:
    return isinstance(blocks[0].mlp.gelu, QuickGELU)
