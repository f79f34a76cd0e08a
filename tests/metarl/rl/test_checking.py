"""Fresh episodes before and after an adaptation, and which controller they keep."""

from dataclasses import replace

import pytest
import torch
from device_problems import device_controller, device_parameters
from point_family import point_family

from metarl import api
from metarl.policies.controller import Controller
from metarl.policies.networks.mlp import GaussianMLP
from metarl.rl.checking import Check

FAMILY = point_family(horizon=5)
TASK = {"target": 1.0}


def moving(speed: float) -> Controller:
    """A policy that moves by half of ``speed`` in every step, whatever it sees."""
    network = GaussianMLP(observation_size=1, hidden_sizes=(3,), action_size=1)
    parameters = device_parameters(network, "maml")
    for name, tensor in parameters.items():
        if name.startswith("layer"):
            tensor.zero_()
    parameters["layer2.bias"] += speed
    parameters["layer2.log_std"] = torch.full((1,), -3.0)
    controller = device_controller(network, "maml", parameters, family="point", horizon=5)
    return replace(controller, metadata=replace(controller.metadata, adapted_to=TASK))


def test_the_gain_is_over_pairs() -> None:
    """Differences 1, 3 and 2: mean 2, deviation 1, and t(2) = 4.3027 over the root of 3."""
    check = Check(torch.tensor([0.0, -5.0, 4.0]), torch.tensor([1.0, -2.0, 6.0]))
    assert check.gain.mean == 2 and check.gain.ci95 == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert check.keeps_adapted and not check.is_clear
    assert Check(check.before, check.before + torch.tensor([1.0, 1.1, 0.9])).is_clear


@pytest.mark.parametrize(("before", "after", "keeps"), [(0.0, 0.3, True), (0.3, 0.0, False), (0.3, 0.3, False)])
def test_the_better_controller_is_kept(before: float, after: float, keeps: bool) -> None:
    check = api.compare(moving(before), moving(after), 4, family=FAMILY, threads=2)
    assert check.keeps_adapted == keeps
    assert check.before.shape == check.after.shape == (4,)
    # Starts and noise cancel: nearer to the target by 0.15 after each of five steps.
    assert check.gain.mean == pytest.approx((after - before) / 2 * (1 + 2 + 3 + 4 + 5), abs=1e-5)


@pytest.mark.parametrize("step_size", [0.05, 50.0])
def test_adapt_keeps_the_controller_that_fresh_episodes_find_better(step_size: float) -> None:
    """A short step helps a policy that moves too slowly; a step of 50 flings it anywhere, and is not kept."""
    controller = moving(0.1)
    unadapted = replace(controller.metadata, adapted_to=None, episodes_per_step=40)
    parameters = controller.parameters | {"step_sizes": torch.tensor([[0.0, step_size]])}
    parameters["layer2.log_std"] = torch.full((1,), -1.0)
    controller = replace(controller, metadata=unadapted, parameters=parameters)
    adapted = api.adapt(controller, TASK, family=FAMILY, threads=1)
    kept = api.adapt(controller, TASK, check=20, family=FAMILY, threads=1)
    better = api.compare(controller, adapted, 20, family=FAMILY, threads=1).gain.mean > 0
    assert better == (step_size < 1)
    assert kept.metadata.adapted_to == (TASK if better else None)
    expected = adapted if better else controller
    assert all(torch.equal(tensor, expected.parameters[name]) for name, tensor in kept.parameters.items())


def test_one_episode_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="a check takes at least 2 episodes, got 1"):
        api.compare(moving(0.0), moving(0.0), 1, family=FAMILY)
