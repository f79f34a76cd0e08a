"""Which layers a method updates, and what it learns beside the network."""

from dataclasses import replace

import pytest
import torch

from metarl.policies.methods import METHODS, STEP_SIZES, get_method, initial_meta_parameters, meta_parameter_shapes
from metarl.policies.networks.mlp import GaussianMLP

LAYERS = GaussianMLP(3, (4, 5), 2).layers


def test_a_method_updates_only_its_layers() -> None:
    assert get_method("maml").updated_layers(LAYERS) == ("layer1", "layer2", "layer3")
    assert get_method("anil").updated_layers(LAYERS) == ("layer3",)
    assert get_method("boil").updated_layers(LAYERS) == ("layer1", "layer2")
    assert get_method("maml++").updated_layers(LAYERS) == ("layer1", "layer2", "layer3")


def test_a_layer_that_is_not_adaptable_is_never_updated() -> None:
    layers = (LAYERS[0], replace(LAYERS[1], adaptable=False), LAYERS[2])
    assert get_method("maml").updated_layers(layers) == ("layer1", "layer3")
    assert get_method("boil").updated_layers(layers) == ("layer1",)
    initial = initial_meta_parameters(get_method("maml++"), layers, 2, 0.1, torch.Generator())
    assert torch.equal(initial[STEP_SIZES], torch.tensor([[0.1, 0.0, 0.1], [0.1, 0.0, 0.1]]))


def test_shapes_by_hand() -> None:
    """Attention is on all layers but the last: 4 tensors on each side, squares of the channels."""
    shapes = meta_parameter_shapes(get_method("p-meta-fw0.3"), LAYERS[:2], 5)
    assert shapes == {
        "step_sizes": (5, 2),
        "attention.layer1.forward.fc1.weight": (3, 3),
        "attention.layer1.forward.fc1.bias": (3,),
        "attention.layer1.forward.fc2.weight": (3, 3),
        "attention.layer1.forward.fc2.bias": (3,),
    }
    assert meta_parameter_shapes(get_method("p-meta-alpha-ch"), LAYERS[:2], 5) == {
        "step_sizes": (5, 2),
        "channel_step_sizes.layer1.forward": (5, 3),
        "channel_step_sizes.layer1.backward": (5, 4),
    }


@pytest.mark.parametrize("method", [*METHODS, "p-meta-fw0.3", "p-meta-alpha-ch"])
def test_the_initial_meta_parameters_have_the_stated_shapes(method: str) -> None:
    initial = initial_meta_parameters(get_method(method), LAYERS, 2, 0.1, torch.Generator())
    assert {name: tuple(each.shape) for name, each in initial.items()} == meta_parameter_shapes(
        get_method(method), LAYERS, 2
    )


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown method 'sgd': choose one of maml, anil, boil"):
        get_method("sgd")
