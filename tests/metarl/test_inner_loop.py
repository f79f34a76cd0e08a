"""The inner step against torch.func, for every method: of a policy on episodes, of a classifier on images."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from small_problems import CHOOSING, NETWORK, small_batch, small_parameters
from torch import Tensor
from torch.distributions import Categorical, Independent, Normal
from torch.func import functional_call, grad
from torch.nn import functional

from metarl.images.batch import ImageBatch, accumulated_step
from metarl.inner_loop import as_leaves, inner_step
from metarl.kept_channels import kept_shares
from metarl.policies.attention import Attention, attention_scores
from metarl.policies.methods import (
    ABLATIONS,
    METHODS,
    STEP_SIZES,
    Method,
    get_method,
    initial_meta_parameters,
    policy_parameters,
)
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.mlp import GaussianMLP
from metarl.policies.networks.network import Network, Parameters, layer_of
from metarl.policies.networks.resnet12 import ResNet12
from metarl.rl.batch import Batch

MODULE = torch.nn.Sequential(
    torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
)
WITHOUT_ATTENTION = [name for name, each in METHODS.items() if each.attention is None and not each.takes_context]
MODULE_NAMES = {"layer1": "0", "layer2": "2", "layer3": "4"}


def reference_loss(parameters: Parameters, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    named = {f"{MODULE_NAMES[layer_of(n)]}.{n.split('.')[1]}": t for n, t in parameters.items() if "log_std" not in n}
    mean = functional_call(MODULE, named, (observations,))
    return Independent(Normal(mean, parameters["layer3.log_std"].exp()), 1).log_prob(actions)


@pytest.mark.parametrize("method", WITHOUT_ATTENTION)
def test_inner_step_equals_torch_func(method: str) -> None:
    parameters, batch = small_parameters(method), small_batch(0)
    updated_layers = get_method(method).updated_layers(NETWORK.layers)
    policy = policy_parameters(parameters, NETWORK.layer_names)

    def loss(policy: Parameters) -> torch.Tensor:
        terms = reference_loss(policy, batch.observations, batch.actions) * batch.advantages
        return -terms[batch.valid].mean()

    gradients = grad(loss)(policy)
    adapted = inner_step(NETWORK, as_leaves(parameters), get_method(method), 0, batch, second_order=False).parameters
    for name, tensor in policy.items():
        expected = tensor - 0.5 * gradients[name] if layer_of(name) in updated_layers else tensor
        torch.testing.assert_close(adapted[name].detach(), expected)
        assert layer_of(name) not in updated_layers or not torch.equal(adapted[name], tensor), name
    assert torch.equal(adapted[STEP_SIZES], parameters[STEP_SIZES])


@pytest.mark.parametrize("method", WITHOUT_ATTENTION)
def test_the_inner_step_of_a_policy_that_chooses_equals_torch_func(method: str) -> None:
    parameters, batch = small_parameters(method, network=CHOOSING), small_batch(0, network=CHOOSING)
    updated_layers = get_method(method).updated_layers(CHOOSING.layers)
    policy = policy_parameters(parameters, CHOOSING.layer_names)

    def loss(policy: Parameters) -> torch.Tensor:
        hidden = batch.observations
        for name in ("layer1", "layer2"):
            hidden = functional.relu(functional.linear(hidden, policy[f"{name}.weight"], policy[f"{name}.bias"]))
        logits = functional.linear(hidden, policy["layer3.weight"], policy["layer3.bias"])
        terms = Categorical(logits=logits, validate_args=False).log_prob(batch.actions[:, 0]) * batch.advantages
        return -terms[batch.valid].mean()

    gradients = grad(loss)(policy)
    adapted = inner_step(CHOOSING, as_leaves(parameters), get_method(method), 0, batch, second_order=False).parameters
    for name, tensor in policy.items():
        expected = tensor - 0.5 * gradients[name] if layer_of(name) in updated_layers else tensor
        torch.testing.assert_close(adapted[name].detach(), expected)


def test_a_network_of_one_layer_has_no_body() -> None:
    network = GaussianMLP(3, (), 2)
    parameters = network.initial_parameters(torch.Generator().manual_seed(0)) | {STEP_SIZES: torch.ones(1, 1)}
    parameters = {name: tensor.double() for name, tensor in parameters.items()}
    adapted = inner_step(
        network, as_leaves(parameters), get_method("boil"), 0, small_batch(0), second_order=False
    ).parameters
    assert adapted.keys() == parameters.keys()
    assert all(torch.equal(adapted[name], tensor) for name, tensor in parameters.items())


def test_each_step_takes_its_own_step_size() -> None:
    parameters = small_parameters(inner_steps=2)
    parameters[STEP_SIZES][1] = torch.tensor([0.0, 0.25, 0.0])
    first = inner_step(
        NETWORK, as_leaves(parameters), get_method("maml"), 0, small_batch(0), second_order=False
    ).parameters
    second = inner_step(
        NETWORK, as_leaves(parameters), get_method("maml"), 1, small_batch(0), second_order=False
    ).parameters
    moved_first = first["layer2.weight"] - parameters["layer2.weight"]
    moved_second = second["layer2.weight"] - parameters["layer2.weight"]
    torch.testing.assert_close(moved_second, moved_first / 2)
    assert torch.equal(second["layer1.weight"], parameters["layer1.weight"])


def test_meta_attention_scales_each_episodes_gradient() -> None:
    """p-Meta's step, episode by episode and written as in the paper: gamma_bw[o] * gamma_fw[c] * dL/dw[o, c]."""
    parameters, batch = small_parameters("p-meta"), small_batch(0)
    adapted = inner_step(NETWORK, as_leaves(parameters), get_method("p-meta"), 0, batch, second_order=False).parameters
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
    last = inner_step(NETWORK, as_leaves(parameters), get_method("maml"), 0, batch, second_order=False).parameters
    assert torch.equal(adapted["layer3.weight"], last["layer3.weight"])


