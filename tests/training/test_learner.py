"""What every learner does with its losses: means over the steps that have them, and a word when they are no numbers."""

import pytest
import torch
from torch import nn

from navloop.configs.descent import DescentConfig
from navloop.training.learner import Learner
from navloop.training.steps import DivergedError


class Fitted(Learner[torch.Tensor]):
    """One weight on its way to 3."""

    def __init__(self, config: DescentConfig, steps: int) -> None:
        self.weight = nn.Parameter(torch.zeros(()))
        super().__init__([{"params": [self.weight]}], config, steps)

    def losses(self, batch):
        return {"loss": ((self.weight - 3) * batch).square()}

    def write(self, folder):
        torch.save(self.weight.detach(), folder / "weight.pt")


def test_it_goes_down_at_the_rate_of_its_schedule():
    learner = Fitted(DescentConfig(lr=0.5, min_lr=0.0, warmup=0.1, weight_decay=0.0), 40)
    rates = []
    for number in range(1, 41):
        found = learner.step(number, torch.ones(()), seed=0)
        rates.append(learner.lr)
    assert found["loss"] < 0.1 and not found["loss"].requires_grad
    assert rates[0] == 0 and rates[4] == max(rates) == pytest.approx(0.5)
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] < 0.01


def test_the_norm_is_told_before_it_is_cut_and_null_cuts_nothing():
    for clip in (0.1, None):
        found = Fitted(DescentConfig(clip=clip), 4).step(1, torch.ones(()), seed=0)
        assert found["gradient_norm"] == pytest.approx(6.0)  # 2 (0 - 3)


def test_means_are_over_the_steps_that_have_a_metric():
    window = [{"loss": torch.tensor(1.0), "rare": torch.tensor(4.0)}, {"loss": torch.tensor(3.0)}]
    assert Fitted(DescentConfig(), 4).means(window, 2) == {"loss": 2.0, "rare": 4.0}


def test_a_loss_that_is_no_number_is_told_with_its_step():
    window = [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(float("nan"))}]
    with pytest.raises(DivergedError, match=r"step 7: the loss is nan; try a lower learning\.lr"):
        Fitted(DescentConfig(), 8).means(window, 7)


def test_a_rate_that_ends_above_its_height_is_refused():
    with pytest.raises(ValueError, match=r"min_lr 0\.1 is above lr 0\.01"):
        DescentConfig(lr=0.01, min_lr=0.1)
