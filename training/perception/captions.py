"""Captioning as a task: what the encoder says of each video, against what people said."""

from __future__ import annotations

from functools import partial

from navloop.configs.perception_texts import CaptioningTaskConfig
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.training.clips import ClipBatch
from navloop.training.perception.readers import described
from navloop.training.perception.results import Findings, measure
from navloop.training.perception.task import TASKS, Bench
from navloop.training.wording import bleu, bleu_counts, chrf, chrf_counts, sacrebleu, signatures

ORDERS = (1, 2, 3, 4)
"""Longest n-grams of the BLEU scores that are shown."""


@TASKS.register("captioning")
def measure_captioning(config: CaptioningTaskConfig, bench: Bench) -> Findings:
    """Return BLEU and chrF of the captions of all videos; the captions are among the details, with their references."""
    encoder = bench.subject.encoder
    if not isinstance(encoder, MultimodalEncoder) or encoder.captioner is None:
        raise ValueError(
            "captions need an encoder with a caption decoder; take the encoder.safetensors of a contrastive stage that trained one"
        )
    sacrebleu()  # said to be missing before hours of captions, not after

    def say(batch: ClipBatch) -> list[str]:
        return encoder.caption(batch.frames, config.strategy, length=config.length, valid=batch.valid_frames)

    seen, said = bench.watch(say, need=("captions",))
    videos = described(seen.rows)
    captions = [said[row] for row in videos.rows.tolist()]
    references = [videos.said_of(video) for video in range(len(captions))]
    words = bleu_counts(captions, references, lower_case=config.lower_case)
    characters = chrf_counts(captions, references, lower_case=config.lower_case)
    computed_by = signatures(captions, references, lower_case=config.lower_case)
    groups = seen.groups.take(videos.rows)
    scores = [measure(f"BLEU-{order}", partial(bleu, words, order), groups, bench.rng) for order in ORDERS]
    scores.append(measure("chrF", partial(chrf, characters), groups, bench.rng))
    listed = [
        {"video": seen.rows[row].path, "place": seen.rows[row].place, "caption": caption, "references": list(meant)}
        for row, caption, meant in zip(videos.rows.tolist(), captions, references, strict=True)
    ]
    protocol = {"distinct_captions": len(set(captions)), "computed_by": computed_by}
    return Findings(scores=tuple(scores), protocol=protocol, details={"captions": listed})