IMAGE_NETWORK = Conv4(side=16, ways=3, width=16)
NORMS = tuple(f"norm{number}" for number in range(1, 5))
P_META = METHODS["p-meta"]


def image_parameters(method: Method, network: Conv4 | ResNet12 = IMAGE_NETWORK, inner_steps: int = 1) -> Parameters:
    """In float64, nothing left at zero, large steps, and scores that differ clearly from channel to channel."""
    random = torch.Generator().manual_seed(0)
    parameters = network.initial_parameters(random)
    parameters |= initial_meta_parameters(method, network.layers, inner_steps, 0.3, random)
    return {
        name: tensor.double() + (0.0 if name == STEP_SIZES else 0.3 * torch.randn(tensor.shape, generator=random))
        for name, tensor in parameters.items()
    }


def image_batch(seed: int = 0, images: int = 5, together: int = 1) -> ImageBatch:
    random = torch.Generator().manual_seed(seed)
    return ImageBatch(
        torch.rand(images, 3, 16, 16, generator=random, dtype=torch.float64), torch.arange(images) % 3, together
    )


def reference_logits(
    parameters: Parameters,
    images: Tensor,
    at_input: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
    at_output: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
) -> Tensor:
    """4Conv in PyTorch's own functions; the two callables see the inputs and outputs of every layer but the last."""
    hidden = images
    for number in range(1, 5):
        conv, norm = f"conv{number}", f"norm{number}"
        hidden = at_input(conv, hidden)
        hidden = at_output(conv, functional.conv2d(hidden, parameters[f"{conv}.weight"], padding="same"))
        hidden = at_input(norm, functional.group_norm(hidden, 8))
        hidden = hidden * parameters[f"{norm}.weight"].view(-1, 1, 1) + parameters[f"{norm}.bias"].view(-1, 1, 1)
        hidden = functional.max_pool2d(functional.relu(at_output(norm, hidden)), 2)
    return functional.linear(hidden.flatten(1), parameters["fc.weight"], parameters["fc.bias"])


def adapted_on(batch: ImageBatch, parameters: Parameters, method: Method) -> Parameters:
    adapted = inner_step(IMAGE_NETWORK, as_leaves(parameters), method, 0, batch, second_order=False).parameters
    return {name: tensor.detach() for name, tensor in adapted.items()}


