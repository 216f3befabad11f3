"""Zero-shot classification: the class whose prompts a video is nearest to, by their names alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F

from navloop.configs.perception_texts import ZeroShotTaskConfig
from navloop.geometry import Vector
from navloop.training.labels import read_class_names
from navloop.training.perception.classes import class_findings
from navloop.training.perception.prompts import TEMPLATES, fill
from navloop.training.perception.readers import encode_texts, similarities
from navloop.training.perception.results import Findings
from navloop.training.perception.subject import Subject
from navloop.training.perception.task import TASKS, Bench


@TASKS.register("zero_shot")
def measure_zero_shot(config: ZeroShotTaskConfig, bench: Bench) -> Findings:
    """Return how often the class of a video is the one whose prompts it is nearest to."""
    file = config.classes or bench.recipe.clips.classes
    if file is None:
        raise ValueError("zero-shot needs the names of the classes; name a file of them (classes, or clips.classes)")
    names = read_class_names(Path(file))
    templates = TEMPLATES[config.templates] if isinstance(config.templates, str) else config.templates
    seen = bench.embed("pooled", need=("label",))
    prompts = prompt_vectors(bench.subject, names, templates)
    probabilities = class_probabilities(bench.subject, seen.values, prompts, config.average)
    protocol = {"templates": list(templates), "average": config.average}
    return class_findings(probabilities, seen, bench, protocol)


def prompt_vectors(subject: Subject, names: list[str], templates: tuple[str, ...]) -> Tensor:
    """Return the unit vector of each class in each template, float (P, C, J)."""
    texts = [sentence for name in names for sentence in fill(templates, name)]
    vectors = encode_texts(subject, texts)
    return vectors.view(len(names), len(templates), -1).transpose(0, 1)


def class_probabilities(
    subject: Subject,
    videos: NDArray[np.float32],
    prompts: Tensor,
    average: Literal["probabilities", "embeddings"],
) -> Vector:
    """Return the probability of each class, float64 (V, C), averaged over templates as `average` says.

    Args:
        subject: Whose scale of cosines decides how sharp probabilities are.
        videos: Unit vectors (V, J).
        prompts: Unit vectors (P, C, J).
        average: "probabilities", a softmax over the classes a template; "embeddings", the mean of the P vectors, of unit length again.
    """
    if average == "embeddings":
        prompts = F.normalize(prompts.mean(0, keepdim=True), dim=-1)
    each = [softmax(similarities(subject, videos, classes), axis=1) for classes in prompts]
    return np.asarray(np.mean(each, axis=0))
