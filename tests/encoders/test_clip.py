"""Starting from CLIP: at full B size the multimodal branch equals open_clip's model."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from navloop.encoders.clip import clip_config, from_open_clip
from navloop.encoders.text import tokenize


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval()
    nn.init.normal_(model.visual.ln_post.bias, std=0.1)
    return model


@torch.no_grad()
def test_equals_clip_on_the_mean_of_the_frames_at_full_size(clip: nn.Module) -> None:
    encoder = from_open_clip(clip, frames=2)
    clips = torch.randn(2, 3, 2, 224, 224)
    tokens = []  # of class, before the last norm
    handle = clip.visual.transformer.register_forward_hook(lambda _m, _i, out: tokens.append(out[:, 0]))
    clip.encode_image(clips.transpose(1, 2).flatten(0, 1))
    handle.remove()
    mean = tokens[0].unflatten(0, (2, 2)).mean(1)
    expected = F.normalize(clip.visual.ln_post(mean) @ clip.visual.proj, dim=-1)
    torch.testing.assert_close(encoder(clips).pooled, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_equals_clip_on_still_pictures_at_full_size(clip: nn.Module) -> None:
    encoder = from_open_clip(clip)
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    pixels = encoder.to_pixels(images[:, None].expand(-1, 8, -1, -1, -1))
    expected = clip.encode_image(pixels[:, :, 0], normalize=True)
    torch.testing.assert_close(encoder.encode_images(images), expected, atol=1e-5, rtol=0)
    # A clip of one still picture is that picture, but for what the last norm's eps makes of half the length.
    torch.testing.assert_close(encoder(pixels).pooled, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_texts_and_similarity_equal_clip(clip: nn.Module) -> None:
    encoder = from_open_clip(clip)
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
