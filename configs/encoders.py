"""Shapes of the InternVideo encoders. Sizes by name are in `navloop.encoders.zoo`; weights never decide a shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.schema import Config

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
UNIFORMER_MEAN, UNIFORMER_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)

_Channel = tuple[float, float, float]
_Count = Annotated[int, Field(ge=1)]


class PixelsConfig(Config):
    """How uint8 frames become the numbers that an encoder was trained on; by default as CLIP's do.

    What the released code of each family does to a frame before it evaluates is said where its sizes are,
    `navloop.encoders.sizes`.
    """

    size: int = Field(default=224, ge=8, description="Height and width that the encoder sees, pixels.")
    mean: _Channel = Field(default=CLIP_MEAN, description="Mean of a channel, of values in [0, 1].")
    std: _Channel = Field(default=CLIP_STD, description="Standard deviation of a channel, of values in [0, 1].")
    resize: Literal["crop", "squash"] = Field(
        default="crop", description="crop: resize the short side, then take the centre; squash: resize both sides."
    )
    resize_to: int | None = Field(
        default=None,
        ge=8,
        description="Side that frames of another size are resized to before the centre is cut out; null: `size`.",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = Field(
        default="bicubic", description="How frames of another size are resized."
    )
    antialias: bool = Field(
        default=True, description="Smooth what shrinks, as Pillow does; false: as OpenCV. Nearest never does."
    )

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.resize_to is not None and self.resize_to < self.size:
            raise ValueError(f"a crop of {self.size} pixels does not fit in frames resized to {self.resize_to}")
        return self


class TransformerConfig(Config):
    """A stack of pre-norm transformer blocks."""

    width: _Count = Field(description="Width D of a token.")
    depth: _Count = Field(description="Number of blocks.")
    heads: _Count = Field(description="Attention heads; they divide the width.")
    hidden: _Count = Field(description="Width of the MLP's hidden layer.")
    drop_path: float = Field(
        default=0.0, ge=0, lt=1, description="Share of residual branches dropped in the last block; 0 in the first."
    )
    checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, more time."
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class MaskedConfig(Config):
    """The masked branch: a VideoMAE trunk and the decoder it is pretrained with.

    Source: InternVideo1/Pretrain/VideoMAE; Tong et al., VideoMAE, NeurIPS 2022.
    """

    kind: Literal["masked"] = "masked"
    pixels: PixelsConfig = PixelsConfig(mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear", antialias=False)
    frames: int = Field(default=16, ge=2, multiple_of=2, description="Frames T of a clip.")
    patch: _Count = Field(default=16, description="Side of a patch, pixels; a tubelet is 2 frames deep.")
    trunk: TransformerConfig
    decoder: TransformerConfig
    norm: Literal["pooled", "tokens"] = Field(
        default="pooled",
        description="pooled: normalise the mean of the tokens, as in fine-tuning; tokens: each, as in pretraining.",
    )
    position_grid: tuple[int, int, int] | None = Field(
        default=(8, 14, 14),
        description="Grid (t, h, w) of the sinusoid that others are resampled from; null: compute it for this grid.",
    )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width)."""
        side = self.pixels.size // self.patch
        return self.frames // 2, side, side

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        _check_patches(self.pixels.size, self.patch)
        return self


class VideoTowerConfig(Config):
    """CLIP's vision transformer over frames, joined over time by global cross-attention blocks (UniFormerV2).

    Source: InternVideo1/Pretrain/Multi-Modalities-Pretraining; Li et al., UniFormerV2, ICCV 2023.
    """

    pixels: PixelsConfig = PixelsConfig()
    frames: _Count = Field(default=8, description="Frames T of a clip.")
    patch: _Count = Field(default=16, description="Side of a patch, pixels.")
    trunk: TransformerConfig
    quick_gelu: bool = Field(default=True, description="OpenAI's approximate GELU; false: the exact one.")
    taps: tuple[int, ...] = Field(
        min_length=1, description="Blocks, counted from 0, whose outputs the global blocks read."
    )
    global_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout in the global blocks' MLP.")
    global_drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of branches dropped in the last of the global blocks; 0 in the first.",
    )
    local: Literal["none", "single", "double"] = Field(
        default="none", description="Local temporal MHRA before spatial attention (single), and after it too (double)."
    )
    local_reduction: float = Field(default=1.5, ge=1, description="Width of a token over that inside the local MHRA.")
    halve_time: bool = Field(default=False, description="Convolve frames in time with stride 2 (3 frames deep).")
    balance: bool = Field(
        default=True, description="Mix the video token with the frames' class tokens, by a learned weight a channel."
    )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width), class tokens apart."""
        side = self.pixels.size // self.patch
        return self.frames // (2 if self.halve_time else 1), side, side

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.taps) != sorted(set(self.taps)) or self.taps[0] < 0 or self.taps[-1] >= self.trunk.depth:
            raise ValueError(f"taps {self.taps} are not increasing block numbers from 0 to {self.trunk.depth - 1}")
        if self.halve_time and self.frames % 2:
            raise ValueError(f"halve_time needs an even number of frames, not {self.frames}")
        _check_patches(self.pixels.size, self.patch)
        return self


class TextConfig(Config):
    """CLIP's text transformer."""

    trunk: TransformerConfig
    quick_gelu: bool = Field(default=True, description="OpenAI's approximate GELU; false: the exact one.")
    context: _Count = Field(default=77, description="Tokens L of a text, start and end included.")
    vocabulary: _Count = Field(default=49408, description="Tokens known; the largest id of a text is its end.")
    mask_token: bool = Field(default=False, description="Carry InternVideo's unused masked-language embedding.")


