"""Find binary bases of a policy's weights by its loss (ALQ, ch. 2 of Qu's thesis): sketch, then rounds of removal.

Each round removes the coordinates that the model of the loss says to be the cheapest, over an epoch of mini-batches,
and trains bases, then coordinates. Biases, deviations and layers in floats take steps of Adam all the while, but during
removals, when nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from metarl.adam import initial_moments
from metarl.compression.bases.losses import Losses, losses_for
from metarl.compression.bases.settings import BasisSettings
from metarl.compression.bases.sketching import sketched
from metarl.compression.bases.state import (
    Grouping,
    Groups,
    State,
    bases_moved,
    begun,
    coordinates_moved,
    coordinates_removed,
    floats_moved,
    noted,
    with_coordinate_moments,
)
from metarl.core.errors import Refusal
from metarl.core.numerics import require_finite
from metarl.envs.family import TaskFamily
from metarl.policies.classifier import Classifier
from metarl.policies.compression.bases import coded_names, group_shape, grouped, layer_bits
from metarl.policies.compression.masks import masks_of, weight_names
from metarl.policies.compression.nested import own_names
from metarl.policies.controller import Controller
from metarl.policies.files.checks import check_adaptable
from metarl.policies.methods import STEP_SIZES, get_method
from metarl.policies.networks.integers import IntegerMLP
from metarl.policies.networks.network import Parameters

DECAY, FINAL_DECAY, FINAL_SHARE = 0.8, 0.98, 0.1  # of the learning rate by epoch, and where the last epochs begin


@dataclass(frozen=True)
class Stage:
    """What a part of the search led to."""

    name: str
    bits: float
    score: float  # minus the divergence, or the return after adaptation


def require_codable(controller: Controller | Classifier, settings: BasisSettings) -> Controller:
    """Return a controller as it is; raise Refusal unless its weights can have bases and what it adapts can be stored.

    Args:
        controller: The controller.
        settings: Its groups, and the layers that stay in floats.
    """
    if isinstance(controller, Classifier):
        raise Refusal("bases are for policies: an image network's inner step does not move coordinates on a device")
    network, parameters = controller.network, controller.parameters
    if isinstance(network, IntegerMLP) or masks_of(parameters) or coded_names(parameters):
        what = "int8" if isinstance(network, IntegerMLP) else "pruned" if masks_of(parameters) else "binary bases"
        raise Refusal(f"the controller is compressed already ({what}): start from the one that it came from")
    if controller.metadata.adapted_to is not None:
        raise Refusal("the controller is adapted to a task: start from the meta-trained one that it came from")
    method = get_method(controller.metadata.method)
    if method.takes_context:
        raise Refusal(f"{method.name} adapts a context and no coordinates: take a method that adapts layers")
    check_adaptable(parameters, network, method, on_device=True)
    for layer in settings.float_layers:
        if layer not in network.layer_names:
            raise Refusal(f"there is no layer '{layer}': the layers are {', '.join(network.layer_names)}")
    if not groups_of(controller, settings):
        raise Refusal("all layers stay in floats: leave one out of --float-layers")
    return controller


def groups_of(controller: Controller, settings: BasisSettings) -> dict[str, Grouping]:
    """Return the groups of each weight that gets bases; raise Refusal if they do not divide it."""
    network, stay = controller.network, {f"{layer}.weight" for layer in settings.float_layers}
    shapes = {name: network.parameter_shapes[name] for name in weight_names(network) if name not in stay}
    return {name: Grouping(shape, group_shape(shape, settings.group, name)) for name, shape in shapes.items()}


def find_bases(
    controller: Controller,
    family: TaskFamily,
    settings: BasisSettings | None = None,
    threads: int = 1,
    on_stage: Callable[[Stage], None] = lambda done: None,
) -> Controller:
    """Return the controller with binary bases in place of weights, which adapts their coordinates.

    Args:
        controller: A meta-trained controller with float32 weights, none of them pruned.
        family: Its task family, as the controller sees it.
        settings: How bases are found.
        threads: Threads of the simulator and of the training.
        on_stage: Is told what each part of the search led to.

    Raises:
        Refusal: If the controller is compressed or adapted already, if bases cannot hold what it adapts, or if the
            target lies above what the weights start with.
    """
    settings = settings or BasisSettings()
    require_codable(controller, settings)
    groups = groups_of(controller, settings)
    state = sketch(controller, groups, settings)
    if settings.scheme == "adaptive" and settings.bits > state.bits:
        begins = f"{state.bits:.3g} that the weights start with"
        raise Refusal(f"the target of {settings.bits:g} bits lies above the {begins}")
    with losses_for(controller, family, settings, threads) as losses:
        search = Search(controller, groups, settings, losses, on_stage)
        parameters = search.run(state)
    record: dict[str, Any] = asdict(settings) | {"layer_bits": layer_bits(parameters)}
    metadata = replace(controller.metadata, training=controller.metadata.training | {"bases": record})
    return replace(controller, parameters=parameters, metadata=metadata)


def sketch(controller: Controller, groups: Groups, settings: BasisSettings) -> State:
    """Return the state before the search: bases that reconstruct the weights."""
    given = {name: tensor.detach().clone() for name, tensor in controller.parameters.items()}
    floats = {name: tensor for name, tensor in given.items() if name not in groups}
    most = settings.start if settings.scheme == "adaptive" else int(settings.bits)
    numbers = {name: grouped(given[name], each.groups) for name, each in groups.items()}
    bases = {name: sketched(each, most) for name, each in numbers.items()}
    state = begun(floats, bases, initial_moments({name: floats[name] for name in float_names(controller, groups)}))
    return replace(state, shadows=numbers) if settings.scheme == "straight-through" else state


def float_names(controller: Controller, groups: Groups) -> tuple[str, ...]:
    """Return the parameters that Adam trains: biases, norms, deviations, and weights without bases."""
    weights = {name for name in weight_names(controller.network) if name not in groups}
    return tuple(sorted({*own_names(controller.network), *weights}))


@dataclass
class Search:
    """The course of the search."""

    controller: Controller
    groups: Groups
    settings: BasisSettings
    losses: Losses
    on_stage: Callable[[Stage], None]
    iteration: int = 0

    def run(self, state: State) -> Parameters:
        """Return the best parameters at the target, of those after the last epochs."""
        settings, rate = self.settings, self.settings.learning_rate
        self.tell("sketch", state)
        if settings.scheme == "reconstruction":
            return self.parameters(state)
        for number in range(settings.rounds + 1):
            if number and settings.scheme == "adaptive":
                state = self.removed(state, number)
            for epoch in range(settings.bases_epochs):
                state = self.trained_bases(state, rate * DECAY**epoch)
            for epoch in range(settings.coordinate_epochs if number else 0):
                state = self.trained_coordinates(state, rate * DECAY ** (settings.bases_epochs + epoch))
            self.tell(f"round {number} of {settings.rounds}" if number else "first epochs", state)
        best, best_score = self.parameters(state), self.losses.score(self.parameters(state))
        for epoch in range(settings.final_epochs):
            state = self.trained_bases(state, FINAL_SHARE * rate * FINAL_DECAY**epoch)
            score = self.losses.score(self.parameters(state))
            if score > best_score:
                best, best_score = self.parameters(state), score
        self.tell("last epochs", state)
        return best

    def parameters(self, state: State) -> Parameters:
        """Return the policy's parameters, with the step sizes of coded layers over their average bits.

        A step on I coordinates goes about I times as far down the loss as one on the weights: I signs that have nothing
        to do with a gradient d give |B^T d|^2 = I |d|^2 in the mean.
        """
        parameters = state.parameters(self.groups)
        sizes = parameters[STEP_SIZES].clone()
        names = list(self.controller.network.layer_names)
        for layer, bits in layer_bits(parameters).items():
            sizes[:, names.index(layer)] /= max(bits, 1.0)
        return parameters | {STEP_SIZES: sizes}

    def gradients(self, state: State) -> Parameters:
        """Return the gradients of the next iteration's loss by coded weights and by what Adam trains."""
        own = float_names(self.controller, self.groups) if self.settings.float_rate else ()
        names = (*sorted(state.bases), *own)
        gradients = self.losses.gradients(self.parameters(state), names, self.iteration)
        for gradient in gradients.values():
            require_finite("the gradient of the bases is", gradient)
        self.iteration += 1
        return gradients

    def trained_bases(self, state: State, rate: float) -> State:
        """Return the state after an epoch on bases."""
        for _ in range(self.settings.iterations):
            gradients = self.gradients(state)
            state = bases_moved(noted(state, gradients, self.groups), rate)
            state = floats_moved(state, gradients, rate * self.settings.float_rate / self.settings.learning_rate)
        return state

    def trained_coordinates(self, state: State, rate: float) -> State:
        """Return the state after an epoch on coordinates, whose moments follow from those of the weights."""
        state = with_coordinate_moments(state)
        for _ in range(self.settings.iterations):
            gradients = self.gradients(state)
            state = coordinates_moved(noted(state, gradients, self.groups), rate)
            state = floats_moved(state, gradients, rate * self.settings.float_rate / self.settings.learning_rate)
        return state

    def removed(self, state: State, number: int) -> State:
        """Return the state after an epoch that removes coordinates: in all rounds the same share of what is left."""
        settings, state = self.settings, with_coordinate_moments(state)
        numbers = state.signs / state.bits
        keep = (settings.bits / state.bits) ** (1 / (settings.rounds - number + 1))
        begin, end = state.signs, int(numbers * state.bits * keep + 1e-6)
        for iteration in range(1, settings.iterations + 1):
            state = noted(state, self.gradients(state), self.groups)
            budget = begin - round((begin - end) * iteration / settings.iterations)
            last = iteration == settings.iterations
            state = coordinates_removed(state, settings.removal_rate, budget, settings.rank, last)
        self.tell(f"removal {number} of {settings.rounds}", state)
        return state

    def tell(self, name: str, state: State) -> None:
        """Report a part of the search."""
        self.on_stage(Stage(name, state.bits, self.losses.score(self.parameters(state))))
