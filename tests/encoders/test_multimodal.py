"""The multimodal branch: images by themselves, and what is refused. Parity is in test_clip and test_released_files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from navloop.configs.encoders import MultimodalConfig
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.encoders.zoo import encoder_config


def encoder(**video: object) -> MultimodalEncoder:
    """Return the tiny one, with other options of its tower, and no weight zero."""
    config = encoder_config("internvideo_mm_tiny_p16_t4")
    assert isinstance(config, MultimodalConfig)
    tower = type(config.video).model_validate(dict(config.video) | video)
    torch.manual_seed(0)
    made = MultimodalEncoder(config.model_copy(update={"video": tower, "captioner": None}))
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return made.eval()


def images(batch: int) -> Tensor:
    return torch.randint(0, 256, (batch, 40, 52, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("video", [{}, {"local": "single"}, {"local": "double", "halve_time": True}], ids=str)
@pytest.mark.parametrize("batch", [3, 4])
def test_an_image_is_seen_alone_whatever_is_beside_it(batch: int, video: dict[str, object]) -> None:
    made = encoder(**video)
    together = made.encode_images(images(batch))
    assert together.shape == (batch, made.joint_width)
    for i, image in enumerate(images(batch)):
        torch.testing.assert_close(made.encode_images(image[None])[0], together[i], atol=1e-5, rtol=0)


def test_images_of_opencv_are_taken_turned_to_rgb() -> None:
    made, bgr = encoder(), images(2).numpy()
    expected = made.encode_images(np.ascontiguousarray(bgr[..., ::-1]))
    torch.testing.assert_close(made.encode_images(bgr[..., ::-1]), expected)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((40, 52, 3), r"images are \(40, 52, 3\), not \(B, H, W, 3\) RGB; one image is images\[None\]"),
        ((2, 3, 40, 52), r"images are \(2, 3, 40, 52\), not \(B, H, W, 3\) RGB"),
        ((1, 2, 40, 52, 3), r"images are \(1, 2, 40, 52, 3\), not \(B, H, W, 3\) RGB"),
    ],
)
def test_other_than_images_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder().encode_images(np.zeros(shape, np.uint8))
