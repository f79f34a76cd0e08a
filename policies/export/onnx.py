"""Export of a policy to ONNX: from an observation to the action that ``Controller.predict`` returns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.version import __version__
from metarl.policies.controller import Controller

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ModuleNotFoundError as missing:
    raise Refusal("the export to ONNX needs the package onnx: pip install 'metarl[onnx]'") from missing

OPSET, FORMAT = 17, 8  # old enough for the runtimes of today's devices


def write_onnx(controller: Controller, path: str | Path, batch: int = 1) -> None:
    """Write a policy as an ONNX file with the input ``observation`` and the output ``action``.

    Args:
        controller: The controller, meta-trained or adapted; what adapts it is left out.
        path: The file.
        batch: The observations [batch, observation] of a call. It is fixed, so that no runtime has to allocate memory.

    Raises:
        Refusal: If the batch is not at least 1, or the file cannot be written.
    """
    if batch < 1:
        raise Refusal(f"a batch has at least 1 observation, got {batch}")
    try:
        write_atomically(Path(path), model(controller, batch).SerializeToString())
    except OSError as error:
        raise Refusal(f"cannot write {path}: {error.strerror or error}") from None


def model(controller: Controller, batch: int) -> onnx.ModelProto:
    """Return the policy as an ONNX model, one node per operation."""
    network, metadata = controller.network, controller.metadata
    constants = {name: tensor.numpy() for name, tensor in controller.parameters.items()}
    constants = {name: constants[name] for layer in network.layers for name in layer.operands}
    constants |= {
        "action_scale": np.array(metadata.action_scale, np.float32),
        "action_low": np.array(metadata.action_low, np.float32),
        "action_high": np.array(metadata.action_high, np.float32),
    }
    nodes, value = [], "observation"
    for layer in network.layers:
        nodes.append(helper.make_node("Gemm", [value, *layer.operands], [f"{layer.name}.output"], transB=1))
        value = f"{layer.name}.output"
        if layer.activation == "relu":
            nodes.append(helper.make_node("Relu", [value], [f"{layer.name}.relu"]))
            value = f"{layer.name}.relu"
    nodes += [
        helper.make_node("Mul", [value, "action_scale"], ["scaled"]),
        helper.make_node("Max", ["scaled", "action_low"], ["bounded"]),
        helper.make_node("Min", ["bounded", "action_high"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [batch, network.observation_size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [batch, network.action_size])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=FORMAT,
        producer_name="metarl",
        producer_version=__version__,
    )
    onnx.checker.check_model(made, full_check=True)
    return made
