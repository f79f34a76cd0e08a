"""Episodes from images whose pixels tell which image of which class they are."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from metarl.envs.images.episodes import EpisodeShape, episode_shape, normalize, sample_episodes
from metarl.envs.images.image_set import ImageSet, load_images

EMOJI = Path(__file__).parents[2] / "fixtures" / "emoji"


def numbered(counts):
    """Image i of class c shows the grey 10 c + i."""
    labels = np.repeat(np.arange(len(counts)), counts)
    greys = 10 * labels + np.concatenate([np.arange(count) for count in counts])
    pixels = np.tile(greys.astype(np.uint8)[:, None, None, None], (1, 3, 3, 3))
    return ImageSet("numbered", pixels, tuple(f"class-{c}" for c in range(len(counts))), labels)


def identities(images):
    """Class and number within the class, of normalised images [..., 3, side, side]."""
    greys = np.rint((images[..., 0, 0, 0] + 1) * 127.5).astype(int)
    return greys // 10, greys % 10


def test_shapes_and_types():
    episodes = sample_episodes(numbered([9] * 7), EpisodeShape(5, 2, 3), 4, np.random.default_rng(0))
    assert episodes.support_images.shape == (4, 10, 3, 3, 3) and episodes.query_images.shape == (4, 15, 3, 3, 3)
    assert episodes.support_labels.shape == (4, 10) and episodes.query_labels.shape == (4, 15)
    assert episodes.support_images.dtype == episodes.query_images.dtype == np.float32
    assert episodes.support_labels.dtype == episodes.query_labels.dtype == np.int64
    assert episodes.support_images.flags.c_contiguous


def test_a_label_is_one_class_and_no_image_comes_twice():
    shape = EpisodeShape(5, 2, 3)
    episodes = sample_episodes(numbered([9, 8, 7, 6, 5, 9, 9]), shape, 50, np.random.default_rng(1))
    support_classes, support_numbers = identities(episodes.support_images)
    query_classes, query_numbers = identities(episodes.query_images)
    for task in range(50):
        class_of = dict(zip(episodes.support_labels[task], support_classes[task], strict=True))
        assert sorted(class_of) == [0, 1, 2, 3, 4] and len(set(class_of.values())) == 5
        assert [class_of[label] for label in episodes.support_labels[task]] == support_classes[task].tolist()
        assert [class_of[label] for label in episodes.query_labels[task]] == query_classes[task].tolist()
        assert np.bincount(episodes.support_labels[task]).tolist() == [2] * 5
        assert np.bincount(episodes.query_labels[task]).tolist() == [3] * 5
        support = set(zip(support_classes[task], support_numbers[task], strict=True))
        query = set(zip(query_classes[task], query_numbers[task], strict=True))
        assert len(support) == 10 and len(query) == 15 and not support & query


def test_classes_images_and_labels_are_uniform():
    """Of 3 classes as 2 ways: each class is label 0 in a third of the episodes; each image is as likely."""
    count = 6000
    episodes = sample_episodes(numbered([2, 4, 4]), EpisodeShape(2, 1, 1), count, np.random.default_rng(2))
    classes, numbers = identities(episodes.support_images[:, 0])
    spread = 5 * np.sqrt(count)
    np.testing.assert_allclose(np.bincount(classes, minlength=3), count / 3, atol=spread)
    np.testing.assert_allclose(np.bincount(numbers[classes == 0]), count / 3 / 2, atol=spread)
    np.testing.assert_allclose(np.bincount(numbers[classes == 2]), count / 3 / 4, atol=spread)


def test_the_generator_alone_decides():
    images, shape = numbered([5] * 6), EpisodeShape(3, 1, 2)
    first = sample_episodes(images, shape, 3, np.random.default_rng(3))
    np.random.seed(0)  # noqa: NPY002
    again = sample_episodes(images, shape, 3, np.random.default_rng(3))
    other = sample_episodes(images, shape, 3, np.random.default_rng(4))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.support_images != other.support_images).any()


def test_normalised_pixels():
    """0 becomes -1, 255 becomes 1, and channels come first."""
    pixels = np.zeros((2, 1, 1, 3), dtype=np.uint8)
    pixels[1, 0, 0] = [255, 51, 204]
    normalised = normalize(pixels)
    assert normalised.shape == (2, 3, 1, 1) and normalised.dtype == np.float32
    np.testing.assert_allclose(normalised[:, :, 0, 0], [[-1, -1, -1], [1, -0.6, 0.6]], atol=1e-6)
    rows = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_allclose((normalize(rows)[2] + 1) * 127.5, [[2, 5], [8, 11]], atol=1e-4)


def test_queries_shrink_to_what_the_smallest_class_leaves():
    images = numbered([9, 8, 10])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert episode_shape(images, 3, 5, 3) == EpisodeShape(3, 5, 3)
    with pytest.warns(
        UserWarning, match="smallest class of numbered has 8 images: 5-shot episodes have 3 instead of 15"
    ):
        shape = episode_shape(images, 3, 5, 15)
    assert shape == EpisodeShape(3, 5, 3)
    assert sample_episodes(images, shape, 2, np.random.default_rng(0)).query_labels.shape == (2, 9)


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "message"),
    [
        (1, 1, 1, "at least 2 ways, got 1"),
        (2, 0, 1, "at least 1 shot for each class, got 0"),
        (2, 1, 0, "at least 1 query for each class, got 0"),
        (4, 1, 1, "numbered has 3 classes: too few for 4 ways"),
        (3, 2, 1, "the class 'class-1' of numbered has 2 images: 2-shot episodes need at least 3"),
    ],
)
def test_more_than_the_data_hold(ways, shots, queries, message):
    with pytest.raises(ValueError, match=message):
        episode_shape(numbered([5, 2, 7]), ways, shots, queries)


def test_a_class_without_images(tmp_path):
    images = ImageSet("holey", np.zeros((2, 1, 1, 3), np.uint8), ("a", "b"), np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="the class 'b' of holey has 0 images"):
        episode_shape(images, 2, 1, 1)


def test_the_emoji_of_the_tests(tmp_path):
    """60 classes by five styles each, disjoint across splits; one can do better than chance on their raw pixels."""
    splits = {name: load_images(EMOJI, name, 32, cache=tmp_path) for name in ("train", "val", "test")}
    classes = [name for images in splits.values() for name in images.classes]
    assert len(classes) == len(set(classes)) == 60
    assert all(images.counts.tolist() == [5] * len(images.classes) for images in splits.values())
    train = splits["train"]
    episodes = sample_episodes(train, episode_shape(train, 5, 1, 4), 100, np.random.default_rng(0))
    assert 0.3 < nearest_neighbour_accuracy(episodes) < 0.9


def nearest_neighbour_accuracy(episodes):
    support, query = (
        images.reshape(*images.shape[:2], -1) for images in (episodes.support_images, episodes.query_images)
    )
    distances = (query**2).sum(-1)[:, :, None] - 2 * query @ support.mT + (support**2).sum(-1)[:, None]
    nearest = np.take_along_axis(episodes.support_labels, distances.argmin(-1), axis=1)
    return (nearest == episodes.query_labels).mean()
