"""Scales of a controller of integers, by hand and against the float policy."""

import pytest
import torch

from metarl.compression.integers import (
    IntegerSettings,
    Ranges,
    add_ranges,
    largest_but,
    rounded_parameters,
    shift_for,
)
from metarl.core.errors import Refusal
from metarl.policies.networks.integers import IntegerMLP, quantized
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.batch import Batch


def batch(seed: int, count: int = 400) -> Batch:
    random = torch.Generator().manual_seed(seed)
    observations, actions, advantages = (torch.randn(count, size, generator=random) for size in (3, 2, 1))
    observations[:, 1] *= 50  # an observation of another unit
    return Batch(observations, actions, advantages[:, 0], torch.ones(count, dtype=torch.bool), episodes=1)


@pytest.mark.parametrize("hidden", [(), (40,), (40, 30)])
def test_rounded_policies_act_nearly_as_the_float_ones(hidden: tuple[int, ...]) -> None:
    network = GaussianMLP(3, hidden, 2)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    seen = Ranges()
    add_ranges(seen, network, parameters, batch(0), learns=True)
    integers = IntegerMLP(3, hidden, 2)
    rounded = rounded_parameters(parameters, integers, seen, IntegerSettings(clipped=0))
    observations = batch(0).observations
    exact, ours = network(parameters, observations)[0], integers(rounded, observations)[0]
    assert (ours - exact).abs().max() < 0.04 * exact.abs().max()
    assert rounded.keys() == integers.parameter_shapes.keys()
    # Tasks on a leading axis compute what each computes alone.
    stacked = {name: torch.stack([each, each]) for name, each in rounded.items()}
    torch.testing.assert_close(integers(stacked, observations.expand(2, -1, -1))[0][1], ours, rtol=0, atol=0)


def test_numbers_worked_by_hand() -> None:
    scales = torch.tensor([0.5, 2.0])
    observed = torch.tensor([[0.7, 5.0], [-0.75, 1e6], [0.25, -3.0]])
    assert quantized(observed, scales).tolist() == [[1, 2], [-2, 127], [0, -2]]  # a half goes to the even number
    assert float(largest_but(torch.arange(100.0), 0.1)) == 90
    assert shift_for(20_000) == 0  # times 1.5 it is below 32,767
    assert shift_for(22_000) == 1
    assert shift_for(0) == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"gradient_bits": 9}, "8 or 16"), ({"tasks": 0}, "tasks"), ({"clipped": 1.0}, "clipped"), ({"seed": -1}, "seed")],
)
def test_settings_beyond_their_bounds_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        IntegerSettings(**settings)  # type: ignore[arg-type]
