"""The files of classifiers: as they were, or refused in one sentence, and never taken for a policy's."""

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from controller_files import write_text_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from small_classifiers import small_classifier

import metarl
from metarl.policies.classifier import Classifier
from metarl.policies.controller import Controller
from metarl.policies.files.controller_file import from_json, to_json
from metarl.policies.files.metadata import ClassifierMetadata
from metarl.policies.files.pretrained import find_controller
from metarl.policies.loading import load_classifier, load_controller
from metarl.policies.methods import ABLATIONS, METHODS
from metarl.policies.networks.conv4 import Conv4
from metarl.policies.networks.network import Parameters
from metarl.policies.networks.resnet12 import ResNet12

CLASSIFIER = small_classifier()
RESNET12 = small_classifier(network=ResNet12(side=16, ways=2, widths=(8, 8, 16, 8)))
POLICY = find_controller("navigation-2d/maml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "controller.safetensors"


def assert_same(first: Classifier, second: Classifier) -> None:
    assert (first.metadata, first.network) == (second.metadata, second.network)
    assert first.parameters.keys() == second.parameters.keys()
    assert all(torch.equal(tensor, second.parameters[name]) for name, tensor in first.parameters.items())


def write_by_hand(
    path: Path, tensors: Parameters | None = None, of: Classifier = CLASSIFIER, **changes: object
) -> None:
    content = {**json.loads(to_json(of.metadata, of.network)), **changes}
    content = {name: value for name, value in content.items() if value is not ...}
    write_text_by_hand(path, json.dumps(content), of.parameters if tensors is None else tensors)


@pytest.mark.parametrize("classifier", [CLASSIFIER, RESNET12], ids=["conv4", "resnet12"])
def test_round_trip(path, classifier):
    classifier.save(path)
    assert list(path.parent.iterdir()) == [path]
    loaded = metarl.load(str(path))
    assert isinstance(loaded, metarl.Classifier)
    assert_same(loaded, classifier)
    assert safetensors.numpy.load_file(path).keys() == classifier.parameters.keys()


def test_the_metadata_by_hand():
    assert json.loads(to_json(CLASSIFIER.metadata, CLASSIFIER.network)) == {
        "method": "maml",
        "inner_steps": 2,
        "shots": 1,
        "queries": 2,
        "data": "colours",
        "training": {"seed": 3},
        "compression": None,
        "network": {"kind": "conv4", "side": 16, "ways": 3, "width": 8, "norm": "group", "pooling": "max"},
    }
    assert json.loads(to_json(RESNET12.metadata, RESNET12.network))["network"] == {
        "kind": "resnet12",
        "side": 16,
        "ways": 2,
        "widths": [8, 8, 16, 8],
        "norm": "group",
    }


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
size = st.integers(1, 1000)
eights = st.integers(1, 20).map(lambda count: 8 * count)
norms = st.sampled_from(["group", "batch"])
networks = st.builds(Conv4, st.integers(16, 200), size, eights, norms, st.sampled_from(["max", "average"])) | st.builds(
    ResNet12, st.integers(16, 4096), size, st.tuples(*[eights] * 4), norms
)


@given(
    network=networks,
    metadata=st.builds(
        ClassifierMetadata,
        st.text(max_size=200),
        size,
        size,
        size,
        st.text(),
        st.dictionaries(st.text(), plain, max_size=3),
    ),
)
def test_any_metadata_comes_back_as_it_was(network, metadata):
    assert from_json(to_json(metadata, network)) == (metadata, network)


@given(st.text())
def test_any_text_is_refused(text):
    with pytest.raises(ValueError, match="metadata"):
        from_json(text)


@settings(max_examples=20)
@given(
    method=st.sampled_from([*METHODS, *ABLATIONS]),
    inner_steps=st.integers(1, 3),
    width=st.sampled_from([8, 16]),
    ways=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_any_classifier_comes_back_as_it_was(tmp_path_factory, method, inner_steps, width, ways, seed):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    network = Conv4(side=17, ways=ways, width=width)
    classifier = small_classifier(method, network, seed=seed, inner_steps=inner_steps)
    classifier.save(path, overwrite=True)
    assert_same(load_classifier(path), classifier)


def test_an_existing_file_is_overwritten_only_on_request(path):
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"controller\.safetensors exists already and is not overwritten"):
        CLASSIFIER.save(path)
    assert path.read_text() == "precious"
    CLASSIFIER.save(path, overwrite=True)
    assert_same(load_classifier(path), CLASSIFIER)


def test_nothing_is_written_when_saving_fails(path):
    code = replace(CLASSIFIER, metadata=replace(CLASSIFIER.metadata, training={"code": print}))
    with pytest.raises(ValueError, match="must be plain JSON"):
        code.save(path)
    assert list(path.parent.iterdir()) == []


def test_policies_and_classifiers_are_not_mistaken_for_each_other(path):
    CLASSIFIER.save(path)
    with pytest.raises(ValueError, match=r"this is an image network \(conv4\), and a policy is needed here$"):
        load_controller(path)
    with pytest.raises(
        ValueError, match=r"safetensors: this is a policy \(navigation-2d\), and an image network is needed"
    ):
        load_classifier(POLICY)
    assert isinstance(metarl.load(path), Classifier) and isinstance(metarl.load(POLICY), Controller)
    with pytest.raises(ValueError, match="^the controller: this is an image network"):
        metarl.evaluate(CLASSIFIER)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", '{"network": []}', '{"network": {"kind": []}}', '{"network": {"kind": "mlp"}}'],
)
def test_files_that_are_no_classifiers(path, text):
    write_text_by_hand(path, text, CLASSIFIER.parameters)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_classifier(path)


