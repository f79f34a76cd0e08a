"""Image networks where they are pruned and judged: their tasks, their layers' inputs, and their meta-training."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from metarl.compression.removal import second_moments
from metarl.compression.settings import PruneSettings, Statistics
from metarl.core.errors import Refusal
from metarl.core.randomness import Purpose, generator
from metarl.core.settings import read_settings
from metarl.core.threads import single_threaded_torch
from metarl.envs.images.episodes import EpisodeShape, episode_shape
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.images import tasks as few_shot
from metarl.images.evaluation import evaluate_images
from metarl.images.logs import VALIDATION
from metarl.images.settings import ImageSettings
from metarl.images.start import ImageData, describe
from metarl.images.training import ImageTraining
from metarl.policies.classifier import Classifier
from metarl.policies.methods import get_method
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import ImageNetwork, LayerTrace, Operation, Parameters
from metarl.runs.callbacks import Callback
from metarl.runs.run import run

IMAGES_PER_TASK = 25
VALIDATION_TASKS = 40  # after each round, at most
MOST_MULTIPLICATIONS = 1e11  # of a layer's removal: some minutes


@dataclass(frozen=True)
class ImageTasks:
    """The images that a network is pruned, trained and judged on, and the tasks that are drawn from each split."""

    folder: Path
    data: ImageData
    test: ImageSet
    test_shape: EpisodeShape

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these images from others, for the folder of a pruning."""
        return {"family": "images", "train": describe(self.data.training)}


def image_tasks(classifier: Classifier, folder: Path, progress: Progress | None = None) -> ImageTasks:
    """Load the splits of a folder of images.

    Args:
        classifier: Whose numbers of classes and images the tasks have.
        folder: The folder.
        progress: Called as images are decoded.

    Returns:
        The tasks. Refusal says what is wrong with the folder, or that it has too few classes or images.
    """
    network, metadata = classifier.network, classifier.metadata
    sets = {split: load_images(folder, split, network.side, progress=progress) for split in ("train", "val", "test")}
    shapes = {
        split: episode_shape(images, network.ways, metadata.shots, metadata.queries) for split, images in sets.items()
    }
    data = ImageData(sets["train"], shapes["train"], sets["val"], shapes["val"])
    return ImageTasks(folder, data, sets["test"], shapes["test"])


def check_images(classifier: Classifier, settings: PruneSettings) -> None:
    """Raise Refusal if an image network cannot be pruned so."""
    if settings.structure == "units":
        raise Refusal("units are removed of policies alone: prune single weights of an image network")
    if settings.iterations:
        recorded_settings(classifier, Path())
    if settings.criterion in ("magnitude", "random"):
        return
    for layer in pruned_layers(classifier.network):
        width = layer.inputs * layer.kernel**2
        rows = layer.outputs if settings.criterion == "weighted" or settings.removal == "exact" else 1
        if rows * width**3 > MOST_MULTIPLICATIONS:
            allowed = "--removal literal with another criterion than weighted, or --criterion magnitude"
            raise Refusal(
                f"{layer.name} has {width} inputs for each of {layer.outputs} outputs, which takes "
                f"{rows * width**3:.0e} multiplications: take {allowed}"
            )


def pruned_layers(network: ImageNetwork) -> list[Layer]:
    """Return the layers whose weights can be pruned."""
    return [layer for layer in network.layers if not layer.is_norm]


def image_moments(
    classifier: Classifier, tasks: ImageTasks, settings: PruneSettings, statistics: Statistics, threads: int
) -> dict[str, Tensor]:
    """Return the second moments of each layer's inputs, by the layer's name, as ``second_moments`` does.

    The inputs are those of up to IMAGES_PER_TASK query images of each task. A convolution's are the blocks that its
    kernel meets, at all positions.

    ``weighted`` gives each output channel the Fisher matrix of its own weights: sum over the classes c of p_c times the
    square of d log p_c / d w, exactly, averaged over the images.

    Args:
        classifier: The network, which may be pruned already.
        tasks: The images; tasks come from the split train.
        settings: How many tasks, and their seed.
        statistics: ``un-adapted`` takes the network before the inner loop, the others the one after it; ``l-obs`` takes
            one task, whatever is given.
        threads: Threads, each with a task of its own.
    """
    network, method = classifier.network, get_method(classifier.metadata.method)
    count = 1 if statistics == "l-obs" else settings.tasks
    random = generator(settings.seed, Purpose.PRUNING)
    drawn = few_shot.sample_tasks(tasks.data.training, tasks.data.training_shape, count, random)

    def of_task(task: few_shot.ImageTask) -> dict[str, Tensor]:
        parameters = classifier.parameters
        if statistics != "un-adapted":
            parameters = few_shot.adapt_on_device(network, parameters, method, task.support, images_at_once=1)
        images = task.query.images
        places = torch.linspace(0, len(images) - 1, min(IMAGES_PER_TASK, len(images))).long()
        return layer_moments(network, parameters, images[places], statistics)

    _warn_of_few(network, tasks.data.training_shape, count, statistics)
    totals: dict[str, Tensor] = {}
    with single_threaded_torch(), ThreadPoolExecutor(threads) as executor:
        for found in executor.map(of_task, drawn):
            totals = {layer: each + totals[layer] if totals else each for layer, each in found.items()}
    return {layer: each / count for layer, each in totals.items()}


