"""How the meta-training on images starts: its images, its parameters, and what it trains on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from metarl.adam import initial_moments
from metarl.core.randomness import Purpose, generator
from metarl.envs.images.episodes import EpisodeShape, episode_shape
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.images.settings import ImageSettings
from metarl.policies.classifier import Classifier
from metarl.policies.methods import STEP_SIZES, get_method, initial_meta_parameters, trained_names, without_context
from metarl.policies.networks.network import ImageNetwork
from metarl.runs.state import TrainingState, check_start, with_parameters


@dataclass(frozen=True)
class ImageData:
    """The splits that a meta-training needs, and the tasks that are drawn from each."""

    training: ImageSet
    training_shape: EpisodeShape
    validation: ImageSet
    validation_shape: EpisodeShape


def load_data(settings: ImageSettings, progress: Progress | None = None) -> ImageData:
    """Load the splits train and val; Refusal if they do not exist or are too small for the tasks asked for."""
    sets, shapes = [], []
    for split in ("train", "val"):
        images = load_images(settings.data, split, settings.side, progress=progress)
        sets.append(images)
        shapes.append(episode_shape(images, settings.ways, settings.shots, settings.queries))
    return ImageData(sets[0], shapes[0], sets[1], shapes[1])


def initial_state(network: ImageNetwork, settings: ImageSettings) -> TrainingState:
    """Return the state before the first iteration; ``best_score`` is the best accuracy of the validation."""
    method = get_method(settings.method)
    seed = int(generator(settings.seed, Purpose.PARAMETERS).integers(2**31))
    random = torch.Generator().manual_seed(seed)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        method, network.layers, settings.inner_steps, settings.step_size, random
    )
    by_adam = trained_names(method, parameters) if method.outer == "gradient" else ()
    moments = initial_moments({name: parameters[name] for name in by_adam})
    return TrainingState(0, parameters, moments, parameters, -math.inf, 0)


def start_from(init: Classifier, state: TrainingState, network: ImageNetwork, settings: ImageSettings) -> TrainingState:
    """Return the state before the first iteration with the parameters of a classifier.

    Args:
        init: The classifier to start from.
        state: The state to start from without it.
        network: The network of the training.
        settings: The settings of the training.

    Returns:
        The state. Refusal names what of the classifier is not as the settings ask for.
    """
    given = {"network": (init.network, network), "inner steps": (init.metadata.inner_steps, settings.inner_steps)}
    check_start("classifier", given)
    fixed = get_method(settings.method).step_sizes == "fixed"
    parameters = without_context(init.parameters) | ({STEP_SIZES: state.parameters[STEP_SIZES]} if fixed else {})
    return with_parameters(state, parameters, init.metadata.method, settings.method)


def describe(images: ImageSet) -> dict[str, Any]:
    """Return the classes of a split, how many images each has, and a digest of the first image of each."""
    firsts = np.unique(images.labels, return_index=True)[1]
    digest = sha256(b"".join(images.pixels[first].tobytes() for first in firsts)).hexdigest()
    return {"classes": list(images.classes), "images": images.counts.tolist(), "digest": digest}
