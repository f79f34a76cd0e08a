"""The image networks against PyTorch modules written independently, and against the memory and operation model."""

import pytest
import torch
from torch import Tensor, nn

from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import ImageNetwork, LayerTrace, Operation, Parameters
from metarl.policies.networks.resnet12 import ResNet12

WIDTHS = (16, 8, 24, 16)


def conv4_module(side: int, ways: int, width: int, batch: bool, average: bool) -> nn.Module:
    pool = nn.AvgPool2d if average else nn.MaxPool2d
    parts: list[nn.Module] = []
    for inputs in (3, width, width, width):
        norm = nn.BatchNorm2d(width) if batch else nn.GroupNorm(8, width)
        parts += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), norm, nn.ReLU(), pool(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(width * (side // 16) ** 2, ways)).double()


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.1)),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.LeakyReLU(0.1)),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs)),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(8, outputs))
        self.end = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.end(self.branch(inputs) + self.shortcut(inputs))
        return output


def resnet_module(ways: int) -> nn.Module:
    blocks = (Block(inputs, outputs) for inputs, outputs in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], ways)).double()


def random_parameters(network: ImageNetwork) -> Parameters:
    random = torch.Generator().manual_seed(0)
    return {
        name: 0.5 * torch.randn(shape, generator=random, dtype=torch.float64)
        for name, shape in network.parameter_shapes.items()
    }


def outputs_of(module: nn.Module, parameters: Parameters, images: Tensor) -> Tensor:
    """A module's, whose parameters stand in the same order."""
    module.load_state_dict(dict(zip(dict(module.named_parameters()), parameters.values(), strict=True)), strict=False)
    output: Tensor = module(images)
    return output.detach()


def images_of(side: int, number: int = 2) -> Tensor:
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("side", [28, 32])
def test_conv4_equals_a_module(side: int, norm: str, pooling: str) -> None:
    network = Conv4(side, ways=4, width=16, norm=norm, pooling=pooling)
    module = conv4_module(side, 4, 16, norm == "batch", pooling == "average")
    parameters = random_parameters(network)
    logits, _ = network(parameters, images_of(side))
    assert logits.shape == (2, 4)
    torch.testing.assert_close(logits, outputs_of(module, parameters, images_of(side)))


@pytest.mark.parametrize("side", [28, 32])
def test_resnet12_equals_a_module(side: int) -> None:
    network = ResNet12(side, ways=3, widths=WIDTHS)
    parameters = random_parameters(network)
    logits, _ = network(parameters, images_of(side))
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, outputs_of(resnet_module(3), parameters, images_of(side)))


def test_images_of_the_paper() -> None:
    network = Conv4()
    logits, trace = network(network.initial_parameters(torch.Generator().manual_seed(0)), torch.rand(1, 3, 84, 84))
    assert logits.shape == (1, 5) and trace["fc"].input.shape == (1, 800)


@pytest.mark.parametrize(("network", "megabytes"), [(Conv4(), 0.13), (ResNet12(), 32.0)])
def test_static_memory_is_that_of_table_1(network: ImageNetwork, megabytes: float) -> None:
    words = sum(tensor.numel() for tensor in network.initial_parameters(torch.Generator()).values())
    assert words == sum(torch.Size(shape).numel() for shape in network.parameter_shapes.values())
    assert round(4e-6 * words, 2 if megabytes < 1 else 1) == megabytes


@pytest.mark.parametrize("network", [Conv4(32, 5, 16), ResNet12(32, 5, WIDTHS)])
def test_a_norms_traced_input_is_normalized(network: ImageNetwork) -> None:
    _, trace = network(random_parameters(network), images_of(32))
    for layer in network.layers:
        if layer.kind == "group_norm":
            by_group = trace[layer.name].input.reshape(2, 8, -1)
            torch.testing.assert_close(by_group.mean(-1), torch.zeros(2, 8, dtype=torch.float64), rtol=0, atol=1e-9)
            torch.testing.assert_close(
                by_group.var(-1, correction=0), torch.ones(2, 8, dtype=torch.float64), rtol=1e-3, atol=0
            )


@pytest.mark.parametrize("network", [Conv4(32, 5, 16), ResNet12(32, 5, WIDTHS)])
def test_every_layer_goes_through_run(network: ImageNetwork) -> None:
    parameters = random_parameters(network)
    ran = []

    def run(layer: str, operation: Operation, inputs: Tensor) -> LayerTrace:
        ran.append(layer)
        return LayerTrace(inputs, operation(inputs) * (2 if layer == "fc" else 1))

    doubled, trace = network(parameters, images_of(32), run)
    torch.testing.assert_close(doubled, 2 * network(parameters, images_of(32))[0])
    assert tuple(ran) == network.layer_names and torch.equal(trace["fc"].output, doubled)


@pytest.mark.parametrize("network", [Conv4, ResNet12])
def test_impossible_sizes(network: type[Conv4] | type[ResNet12]) -> None:
    with pytest.raises(ValueError, match="side must be at least 16, got 15"):
        network(side=15)
    with pytest.raises(ValueError, match="ways must be at least 1, got 0"):
        network(ways=0)
    width = {"width": 12} if network is Conv4 else {"widths": (64, 128, 12, 8)}
    with pytest.raises(ValueError, match="multiple"):
        network(**width)
