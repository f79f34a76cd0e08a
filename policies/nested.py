"""A controller of several sparse subnets in one table: run the one that the battery allows (DRESS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.core.errors import Refusal
from metarl.core.text import facts_as_html, facts_as_text
from metarl.policies.classifier import Classifier
from metarl.policies.compression.nested import Table, masked_subnet
from metarl.policies.controller import Controller
from metarl.policies.files.metadata import ClassifierMetadata, ControllerMetadata
from metarl.policies.files.nested_file import is_nested, read_nested, write_nested
from metarl.policies.files.pretrained import find_controller
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.normalization import normalize


@dataclass(frozen=True, eq=False)
class Subnet:
    """One subnet of a nested controller: views of its tables, and the parameters that it has of its own."""

    number: int  # from 1, the densest
    tables: Mapping[str, Table]
    own: Parameters
    shared: Parameters
    network: Any
    metadata: ControllerMetadata | ClassifierMetadata

    @property
    def macs(self) -> int:
        """The multiplications of an action or of an image."""
        positions = {f"{layer.name}.weight": layer.positions for layer in self.network.layers}
        return sum(table.values.numel() * positions[name] for name, table in self.tables.items())

    @property
    def table_bytes(self) -> int:
        """The bytes that a device reads to run it: values, packed columns, and its own parameters."""
        bits = sum(table.values.numel() * (32 + table.index_bits) for table in self.tables.values())
        return -(-bits // 8) + 4 * sum(tensor.numel() for tensor in self.own.values())

    @property
    def sparsity(self) -> float:
        """The share of the network's weights that it does not have."""
        shapes = self.network.parameter_shapes
        total = sum(int(np.prod(shapes[name])) for name in self.tables)
        return 1 - sum(table.values.numel() for table in self.tables.values()) / total

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs [sample, output] for a policy's normalized observations, from the tables."""
        for layer in self.network.layers:
            # A context changes the bias; the weight is not looked at, and stands in the table.
            bias = layer.modulated({**self.own, **self.shared, f"{layer.name}.weight": inputs})[f"{layer.name}.bias"]
            table = self.tables[f"{layer.name}.weight"]
            inputs = layer.finish(table.product(inputs, layer.outputs) + bias)
        return inputs

    def predict(self, observation: ArrayLike) -> NDArray[Any]:
        """Return a policy's most likely action [action] or [n, action] for the environment, run from the tables.

        Raise ValueError for a wrong observation, and for an image network, which runs as ``controller``.
        """
        if self.network.takes != "observations":
            raise Refusal("an image network does not run from its table: take the subnet's controller")
        array = np.asarray(observation, np.float32)
        size = self.network.observation_size
        if array.ndim not in (1, 2) or array.shape[-1] != size or not np.isfinite(array).all():
            raise Refusal(f"the observation must be finite numbers of the shape [{size}] or [n, {size}]")
        with torch.no_grad():
            seen = normalize(self.shared, torch.from_numpy(array.reshape(-1, size)))
            distribution = self.network.distribution(self.own, self.outputs(seen))
            action = distribution.most_likely().numpy().reshape(*array.shape[:-1], self.network.action_size)
        metadata = self.metadata
        assert isinstance(metadata, ControllerMetadata)
        low, high = (np.array(bound, np.float32) for bound in (metadata.action_low, metadata.action_high))
        executed = np.clip(action * np.float32(metadata.action_scale), low, high)
        actions: NDArray[Any] = self.network.distribution_type.for_environment(executed)
        return actions

    def controller(self) -> Controller | Classifier:
        """Return the subnet as a pruned controller of its own, which adapts, is evaluated and exported as any other."""
        parameters = masked_subnet(self.tables, self.own, self.shared, self.network)
        if isinstance(self.metadata, ClassifierMetadata):
            return Classifier(parameters, self.network, self.metadata)
        return Controller(parameters, self.network, self.metadata)


@dataclass(frozen=True, eq=False, repr=False)
class Nested:
    """All subnets of a controller: one table for each weight, and per subnet its biases, norms and deviations.

    ``own`` are [subnet, ...] of each parameter that a subnet has of its own, ``shared`` the other parameters.
    """

    tables: Mapping[str, Table]
    own: Parameters
    shared: Parameters
    network: Network
    metadata: ControllerMetadata | ClassifierMetadata

    def __post_init__(self) -> None:
        for number in range(1, self.count + 1):
            self.subnet(number).controller()  # checks names, shapes and numbers

    @property
    def count(self) -> int:
        """How many subnets there are."""
        return len(next(iter(self.tables.values())).counts)

    def __repr__(self) -> str:
        return facts_as_text("Nested", self._facts())

    def _repr_html_(self) -> str:
        return facts_as_html("Nested", self._facts())

    def _facts(self) -> dict[str, str]:
        sparsities = (self.subnet(number).sparsity for number in range(1, self.count + 1))
        return {"method": self.metadata.method, "sparsities": ", ".join(f"{each:.3g}" for each in sparsities)}

    def subnet(self, number: int) -> Subnet:
        """Return a subnet, 1 the densest, without copying a number; raise Refusal if there is none of that number."""
        if not 1 <= number <= self.count:
            raise Refusal(f"the subnets are 1, the densest, to {self.count}, got {number}")
        tables = {name: table.subnet(number) for name, table in self.tables.items()}
        own = {name: tensor[number - 1] for name, tensor in self.own.items()}
        return Subnet(number, tables, own, self.shared, self.network, self.metadata)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the file in one stroke; raise ValueError as ``Controller.save`` does."""
        write_nested(path, self.metadata, self.network, (self.tables, self.own, self.shared), overwrite)


def nested_in(path: str | Path) -> Nested | None:
    """Return all subnets of a file, or None if it holds one controller; raise ValueError if it is damaged."""
    try:
        nested = is_nested(find_controller(path))
    except ValueError as error:
        raise Refusal(f"{path}: {error}") from None
    return load_nested(path) if nested else None


def load_nested(path: str | Path) -> Nested:
    """Return all subnets of a file, found as by ``metarl.load``; raise ValueError if it holds none or is damaged."""
    try:
        return Nested(*_parts(find_controller(path)))
    except ValueError as error:
        raise Refusal(f"{path}: {error}") from None


def _parts(path: Path) -> tuple[Mapping[str, Table], Parameters, Parameters, Any, Any]:
    metadata, network, (tables, own, shared) = read_nested(path)
    return tables, own, shared, network, metadata
