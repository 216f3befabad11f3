"""Supervised classification of clips, one branch by itself: what each branch is post-trained with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from navloop.configs.encoders import EncoderConfig, TransformerConfig, VideoTowerConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.stages import ClassificationPretrainConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import load_released
from navloop.encoders.losses import evidential_loss
from navloop.encoders.saving import save_classifier
from navloop.encoders.zoo import create_encoder, save_encoder
from navloop.training.augmentation import mix, mixing_seeds
from navloop.training.clips import ClipBatch
from navloop.training.label_maps import read_index_list
from navloop.training.labels import read_labels
from navloop.training.stages.data import ClipSource, ClipStage
from navloop.training.stages.shapes import stage_shapes, with_parts

_BLOCK = re.compile(r"classifier\.encoder\.(?:video\.)?blocks\.(\d+)\.")
_EMBEDDING = re.compile(
    r"classifier\.encoder\.(?:video\.)?(?:patch|positions|temporal_positions|class_token|norm_pre)\b"
)


_UNUSED = ("text.", "captioner.", "video_proj", "logit_scale", "temperature")
"""Beginnings of an encoder's parameters that no class depends on."""


def _shapes(config: ClassificationPretrainConfig) -> EncoderConfig:
    shapes = stage_shapes(config)
    if config.drop_path is not None:
        shapes = with_parts(shapes, TransformerConfig, drop_path=config.drop_path)
    if shapes.kind == "internvideo":
        raise ValueError(f"encoder: {config.encoder} has two branches; train them with stage=coordination")
    if config.global_dropout is None:
        return shapes
    changed = with_parts(shapes, VideoTowerConfig, global_dropout=config.global_dropout)
    if changed == with_parts(shapes, VideoTowerConfig, global_dropout=-1.0):
        raise ValueError(f"global_dropout: {config.encoder} has no global blocks; leave it out")
    return changed


class ClassificationStage(ClipStage):
    """A classifier over one encoder.

    "loss" is the recipe's, of mixed labels where clips are mixed; "accuracy" the share of clips whose class comes first,
    among clips that are not mixed.

    Args:
        config: The recipe; clips.num_classes or its class names say how many classes there are.
        source: Where clips with labels come from.

    Raises:
        ValueError: If the number of classes is not known, or the encoder is the coordinated one.

    Source: InternVideo1/Pretrain/VideoMAE/run_class_finetuning.py; paper, section 3.1.3.
    """

    def __init__(self, config: ClassificationPretrainConfig, source: ClipSource) -> None:
        super().__init__(source)
        self.config, self.num_classes = config, num_classes(config)
        self.clips_multiple = 1 if config.mix is None else 2
        shapes = _shapes(config)
        self.classifier = VideoClassifier(
            create_encoder(shapes),
            self.num_classes,
            dropout=config.dropout,
            norm=config.norm,
            init_scale=config.init_scale,
        )
        if config.weights is not None:
            load_released(self.classifier.encoder, config.weights)
        if config.classifier is not None:
            rows = None if config.classifier_rows is None else read_index_list(Path(config.classifier_rows))
            load_released(self.classifier, config.classifier, classes=rows)
        for name, parameter in self.classifier.encoder.named_parameters():
            # Towers that no class depends on get no gradient, and processes would wait for it.
            parameter.requires_grad_(not config.freeze and not name.startswith(_UNUSED))

    def parts(self) -> Mapping[str, nn.Module]:
        """Return encoder and head."""
        return {"encoder": self.classifier.encoder, "head": self.classifier.head}

    def train(self, mode: bool = True) -> Self:
        """Set the mode; an encoder that is left as it is stays in eval mode."""
        super().train(mode)
        if self.config.freeze:
            self.classifier.encoder.eval()
        return self

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return "loss", and "accuracy" of clips as they are.

        Raises:
            ValueError: If the clips have no labels.
        """
        labels = labels_of(batch)
        pixels = self.classifier.encoder.to_pixels(batch.frames, batch.valid_frames)
        if self.training and self.config.mix is not None:
            copies = self.config.clips.repeats
            seeds = self.share.mine(mixing_seeds(len(batch) // copies * self.share.world, generator))
            pixels, targets = mix(pixels, labels, self.num_classes, self.config.mix, seeds, copies)
            return {"loss": self._loss(self.classifier(pixels).float(), targets.to(pixels.device), 0.0)}
        logits = self.classifier(pixels).float()
        loss = self._loss(logits, labels, self.config.smoothing if self.training else 0.0)
        return {"loss": loss, "accuracy": accuracy(logits, labels)}

    def _loss(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Return the loss of a batch for classes (B,) or shares of them (B, classes)."""
        if self.config.loss == "cross_entropy":
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        if smoothing:
            targets = F.one_hot(targets, self.num_classes) * (1 - smoothing) + smoothing / self.num_classes
        return evidential_loss(logits, targets)

    def save(self, folder: Path) -> None:
        """Write encoder.safetensors, for `load_encoder`, and classifier.safetensors, for coordination and evaluation."""
        save_encoder(self.classifier.encoder, folder / "encoder.safetensors")
        save_classifier(self.classifier, folder / "classifier.safetensors")

    def layer_of(self, name: str) -> int:
        """Return 0 for what embeds patches, k + 1 for block k, L + 1 for all after them, the head among it."""
        block = _BLOCK.match(name)
        if block:
            return int(block[1]) + 1
        video: Any = getattr(self.classifier.encoder, "video", self.classifier.encoder)
        return 0 if _EMBEDDING.match(name) else len(video.blocks) + 1


def num_classes(config: PretrainConfig) -> int:
    """Return how many classes a recipe tells apart.

    Raises:
        ValueError: If it does not say.
    """
    count = read_labels(config.clips).count
    if count is None:
        raise ValueError("clips.num_classes is not set; say how many classes there are, or name them (clips.classes)")
    return count


def labels_of(batch: ClipBatch) -> Tensor:
    """Return a batch's labels.

    Raises:
        ValueError: If it has none.
    """
    if batch.labels is None:
        raise ValueError(f"clips have no labels, such as {batch.sources[0]}; classification needs a list with them")
    return batch.labels


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of clips whose class has the highest score."""
    return (logits.argmax(1) == labels).float().mean()
