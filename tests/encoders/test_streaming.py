"""Streams against whole windows: an episode's frames are kept in a list, and its last T of them are encoded anew."""

import functools
import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from navloop.configs.encoders import (
    InternVideoConfig,
    MaskedConfig,
    MultimodalConfig,
    PixelsConfig,
    TextConfig,
    TransformerConfig,
    UniFormerConfig,
    ViCLIPConfig,
    VideoTowerConfig,
)
from navloop.encoders.coordination import InternVideo
from navloop.encoders.encoder import EncoderOutput, VideoEncoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.encoders.streaming import CoordinatedStream, FrameStream, Stream, WindowStream, create_stream
from navloop.encoders.viclip import ViCLIPEncoder
from navloop.encoders.zoo import create_encoder

E, STEPS = 3, 40
PIXELS = PixelsConfig(size=16)
TRUNK = TransformerConfig(width=24, depth=3, heads=2, hidden=48)
TEXT = TextConfig(trunk=TransformerConfig(width=16, depth=1, heads=2, hidden=32), vocabulary=64)


def tower(**options: object) -> VideoTowerConfig:
    fields = {"pixels": PIXELS, "frames": 4, "patch": 4, "trunk": TRUNK, "taps": (0, 2), **options}
    return VideoTowerConfig.model_validate(fields)


def randomised(encoder: VideoEncoder) -> VideoEncoder:
    """Weights without zeros, so that everything that an encoder could do it does."""
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * max(parameter.shape[-1:] + (4,)) ** -0.5
    return encoder.eval()


def multimodal(**options: object) -> VideoEncoder:
    return randomised(MultimodalEncoder(MultimodalConfig(video=tower(**options), text=TEXT, joint_width=8)))


def uniformer(**options: object) -> VideoEncoder:
    return randomised(UniFormer(UniFormerConfig(video=tower(**options))))


def masked() -> VideoEncoder:
    return randomised(MaskedEncoder(MaskedConfig(pixels=PIXELS, frames=6, patch=4, trunk=TRUNK, decoder=TRUNK)))


def viclip() -> VideoEncoder:
    return randomised(
        ViCLIPEncoder(ViCLIPConfig(pixels=PIXELS, frames=4, patch=4, trunk=TRUNK, text=TEXT, joint_width=8))
    )


def internvideo(**options: object) -> VideoEncoder:
    """Both branches, of unlike sizes, with 6 and 3 frames, and open gates."""
    masked = MaskedConfig(pixels=PIXELS, frames=6, patch=4, trunk=TRUNK, decoder=TRUNK)
    video = MultimodalConfig(video=tower(pixels=PixelsConfig(size=12), frames=3, **options), text=TEXT, joint_width=8)
    return randomised(InternVideo(InternVideoConfig(masked=masked, multimodal=video)))


