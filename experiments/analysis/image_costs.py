"""Take an image network's inner steps on a few tasks: which channels they keep, and how much memory they take.

Which channels attention keeps depends on the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from metarl.core.randomness import Purpose, generator
from metarl.core.text import plural
from metarl.cost.memory import Workload
from metarl.experiments.analysis.adaptable import TASKS, KeptShares, TakenStep, adapted_layers, mean_shares
from metarl.images.batch import ImageBatch, accumulated_step
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import initial_state
from metarl.images.tasks import ImageTask
from metarl.images.training import best_classifier
from metarl.inner_loop import as_leaves, inner_step
from metarl.kept_channels import kept_shares
from metarl.policies.classifier import Classifier
from metarl.policies.device.meter import Meter
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import get_method
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.sizes import WORD_BYTES, check_bytes, network_bytes


def untrained(backbone: str, method: str, side: int = 84, ways: int = 5, shots: int = 1) -> Classifier:
    """Return the classifier that a meta-training with otherwise default settings starts from.

    Args:
        backbone: The network's kind.
        method: The meta-learning method.
        side: Width and height of the images.
        ways: Classes to tell apart.
        shots: Images of each class to adapt to.

    Returns:
        The classifier. Refusal names a method or a size that there is not.
    """
    settings = ImageSettings(Path(), backbone, method, ways=ways, shots=shots, side=side)
    network = build_network(settings)
    return best_classifier(network, settings, initial_state(network, settings))


def image_workload(classifier: Classifier, images_at_once: int = 1) -> Workload:
    """Return one inner step's data, the support set: images are episodes of one observation."""
    return Workload(horizon=1, episodes=classifier.network.ways * classifier.metadata.shots, chunk=images_at_once)


def take_image_steps(
    classifier: Classifier, tasks: Sequence[ImageTask], images_at_once: int = 1
) -> tuple[TakenStep, ...]:
    """Take all inner steps on the support sets of the tasks and return the shares that they keep.

    The shares are those on a device that takes ``images_at_once`` images at a time. Memory is not measured (see
    ``measured_peak``). Raise Refusal if the classifier lacks what its adaptation needs.
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
    """Return the most bytes that are alive while all inner steps are taken as on a device.

    Raise Refusal if the network cannot be adapted on a device.
    """
    meter = Meter()
    classifier.adapt(support.images.numpy(), support.labels.numpy(), images_at_once, meter)
    return meter.peak


def random_tasks(network: ImageNetwork, shots: int, seed: int, count: int = TASKS) -> list[ImageTask]:
    """Return tasks of uniform noise between -1 and 1, with one query for each class.

    Args:
        network: The network, which says how many classes and how large images.
        shots: Images of each class to adapt to.
        seed: Seed of the noise.
        count: Number of tasks.

    Returns:
        The tasks.
    """
    random = generator(seed, Purpose.ADAPTATION)
    images = count * network.ways * (shots + 1)
    check_bytes(f"{plural(images, 'random image')}", images * WORD_BYTES * network.layers[0].input_words)

    def batch(each: int) -> ImageBatch:
        images = random.uniform(-1, 1, (network.ways * each, 3, network.side, network.side)).astype(np.float32)
        return ImageBatch(torch.from_numpy(images), torch.arange(network.ways).repeat_interleave(each))

    return [ImageTask(batch(shots), batch(1)) for _ in range(count)]
