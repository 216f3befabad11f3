"""The sizes that encoders are published in, by name: family, size, patch and frames. `tiny` ones are for tests.

Each family's frames become pixels as the code released with it makes them to evaluate:

- VideoMAE: the short side to 224, bilinear, not antialiased (OpenCV), and the centre; ImageNet's mean and deviation.
  Source: Pretrain/VideoMAE, kinetics.py, functional.py.
- InternVideo-MM: the short side to 256, nearest (its demo leaves OpenCV's resize at that), then the centre 224; CLIP's
  mean and deviation. Training decoded to 256 x 256, out of proportion: resize="squash", interpolation="bilinear".
  Retrieval fine-tunes CLIP's way, which is `PixelsConfig()`: the short side to 224, bicubic, antialiased.
  Source: Pretrain/Multi-Modalities-Pretraining, internvideo.py; Downstream/Video-Text-Retrieval, rawvideo_util.py.
- UniFormerV2: the short side to 224, bilinear, not antialiased; mean 0.45, deviation 0.225.
  Source: Pretrain/UniFormerV2, slowfast/datasets/transform.py.
- ViCLIP: both sides to 224, bicubic, not antialiased (tensors, torchvision 0.15); ImageNet's mean and deviation.
  Source: Pretrain/ViCLIP, dataset/__init__.py, viclip.yaml.
"""

from __future__ import annotations

from collections.abc import Callable

from navloop.configs.encoders import (
    UNIFORMER_MEAN,
    UNIFORMER_STD,
    CaptionerConfig,
    EncoderConfig,
    InternVideoConfig,
    MaskedConfig,
    MultimodalConfig,
    PixelsConfig,
    TextConfig,
    TransformerConfig,
    UniFormerConfig,
    ViCLIPConfig,
    VideoTowerConfig,
)
from navloop.registry import Registry

ENCODERS: Registry[Callable[[], EncoderConfig]] = Registry("encoder")
"""What gives the configuration of each named encoder."""


def _transformer(width: int, depth: int, heads: int, hidden: int | None = None) -> TransformerConfig:
    return TransformerConfig(width=width, depth=depth, heads=heads, hidden=hidden or 4 * width)


TINY = _transformer(96, 4, 3)
# name: width, depth, heads, hidden. Source: Pretrain/VideoMAE; CLIP, table 20
SMALL = _transformer(384, 12, 6)
BASE = _transformer(768, 12, 12)
LARGE = _transformer(1024, 24, 16)
HUGE = _transformer(1280, 32, 16)
GIANT = _transformer(1408, 40, 16, 6144)
TEXT_BASE, TEXT_LARGE = _transformer(512, 12, 8), _transformer(768, 12, 12)


@ENCODERS.register("videomae_tiny_p16_t8")
def videomae_tiny() -> MaskedConfig:
    """A masked branch of 0.5 M parameters that sees 64 pixels."""
    return _tiny_masked(16, _transformer(48, 2, 3))


@ENCODERS.register("videomae_tiny_p8_t8")
def videomae_tiny_fine() -> MaskedConfig:
    """The tiny masked branch on patches of 8 pixels: four times the tokens, and a decoder that can tell them apart."""
    return _tiny_masked(8, _transformer(96, 2, 3))


def _tiny_masked(patch: int, decoder: TransformerConfig) -> MaskedConfig:
    pixels = MaskedConfig.model_fields["pixels"].default.model_copy(update={"size": 64})
    return MaskedConfig(pixels=pixels, frames=8, patch=patch, trunk=TINY, decoder=decoder, position_grid=None)


def _videomae(trunk: TransformerConfig, decoder: TransformerConfig, patch: int = 16) -> MaskedConfig:
    side = 224 // patch
    return MaskedConfig(trunk=trunk, decoder=decoder, patch=patch, position_grid=(8, side, side))


@ENCODERS.register("videomae_small_p16_t16")
def videomae_small() -> MaskedConfig:
    """VideoMAE ViT-S/16."""
    return _videomae(SMALL, _transformer(192, 4, 3))


@ENCODERS.register("videomae_base_p16_t16")
def videomae_base() -> MaskedConfig:
    """VideoMAE ViT-B/16, as in `vit_b_hybrid_pt_800e`."""
    return _videomae(BASE, _transformer(384, 4, 6))


