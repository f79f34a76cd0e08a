"""The settings of a meta-training on few-shot images, and their checks."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from metarl.core.errors import Refusal
from metarl.core.settings import AtLeastOne, NotNegative, Positive, Share, Threads, check_settings
from metarl.core.threads import available_threads
from metarl.policies.methods import check_context, get_method, meta_parameter_shapes
from metarl.policies.networks.kinds import Norm
from metarl.policies.networks.layers import Pooling
from metarl.policies.networks.network import ImageNetwork
from metarl.policies.networks.registry import NETWORKS, backbones
from metarl.policies.networks.sizes import check_size
from metarl.reptile import check_outer_loop


@dataclass(frozen=True)
class ImageSettings:
    """Everything that a meta-training depends on; the defaults are those of p-Meta, Sec. 4.2.

    Refusal names a value that has a wrong type or is out of its limits.
    """

    data: Path
    """Folder of the images: SPLIT/CLASS/*.png or *.jpg, or miniImageNet, tieredImageNet or CUB as distributed."""
    backbone: str = "conv4"
    """Network: conv4 or resnet12."""
    method: str = "maml"
    """Meta-learning method: which layers the inner loop updates and where its step sizes come from."""
    ways: Annotated[AtLeastOne, Field(ge=2)] = 5
    """Classes in a task."""
    shots: AtLeastOne = 1
    """Images of each class in the support set."""
    queries: AtLeastOne = 15
    """Images of each class in the query set; fewer where a class has not as many."""
    side: Annotated[AtLeastOne, Field(ge=16)] = 84
    """Width and height that images are brought to."""
    norm: Norm = "group"
    """Normalization in the network."""
    pooling: Pooling = "max"
    """Pooling in the network; resnet12 has max alone."""
    epochs: AtLeastOne = 100
    """Epochs; the validation follows each."""
    tasks_per_epoch: AtLeastOne = 1000
    """Tasks in an epoch, a multiple of the meta-batch size."""
    meta_batch_size: AtLeastOne | None = None
    """Tasks in a meta-batch; 4 if left out, but 2 for resnet12 with 5 shots or more."""
    validation_tasks: AtLeastOne = 300
    """Tasks of the validation, the same after each epoch."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random number of the run."""
    inner_steps: AtLeastOne = 5
    """Inner steps K, all on the same support set."""
    step_size: Positive = 0.01
    """Inner step size alpha; where the method learns step sizes, their start."""
    learning_rate: Positive = 0.001
    """Learning rate of Adam at the start; it follows a cosine to zero."""
    context_size: AtLeastOne = 100
    """Context parameters that a norm takes with cavia, which adapts nothing else."""
    lasso: NotNegative = 3.0
    """Lambda of p-Meta, eq. 9: the loss of a step size of 1 in the layer whose input is largest, where step sizes
    are to be sparse."""
    first_order: bool = False
    """Ignore how the inner gradient changes with the parameters."""
    outer_lr: Share = 1.0
    """Share of the way to the mean of the adapted parameters that reptile's first outer step goes; it falls linearly to
    zero."""
    weight_clustering: NotNegative = 0.0
    """How strongly reptile's tasks are pulled towards their mean in all inner steps but the first."""
    threads: Threads = field(default_factory=available_threads)
    """Threads, each with a task of its own."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not get_method(self.method).adapts:
            raise Refusal(f"setting 'method' must be one that adapts, and {self.method} is a reference for policies")
        if self.backbone not in backbones():
            raise Refusal(f"setting 'backbone' must be one of {', '.join(backbones())}, got '{self.backbone}'")
        if self.pooling != "max" and not any(field.name == "pooling" for field in fields(NETWORKS[self.backbone])):
            raise Refusal(f"setting 'pooling' must be 'max' for {self.backbone}, got '{self.pooling}'")
        if self.tasks_per_epoch % self.tasks_per_iteration:
            raise Refusal(
                f"setting 'tasks_per_epoch' must be a multiple of the meta-batch size, {self.tasks_per_iteration}, "
                f"got {self.tasks_per_epoch}"
            )
        check_outer_loop(self.method, self.inner_steps, self.weight_clustering, self.tasks_per_iteration)
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


# A context bears larger steps than weights do (CAVIA, miniImageNet).
METHOD_PRESETS: dict[str, dict[str, Any]] = {"cavia": {"step_size": 1.0}}


def build_network(settings: ImageSettings) -> ImageNetwork:
    """Return the network that the settings name; raise Refusal if it is too large."""
    network_class = NETWORKS[settings.backbone]
    method = get_method(settings.method)
    stated = {"side": settings.side, "ways": settings.ways, "norm": settings.norm, "pooling": settings.pooling}
    if method.takes_context:
        stated["context_size"] = settings.context_size
    taken = {field.name for field in fields(network_class)}
    network: ImageNetwork = network_class(**{name: value for name, value in stated.items() if name in taken})
    check_context(method, network.layers)
    check_size(network, meta_parameter_shapes(method, network.layers, settings.inner_steps))
    return network
