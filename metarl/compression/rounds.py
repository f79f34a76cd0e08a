"""Rounds of pruning with meta-training after each, which go on where they were interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metarl.compression.attention import shrink_attention
from metarl.compression.images import retrain_images
from metarl.compression.pruning import check_prunable, prune_once, shares
from metarl.compression.settings import PruneSettings
from metarl.compression.tasks import Model, Tasks, family_of, images_of
from metarl.compression.units import remove_units, widths_after, without_unread_units
from metarl.envs.family import TaskFamily
from metarl.policies.classifier import Classifier
from metarl.policies.compression.masks import kept_weights, weight_names
from metarl.policies.controller import Controller
from metarl.policies.loading import load_classifier, load_controller
from metarl.rl.continuation import continued_settings
from metarl.rl.settings import TrainSettings
from metarl.rl.training import PolicyTraining
from metarl.runs.callbacks import Callback
from metarl.runs.folder import CONTROLLER
from metarl.runs.resumable import opened, write_json
from metarl.runs.run import run

CONFIG, ROUNDS = "pruning.json", "rounds.json"


@dataclass(frozen=True)
class Round:
    """What a round of pruning led to."""

    number: int  # from 1
    sparsity: float
    kept: dict[str, float]  # the kept share of each layer's weights
    largest_weight: float  # of the pruned policy: weights that grow keep the function and lose the adaptation
    # After adaptation, in the last meta-iteration; of images the accuracy after it. None without meta-training.
    trained_return: float | None


def prune_in_rounds(
    controller: Model,
    tasks: Tasks,
    settings: PruneSettings,
    threads: int,
    out: Path | None = None,
    on_round: Callable[[Round], None] = lambda done: None,
) -> Model:
    """Prune a controller and meta-train it after each round.

    Args:
        controller: The meta-trained controller.
        tasks: The task family of a policy, as it sees it, or the images of an image network.
        settings: How it is pruned.
        threads: Threads of the simulator and of the training.
        out: A folder for the outcome of each round and the pruned controller, new or of the same pruning, which then
            goes on after its last whole round. None to keep nothing on disk.
        on_round: Is told what each round led to, those of before an interruption included.

    Returns:
        The pruned controller. Refusal if the controller or the folder cannot be used.
    """
    check_prunable(controller, settings)
    images = isinstance(controller, Classifier)
    identity = images_of(tasks).identity if images else {"family": family_of(tasks).name}
    done: list[Round] = []
    if out is not None:
        done = _opened(out, asdict(settings) | {"parent": controller.metadata.training} | identity)
    record, dense = controller.metadata.training, controller
    for number, share in enumerate(shares(controller, settings), start=1):
        if out is not None and number <= len(done):
            controller = _loaded_like(controller, _file(out, number))
            on_round(done[number - 1])
            continue
        drawn = replace(settings, seed=settings.seed + number - 1)
        if number == 1 and settings.attention and isinstance(controller, Controller):
            rank, count = settings.attention, settings.tasks
            controller = shrink_attention(
                controller, family_of(tasks), rank, count, settings.seed, settings.damping, threads
            )
        if settings.structure == "units" and isinstance(controller, Controller) and isinstance(dense, Controller):
            if settings.sparsity:
                widths = widths_after(dense.network.hidden_sizes, share)
                controller = remove_units(controller, family_of(tasks), drawn, widths, threads)
        elif settings.sparsity:
            controller = prune_once(controller, tasks, drawn, share, threads)
        weights = (controller.parameters[name] for name in weight_names(controller.network))
        facts = share, shares_left(controller, dense), max(float(weight.abs().max()) for weight in weights)
        reached = None
        if settings.iterations:
            if isinstance(controller, Classifier):
                controller, reached = retrain_images(controller, images_of(tasks), drawn, threads)
            else:
                family = family_of(tasks)
                further = continued_settings(controller, family, settings.iterations, drawn.seed, threads)
                controller, reached = retrained(controller, family, further)
        training = record | {"pruning": asdict(settings) | {"reached": share, "kept": facts[1]}}
        controller = _recorded(controller, training)
        done.append(Round(number, *facts, reached))
        if out is not None:
            controller.save(_file(out, number), overwrite=True)
            write_json(out / ROUNDS, [asdict(each) for each in done])
        on_round(done[-1])
    if settings.connected and isinstance(controller, Controller):
        controller = without_unread_units(controller)
    if out is not None:
        controller.save(out / CONTROLLER, overwrite=True)
    return controller


def shares_left(controller: Controller | Classifier, dense: Controller | Classifier) -> dict[str, float]:
    """Return the share of each layer's weights that is kept, of those of the network that the pruning began with."""
    shapes, kept = dense.network.parameter_shapes, kept_weights(controller.parameters, controller.network)
    return {layer: count / math.prod(shapes[f"{layer}.weight"]) for layer, count in kept.items()}


class LastReturn(Callback):
    """Keeps the newest iteration's mean return after adaptation."""

    def __init__(self) -> None:
        self.reached: float | None = None

    def on_iteration(self, step: Any) -> bool:
        """Note the return; never stop the training."""
        if step.state.recent_returns:
            self.reached = step.state.recent_returns[-1]
        return True


def retrained(controller: Controller, family: TaskFamily, settings: TrainSettings) -> tuple[Controller, float | None]:
    """Meta-train a pruned controller; return the controller of the last iteration, and its return after adaptation.

    The last iteration and not the best one, because a few iterations after a pruning hardly tell which was best.
    """
    training, last = PolicyTraining(family, settings, controller), LastReturn()
    state = run(training, callbacks=(last,))
    return training.controller(replace(state, best_parameters=state.parameters)), last.reached


def _opened(out: Path, config: dict[str, Any]) -> list[Round]:
    """Make the folder of a pruning, or return the rounds that one of the same settings holds already."""
    rounds = out / ROUNDS
    if opened(out, CONFIG, config, "pruning") and rounds.is_file():
        return [Round(**each) for each in json.loads(rounds.read_text())]
    return []


def _loaded_like(controller: Model, path: Path) -> Model:
    """Return the controller of a file, of the same kind as another one."""
    return load_classifier(path) if isinstance(controller, Classifier) else load_controller(path)


def _recorded(controller: Model, training: dict[str, Any]) -> Model:
    """Return the controller with another record of its training."""
    if isinstance(controller, Classifier):
        return replace(controller, metadata=replace(controller.metadata, training=training))
    return replace(controller, metadata=replace(controller.metadata, training=training))


def _file(out: Path, number: int) -> Path:
    return out / f"round{number}.safetensors"
