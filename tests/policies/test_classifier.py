"""What a classifier predicts and how it adapts on a device, and what it refuses."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_classifiers import NETWORK, small_classifier

from metarl.envs.images.episodes import normalize
from metarl.images.batch import ImageBatch
from metarl.inner_loop import as_leaves, inner_step
from metarl.policies.classifier import Classifier
from metarl.policies.device.meter import Meter
from metarl.policies.methods import ABLATIONS, METHODS, get_method
from metarl.policies.networks.resnet12 import ResNet12

RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
IMAGES = normalize(PIXELS)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def unchanged(classifier: Classifier, method: str = "maml") -> bool:
    before = small_classifier(method).parameters
    return all(torch.equal(tensor, before[name]) for name, tensor in classifier.parameters.items())


def test_the_label_is_that_of_the_largest_output():
    parameters = {"fc.weight": torch.zeros(3, 8), "fc.bias": torch.tensor([0.25, -1.0, 0.5])}
    labels = small_classifier(parameters=parameters).predict(PIXELS)
    assert labels.tolist() == [2] * 6 and labels.dtype == np.int64


def test_each_image_gets_its_own_label_in_either_form():
    classifier = small_classifier(seed=9)
    with torch.no_grad():
        logits, _ = NETWORK(classifier.parameters, torch.from_numpy(IMAGES))
    expected = logits.argmax(dim=1).tolist()
    assert len(set(expected)) > 1
    assert classifier.predict(PIXELS).tolist() == classifier.predict(IMAGES).tolist() == expected
    assert [int(classifier.predict(PIXELS[index : index + 1])[0]) for index in range(6)] == expected
    assert classifier.predict(IMAGES.astype(np.float64).tolist()).tolist() == expected


def test_pixels_by_hand():
    """0, 255 and 51 are brought to -1, 1 and -0.6: what the network then sees."""
    pixels = np.zeros((1, 16, 16, 3), np.uint8)
    pixels[..., 1], pixels[0, 2, 5, 2] = 255, 51
    seen = small_classifier()._images(pixels)
    assert seen.shape == (1, 3, 16, 16) and seen.dtype == torch.float32
    assert seen[0, 0].unique().tolist() == [-1] and seen[0, 1].unique().tolist() == [1]
    assert float(seen[0, 2, 2, 5]) == pytest.approx(-0.6) and float(seen[0, 2, 5, 2]) == -1


def test_nothing_is_said_of_read_only_images():
    images = IMAGES.copy()
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_classifier().predict(images)
        small_classifier().predict(PIXELS[:, ::-1, ::-1])
        small_classifier().adapt(images, LABELS)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("method", METHODS)
def test_adapting_takes_all_steps_of_the_training_in_order(method, together):
    random = torch.Generator().manual_seed(1)
    step_sizes = 0.1 * torch.rand(2, 9, generator=random)
    classifier = small_classifier(method, parameters={"step_sizes": step_sizes})
    for name, tensor in classifier.parameters.items():
        if name.endswith(("fc2.weight", "fc2.bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=random))
    expected = classifier.parameters
    batch = ImageBatch(torch.from_numpy(IMAGES), torch.from_numpy(LABELS), together)
    for step in range(2):
        expected = inner_step(
            classifier.network, as_leaves(expected), get_method(method), step, batch, second_order=False
        ).parameters
    meter = Meter()
    adapted = classifier.adapt(PIXELS, LABELS, together, meter)
    assert meter.peak > 0 and (adapted.network, adapted.metadata) == (classifier.network, classifier.metadata)
    for name, tensor in adapted.parameters.items():
        torch.testing.assert_close(tensor, expected[name].detach(), rtol=1e-4, atol=1e-5)
    changed = {"boil": "norm4.bias", "cavia": "norm3.context"}.get(method, "fc.bias")
    assert not torch.equal(adapted.parameters[changed], classifier.parameters[changed])


def test_it_learns_its_examples():
    colours = np.zeros((6, 16, 16, 3), np.uint8) + RANDOM.integers(0, 80, (6, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(colours, LABELS, strict=True):
        image[..., label] += 150
    classifier = small_classifier(inner_steps=10, parameters={"step_sizes": torch.full((10, 9), 0.1)})
    assert classifier.predict(colours).tolist() != LABELS.tolist()
    assert classifier.adapt(colours, LABELS).predict(colours).tolist() == LABELS.tolist()


def test_residual_networks_adapt_too():
    classifier = small_classifier("anil", ResNet12(side=16, ways=3, widths=(8, 8, 8, 8)))
    adapted = classifier.adapt(PIXELS, LABELS)
    changed = [
        name for name in adapted.parameters if not torch.equal(adapted.parameters[name], classifier.parameters[name])
    ]
    assert changed == ["fc.weight", "fc.bias"]


def with_a(number: float) -> np.ndarray:
    images = IMAGES.copy()
    images[3, 0, 7, 7] = number
    return images


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (IMAGES[0], r"images of float32 must have the shape \[n, 3, 16, 16\], got \[3, 16, 16\]"),
        (PIXELS[0], r"images of uint8 must have the shape \[n, 16, 16, 3\], got \[16, 16, 3\]"),
        (IMAGES.transpose(0, 2, 3, 1), r"images of float32 must have .* got \[6, 16, 16, 3\]"),
        (PIXELS.transpose(0, 3, 1, 2), r"images of uint8 must have .* got \[6, 3, 16, 16\]"),
        (PIXELS[:, :15, :15], r"got \[6, 15, 15, 3\]"),
        (PIXELS[..., :1], r"got \[6, 16, 16, 1\]"),
        (1.0, r"images of float32 must have the shape .* got \[\]"),
        (PIXELS.astype(np.int64), r"must be uint8 \[n, 16, 16, 3\] or float32 \[n, 3, 16, 16\], got int64"),
        (IMAGES > 0, "must be uint8 .* got bool"),
        (IMAGES.astype(complex), "must be uint8 .* got complex128"),
        ([[1.0], [2.0, 3.0]], r"the images must be an array \[n, 16, 16, 3\] or \[n, 3, 16, 16\]"),
        ("cat.png", "must be uint8 .* got <U7"),
        (None, "must be uint8 .* got object"),
        (IMAGES[:0], "there is no image: give at least one"),
        (PIXELS[:0], "there is no image: give at least one"),
        (with_a(math.nan), "the images hold a NaN or an infinite number"),
        (with_a(-math.inf), "the images hold a NaN or an infinite number"),
        (np.full(IMAGES.shape, 1e300), r"must lie in \[-1, 1\], got numbers from 1e.300 to 1e.300: give uint8"),
        (127.5 * (IMAGES + 1), r"must lie in \[-1, 1\], got numbers from 0 to 255: give uint8 images"),
        (with_a(-1.001), r"must lie in \[-1, 1\], got numbers from -1.001 to 1"),
    ],
)
def test_images_that_are_refused(images, sentence):
    classifier = small_classifier()
    with pytest.raises(ValueError, match=sentence):
        classifier.predict(images)
    with pytest.raises(ValueError, match=sentence):
        classifier.adapt(images, LABELS)
    assert unchanged(classifier)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 2], r"the labels must have the shape \[6\], one for each image, got \[3\]"),
        (LABELS[:, np.newaxis], r"must have the shape \[6\], .* got \[6, 1\]"),
        (1, r"must have the shape \[6\], .* got \[\]"),
        ([0, 0, 1, 1, 2, 3], "must be from 0 to 2 for 3 classes, got 3"),
        ([0, 0, 1, 1, 2, -1], "must be from 0 to 2 for 3 classes, got -1"),
        (LABELS.astype(float), "must be whole numbers, got float64"),
        ([math.nan] * 6, "must be whole numbers"),
        (["cat"] * 6, "must be whole numbers"),
        ([[0], [0, 1]], "must be an array of 6 whole numbers"),
        ([], "must be whole numbers|must have the shape"),
    ],
)
def test_labels_that_are_refused(labels, sentence):
    classifier = small_classifier()
    with pytest.raises(ValueError, match=sentence):
        classifier.adapt(PIXELS, labels)
    assert unchanged(classifier)


def test_what_cannot_be_adapted_says_so():
    for images_at_once in (0, -1):
        with pytest.raises(ValueError, match="at least 1 image is in work at a time"):
            small_classifier().adapt(PIXELS, LABELS, images_at_once)
    batch = small_classifier(network=replace(NETWORK, norm="batch"))
    with pytest.raises(ValueError, match="group norm"):
        batch.adapt(PIXELS, LABELS)
    assert batch.predict(PIXELS).shape == (6,)
    for name in ("p-meta-x0.3", "p-meta-gy0.3", "p-meta-alpha-ch"):
        assert name in ABLATIONS
        with pytest.raises(
            ValueError, match=f"the controller cannot be adapted on a device: {name} is for comparison only"
        ):
            small_classifier(name).adapt(PIXELS, LABELS)


@pytest.mark.parametrize("missing", ["step_sizes", "attention.norm2.backward.fc1.weight"])
def test_a_classifier_without_the_inner_loop_predicts_all_the_same(missing):
    whole = small_classifier("p-meta")
    parameters = {name: tensor for name, tensor in whole.parameters.items() if name != missing}
    part = replace(whole, parameters=parameters)
    assert part.predict(PIXELS).tolist() == whole.predict(PIXELS).tolist()
    with pytest.raises(ValueError, match=f"cannot be adapted: p-meta needs its '{missing}'"):
        part.adapt(PIXELS, LABELS)


def test_an_adaptation_that_overflows_is_refused():
    wild = small_classifier(parameters={"step_sizes": torch.full((2, 9), 1e38)})
    with pytest.raises(ValueError, match="the adapted parameters are not finite"):
        wild.adapt(PIXELS, LABELS)
    assert float(wild.parameters["step_sizes"].max()) == float(np.float32(1e38))


def test_float_images_from_0_to_1_are_warned_of():
    with pytest.warns(UserWarning, match=r"taken to lie in \[-1, 1\], and these lie in \[0, 1\]") as caught:
        small_classifier().predict((IMAGES + 1) / 2)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="scale images from 0 to 1 by 2 x - 1, or give uint8 images") as caught:
        small_classifier().adapt((IMAGES + 1) / 2, LABELS)
    assert caught[0].filename == __file__


def test_a_classifier_describes_itself_in_a_line_and_a_table():
    classifier = small_classifier("p-meta")
    facts = "network conv4, method p-meta, images 16 x 16, ways 3, adapts to 1 image of each class"
    assert repr(classifier) == f"<Classifier: {facts}>"
    assert "<th>images</th><td>16 x 16</td>" in classifier._repr_html_()
