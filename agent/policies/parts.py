"""What the policies share: the action taken last, reckoning where one stands, and the heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from navloop.envs.simulator import Action

ACTIONS = 4
"""Actions that policies choose among: the codes of STOP, FORWARD, LEFT, RIGHT. As a previous action: none, at the start."""

POSE = 4
"""Numbers of a pose: forward and left of the start in steps of FORWARD, heading in radians, actions taken."""

_FEATURES = 9


class Reckoning(nn.Module):
    """Tell where one stands by the actions taken, as a walker with closed eyes would: blocked steps count too.

    Args:
        turn_deg: Angle of LEFT and RIGHT, degrees.
        width: Width of the result.
    """

    def __init__(self, turn_deg: float, width: int) -> None:
        super().__init__()
        self.turn = math.radians(turn_deg)
        self.project = nn.Linear(_FEATURES, width)

    def poses(self, previous_actions: Tensor) -> Tensor:
        """Return where whole walks stand at each step, float (B, S, 4), of the actions before each, int64 (B, S)."""
        turned, ahead, taken = self._moves(previous_actions)
        heading = turned.cumsum(1)
        forward, left = (ahead * heading.cos()).cumsum(1), (ahead * heading.sin()).cumsum(1)
        return torch.stack((forward, left, heading, taken.cumsum(1)), -1)

    def advance(self, pose: Tensor, previous_actions: Tensor) -> Tensor:
        """Return poses (E, 4) after one more action each, int64 (E,)."""
        turned, ahead, taken = self._moves(previous_actions)
        forward, left, heading, count = pose.unbind(-1)
        heading = heading + turned
        return torch.stack((forward + ahead * heading.cos(), left + ahead * heading.sin(), heading, count + taken), -1)

    def forward(self, pose: Tensor) -> Tensor:
        """Return poses (..., 4) as the policy reads them, float (..., width)."""
        forward, left, heading, count = pose.unbind(-1)
        far = torch.stack((forward, left), -1) / 20
        numbers = torch.cat(
            (
                torch.stack((heading.cos(), heading.sin(), (heading / math.pi).clamp(-3, 3)), -1),
                far.clamp(-5, 5),
                (4 * far).tanh(),
                torch.stack((count / 50, (count / 10).clamp(max=1)), -1).clamp(max=5),
            ),
            -1,
        )
        return self.project(numbers)  # type: ignore[no-any-return]

    def _moves(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        turned = self.turn * ((actions == Action.LEFT).float() - (actions == Action.RIGHT).float())
        return turned, (actions == Action.FORWARD).float(), (actions != ACTIONS).float()


class Heads(nn.Module):
    """The next action and the progress, from a state.

    Stopping is decided by itself: one number for it, and one each for the actions that go on.

    Args:
        width: Width of the state.
        progress: Whether progress is predicted.
        stop: Whether stopping is decided by itself, or is one action among four.
    """

    def __init__(self, width: int, progress: bool, stop: bool) -> None:
        super().__init__()
        self.stop = stop
        self.action = nn.Linear(width, ACTIONS)
        self.progress = nn.Linear(width, 1) if progress else None
        with torch.no_grad():
            self.action.weight.mul_(0.1)  # at first, nothing is certain
            self.action.bias.zero_()

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (..., ACTIONS) and progress (...), in [-1, 1], of states (..., width)."""
        logits = self.action(state)
        if self.stop:
            stop, move = logits[..., :1], logits[..., 1:]
            logits = torch.cat(
                (nn.functional.logsigmoid(stop), nn.functional.logsigmoid(-stop) + move.log_softmax(-1)), -1
            )
        return logits, None if self.progress is None else self.progress(state)[..., 0].tanh()