def scores_by_hand(parameters: Parameters, layer: str, side: str, summaries: Tensor, clip: float) -> Tensor:
    """Fig. 3 and Alg. 1 for one image, or for several [image, channel] that share their scores."""
    name = f"attention.{layer}.{side}"
    hidden = functional.linear(summaries, parameters[f"{name}.fc1.weight"], parameters[f"{name}.fc1.bias"]).relu()
    logits = functional.linear(hidden, parameters[f"{name}.fc2.weight"], parameters[f"{name}.fc2.bias"]).mean(0)
    shares = logits.softmax(0).tolist()
    running = 0.0
    for channel in sorted(range(len(shares)), key=shares.__getitem__)[:-1]:
        if running >= clip:
            break
        running += shares[channel]
        shares[channel] = 0.0
    return torch.tensor(shares, dtype=torch.float64) / sum(shares) * len(shares)


@pytest.mark.parametrize("method", WITHOUT_ATTENTION)
def test_image_step_equals_torch_func(method: str) -> None:
    parameters, batch = image_parameters(get_method(method)), image_batch()
    network = policy_parameters(parameters, IMAGE_NETWORK.layer_names)

    def loss(network: Parameters) -> Tensor:
        probabilities = reference_logits(network, batch.images).softmax(dim=1)
        return -probabilities[torch.arange(5), batch.labels].log().mean()

    gradients = grad(loss)(network)
    adapted = adapted_on(batch, parameters, get_method(method))
    updated_layers = get_method(method).updated_layers(IMAGE_NETWORK.layers)
    for name, tensor in network.items():
        expected = tensor - 0.3 * gradients[name] if layer_of(name) in updated_layers else tensor
        torch.testing.assert_close(adapted[name], expected)
        assert layer_of(name) not in updated_layers or not torch.equal(adapted[name], tensor), name
    assert adapted.keys() == parameters.keys()


