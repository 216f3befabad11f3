"""The stages after masked modelling, as recipes say them: contrast and captions, classification, coordination."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from navloop.configs.encoders import CaptionerConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.schema import Config
from navloop.configs.videos import AugmentationConfig, MixConfig


class ImagesConfig(Config):
    """Images and their texts, in batches of their own between those of videos: an image is a clip of one frame.

    Source: paper, section 3.1.2 (100 M images of LAION-400M beside the videos); CoTrain takes turns, step by step.
    """

    manifest: tuple[str, ...] = Field(
        min_length=1,
        description="Lists of images with captions, as clips.manifest: {image, caption} a line, or a .csv that begins with the "
        "line path,caption. Of a video, one frame is taken.",
    )
    held_out: tuple[str, ...] = Field(
        default=(), description="Lists of images to measure the losses on; never trained on."
    )
    batch: int = Field(ge=1, description="Images an optimiser step, over all processes and accumulation.")
    steps: int = Field(default=1, ge=1, description="Steps in a row that are of images.")
    after: int = Field(default=1, ge=1, description="Steps of videos before them; 1 and 1: they take turns.")
    augmentation: AugmentationConfig | None = Field(
        default=None, description="How images are cut out and varied; null: as clips.augmentation."
    )

    def takes(self, step: int) -> bool:
        """Return whether a step, counted from 1, is of images."""
        return (step - 1) % (self.after + self.steps) >= self.after


class ContrastivePretrainConfig(PretrainConfig):
    """Videos and their texts in one space, and captions.

    Source: paper, section 3.1.2; Radford et al., CLIP, 2021; Yu et al., CoCa, 2022; ViCLIP (mask_ratio).
    """

    NEEDS = ("captions",)

    stage: Literal["contrastive"] = Field(default="contrastive", description="What the encoder is trained to do.")
    clip: str | None = Field(
        default=None,
        description="open_clip model to begin with, as name or name:tag, in place of `encoder`'s random weights; `encoder` and "
        "clips.size are those that it starts.",
    )
    captions_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the caption loss beside the contrastive one; 0 trains no captions, as an encoder without caption "
        "decoder has it.",
    )
    captioner: CaptionerConfig | None = Field(
        default=None, description="Caption decoder to add to an encoder that has none; null: as the encoder is."
    )
    freeze_text: bool = Field(default=False, description="Leave the text tower as it is.")
    mask_ratio: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the tokens withheld at random, for ViCLIP alone."
    )
    images: ImagesConfig | None = Field(
        default=None, description="Images with captions to train on between steps of videos; null: none."
    )

    @model_validator(mode="after")
    def _images_fit(self) -> Self:
        if self.clips.repeats > 1:
            raise ValueError(
                f"clips.repeats is {self.clips.repeats}: clips of one video would be told apart by the words that they share; take 1"
            )
        if self.images is None:
            return self
        if self.clips.frames == 1:
            raise ValueError(
                "clips.frames is 1: clips are images already; put the lists of `images` into clips.manifest"
            )
        if self.images.batch % self.engine.accumulate:
            raise ValueError(
                f"images.batch {self.images.batch} does not divide into {self.engine.accumulate} parts (engine.accumulate)"
            )
        return self

    def data_files(self) -> tuple[str, ...]:
        """Return the lists, those of images among them."""
        return super().data_files() + (() if self.images is None else (*self.images.manifest, *self.images.held_out))


class ClassificationPretrainConfig(PretrainConfig):
    """Supervised classification of clips, of one branch by itself.

    Source: paper, section 3.1.3 (K710); the fine-tuning of VideoMAE and UniFormerV2.
    """

    NEEDS = ("label",)

    stage: Literal["classification"] = Field(default="classification", description="What the encoder is trained to do.")
    classifier: str | None = Field(
        default=None,
        description="Classifier to begin with, head and all, in place of `weights`: an earlier stage's classifier.safetensors, or a "
        "released one.",
    )
    classifier_rows: str | None = Field(
        default=None,
        description="File of the classes of `classifier` to keep, in the order of this recipe's: a .json list, or a number a line. "
        "The list that merges K600 into K710 makes a K710 classifier one of K600. null: all.",
    )
    loss: Literal["cross_entropy", "evidential"] = Field(
        default="cross_entropy",
        description="evidential: scores become evidence for classes, and how little there is tells unknown ones (open set).",
    )
    mix: MixConfig | None = Field(default=None, description="Mixup and cutmix of a batch's clips; null: none.")
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing where `mix` is null.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the classifier.")
    drop_path: float | None = Field(
        default=None, ge=0, lt=1, description="Drop path of the encoder's last block; null: the encoder's own."
    )
    global_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout in the MLP of the multimodal branch's global blocks; null: the encoder's own.",
    )
    norm: bool = Field(default=False, description="A layer norm before the classifier, as UniFormerV2 has.")
    init_scale: float = Field(default=0.001, gt=0, description="Factor of the classifier's first weights.")
    freeze: bool = Field(
        default=False, description="Train the classifier alone, on the encoder as it is: a linear probe."
    )

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.classifier is not None and self.weights is not None:
            raise ValueError("weights and classifier both say what to begin with; keep one of them")
        if self.classifier_rows is not None and self.classifier is None:
            raise ValueError("classifier_rows chooses from a classifier, and none is named (classifier)")
        return self

    def data_files(self) -> tuple[str, ...]:
        """Return the lists and the maps of labels."""
        return super().data_files() + (() if self.classifier_rows is None else (self.classifier_rows,))


class CoordinationPretrainConfig(PretrainConfig):
    """Cross-model attention between the two frozen branches, learned by classification.

    Source: paper, section 3.2.
    """

    NEEDS = ("label",)

    stage: Literal["coordination"] = Field(default="coordination", description="What the encoder is trained to do.")
    masked: str | None = Field(
        default=None, description="Classifier of the masked branch, an earlier stage's classifier.safetensors."
    )
    multimodal: str | None = Field(
        default=None, description="Classifier of the multimodal branch, an earlier stage's classifier.safetensors."
    )
    smoothing: float = Field(default=0.0, ge=0, lt=1, description="Label smoothing.")
