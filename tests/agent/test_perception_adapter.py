"""Perception: the same percepts step by step and walk by walk, whatever the encoder; what changes them and what does not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from navloop.agent.perception import Perception, Walk
from navloop.agent.percepts import DEPTH_SIDE
from navloop.agent.policy_agent import create_policy_agent
from navloop.configs.agents import PerceptionConfig
from navloop.configs.loader import load
from navloop.encoders import create_encoder, load_encoder, save_encoder
from navloop.weights import read_weights

ENCODERS = ("internvideo_mm_tiny_p16_t4", "videomae_tiny_p16_t8", "viclip_tiny_p16_t4", "internvideo_tiny_p16_t8")


def walks(count: int, steps: int, size: tuple[int, int] = (64, 64), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, steps, *size, 3), dtype=np.uint8)


def depths(count: int, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, steps, 48, 64, 1), dtype=np.float32) * 10


def opened(config: PerceptionConfig) -> Perception:
    """Return a perception whose encoder uses all of its parts, those too that start at zero."""
    perception = Perception(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in perception.encoder.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.2, generator=generator)
    return perception


def seen(perception: Perception, frames: np.ndarray, depth: np.ndarray | None = None) -> torch.Tensor:
    perception.start(len(frames))
    steps = range(frames.shape[1])
    return torch.stack([perception.see(frames[:, s], None if depth is None else depth[:, s]) for s in steps], 1)


@pytest.mark.parametrize("features", ["frame", "clip"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_walks_are_seen_as_step_by_step(encoder, features):
    perception = opened(PerceptionConfig(encoder=encoder, features=features, depth=True))
    frames, depth = walks(3, 9, (60, 72)), depths(3, 9)
    steps = seen(perception, frames, depth)
    lengths = (9, 4, 6)
    encoded = perception.encode_walks(
        [Walk(frames[i, :n], depth[i, :n]) for i, n in enumerate(lengths)], lanes=2
    )  # one lane takes two walks, one after the other
    assert steps.shape == (3, 9, perception.tokens, perception.width)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(encoded[i], steps[i, :n], rtol=0, atol=1e-5)
    assert steps.abs().max() < np.finfo(np.float16).max


@pytest.mark.parametrize("encoder", ENCODERS)
def test_whole_windows_give_what_streams_give(encoder):
    perception = opened(PerceptionConfig(encoder=encoder, grid=2))
    frames = walks(2, 11)
    torch.testing.assert_close(perception(frames), seen(perception, frames), rtol=0, atol=2e-5)


def test_an_encoder_of_windows_looks_every_k_steps():
    every = Perception(PerceptionConfig(encoder="videomae_tiny_p16_t8", every=3))
    frames = walks(2, 8)
    steps = seen(every, frames)
    assert torch.equal(steps[:, 1], steps[:, 0]) and torch.equal(steps[:, 5], steps[:, 3])
    assert not torch.equal(steps[:, 3], steps[:, 2])
    torch.testing.assert_close(every(frames), steps, rtol=0, atol=2e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_restarted_environment_forgets_its_walk_and_the_others_go_on(encoder):
    perception = opened(PerceptionConfig(encoder=encoder, features="clip"))
    frames, others = walks(2, 8), walks(1, 4, seed=5)[0]
    alone = seen(perception, frames)[0]
    fresh = seen(perception, others[None])[0]
    perception.start(2)
    for step in range(4):
        perception.see(frames[:, step])
    perception.restart([1])
    for step in range(4, 8):
        got = perception.see(np.stack([frames[0, step], others[step - 4]]))
        torch.testing.assert_close(got[0], alone[step], rtol=0, atol=1e-5)
        torch.testing.assert_close(got[1], fresh[step - 4], rtol=0, atol=1e-5)


def test_percepts_are_the_encoders_tokens_pooled():
    perception = opened(PerceptionConfig(grid=2))
    encoder = perception.encoder
    frame = walks(1, 1)[0, 0]
    clip = np.repeat(frame[None, None], encoder.num_frames, 1)
    patches = encoder.encode_video(clip).tokens[0, -16:].view(4, 4, -1)  # the newest frame's
    expected = patches.view(2, 2, 2, 2, -1).mean((1, 3)).flatten(0, 1)
    torch.testing.assert_close(seen(perception, frame[None, None])[0, 0, :4], expected, rtol=0, atol=1e-5)


def test_coordinated_percepts_are_both_branches_side_by_side():
    perception = opened(PerceptionConfig(encoder="internvideo_tiny_p16_t8"))
    encoder, frames = perception.encoder, walks(1, 1)
    clip = np.repeat(frames, encoder.num_frames, 1)
    got = seen(perception, frames)[0, 0, :16]
    pixels = encoder.multimodal.to_pixels(clip[:, : encoder.multimodal.num_frames])
    torch.testing.assert_close(got[:, :96], encoder.encode_video(clip).tokens[0, -16:], rtol=0, atol=1e-5)
    torch.testing.assert_close(got[:, 96:], encoder.multimodal(pixels).tokens[0, -16:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("forward", [False, True], ids=["streamed", "whole"])
def test_the_edges_of_a_larger_view_are_seen(encoder, forward):
    """Presets of videos enlarge a frame and cut its edges off; an agent looks for what stands there."""
    perception = opened(PerceptionConfig(encoder=encoder, grid=4))
    frames = np.full((3, 1, 128, 128, 3), 60, np.uint8)
    frames[1, :, :, :4], frames[2, :, :, -4:] = 255, 255
    with torch.no_grad():
        percepts = perception(frames) if forward else seen(perception, frames)
    plain, left, right = percepts[:, 0, :16].unflatten(1, (4, 4))
    parts = (0, 96) if perception.width > 96 and encoder.startswith("internvideo_tiny") else (0,)  # of both branches
    for part in parts:
        for edge, column in ((left, 0), (right, 3)):
            moved = (edge - plain)[..., part : part + 96].norm(dim=-1).mean(0)
            assert moved[column] > 0.02 * plain[..., part : part + 96].norm(dim=-1).mean()


def test_pixels_of_every_branch_are_of_the_whole_view():
    encoder = Perception(PerceptionConfig(encoder="internvideo_tiny_p16_t8")).encoder
    clips = np.full((1, encoder.num_frames, 128, 128, 3), 60, np.uint8)
    clips[..., 60:68, :4, :] = 255  # a spot half way up the left edge
    for part, pixels in zip((encoder.masked, encoder.multimodal), encoder.to_pixels(clips), strict=True):
        assert (pixels[0, :, :, 31, 0] > pixels[0, :, :, 5, 5] + 1).all()
        assert part.pixels.size == 64 and part.config != part.pixels


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_view_looks_alike_at_twice_the_size(encoder):
    perception = opened(PerceptionConfig(encoder=encoder))
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (2, 3, 8, 8)))
    large = F.interpolate(coarse, (128, 128), mode="bicubic").clamp(0, 255).round()
    small = F.avg_pool2d(large, 2).round()
    one, two, other = (
        seen(perception, x.permute(0, 2, 3, 1).to(torch.uint8).numpy()[:, None]) for x in (small, large, large.flip(0))
    )
    assert (one - two).norm() < 0.05 * (one - other).norm()


def test_an_encoder_that_an_agent_saw_with_is_saved_with_its_preset(tmp_path):
    encoder = Perception(PerceptionConfig()).encoder
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    assert again.pixels == create_encoder("internvideo_mm_tiny_p16_t4").pixels != encoder.pixels


def test_depth_is_pooled_and_read_back():
    perception = Perception(PerceptionConfig(depth=True))
    depth = depths(1, 1)
    rows = seen(perception, walks(1, 1), depth)[0, 0, perception.layout.visual :]
    expected = F.adaptive_avg_pool2d(torch.from_numpy(depth[0, 0, :, :, 0])[None], DEPTH_SIDE).flatten()
    torch.testing.assert_close(rows.flatten()[: DEPTH_SIDE**2], expected)
    assert not rows.flatten()[DEPTH_SIDE**2 :].any()


def test_the_digest_changes_with_what_is_seen_and_with_nothing_else(tmp_path):
    config = PerceptionConfig()
    first = Perception(config)
    assert Perception(config).digest == first.digest
    assert Perception(config.model_copy(update={"trainable": True})).digest == first.digest
    others = [{"seed": 1}, {"grid": 2}, {"features": "clip"}, {"depth": True}, {"size": 32, "grid": 2}]
    digests = {Perception(config.model_copy(update=other)).digest for other in others}
    assert len(digests | {first.digest}) == len(others) + 1
    save_encoder(first.encoder, tmp_path / "encoder.safetensors")
    stored = PerceptionConfig(encoder=None, weights=str(tmp_path / "encoder.safetensors"))
    assert Perception(stored).digest == first.digest
    with torch.no_grad():
        next(first.encoder.parameters()).add_(1e-3)
    save_encoder(first.encoder, tmp_path / "encoder.safetensors")
    assert Perception(stored).digest not in digests | {Perception(config).digest}


def test_weights_come_from_the_file(tmp_path):
    torch.manual_seed(3)
    encoder = create_encoder("videomae_tiny_p16_t8")
    save_encoder(encoder, tmp_path / "e.safetensors")
    for name in ("videomae_tiny_p16_t8", None):
        got = Perception(PerceptionConfig(encoder=name, weights=str(tmp_path / "e.safetensors"))).encoder
        assert all(
            torch.equal(got.state_dict()[k], v) for k, v in read_weights(tmp_path / "e.safetensors").state.items()
        )


def test_random_weights_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Perception(PerceptionConfig(seed=9))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("encoder", ["internvideo_mm_tiny_p16_t4", "videomae_tiny_p16_t8"])
def test_a_trained_encoder_gets_gradients_and_a_frozen_one_none(encoder):
    frames = walks(1, 2)
    trained = Perception(PerceptionConfig(encoder=encoder, trainable=True)).train()
    trained(frames).square().mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in trained.encoder.parameters())
    frozen = Perception(PerceptionConfig(encoder=encoder)).train()
    assert not frozen(frames).requires_grad and not frozen.encoder.training
    assert not trained.encode_walk(frames[0]).requires_grad


@given(height=st.integers(20, 130), width=st.integers(20, 130))
def test_frames_of_any_size_are_taken(height, width):
    perception = _SHARED
    perception.start(1)
    assert perception.see(np.full((1, height, width, 3), 128, np.uint8)).isfinite().all()


_SHARED = Perception(PerceptionConfig(grid=2))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"grid": 5}, "grid is 5, but the encoder has 4 x 4"),
        ({"every": 2}, "sees every frame by itself; leave it at 1"),
        ({"encoder": "internvideo_tiny_p16_t8", "every": 2, "trainable": True}, "trained with every=1"),
        ({"encoder": "internvideo_tiny"}, "internvideo_tiny_p16_t8"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Perception(PerceptionConfig(**fields))


def test_configurations_that_contradict_themselves_are_refused():
    with pytest.raises(ValidationError, match="neither encoder nor weights"):
        PerceptionConfig(encoder=None)
    with pytest.raises(ValidationError, match="single frames alone"):
        PerceptionConfig(trainable=True, features="clip")


def test_frames_that_do_not_fit_are_refused():
    perception = Perception(PerceptionConfig(depth=True))
    perception.start(2)
    with pytest.raises(ValueError, match=r"1 frames came, but start\(2\)"):
        perception.see(walks(1, 1)[:, 0])
    with pytest.raises(ValueError, match="no depth frames came"):
        perception.see(walks(2, 1)[:, 0])
    with pytest.raises(ValueError, match=r"not torch\.uint8"):
        perception.see(np.zeros((2, 64, 64, 3), np.float32))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_another_encoder_is_one_line_of_a_recipe(encoder):
    config = load("imitation_tiny", [f"agent.perception.encoder={encoder}", "agent.perception.weights=null"])
    agent = create_policy_agent(config.agent, ["walk to the sofa"]).eval()
    agent.perception.start(2)
    percepts = agent.perception.see(walks(2, 1)[:, 0])
    state = agent.policy.begin(agent.policy.read(["walk to the sofa", "stop"]))
    assert agent.policy.step(percepts, torch.full((2,), 4), state).logits.shape == (2, 4)
