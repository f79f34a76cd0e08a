"""What the search for bases carries from one iteration to the next, and the steps that move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.adam import adam_step
from metarl.compression.bases.coordinates import Rank, without_cheapest
from metarl.compression.bases.moments import Moments, model_of, no_moments, transported
from metarl.compression.bases.steps import basis_step, coordinate_step
from metarl.policies.compression.bases import Bases, as_parameters, average_bits, grouped
from metarl.policies.networks.network import Parameters


class Grouping(NamedTuple):
    """The shape of a weight, and that of its groups."""

    shape: tuple[int, ...]
    groups: tuple[int, ...]


Groups = Mapping[str, Grouping]  # by the weight's name


@dataclass(frozen=True)
class State:
    """The bases of the weights by their names, the parameters in floats, and the moments of both.

    Of ``shadows`` there are none but for the straight-through estimator: the float weights [group, number] that its
    bases are made from. ``of_alphas`` are the moments of coordinates, while these are what moves.
    """

    floats: Parameters  # all other parameters
    bases: dict[str, Bases]
    moments: dict[str, Moments]
    adam: Parameters
    of_alphas: dict[str, Moments] = field(default_factory=dict)
    shadows: dict[str, Tensor] = field(default_factory=dict)

    @property
    def bits(self) -> float:
        """The bits of a weight, averaged over all that have bases."""
        return average_bits(list(self.bases.values()))

    @property
    def signs(self) -> int:
        """The signs of all bases."""
        return sum(each.coordinates * each.size for each in self.bases.values())

    def parameters(self, groups: Groups) -> Parameters:
        """Return the parameters of the policy, codes and coordinates among them."""
        parameters = dict(self.floats)
        for name, bases in self.bases.items():
            parameters |= as_parameters(name, bases, *groups[name])
        return parameters


def begun(floats: Parameters, bases: dict[str, Bases], adam: Parameters) -> State:
    """Return the state before the first gradient."""
    return State(floats, bases, {name: no_moments(each.codes[..., 0]) for name, each in bases.items()}, adam)


def noted(state: State, gradients: Parameters, groups: Groups) -> State:
    """Return the state with the moments that follow from the gradients of weights, and of coordinates if they move."""
    moments, of_alphas = dict(state.moments), dict(state.of_alphas)
    for name, bases in state.bases.items():
        gradient = grouped(gradients[name], groups[name].groups)
        moments[name] = moments[name].after(gradient)
        if name in of_alphas:
            of_alphas[name] = of_alphas[name].after(bases.along(gradient))
    return replace(state, moments=moments, of_alphas=of_alphas)


def with_coordinate_moments(state: State) -> State:
    """Return the state with moments of coordinates that follow from those of weights, since codes have changed."""
    moved = {name: transported(state.moments[name], bases) for name, bases in state.bases.items()}
    return replace(state, of_alphas=moved)


def bases_moved(state: State, rate: float) -> State:
    """Return the state after a step on bases; float weights behind them take AMSGrad's step."""
    bases, shadows = {}, {}
    for name, each in state.bases.items():
        model, shadow = model_of(state.moments[name], rate), state.shadows.get(name)
        bases[name] = basis_step(each, model, shadow)
        if shadow is not None:
            shadows[name] = shadow + model.step
    return replace(state, bases=bases, shadows=shadows, of_alphas={})


def coordinates_moved(state: State, rate: float) -> State:
    """Return the state after a step on coordinates; where a basis changes sign, so does the moment of its gradient."""
    bases, of_alphas = {}, {}
    for name, each in state.bases.items():
        moments = state.of_alphas[name]
        bases[name] = coordinate_step(each, model_of(moments, rate))
        turned = torch.where(bases[name].codes[:, 0] == each.codes[:, 0], 1.0, -1.0)
        of_alphas[name] = replace(moments, first=moments.first * turned)
    return replace(state, bases=bases, of_alphas=of_alphas)


def coordinates_removed(state: State, rate: float, signs: int, rank: Rank, last: bool) -> State:
    """Return the state after removing coordinates, see ``without_cheapest``."""
    models = {name: model_of(moments, rate) for name, moments in state.of_alphas.items()}
    return replace(state, bases=without_cheapest(state.bases, models, signs, rank, last))


def floats_moved(state: State, gradients: Parameters, rate: float) -> State:
    """Return the state after a step of Adam on the parameters in floats that have gradients."""
    own = {name: each for name, each in gradients.items() if name not in state.bases}
    if not own:
        return state
    moved, adam = adam_step(state.floats, own, state.adam, rate)
    return replace(state, floats=state.floats | moved, adam=adam)
