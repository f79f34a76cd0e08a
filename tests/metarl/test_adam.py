"""Adam against PyTorch's, and against its first step by hand."""

import torch

from metarl.adam import adam_step, initial_moments


def test_the_first_step_has_the_length_of_the_rate() -> None:
    parameters = {"a": torch.tensor([1.0, -2.0])}
    new, _ = adam_step(parameters, {"a": torch.tensor([3.0, -0.001])}, initial_moments(parameters), rate=0.1)
    torch.testing.assert_close(new["a"], torch.tensor([0.9, -1.9]), atol=2e-6, rtol=0)


def test_many_steps_are_those_of_pytorch() -> None:
    random = torch.Generator().manual_seed(0)
    parameters = {"a": torch.randn(3, generator=random), "b": torch.randn(2, 2, generator=random)}
    leaves = [tensor.clone().requires_grad_() for tensor in parameters.values()]
    peer, moments = torch.optim.Adam(leaves, lr=0.01), initial_moments(parameters)
    for _ in range(20):
        gradients = {name: torch.randn(tensor.shape, generator=random) for name, tensor in parameters.items()}
        for leaf, gradient in zip(leaves, gradients.values(), strict=True):
            leaf.grad = gradient
        peer.step()
        parameters, moments = adam_step(parameters, gradients, moments, rate=0.01)
    torch.testing.assert_close(list(parameters.values()), [leaf.detach() for leaf in leaves])
