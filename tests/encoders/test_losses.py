import math

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss, CoCaLoss
from torch.nn import functional as F

from navloop.configs.encoders import IMAGENET_STD, MaskedConfig, PixelsConfig, TransformerConfig
from navloop.encoders.losses import (
    caption_loss,
    contrastive_loss,
    matching_loss,
    reconstruction_loss,
    reconstruction_targets,
)

BLOCK = TransformerConfig(width=8, depth=1, heads=1, hidden=8)
CONFIG = MaskedConfig(
    pixels=PixelsConfig(size=16, std=IMAGENET_STD), frames=4, patch=8, trunk=BLOCK, decoder=BLOCK, position_grid=None
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def units(*shape, seed=0):
    return F.normalize(draw(*shape, seed=seed), dim=-1)


def test_targets_are_each_channel_of_a_tubelet_standardised():
    pixels = draw(2, 3, 4, 16, 16)
    targets = reconstruction_targets(pixels, torch.ones(2, 8, dtype=torch.bool), CONFIG)
    images = pixels.double().numpy() * np.reshape(IMAGENET_STD, (3, 1, 1, 1))  # the mean of the data set cancels
    t, row, column, clip = 1, 0, 1, 1
    tubelet = images[clip, :, 2 * t : 2 * t + 2, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    flat = tubelet.reshape(3, -1)
    expected = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, ddof=1, keepdims=True) + 1e-6)
    index = (t * 2 + row) * 2 + column
    np.testing.assert_allclose(targets[clip, index].numpy(), expected.T.reshape(-1), atol=1e-5)


def test_targets_are_those_of_the_tokens_selected():
    pixels, selected = draw(2, 3, 4, 16, 16), torch.tensor([[True, False] * 4, [False, False, True, True] * 2])
    everything = reconstruction_targets(pixels, torch.ones(2, 8, dtype=torch.bool), CONFIG)
    torch.testing.assert_close(
        reconstruction_targets(pixels, selected, CONFIG), everything[selected].view(2, 4, -1), atol=0, rtol=0
    )


def test_flat_tubelets_are_zero():
    pixels = torch.full((1, 3, 4, 16, 16), 0.3)
    assert reconstruction_targets(pixels, torch.ones(1, 8, dtype=torch.bool), CONFIG).abs().max() < 0.1


def test_only_what_counts_is_in_the_loss():
    predictions, targets, counted = draw(2, 5, 6), draw(2, 5, 6, seed=1), draw(2, 5, seed=2) > 0
    errors = [
        (predictions[b, k, p] - targets[b, k, p]).item() ** 2 for b, k in counted.nonzero().tolist() for p in range(6)
    ]
    loss = reconstruction_loss(predictions, targets, counted)
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-6)
    assert reconstruction_loss(predictions, targets).item() == pytest.approx(
        F.mse_loss(predictions, targets).item(), rel=1e-6
    )


def test_targets_of_other_tokens_are_refused():
    with pytest.raises(ValueError, match="different numbers of tubelets"):
        reconstruction_loss(draw(2, 5, 6), draw(2, 1, 6))


def test_the_contrastive_loss_and_its_gradients_are_open_clip_s():
    ours = [units(6, 8).requires_grad_(), units(6, 8, seed=1).requires_grad_(), torch.tensor(20.0, requires_grad=True)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    loss, expected = contrastive_loss(*ours), ClipLoss()(*theirs)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    expected.backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=1e-5)


def test_the_mean_over_parts_of_the_pairs_is_the_loss_of_all_and_has_its_gradients():
    whole = [units(6, 8).requires_grad_(), units(6, 8, seed=1).requires_grad_()]
    parts = [x.detach().clone().requires_grad_() for x in whole]
    videos, texts = parts
    losses = [
        matching_loss(9 * videos[own] @ texts.T, 9 * texts[own] @ videos.T, own.start)
        for own in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]
    expected, found = contrastive_loss(*whole, 9.0), sum(losses) / 3
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    found.backward()
    expected.backward()
    for x, y in zip(parts, whole, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=1e-5)


def test_the_contrastive_loss_knows_pairs_and_not_their_order():
    videos, texts, order = units(7, 5), units(7, 5, seed=1), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(contrastive_loss(videos, texts, 9.0), contrastive_loss(videos[order], texts[order], 9.0))
    torch.testing.assert_close(contrastive_loss(videos, texts, 9.0), contrastive_loss(texts, videos, 9.0))


def test_the_contrastive_loss_of_known_cases():
    corners = torch.eye(4)
    assert contrastive_loss(corners, corners, 3.0).item() == pytest.approx(math.log(1 + 3 * math.exp(-3)), rel=1e-6)
    same = corners[:1].expand(4, 4)
    assert contrastive_loss(same, same, 50.0).item() == pytest.approx(math.log(4), rel=1e-6)


def test_half_precision_does_not_blur_large_scales():
    videos, texts = units(16, 32), units(16, 32, seed=1)
    exact = contrastive_loss(videos, texts, 100.0)
    half = contrastive_loss(videos.bfloat16(), texts.bfloat16(), 100.0)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.01)


def test_the_caption_loss_is_open_clip_s():
    ids = torch.tensor([[49, 5, 6, 7, 48], [49, 9, 48, 0, 0]])
    logits = draw(2, 4, 50)
    images, texts = units(2, 8), units(2, 8, seed=1)
    theirs = CoCaLoss(caption_loss_weight=1.0, clip_loss_weight=1.0, pad_id=0)
    contrastive, caption = theirs(images, texts, logits, ids[:, 1:], torch.tensor(10.0))
    torch.testing.assert_close(caption_loss(logits, ids), caption)
    torch.testing.assert_close(contrastive_loss(images, texts, 10.0), contrastive)


def test_the_end_of_a_caption_counts_and_padding_does_not():
    ids, logits = torch.tensor([[49, 9, 48, 0, 0]]), draw(1, 4, 50)
    loss = caption_loss(logits, ids)
    padding, end = logits.clone(), logits.clone()
    padding[0, 2:] += draw(2, 50, seed=1)
    end[0, 1, 48] += 1
    assert torch.equal(caption_loss(padding, ids), loss)
    assert caption_loss(end, ids) < loss
