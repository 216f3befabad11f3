"""What names and shapes of a weight file do not show: what it lacks, was configured for, and what numbers it holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from released_shapes import Shapes, caption_decoder, clip, internvideo_mm, random, uniformerv2, videomae_pretrain, vqa

from navloop.configs.encoders import MaskedConfig, MultimodalConfig, PixelsConfig, UniFormerConfig
from navloop.configs.generation import Greedy
from navloop.encoders import VideoClassifier, create_encoder, encoder_config, load_encoder, load_released, save_encoder
from navloop.encoders.masked import MaskedEncoder
from navloop.encoders.multimodal import MultimodalEncoder, UniFormer
from navloop.weights import WeightsError, WeightsWarning, read_weights

TINY = "internvideo_mm_tiny_p16_t4"


def tiny_config(**video: object) -> MultimodalConfig:
    """The tiny encoder's without captions."""
    config = encoder_config(TINY)
    assert isinstance(config, MultimodalConfig)
    fields = dict(config) | {"captioner": None, "video": dict(config.video) | video}
    return MultimodalConfig.model_validate(fields)


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a tiny encoder that has no caption decoder, as the published ones."""
    from navloop.encoders.sizes import ENCODERS

    monkeypatch.setitem(ENCODERS._entries, "plain_tiny", tiny_config)
    return "plain_tiny"


# The released names at the tiny encoder's sizes; the captioners are as wide as released ones allow.
MM: Shapes = {
    name: shape
    for name, shape in internvideo_mm(96, 4, 16, 4, 64, 2, 64).items()
    if not name.startswith(("clip.visual.transformer.dec.2", "clip.visual.transformer.dec.3"))
    and not name.startswith(("clip.visual.transformer.dpe.2", "clip.visual.transformer.dpe.3"))
    and name != "clip.text_mask_embedding"
}
CAPTIONS = caption_decoder(64, 96, 3)


def save(path: Path, shapes: Shapes) -> Path:
    torch.save({"state_dict": random(shapes)}, path)
    return path


def test_an_encoder_keeps_what_was_loaded_into_it(nameless: str, tmp_path: Path) -> None:
    assert create_encoder(nameless).loaded is None
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsWarning)
        encoder = create_encoder(nameless, save(tmp_path / "mm.ckpt", MM))
    assert encoder.loaded is not None
    assert (encoder.loaded.layout, encoder.loaded.missing, encoder.loaded.dropped) == ("internvideo_mm", (), ())


def test_a_question_answering_file_warns_of_what_it_leaves_random(nameless: str, tmp_path: Path) -> None:
    path = save(tmp_path / "vqa.ckpt", vqa(MM, CAPTIONS, 64 + 96 + 64, 11))
    with pytest.warns(WeightsWarning) as told:
        encoder = create_encoder(nameless, path)
    messages = [str(warning.message) for warning in told]
    assert any("has nothing for text.proj, video_proj" in message or
               "has nothing for video_proj, text.proj" in message for message in messages)  # fmt: skip
    assert any("its caption decoder is not used" in message for message in messages)
    assert all(warning.filename == __file__ for warning in told)
    assert encoder.loaded is not None
    assert set(encoder.loaded.untrained) == {"text.proj", "video_proj"}


def test_a_pretraining_file_warns_that_the_norm_of_the_mean_knows_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "mae.pth", videomae_pretrain(96, 4, 48, 2))
    with pytest.warns(WeightsWarning, match=r"mae\.pth: has nothing for norm\.\*"):
        create_encoder("videomae_tiny_p16_t8", path)
    config = encoder_config("videomae_tiny_p16_t8")
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsWarning)
        create_encoder(config.model_copy(update={"norm": "tokens"}), path)


def test_a_clip_file_warns_of_nothing_for_what_it_lacks_starts_as_nothing(nameless: str) -> None:
    state = random({name: shape for name, shape in clip(96, 4, 16, 4, 64, 64).items() if not_deep(name)})
    encoder = MultimodalEncoder(tiny_config())
    report = load_released(encoder, state)
    assert report.missing
    assert report.untrained == ()
    with_words = MultimodalEncoder(MultimodalConfig.model_validate(dict(encoder_config(TINY))))
    assert all(name.startswith("captioner.") for name in load_released(with_words, state).untrained)


def not_deep(name: str) -> bool:
    """Whether a name is of one of the text tower's first two blocks, or elsewhere."""
    return not name.startswith("transformer.resblocks.") or int(name.split(".")[2]) < 2


