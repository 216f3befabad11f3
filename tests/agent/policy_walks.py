"""Walks made up for tests: a policy must read the instruction, remember, and look to act as they do."""

import numpy as np
import torch

from navloop.agent.percepts import Layout
from navloop.agent.policies import ACTIONS, Instructions, Policy, WalkBatch, create_policy
from navloop.agent.policies.words import Vocabulary
from navloop.configs.agents import PolicyConfig, WordsConfig

KINDS = ("seq2seq", "cma", "streaming")
TEXTS = (
    "Walk past the red sofa and stop.",
    "Turn left, then wait at the door",
    "Go to the kitchen!",
    "Leave the room. Turn right at the bed and go on until the lamp; stop there.",
)
VOCABULARY = Vocabulary.of(TEXTS)
LAYOUT = Layout(grid=2, width=24, clip=True, depth=True)


def tiny_policy(kind: str, words: str = "transformer", layout: Layout = LAYOUT, **fields: object) -> Policy:
    """Return a small policy with random weights, in eval mode, that has learned the scale of its percepts."""
    settings = {"width": 32, "turn_deg": 15.0, "words": WordsConfig(encoder=words)} | fields
    policy = create_policy(PolicyConfig.model_validate({"kind": kind} | settings), layout, VOCABULARY, seed=3)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():  # so that small differences are seen
            if name.startswith("heads.action.weight"):
                parameter.mul_(30)
    policy.train()
    policy(random_batch(len(TEXTS), 12, seed=99, layout=layout))
    return policy.eval()


def random_batch(
    walks: int, steps: int, seed: int = 0, lengths: list[int] | None = None, layout: Layout = LAYOUT
) -> WalkBatch:
    """Return a batch of noise."""
    generator = torch.Generator().manual_seed(seed)
    percepts = 3 * torch.randn(walks, steps, layout.tokens, layout.width, generator=generator) + 1
    actions = torch.randint(0, ACTIONS, (walks, steps), generator=generator)
    actions[:, 0] = ACTIONS
    valid = torch.arange(steps) < torch.tensor(lengths or [steps] * walks)[:, None]
    return WalkBatch(percepts, instructions(walks), actions, valid)


def instructions(count: int) -> Instructions:
    """Return the texts in turn, as ids."""
    return VOCABULARY.read([TEXTS[i % len(TEXTS)] for i in range(count)])


def expert_actions(walks: int, steps: int, seed: int = 0) -> torch.Tensor:
    """Return actions that nothing but memory can tell: at random, STOP at the end."""
    actions = torch.from_numpy(np.random.default_rng(seed).integers(1, ACTIONS, (walks, steps)))
    actions[:, -1] = 0
    return actions