def walk(
    size: tuple[int, int] = (16, 16), steps: int = STEPS, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Yield frames, resets, and each episode's frames so far, of environments that reset at different steps."""
    rng = np.random.default_rng(seed)
    episodes: list[np.ndarray] = [np.empty(0)] * E
    for step in range(steps):
        frames = rng.integers(0, 256, (E, *size, 3), dtype=np.uint8)
        reset = rng.random(E) < 0.15
        for i in range(E):
            begins = step == 0 or reset[i]
            episodes[i] = frames[i][None] if begins else np.concatenate((episodes[i], frames[i][None]))
        yield frames, reset, episodes


def window(episode: np.ndarray, length: int, stride: int = 1) -> np.ndarray:
    """The last frames, `stride` apart; the first stands for those before it."""
    last = len(episode) - 1
    return episode[[max(0, last - stride * back) for back in reversed(range(length))]]


def whole(encoder: VideoEncoder, episodes: list[np.ndarray], stride: int = 1) -> EncoderOutput:
    return encoder.encode_video(np.stack([window(episode, encoder.num_frames, stride) for episode in episodes]))


def assert_same(output: EncoderOutput, expected: EncoderOutput, rows: object = slice(None)) -> None:
    assert output.grid == expected.grid
    torch.testing.assert_close(output.tokens[rows], expected.tokens[rows], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.pooled[rows], expected.pooled[rows], atol=1e-5, rtol=0)


def assert_exact(stream: Stream, size: tuple[int, int] = (16, 16), steps: int = STEPS) -> None:
    for frames, reset, episodes in walk(size, steps):
        assert_same(stream.step(frames, reset), whole(stream.encoder, episodes, stream.stride))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("create", [multimodal, uniformer])
def test_a_stream_of_frames_equals_whole_windows(create: Callable[[], VideoEncoder], stride: int) -> None:
    stream = create_stream(create(), E, stride=stride)
    assert isinstance(stream, FrameStream)
    assert_exact(stream)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_windows_are_exact_too(frames: int) -> None:
    assert_exact(create_stream(multimodal(frames=frames), E), steps=20)


@functools.cache
def small(frames: int) -> VideoEncoder:
    trunk = TransformerConfig(width=8, depth=2, heads=2, hidden=16)
    return multimodal(pixels=PixelsConfig(size=8), frames=frames, trunk=trunk, taps=(0, 1))


@given(
    frames=st.integers(1, 6),
    stride=st.integers(1, 3),
    resets=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14),
)
@settings(max_examples=50, deadline=None)
def test_any_pattern_of_resets_is_exact(frames: int, stride: int, resets: list[tuple[bool, bool]]) -> None:
    encoder, rng = small(frames), np.random.default_rng(0)
    stream = create_stream(encoder, 2, stride=stride)
    episodes: list[list[np.ndarray]] = [[], []]
    for reset in resets:
        new = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
        episodes = [
            [frame] if begins else [*episode, frame]
            for episode, frame, begins in zip(episodes, new, reset, strict=True)
        ]
        expected = whole(encoder, [np.stack(episode) for episode in episodes], stride)
        assert_same(stream.step(new, reset), expected)


def test_a_window_longer_than_the_walk_is_exact() -> None:
    assert_exact(create_stream(multimodal(frames=12), E), steps=9)


def test_towers_without_balance_are_exact() -> None:
    assert_exact(create_stream(multimodal(balance=False, quick_gelu=False, taps=(1,)), E), steps=12)


@pytest.mark.parametrize("create", [multimodal, masked])
def test_frames_of_another_size_are_resized_as_clips_are(create: Callable[[], VideoEncoder]) -> None:
    assert_exact(create_stream(create(), E), size=(30, 41), steps=12)


