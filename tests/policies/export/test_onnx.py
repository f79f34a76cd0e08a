"""The exported ONNX file under onnxruntime against ``Controller.predict``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from device_problems import device_controller, device_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_classifiers import small_classifier

from metarl.core.errors import Refusal
from metarl.policies.loading import load_controller
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.mlp import CategoricalMLP, GaussianMLP
from metarl.policies.networks.resnet12 import ResNet12
from metarl.policies.normalization import COUNT, MEAN, STD

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'metarl-adapt[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def actions(path: Path, observations: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (result,) = session.run(["action"], {"observation": observations})
    return result


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hidden=st.lists(st.integers(1, 12), max_size=3),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 3),
    activation=st.sampled_from(["relu", "tanh"]),
)
def test_acts_as_predict_does(tmp_path: Path, hidden, seed, batch, activation) -> None:
    from metarl.policies.export.onnx import write_onnx

    network = GaussianMLP(4, tuple(hidden), 2, activation=activation)
    controller = device_controller(network, "maml", device_parameters(network, "maml", seed))
    observations = 3 * np.random.default_rng(seed).standard_normal((batch, 4), np.float32)
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
    write_onnx(controller, path, batch)
    np.testing.assert_allclose(actions(path, observations), controller.predict(observations)[0], atol=1e-6)


def test_a_choice_is_the_largest_logit(tmp_path: Path) -> None:
    from metarl.policies.export.onnx import write_onnx

    network = CategoricalMLP(4, (7,), 3)
    controller = device_controller(network, "maml", device_parameters(network, "maml", seed=2))
    observations = 3 * np.random.default_rng(0).standard_normal((40, 4), np.float32)
    write_onnx(controller, tmp_path / "policy.onnx", 40)
    chosen = actions(tmp_path / "policy.onnx", observations)
    assert chosen.dtype == np.int64 and len(set(chosen.tolist())) > 1
    assert np.array_equal(chosen, controller.predict(observations)[0])


def test_normalizes_observations(tmp_path: Path) -> None:
    from metarl.policies.export.onnx import write_onnx

    network = GaussianMLP(4, (6,), 2)
    statistics = {MEAN: torch.linspace(-1, 2, 4), STD: torch.linspace(0.5, 3, 4), COUNT: torch.full((1,), 40.0)}
    controller = device_controller(network, "maml", device_parameters(network, "maml", 0) | statistics)
    observations = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    write_onnx(controller, tmp_path / "policy.onnx", 3)
    np.testing.assert_allclose(
        actions(tmp_path / "policy.onnx", observations), controller.predict(observations)[0], atol=1e-6
    )


def test_shipped_controllers_keep_their_bounds(tmp_path: Path) -> None:
    from metarl.policies.export.onnx import write_onnx

    for name in ("half-cheetah-velocity/p-meta", "navigation-2d/maml"):
        controller = load_controller(name)
        path = tmp_path / f"{name.partition('/')[0]}.onnx"
        write_onnx(controller, path)
        for scale in (1, 100):
            observation = scale * np.ones((1, controller.network.observation_size), np.float32)
            np.testing.assert_allclose(actions(path, observation), controller.predict(observation)[0], atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        Conv4(side=16, ways=3, width=8),
        Conv4(side=21, ways=2, width=16, pooling="average"),
        ResNet12(side=18, ways=3, widths=(8, 8, 16, 8)),
    ],
    ids=lambda network: f"{type(network).__name__}-{network.side}",
)
def test_image_networks_give_the_same_logits(tmp_path: Path, network) -> None:
    from metarl.policies.export.onnx import write_onnx

    random = torch.Generator().manual_seed(1)
    parameters = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=random)
        for name, tensor in network.initial_parameters(random).items()
    }
    classifier = small_classifier("maml", network, parameters)
    write_onnx(classifier, tmp_path / "network.onnx", batch=2)
    images = torch.rand((2, 3, network.side, network.side), generator=random) * 2 - 1
    session = runtime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    expected = network(classifier.parameters, images)[0].numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(axis=1), classifier.predict(images.numpy()))


def test_batch_norm_is_refused(tmp_path: Path) -> None:
    from metarl.policies.export.onnx import write_onnx

    with pytest.raises(Refusal, match="only group norm can be exported"):
        write_onnx(small_classifier("maml", Conv4(side=16, ways=3, width=8, norm="batch")), tmp_path / "network.onnx")


def test_an_impossible_batch_is_refused(tmp_path: Path) -> None:
    from metarl.policies.export.onnx import write_onnx

    network = GaussianMLP(4, (), 2)
    controller = device_controller(network, "maml", device_parameters(network, "maml"))
    with pytest.raises(Refusal, match="at least 1 input, got 0"):
        write_onnx(controller, tmp_path / "policy.onnx", batch=0)
    with pytest.raises(Refusal, match="cannot write"):
        write_onnx(controller, tmp_path / "missing" / "policy.onnx")
