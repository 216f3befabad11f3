"""Encoders by name: all of them are what they say, files bring them back, and what is misspelt is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from navloop.configs.encoders import EncoderConfig
from navloop.configs.generation import Greedy
from navloop.encoders import create_encoder, encoder_config, list_encoders, load_encoder, save_encoder
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.weights import WeightsError, WeightsWarning, digest

TINY = [name for name in list_encoders() if "tiny" in name]


def clips(encoder: VideoEncoder, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, encoder.num_frames, 72, 90, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(params=TINY)
def encoder(request: pytest.FixtureRequest) -> VideoEncoder:
    torch.manual_seed(0)
    return create_encoder(request.param)


def test_there_is_a_tiny_one_of_each_family_with_texts_or_masks() -> None:
    assert {name.split("_tiny")[0] for name in TINY} == {"videomae", "internvideo_mm", "viclip", "internvideo"}


# Parameters in millions, of models without heads. Source: facts computed from the published shapes.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("internvideo_mm_base_p16_t8", 178.1),
        ("internvideo_mm_large_p14_t8", 478.1),
        ("viclip_base_p16_t8", 149.6),
        ("viclip_large_p14_t8", 427.6),
        ("videomae_huge_p16_t16", 631.6),
    ],
)
def test_published_sizes(name: str, millions: float) -> None:
    with torch.device("meta"):
        made = create_encoder(name, device="meta")
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_released_decoders_are_as_deep_as_in_their_files() -> None:
    depths = {size: encoder_config(f"videomae_{size}_p16_t16").decoder.depth for size in ("base", "large", "huge")}  # type: ignore[union-attr]
    assert depths == {"base": 4, "large": 12, "huge": 8}


def test_output_is_what_the_encoder_says_of_itself(encoder: VideoEncoder) -> None:
    seen = encoder.encode_video(clips(encoder))
    t, h, w = encoder.grid
    assert seen.grid == encoder.grid
    assert seen.tokens.shape == (3, t * h * w, encoder.width)
    assert seen.pooled.shape == (3, encoder.joint_width)
    torch.testing.assert_close(seen.pooled.norm(dim=-1), torch.ones(3))
    assert not seen.pooled.requires_grad
    assert encoder.features(encoder.to_pixels(clips(encoder))).shape == (3, encoder.width)


def test_permuting_clips_permutes_outputs(encoder: VideoEncoder) -> None:
    order = torch.tensor([2, 0, 1])
    seen, again = encoder.encode_video(clips(encoder)), encoder.encode_video(clips(encoder)[order])
    torch.testing.assert_close(again.pooled, seen.pooled[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(again.tokens, seen.tokens[order], atol=1e-5, rtol=1e-5)


def test_one_clip_and_numpy_frames_are_taken(encoder: VideoEncoder) -> None:
    frames = clips(encoder)
    one = encoder.encode_video(frames[0].numpy())
    torch.testing.assert_close(one.pooled, encoder.encode_video(frames).pooled[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_no_nan(encoder: VideoEncoder, dtype: torch.dtype) -> None:
    seen = encoder.to(dtype).encode_video(clips(encoder))
    assert seen.pooled.dtype == dtype
    assert seen.pooled.isfinite().all()
    assert seen.tokens.isfinite().all()


def test_files_bring_an_encoder_back(encoder: VideoEncoder, tmp_path: Path) -> None:
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    assert again.config == encoder.config
    assert not again.training
    assert digest(again.state_dict()) == digest(encoder.state_dict())
    seen, seen_again = encoder.encode_video(clips(encoder)), again.encode_video(clips(encoder))
    assert torch.equal(seen.pooled, seen_again.pooled)


def test_a_pretraining_file_starts_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = encoder_config("videomae_tiny_p16_t8")
    model = MaskedAutoencoder(config)  # type: ignore[arg-type]
    torch.save({"model": model.state_dict()}, tmp_path / "ours.pth")
    with pytest.warns(WeightsWarning, match=r"has nothing for norm\.\*"):
        encoder = create_encoder("videomae_tiny_p16_t8", tmp_path / "ours.pth")
    assert torch.equal(encoder.blocks[3].mlp.fc2.weight, model.encoder.blocks[3].mlp.fc2.weight)  # type: ignore[index,union-attr]


def test_frames_and_size_can_be_others() -> None:
    assert create_encoder("videomae_tiny_p16_t8", frames=4, size=32).grid == (2, 2, 2)
    both = create_encoder("internvideo_tiny_p16_t8", frames=16, size=96)
    assert both.grid == (8, 6, 6)
    assert both.multimodal.grid == (8, 6, 6)  # type: ignore[union-attr]
    config: EncoderConfig = encoder_config("viclip_tiny_p16_t4", frames=2)
    assert create_encoder(config).num_frames == 2


def test_captions_are_words() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("internvideo_mm_tiny_p16_t4")
    assert isinstance(encoder, MultimodalEncoder)
    beam, greedy = encoder.caption(clips(encoder), length=5), encoder.caption(clips(encoder), Greedy(), length=5)
    assert len(beam) == len(greedy) == 3
    assert all(text and text == text.strip() for text in beam)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("videomae_bas_p16_t16", "unknown encoder 'videomae_bas_p16_t16'; did you mean 'videomae_base_p16_t16'"),
        ("internvideo", "did you mean 'internvideo_"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_encoder(name)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 16 pixels do not tile frames of 100 pixels"):
        create_encoder("videomae_tiny_p16_t8", size=100)
    with pytest.raises(ValueError, match="multiple of 2"):
        create_encoder("videomae_tiny_p16_t8", frames=7)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "videomae_tiny_p16_t8",
            {"size": 100},
            "size is 100: patches of 16 pixels do not tile frames of 100 pixels; take 96 or 112",
        ),
        ("viclip_large_p14_t8", {"size": 225}, "size is 225: .* take 224 or 238"),
        ("internvideo_large_t16", {"size": 250}, "size is 250: .* take 224 or 336"),
        ("viclip_tiny_p16_t4", {"size": 0}, "size is 0: .* take 16"),
        ("internvideo_mm_tiny_p16_t4", {"size": -5}, "size is -5: .* take 16"),
        ("videomae_tiny_p16_t8", {"frames": 7}, "frames is 7: .*multiple of 2; take 6 or 8"),
        ("viclip_tiny_p16_t4", {"frames": 0}, "frames is 0: .*; take 1"),
        ("internvideo_mm_tiny_p16_t4", {"frames": -3}, "frames is -3: .*; take 1"),
        ("internvideo_tiny_p16_t8", {"frames": 0}, "frames is 0: .*; take 2"),
        ("uniformerv2_base_local_p16_t16", {"frames": 9}, "frames is 9: .*; take 8 or 10"),
    ],
)
def test_the_nearest_shapes_that_fit_are_named(name: str, shape: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$") as error:
        encoder_config(name, **shape)
    assert not isinstance(error.value, ValidationError)
    with pytest.raises(ValueError, match=f"^{message}$"):
        create_encoder(encoder_config(name), **shape)


# Frames, global blocks, first tap, drop path. Source: Pretrain/UniFormerV2/exp/{k400,sthv2}, config.yaml.
@pytest.mark.parametrize(
    ("name", "frames", "taps", "drop_path"),
    [
        ("uniformerv2_base_p16_t8", 8, range(8, 12), (0.0, 0.0)),
        ("uniformerv2_large_p14_336_t64", 64, range(20, 24), (0.0, 0.0)),
        ("uniformerv2_base_local_p16_t16", 16, range(4, 12), (0.2, 0.4)),
        ("uniformerv2_large_local_p14_t16", 16, range(8, 24), (0.2, 0.4)),
    ],
)
def test_uniformers_are_as_published(name: str, frames: int, taps: range, drop_path: tuple[float, float]) -> None:
    video = encoder_config(name).video  # type: ignore[union-attr]
    assert video.taps == tuple(taps)
    assert (video.trunk.drop_path, video.global_drop_path) == drop_path
    mixes = "_local_" in name
    assert (video.local, video.halve_time) == (("double", True) if mixes else ("none", False))
    assert video.grid[0] == (frames // 2 if mixes else frames)


def test_another_size_cuts_off_the_same_share() -> None:
    pixels = encoder_config("internvideo_mm_base_p16_t8", size=112).video.pixels  # type: ignore[union-attr]
    assert (pixels.size, pixels.resize_to) == (112, 128)


def test_wrong_clips_are_refused(encoder: VideoEncoder) -> None:
    frames = clips(encoder)
    with pytest.raises(ValueError, match=f"takes {encoder.num_frames}; pick them with"):
        encoder.encode_video(frames[:, :3])
    with pytest.raises(ValueError, match="float32, not"):
        encoder.encode_video(frames.float())
    with pytest.raises(ValueError, match=r"not \(B, T, H, W, 3\)"):
        encoder.encode_video(frames.permute(0, 1, 4, 2, 3))


def test_arrays_that_run_backwards_are_what_they_look_like(encoder: VideoEncoder) -> None:
    frames = clips(encoder).numpy()
    for turned in (frames[:, ::-1], frames[..., ::-1]):
        expected = encoder.encode_video(np.ascontiguousarray(turned)).pooled
        torch.testing.assert_close(encoder.encode_video(turned).pooled, expected)


@pytest.mark.parametrize("name", [name for name in TINY if not name.startswith("internvideo_tiny")])
def test_pixels_that_do_not_fit_are_refused_by_everything_that_takes_them(name: str) -> None:
    encoder = create_encoder(name)
    pixels = encoder.to_pixels(clips(encoder))
    for look in (encoder, encoder.features):
        with pytest.raises(ValueError, match=r"pixels are .*, this encoder takes \(B, 3, "):
            look(pixels[:, :, :2])
        with pytest.raises(ValueError, match=r"pixels are torch\.float64, this encoder's parameters torch\.float32"):
            look(pixels.double())
        with pytest.raises(ValueError, match=r"pixels are torch\.uint8, .*uint8 frames to encode_video"):
            look(pixels.byte())
        with torch.autocast("cpu", torch.bfloat16):
            look(pixels.bfloat16())


def test_what_is_pooled_has_unit_length_under_autocast_too(encoder: VideoEncoder) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        seen = encoder.encode_video(clips(encoder))
    assert seen.pooled.dtype == torch.float32
    torch.testing.assert_close(seen.pooled.norm(dim=-1), torch.ones(3), atol=1e-6, rtol=0)


def test_what_an_encoder_cannot_do_it_says(encoder: VideoEncoder) -> None:
    if "videomae" in type(encoder).__name__.lower() or type(encoder).__name__ == "MaskedEncoder":
        with pytest.raises(TypeError, match="has no text tower; take an encoder with one"):
            encoder.encode_text(["left"])
        with pytest.raises(TypeError, match="has no text tower"):
            encoder.similarity(torch.zeros(1, 96), torch.zeros(1, 96))
    else:
        logits = encoder.similarity(encoder.encode_video(clips(encoder)).pooled, encoder.encode_text(["left", "right"]))
        assert logits.shape == (3, 2)


def test_files_that_do_not_say_what_they_are_of_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "some.pth")
    with pytest.raises(WeightsError, match=r"some\.pth: does not say what encoder it is of; name one"):
        load_encoder(tmp_path / "some.pth")
    with pytest.raises(WeightsError, match=r"some\.pth"):
        create_encoder("videomae_tiny_p16_t8", tmp_path / "some.pth")
