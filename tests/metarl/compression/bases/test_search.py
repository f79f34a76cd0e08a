"""The search for bases on a loss that is known: the squared distance of all weights from those wanted."""

from dataclasses import dataclass, replace

import pytest
import torch
from basis_problems import with_bases
from device_problems import device_controller, device_parameters

from metarl.compression.bases.search import Search, Stage, groups_of, require_codable, sketch
from metarl.compression.bases.settings import BasisSettings
from metarl.compression.bases.state import State
from metarl.core.errors import Refusal
from metarl.policies.compression.bases import average_bits, bases_of, check_bases, coded_names, layer_bits
from metarl.policies.compression.masks import MASK
from metarl.policies.controller import Controller
from metarl.policies.methods import STEP_SIZES
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Parameters

NETWORK = GaussianMLP(observation_size=20, hidden_sizes=(40, 40), action_size=6)
QUICK = BasisSettings(bits=1.0, rounds=2, bases_epochs=2, coordinate_epochs=1, final_epochs=2, iterations=8, start=4)


@dataclass(frozen=True)
class Distance:
    """The squared distance from the wanted parameters, that of layer2 ten times as important."""

    wanted: Parameters

    def weighed(self, parameters: Parameters, name: str) -> torch.Tensor:
        return (10 if name.startswith("layer2") else 1) * (parameters[name].detach() - self.wanted[name])

    def gradients(self, parameters: Parameters, names: tuple[str, ...], iteration: int) -> Parameters:
        return {name: self.weighed(parameters, name) for name in names}

    def score(self, parameters: Parameters) -> float:
        names = (name for name in self.wanted if name in NETWORK.parameter_shapes)
        return -sum(float(self.weighed(parameters, name).square().sum()) for name in names)


def controller() -> Controller:
    return device_controller(NETWORK, "maml", device_parameters(NETWORK, "maml"))


def searched(settings: BasisSettings) -> tuple[Controller, list[Stage], Parameters, float]:
    dense, stages = controller(), []
    groups = groups_of(dense, settings)
    losses = Distance(dense.parameters)
    found = Search(dense, groups, settings, losses, stages.append).run(sketch(dense, groups, settings))
    check_bases(found)
    return dense, stages, found, losses.score(found)


def bits_of(parameters: Parameters) -> float:
    return average_bits([bases_of(parameters, name) for name in coded_names(parameters)])


@pytest.mark.parametrize("bits", [0.6, 1.0, 2.0])
def test_the_target_is_met_and_important_weights_keep_more(bits: float) -> None:
    _, stages, found, _ = searched(replace(QUICK, bits=bits))
    numbers = 20 * 40 + 40 * 40 + 40 * 6
    signs = sum(bases_of(found, name).coordinates * bases_of(found, name).size for name in coded_names(found))
    assert bits * numbers - 40 < signs <= bits * numbers + 1e-6
    told = [each.bits for each in stages]
    assert told == sorted(told, reverse=True)
    assert layer_bits(found)["layer2"] > layer_bits(found)["layer1"]


def test_a_removal_moves_nothing_but_what_it_removes() -> None:
    dense = controller()
    groups = groups_of(dense, QUICK)
    search = Search(dense, groups, QUICK, Distance(dense.parameters), lambda done: None)
    state = search.trained_bases(sketch(dense, groups, QUICK), 1e-3)
    after = search.removed(state, 1)
    assert after.bits < state.bits
    for name, bases in after.bases.items():
        kept = bases.present
        assert torch.equal(bases.alphas[kept], state.bases[name].alphas[kept])
        assert torch.equal(bases.codes.mT[kept], state.bases[name].codes.mT[kept])
    assert all(torch.equal(after.floats[name], state.floats[name]) for name in state.floats)


def test_training_comes_nearer_than_reconstruction_where_the_loss_weighs() -> None:
    scores = {
        scheme: searched(replace(QUICK, bits=2.0, scheme=scheme))[3]  # type: ignore[arg-type]
        for scheme in ("reconstruction", "uniform", "straight-through", "adaptive")
    }
    assert scores["adaptive"] > scores["reconstruction"]
    assert scores["uniform"] >= scores["reconstruction"] - 1e-9


@pytest.mark.parametrize("scheme", ["reconstruction", "uniform", "straight-through"])
def test_the_same_bits_everywhere(scheme: str) -> None:
    _, _, found, _ = searched(replace(QUICK, bits=2.0, scheme=scheme))  # type: ignore[arg-type]
    assert set(layer_bits(found).values()) == {2.0}


def test_only_the_straight_through_estimator_keeps_float_weights() -> None:
    """What the search holds of a weight is signs, coordinates and moments."""
    dense = controller()
    groups = groups_of(dense, QUICK)

    def begun(scheme: str) -> State:
        return sketch(dense, groups, replace(QUICK, bits=1.0, scheme=scheme))  # type: ignore[arg-type]

    assert not begun("adaptive").shadows and begun("straight-through").shadows.keys() == groups.keys()
    assert not begun("adaptive").floats.keys() & groups.keys()


def test_step_sizes_are_over_the_bits_of_their_layer() -> None:
    dense, _, found, _ = searched(replace(QUICK, float_layers=("layer3",)))
    bits = layer_bits(found)
    for index, layer in enumerate(NETWORK.layer_names):
        expected = dense.parameters[STEP_SIZES][0, index] / max(bits.get(layer, 1.0), 1.0)
        assert found[STEP_SIZES][0, index] == pytest.approx(float(expected))
    assert "layer3.weight.codes" not in found


def test_what_bases_cannot_hold_is_refused() -> None:
    dense = controller()
    masked = dense.parameters | {"layer1.weight" + MASK: torch.ones(40, 20)}
    adapted = replace(dense, metadata=replace(dense.metadata, adapted_to={}))
    for given, settings, sentence in (
        (replace(dense, parameters=masked), QUICK, r"compressed already \(pruned\)"),
        (replace(dense, parameters=with_bases(dense.parameters, NETWORK)), QUICK, r"already \(binary bases\)"),
        (adapted, QUICK, "adapted to a task"),
        (dense, replace(QUICK, float_layers=("layer9",)), "no layer 'layer9'"),
        (dense, replace(QUICK, float_layers=NETWORK.layer_names), "all layers stay"),
        (dense, replace(QUICK, group="kernel"), "kernels do not divide"),
    ):
        with pytest.raises(Refusal, match=sentence):
            require_codable(given, settings)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bits": 0.05}, "must lie between 0.1 and 8"),
        ({"bits": 9.0, "start": 8}, "must lie between 0.1 and 8"),
        ({"bits": float("nan")}, "bits"),
        ({"bits": 5.0, "start": 4}, "above the 4 that a group starts with"),
        ({"bits": 1.5, "scheme": "uniform"}, "whole number"),
        ({"start": 9}, "start"),
        ({"scheme": "best"}, "scheme"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        BasisSettings(**values)  # type: ignore[arg-type]
