"""What an image network costs on a device: from its step sizes and attention to the cost model, and its step measured.

Which channels attention keeps depends on the images, so the inner steps are really taken, on a few tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from metarl.core.randomness import Purpose, generator
from metarl.core.text import plural
from metarl.cost.memory import Workload
from metarl.cost.operations import Cost, cost
from metarl.experiments.analysis.costs import TASKS as TASKS
from metarl.experiments.analysis.costs import KeptShares, TakenStep, adapted_layers, mean_shares, step_plans
from metarl.images.batch import ImageBatch, accumulated_step
from metarl.images.settings import ImageSettings, build_network
from metarl.images.tasks import ImageTask
from metarl.images.training import best_classifier, initial_state
from metarl.inner_loop import as_leaves, inner_step
from metarl.kept_channels import kept_shares
from metarl.policies.classifier import Classifier
from metarl.policies.device.meter import Meter
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.sizes import WORD_BYTES, check_bytes, network_bytes


def untrained(backbone: str, method: str, side: int = 84, ways: int = 5, shots: int = 1) -> Classifier:
    """The classifier that a meta-training with otherwise default settings starts from.

    ValueError names a method or a size that there is not.
    """
    settings = ImageSettings(Path(), backbone, method, ways=ways, shots=shots, side=side)
    network = build_network(settings)
    return best_classifier(network, settings, initial_state(network, settings))


def image_workload(classifier: Classifier, images_at_once: int = 1) -> Workload:
    """One inner step's data, the support set: images are episodes of one observation."""
    return Workload(horizon=1, episodes=classifier.network.ways * classifier.metadata.shots, chunk=images_at_once)


def image_cost(
    classifier: Classifier, taken: Sequence[TakenStep] = (), images_at_once: int = 1, side: int | None = None
) -> Cost:
    """The cost model for the layers that each inner step updates.

    ``taken`` has the shares that attention keeps in each step; without them it counts as keeping every channel. With
    ``side`` the images count as so wide and high.
    """
    network = classifier.network if side is None else replace(classifier.network, side=side)
    return cost(network.layers, step_plans(classifier, taken), image_workload(classifier, images_at_once))


def take_image_steps(
    classifier: Classifier, tasks: Sequence[ImageTask], images_at_once: int = 1
) -> tuple[TakenStep, ...]:
    """All inner steps on the support sets of the tasks, each from the parameters of the step before.

    They tell the kept shares of every layer that a step updates, as a device finds them that takes ``images_at_once``;
    memory is not measured (see ``measured_peak``). ValueError if the classifier lacks what its adaptation needs.
    """
    network, method = classifier.network, get_method(classifier.metadata.method)
    images = network.ways * classifier.metadata.shots
    check_bytes(f"the activations of {plural(images, 'image')}", images * network_bytes(network.layers).activations)
    check_adaptable(classifier.parameters, network, method, on_device=False)
    parameters, taken = [classifier.parameters] * len(tasks), []
    for step in range(classifier.metadata.inner_steps):
        names, shares = adapted_layers(classifier, step), []
        for index, task in enumerate(tasks):
            support = task.support._replace(together=images_at_once)
            step_taken = inner_step(network, as_leaves(parameters[index]), method, step, support, second_order=False)
            kept = kept_shares(step_taken.scores)
            shares.append({name: KeptShares(*kept[name]) for name in names})
            parameters[index] = accumulated_step(network, parameters[index], method, step, support, images_at_once)
        taken.append(TakenStep(mean_shares(shares)))
    return tuple(taken)


def measured_peak(classifier: Classifier, support: ImageBatch, images_at_once: int = 1) -> int:
    """The most bytes that the adaptation on a device has alive, while it really takes all inner steps.

    ValueError if the network cannot be adapted on a device.
    """
    meter = Meter()
    classifier.adapt(support.images.numpy(), support.labels.numpy(), images_at_once, meter)
    return meter.peak


def random_tasks(network: ImageNetwork, shots: int, seed: int, count: int = TASKS) -> list[ImageTask]:
    """Tasks whose images, one query for each class, are uniform noise between -1 and 1, for want of real ones."""
    random = generator(seed, Purpose.ADAPTATION)
    images = count * network.ways * (shots + 1)
    check_bytes(f"{plural(images, 'random image')}", images * WORD_BYTES * network.layers[0].input_words)

    def batch(each: int) -> ImageBatch:
        images = random.uniform(-1, 1, (network.ways * each, 3, network.side, network.side)).astype(np.float32)
        return ImageBatch(torch.from_numpy(images), torch.arange(network.ways).repeat_interleave(each))

    return [ImageTask(batch(shots), batch(1)) for _ in range(count)]