@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("clips", [(0.3, 0.0), (None, 0.3), (0.5, None)])
def test_image_attention_image_by_image(clips: tuple[float | None, float | None], together: int) -> None:
    """gamma_bw[o] * gamma_fw[c] * dL/dw[o, c] of each image by autograd, the scores of each as the paper finds them."""
    method = replace(P_META, attention=Attention(*clips))
    parameters = image_parameters(method)
    batch = image_batch(together=together)
    adapted = adapted_on(batch, parameters, method)
    expected = {name: tensor.clone() for name, tensor in parameters.items()}
    inputs: list[dict[str, Tensor]] = []
    outputs: list[dict[str, Tensor]] = []
    gradients = []
    for image, label in zip(batch.images, batch.labels, strict=True):
        seen: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        network = as_leaves(policy_parameters(parameters, IMAGE_NETWORK.layer_names))
        logits = reference_logits(
            network,
            image[None],
            lambda layer, tensor, seen=seen: seen[0].setdefault(layer, tensor),
            lambda layer, tensor, seen=seen: seen[1].setdefault(layer, tensor),
        )
        loss = functional.cross_entropy(logits, label[None])
        at_outputs = torch.autograd.grad(loss, list(seen[1].values()), retain_graph=True)
        gradients.append(dict(zip(network, torch.autograd.grad(loss, list(network.values())), strict=True)))
        inputs.append({layer: tensor.detach().mean((0, 2, 3)) for layer, tensor in seen[0].items()})
        outputs.append({layer: g.sum((0, 2, 3)) for layer, g in zip(seen[1], at_outputs, strict=True)})
    zeros = 0
    for index in range(5):
        batched = slice(index // together * together, index // together * together + together)
        for name, gradient in gradients[index].items():
            layer, kind = name.rsplit(".")
            if layer != "fc":
                forward, backward = (
                    torch.ones(())
                    if clip is None
                    else scores_by_hand(
                        parameters, layer, side, torch.stack([s[layer] for s in summary[batched]]), clip
                    )
                    for side, summary, clip in zip(("forward", "backward"), (inputs, outputs), clips, strict=True)
                )
                zeros += int((forward == 0).sum() + (backward == 0).sum())
                if layer in NORMS:
                    gradient = backward * gradient * (forward if kind == "weight" else 1)
                else:
                    gradient = backward.view(-1, 1, 1, 1) * forward.view(-1, 1, 1) * gradient
            expected[name] -= 0.3 / 5 * gradient
    assert zeros > 0
    torch.testing.assert_close(adapted, expected)


class OneByOne(Network):
    """A 1x1 convolution of 2 channels, then the mean over the positions, then fc."""

    takes = "images"
    layers = (Layer("conv", "convolution", 2, 2), Layer("fc", "linear", 2, 2, reduction="average"))


def test_one_attended_layer_by_hand() -> None:
    """An image of two positions (1, 0) and (3, 2), its channels' means 2 and 1, identity weights everywhere.

    The logits are (2, 1), so that with the label 0 and q = 1 / (1 + e) the gradients there are (-q, q), and at each
    position of the convolution's output half as much. dL/dw[o, c] = (-q, q)[o] * (2, 1)[c]. Forward, the softmax of
    (2, 1) is (0.73, 0.27); a clip of 0.2 zeroes the second, which leaves gamma_fw = (2, 0). Backward,
    relu(1 - q, 1 + q) gives gamma_bw = 2 * (1 / (1 + e^2q), 1 / (1 + e^-2q)).
    """
    parameters = {
        "conv.weight": torch.eye(2).view(2, 2, 1, 1),
        "fc.weight": torch.eye(2),
        "fc.bias": torch.zeros(2),
        STEP_SIZES: torch.tensor([[0.5, 0.25]]),
    }
    for side, bias in (("forward", 0.0), ("backward", 1.0)):
        for part in ("fc1", "fc2"):
            parameters[f"attention.conv.{side}.{part}.weight"] = torch.eye(2)
            parameters[f"attention.conv.{side}.{part}.bias"] = torch.full((2,), bias if part == "fc1" else 0.0)
    batch = ImageBatch(torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]]), torch.tensor([0]))
    method = replace(P_META, attention=Attention(0.2, 0.0))
    adapted, scores = inner_step(OneByOne(), as_leaves(parameters), method, 0, batch, second_order=False)
    q = 1 / (1 + math.e)
    first, second = (2 / (1 + math.exp(sign * 2 * q)) for sign in (1, -1))
    by_hand = torch.tensor([[1 - 0.5 * first * 2 * -q * 2, 0.0], [-0.5 * second * 2 * q * 2, 1.0]])
    torch.testing.assert_close(adapted["conv.weight"].detach().view(2, 2), by_hand)
    torch.testing.assert_close(adapted["fc.bias"].detach(), torch.tensor([0.25 * q, -0.25 * q]))
    torch.testing.assert_close(scores["conv"]["backward"], torch.tensor([[first, second]]))
    assert kept_shares(scores) == {"conv": (0.5, 1.0), "fc": (1.0, 1.0)}
    unweighed = inner_step(OneByOne(), as_leaves(parameters), METHODS["maml"], 0, batch, second_order=False)
    assert unweighed.scores == {"conv": {}, "fc": {}}


class Weighed(torch.autograd.Function):
    """The identity, whose gradient is weighed on its way back."""

    @staticmethod
    def forward(ctx, tensor, weigh):
        ctx.weigh = weigh
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.weigh(gradient), None


