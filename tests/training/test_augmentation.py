"""Crops, colours, erasing and mixing: the same for all frames of a clip, drawn from the generator alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.data.mixup import mixup_target

from navloop.configs.videos import AugmentationConfig, ClipsConfig, MixConfig
from navloop.training.augmentation import (
    augment,
    crop_box,
    erase,
    mix,
    mixing_seeds,
    rand_augment,
    resize,
    view_crops,
)

RECIPE = "rand-m7-n4-mstd0.5-inc1"


def config(size=32, short_side=None, crops=1, squash=False, **augmentation):
    return ClipsConfig(
        manifest=("a.csv",),
        size=size,
        short_side=short_side,
        crops=crops,
        squash=squash,
        augmentation=AugmentationConfig(**augmentation),
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(height=60, width=80, frames=4, seed=1):
    return rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def still(height=60, width=80, frames=4):
    """A clip whose frames are equal, so that whatever differs between them was done to them."""
    return np.repeat(noise(height, width, 1), frames, axis=0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("target", [(32, 32), (45, 100), (120, 90)])
def test_resizing_equals_pillows(interpolation, target):
    frames = noise() // 2 + 64  # bicubic overshoots, and where between two passes a byte clips it is nobody's promise
    resized = resize(frames, *target, interpolation)
    for ours, frame in zip(resized, frames, strict=True):
        theirs = Image.fromarray(frame).resize(target[::-1], Image.Resampling[interpolation.upper()])
        difference = np.abs(ours.astype(int) - np.asarray(theirs))
        assert difference.max() <= 1  # the last bit of fixed-point weights


def test_multiscale_sides_and_anchors():
    # Short side 240: sides int(240 x scale) = 240, 210, 180, 158; neighbours pair up; 13 anchors on quarters of the room.
    drawn = [crop_box((240, 320), config(64), rng(seed)) for seed in range(3000)]
    sides = [240, 210, 180, 158]
    pairs = {(rows, columns) for i, rows in enumerate(sides) for j, columns in enumerate(sides) if abs(i - j) <= 1}
    assert {(box.height, box.width) for box in drawn} == pairs and len(pairs) == 10
    corners = {(box.top, box.left) for box in drawn if (box.height, box.width) == (180, 180)}
    down, right = (240 - 180) // 4, (320 - 180) // 4
    anchors = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)}
    assert corners == {(row * down, column * right) for row, column in anchors}


def test_multiscale_sides_next_to_the_size_become_the_size():
    # 0.875 x 258 = 225: within 2 of 224.
    heights = {crop_box((258, 258), config(224), rng(seed)).height for seed in range(200)}
    assert heights == {258, 224, 193, 170}


def test_resized_crops_cover_their_ranges_and_fit():
    boxes = [crop_box((240, 320), config(64, crop="resized"), rng(seed)) for seed in range(2000)]
    areas = np.array([box.height * box.width / (240 * 320) for box in boxes])
    aspects = np.array([box.width / box.height for box in boxes])
    assert 0.075 < areas.min() < 0.1 and 0.9 < areas.max() <= 1.0
    assert 0.73 < aspects.min() < 0.78 and 1.29 < aspects.max() < 1.37
    assert all(box.top + box.height <= 240 and box.left + box.width <= 320 for box in boxes)


def test_a_resized_crop_that_never_fits_takes_the_most_it_can():
    narrow = crop_box((40, 400), config(32, crop="resized", area=(1.0, 1.0)), rng())
    assert (narrow.top, narrow.height, narrow.width) == (0, 40, 53) and narrow.left == (400 - 53) // 2


@given(height=st.integers(20, 90), width=st.integers(20, 90), seed=st.integers(0, 99))
def test_every_crop_gives_the_size(height, width, seed):
    frames = np.zeros((2, height, width, 3), np.uint8)
    for crop in ("multiscale", "resized", "random", "center"):
        assert augment(frames, config(crop=crop, flip=0.5, erasing=0.5), rng(seed)).shape == (2, 32, 32, 3)
    assert augment(frames, config(crop="random", squash=True, short_side=40), rng(seed)).shape == (2, 32, 32, 3)


@pytest.mark.parametrize("seed", range(8))
def test_frames_that_are_equal_stay_equal_but_for_the_noise(seed):
    varied = augment(still(), config(crop="resized", flip=0.5, randaugment=RECIPE), rng(seed))
    assert (varied == varied[:1]).all()


def test_flip_mirrors_the_whole_clip():
    plain = augment(noise(), config(crop="center"), rng())
    np.testing.assert_array_equal(augment(noise(), config(crop="center", flip=1.0), rng()), plain[:, :, ::-1])


def test_erasing_fills_one_box_of_all_frames_with_fresh_noise():
    frames = np.full((4, 60, 80, 3), 7, np.uint8)
    erased = erase(frames, rng(3))
    touched = (erased != 7).any(-1)
    top, bottom = np.flatnonzero(touched.any((0, 2)))[[0, -1]]
    left, right = np.flatnonzero(touched.any((0, 1)))[[0, -1]]
    inside = erased[:, top : bottom + 1, left : right + 1]
    assert touched.sum() > 0.98 * inside[..., 0].size and 0.02 <= inside[0, ..., 0].size / 4800 <= 0.34
    assert (inside[0] != inside[1]).any() and (frames == 7).all()
    assert abs(inside.mean() - 115) < 5  # the mean of natural images


def test_rand_augment_draws_from_the_generator_alone():
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    first = rand_augment(noise(), RECIPE, config(), rng(5))
    random.random()
    np.random.random()  # noqa: NPY002
    second = rand_augment(noise(), RECIPE, config(), rng(5))
    np.testing.assert_array_equal(first, second)
    assert (first != rand_augment(noise(), RECIPE, config(), rng(6))).any()
    random.setstate(before[0])
    state = random.getstate()
    rand_augment(noise(), RECIPE, config(), rng(5))
    assert random.getstate() == state


def test_three_crops_along_the_longer_side():
    # 60 x 101 to a short side of 32: 32 x 53; crops begin at int(j * (53 - 32) / 2) = 0, 10, 21.
    frames = noise(60, 101)
    resized = resize(frames, 32, 53, "bilinear")
    for crop, left in zip(view_crops(frames, config(crops=3)), (0, 10, 21), strict=True):
        np.testing.assert_array_equal(crop, resized[:, :, left : left + 32])
    upright = resize(frames.transpose(0, 2, 1, 3), 53, 32, "bilinear")
    for crop, top in zip(view_crops(frames.transpose(0, 2, 1, 3), config(crops=3)), (0, 10, 21), strict=True):
        np.testing.assert_array_equal(crop, upright[:, top : top + 32])


def test_one_crop_is_the_centre():
    frames = noise(40, 48)
    (crop,) = view_crops(frames, config(32, short_side=40))
    np.testing.assert_array_equal(crop, frames[:, 4:36, 8:40])


def clips(batch=4):
    return torch.randn(batch, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def seeds(number, count):
    return mixing_seeds(count, torch.Generator().manual_seed(number))


def test_mixup_blends_clips_and_labels_by_one_share():
    labels = torch.tensor([0, 1, 2, 3])
    pixels = clips()
    strided = pixels.transpose(1, 2).contiguous().transpose(1, 2)  # as `to_pixels` leaves them
    mixed, targets = mix(strided, labels, 5, MixConfig(cutmix=0, smoothing=0.1), seeds(1, 2), copies=2)
    share = float((mixed - pixels.flip(0)).flatten()[0] / (pixels - pixels.flip(0)).flatten()[0])
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * pixels + (1 - share) * pixels.flip(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(targets, mixup_target(labels, 5, share, 0.1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_cutmix_pastes_one_box_into_all_frames():
    pixels = clips()
    mixed, targets = mix(
        pixels.clone(), torch.tensor([0, 1, 2, 3]), 4, MixConfig(mixup=0, smoothing=0), seeds(4, 2), copies=2
    )
    pasted = mixed != pixels
    assert pasted.any() and (pasted == pasted[:1, :1, :1]).all()
    assert (mixed[pasted] == pixels.flip(0)[pasted]).all()
    assert targets[0, 0] == pytest.approx(1 - float(pasted[0, 0, 0].float().mean()), abs=1e-6)


def test_neighbours_are_mixed_whatever_part_of_a_batch_a_process_has():
    labels, pixels, config = torch.arange(8), clips(8), MixConfig(smoothing=0)
    for copies in (1, 2):
        drawn = seeds(7, 8 // copies)
        whole, targets = mix(pixels.clone(), labels, 8, config, drawn, copies)
        for processes in (2, 4) if copies == 1 else (2,):
            parts = zip(pixels.clone().chunk(processes), labels.chunk(processes), drawn.chunk(processes), strict=True)
            found = [mix(images, classes, 8, config, own, copies) for images, classes, own in parts]
            torch.testing.assert_close(whole, torch.cat([part[0] for part in found]), rtol=0, atol=0)
            torch.testing.assert_close(targets, torch.cat([part[1] for part in found]), rtol=0, atol=0)
        partners = [set(row.nonzero().flatten().tolist()) for row in targets]
        pairs = [(0, 1), (2, 3), (4, 5), (6, 7)] if copies == 1 else [(0, 3), (1, 2), (4, 7), (5, 6)]
        assert partners == [next(set(pair) for pair in pairs if row in pair) for row in range(8)]


def test_mixing_draws_from_its_generator_alone_and_wants_pairs():
    labels = torch.tensor([0, 1, 2, 3])
    first = mix(clips(), labels, 4, MixConfig(), seeds(7, 4))
    np.random.random()  # noqa: NPY002
    second = mix(clips(), labels, 4, MixConfig(), seeds(7, 4))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    with pytest.raises(ValueError, match="a batch of 3 is odd"):
        mix(clips(3), labels[:3], 4, MixConfig(), seeds(7, 3))


def test_four_neighbours_are_mixed_alike_and_the_next_four_otherwise():
    assert [len(set(group.tolist())) for group in seeds(3, 10).split(4)] == [1, 1, 1]
    assert len(set(seeds(3, 10).tolist())) == 3
    labels, pixels = torch.arange(32), clips(32)
    _, targets = mix(pixels, labels, 32, MixConfig(cutmix=0, smoothing=0), seeds(5, 32))
    shares = targets[labels, labels].view(8, 4)  # what is left of each clip
    assert (shares == shares[:, :1]).all() and len(set(shares[:, 0].tolist())) == 8