def test_a_file_truncated_anywhere_is_refused(path):
    CLASSIFIER.save(path)
    content = path.read_bytes()
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_classifier(path)


def test_a_flipped_byte_is_refused_or_means_the_same(path):
    CLASSIFIER.save(path)
    content = path.read_bytes()
    offsets, refused = range(0, len(content), 11), 0
    for offset in offsets:
        altered = bytearray(content)
        altered[offset] ^= 1 << offset % 8
        path.write_bytes(altered)
        try:
            loaded = load_classifier(path)
        except ValueError:
            refused += 1
        else:
            assert_same(loaded, CLASSIFIER)
    # Spaces that pad the header may become other white space.
    assert refused > len(offsets) - 10


@settings(max_examples=200)
@given(cut=st.floats(0, 1), junk=st.binary(max_size=40), rest=st.floats(0, 1))
def test_junk_is_refused(tmp_path_factory, cut, junk, rest):
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    CLASSIFIER.save(path, overwrite=True)
    content = path.read_bytes()
    junked = content[: int(cut * len(content))] + junk + content[int(rest * len(content)) :]
    path.write_bytes(junked)
    if junked != content:
        with pytest.raises(ValueError, match="junk"):
            load_classifier(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"method": ...}, "the metadata lacks 'method'"),
        ({"method": 1}, "method must be a string, got 1"),
        ({"family": "navigation-2d"}, "unknown field 'family'"),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"shots": True}, "shots must be a whole number, got True"),
        ({"queries": 1.5}, "queries must be a whole number, got 1.5"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"inner_steps": 3}, r"'step_sizes' must have the shape \[3, 9\], got \[2, 9\]"),
        ({"inner_steps": 10**12}, "inner_steps must be at most 1000, got 1000000000000"),
        ({"shots": 10**12}, "shots must be at most 1000000"),
        (
            {"compression": {"kind": "masks", "version": 1}},
            "this metarl does not read the compression 'masks' of version 1",
        ),
        ({"data": None}, "data must be a string"),
        ({"training": []}, "training must be an object"),
        ({"network": "conv4"}, "must be an object with an object 'network'"),
        ({"network": {}}, "network kind must be .*, got None"),
    ],
)
def test_metadata_that_does_not_fit(path, change, sentence):
    write_by_hand(path, **change)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{sentence}"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("of", "change", "sentence"),
    [
        (CLASSIFIER, {"kind": "vgg"}, "network kind must be .*, got 'vgg'"),
        (CLASSIFIER, {"kind": ["conv4"]}, "network kind must be"),
        (CLASSIFIER, {"kind": "resnet12"}, "network (lacks 'widths'|has the unknown field)"),
        (CLASSIFIER, {"side": 8}, "side must be at least 16, got 8"),
        (CLASSIFIER, {"side": 32}, r"'fc.weight' must have the shape \[3, 32\], got \[3, 8\]"),
        (CLASSIFIER, {"side": 16.0}, "side must be a whole number"),
        (CLASSIFIER, {"ways": 4}, r"'fc.weight' must have the shape \[4, 8\]"),
        (CLASSIFIER, {"ways": 0}, "ways must be at least 1"),
        (CLASSIFIER, {"width": 12}, "must be a multiple of 8, got 12"),
        (CLASSIFIER, {"width": 8 * 10**15}, "the parameters of the network would take 10.* GB of memory"),
        (RESNET12, {"side": 10**6}, "the activations of one image would take"),
        (CLASSIFIER, {"width": 16}, r"'conv1.weight' must have the shape \[16, 3, 3, 3\]"),
        (CLASSIFIER, {"norm": "layer"}, "norm must be 'group' or 'batch', got 'layer'"),
        (CLASSIFIER, {"pooling": 2}, "pooling must be 'max' or 'average', got 2"),
        (CLASSIFIER, {"depth": 4}, "unknown field 'depth'"),
        (RESNET12, {"widths": 8}, "widths must be a list"),
        (RESNET12, {"widths": [8, 8, 16]}, "widths has 3 entries, too few"),
        (RESNET12, {"widths": [8] * 5}, "widths must be at most 4 entries long"),
        (RESNET12, {"widths": [8, 8, 16, 4]}, r"widths\[3\] must be (at least|a multiple of) 8, got 4"),
        (RESNET12, {"widths": [8, 8, 16, 8.0]}, r"widths\[3\] must be a whole number"),
        (RESNET12, {"pooling": "max"}, "unknown field 'pooling'"),
    ],
)
def test_networks_that_do_not_fit(path, of, change, sentence):
    write_by_hand(path, of=of, network={**json.loads(to_json(of.metadata, of.network))["network"], **change})
    with pytest.raises(ValueError, match=sentence):
        load_classifier(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"norm1.bias": None}, "'norm1.bias' is missing"),
        (
            {"conv5.weight": torch.zeros(1)},
            "unknown parameter 'conv5.weight': known are those of the layers conv1 to fc",
        ),
        ({"conv1.bias": torch.zeros(8)}, "unknown parameter 'conv1.bias'"),
        ({"norm1.bias": torch.zeros(1, 8)}, "'norm1.bias' must have the shape"),
        ({"norm1.bias": torch.zeros(8, dtype=torch.float16)}, "'norm1.bias' must be float32, got float16"),
        ({"fc.bias": torch.tensor([0.0, math.nan, 0.0])}, "'fc.bias' holds a NaN or an infinite number"),
        ({"step_sizes": torch.full((2, 9), math.inf)}, "'step_sizes' holds a NaN or an infinite number"),
    ],
)
def test_tensors_that_do_not_fit(path, change, sentence):
    tensors = {name: tensor for name, tensor in {**CLASSIFIER.parameters, **change}.items() if tensor is not None}
    write_by_hand(path, tensors)
    with pytest.raises(ValueError, match=sentence):
        load_classifier(path)


def test_a_newer_version_is_told(path):
    content = to_json(CLASSIFIER.metadata, CLASSIFIER.network)
    write_text_by_hand(path, content, CLASSIFIER.parameters, version="4")
    with pytest.raises(ValueError, match="has format version 4, this metarl reads up to 3: upgrade it"):
        load_classifier(path)


def test_a_file_written_by_hand_loads(path):
    write_by_hand(path)
    assert_same(load_classifier(path), CLASSIFIER)
    assert asdict(load_classifier(path).network) == asdict(CLASSIFIER.network)
    assert np.array_equal(load_classifier(path).parameters["fc.bias"].numpy(), np.zeros(3))
