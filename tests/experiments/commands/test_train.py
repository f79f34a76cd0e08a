"""What ``metarl train`` shows of a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from point_family import TINY, point_family

from metarl.experiments.commands.train import PolicyView
from metarl.experiments.commands.train_images import ImageView
from metarl.images.settings import ImageSettings
from metarl.rl.training import PolicyTraining
from metarl.runs.state import Step, TrainingState

STATE = TrainingState(
    iteration=3, parameters={}, moments={}, best_parameters={}, best_score=-1.0, best_iteration=2, skipped=2
)
POLICY = PolicyView(PolicyTraining(point_family(), TINY))
IMAGES = ImageView(SimpleNamespace(settings=ImageSettings(Path("letters"), tasks_per_epoch=4)))


def test_the_line_of_an_iteration() -> None:
    scalars = {"return_0": -281.26, "return_0_ci95": 1.0, "return_1": -150.04, "kl": 0.00812}
    line = POLICY.line(Step(STATE, scalars, {"env_steps_per_second": 320_123.0}))
    assert line == "return -281.3 → -150.0  KL 0.0081  320k steps/s  2 skipped"


def test_the_line_of_an_iteration_on_images() -> None:
    scalars = {"accuracy_before": 0.21, "accuracy_after": 0.5, "loss_after": 1.234}
    step = Step(STATE, scalars, {"meta_gradient_seconds": 2.34})
    assert IMAGES.line(step) == "accuracy 21% → 50%  loss 1.23  2.3 s/iteration"
    IMAGES.line(Step(STATE, scalars | {"validation_accuracy": 0.432}, {"meta_gradient_seconds": 2.34}))
    assert IMAGES.line(step) == "accuracy 21% → 50%  loss 1.23  2.3 s/iteration  validation 43.2%"


def test_an_iteration_that_was_skipped_says_why() -> None:
    step = Step(STATE, {}, {}, "the rewards are not finite")
    assert POLICY.line(step) == "skipped: the rewards are not finite; 2 skipped so far"
    assert IMAGES.line(step).startswith(POLICY.line(step))
