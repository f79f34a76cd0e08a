"""What a device program is made for: the sizes of its data, the estimator of advantages, the passes over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metarl.policies.advantages import BaselineFeatures
from metarl.policies.device.network import DeviceLayer
from metarl.policies.networks.network import layer_of

FEATURE_ROWS = 10  # time steps whose features are in memory at a time


@dataclass(frozen=True)
class Workload:
    """The sizes that a program is made for.

    Attributes:
        episode: The time steps of the longest episode.
        chunk: The time steps in work at a time; a whole episode if it is no longer than that.
        alone: Whether one block is all there is. Then the gradients of a layer are applied as soon as they are known.
        rows: The rows of a product that are computed at a time where it replaces a factor in memory.
        feature_rows: The time steps whose features for the baseline are in memory at a time.
        kept: The channels that attention keeps of a layer's input, by layer: of one episode at most, and of all
            episodes together. A layer that is missing keeps none yet.
        fixed: Whether there is never room for more of them: then their memory, too, is shared with other buffers.
    """

    episode: int
    chunk: int
    alone: bool = False
    rows: int = 1
    feature_rows: int = FEATURE_ROWS
    kept: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    fixed: bool = False


@dataclass(frozen=True)
class Estimator:
    """How advantages follow from rewards: gamma and lambda, and the features of the linear baseline."""

    discount: float
    gae_lambda: float
    features: BaselineFeatures = "full"


@dataclass(frozen=True)
class Window:
    """The gradients that are added up in one pass over the episodes.

    Attributes:
        inputs: The first input and the number of inputs of each layer whose weights are among them, by layer.
        vectors: The names of the biases, and log standard deviations, among them.
        whole: Whether all gradients are; then the inputs that attention drops take no memory.
    """

    inputs: Mapping[str, tuple[int, int]]
    vectors: frozenset[str]
    whole: bool = False

    def has(self, layer: str) -> bool:
        """Return whether there are gradients of the layer among them."""
        return layer in self.inputs or any(layer_of(name) == layer for name in self.vectors)


def whole_window(layers: Sequence[DeviceLayer]) -> Window:
    """Return the window of all gradients of the layers that a step updates."""
    updated = [layer for layer in layers if layer.updated]
    names = {name for layer in updated for name in layer.changed}
    inputs = {layer.name: (0, layer.stated.inputs) for layer in updated if f"{layer.name}.weight" in names}
    return Window(inputs, frozenset(names - {f"{layer.name}.weight" for layer in updated}), whole=True)
