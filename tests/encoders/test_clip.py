"""Starting from CLIP: at full B size the multimodal branch equals open_clip's model."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from navloop.encoders.clip import clip_config, from_open_clip
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.text import tokenize


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval()
    nn.init.normal_(model.visual.ln_post.bias, std=0.1)
    return model


@pytest.fixture(scope="module")
def encoder(clip: nn.Module) -> MultimodalEncoder:
    return from_open_clip(clip, frames=2)


@torch.no_grad()
def test_equals_clip_on_the_mean_of_the_frames_at_full_size(clip: nn.Module, encoder: MultimodalEncoder) -> None:
    clips = torch.randn(2, 3, 2, 224, 224)
    tokens = []  # of class, before the last norm
    handle = clip.visual.transformer.register_forward_hook(lambda _m, _i, out: tokens.append(out[:, 0]))
    clip.encode_image(clips.transpose(1, 2).flatten(0, 1))
    handle.remove()
    mean = tokens[0].unflatten(0, (2, 2)).mean(1)
    expected = F.normalize(clip.visual.ln_post(mean) @ clip.visual.proj, dim=-1)
    torch.testing.assert_close(encoder(clips).pooled, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_equals_clip_on_still_pictures_at_full_size(clip: nn.Module, encoder: MultimodalEncoder) -> None:
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    pixels = encoder.to_pixels(images[:, None].expand(-1, 2, -1, -1, -1))
    expected = clip.encode_image(pixels[:, :, 0], normalize=True)
    torch.testing.assert_close(encoder.encode_images(images), expected, atol=1e-5, rtol=0)
    # A clip of one still picture is that picture, but for what the last norm's eps makes of half the length.
    torch.testing.assert_close(encoder(pixels).pooled, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_texts_and_similarity_equal_clip(clip: nn.Module, encoder: MultimodalEncoder) -> None:
    texts = ["Turn left at the sofa.", "walk past the kitchen and stop"]
    expected = clip.encode_text(tokenize(texts, 77), normalize=True)
    torch.testing.assert_close(encoder.encode_text(texts), expected, atol=1e-5, rtol=0)
    videos = F.normalize(torch.randn(3, 512), dim=-1)
    logits = clip.logit_scale.exp() * videos @ expected.T
    torch.testing.assert_close(encoder.similarity(videos, expected), logits, atol=1e-4, rtol=0)


def test_knows_which_gelu_a_model_was_trained_with(clip: nn.Module) -> None:
    with torch.device("meta"):
        exact = open_clip.create_model("ViT-B-32", pretrained=None, device="meta")
    assert clip_config(clip).video.quick_gelu
    assert not clip_config(exact).video.quick_gelu
    assert clip_config(exact).video.patch == 32


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32"])
def test_other_models_are_refused(name: str) -> None:
    model = open_clip.create_model(name, pretrained=None)
    with pytest.raises(ValueError, match="is not a CLIP as InternVideo starts from; it lacks"):
        clip_config(model)


def small_clip(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **settings: Any
) -> open_clip.CLIP:
    """A CLIP as `open_clip.CLIP` makes it, which says nothing of pixels."""
    torch.manual_seed(0)
    tower = {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16, **(vision or {})}
    words = {"context_length": 77, "layers": 2, "width": 32, "heads": 2, **(text or {})}
    return open_clip.CLIP(16, tower, words, **settings).eval()


@torch.no_grad()
@pytest.mark.parametrize("exact", [True, False])
def test_a_model_that_says_nothing_of_pixels_has_those_of_openai(exact: bool) -> None:
    clip = small_clip(quick_gelu=not exact)
    encoder = from_open_clip(clip, frames=2)
    preset = open_clip.transform.PreprocessCfg()
    assert (encoder.pixels.mean, encoder.pixels.std) == (preset.mean, preset.std)
    pixels = torch.randn(3, 3, 32, 32)
    still = pixels[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(encoder(still).pooled, clip.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)


def test_images_are_resized_as_the_model_was_trained_to_see_them() -> None:
    clip = small_clip()
    said = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear", "resize_mode": "squash"}
    open_clip.set_model_preprocess_cfg(clip, {"size": 32, **said})  # as create_model does; DFN's are squashed
    pixels = clip_config(clip).video.pixels
    assert (pixels.resize, pixels.interpolation) == ("squash", "bilinear")
    assert (pixels.size, pixels.mean, pixels.std) == (32, said["mean"], said["std"])
    open_clip.set_model_preprocess_cfg(clip, {"size": 32, **said, "resize_mode": "longest"})
    with pytest.raises(ValueError, match="resized by 'longest'; encoders know shortest and squash"):
        clip_config(clip)


@pytest.mark.parametrize(
    ("vision", "text", "settings", "lacking"),
    [
        ({}, {"no_causal_mask": True}, {}, "a text tower that sees no later words"),
        ({"norm_kwargs": {"eps": 1e-6}}, {}, {}, "norms with eps 1e-05"),
        ({}, {"norm_kwargs": {"eps": 1e-6}}, {}, "norms with eps 1e-05"),
        ({"act_kwargs": {"approximate": "tanh"}}, {}, {}, "QuickGELU or the exact GELU"),
        ({}, {"act_kwargs": {"approximate": "tanh"}}, {}, "QuickGELU or the exact GELU"),
        ({"qk_norm": True}, {}, {}, "blocks of plain attention"),
        ({}, {"scale_heads": True}, {}, "blocks of plain attention"),
        ({"no_ln_pre": True}, {}, {}, "a norm before the first block"),
        ({"ls_init_value": 0.1}, {}, {}, "blocks without layer scale"),
        ({"image_size": (32, 48)}, {}, {}, "square images of square patches"),
        ({"pool_type": "avg"}, {}, {}, "a class token, normalised and then projected"),
        ({}, {"proj_bias": True}, {}, "a text projection without bias"),
        ({}, {"pool_type": "last"}, {}, "a text transformer read at its end token"),
        ({}, {}, {"init_logit_bias": -10.0}, "a temperature without bias"),
    ],
)
def test_what_clip_does_not_compute_is_refused_by_name(
    vision: dict[str, Any], text: dict[str, Any], settings: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(ValueError, match=f"it lacks {lacking}[^,]*\\. Models that have it"):
        clip_config(small_clip(vision, text, **settings))


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-16-quikgelu", None, "open_clip has no model 'ViT-B-16-quikgelu'; did you mean 'ViT-B-16-quickgelu'"),
        ("ViT-B/61", None, "did you mean 'ViT-B-16'"),
        (
            "ViT-B-16-quickgelu",
            "openia",
            "no weights for ViT-B-16-quickgelu by the tag 'openia'; did you mean 'openai'",
        ),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_open_clip(name, pretrained)