@ENCODERS.register("videomae_large_p16_t16")
def videomae_large() -> MaskedConfig:
    """VideoMAE ViT-L/16 with the 12-block decoder that the released file holds."""
    return _videomae(LARGE, _transformer(512, 12, 8))


@ENCODERS.register("videomae_huge_p16_t16")
def videomae_huge() -> MaskedConfig:
    """VideoMAE ViT-H/16 with the 8-block decoder that the released file holds."""
    return _videomae(HUGE, _transformer(512, 8, 8))


@ENCODERS.register("videomae_giant_p14_t16")
def videomae_giant() -> MaskedConfig:
    """VideoMAE ViT-g/14."""
    return _videomae(GIANT, _transformer(512, 4, 8, 512 * 48 // 11), patch=14)


def _multimodal_pixels(size: int = 224) -> PixelsConfig:
    return PixelsConfig(size=size, resize_to=size * 256 // 224, interpolation="nearest", antialias=False)


@ENCODERS.register("internvideo_mm_tiny_p16_t4")
def internvideo_mm_tiny() -> MultimodalConfig:
    """A multimodal branch of 7 M parameters (5 M are words) that sees 64 pixels and can caption."""
    video = VideoTowerConfig(pixels=_multimodal_pixels(64), frames=4, trunk=TINY, taps=(2, 3))
    captioner = CaptionerConfig(layers=1, queries=16)
    return MultimodalConfig(
        video=video, text=TextConfig(trunk=_transformer(64, 2, 1)), joint_width=64, captioner=captioner
    )


def _base_tower(**fields: object) -> VideoTowerConfig:
    return VideoTowerConfig.model_validate({"trunk": BASE, "taps": (8, 9, 10, 11)} | fields)


def _large_tower(**fields: object) -> VideoTowerConfig:
    return VideoTowerConfig.model_validate({"trunk": LARGE, "patch": 14, "taps": (20, 21, 22, 23)} | fields)


@ENCODERS.register("internvideo_mm_base_p16_t8")
def internvideo_mm_base() -> MultimodalConfig:
    """InternVideo-MM-B-16, without its caption decoder."""
    video = _base_tower(pixels=_multimodal_pixels())
    return MultimodalConfig(video=video, text=TextConfig(trunk=TEXT_BASE, mask_token=True), joint_width=512)


@ENCODERS.register("internvideo_mm_large_p14_t8")
def internvideo_mm_large() -> MultimodalConfig:
    """InternVideo-MM-L-14, without its caption decoder."""
    video = _large_tower(pixels=_multimodal_pixels())
    return MultimodalConfig(video=video, text=TextConfig(trunk=TEXT_LARGE, mask_token=True), joint_width=768)


@ENCODERS.register("internvideo_mm_large_p14_336_t8")
def internvideo_mm_large_336() -> MultimodalConfig:
    """The multimodal branch on 336 pixels, for CLIP's ViT-L/14@336 weights; frames are resized as CLIP's are."""
    video = _large_tower(pixels=PixelsConfig(size=336))
    return MultimodalConfig(video=video, text=TextConfig(trunk=TEXT_LARGE, mask_token=True), joint_width=768)


def _uniformer_pixels(size: int = 224) -> PixelsConfig:
    return PixelsConfig(size=size, mean=UNIFORMER_MEAN, std=UNIFORMER_STD, interpolation="bilinear", antialias=False)


@ENCODERS.register("uniformerv2_base_p16_t8")
def uniformerv2_base() -> UniFormerConfig:
    """UniFormerV2-B/16 for Kinetics: global blocks only."""
    return UniFormerConfig(video=_base_tower(pixels=_uniformer_pixels(), global_dropout=0.5))


@ENCODERS.register("uniformerv2_base_local_p16_t16")
def uniformerv2_base_local() -> UniFormerConfig:
    """UniFormerV2-B/16 for Something-Something: double local mixing, halved time, eight global blocks."""
    trunk = BASE.model_copy(update={"drop_path": 0.2})
    return UniFormerConfig(video=_base_tower(trunk=trunk, taps=tuple(range(4, 12)), **_something_something()))


@ENCODERS.register("uniformerv2_large_local_p14_t16")
def uniformerv2_large_local() -> UniFormerConfig:
    """UniFormerV2-L/14 for Something-Something: as the base, with sixteen global blocks; frames=32 is published too."""
    trunk = LARGE.model_copy(update={"drop_path": 0.2})
    return UniFormerConfig(video=_large_tower(trunk=trunk, taps=tuple(range(8, 24)), **_something_something()))


def _something_something() -> dict[str, object]:
    # Source: Pretrain/UniFormerV2/exp/sthv2
    pixels = _uniformer_pixels()
    mixing: dict[str, object] = {"frames": 16, "local": "double", "halve_time": True}
    return {"pixels": pixels, "global_dropout": 0.5, "global_drop_path": 0.4} | mixing


@ENCODERS.register("uniformerv2_large_p14_t8")
def uniformerv2_large() -> UniFormerConfig:
    """UniFormerV2-L/14 for Kinetics."""
    return UniFormerConfig(video=_large_tower(pixels=_uniformer_pixels(), global_dropout=0.5))


@ENCODERS.register("uniformerv2_large_p14_336_t32")
def uniformerv2_large_336() -> UniFormerConfig:
    """UniFormerV2-L/14 on 32 frames of 336 pixels."""
    return UniFormerConfig(video=_large_tower(pixels=_uniformer_pixels(336), frames=32, global_dropout=0.5))


@ENCODERS.register("uniformerv2_large_p14_336_t64")
def uniformerv2_large_336_64() -> UniFormerConfig:
    """UniFormerV2-L/14 on 64 frames of 336 pixels."""
    return UniFormerConfig(video=_large_tower(pixels=_uniformer_pixels(336), frames=64, global_dropout=0.5))


@ENCODERS.register("viclip_tiny_p16_t4")
def viclip_tiny() -> ViCLIPConfig:
    """A ViCLIP of 4 M parameters (3 M are words) that sees 64 pixels."""
    pixels = ViCLIPConfig.model_fields["pixels"].default.model_copy(update={"size": 64})
    text = TextConfig(trunk=_transformer(64, 2, 1), context=32)
    return ViCLIPConfig(pixels=pixels, frames=4, trunk=TINY, text=text, joint_width=64)


@ENCODERS.register("viclip_base_p16_t8")
def viclip_base() -> ViCLIPConfig:
    """ViCLIP-B/16."""
    return ViCLIPConfig(trunk=BASE, text=TextConfig(trunk=TEXT_BASE, context=32), joint_width=512)


@ENCODERS.register("viclip_large_p14_t8")
def viclip_large() -> ViCLIPConfig:
    """ViCLIP-L/14."""
    return ViCLIPConfig(patch=14, trunk=LARGE, text=TextConfig(trunk=TEXT_LARGE, context=32), joint_width=768)


def _both(masked: Callable[[], EncoderConfig], multimodal: Callable[[], EncoderConfig]) -> InternVideoConfig:
    return InternVideoConfig.model_validate({"masked": masked(), "multimodal": multimodal()})


@ENCODERS.register("internvideo_tiny_p16_t8")
def internvideo_tiny() -> InternVideoConfig:
    """Both tiny branches, coordinated."""
    return _both(videomae_tiny, internvideo_mm_tiny)


@ENCODERS.register("internvideo_tiny_p8_t8")
def internvideo_tiny_fine() -> InternVideoConfig:
    """Both tiny branches, coordinated, the masked one on patches of 8 pixels."""
    return _both(videomae_tiny_fine, internvideo_mm_tiny)


@ENCODERS.register("internvideo_base_t16")
def internvideo_base() -> InternVideoConfig:
    """VideoMAE-B and InternVideo-MM-B-16, coordinated."""
    return _both(videomae_base, internvideo_mm_base)


@ENCODERS.register("internvideo_large_t16")
def internvideo_large() -> InternVideoConfig:
    """VideoMAE-L and InternVideo-MM-L-14, coordinated."""
    return _both(videomae_large, internvideo_mm_large)


@ENCODERS.register("internvideo_huge_t16")
def internvideo_huge() -> InternVideoConfig:
    """VideoMAE-H and InternVideo-MM-L-14: the paper's pair."""
    return _both(videomae_huge, internvideo_mm_large)
