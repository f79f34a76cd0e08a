"""What a simulator of the user's returns is checked, and its errors are told as the user's."""

import numpy as np
import pytest
import torch
from point_family import PointSimulator, point_family

from metarl.core.errors import NumericalFault
from metarl.core.user_code import UserCodeError
from metarl.envs.family import Transition
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.sampling import Sampler, for_each_task

NETWORK = GaussianMLP(1, (4,), 1, 0.5)


def sample(network: GaussianMLP = NETWORK, **methods) -> None:
    """Sample 2 x 3 episodes of a simulator some methods of which are replaced."""
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))

    def make(threads: int) -> PointSimulator:
        simulator = PointSimulator()
        for name, method in methods.items():
            setattr(simulator, name, method)
        return simulator

    with Sampler(point_family(make_simulator=make), network, 1.0, 1) as sampler:
        sampler.sample(for_each_task(parameters, 2), np.zeros((2, 1)), 3, np.random.default_rng(0))


def answering(**changes):
    """Return a method step whose Transition has some parts changed."""
    right = Transition(np.zeros((2, 3, 1)), np.zeros((2, 3)), np.zeros((2, 3), bool))
    return lambda actions: right._replace(**changes)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (lambda actions: (1, 2, 3), "step of the simulator of point must return a Transition, got tuple"),
        (answering(observations=np.zeros((2, 3, 2))), r"be an array of numbers \[2, 3, 1\], got float64 \[2, 3, 2\]"),
        (answering(rewards=np.zeros(6)), r"rewards of the simulator of point must be .* \[2, 3\], got float64 \[6\]"),
        (answering(rewards=[[0.0] * 3] * 2), r"rewards of the simulator of point must be an array .*, got list"),
        (answering(rewards=np.full((2, 3), "x")), "rewards of the simulator of point must be an array of numbers"),
        (answering(terminated=np.zeros((2, 3))), r"terminated .* must be an array of booleans \[2, 3\], got float64"),
        (answering(successes=np.zeros(2, bool)), r"successes .* must be an array of booleans \[2, 3\], got bool \[2\]"),
        (
            lambda actions: 1 / 0,
            "sampling episodes of point failed in .*test_simulation.py, line .*: ZeroDivision",
        ),
    ],
)
def test_steps_that_are_refused(step, sentence: str) -> None:
    with pytest.raises(UserCodeError, match=sentence):
        sample(step=step)


def test_observations_of_a_reset() -> None:
    with pytest.raises(UserCodeError, match=r"observations of the simulator of point must be .*, got float64 \[2, 1\]"):
        sample(reset=lambda tasks, seeds: np.zeros((2, 1)))


def test_faults_and_errors_of_metarl_pass_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(actions):
        raise NumericalFault("the simulation diverged")

    with pytest.raises(NumericalFault, match="^the simulation diverged$"):
        sample(step=diverge)
    with pytest.raises(RuntimeError, match="mat1 and mat2|size|shape"):
        sample(GaussianMLP(3, (4,), 1, 0.5))
