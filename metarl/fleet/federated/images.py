"""Clients that hold images of a folder's classes, and tell these classes apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.intervals import Interval, interval_over_tasks
from metarl.core.randomness import Purpose, generator
from metarl.core.settings import AtLeastOne, Positive, Share, check_settings
from metarl.core.version import __version__
from metarl.envs.images.episodes import normalize
from metarl.envs.images.image_set import ImageSet, Progress, load_images
from metarl.fleet.federated.client import LocalGradient
from metarl.fleet.federated.layerwise import layerwise_gradients, layerwise_outputs
from metarl.fleet.federated.settings import FLOAT, FederationSettings, population_random
from metarl.fleet.federated.weights import ClientWeights, held, layout_of
from metarl.images.settings import ImageSettings, build_network
from metarl.images.start import describe, initial_state
from metarl.losses import cross_entropy
from metarl.policies.classifier import Classifier
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.networks.network import ImageNetwork, Parameters

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ImageClientSettings:
    """What clients hold and compute; Refusal names a value that has a wrong type or is out of its limits."""

    data: Path
    """Folder of the images, as of metarl train images; federated are the classes of one split."""
    split: Literal["train", "val", "test"] = "train"
    """Which split's classes."""
    backbone: str = "conv4"
    """Network: conv4 or resnet12."""
    side: Annotated[AtLeastOne, Field(ge=16)] = 16
    """Width and height that images are brought to."""
    batch: AtLeastOne = 2
    """Images of a client's step."""
    activation_bits: Literal[32, 8] = 8
    """Bits of what enters a layer whose weights are quantized."""
    test_share: Share = 0.2
    """Share of each class's images that no client has and that the accuracy is told from."""
    start_share: Share = 0.05
    """Share of each class's images that the server has, to train the start on where --init is left out."""
    start_steps: Annotated[int, Field(ge=0)] = 200
    """Steps of this training, of 16 images each."""
    start_rate: Positive = 0.05
    """Learning rate of this training."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.test_share + self.start_share >= 1:
            raise Refusal("test_share and start_share leave no image for clients: their sum must be below 1")


START_BATCH = 16
SCORED_AT_ONCE = 256


@dataclass(frozen=True)
class Split:
    """Which of a folder's images the server tests on, begins with, and each client holds."""

    tested: Indices
    begun_with: Indices
    held: tuple[Indices, ...]  # by client


def split_images(
    labels: Indices, settings: ImageClientSettings, clients: int, skew: float, random: np.random.Generator
) -> Split:
    """Deal images to the server and to the clients.

    Args:
        labels: The class of each image.
        settings: The shares of the server.
        clients: Their number.
        skew: 0 deals evenly; otherwise the shares of a class that clients get are Dirichlet numbers of that
            concentration.
        random: What is drawn from.

    Returns:
        The images of each; every client has at least one. Refusal if there are not as many.
    """
    tested: list[int] = []
    begun: list[int] = []
    left: list[Indices] = []
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        tests, begins = (max(1, round(share * len(own))) for share in (settings.test_share, settings.start_share))
        tested += own[:tests].tolist()
        begun += own[tests : tests + begins].tolist()
        left.append(own[tests + begins :])
    total = sum(map(len, left))
    if total < clients:
        raise Refusal(f"{total} images are left for clients, too few for {clients}: each holds at least one")
    if skew:
        hands = [[] for _ in range(clients)]  # type: list[list[int]]
        for own in left:
            ends = np.cumsum(random.dirichlet(np.full(clients, skew)))[:-1] * len(own)
            for hand, part in zip(hands, np.split(own, ends.round().astype(int)), strict=True):
                hand += part.tolist()
        for hand in hands:
            if not hand:
                hand.append(max(hands, key=len).pop())
    else:
        hands = [each.tolist() for each in np.array_split(random.permutation(np.concatenate(left)), clients)]
    return Split(np.array(tested), np.array(begun), tuple(np.array(hand) for hand in hands))


