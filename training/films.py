"""Films of episodes: recorded actions walked again, with the instruction, the action and the distance written under the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Action
from navloop.training.rollout import replay
from navloop.training.rows import Row

LINGER = 1.0
"""Seconds that the first and the last picture stay."""

_INK, _SOFT, _PAPER, _RULE = (27, 31, 36), (90, 98, 110), (255, 255, 255), (214, 219, 226)
_ACCENT, _GOOD, _BAD = (194, 84, 10), (0, 112, 82), (176, 42, 48)


def film_protocol(protocol: Protocol, width: int) -> Protocol:
    """Return a protocol whose one camera is the agent's first RGB camera with a picture `width` pixels wide."""
    camera = next(camera for camera in protocol.cameras if camera.kind == "rgb")
    height = 2 * round(width * camera.height / camera.width / 2)
    return protocol.with_cameras([replace(camera, width=width, height=height)])


def film(env: NavigationEnv, row: Row, fps: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of an episode, uint8 (H, W, 3) with even sides: the agent's view over a band of text.

    Args:
        env: Of `film_protocol`, holding the episode.
        row: What was walked.
        fps: Pictures a second, one an action.

    Raises:
        ReplayError: If the walk cannot be reproduced.
    """
    camera = env.protocol.cameras[0]
    band: _Band | None = None
    still = np.zeros((2, 2, 3), dtype=np.uint8)
    for step, (observation, _) in enumerate(replay(env, row.episode_id, row.actions.tolist(), row.positions)):
        band = band or _Band(env.episode.instruction.text, camera.width)
        action = Action(int(row.actions[step - 1])) if step else None
        text = band.draw(step, len(row.actions), action, float(row.distances[step]), _verdict(row, step))
        still = np.concatenate([observation[camera.name], text])
        hold = step in (0, len(row.actions))
        for _ in range(max(1, round(fps * LINGER)) if hold else 1):
            yield still


class _Band:
    """The strip of text under the picture."""

    def __init__(self, instruction: str, width: int) -> None:
        self._width = width
        self._size = max(11, width // 30)
        self._margin = self._size
        self._lines = _wrap(instruction, _font("", self._size), width - 2 * self._margin)
        self._leading = round(self._size * 1.4)
        height = self._margin * 2 + self._leading * len(self._lines) + round(self._leading * 1.9)
        self._height = height + height % 2

    def draw(
        self, step: int, steps: int, action: Action | None, distance: float, verdict: tuple[str, bool] | None
    ) -> NDArray[np.uint8]:
        """Return the strip, uint8 (h, W, 3)."""
        image = Image.new("RGB", (self._width, self._height), _PAPER)
        pen = ImageDraw.Draw(image)
        top = round(self._margin * 0.8)
        for line in self._lines:
            pen.text((self._margin, top), line, _INK, _font("", self._size))
            top += self._leading
        top += round(self._margin * 0.5)
        pen.line((self._margin, top, self._width - self._margin, top), _RULE)
        top += round(self._margin * 0.55)
        self._draw_action(pen, action, top)
        word = "start" if action is None else action.name.lower()
        if verdict is not None:
            word = f"{word}: {verdict[0]}"
        colour = _INK if verdict is None else _GOOD if verdict[1] else _BAD
        pen.text((self._margin + round(1.7 * self._size), top), word, colour, _font("-Bold", self._size))
        goal = f"goal {distance:.1f} m" if math.isfinite(distance) else "goal out of reach"
        right = f"{goal}   step {step}/{steps}"
        start = self._width - self._margin - pen.textlength(right, _font("", self._size))
        pen.text((start, top), right, _SOFT, _font("", self._size))
        return np.asarray(image)

    def _draw_action(self, pen: ImageDraw.ImageDraw, action: Action | None, top: int) -> None:
        """Draw the action as an arrow, or a disc for STOP, left of its name."""
        size = self._size
        x, y, reach = self._margin + size / 2, top + size * 0.62, size * 0.5
        if action is None or action == Action.STOP:
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=_SOFT if action is None else _BAD)
            return
        turn = {Action.LEFT: math.pi / 2, Action.RIGHT: -math.pi / 2, Action.LOOK_DOWN: math.pi}.get(action, 0.0)
        corners = [
            (x - reach * r * math.sin(turn + a), y - reach * r * math.cos(turn + a))
            for a, r in ((0, 1.2), (2.4, 1.2), (math.pi, 0.45), (-2.4, 1.2))
        ]
        pen.polygon(corners, fill=_ACCENT)


def _verdict(row: Row, step: int) -> tuple[str, bool] | None:
    if step < len(row.actions):
        return None
    if row.metrics.success:
        return "success", True
    return ("too far away" if row.actions[-1] == Action.STOP else "out of steps"), False


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib carries this face, so that films look alike on machines without fonts.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{weight}.ttf"), size)
