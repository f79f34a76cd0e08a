"""The inner step against torch.func, for every method."""

import pytest
import torch
from small_problems import NETWORK, small_batch, small_parameters
from torch.distributions import Independent, Normal
from torch.func import functional_call, grad

from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.attention import attention_scores
from metarl.policies.methods import METHODS, STEP_SIZES, get_method, policy_parameters
from metarl.policies.network import Parameters, layer_of

MODULE = torch.nn.Sequential(
    torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
)
MODULE_NAMES = {"layer1": "0", "layer2": "2", "layer3": "4"}


def reference_loss(parameters: Parameters, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    named = {f"{MODULE_NAMES[layer_of(n)]}.{n.split('.')[1]}": t for n, t in parameters.items() if "log_std" not in n}
    mean = functional_call(MODULE, named, (observations,))
    return Independent(Normal(mean, parameters["layer3.log_std"].exp()), 1).log_prob(actions)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.attention is None])
def test_inner_step_equals_torch_func(method: str) -> None:
    parameters, batch = small_parameters(method), small_batch(0)
    updated_layers = get_method(method).updated_layers(NETWORK.layer_names)
    policy = policy_parameters(parameters, NETWORK.layer_names)

    def loss(policy: Parameters) -> torch.Tensor:
        terms = reference_loss(policy, batch.observations, batch.actions) * batch.advantages
        return -terms[batch.valid].mean()

    gradients = grad(loss)(policy)
    adapted = inner_step(NETWORK, as_leaves(parameters), get_method(method), 0, batch, second_order=False)
    for name, tensor in policy.items():
        expected = tensor - 0.5 * gradients[name] if layer_of(name) in updated_layers else tensor
        torch.testing.assert_close(adapted[name].detach(), expected)
        assert layer_of(name) not in updated_layers or not torch.equal(adapted[name], tensor), name
    assert torch.equal(adapted[STEP_SIZES], parameters[STEP_SIZES])


def test_a_method_updates_only_its_layers() -> None:
    layers = NETWORK.layer_names
    assert get_method("maml").updated_layers(layers) == ("layer1", "layer2", "layer3")
    assert get_method("anil").updated_layers(layers) == ("layer3",)
    assert get_method("boil").updated_layers(layers) == ("layer1", "layer2")
    assert get_method("maml++").updated_layers(layers) == ("layer1", "layer2", "layer3")


def test_each_step_takes_its_own_step_size() -> None:
    parameters = small_parameters(inner_steps=2)
    parameters[STEP_SIZES][1] = torch.tensor([0.0, 0.25, 0.0])
    first = inner_step(NETWORK, as_leaves(parameters), get_method("maml"), 0, small_batch(0), second_order=False)
    second = inner_step(NETWORK, as_leaves(parameters), get_method("maml"), 1, small_batch(0), second_order=False)
    moved_first = first["layer2.weight"] - parameters["layer2.weight"]
    moved_second = second["layer2.weight"] - parameters["layer2.weight"]
    torch.testing.assert_close(moved_second, moved_first / 2)
    assert torch.equal(second["layer1.weight"], parameters["layer1.weight"])


def test_meta_attention_scales_each_episodes_gradient() -> None:
    """p-Meta's step, episode by episode and written as in the paper: gamma_bw[o] * gamma_fw[c] * dL/dw[o, c]."""
    parameters, batch = small_parameters("p-meta"), small_batch(0)
    adapted = inner_step(NETWORK, as_leaves(parameters), get_method("p-meta"), 0, batch, second_order=False)
    policy = as_leaves(policy_parameters(parameters, NETWORK.layer_names))
    mean, trace = NETWORK(policy, batch.observations)
    terms = Independent(Normal(mean, policy["layer3.log_std"].exp()), 1).log_prob(batch.actions) * batch.advantages
    loss = -terms[batch.valid].mean()
    at_outputs = dict(zip(trace, torch.autograd.grad(loss, [layer.output for layer in trace.values()]), strict=True))
    for layer in ("layer1", "layer2"):
        weight = torch.zeros_like(parameters[f"{layer}.weight"])
        bias = torch.zeros_like(parameters[f"{layer}.bias"])
        for steps in torch.arange(12).view(3, 4):
            steps = steps[batch.valid[steps]]
            inputs, gradients = trace[layer].input[steps].detach(), at_outputs[layer][steps]
            forward = attention_scores(parameters, layer, "forward", inputs.mean(0), clip=0.3)
            backward = attention_scores(parameters, layer, "backward", 11 * gradients.mean(0), clip=0.0)
            assert (forward == 0).any() and (backward > 0).all()
            weight += backward.unsqueeze(1) * forward * (gradients.mT @ inputs)
            bias += backward * gradients.sum(0)
        torch.testing.assert_close(
            adapted[f"{layer}.weight"].detach(), policy[f"{layer}.weight"].detach() - 0.5 * weight
        )
        torch.testing.assert_close(adapted[f"{layer}.bias"].detach(), policy[f"{layer}.bias"].detach() - 0.5 * bias)
    last = inner_step(NETWORK, as_leaves(parameters), get_method("maml"), 0, batch, second_order=False)
    assert torch.equal(adapted["layer3.weight"], last["layer3.weight"])