@pytest.mark.parametrize("clips", [(0.3, None), (None, 0.3), (0.3, 0.3)])
def test_weighed_activations(clips: tuple[float | None, float | None]) -> None:
    """x_{l-1} is weighed before the layer takes it, g(y_l) before it travels back (Appendix B.3)."""
    method = replace(P_META, attention=Attention(*clips, weighs="activations"))
    parameters, batch = image_parameters(method), image_batch()
    network = as_leaves(policy_parameters(parameters, IMAGE_NETWORK.layer_names))

    def at_input(layer: str, tensor: Tensor) -> Tensor:
        if clips[0] is None:
            return tensor
        gammas = attention_scores(parameters, layer, "forward", tensor.mean((2, 3)), clips[0])
        return tensor * gammas.view(*gammas.shape, 1, 1)

    def at_output(layer: str, tensor: Tensor) -> Tensor:
        def weigh(gradient: Tensor) -> Tensor:
            gammas = attention_scores(parameters, layer, "backward", 5 * gradient.sum((2, 3)), clips[1])
            return gradient * gammas.view(*gammas.shape, 1, 1)

        return tensor if clips[1] is None else Weighed.apply(tensor, weigh)

    loss = functional.cross_entropy(reference_logits(network, batch.images, at_input, at_output), batch.labels)
    gradients = torch.autograd.grad(loss, list(network.values()))
    adapted = adapted_on(batch, parameters, method)
    for (name, tensor), gradient in zip(network.items(), gradients, strict=True):
        torch.testing.assert_close(adapted[name], tensor.detach() - 0.3 * gradient)
    gradients_alone = adapted_on(batch, parameters, replace(P_META, attention=Attention(*clips)))
    assert not torch.allclose(adapted["conv1.weight"], gradients_alone["conv1.weight"])
    taken = inner_step(IMAGE_NETWORK, as_leaves(parameters), method, 0, batch, second_order=False)
    forward, backward = kept_shares(taken.scores)["conv3"]
    assert (forward < 1) == (clips[0] is not None) and (backward < 1) == (clips[1] is not None)


def test_channel_step_sizes() -> None:
    """alpha * alpha^Ch[o] * alpha^Ch[c], of the step's own row."""
    method = get_method("p-meta-alpha-ch")
    parameters, batch = image_parameters(method, inner_steps=2), image_batch()
    with_one = inner_step(
        IMAGE_NETWORK, as_leaves(parameters), METHODS["maml"], 1, batch, second_order=False
    ).parameters
    adapted = inner_step(IMAGE_NETWORK, as_leaves(parameters), method, 1, batch, second_order=False).parameters
    for layer in ("conv2", "norm2"):
        inputs, outputs = (parameters[f"channel_step_sizes.{layer}.{side}"][1] for side in ("forward", "backward"))
        gamma = inputs * outputs if layer == "norm2" else outputs.view(-1, 1, 1, 1) * inputs.view(-1, 1, 1)
        start = parameters[f"{layer}.weight"]
        torch.testing.assert_close(adapted[f"{layer}.weight"] - start, gamma * (with_one[f"{layer}.weight"] - start))
    assert torch.equal(adapted["fc.weight"], with_one["fc.weight"])
    initial = initial_meta_parameters(method, IMAGE_NETWORK.layers, 2, 0.3, torch.Generator())
    assert all((tensor == 1).all() for name, tensor in initial.items() if name != STEP_SIZES)


CASES = {
    "maml": METHODS["maml"],
    "boil": METHODS["boil"],
    "attention": ABLATIONS["p-meta-fw0-bw0"],
    "weighed inputs": replace(P_META, attention=Attention(0.0, None, "activations")),
    "weighed gradients": replace(P_META, attention=Attention(None, 0.0, "activations")),
    "channel step sizes": ABLATIONS["p-meta-alpha-ch"],
}


@pytest.mark.parametrize("network", [IMAGE_NETWORK, ResNet12(side=16, ways=3, widths=(16, 16, 16, 16))])
@pytest.mark.parametrize("case", CASES)
def test_second_order_meta_gradient_equals_finite_differences(case: str, network: Conv4 | ResNet12) -> None:
    """Two steps, along a random direction of all meta-parameters and of each kind of them.

    So small a difference passes hardly any of the jumps that the kinks of ReLU and max-pooling leave in the gradient.
    """
    method, support, query = CASES[case], image_batch(0, images=2), image_batch(1, images=2)
    parameters = image_parameters(method, network, inner_steps=2)
    parameters[STEP_SIZES] = 0.1 * parameters[STEP_SIZES]

    def query_loss(parameters: Parameters) -> Tensor:
        adapted = parameters
        for step in (0, 1):
            adapted = inner_step(network, adapted, method, step, support, second_order=True).parameters
        return query.loss(network, adapted, network(adapted, query.images)[0])

    leaves = as_leaves(parameters)
    gradients = torch.autograd.grad(query_loss(leaves), list(leaves.values()), materialize_grads=True)
    random = torch.Generator().manual_seed(2)
    for kind in ("", "conv", "block", "norm", STEP_SIZES, "attention", "channel"):
        names = [name for name in parameters if name.startswith(kind)]
        if not names:
            continue
        direction = {name: torch.randn(parameters[name].shape, generator=random, dtype=torch.float64) for name in names}
        slope = sum(
            float((gradient * direction[name]).sum())
            for name, gradient in zip(leaves, gradients, strict=True)
            if name in direction
        )
        moved = (
            {name: tensor + sign * 1e-8 * direction.get(name, 0) for name, tensor in parameters.items()}
            for sign in (1, -1)
        )
        above, below = (float(query_loss(as_leaves(each)).detach()) for each in moved)
        assert (above - below) / 2e-8 == pytest.approx(slope, rel=1e-3), kind
        assert slope != 0, kind