def test_the_camera_may_change_its_size_between_episodes() -> None:
    encoder = multimodal()
    stream = create_stream(encoder, 1)
    rng = np.random.default_rng(0)
    stream.step(rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8))
    frames = rng.integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)
    assert_same(stream.step(frames, [True]), whole(encoder, [frames]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "create", [masked, viclip, lambda: uniformer(local="single"), lambda: uniformer(halve_time=True)]
)
def test_a_stream_of_windows_equals_whole_windows(create: Callable[[], VideoEncoder], stride: int) -> None:
    assert_exact(WindowStream(create(), E, stride=stride), steps=20)


def test_windows_are_seen_every_third_step_of_an_episode_and_repeated_in_between() -> None:
    encoder = masked()
    stream = create_stream(encoder, E, every=3)
    assert isinstance(stream, WindowStream)
    previous = None
    for frames, reset, episodes in walk():
        output = stream.step(frames, reset)
        due = np.array([(len(episode) - 1) % 3 == 0 for episode in episodes])
        assert_same(output, whole(encoder, episodes), torch.from_numpy(due))
        if previous is not None:
            torch.testing.assert_close(output.tokens[~due], previous.tokens[~due], rtol=0, atol=0)
            torch.testing.assert_close(output.pooled[~due], previous.pooled[~due], rtol=0, atol=0)
        previous = output


@pytest.mark.parametrize("size", [(16, 16), (24, 20)])
def test_coordinated_branches_equal_whole_windows(size: tuple[int, int]) -> None:
    stream = create_stream(internvideo(), E)
    assert isinstance(stream, CoordinatedStream)
    assert_exact(stream, size)


def test_coordinated_branches_are_exact_when_the_masked_one_looks_and_fresh_in_between() -> None:
    encoder = internvideo()
    stream = create_stream(encoder, E, every=3)
    previous = None
    for frames, reset, episodes in walk():
        output = stream.step(frames, reset)
        due = np.array([(len(episode) - 1) % 3 == 0 for episode in episodes])
        assert_same(output, whole(encoder, episodes), torch.from_numpy(due))
        if previous is not None:
            torch.testing.assert_close(output.tokens[~due], previous.tokens[~due], rtol=0, atol=0)
            moved = (output.pooled - previous.pooled).abs().amax(1)
            assert (moved[~due] > 1e-4).all()
        previous = output


def test_coordinated_branches_decide_their_stride() -> None:
    with pytest.raises(ValueError, match="stride is 2"):
        create_stream(internvideo(), E, stride=2)


@pytest.mark.parametrize("create", [multimodal, masked, internvideo])
def test_an_episode_looks_the_same_whatever_the_others_do(create: Callable[[], VideoEncoder]) -> None:
    encoder = create()
    together, alone = create_stream(encoder, E, every=2), create_stream(encoder, 1, every=2)
    for frames, reset, _ in walk(steps=15):
        assert_same_row(together.step(frames, reset), alone.step(frames[1:2], reset[1:2]))


def assert_same_row(output: EncoderOutput, single: EncoderOutput) -> None:
    torch.testing.assert_close(output.tokens[1:2], single.tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.pooled[1:2], single.pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("create", [multimodal, masked, internvideo])
def test_later_steps_leave_earlier_outputs_alone(create: Callable[[], VideoEncoder]) -> None:
    stream = create_stream(create(), E, every=2)
    seen = []
    for frames, reset, _ in walk(steps=10):
        output = stream.step(frames, reset)
        seen.append((output, output.tokens.clone(), output.pooled.clone()))
    for output, tokens, pooled in seen:
        assert torch.equal(output.tokens, tokens)
        assert torch.equal(output.pooled, pooled)


@pytest.mark.parametrize("create", [multimodal, masked, internvideo])
def test_memory_does_not_grow(create: Callable[[], VideoEncoder]) -> None:
    stream = create_stream(create(), E, every=3)
    sizes, alive = {stream.nbytes}, []
    for step, (frames, reset, _) in enumerate(walk(steps=200)):
        stream.step(frames, reset)
        sizes.add(stream.nbytes)
        if step in (20, 199):
            alive.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert len(sizes) == 1
    assert alive[0] == alive[1]


def test_a_stream_keeps_two_tensors_a_tap_and_one_more_for_its_window() -> None:
    stream = create_stream(multimodal(), E, stride=2)
    tokens, taps = 2 * E * 4 * (1 + 4 * 4), 2
    assert stream.nbytes == (1 + 2 * taps) * tokens * TRUNK.width * 4


@pytest.mark.parametrize("create", [multimodal, masked, internvideo])
def test_bfloat16_stays_near_float32(create: Callable[[], VideoEncoder]) -> None:
    streams = [create_stream(create().to(dtype), E) for dtype in (torch.bfloat16, torch.float32)]
    for frames, reset, _ in walk(steps=12):
        low, full = (stream.step(frames, reset) for stream in streams)
        assert low.tokens.dtype == low.pooled.dtype == torch.bfloat16
        assert not low.tokens.isnan().any()
        torch.testing.assert_close(low.pooled.float(), full.pooled, atol=0.05, rtol=0)


def test_a_policy_can_learn_from_what_a_stream_returns() -> None:
    stream = create_stream(multimodal(), E)
    output = stream.step(np.zeros((E, 16, 16, 3), dtype=np.uint8))
    head = torch.nn.Linear(8, 2)
    head(output.pooled).sum().backward()
    assert not output.pooled.requires_grad
    torch.testing.assert_close(head.weight.grad[0], output.pooled.sum(0))


@pytest.mark.parametrize("options", [{"local": "single"}, {"local": "double"}, {"halve_time": True}])
def test_towers_that_mix_frames_are_referred_to_whole_windows(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="WindowStream"):
        create_stream(uniformer(**options), E)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((E, 16, 16, 3), dtype=np.float32), "float32, not torch.uint8"),
        (np.zeros((E + 1, 16, 16, 3), dtype=np.uint8), r"\(4, 16, 16, 3\), this stream takes \(3, H, W, 3\)"),
        (np.zeros((E, 3, 16, 16), dtype=np.uint8), r"this stream takes \(3, H, W, 3\)"),
        (np.zeros((E, 4, 16, 16, 3), dtype=np.uint8), "one new RGB frame of each environment"),
        (np.zeros((E, 0, 16, 3), dtype=np.uint8), "nothing to encode"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_stream(multimodal(), E).step(frames)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("reset", [[True], np.zeros((E, 1), dtype=bool), np.zeros(E), torch.zeros(E)])
def test_resets_that_do_not_fit_are_refused(reset: object, first: bool) -> None:
    stream, frames = create_stream(multimodal(), E), np.zeros((E, 16, 16, 3), dtype=np.uint8)
    if not first:
        stream.step(frames)
    with pytest.raises(ValueError, match=r"this stream takes bool \(3,\)"):
        stream.step(frames, reset)


def test_refused_steps_change_nothing() -> None:
    encoder = multimodal()
    stream, spared = create_stream(encoder, E), create_stream(encoder, E)
    for frames, reset, _ in walk(steps=6):
        with pytest.raises(ValueError, match="uint8"):
            stream.step(frames.astype(np.int64), reset)
        with pytest.raises(ValueError, match="bool"):
            stream.step(frames, reset[:-1])
        assert_same(stream.step(frames, reset), spared.step(frames, reset))


@pytest.mark.parametrize("create", [multimodal, masked])
@pytest.mark.parametrize("options", [{"num_envs": 0}, {"every": 0}, {"stride": -1}])
def test_numbers_that_are_not_positive_are_refused(create: Callable[[], VideoEncoder], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is {next(iter(options.values()))}; .* at least 1"):
        create_stream(create(), **{"num_envs": E, **options})


def test_resets_may_be_lists_arrays_or_tensors() -> None:
    encoder = multimodal()
    outputs = []
    for convert in (list, np.asarray, torch.as_tensor):
        stream = create_stream(encoder, E)
        for frames, reset, _ in walk(steps=8, seed=1):
            output = stream.step(torch.from_numpy(frames), convert(reset.tolist()))
        outputs.append(output)
    assert_same(outputs[1], outputs[0])
    assert_same(outputs[2], outputs[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("create", [multimodal, uniformer, masked, viclip, internvideo])
def test_streams_work_under_autocast(create: Callable[[], VideoEncoder], dtype: torch.dtype) -> None:
    stream = create_stream(create(), E)
    with torch.autocast("cpu", dtype):
        for frames, reset, episodes in walk(steps=12):
            output, expected = stream.step(frames, reset), whole(stream.encoder, episodes)
            assert output.pooled.dtype == output.tokens.dtype == torch.float32
            torch.testing.assert_close(output.pooled, expected.pooled, atol=0.03, rtol=0)


@pytest.mark.parametrize("create", [masked, viclip, internvideo])
def test_streams_that_wait_for_some_environments_work_under_autocast(create: Callable[[], VideoEncoder]) -> None:
    stream, exact = create_stream(create(), E, every=3), create_stream(create(), E, every=3)
    for frames, reset, _ in walk(steps=12):
        expected = exact.step(frames, reset)
        with torch.autocast("cpu", torch.bfloat16):
            output = stream.step(frames, reset)
        torch.testing.assert_close(output.pooled, expected.pooled, atol=0.05, rtol=0)


def test_arrays_that_run_backwards_are_taken_step_by_step() -> None:
    stream, expected = create_stream(multimodal(), E), create_stream(multimodal(), E)
    for frames, reset, _ in walk(steps=3):
        turned = frames[..., ::-1]
        torch.testing.assert_close(stream.step(turned, reset).pooled, expected.step(turned.copy(), reset).pooled)


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def test_a_step_of_a_tower_costs_a_fifth_of_its_window_or_less() -> None:
    with torch.device("meta"):  # counts operations, computes none
        encoder = create_encoder("internvideo_mm_base_p16_t8", device="meta")
    stream, clip = create_stream(encoder, 1), np.zeros((1, 8, 224, 224, 3), np.uint8)
    stream.step(clip[:, 0])
    step, window = flops(lambda: stream.step(clip[:, 1])), flops(lambda: encoder.encode_video(clip))
    assert window / 8 < step <= window / 5  # one of eight frames, and the global blocks
