"""Nested subnets in one table: the order of its rows, its file, and what reading a subnet touches."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_classifiers import small_classifier

from metarl.core.errors import Refusal
from metarl.policies.compression.masks import MASK, weight_names
from metarl.policies.compression.nested import (
    encoded,
    own_names,
    packed_tables,
    row_size,
    sampled_masks,
    shared_names,
    unpacked_tables,
)
from metarl.policies.controller import Controller
from metarl.policies.loading import load, load_controller
from metarl.policies.nested import Nested, load_nested

COUNTS = {"layer1.weight": (2, 1, 1), "layer2.weight": (40, 20, 3), "layer3.weight": (70, 20, 5)}


def nested(seed: int = 0) -> Nested:
    """The shipped navigation policy's weights as three subnets, with biases that differ between them."""
    dense = load_controller("navigation-2d/maml")
    parameters, network = dense.parameters, dense.network
    random = torch.Generator().manual_seed(seed)
    tables = {name: encoded(parameters[name], parameters[name].shape[1], COUNTS[name]) for name in COUNTS}
    own = {
        name: parameters[name] + 0.1 * torch.randn(3, *parameters[name].shape, generator=random)
        for name in own_names(network)
    }
    return Nested(
        tables, own, {name: parameters[name] for name in shared_names(network, parameters)}, network, dense.metadata
    )


def test_the_papers_row_is_ordered_by_magnitude():
    row = torch.tensor([[0, 0, -1.5, 0, -2.5, 1.6, 0, -1.1]])
    table = encoded(row, 8, (4, 2, 1))
    assert table.indices.tolist() == [[4, 5, 2, 7]]
    assert table.values.numpy() == pytest.approx(np.array([[-2.5, 1.6, -1.5, -1.1]], np.float32))
    assert table.subnet(2).weight((1, 8)).tolist() == [[0, 0, 0, 0, -2.5, pytest.approx(1.6), 0, 0]]


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 9), st.booleans())
def test_masks_are_nested_keep_the_largest_and_as_many_of_each_row(seed, rows, size, ties):
    random = np.random.default_rng(seed)
    weight = torch.from_numpy(random.integers(-2, 3, (rows, size)) if ties else random.normal(size=(rows, size)))
    counts = sorted(random.integers(1, size + 1, 3).tolist(), reverse=True)
    masks = sampled_masks(weight.float(), size, counts)
    for mask, count in zip(masks, counts, strict=True):
        assert mask.sum(dim=1).tolist() == [count] * rows
        for row, kept in zip(weight.float().abs(), mask, strict=True):
            assert kept.all() or row[kept == 1].min() >= row[kept == 0].max()
    for outer, inner in pairwise(masks):
        assert torch.equal(outer * inner, inner)
    table = encoded(weight.float(), size, counts)
    for number, mask in enumerate(masks, start=1):
        assert torch.equal(table.subnet(number).weight(weight.shape), weight.float() * mask + 0)


def test_a_subnet_reads_its_columns_alone_and_copies_none():
    whole = nested()
    poisoned = {name: replace(table, values=table.values.clone()) for name, table in whole.tables.items()}
    for name, table in poisoned.items():
        table.values[:, COUNTS[name][1] :] = torch.nan
    observation = np.array([0.3, -0.2], np.float32)
    sub = replace(whole.subnet(2), tables={name: each.subnet(2) for name, each in poisoned.items()})
    assert np.array_equal(sub.predict(observation), whole.subnet(2).predict(observation))
    for name, table in whole.subnet(3).tables.items():
        assert table.values.data_ptr() == whole.tables[name].values.data_ptr()
        assert table.indices.data_ptr() == whole.tables[name].indices.data_ptr()


def test_the_table_acts_as_the_masked_network_and_switching_back_changes_nothing():
    whole, observations = nested(), np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    first = whole.subnet(1).predict(observations)
    for number in (1, 2, 3):
        controller = whole.subnet(number).controller()
        expected, _ = controller.predict(observations)
        assert whole.subnet(number).predict(observations) == pytest.approx(expected, abs=1e-6)
        assert whole.subnet(number).macs == sum(int(controller.parameters[name + MASK].sum()) for name in COUNTS)
    assert np.array_equal(whole.subnet(1).predict(observations), first)
    assert not np.allclose(whole.subnet(3).predict(observations), first)


@pytest.mark.parametrize("row", ["filter", "all"])
def test_a_file_gives_back_every_subnet_bit_by_bit(tmp_path: Path, row):
    whole = nested()
    if row == "all":
        shapes = whole.network.parameter_shapes
        whole = replace(
            whole,
            tables={
                name: encoded(table.weight(shapes[name]), int(np.prod(shapes[name])), (90, 30, 9))
                for name, table in whole.tables.items()
            },
        )
    whole.save(tmp_path / "nested.safetensors")
    back = load_nested(tmp_path / "nested.safetensors")
    for number in (1, 2, 3):
        mine, theirs = (each.subnet(number).controller().parameters for each in (whole, back))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    loaded = load(tmp_path / "nested.safetensors", subnet=2)
    assert isinstance(loaded, Controller)
    with pytest.raises(Refusal, match="--subnet"):
        load(tmp_path / "nested.safetensors")
    with pytest.raises(Refusal, match="1, the densest, to 3, got 4"):
        load(tmp_path / "nested.safetensors", subnet=4)
    with pytest.raises(Refusal, match="no subnets"):
        load("navigation-2d/maml", subnet=1)