def test_a_named_encoder_captions_if_the_file_can(nameless: str, tmp_path: Path) -> None:
    path = save(tmp_path / "mm.ckpt", MM | CAPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsWarning)
        encoder = create_encoder(nameless, path)
    assert isinstance(encoder, MultimodalEncoder)
    assert encoder.captioner is not None
    assert (len(encoder.captioner.layers), len(encoder.captioner.queries)) == (3, 256)
    assert torch.equal(encoder.captioner.queries, read_weights(path).state["caption_decoder.visual_queries"])
    frames = torch.randint(0, 256, (1, 4, 64, 64, 3), dtype=torch.uint8)
    assert len(encoder.caption(frames, Greedy(), length=4)) == 1
    save_encoder(encoder, tmp_path / "ours.safetensors")
    again = create_encoder(nameless, tmp_path / "ours.safetensors")
    assert again.config == encoder.config
    with pytest.warns(WeightsWarning, match="its caption decoder is not used"):
        plain = create_encoder(tiny_config(), path)
    with pytest.raises(TypeError, match=r"no caption decoder; create it with weights that hold one"):
        plain.caption(frames)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("quick_gelu", False, "video.quick_gelu: True in the file, False in the model"),
        ("taps", (1, 3), r"video.taps: \[2, 3\] in the file, \[1, 3\] in the model"),
        ("pixels", {"size": 64, "mean": (0.5, 0.5, 0.5)}, r"video.pixels.mean: \[0.48145466, .*\] in the file, \[0.5, 0.5, 0.5\]"),
        ("pixels", {"size": 64, "resize": "squash"}, "video.pixels.resize: crop in the file, squash in the model"),
        ("trunk", {"width": 96, "depth": 4, "heads": 6, "hidden": 384}, "video.trunk.heads: 3 in the file, 6 in the model"),
    ],
)  # fmt: skip
def test_weights_of_another_configuration_are_refused(field: str, change: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_encoder(MultimodalEncoder(tiny_config()), path)
    other = MultimodalEncoder(tiny_config(**{field: change}))
    with pytest.raises(WeightsError, match=said) as failure:
        load_released(other, path)
    assert str(failure.value).startswith(f"{path}: ")
    assert f"load_released(model, navloop.weights.read_weights('{path}').state)" in str(failure.value)
    load_released(other, read_weights(path).state)  # what the message advises if it is meant
    assert load_encoder(path).config == tiny_config()


def test_what_weights_do_not_depend_on_may_differ(tmp_path: Path) -> None:
    encoder = create_encoder("videomae_tiny_p16_t8")
    save_encoder(encoder, tmp_path / "ours.safetensors")
    assert create_encoder("videomae_tiny_p16_t8", tmp_path / "ours.safetensors", frames=4, size=96).grid == (2, 6, 6)
    trunk = encoder.config.trunk.model_copy(update={"drop_path": 0.1, "checkpointing": True})  # type: ignore[attr-defined]
    load_released(MaskedEncoder(encoder.config.model_copy(update={"trunk": trunk})), tmp_path / "ours.safetensors")  # type: ignore[arg-type]


def test_norm_of_another_kind_is_refused_though_it_has_the_same_names(tmp_path: Path) -> None:
    config = encoder_config("videomae_tiny_p16_t8")
    assert isinstance(config, MaskedConfig)
    save_encoder(MaskedEncoder(config), tmp_path / "ours.safetensors")
    with pytest.raises(WeightsError, match="norm: pooled in the file, tokens in the model"):
        create_encoder(config.model_copy(update={"norm": "tokens"}), tmp_path / "ours.safetensors")


def test_a_file_of_another_encoder_says_of_which(tmp_path: Path) -> None:
    save_encoder(create_encoder("viclip_tiny_p16_t4"), tmp_path / "ours.safetensors")
    with pytest.raises(WeightsError, match="The file says that it is of a viclip encoder; load_encoder"):
        create_encoder(TINY, tmp_path / "ours.safetensors")


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_numbers_that_are_not_real_are_refused(dtype: torch.dtype) -> None:
    state = random(MM)
    state["clip.visual_proj"] = state["clip.visual_proj"].to(dtype)
    with pytest.raises(WeightsError, match=f"clip.visual_proj: {dtype} in the file, torch.float32 in the model"):
        load_released(MultimodalEncoder(tiny_config()), state)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_reported(odd: float) -> None:
    state = random(MM)
    state["clip.visual_ln_post.bias"][3] = odd
    with pytest.warns(WeightsWarning, match=r"NaN or infinity is in norm_post\.bias of the file"):
        report = load_released(MultimodalEncoder(tiny_config()), state)
    assert report.not_finite == ("norm_post.bias",)
    assert "not finite: norm_post.bias" in str(report)


def uniformer(**video: object) -> UniFormer:
    fields = {"pixels": PixelsConfig(size=64), "taps": (2, 3)} | video
    return UniFormer(UniFormerConfig(video=tiny_config(**fields).video))


def test_a_frozen_tower_says_that_it_has_no_balance() -> None:
    classifier = VideoClassifier(uniformer(), 7, norm=True)
    with pytest.raises(
        WeightsError, match=r"the file has no balance of video and frames: configure video\.balance=False"
    ):
        load_released(classifier, random(uniformerv2(96, 4, 16, 4, 2, 7, frozen=True)))
    without = VideoClassifier(uniformer(balance=False), 7, norm=True)
    with pytest.raises(WeightsError, match=r"the file has a balance .*: configure video\.balance=True"):
        load_released(without, random(uniformerv2(96, 4, 16, 4, 2, 7)))


@pytest.mark.parametrize("in_file", [True, False])
def test_a_tower_that_halves_time_says_so(in_file: bool) -> None:
    state = random(uniformerv2(96, 4, 16, 4, 2, 7, local=in_file))
    options = {} if in_file else {"local": "double", "halve_time": True}
    classifier = VideoClassifier(uniformer(**options), 7, norm=True)
    with pytest.raises(WeightsError, match=f"configure video.halve_time={in_file}") as failure:
        load_released(classifier, state)
    assert ("configure video.local='double'" if in_file else "configure video.local='none'") in str(failure.value)


def test_the_vision_tower_of_a_clip_by_itself_starts_a_uniformer() -> None:
    state = random(clip(96, 4, 16, 4, 64, 64))
    vision = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    report = load_released(uniformer(), vision)
    assert report.layout == "clip"
    assert set(report.dropped) == {"visual.ln_post.weight", "visual.ln_post.bias", "visual.proj"}
    with pytest.raises(WeightsError, match=r"missing .*\n(.*\n)*.*token_embedding"):
        load_released(MultimodalEncoder(tiny_config()), vision)
    del vision["visual.class_embedding"]
    with pytest.raises(WeightsError, match=r"missing \(1\):\n +visual\.class_embedding"):
        load_released(uniformer(), vision)


def test_a_pretrained_encoder_without_its_decoder_is_enough_for_an_encoder() -> None:
    state = random(videomae_pretrain(96, 4, 48, 2))
    alone = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    config = encoder_config("videomae_tiny_p16_t8")
    encoder = MaskedEncoder(config.model_copy(update={"norm": "tokens"}))  # type: ignore[arg-type]
    assert load_released(encoder, alone).missing == ()
    assert torch.equal(encoder.norm.weight, state["encoder.norm.weight"])


def test_parts_that_stay_without_numbers_are_said() -> None:
    with torch.device("meta"):
        encoder = MultimodalEncoder(tiny_config())
    state = random({name: shape for name, shape in clip(96, 4, 16, 4, 64, 64).items() if not_deep(name)})
    with pytest.warns(WeightsWarning, match=r'video\.query.* stay on the device "meta", without numbers'):
        load_released(encoder, state)