class CaptionerConfig(Config):
    """The caption decoder (align before fuse) over frame tokens and text states.

    Source: paper, section 3.1.2; InternVideo1/Downstream/multi-modalities-downstream/CoTrain.
    """

    layers: _Count = Field(default=6, description="Pairs of a self- and a cross-attention block: 6 (paper) or 4.")
    queries: _Count = Field(default=256, description="Tokens that a clip is pooled to.")


class MultimodalConfig(Config):
    """The multimodal branch: video tower, text tower, and caption decoder if there is one."""

    kind: Literal["multimodal"] = "multimodal"
    video: VideoTowerConfig
    text: TextConfig
    joint_width: _Count = Field(description="Width J of the space that videos and texts share.")
    captioner: CaptionerConfig | None = None


class UniFormerConfig(Config):
    """A video tower by itself, for classification (UniFormerV2)."""

    kind: Literal["uniformer"] = "uniformer"
    video: VideoTowerConfig


class ViCLIPConfig(Config):
    """ViCLIP: CLIP with attention over all tokens of a clip at once.

    Source: Wang et al., InternVid, ICLR 2024; InternVideo1/Pretrain/ViCLIP.
    """

    kind: Literal["viclip"] = "viclip"
    pixels: PixelsConfig = PixelsConfig(mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="squash", antialias=False)
    frames: _Count = Field(default=8, description="Frames T of a clip.")
    patch: _Count = Field(default=16, description="Side of a patch, pixels.")
    trunk: TransformerConfig
    text: TextConfig
    joint_width: _Count = Field(description="Width J of the space that videos and texts share.")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width), the class token apart."""
        side = self.pixels.size // self.patch
        return self.frames, side, side

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        _check_patches(self.pixels.size, self.patch)
        return self


class CoordinationConfig(Config):
    """Cross-model attention between the frozen branches. The paper leaves most of this open; each default says why.

    Source: paper, section 3.2 and Figure 4; no code was released.
    """

    stages: tuple[int, ...] | None = Field(
        default=None,
        description="Blocks of the masked branch, counted from 1, after which it looks at the multimodal one's taps, "
        "first to first; null: the ends of as many equal stages as there are taps (the paper: all stages).",
    )
    hidden_ratio: float = Field(default=4.0, gt=0, description="Hidden width of a module's MLP over its width.")
    vector_gates: bool = Field(default=False, description="A gate a channel; else one gate, as in Flamingo.")
    dropout: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="Dropout before both classification layers while training (the paper's 0.9).",
    )


class InternVideoConfig(Config):
    """Both branches and what coordinates them."""

    kind: Literal["internvideo"] = "internvideo"
    masked: MaskedConfig
    multimodal: MultimodalConfig
    coordination: CoordinationConfig = CoordinationConfig()

    @property
    def stride(self) -> int:
        """Steps between the frames that the multimodal branch takes of a clip."""
        return self.masked.frames // self.multimodal.video.frames

    @model_validator(mode="after")
    def _frames_agree(self) -> Self:
        masked, multimodal = self.masked.frames, self.multimodal.video.frames
        if masked % multimodal:
            raise ValueError(f"the masked branch's {masked} frames are not a multiple of the multimodal's {multimodal}")
        return self


EncoderConfig = Annotated[
    MaskedConfig | MultimodalConfig | UniFormerConfig | ViCLIPConfig | InternVideoConfig, Field(discriminator="kind")
]


def _check_patches(size: int, patch: int) -> None:
    if size % patch:
        raise ValueError(f"patches of {patch} pixels do not tile frames of {size} pixels")
