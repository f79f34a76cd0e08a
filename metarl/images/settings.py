"""The settings of a meta-training on few-shot images, and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.policies.methods import get_method, meta_parameter_shapes
from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Pooling
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.registry import NETWORKS, backbones
from metarl.policies.networks.sizes import check_size


@dataclass(frozen=True)
class ImageSettings:
    """Everything that a meta-training depends on; defaults are those of p-Meta, Sec. 4.2. ValueError if impossible."""

    data: Path
    """Folder of the images: SPLIT/CLASS/*.png or *.jpg, or miniImageNet, tieredImageNet or CUB as they come."""
    backbone: str = "conv4"
    """Network: conv4 or resnet12."""
    method: str = "maml"
    """Meta-learning method: which layers the inner loop updates and where its step sizes come from."""
    ways: int = 5
    """Classes in a task."""
    shots: int = 1
    """Images of each class in the support set."""
    queries: int = 15
    """Images of each class in the query set; fewer where a class has not as many."""
    side: int = 84
    """Width and height that images are brought to."""
    norm: Norm = "group"
    """Normalisation in the network."""
    pooling: Pooling = "max"
    """Pooling in the network; resnet12 has max alone."""
    epochs: int = 100
    """Epochs; the validation follows each."""
    tasks_per_epoch: int = 1000
    """Tasks in an epoch, a multiple of the meta-batch size."""
    meta_batch_size: int | None = None
    """Tasks in a meta-batch; 4 if left out, but 2 for resnet12 with 5 shots or more."""
    validation_tasks: int = 300
    """Tasks of the validation, the same after each epoch."""
    seed: int = 0
    """Seed of every random number of the run."""
    inner_steps: int = 5
    """Inner steps K, all on the same support set."""
    step_size: float = 0.01
    """Inner step size alpha; where the method learns step sizes, their start."""
    learning_rate: float = 0.001
    """Learning rate of Adam at the start; it follows a cosine to zero."""
    lasso: float = 3.0
    """Lambda of p-Meta, eq. 9: the loss of a step size of 1 in the layer whose input is largest, if step sizes shall be
    sparse."""
    first_order: bool = False
    """Ignore how the inner gradient changes with the parameters."""
    threads: int = field(default_factory=available_threads)
    """Threads, each with a task of its own."""

    def __post_init__(self) -> None:
        get_method(self.method)
        for name in COUNTS:
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("ways", self.ways, self.ways >= 2, "at least 2")
        _require("side", self.side, self.side >= 16, "at least 16")
        _require("seed", self.seed, self.seed >= 0, "at least 0")
        for name, choices in CHOICES.items():
            _require(name, getattr(self, name), getattr(self, name) in choices, f"one of {', '.join(choices)}")
        _require("backbone", self.backbone, self.backbone in backbones(), f"one of {', '.join(backbones())}")
        pools = any(field.name == "pooling" for field in fields(NETWORKS[self.backbone]))
        _require("pooling", self.pooling, self.pooling == "max" or pools, f"max for {self.backbone}")
        for name in ("step_size", "learning_rate"):
            value = getattr(self, name)
            _require(name, value, math.isfinite(value) and value > 0, "a number above 0")
        _require("lasso", self.lasso, math.isfinite(self.lasso) and self.lasso >= 0, "a number of at least 0")
        _require("meta_batch_size", self.meta_batch_size, self.tasks_per_iteration >= 1, "at least 1")
        whole = self.tasks_per_epoch % self.tasks_per_iteration == 0
        _require(
            "tasks_per_epoch",
            self.tasks_per_epoch,
            whole,
            f"a multiple of the meta-batch size, {self.tasks_per_iteration}",
        )
        build_network(self)  # refuses a size that is too large, before any image is read

    @property
    def tasks_per_iteration(self) -> int:
        """Tasks in a meta-batch."""
        if self.meta_batch_size is not None:
            return self.meta_batch_size
        return 2 if self.backbone == "resnet12" and self.shots >= 5 else 4

    @property
    def iterations_per_epoch(self) -> int:
        """Meta-batches in an epoch."""
        return self.tasks_per_epoch // self.tasks_per_iteration

    @property
    def iterations(self) -> int:
        """Meta-batches of the whole training."""
        return self.epochs * self.iterations_per_epoch


COUNTS = ("shots", "queries", "epochs", "tasks_per_epoch", "validation_tasks", "inner_steps", "threads")
CHOICES = {"norm": ("group", "batch"), "pooling": ("max", "average")}


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise Refusal(f"setting '{name}' must be {allowed}, got {value}")


def build_network(settings: ImageSettings) -> ImageNetwork:
    """Return the network that the settings name; raise Refusal if it is too large."""
    network_class = NETWORKS[settings.backbone]
    stated = {"side": settings.side, "ways": settings.ways, "norm": settings.norm, "pooling": settings.pooling}
    taken = {field.name for field in fields(network_class)}
    network: ImageNetwork = network_class(**{name: value for name, value in stated.items() if name in taken})
    check_size(network, meta_parameter_shapes(get_method(settings.method), network.layers, settings.inner_steps))
    return network