@dataclass(frozen=True)
class ImageClients:
    """The clients of a federation on images; ``init`` is what the server starts with, trained by itself if None."""

    settings: FederationSettings
    own: ImageClientSettings
    images: ImageSet
    init: Classifier | None = None

    def __post_init__(self) -> None:
        if self.init is not None and self.init.network != self.network:
            raise Refusal(
                f"the classifier to start from is {self.init.network}, and {self.network} is needed for the folder"
            )

    @cached_property
    def image_settings(self) -> ImageSettings:
        """The settings that a meta-training of the same network would have."""
        own = self.own
        return ImageSettings(
            own.data,
            own.backbone,
            ways=len(self.images.classes),
            side=own.side,
            inner_steps=1,
            seed=self.settings.seed,
            threads=1,
        )

    @cached_property
    def network(self) -> ImageNetwork:
        """The network."""
        return build_network(self.image_settings)

    @cached_property
    def split(self) -> Split:
        """Which images are whose."""
        random = population_random(self.settings)
        return split_images(self.images.labels, self.own, self.settings.clients, self.settings.skew, random)

    @property
    def scored(self) -> int:
        """The images that no client has."""
        return len(self.split.tested)

    @property
    def trained(self) -> tuple[str, ...]:
        """The network's own parameters: step sizes of a later adaptation stay."""
        return tuple(sorted(self.network.parameter_shapes))

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Return images and labels."""
        return torch.from_numpy(normalize(self.images.pixels[indices])), torch.from_numpy(self.images.labels[indices])

    def start(self) -> Parameters:
        """Return the parameters before the first round."""
        return self._begun

    @cached_property
    def _begun(self) -> Parameters:
        """The parameters of ``init``, or those after some steps on the server's own images, in floats."""
        if self.init is not None:
            return self.init.parameters
        parameters = initial_state(self.network, self.image_settings).parameters
        layout = layout_of(self.network, parameters, self.trained, FLOAT)
        random = generator(self.settings.seed, Purpose.TRAINING)
        for _ in range(self.own.start_steps):
            images, labels = self.batch(random.choice(self.split.begun_with, START_BATCH))
            gradients, _ = self._gradient(held(parameters, layout), images, labels, FLOAT)
            parameters |= {name: parameters[name] - self.own.start_rate * each for name, each in gradients.items()}
        return parameters

    def _gradient(self, weights: ClientWeights, images: Tensor, labels: Tensor, bits: int) -> tuple[Parameters, Tensor]:
        return layerwise_gradients(self.network, weights, images, bits, lambda logits: cross_entropy(logits, labels))

    @property
    def activation_bits(self) -> int:
        """The bits of activations; where weights are floats, activations are, too."""
        return FLOAT if self.settings.bits == FLOAT else self.own.activation_bits

    def gradient(self, client: int, weights: ClientWeights, random: np.random.Generator) -> LocalGradient:
        """Return the gradient of the cross-entropy on some of a client's images, and the share of right labels."""
        own = self.split.held[client]
        images, labels = self.batch(random.choice(own, min(self.own.batch, len(own)), replace=False))
        gradients, logits = self._gradient(weights, images, labels, self.activation_bits)
        right = float((logits.argmax(dim=1) == labels).double().mean())
        return LocalGradient(gradients, len(labels), right)

    def score(self, weights: ClientWeights) -> Interval:
        """Return the share of right labels among the images that no client has, computed as a client does.

        The scale of activations is that of a batch, so the images are scored in fixed batches.
        """
        right = []
        for start in range(0, len(self.split.tested), SCORED_AT_ONCE):
            images, labels = self.batch(self.split.tested[start : start + SCORED_AT_ONCE])
            logits = layerwise_outputs(self.network, weights, images, self.activation_bits)
            right.append((logits.argmax(dim=1) == labels).double())
        return interval_over_tasks(torch.cat(right))

    def about(self) -> dict[str, Any]:
        """Return the clients as plain JSON; their folder by its name."""
        own = asdict(self.own) | {"data": self.own.data.name}
        return {"family": "images", **own, "images": describe(self.images)["digest"], "init": self.init is not None}

    def deployed(self, weights: ClientWeights, record: dict[str, Any]) -> Classifier:
        """Return the classifier that clients hold; it adapts as one of MAML with one inner step."""
        settings = self.image_settings
        metadata = ClassifierMetadata(
            method=settings.method,
            inner_steps=settings.inner_steps,
            shots=settings.shots,
            queries=settings.queries,
            data=self.own.data.name,
            training=record | {"metarl": __version__},
        )
        if self.init is not None:
            metadata = replace(self.init.metadata, training=metadata.training, data=self.own.data.name)
        return Classifier(weights.parameters(), self.network, metadata)


def image_clients(
    settings: FederationSettings,
    own: ImageClientSettings,
    init: Classifier | None = None,
    progress: Progress | None = None,
) -> ImageClients:
    """Load a folder and return its clients; Refusal says what is wrong with it."""
    images = load_images(own.data, own.split, own.side, progress=progress)
    clients = ImageClients(settings, own, images, init)
    _ = clients.split  # refuses too many clients before anything is trained
    return clients
