"""Small problems in float64 that several tests share."""

from concurrent.futures import ThreadPoolExecutor

import torch
from contexts import suited

from metarl.policies.methods import get_method, initial_meta_parameters, trained_names
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP, PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.batch import Batch
from metarl.rl.objective import MetaObjective
from metarl.rl.terms import TaskData, TaskTerms

NETWORK = GaussianMLP(observation_size=3, hidden_sizes=(4, 5), action_size=2, initial_std=0.7)
CHOOSING = CategoricalMLP(observation_size=3, hidden_sizes=(4, 5), choices=4)


def small_parameters(
    method: str = "maml", inner_steps: int = 1, seed: int = 0, network: PolicyNetwork = NETWORK
) -> Parameters:
    """Meta-parameters with nothing left at zero and a large step size, so that second-order terms matter."""
    random = torch.Generator().manual_seed(seed)
    network = suited(network, method)
    parameters = network.initial_parameters(random) | initial_meta_parameters(
        get_method(method), network.layers, inner_steps, 0.5, random
    )
    return {
        name: tensor.double() + (0 if tensor.any() else 0.3 * torch.randn(tensor.shape, generator=random))
        for name, tensor in parameters.items()
    }


def small_batch(seed: int, samples: int = 12, network: PolicyNetwork = NETWORK) -> Batch:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    valid = torch.arange(samples) != 4
    observations, actions = normal(samples, 3), normal(samples, 2)
    if network.choices is not None:
        actions = torch.randint(network.choices, (samples, 1), generator=random).double()
    return Batch(observations, actions, normal(samples) * valid, valid, episodes=3)


def small_objective(
    method: str = "maml",
    inner_steps: int = 1,
    tasks: int = 3,
    first_order: bool = False,
    network: PolicyNetwork = NETWORK,
) -> MetaObjective:
    trained = trained_names(get_method(method), small_parameters(method, inner_steps, network=network))
    return MetaObjective(trained, tasks, small_terms(method, inner_steps, tasks, first_order, network))


def small_terms(
    method: str = "maml",
    inner_steps: int = 1,
    tasks: int = 3,
    first_order: bool = False,
    network: PolicyNetwork = NETWORK,
) -> TaskTerms:
    data = [
        TaskData(
            tuple(small_batch(10 * task + step, network=network) for step in range(inner_steps)),
            small_batch(10 * task + 9, network=network),
        )
        for task in range(tasks)
    ]
    return TaskTerms(suited(network, method), get_method(method), first_order, data, ThreadPoolExecutor(2))
