"""Panoramas: each view is encoded as a clip of its own, and the order is the stated one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.panorama import clockwise, encode_panorama
from navloop.encoders.sizes import ENCODERS


def encoder(name: str) -> VideoEncoder:
    torch.manual_seed(0)
    made = MaskedEncoder if name.startswith("videomae") else MultimodalEncoder
    return made(ENCODERS[name]()).eval()  # type: ignore[arg-type]


def panoramas(frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 12, frames, 48, 64, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["videomae_tiny_p16_t8", "internvideo_mm_tiny_p16_t4"])
@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_each_view_is_a_clip_of_its_own(name: str, at_once: int) -> None:
    made = encoder(name)
    views = panoramas(made.num_frames)
    features = encode_panorama(made, views, clips_at_once=at_once)
    assert features.shape == (2, 12, made.width)
    alone = made.features(made.to_pixels(views[1, 7][None]))
    torch.testing.assert_close(features[1, 7], alone[0], atol=1e-5, rtol=0)


def test_clockwise_keeps_the_view_ahead_and_swaps_left_with_right() -> None:
    views = torch.arange(12)[None, :, None]
    assert clockwise(views).flatten().tolist() == [0, *range(11, 0, -1)]
    assert torch.equal(clockwise(clockwise(views)), views)


def test_views_that_run_backwards_in_memory_are_taken() -> None:
    made = encoder("videomae_tiny_p16_t8")
    views = panoramas(8)[:1, :2].numpy()[..., ::-1]
    torch.testing.assert_close(encode_panorama(made, views), encode_panorama(made, views.copy()))


def test_wrong_views_are_refused() -> None:
    made = encoder("videomae_tiny_p16_t8")
    with pytest.raises(ValueError, match=r"not \(B, V, T, H, W, 3\)"):
        encode_panorama(made, panoramas(8)[0])
    with pytest.raises(ValueError, match="clips have 4 frames, this encoder takes 8"):
        encode_panorama(made, panoramas(4))
    with pytest.raises(ValueError, match="clips_at_once is 0"):
        encode_panorama(made, panoramas(8), clips_at_once=0)
