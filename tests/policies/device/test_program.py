"""The device program: its plan keeps apart what is alive together, and its windows add up to the same step."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from contexts import suited
from device_problems import device_parameters, random_samples
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.policies.device.adaptation import step_program
from metarl.policies.device.kernels import KERNELS
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer, Samples, device_layers
from metarl.policies.device.planner import Span, lifetimes, overlap, plan
from metarl.policies.device.program import Buffer, Buffers, Operation, Phase, Program, Stage
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Runner, constants
from metarl.policies.device.step import device_step, recorded_step
from metarl.policies.device.workload import Estimator, Window, Workload, whole_window
from metarl.policies.methods import METHODS, get_method
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(9, 7), action_size=3)
ESTIMATOR = Estimator(0.9, 0.8)


def layers_of(method: str, frozen: Sequence[int] = ()) -> tuple[DeviceLayer, ...]:
    network = suited(NETWORK, method)
    return device_layers(network, device_parameters(network, method, frozen=frozen), get_method(method), 0)


def small_program(*stages: Stage) -> Program:
    """Two rows of a matrix, of which each stage copies something somewhere; by hand."""
    buffers = Buffers()
    for name, count in (("a", 4), ("b", 2), ("c", 4), ("d", 1)):
        buffers.add(Buffer(name, (count,)))
    return Program((Phase("all", stages),), buffers)


def test_lifetimes_by_hand() -> None:
    copies = [Operation("copy", names) for names in (("a", "b"), ("b", "c"), ("c", "d"))]
    alive = lifetimes(small_program(Stage("one", tuple(copies))))
    assert alive == {"a": (Span(0, 0),), "b": (Span(0, 1),), "c": (Span(1, 2),), "d": (Span(2, 2),)}
    # b is written in a loop and read after it: it is alive in all turns. a comes from before and is read in each.
    alive = lifetimes(
        small_program(Stage("one", (Operation("fill", ("a",)),)), Stage("two", tuple(copies[:2]), rows=5))
    )
    assert alive == {"a": (Span(0, 2),), "b": (Span(1, 2),), "c": (Span(2, 2),)}
    # What is scratch memory is free between the operations that use it.
    program = small_program(Stage("one", (*copies, copies[0])))
    program.buffers["b"] = Buffer("b", (2,), scratch=True)
    assert lifetimes(program)["b"] == (Span(0, 0), Span(1, 1), Span(3, 3))


def test_a_plan_by_hand() -> None:
    """a (16 bytes) and c are never alive together and share a place; b is beside both, and d where b was."""
    copies = [Operation("copy", names) for names in (("a", "b"), ("b", "c"), ("c", "d"))]
    planned = plan(small_program(Stage("one", tuple(copies))))
    assert planned.offsets == {"a": 0, "b": 16, "c": 0, "d": 16}
    assert planned.bytes == 24


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    inputs = dict(zip(("layer1", "layer2"), NETWORK.sizes, strict=False))
    kept = {name: (draw(st.integers(0, most)), most) for name, most in inputs.items()}
    return Workload(draw(st.integers(1, 30)), draw(st.integers(1, 30)), rows=draw(st.integers(1, 4)), kept=kept)


@pytest.mark.parametrize("method", METHODS)
@given(work=workloads(), frozen=st.sets(st.integers(0, 2), max_size=1), estimated=st.booleans())
def test_what_is_alive_together_lies_apart(method, work, frozen, estimated) -> None:
    frozen = frozen if method in ("maml", "p-meta") else ()
    planned = plan(step_program(layers_of(method, tuple(frozen)), work, ESTIMATOR if estimated else None))
    buffers, alive = planned.program.buffers, lifetimes(planned.program)
    owned = buffers.owned_bytes()
    for name, life in alive.items():
        assert planned.offsets[name] % buffers[name].width == 0
        assert planned.offsets[name] + owned[name] <= planned.bytes
        for other, its_life in alive.items():
            if other != name and overlap(life, its_life):
                first, second = sorted((name, other), key=lambda each: (planned.offsets[each], owned[each]))
                assert planned.offsets[first] + owned[first] <= planned.offsets[second]
    fixed = plan(step_program(layers_of(method, tuple(frozen)), work, ESTIMATOR if estimated else None))
    assert fixed.offsets == planned.offsets


@pytest.mark.parametrize("method", METHODS)
def test_every_operation_has_a_kernel_and_every_buffer_a_use(method: str) -> None:
    for chunk in (6, 40):
        program = step_program(layers_of(method), Workload(20, chunk), ESTIMATOR)
        operations = [operation for stage in program.stages() for operation in stage.operations]
        assert {operation.kernel for operation in operations} <= set(KERNELS)
        assert {buffer.name for operation in operations for buffer in program.used(operation)} == set(program.buffers)


def windows_of(layers: Sequence[DeviceLayer], rows: int) -> list[Window]:
    """Return windows of at most ``rows`` inputs of one layer; vectors go with the first of their layer."""
    whole = whole_window(layers)
    windows = []
    for layer, (_, inputs) in whole.inputs.items():
        for first in range(0, inputs, rows):
            vectors = {name for name in whole.vectors if name.startswith(layer) and first == 0}
            windows.append(Window({layer: (first, min(rows, inputs - first))}, frozenset(vectors)))
    return windows


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.takes_context])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31 - 1), rows=st.integers(1, 9), chunk=st.none() | st.integers(1, 20))
def test_windows_add_up_to_the_same_step(method, seed, rows, chunk) -> None:
    parameters = device_parameters(NETWORK, method, seed)
    episodes = random_samples(NETWORK, (14, 3, 20), seed)
    expected = device_step(NETWORK, parameters, get_method(method), 0, episodes, chunk)
    windows = windows_of(device_layers(NETWORK, parameters, get_method(method), 0), rows)
    storage = {part: [getattr(episode, part) for episode in episodes] for part in Samples._fields}
    whole, divided = Meter(), Meter()
    recorded_step(NETWORK, parameters, get_method(method), 0, storage, chunk=chunk, meter=whole)
    adapted = recorded_step(
        NETWORK, parameters, get_method(method), 0, storage, chunk=chunk, meter=divided, windows=windows
    )
    assert divided.peak < whole.peak or method == "anil"
    for name, tensor in expected.items():
        torch.testing.assert_close(adapted[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_arena_is_what_the_plan_says_for_the_channels_that_were_kept() -> None:
    parameters, episodes = device_parameters(NETWORK, "p-meta"), random_samples(NETWORK, (14, 3, 20))
    layers = device_layers(NETWORK, parameters, get_method("p-meta"), 0)
    storage = {part: [getattr(episode, part) for episode in episodes] for part in Samples._fields}
    run = Run(storage, 37, {name: tensor.numpy().copy() for name, tensor in parameters.items()})
    meter = Meter()
    runner = Runner(
        lambda kept: step_program(layers, Workload(20, 6, kept=kept)), constants(layers, parameters), run, meter
    )
    runner.run()
    assert 0 < run.kept["layer1"][0] <= run.kept["layer1"][1] <= 5
    assert 0 < run.kept["layer2"][0] <= run.kept["layer2"][1] <= 9
    assert meter.peak == runner.plan.bytes == plan(step_program(layers, Workload(20, 6, kept=run.kept))).bytes
    assert len(np.unique(runner.view("layer2.places"))) in (run.kept["layer2"][1], run.kept["layer2"][1] + 1)