@pytest.mark.parametrize("size", [1, 2, 5])
def test_accumulated_gradients_are_those_of_the_whole_batch(size: int) -> None:
    parameters, batch = image_parameters(P_META), image_batch()
    accumulated = accumulated_step(IMAGE_NETWORK, parameters, P_META, 0, batch, size)
    torch.testing.assert_close(accumulated, adapted_on(batch._replace(together=size), parameters, P_META))


def test_batch_norm_knows_only_the_images_of_one_accumulation() -> None:
    network, method = replace(IMAGE_NETWORK, norm="batch"), METHODS["maml"]
    parameters, batch = image_parameters(method, network), image_batch()
    accumulated = accumulated_step(network, parameters, method, 0, batch, size=1)
    moved = torch.zeros_like(parameters["conv2.weight"])
    for image, label in zip(batch.images, batch.labels, strict=True):
        alone = ImageBatch(image[None], label[None])
        adapted = inner_step(network, as_leaves(parameters), method, 0, alone, second_order=False).parameters
        moved += (adapted["conv2.weight"] - parameters["conv2.weight"]).detach() / 5
    torch.testing.assert_close(accumulated["conv2.weight"], parameters["conv2.weight"] + moved)
    whole = inner_step(network, as_leaves(parameters), method, 0, batch, second_order=False).parameters
    assert not torch.allclose(accumulated["conv2.weight"], whole["conv2.weight"])


def test_kept_shares_are_means_over_the_episodes() -> None:
    """Inputs of 4 channels whose scores differ: two of three episodes keep one channel, one keeps all."""
    network = GaussianMLP(4, (2,), 1)
    method = replace(P_META, attention=Attention(0.3, None))
    parameters = network.initial_parameters(torch.Generator().manual_seed(0))
    parameters |= {STEP_SIZES: torch.ones(1, 2)}
    for part, weight in (("fc1", torch.eye(4)), ("fc2", 9 * torch.eye(4))):
        parameters[f"attention.layer1.forward.{part}.weight"] = weight
        parameters[f"attention.layer1.forward.{part}.bias"] = torch.zeros(4)
    # The softmax of 9 * (1, 0, 0, 0) leaves the others next to nothing: all of them together stay below the clip,
    # but never the largest goes. Four equal shares stay together.
    one, equal = torch.tensor([1.0, 0, 0, 0]), torch.ones(4)
    observations = torch.stack([one, one, equal]).repeat_interleave(2, dim=0)
    batch = Batch(observations, torch.zeros(6, 1), torch.ones(6), torch.ones(6, dtype=torch.bool), episodes=3)
    shares = kept_shares(inner_step(network, as_leaves(parameters), method, 0, batch, second_order=False).scores)
    assert shares["layer1"] == (pytest.approx((0.25 + 0.25 + 1) / 3), 1.0)
    assert shares["layer2"] == (1.0, 1.0)


def test_ablations_are_methods_of_their_own() -> None:
    assert len(ABLATIONS) == 11 and not ABLATIONS.keys() & METHODS.keys()
    assert get_method("p-meta-fw0.3-bw0.3").attention == Attention(0.3, 0.3)
    assert get_method("p-meta-gy0.3").attention == Attention(None, 0.3, "activations")
    for name, method in ABLATIONS.items():
        assert get_method(name) is method and (method.attention is None) == method.channel_step_sizes