def layer_moments(
    network: ImageNetwork, parameters: Parameters, images: Tensor, statistics: Statistics
) -> dict[str, Tensor]:
    """Return the second moments of each layer's inputs, given the images [image, 3, side, side] of one task."""

    def traced(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        output = operation(inputs)
        return LayerTrace(inputs, output if output.requires_grad else output.requires_grad_())

    with torch.enable_grad():
        logits, trace = network(parameters, images, traced)
    layers = pruned_layers(network)
    blocks = {layer.name: input_blocks(layer, trace[layer.name].input.detach()) for layer in layers}
    biased = {layer.name: f"{layer.name}.bias" in network.parameter_shapes for layer in layers}
    if statistics != "weighted":
        return {name: second_moments(each.flatten(0, 1), bias=biased[name]) for name, each in blocks.items()}
    logs = logits.log_softmax(dim=1)
    outputs = [trace[layer.name].output for layer in layers]
    shapes = network.parameter_shapes
    totals = {
        name: torch.zeros(shapes[f"{name}.weight"][0], *2 * (each.shape[2] + biased[name],)).double()
        for name, each in blocks.items()
    }
    for of_class in logs.unbind(dim=1):
        gradients = torch.autograd.grad(of_class.sum(), outputs, retain_graph=True)
        weights = of_class.detach().exp().sqrt()[:, None, None]
        for (name, each), gradient in zip(blocks.items(), gradients, strict=True):
            inputs = torch.cat([each, torch.ones_like(each[..., :1])], dim=2) if biased[name] else each
            rows = weights * torch.matmul(gradient.flatten(2) if gradient.ndim == 4 else gradient[..., None], inputs)
            by_output = rows.double().transpose(0, 1)  # [output, image, input]
            totals[name] += by_output.mT @ by_output / len(images)
    return totals


def input_blocks(layer: Layer, inputs: Tensor) -> Tensor:
    """Return what each output position of a layer is a linear function of [image, position, input].

    The blocks of a convolution with a kernel k are [channel * k * k], as its weight is with its axes flattened.
    """
    if layer.kind != "convolution":
        return inputs[:, None]
    return functional.unfold(inputs, layer.kernel, padding=layer.kernel // 2).mT


def recorded_settings(classifier: Classifier, folder: Path) -> ImageSettings:
    """Return the settings that a network was meta-trained with, on the images of a folder; Refusal if it has none."""
    recorded = classifier.metadata.training.get("settings")
    if not isinstance(recorded, dict):
        raise Refusal("the network does not say how it was meta-trained, as it has to be again: say --iterations 0")
    return read_settings(ImageSettings, recorded | {"data": folder})


def retrain_images(
    classifier: Classifier, tasks: ImageTasks, settings: PruneSettings, threads: int
) -> tuple[Classifier, float | None]:
    """Meta-train a pruned network; return that of the last iteration, and its accuracy on validation tasks.

    The settings are those of its own meta-training, in one epoch of as many iterations as are asked for.

    Args:
        classifier: The pruned network.
        tasks: The images.
        settings: How many iterations, and their seed.
        threads: Threads, each with a task of its own.
    """
    recorded = recorded_settings(classifier, tasks.folder)
    further = replace(
        recorded,
        epochs=1,
        tasks_per_epoch=settings.iterations * recorded.tasks_per_iteration,
        validation_tasks=min(recorded.validation_tasks, VALIDATION_TASKS),
        seed=settings.seed,
        threads=threads,
    )
    training, last = ImageTraining(further, tasks.data, classifier), _LastAccuracy()
    state = run(training, callbacks=(last,))
    parameters = {name: tensor.detach().clone() for name, tensor in state.parameters.items()}
    return replace(classifier, parameters=parameters), last.reached


def image_scores(classifier: Classifier, tasks: ImageTasks, count: int, seed: int, threads: int) -> list[Tensor]:
    """Return the accuracies on unseen tasks of the split test before and after adaptation, each [task].

    Args:
        classifier: The network.
        tasks: The images.
        count: The number of tasks.
        seed: Their seed.
        threads: Threads, each with a task of its own.
    """
    method = get_method(classifier.metadata.method)
    with single_threaded_torch(), ThreadPoolExecutor(threads) as executor:
        evaluation = evaluate_images(
            executor, classifier.network, classifier.parameters, method, tasks.test, tasks.test_shape, count, seed
        )
    return [
        torch.tensor([each.accuracy for each in scores], dtype=torch.float64)
        for scores in (evaluation.before, evaluation.after)
    ]


class _LastAccuracy(Callback):
    """Keeps the newest accuracy on the validation tasks."""

    def __init__(self) -> None:
        self.reached: float | None = None

    def on_iteration(self, step: Any) -> bool:
        """Note the accuracy; never stop the training."""
        self.reached = step.scalars.get(VALIDATION, self.reached)
        return True


def _warn_of_few(network: ImageNetwork, shape: EpisodeShape, tasks: int, statistics: Statistics) -> None:
    """Warn if a layer has more inputs than samples: blocks, or of ``weighted`` derivatives of images by classes."""
    images = tasks * min(IMAGES_PER_TASK, shape.ways * shape.queries)
    for layer in pruned_layers(network):
        inputs = layer.inputs * layer.kernel**2
        samples = images * (network.ways if statistics == "weighted" else layer.positions)
        if samples <= inputs:
            warnings.warn(
                f"{samples} samples are fewer than the {inputs} inputs of {layer.name}, so their moments say little: "
                "take more tasks",
                stacklevel=4,
            )
            return
