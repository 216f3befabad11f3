"""From frames to pixels: parity with torchvision, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from navloop.configs.encoders import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    MultimodalConfig,
    PixelsConfig,
    UniFormerConfig,
)
from navloop.encoders.pixels import as_frames, frame_indices, to_pixels
from navloop.encoders.zoo import encoder_config, list_encoders


def frames(height: int = 40, width: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, height, width, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(40, 60), (61, 37), (32, 39), (32, 32), (20, 17)])
def test_equals_torchvision(interpolation: str, shape: tuple[int, int], antialias: bool) -> None:
    clip = frames(*shape)
    theirs = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize(32, v2.InterpolationMode[interpolation.upper()], antialias=antialias),
            v2.CenterCrop(32),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    config = PixelsConfig(
        size=32,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation=interpolation,
        antialias=antialias,  # type: ignore[arg-type]
    )
    pixels = to_pixels(clip, config, "cpu", torch.float32)
    expected = theirs(clip.permute(0, 1, 4, 2, 3)).transpose(1, 2)
    inside = (pixels - expected).abs()
    # torchvision keeps what bicubic overshoots beyond 0 and 255; no camera does.
    lowest, highest = (torch.tensor([v - m for m in IMAGENET_MEAN]) / torch.tensor(IMAGENET_STD) for v in (0, 1))
    clipped = expected.clamp(lowest.view(3, 1, 1, 1), highest.view(3, 1, 1, 1))
    assert pixels.shape == (2, 3, 3, 32, 32)
    assert torch.minimum(inside, (pixels - clipped).abs()).max() < 1e-5


def test_frames_of_the_right_size_are_only_scaled() -> None:
    clip = frames(32, 32)
    config = PixelsConfig(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert torch.equal(to_pixels(clip, config, "cpu", torch.float32), clip.permute(0, 4, 1, 2, 3) / 255)


def test_squashing_keeps_the_borders_that_cropping_cuts() -> None:
    clip = frames(32, 64)
    clip[:, :, :, :8] = 255
    squashed, cropped = (
        to_pixels(clip, PixelsConfig(size=32, resize=resize, mean=(0, 0, 0), std=(1, 1, 1)), "cpu", torch.float32)
        for resize in ("squash", "crop")
    )
    assert squashed[..., :3].mean() > 0.95
    assert cropped[..., :3].mean() < 0.6


@pytest.mark.parametrize("shape", [(48, 80), (40, 60), (31, 50)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_the_centre_can_be_cut_out_of_larger_frames(resize: str, shape: tuple[int, int]) -> None:
    clip = frames(*shape)
    theirs = v2.Compose(
        [
            v2.Resize(40 if resize == "crop" else (40, 40), v2.InterpolationMode.NEAREST),
            v2.CenterCrop(32),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    config = PixelsConfig(
        size=32,
        resize=resize,
        resize_to=40,
        interpolation="nearest",
        mean=(0, 0, 0),
        std=(1, 1, 1),  # type: ignore[arg-type]
    )
    pixels = to_pixels(clip, config, "cpu", torch.float32)
    torch.testing.assert_close(pixels, theirs(clip.permute(0, 1, 4, 2, 3)).transpose(1, 2), atol=1e-6, rtol=0)


def test_a_crop_larger_than_the_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a crop of 32 pixels does not fit in frames resized to 31"):
        PixelsConfig(size=32, resize_to=31)


# What the code released with a family does before it evaluates; `navloop.encoders.sizes` says where.
RELEASED = {
    "videomae": PixelsConfig(mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear", antialias=False),
    "internvideo_mm": PixelsConfig(
        mean=CLIP_MEAN, std=CLIP_STD, resize_to=256, interpolation="nearest", antialias=False
    ),
    "uniformerv2": PixelsConfig(mean=(0.45,) * 3, std=(0.225,) * 3, interpolation="bilinear", antialias=False),
    "viclip": PixelsConfig(
        mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="squash", interpolation="bicubic", antialias=False
    ),
}  # fmt: skip


_UNRELEASED = {"internvideo_mm_large_p14_336_t8"}
_NAMES = [name for name in list_encoders() if name.startswith(tuple(RELEASED)) and "tiny" not in name]


@pytest.mark.parametrize("name", sorted(set(_NAMES) - _UNRELEASED))
def test_released_encoders_see_frames_as_their_own_code_shows_them(name: str) -> None:
    config = encoder_config(name)
    pixels = config.video.pixels if isinstance(config, (MultimodalConfig, UniFormerConfig)) else config.pixels  # type: ignore[union-attr]
    (expected,) = (released for family, released in RELEASED.items() if name.startswith(family))
    assert pixels.size == (336 if "_336_" in name else 224)
    assert pixels.model_copy(update={"size": 224}) == expected


@pytest.mark.parametrize("name", [name for name in _NAMES if "base" in name] + ["internvideo_mm_tiny_p16_t4"])
def test_frames_of_the_encoder_s_size_are_seen_whole_and_once(name: str) -> None:
    config = encoder_config(name)
    pixels = config.video.pixels if isinstance(config, (MultimodalConfig, UniFormerConfig)) else config.pixels  # type: ignore[union-attr]
    frames = torch.randint(0, 256, (1, 2, pixels.size, pixels.size, 3), dtype=torch.uint8)
    seen = to_pixels(frames, pixels, "cpu", torch.float32)
    plain = (frames / 255 - torch.tensor(pixels.mean)) / torch.tensor(pixels.std)
    torch.testing.assert_close(seen, plain.permute(0, 4, 1, 2, 3), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("turned", [np.s_[:, ::-1], np.s_[..., ::-1], np.s_[:, :, ::-1, ::-1]], ids=str)
def test_arrays_that_run_backwards_are_taken(turned: tuple[object, ...]) -> None:
    clip = frames(8, 8).numpy()
    assert np.array_equal(as_frames(clip[turned]).numpy(), clip[turned])


def test_read_only_arrays_are_taken_without_a_warning_and_others_without_a_copy() -> None:
    clip = frames(8, 8).numpy()
    assert as_frames(clip).data_ptr() == clip.ctypes.data
    clip.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(as_frames(clip).numpy(), clip)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 2, 8, 8, 3), "float32, not torch.uint8"),
        (torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), r"\(1, 2, 3, 8, 8\), not \(B, T, H, W, 3\)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"not \(B, T, H, W, 3\)"),
        (torch.zeros(0, 2, 8, 8, 3, dtype=torch.uint8), "nothing to encode"),
    ],
)
def test_other_than_camera_frames_is_refused(bad: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pixels(bad, PixelsConfig(size=8), "cpu", torch.float32)


@given(num_frames=st.integers(1, 500), wanted=st.integers(1, 64))
def test_picked_frames_are_there_in_order_and_evenly_spread(num_frames: int, wanted: int) -> None:
    picked = frame_indices(num_frames, wanted)
    assert len(picked) == wanted
    assert picked.min() >= 0
    assert picked.max() < num_frames
    gaps = picked.diff()
    if wanted > 1:
        assert gaps.min() >= num_frames // wanted
        assert gaps.max() <= -(-num_frames // wanted)


@given(parts=st.integers(1, 32), length=st.integers(1, 10**7))
def test_picked_frames_are_the_middles_of_equal_parts(parts: int, length: int) -> None:
    assert frame_indices(parts * length, parts).tolist() == [i * length + length // 2 for i in range(parts)]


def test_no_frames_to_pick_from_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take 8 of 0 frames"):
        frame_indices(0, 8)


def test_frames_that_pad_are_nothing_and_others_as_they_are() -> None:
    config = PixelsConfig(size=32, mean=CLIP_MEAN, std=CLIP_STD)
    clip, valid = frames(), torch.tensor([[True, True, False], [True, False, False]])
    pixels, whole = (to_pixels(clip, config, "cpu", torch.float32, given) for given in (valid, None))
    for row in range(2):
        for frame in range(3):
            expected = whole[row, :, frame] if valid[row, frame] else torch.zeros_like(whole[row, :, frame])
            assert torch.equal(pixels[row, :, frame], expected)
    with pytest.raises(ValueError, match=r"valid is \(1, 3\), not \(2, 3\)"):
        to_pixels(clip, config, "cpu", torch.float32, valid[:1])
