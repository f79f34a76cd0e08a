"""Weights of binary bases: groups, products from packed words, and files, against dense numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from basis_problems import with_bases
from device_problems import device_controller, device_parameters

from metarl.core.errors import Refusal
from metarl.policies.compression.bases import (
    ALPHAS,
    CODES,
    Bases,
    GroupKind,
    as_parameters,
    average_bits,
    bases_of,
    coded_names,
    group_shape,
    grouped,
    stored_layers,
    ungrouped,
)
from metarl.policies.compression.basis_packing import COUNTS, packed_bases, unpacked_bases
from metarl.policies.compression.binary_product import packed_matrix, packed_run, packed_words
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(observation_size=5, hidden_sizes=(37, 6), action_size=3)
NAME = "layer2.weight"


def coded(kind: GroupKind = "row") -> dict[str, torch.Tensor]:
    return with_bases(device_parameters(NETWORK, "maml"), NETWORK, kind)


def test_groups_by_hand() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    assert grouped(matrix, group_shape((2, 3), "row", "w")).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert grouped(matrix, group_shape((2, 3), "channel", "w")).tolist() == [[0, 3], [1, 4], [2, 5]]
    # Rows of 20 numbers are short, and columns of 100 are not; the rows of 100 numbers of 6 outputs stay rows.
    assert group_shape((100, 20), "auto", "w") == (1, 20)
    assert group_shape((6, 100), "auto", "w") == (6, 1)
    filters = torch.arange(2.0 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    assert grouped(filters, group_shape(filters.shape, "kernel", "w"))[1].tolist() == [4, 5, 6, 7]
    assert grouped(filters, group_shape(filters.shape, "channel", "w"))[1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    kinds: tuple[GroupKind, ...] = ("row", "kernel", "channel")
    for kind in kinds:
        groups = group_shape(filters.shape, kind, "w")
        assert torch.equal(ungrouped(grouped(filters, groups), filters.shape, groups), filters)
    with pytest.raises(Refusal, match="kernels do not divide layer1"):
        group_shape((2, 3), "kernel", "layer1.weight")


def test_bases_become_parameters_and_back_with_those_present_first() -> None:
    codes = torch.tensor([[[0.0, 1.0], [0.0, -1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    bases = Bases(codes, torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    parameters = as_parameters("w", bases, (2, 2), (2, 1))
    assert parameters["w"].tolist() == [[2, -2], [3, 3]]
    assert parameters["w" + ALPHAS].tolist() == [[[2], [3]]]
    assert average_bits([bases]) == average_bits([bases_of(parameters, "w")]) == 1
    assert torch.equal(bases_of(parameters, "w").weights, parameters["w"])


@pytest.mark.parametrize("kind", ["row", "channel"])
def test_products_of_packed_words_equal_the_dense_ones(kind: GroupKind) -> None:
    parameters = coded(kind)
    random = np.random.default_rng(0)
    for name in coded_names(parameters):
        weight, packed = parameters[name].numpy(), packed_matrix(parameters, name)
        inputs = random.standard_normal((11, weight.shape[1])).astype(np.float32)
        np.testing.assert_allclose(packed.product(inputs), inputs @ weight.T, rtol=1e-5, atol=1e-5)
    observations = torch.from_numpy(random.standard_normal((11, 5)).astype(np.float32))
    dense, packed_mean = (NETWORK(parameters, observations, *run)[0] for run in ((), (packed_run(parameters),)))
    torch.testing.assert_close(packed_mean, dense, rtol=1e-5, atol=1e-5)


def test_products_of_signs_are_counts_of_bits() -> None:
    parameters, random = coded(), np.random.default_rng(0)
    signs = random.integers(0, 2, (11, 37)).astype(bool)
    found = packed_matrix(parameters, NAME).binary_product(packed_words(signs))
    bases = bases_of(parameters, NAME)
    # Sums of signs are whole numbers, exact in floats; the coordinates then multiply them in the same order.
    sums = np.einsum("sn,gnb->gsb", np.where(signs, 1.0, -1.0), bases.codes.numpy()).astype(np.float32)
    expected = np.zeros_like(found)
    for basis in range(sums.shape[2]):
        expected += (sums[:, :, basis] * bases.alphas.numpy()[:, basis, None]).T
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(Refusal, match="a basis for each output"):
        packed_matrix(coded("channel"), NAME).binary_product(packed_words(signs))


@pytest.mark.parametrize("kind", ["row", "channel"])
def test_a_file_holds_bits_and_coordinates_alone(kind: GroupKind, tmp_path: Path) -> None:
    controller = device_controller(NETWORK, "maml", coded(kind))
    controller.save(tmp_path / "a.safetensors")
    loaded = load_controller(tmp_path / "a.safetensors")
    assert loaded.metadata.compression is not None and loaded.metadata.compression.kind == "bases"
    assert loaded.parameters.keys() == controller.parameters.keys()
    for name, tensor in controller.parameters.items():
        assert torch.equal(loaded.parameters[name], tensor), name
    tensors = packed_bases(controller.parameters)
    for layer in stored_layers(NETWORK.layers, controller.parameters):
        name = f"{layer.name}.weight"
        bases = bases_of(controller.parameters, name)
        stored = sum(tensors[name + part].nbytes for part in (COUNTS, ALPHAS, CODES))
        # Sec. 2.10 of our notes on the source: I n bits and 32 I for each group, here a byte for I.
        bits = bases.coordinates * (bases.size + 32) + 8 * len(bases.codes)
        assert stored == math.ceil(bits / 8) == layer.parameter_bytes - 4 * layer.biases
        assert name not in tensors


def test_what_a_file_cannot_hold_is_refused() -> None:
    tensors = packed_bases(coded())
    counts, alphas, codes = (tensors[NAME + part] for part in (COUNTS, ALPHAS, CODES))
    for changed, sentence in (
        ({NAME + COUNTS: counts.float()}, "must be uint8 with groups"),
        ({NAME + COUNTS: counts.reshape(-1)}, "must be uint8 with groups"),
        ({NAME + COUNTS: counts + 9}, "at most 8 are allowed"),
        ({NAME + ALPHAS: alphas[1:]}, "a coordinate for each basis"),
        ({NAME + ALPHAS: alphas * math.nan}, "holds a NaN"),
        ({NAME + CODES: codes[1:]}, "a bit for each of"),
        ({NAME + CODES: codes | 255}, "bits set behind its last sign"),
        ({NAME: torch.zeros(6, 37)}, "without 'layer2.weight'"),
        ({"layer9.weight" + COUNTS: counts}, "belong to no parameter"),
    ):
        with pytest.raises(Refusal, match=sentence):
            unpacked_bases(tensors | changed, NETWORK)


def test_parameters_that_are_no_bases_are_refused() -> None:
    parameters = coded()
    controller = device_controller(NETWORK, "maml", parameters)
    half = parameters[NAME + CODES].clone()
    half[0, 0, 0] = 0.5
    missing = {name: each for name, each in parameters.items() if name != NAME + CODES}
    for changed, sentence in (
        (parameters | {NAME + CODES: half}, "must be -1 and"),
        (parameters | {NAME: parameters[NAME] + 1}, "is not the sum of its bases"),
        (parameters | {NAME + ALPHAS: parameters[NAME + ALPHAS] + 1}, "coordinates of 0"),
        (parameters | {NAME + ALPHAS: torch.zeros(3, 6, 37)}, "groups along whole axes"),
        (parameters | {f"{NAME}.mask": torch.ones(6, 37)}, "a mask or bases"),
        (missing, "must come together"),
    ):
        with pytest.raises(Refusal, match=sentence):
            Controller(changed, NETWORK, controller.metadata)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    device_controller(NETWORK, "maml", coded()).save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(Refusal):
            load_controller(path)
