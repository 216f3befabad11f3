"""The tiny recipes as they are shipped, each on what the ones before it left, give the loss curves of tests/golden."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from navloop.training.cli import main

STEPS = 12
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120, 120, 120)}
MOVES = {"left": (0, -5), "right": (0, 5), "up": (-3, 0), "down": (3, 0)}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A list of 48 frame folders: a square of one of four colours drifts over noise, in one of four directions."""
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    lines = []
    for number in range(48):
        colour, move = rng.choice(list(COLOURS)), rng.choice(list(MOVES))
        frames = np.broadcast_to(rng.integers(0, 256, (72, 96, 3), np.uint8), (12, 72, 96, 3)).copy()
        for time, frame in enumerate(frames):
            top, left = np.array((28, 40)) + (time - 6) * np.array(MOVES[move])
            frame[top : top + 16, left : left + 16] = COLOURS[colour]
        (folder / f"{number:02d}").mkdir()
        for time, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{number:02d}" / f"img_{time:05d}.png")
        label = list(COLOURS).index(colour) * len(MOVES) + list(MOVES).index(move)
        lines.append(
            {"video": f"{number:02d}", "caption": f"the {colour} square drifts {move}", "label": label, "first": 0}
        )
    (folder / "films.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "films.jsonl"


def test_the_tiny_recipes_have_the_golden_loss_curves(films, tmp_path, golden):
    def learn(recipe: str, *changes: str) -> Path:
        run = tmp_path / recipe
        told = [f"clips.manifest=[{films}]", f"engine.steps={STEPS}", "engine.log_every=1", *changes]
        assert main(["pretrain", recipe, *told, "--run-dir", str(run)]) == 0
        points = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        golden(recipe, [(point["step"], point["loss"]) for point in points])
        return run / "last"

    masked = learn("masked_tiny")
    contrastive = learn("contrastive_tiny")
    first = learn("classification_tiny", f"weights={masked}/autoencoder.safetensors")
    second = learn("classification_multimodal_tiny", f"weights={contrastive}/encoder.safetensors")
    learn("coordination_tiny", f"masked={first}/classifier.safetensors", f"multimodal={second}/classifier.safetensors")