def test_the_tensors_take_as_many_bits_as_stated():
    tables = nested().tables
    tensors = packed_tables(tables)
    for name, (first, *_) in COUNTS.items():
        rows, size = nested().network.parameter_shapes[name]
        assert tensors[f"{name}.values"].numel() == rows * first
        bits = rows * first * int(np.ceil(np.log2(size)))
        assert tensors[f"{name}.indices"].numel() == -(-bits // 8)
        assert tensors[f"{name}.counts"].tolist() == [size, *COUNTS[name]]


def wrong_tables():
    def swap(table: dict, name="layer2.weight"):
        table[f"{name}.values"] = table[f"{name}.values"].flip(1)

    def fewer(table: dict):
        table["layer2.weight.values"] = table["layer2.weight.values"][:, :-1].contiguous()

    def rising(table: dict):
        table["layer2.weight.counts"] = torch.tensor([100, 40, 50, 3], dtype=torch.int32)

    def empty(table: dict):
        table["layer2.weight.counts"] = torch.tensor([100, 40, 20, 0], dtype=torch.int32)

    def uneven(table: dict):
        table["layer2.weight.counts"] = torch.tensor([99, 40, 20, 3], dtype=torch.int32)

    def beyond(table: dict):
        table["layer2.weight.indices"] = torch.full_like(table["layer2.weight.indices"], 255)

    def twice(table: dict):
        table["layer2.weight.indices"] = torch.zeros_like(table["layer2.weight.indices"])

    def missing(table: dict):
        del table["layer2.weight.indices"]

    def fewer_subnets(table: dict):
        table["layer2.weight.counts"] = torch.tensor([100, 40, 20], dtype=torch.int32)

    def infinite(table: dict):
        table["layer2.weight.values"][0, 0] = torch.inf

    return [swap, fewer, rising, empty, uneven, beyond, twice, missing, fewer_subnets, infinite]


@pytest.mark.parametrize("change", wrong_tables(), ids=lambda each: each.__name__)
def test_a_wrong_table_is_refused_in_a_sentence(change):
    whole = nested()
    tensors = {name: tensor.clone() for name, tensor in packed_tables(whole.tables).items()}
    change(tensors)
    with pytest.raises(Refusal) as refusal:
        unpacked_tables(tensors, whole.network)
    assert "\n" not in str(refusal.value)


def test_a_truncated_or_altered_file_is_refused(tmp_path: Path):
    path = tmp_path / "nested.safetensors"
    nested().save(path)
    content = path.read_bytes()
    for damaged in (content[:-7], content[:-40] + b"\0" * 40, b""):
        path.write_bytes(damaged)
        with pytest.raises(Refusal):
            load_nested(path)


def test_adaptation_moves_stored_weights_alone():
    controller = nested().subnet(2).controller()
    assert isinstance(controller, Controller)
    random = np.random.default_rng(0)
    episodes = [
        {
            "observations": random.normal(size=(9, 2)).astype(np.float32),
            "actions": random.normal(size=(9, 2)).astype(np.float32),
            "rewards": random.normal(size=9).astype(np.float32),
        }
        for _ in range(3)
    ]
    adapted = controller.adapt(episodes).parameters
    for name in weight_names(controller.network):
        outside = controller.parameters[name + MASK] == 0
        assert not adapted[name][outside].any()
        assert not torch.equal(adapted[name], controller.parameters[name])


def test_rows_of_256_must_divide_a_longer_filter():
    assert row_size((8, 100), "256", "layer1.weight") == 100
    assert row_size((8, 512), "256", "layer1.weight") == 256
    assert row_size((8, 3, 3, 3), "filter", "conv1.weight") == 27
    assert row_size((8, 10), "all", "fc.weight") == 80
    with pytest.raises(Refusal, match="rows of 256 do not divide the 288 weights"):
        row_size((8, 32, 3, 3), "256", "conv2.weight")


def test_an_image_network_goes_through_its_file(tmp_path: Path):
    dense = small_classifier()
    parameters, network = dense.parameters, dense.network
    tables = {name: encoded(parameters[name], parameters[name][0].numel(), (5, 3)) for name in weight_names(network)}
    own = {name: torch.stack([parameters[name]] * 2) for name in own_names(network)}
    assert {"norm1.weight", "norm1.bias", "fc.bias"} <= set(own)
    shared = {name: parameters[name] for name in shared_names(network, parameters)}
    whole = Nested(tables, own, shared, network, dense.metadata)
    whole.save(tmp_path / "images.safetensors")
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3)).astype(np.uint8)
    back = load(tmp_path / "images.safetensors", subnet=2)
    assert np.array_equal(back.predict(images), whole.subnet(2).controller().predict(images))
    with pytest.raises(Refusal, match="does not run from its table"):
        whole.subnet(1).predict(images)
