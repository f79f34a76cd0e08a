"""Adapting to one task, as on a device, against the training's adaptation on the same episodes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from contexts import suited
from device_problems import device_controller, device_parameters
from point_family import PointSimulator, point_family

from metarl.core.clock import Clock
from metarl.core.randomness import Purpose, generator
from metarl.policies.methods import METHODS
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adapt_to_task, adaptation_settings
from metarl.rl.sampling import Sampler
from metarl.rl.workers import task_returns

TASK = {"target": 0.4}


class EasyPointSimulator(PointSimulator):
    """Ends within 0.1 of the target, so that episodes differ in length."""

    def step(self, actions):
        transition = super().step(actions)
        return transition._replace(terminated=transition.rewards > -0.1)


FAMILY = point_family(horizon=15, make_simulator=lambda threads: EasyPointSimulator())


@pytest.mark.parametrize("method", METHODS)
def test_the_device_adapts_as_the_training_does(method: str) -> None:
    network = suited(GaussianMLP(observation_size=1, hidden_sizes=(6, 5), action_size=1), method)
    parameters = device_parameters(network, method, inner_steps=2)
    controller = device_controller(network, method, parameters, family="point", horizon=15)
    adapted, evaluation = adapt_to_task(controller, FAMILY, TASK, seed=3, threads=1)

    settings = adaptation_settings(controller)
    with Sampler(FAMILY, network, 0.5, threads=1) as sampler, ThreadPoolExecutor(1) as executor:
        expected = adapt_to_tasks(
            parameters,
            FAMILY.task_array(TASK)[np.newaxis],
            settings,
            sampler,
            executor,
            generator(3, Purpose.ADAPTATION),
            Clock(),
        )
    lengths = expected.episodes[0].valid.sum(dim=-1)
    assert lengths.min() < lengths.max()
    for name, tensor in expected.parameters[-1][0].items():
        torch.testing.assert_close(adapted.parameters[name], tensor.detach(), rtol=1e-4, atol=1e-5)
    changed = {"boil": "layer2.weight", "cavia": "layer1.context"}.get(method, "layer3.weight")
    assert not torch.equal(adapted.parameters[changed], parameters[changed])
    returns = torch.stack([task_returns(episodes) for episodes in expected.episodes])
    torch.testing.assert_close(evaluation.returns, returns, rtol=1e-4, atol=1e-4)
    assert adapted.metadata.adapted_to == TASK
    assert controller.metadata.adapted_to is None
