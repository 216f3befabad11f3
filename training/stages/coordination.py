"""Coordination: the two branches, frozen, learn to look at each other by classifying clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from navloop.configs.stages import CoordinationPretrainConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.convert import load_released
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.saving import save_classifier
from navloop.encoders.zoo import save_encoder
from navloop.training.clips import ClipBatch
from navloop.training.stages.classification import accuracy, labels_of, num_classes
from navloop.training.stages.data import ClipSource, ClipStage
from navloop.training.stages.shapes import stage_shapes


class CoordinationStage(ClipStage):
    """Cross-model attention, heads and fusion; the branches stay as they are.

    "loss" is the cross-entropy of the fused scores, "accuracy" the share of clips that they get right.

    Args:
        config: The recipe. Its `masked` and `multimodal` classifiers bring the branches and their heads.
        source: Where clips with labels come from.

    Raises:
        ValueError: If the encoder is not the coordinated one, a classifier does not fit its branch, or learning rates are to
            decay by layer.

    Source: paper, section 3.2.
    """

    def __init__(self, config: CoordinationPretrainConfig, source: ClipSource) -> None:
        super().__init__(source)
        shapes = stage_shapes(config)
        if shapes.kind != "internvideo":
            raise ValueError(f"encoder: {config.encoder} is one branch; take both, such as internvideo_base_t16")
        if config.engine.layer_decay is not None:
            raise ValueError(
                f"engine.layer_decay: {config.engine.layer_decay:g} decays nothing in coordination, whose branches are frozen and "
                "whose modules are of no layer; leave it null"
            )
        self.config = config
        encoder = InternVideo(shapes)
        if config.weights is not None:
            load_released(encoder, config.weights)
        self.classifier = CoordinatedClassifier(encoder, num_classes(config))
        self._start_branches()

    def _start_branches(self) -> None:
        """Copy each branch and its head from the classifier that a recipe names for it."""
        encoder = self.classifier.encoder
        for branch, path in (("masked", self.config.masked), ("multimodal", self.config.multimodal)):
            if path is not None:
                head: nn.Linear = getattr(self.classifier, f"{branch}_head")
                tuned = VideoClassifier(getattr(encoder, branch), head.out_features)
                load_released(tuned, path)  # into the branch itself; the head is copied
                head.load_state_dict(tuned.head.state_dict())

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the branches and what coordinates them."""
        encoder = self.classifier.encoder
        return {
            "masked": encoder.masked,
            "multimodal": encoder.multimodal,
            "cross": nn.ModuleList([encoder.cross, encoder.class_cross]),
            "heads": nn.ModuleList([self.classifier.masked_head, self.classifier.multimodal_head]),
        }

    def losses(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return "loss" and "accuracy".

        Raises:
            ValueError: If the clips have no labels.
        """
        labels = labels_of(batch)
        pixels = self.classifier.encoder.to_pixels(batch.frames, batch.valid_frames)
        logits = self.classifier(pixels).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.smoothing if self.training else 0.0)
        return {"loss": loss, "accuracy": accuracy(logits, labels)}

    def save(self, folder: Path) -> None:
        """Write encoder.safetensors, for `load_encoder`, and classifier.safetensors, for evaluation."""
        save_encoder(self.classifier.encoder, folder / "encoder.safetensors")
        save_classifier(self.classifier, folder / "classifier.safetensors")

    def layer_of(self, name: str) -> int:
        """Return 0: the paper decays no learning rate by layer here, and recipes that do are refused."""
        return 0
