"""What the terminal shows of a meta-training of policies, and of one on images."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from metarl.experiments.analysis.learning_curves import plot_image_learning_curve, plot_learning_curve
from metarl.experiments.console.progress import join, number
from metarl.experiments.console.suggestions import command_line, example_task, own_family
from metarl.images.logs import VALIDATION
from metarl.images.training import ImageTraining
from metarl.policies.methods import get_method
from metarl.rl.logs import BYTES
from metarl.rl.training import SELECTION_WINDOW, PolicyTraining
from metarl.runs.state import Step, TrainingState


@dataclass(frozen=True)
class PolicyView:
    """What is shown of the meta-training of a policy."""

    training: PolicyTraining

    def line(self, step: Step) -> str:
        """Return returns before and after adaptation, KL divergence, environment steps per second, skipped updates.

        Where workers are in other processes, also what the iteration has sent to and received from them.
        """
        if step.fault:
            return f"skipped: {step.fault}; {step.state.skipped} skipped so far"
        last = self.training.settings.inner_steps
        moved = [step.timings[name] for name in BYTES if name in step.timings]
        return join(
            f"return {number(step.scalars['return_0'])} → {number(step.scalars[f'return_{last}'])}",
            f"KL {step.scalars['kl']:.4f}",
            f"{step.timings['env_steps_per_second'] / 1000:.0f}k steps/s",
            f"{sum(moved) / 1e6:.3g} MB to and from workers" if moved else "",
            f"{step.state.skipped} skipped" if step.state.skipped else "",
        )

    def best(self, state: TrainingState) -> str:
        """Return what is trained so far."""
        return f"the best controller of {state.iteration} meta-iterations"

    def result(self, state: TrainingState) -> str:
        """Return how good the best iteration is."""
        if state.skipped == state.iteration:
            return "no iteration improved the policy: the controller is untrained"
        return (
            f"best in iteration {state.best_iteration}: return {number(state.best_score)} after adaptation, a mean of "
            f"up to {SELECTION_WINDOW} iterations"
        )

    def suggestions(self, path: Path) -> list[str]:
        """Return commands to type next."""
        family = self.training.family
        task, own = example_task(family), own_family(family)
        adapts = get_method(self.training.settings.method).adapts
        return [
            command_line("evaluate", path, *own),
            *([command_line("adapt", path, "--task", *task, *own)] if adapts else []),
            command_line("render", path, "--task", *task, "--out", "episode.gif", *own, *["--no-adapt"] * (not adapts)),
            f"tensorboard --logdir {shlex.quote(str(path.parent))}",
        ]

    def plot(self, folder: Path) -> None:
        """Draw the learning curve."""
        plot_learning_curve(folder, self.training.family_name, self.training.settings)


class ImageView:
    """What is shown of a meta-training on images."""

    def __init__(self, training: ImageTraining) -> None:
        self.settings, self.validation = training.settings, ""

    def line(self, step: Step) -> str:
        """Return accuracy before and after adaptation, loss, seconds of the iteration, and the last validation."""
        if VALIDATION in step.scalars:
            self.validation = f"validation {step.scalars[VALIDATION]:.1%}"
        if step.fault:
            return join(f"skipped: {step.fault}; {step.state.skipped} skipped so far", self.validation)
        return join(
            f"accuracy {step.scalars['accuracy_before']:.0%} → {step.scalars['accuracy_after']:.0%}",
            f"loss {step.scalars['loss_after']:.2f}",
            f"{step.timings['meta_gradient_seconds']:.1f} s/iteration",
            self.validation,
        )

    def best(self, state: TrainingState) -> str:
        """Return what is trained so far."""
        epoch = state.best_iteration // self.settings.iterations_per_epoch
        return f"the classifier of epoch {epoch}, the best so far," if epoch else "the untrained classifier"

    def result(self, state: TrainingState) -> str:
        """Return how good the best epoch is."""
        epoch = state.best_iteration // self.settings.iterations_per_epoch
        return f"best in epoch {epoch}: accuracy {state.best_score:.1%} after adaptation on the validation tasks"

    def suggestions(self, path: Path) -> list[str]:
        """Return commands to type next."""
        return [
            command_line("evaluate", path, "--data", self.settings.data),
            command_line("inspect", path),
            f"tensorboard --logdir {shlex.quote(str(path.parent))}",
        ]

    def plot(self, folder: Path) -> None:
        """Draw the learning curve."""
        plot_image_learning_curve(folder, self.settings)
