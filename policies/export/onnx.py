"""Export to ONNX: a policy from an observation to its action, an image network from images to logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.core.atomic import write_atomically
from metarl.core.distribution import install_command
from metarl.core.errors import Refusal
from metarl.core.version import __version__
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.networks.integers import refuse_integers
from metarl.policies.networks.kinds import GROUPS
from metarl.policies.networks.layers import Layer
from metarl.policies.networks.network import Network, Parameters
from metarl.policies.normalization import fold

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ModuleNotFoundError as missing:
    raise Refusal(f"the export to ONNX needs the package onnx: {install_command('onnx')}") from missing

OPSET, FORMAT = 17, 8  # old enough for the runtimes of today's devices
EPSILON = 1e-5  # of a group norm, as in PyTorch

Constants = dict[str, NDArray[np.generic]]


def write_onnx(controller: Controller | Classifier, path: str | Path, batch: int = 1) -> None:
    """Write a policy or an image network as an ONNX file; what adapts it is left out.

    A policy has the input ``observation`` [batch, observation] and the output ``action`` [batch, action], as
    ``Controller.predict``, or [batch], whole numbers, if it chooses; normalized observations are not clipped
    (``normalization.fold``). An image network has the input ``images`` [batch, 3, side, side] in [-1, 1] and the output
    ``logits`` [batch, way].

    Args:
        controller: The policy or image network, meta-trained or adapted.
        path: The file.
        batch: The inputs of a call. It is fixed, so that no runtime has to allocate memory.

    Raises:
        Refusal: If the batch is not at least 1, the network has batch norm, or the file cannot be written.
    """
    if batch < 1:
        raise Refusal(f"a batch has at least 1 input, got {batch}")
    refuse_integers(controller.network, "the export to ONNX")
    model = policy_model(controller, batch) if isinstance(controller, Controller) else image_model(controller, batch)
    try:
        write_atomically(Path(path), model.SerializeToString())
    except OSError as error:
        raise Refusal(f"cannot write {path}: {error.strerror or error}") from None


def policy_model(controller: Controller, batch: int) -> onnx.ModelProto:
    """Return a policy as an ONNX model."""
    network, metadata = controller.network, controller.metadata
    parameters = fold(controller.parameters, network.layers[0])
    graph = Graph(network, parameters)
    mean = graph.run("observation")
    if network.choices is not None:
        choice = graph.node("ArgMax", [mean], axis=1, keepdims=0)
        return graph.model([batch, network.observation_size], [batch], choice, "action", TensorProto.INT64)
    scaled = graph.node("Mul", [mean, graph.constant("action_scale", np.float32(metadata.action_scale))])
    for operator, name in (("Max", "action_low"), ("Min", "action_high")):
        bound = graph.constant(name, np.array(getattr(metadata, name), np.float32))
        scaled = graph.node(operator, [scaled, bound])
    return graph.model([batch, network.observation_size], [batch, network.action_size], scaled, "action")


def image_model(classifier: Classifier, batch: int) -> onnx.ModelProto:
    """Return an image network as an ONNX model."""
    network = classifier.network
    if network.norm == "batch":
        raise Refusal("a network with batch norm depends on all images of a call: only group norm can be exported")
    graph = Graph(network, classifier.parameters)
    logits = graph.run("images")
    return graph.model([batch, 3, network.side, network.side], [batch, network.ways], logits, "logits")


class Graph:
    """The nodes of a network, derived from the statement of its layers."""

    def __init__(self, network: Network, parameters: Parameters) -> None:
        self.network = network
        self.parameters = {
            name: tensor.numpy() for layer in network.layers for name, tensor in layer.modulated(parameters).items()
        }
        self.nodes: list[onnx.NodeProto] = []
        self.constants: Constants = {}
        self.source = ""

    def run(self, source: str) -> str:
        """Add the network's layers behind the input ``source``, and return their output."""
        self.source = value = source
        waiting: list[str] = []  # residual blocks' inputs, then their main branches' outputs
        for layer in self.network.layers:
            if layer.residual == "fork":
                waiting.append(value)
            elif layer.residual == "shortcut":
                value, waiting[-1] = waiting[-1], value
            value = self._compute(layer, value)
            if layer.residual == "join":
                value = self.node("Add", [waiting.pop(), value])
            value = self._finish(layer, value)
        return value

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return its output."""
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Add a constant and return its name."""
        self.constants[name] = np.asarray(value)
        return name

    def model(
        self, takes: list[int], gives: list[int], value: str, output: str, element: int = TensorProto.FLOAT
    ) -> onnx.ModelProto:
        """Return the model with an input and an output.

        Args:
            takes: The shape of the input.
            gives: The shape of the output.
            value: What is the output.
            output: The output's name.
            element: The type of its elements.
        """
        self.nodes.append(helper.make_node("Identity", [value], [output]))
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(self.source, TensorProto.FLOAT, takes)],
            [helper.make_tensor_value_info(output, element, gives)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=FORMAT,
            producer_name="metarl",
            producer_version=__version__,
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _compute(self, layer: Layer, value: str) -> str:
        """Add what a layer does to its input, up to the output that a trace records."""
        if layer.is_norm:
            value = self._normalized(layer, value)
            scale, offset = (f"{layer.name}.weight", f"{layer.name}.bias")
            for operator, name in (("Mul", scale), ("Add", offset)):
                value = self.node(operator, [value, self.constant(name, self.parameters[name][:, None, None])])
            return value
        operands = [self.constant(name, self.parameters[name]) for name in layer.operands]
        if layer.kind == "convolution":
            return self.node("Conv", [value, *operands], pads=[layer.kernel // 2] * 4)
        if layer.reduction == "flatten":
            value = self.node("Flatten", [value])
        elif layer.reduction == "average":
            value = self.node("ReduceMean", [value], axes=[2, 3], keepdims=0)
        return self.node("Gemm", [value, *operands], transB=1)

    def _normalized(self, layer: Layer, value: str) -> str:
        """Add a group norm without its scales: each group of channels becomes one channel of an instance norm."""
        groups = self.constant(f"{layer.name}.groups", np.array([0, GROUPS, -1], np.int64))
        maps = self.constant(f"{layer.name}.maps", np.array([0, layer.outputs, layer.side, layer.side], np.int64))
        ones, zeros = np.ones(GROUPS, np.float32), np.zeros(GROUPS, np.float32)
        unit = [self.constant("ones", ones), self.constant("zeros", zeros)]
        grouped = self.node("Reshape", [value, groups])
        return self.node("Reshape", [self.node("InstanceNormalization", [grouped, *unit], epsilon=EPSILON), maps])

    def _finish(self, layer: Layer, value: str) -> str:
        """Add the activation and the pooling after a layer."""
        if layer.activation == "relu":
            value = self.node("Relu", [value])
        elif layer.activation == "tanh":
            value = self.node("Tanh", [value])
        elif layer.activation == "leaky_relu":
            value = self.node("LeakyRelu", [value], alpha=layer.slope)
        if layer.pooling is not None:
            operator = "MaxPool" if layer.pooling == "max" else "AveragePool"
            value = self.node(operator, [value], kernel_shape=[2, 2], strides=[2, 2])
        return value
